"""Tuning that can be trusted: the real default is the baseline, nothing worse is written, and edges are said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score
from test_tune import ONE, TWO, as_list, labels, line, loaded, public, run_it, said, sk_score, write

from hsemotion_cli.abaw import evaluation, grid_edges, selection
from hsemotion_cli.abaw.aligned import EvaluationSettings
from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.abaw.grid_search import tune
from hsemotion_cli.abaw.objectives import LOWER, UPPER, ActionUnitF1
from hsemotion_cli.abaw.predictions import find
from hsemotion_cli.abaw.search_space import Grid
from hsemotion_cli.abaw.tuning_data import gather
from hsemotion_cli.abaw.tuning_result import Choice
from hsemotion_cli.commands import tune_view
from hsemotion_cli.evaluation.calibration import THRESHOLDS
from hsemotion_cli.evaluation.ground_truth import Annotations
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing, recording_key

SMALL = Grid(sigmas=(10.0, 1000.0), deltas=(1, 6), weights=(0.0, 0.3, 0.5, 1.0))
Made = tuple[Path, dict[str, Annotations]]


def make(folder: Path, *, noise: float = 2.0, own: dict | None = None, videos: int = 4, blind: bool = False) -> Made:
    """Videos of one face; ``own`` goes into the recipe in the sidecars. The second of two models is ``blind``."""
    truth = {f"v{k}": labels(f"v{k}", 70, k) for k in range(videos)}
    for k, (name, found) in enumerate(truth.items()):
        second = said(labels("x", 70, 100 + k) if blind else found, 50 + k, noise)
        write(folder, name, line(found, {ONE: said(found, 20 + k, noise), TWO: second}, seed=k))
        path = folder / f"{name}.json"
        content = json.loads(path.read_text())
        content["recipe"] = {**Recipe.usual().in_order((ONE, TWO)).to_json(), **(own or {})}
        path.write_text(json.dumps(content))
    loaded.cache_clear()
    return folder, truth


@pytest.mark.parametrize("track", ["expr", "va", "au"])
def test_the_baseline_is_what_annotate_does(tmp_path: Path, track: str) -> None:
    """The score of ``default`` is the one that evaluate gives to the tables as they are."""
    folder, truth = make(tmp_path / "raw")
    found = tune(gather(find([folder]), truth, track), SMALL)
    task = next(iter(found.tasks))
    assert found.data.default_name == "annotate's default"
    listed = as_list(tmp_path, truth)
    report = evaluation.evaluate([folder], listed, EvaluationSettings(TRACKS[track], draws=0))
    assert found.tasks[task].as_default == pytest.approx(report.score.value, abs=1e-9)
    expected = sk_score(task, *public(folder, truth, Recipe.usual().in_order((ONE, TWO)), task))
    assert found.tasks[task].as_default == pytest.approx(expected, abs=1e-9)
    assert found.tasks[task].as_default != found.tasks[task].untuned, "an even blend is not the default"


def test_tables_with_a_recipe_of_their_own_say_so(tmp_path: Path) -> None:
    own = {"smoothing": {"expression": "gaussian:0.2"}, "offsets": {"anger": 0.5, "valence": 0.1}}
    folder, truth = make(tmp_path / "raw", own=own)
    data = gather(find([folder]), truth, "va")
    assert data.default_name == "the tables' recipe" and data.default.offsets == own["offsets"]
    found = tune(data, SMALL)
    assert found.recipe.smoothing["expression"] == Smoothing.parse("gaussian:0.2"), "not tuned, so it stays"
    assert found.recipe.offsets == {"anger": 0.5}, "the grid knows no offset of valence"
    first = folder / "v0.json"
    first.write_text(first.read_text().replace("gaussian:0.2", "gaussian:0.3"))
    assert gather(find([folder]), truth, "va").default_name == "annotate's default", "the tables differ"
    one = gather(find([folder]), truth, "va", models=(TWO,))
    assert one.default == Recipe.of(TWO) and one.default_name == "annotate's default"


def test_a_setting_that_is_worse_elsewhere_is_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scores that know nothing: what is best by luck does worse on other videos than what nobody chose."""
    kept = 0
    for seed in range(3):
        folder = tmp_path / str(seed)
        truth = {f"v{k}": labels(f"v{k}", 50, 10 * seed + k) for k in range(4)}
        for k, name in enumerate(truth):
            noise = said(labels("x", 50, 100 + 10 * seed + k), k, 2.0)
            write(folder, name, line(truth[name], {ONE: noise, TWO: said(labels("y", 50, 7 + k), k, 2.0)}))
        found = tune(gather(find([folder]), truth, "mtl"), SMALL)
        loaded.cache_clear()
        for task, outcome in found.tasks.items():
            assert outcome.cross_validated is not None
            worse = outcome.cross_validated < outcome.as_default
            assert outcome.keeps_default == worse
            expected = Choice.of(found.data.default, task) if worse else outcome.choice
            assert Choice.of(found.recipe, task) == outcome.written == expected
            score = sk_score(task, *public(folder, truth, found.recipe, task))
            assert score == pytest.approx(outcome.as_default if worse else outcome.tuned, abs=1e-9)
            kept += worse
        if any(outcome.keeps_default for outcome in found.tasks.values()):
            listed = as_list(folder, truth)
            run_it([folder], listed, folder / "r.toml", track="mtl", sigmas="10,1000", deltas="1,6", folds=5)
            assert "the default is kept" in capsys.readouterr().out
            assert "which is kept." in (folder / "r.toml").read_text()
    assert kept, "some choices must have been luck"


def test_one_standard_error(tmp_path: Path) -> None:
    """The rule again, by hand, from the per-fold scores of every setting."""
    folder, truth = make(tmp_path / "raw", noise=2.5)
    data = gather(find([folder]), truth, "va")
    plain, ruled = tune(data, SMALL), tune(data, SMALL, one_se=True)
    task, outcome = "valence_arousal", ruled.tasks["valence_arousal"]
    where = {k: [name for name in truth if name in fold.recordings] for k, fold in enumerate(outcome.folds)}
    best = plain.tasks[task].choice
    from hsemotion_cli.abaw.grid_search import chosen_recipe

    recipe = chosen_recipe(data, {task: best})
    scores = [sk_score(task, *public(folder, {n: truth[n] for n in names}, recipe, task)) for names in where.values()]
    allowed = plain.tasks[task].surface.max() - np.std(scores, ddof=1) / np.sqrt(len(scores))
    filters, weights = SMALL.filters, outcome.weights
    near = [(selection.strength(filters[j]), abs(weights[k] - data.default.blend[task]), filters[j], weights[k])
            for j, k in np.argwhere(outcome.surface >= allowed - 1e-12).tolist()]  # fmt: skip
    *_, filter_, weight = min(near, key=lambda one: one[:2])
    assert (outcome.choice.smoothing, outcome.choice.weight) == (filter_, weight)
    assert selection.strength(outcome.choice.smoothing) <= selection.strength(best.smoothing)


def test_strength_is_the_number_of_rows_averaged() -> None:
    for text, rows in (("none", 1), ("abaw:box/5", 11), ("box:0.2", 5), ("abaw:1e9/5", 11)):
        assert selection.strength(Smoothing.parse(text)) == pytest.approx(rows, rel=1e-6), text
    # Of a Gaussian the sum of squared weights is 1 / (2 sqrt(pi) deviation).
    assert selection.strength(Smoothing.parse("gaussian:10f")) == pytest.approx(2 * np.sqrt(np.pi) * 10, rel=0.01)


def units(rows: int, level: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (12, n) and truth, where presence begins at a probability of ``level``."""
    probability = np.random.default_rng(seed).uniform(0, 1, (12, rows))
    return probability, (probability >= level).astype(np.float32)


@pytest.mark.parametrize("level", [0.02, 0.05, 0.1, 0.5, 0.9, 0.98, 0.99])
def test_thresholds_go_on_beyond_the_edge(level: float) -> None:
    probability, truth = units(4000, level)
    wide, narrow = ActionUnitF1(extended=True), ActionUnitF1()
    assert wide.levels == (*LOWER, *THRESHOLDS, *UPPER) and narrow.levels == THRESHOLDS
    sums = wide.sums(probability, probability, (0.5,), truth)
    assert {wide.levels[k] for k in wide.thresholds(sums[0])} == {level}
    assert wide.best(sums)[0] == pytest.approx(1)
    fewer = narrow.sums(probability, probability, (0.5,), truth)
    assert {narrow.levels[k] for k in narrow.thresholds(fewer[0])} == {min(max(level, 0.1), 0.9)}


def test_thresholds_stay_inside_when_the_best_one_does() -> None:
    """What lies beyond the edge is only looked at by units that are at it, and ties stay in the grid."""
    wide = ActionUnitF1(extended=True)
    never = wide.sums(np.full((12, 50), 0.5), np.full((12, 50), 0.5), (0.5,), np.zeros((12, 50), np.float32))
    assert {wide.levels[k] for k in wide.thresholds(never[0])} == {0.1}


def test_thresholds_by_the_f1_of_both_classes() -> None:
    random = np.random.default_rng(4)
    probability = random.uniform(0, 1, (12, 500))
    truth = (random.random((12, 500)) < 0.2 + 0.6 * probability).astype(np.float32)
    grid = tuple(k / 100 for k in range(10, 90))
    measure = ActionUnitF1(grid, both=True)
    sums = measure.sums(probability, probability, (0.5,), truth)[0]
    found = measure.thresholds(sums)
    for u in (0, 5, 11):
        each = [f1_score(truth[u], probability[u] >= t, average="macro", zero_division=0) for t in grid]
        assert each[found[u]] == pytest.approx(max(each), abs=1e-12)
    chosen = np.array([grid[k] for k in found])
    positive = f1_score(truth.T, chosen <= probability.T, average=None, zero_division=0).mean()
    assert measure.best(sums) == pytest.approx(positive, abs=1e-12)


def slow(folder: Path, frames: int = 1300) -> Made:
    """Labels that hardly ever change under much noise: the more is averaged, the better."""
    truth = {}
    for k, name in enumerate("abc"):
        one = labels(name, frames, k)
        affect = np.repeat(np.random.default_rng(k).uniform(-0.8, 0.8, (2, 2)), frames // 2, axis=0).astype(np.float32)
        truth[name] = replace(one, valence_arousal=affect)
        write(folder, name, line(truth[name], {ONE: said(truth[name], 7 + k, 6.0)}))
    return folder, truth


def test_the_grid_is_extended_where_the_best_setting_is_at_its_edge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = slow(tmp_path / "raw")
    data = gather(find([folder]), truth, "va")
    closed = tune(data, Grid(sigmas=(100.0,), deltas=(1, 10)))
    assert closed.grid.deltas == (1, 10) and not grid_edges.added(closed.first_grid, closed.grid)
    grid = replace(Grid.of(sigmas="100"), deltas=(1, 100))
    assert grid.open == {"deltas", "thresholds"}
    found = tune(data, grid)
    added = grid_edges.added(found.first_grid, found.grid)
    assert set(added) == {"deltas"} and added["deltas"][0] == 200
    assert max(added["deltas"]) <= 1300 // 2, "no window beyond half of the longest video"
    outcome = found.tasks["valence_arousal"]
    whole = tune(data, Grid(sigmas=(100.0,), deltas=found.grid.deltas)).tasks["valence_arousal"]
    np.testing.assert_array_equal(outcome.surface, whole.surface)
    assert outcome.choice == whole.choice and outcome.folds == whole.folds
    listed = as_list(tmp_path, truth)
    assert "so the grid was extended: rows to each side 200" in tune_view.edge_notes(found)[0]
    run_it([folder], listed, tmp_path / "s.toml", track="va", sigmas="100", deltas="1,10")
    text = capsys.readouterr().out
    assert "grid was extended" not in text and "10 is the largest that was tried" in text


def test_edges() -> None:
    grid = Grid(sigmas=(0.1, 10.0, 1e5), deltas=(1, 100), seconds=(0.1, 1.0))
    for text, expected in (
        ("none", []), ("abaw:box/1", []), ("abaw:10/1", []), ("abaw:box/100", [("deltas", 100, False)]),
        ("abaw:0.1/1", []), ("abaw:1e5/1", []), ("abaw:10/100", [("deltas", 100, False)]),
        ("abaw:1e5/100", [("deltas", 100, False)]), ("box:0.1", [("seconds", 0.1, True)]),
        ("gaussian:1", [("seconds", 1.0, False)]),
    ):  # fmt: skip
        found = [(edge.name, edge.value, edge.low) for edge in grid_edges.edges(grid, Smoothing.parse(text))]
        assert found == expected, text
    wide = Grid(sigmas=(10.0, 1000.0), deltas=(100,))
    assert [e.name for e in grid_edges.edges(wide, Smoothing.parse("abaw:1000/100"))] == ["deltas", "sigmas"]


def test_the_recipe_knows_what_it_was_tuned_on(tmp_path: Path) -> None:
    folder, truth = make(tmp_path / "raw")
    listed = as_list(tmp_path, truth)
    run_it([folder], listed, tmp_path / "r.toml", track="va", sigmas="100", deltas="6", quiet=True)
    recipe = Recipe.read(tmp_path / "r.toml")
    assert recipe.tuned_on["recordings"] == sorted(map(recording_key, truth))
    assert not set(truth) & set(recipe.tuned_on["recordings"]), "names may be of people"

    def evaluated(track: str, names: list[str]) -> evaluation.Report:
        place = tmp_path / f"{track}{len(names)}"
        place.mkdir()
        part = as_list(place, {name: truth[name] for name in names})
        return evaluation.evaluate([folder], part, EvaluationSettings(TRACKS[track], recipe=recipe, draws=0))

    same = evaluated("va", list(truth))
    assert same.tuned == 4 and same.same_labels and "against these very labels" in same.notes[0]
    fewer = evaluated("va", ["v1", "v2"])
    assert fewer.tuned == 2 and not fewer.same_labels
    other_track = evaluated("expr", list(truth))
    assert other_track.tuned == 4 and not other_track.same_labels
