"""Tuning: it chooses what trying everything one by one would choose, and reports what the recipe then gives."""

from __future__ import annotations

import functools
import json
import struct
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from hsemotion_cli.abaw import challenges, grid_plots, grid_search
from hsemotion_cli.abaw.grid_search import tune
from hsemotion_cli.abaw.objectives import OBJECTIVES
from hsemotion_cli.abaw.predictions import affwild2, find, load, predict
from hsemotion_cli.abaw.search_space import Grid
from hsemotion_cli.abaw.tuning_data import SPARSE_GAP, gather
from hsemotion_cli.abaw.tuning_result import Choice, TaskOutcome
from hsemotion_cli.commands.signature import call
from hsemotion_cli.commands.tune import run
from hsemotion_cli.errors import InputError, ModelUnavailable, UsageError
from hsemotion_cli.evaluation import metrics
from hsemotion_cli.evaluation.calibration import THRESHOLDS
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing
from hsemotion_cli.postprocess.smoothing import smooth
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS, TASKS
from hsemotion_cli.timeline import Timeline

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
ONE, TWO = "mt-mobilefacenet", "mp-blendshapes"
SMALL = Grid(sigmas=(10.0, 1000.0), deltas=(1, 6), weights=(0.0, 0.3, 0.5, 1.0))
"""Small enough to try everything one by one."""


def labels(name: str, frames: int, seed: int, start: int = 1, step: int = 1) -> Annotations:
    """Slowly changing labels, some of them unknown."""
    random = np.random.default_rng(seed)
    numbers = start + step * np.arange(frames)
    expression = np.repeat(random.integers(0, 8, frames // 12 + 1), 12)[:frames]
    affect = np.cumsum(random.normal(0, 0.1, (frames, 2)), axis=0).clip(-1, 1).astype(np.float32)
    units = np.repeat(random.random((frames // 9 + 1, 12)) < 0.4, 9, axis=0)[:frames].astype(np.float32)
    for values, unknown in ((expression, -1), (affect, np.nan), (units, np.nan)):
        values[random.random(frames) < 0.15] = unknown
    return Annotations(name, numbers, expression, affect, units)


def said(truth: Annotations, seed: int, noise: float) -> dict[str, np.ndarray]:
    """What a model with AffectNet's classes says of these frames: the truth, with much noise."""
    random = np.random.default_rng(seed)
    n = len(truth.frames)
    logits = random.normal(0, noise, (n, 8))
    names = [EXPRESSIONS.index(name) if name != "other" else 7 for name in AFFWILD2_EXPRESSIONS]
    for k, label in enumerate(truth.expression):
        if label >= 0:
            logits[k, names[label]] += 2
    expression = np.full((n, 9), np.nan)
    expression[:, :8] = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    affect = np.tanh(np.nan_to_num(truth.valence_arousal) + random.normal(0, noise / 3, (n, 2)))
    units = 1 / (1 + np.exp(-(4 * np.nan_to_num(truth.action_units) - 2 + random.normal(0, noise, (n, 12)))))
    tasks = {"expression": expression, "valence_arousal": affect, "action_units": units}
    return {task: values.astype(np.float32) for task, values in tasks.items()}


def write(folder: Path, name: str, timeline: Timeline, kind: str = "video", models: Sequence[str] = ()) -> Path:
    """The files that annotate leaves, without the table."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.raw.npz").open("wb") as file:
        raw_scores.write(timeline, file)
    recipe = Recipe.of(*(models or timeline.scores or [ONE]))
    told = {"source": {"kind": kind, "width": 200}, "recipe": recipe.to_json()}
    (folder / f"{name}.json").write_text(json.dumps(told))
    return folder / f"{name}.raw.npz"


def line(
    truth: Annotations, models: dict[str, dict[str, np.ndarray]], *, first: int = 1, x: float = 20.0, seed: int = 0
) -> Timeline:
    """A timeline with one face in most of the frames."""
    row = np.flatnonzero(np.random.default_rng(seed).random(len(truth.frames)) < 0.85)
    index = truth.frames - first
    box = np.tile(np.array([x, 10, 40, 40], np.float32), (len(row), 1))
    scores = {model: {task: values[row] for task, values in tasks.items()} for model, tasks in models.items()}
    ids, ones = np.zeros(len(row), np.int64), np.ones(len(row), np.float32)
    return Timeline(index, index / 25, row, ids, ones, box, scores)


def together(one: Timeline, other: Timeline) -> Timeline:
    """The faces of two timelines with the same frames, as two people."""
    row = np.concatenate([one.row, other.row])
    ids = np.concatenate([one.face_id, other.face_id + 1])
    order = np.lexsort((ids, row))
    box = np.concatenate([one.box, other.box])[order]
    scores = {
        model: {task: np.concatenate([values, other.scores[model][task]])[order] for task, values in tasks.items()}
        for model, tasks in one.scores.items()
    }
    return Timeline(one.index, one.time, row[order], ids[order], np.ones(len(row), np.float32), box, scores)


def both(truth: Annotations, seed: int, noise: float = 2.0) -> dict[str, dict[str, np.ndarray]]:
    return {ONE: said(truth, seed, noise), TWO: said(truth, seed + 1, noise * 1.3)}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Annotations]]:
    """Six recordings: plain ones, faces that come and go, two people, someone in the back, unscored faces, a class
    that one model lacks."""
    folder = tmp_path_factory.mktemp("raw")
    truth = {name: labels(name, 70, k) for k, name in enumerate(["a", "b", "c", "d"])}
    scores = {name: both(found, 10 + k) for k, (name, found) in enumerate(truth.items())}
    scores["b"][ONE]["expression"][5:9] = np.nan  # faces that one of the models could not score
    scores["b"][TWO]["valence_arousal"][20:30] = np.nan
    for model in (ONE, TWO):  # ... or none of them
        scores["c"][model]["action_units"][30:40] = np.nan
        scores["c"][model]["expression"][30:40] = np.nan
    seven = scores["d"][ONE]["expression"]
    seven[:, :7] /= seven[:, :7].sum(axis=1, keepdims=True)
    seven[:, 7] = np.nan
    for k, name in enumerate(truth):
        one = line(truth[name], scores[name], seed=k)
        if name == "a":  # someone smaller, who must not count
            back = line(truth[name], both(labels("x", 70, 99), 98), x=120, seed=9)
            back.box[:, 2:] = 20
            one = together(back, one)
        write(folder, name, one)
    left, right = labels("two_left", 50, 5), labels("two_right", 50, 6)
    write(folder, "two", together(line(left, both(left, 31)), line(right, both(right, 41), x=130, seed=3)))
    single = labels("one_right", 40, 7)
    write(folder, "one", line(single, both(single, 51), x=130))
    return folder, truth | {"two_left": left, "two_right": right, "one_right": single}


def as_list(folder: Path, truth: dict[str, Annotations]) -> Path:
    """The truth as a list of s-Aff-Wild2."""
    rows = ["image,valence,arousal,expression,aus"]
    for name, found in truth.items():
        affect, units = np.nan_to_num(found.valence_arousal, nan=-5), np.nan_to_num(found.action_units, nan=-1)
        rows += [
            f"{name}/{found.frames[k]:05d}.jpg,{affect[k, 0]!r},{affect[k, 1]!r},{found.expression[k]},"
            f"{','.join(str(int(unit)) for unit in units[k])}".replace("np.float32(", "").replace(")", "")
            for k in range(len(found.frames))
        ]
    path = folder / "validation_set_annotations.txt"
    path.write_text("\n".join([*rows, ""]))
    return path


def sk_score(task: str, true: np.ndarray, prediction: np.ndarray) -> float:
    """The challenges' score by other people's code."""
    if task == "expression":
        return f1_score(true, prediction, average="macro", labels=range(8), zero_division=0)
    if task == "action_units":
        return f1_score(true, prediction, average=None, zero_division=0).mean()
    found = []
    for k in range(2):
        x, y = true[:, k].astype(float), prediction[:, k]
        found.append(2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2))
    return float(np.mean(found))


def values_of(folder: Path, truth: dict[str, Annotations], recipe: Recipe, task: str) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of all frames by the public path; probabilities of action units are left as they are."""
    tables, found = find([folder]), []
    for name, one in truth.items():
        whole, _, side = name.partition("_")
        prediction = predict(loaded(tables[whole]), recipe, side=side or None)
        values = getattr(one, task)
        known = values >= 0 if task == "expression" else ~np.isnan(values[:, 0])
        out, _ = prediction.at(task, one.frames[known])
        found.append((values[known], affwild2(out).argmax(axis=1) if task == "expression" else out))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))  # type: ignore[return-value]


loaded = functools.cache(load)


def public(folder: Path, truth: dict[str, Annotations], recipe: Recipe, task: str) -> tuple[np.ndarray, np.ndarray]:
    """The same, with the recipe's thresholds."""
    true, out = values_of(folder, truth, recipe, task)
    return true, out >= [recipe.thresholds[unit] for unit in ACTION_UNITS] if task == "action_units" else out


# --- the grid -------------------------------------------------------------------------------------------------


def test_the_published_grid() -> None:
    grid = Grid()
    filters = grid.filters
    assert filters[0] == Smoothing() and len(filters) == len(set(filters)) == 1 + 5 + 9 * 5
    assert grid.weights == tuple(k / 10 for k in range(11)) and tuple(k / 10 for k in range(1, 10)) == THRESHOLDS
    sigmas, deltas = (0.1, 1, 10, 50, 100, 500, 1000, 1e4, 1e5), (1, 5, 10, 50, 100)
    wanted = {f"abaw:{sigma}/{delta}" for sigma in sigmas for delta in deltas} | {f"abaw:box/{d}" for d in deltas}
    assert set(filters[1:]) == {Smoothing.parse(text) for text in wanted}


@patient
@given(
    st.sets(st.floats(0.01, 1e6), max_size=4), st.sets(st.integers(1, 200), max_size=4),
    st.sets(st.floats(0.01, 9), max_size=3),
)  # fmt: skip
def test_every_filter_is_in_one_family_and_in_one_place(
    sigmas: set[float], deltas: set[int], seconds: set[float]
) -> None:
    grid = Grid(*(tuple(sorted(found)) for found in (sigmas, deltas, seconds)))  # type: ignore[arg-type]
    filters = grid.filters
    assert sorted(k for family in grid.families for k in family.members) == list(range(len(filters)))
    for family in grid.families:
        assert len(family.members) == len(family.windows) and family.smoothing in filters
    places = [k for block in grid.blocks for row in block.members for k in row]
    assert set(places) == set(range(len(filters)))
    assert all(places.count(k) == 1 for k in range(1, len(filters)))
    for block in grid.blocks:
        assert len(block.members) == len(block.rows)
        assert all(len(row) == len(block.columns) for row in block.members)
        for name, row in zip(block.rows, block.members, strict=True):
            for column, k in zip(block.columns, row, strict=True):
                filter_ = filters[k]
                if name == "none":
                    assert k == 0
                elif block.down == "sigma" and name == "box":
                    assert filter_ == Smoothing.parse(f"abaw:box/{column}")
                elif block.down == "sigma":
                    assert filter_.reach == int(column) and 2 * filter_.width**2 == pytest.approx(float(name), rel=1e-5)
                else:
                    assert filter_.kernel == name and filter_.width == pytest.approx(float(column), rel=1e-5)


def test_grids_in_words() -> None:
    assert Grid.of() == Grid()
    assert Grid.of("10,1", "5,1,5", None, "0.5,0.1") == Grid((1.0, 10.0), (1, 5), (), (0.1, 0.5))
    assert Grid.of("none", "none", "0.5").filters == (Smoothing(), Smoothing("box", 0.5), Smoothing("gaussian", 0.5))
    assert Grid.of(seconds="usual").filters[-1] == Smoothing("gaussian", 2.0)
    assert Grid.of(deltas="none").filters == (Smoothing(),)


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("sigmas", "0,1"), ("sigmas", "x"), ("sigmas", ""), ("sigmas", "1,,2"), ("sigmas", "nan"), ("sigmas", "inf"),
        ("deltas", "1.5"), ("deltas", "0"), ("deltas", "-3"), ("seconds", "0"), ("seconds", "often"),
        ("weights", "1.1"), ("weights", "-0.1"), ("weights", "none"), ("weights", "half"),
    ],
)  # fmt: skip
def test_other_grids_are_refused(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} {text}"):
        Grid.of(**{option: text})


# --- sums -----------------------------------------------------------------------------------------------------


@settings(patient, max_examples=12)
@given(st.integers(1, 60), st.integers(0, 999), st.booleans())
def test_sums_score_as_scikit_learn_does(n: int, seed: int, coarse: bool) -> None:
    random = np.random.default_rng(seed)
    weights = (0.5, 0.0, 0.3, 1.0)
    for task, measure in OBJECTIVES.items():
        columns = {"expression": 8, "valence_arousal": 2, "action_units": 12}[task]
        first, second = random.random((2, columns, n))
        if coarse:  # many ties, and values that are exactly a threshold
            first, second = np.round(first, 1), np.round(second, 1)
        truths: dict[str, np.ndarray] = {
            "expression": random.integers(0, 8, n),
            "valence_arousal": random.uniform(-1, 1, (2, n)),
            "action_units": (random.random((12, n)) < 0.5).astype(np.float32),
        }
        truth = truths[task]
        sums = measure.sums(first, second, weights, truth)
        assert sums.shape == (4, *measure.shape)
        half = n // 2
        parts = [
            measure.sums(first[:, at], second[:, at], weights, truth[..., at])
            for at in (slice(None, half), slice(half, None))
        ]
        np.testing.assert_allclose(parts[0] + parts[1], sums, rtol=1e-12, atol=1e-12)
        best = measure.best(sums)
        for k, weight in enumerate(weights):
            mixed = weight * first + (1 - weight) * second
            levels = measure.thresholds(sums[k])
            if task == "expression":
                expected = sk_score(task, truth, mixed.argmax(axis=0))
            elif task == "valence_arousal":
                expected = float(metrics.ccc(truth.T, mixed.T).mean())
            else:
                each = np.array([f1_score(truth.T, t <= mixed.T, average=None, zero_division=0) for t in THRESHOLDS]).T
                assert levels.tolist() == np.argmax(np.round(each, 12), axis=1).tolist(), "the first maximum"
                expected = np.max(each, axis=1).mean()
            assert best[k] == pytest.approx(expected, abs=1e-9)
            assert measure.score(measure.at_thresholds(sums[k], levels)) == pytest.approx(expected, abs=1e-9)


def test_a_constant_prediction_follows_nothing() -> None:
    measure = OBJECTIVES["valence_arousal"]
    flat, truth = np.full((2, 30), 0.1), np.random.default_rng(0).random((2, 30))
    assert measure.best(measure.sums(flat, flat, (0.5,), truth)).tolist() == [0]
    assert measure.best(measure.sums(flat, flat, (0.5,), flat)).tolist() == [0]


# --- what is chosen -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("track", ["expr", "va", "au", "mtl"])
def test_the_recipe_gives_exactly_what_is_reported(
    made: tuple[Path, dict[str, Annotations]], tmp_path: Path, track: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raw scores and a list on disk, tune, read the recipe, apply it in public, score by scikit-learn."""
    folder, truth = made
    out = tmp_path / "new" / "best.toml"
    run_it([folder], as_list(tmp_path, truth), out, track=track, deltas="1,6,20", sigmas="10,1000", json=True)
    told = json.loads(capsys.readouterr().out)
    recipe = Recipe.read(out)
    plain = Recipe((ONE, TWO), dict.fromkeys(TASKS, 0.5), thresholds=dict.fromkeys(ACTION_UNITS, 0.5))
    assert recipe == Recipe.from_json(told["recipe"])
    for task, found in told["tasks"].items():
        assert found["in_sample"] == pytest.approx(sk_score(task, *public(folder, truth, recipe, task)), abs=1e-15)
        assert found["untuned"] == pytest.approx(sk_score(task, *public(folder, truth, plain, task)), abs=1e-15)
        assert (
            found["untuned"]
            <= found["in_sample"]
            == pytest.approx(max(max(one["scores"]) for one in told["surface"][task]["settings"]), abs=1e-12)
        )
        assert recipe.smoothing.get(task, Smoothing()) == Smoothing.parse(found["smoothing"])
        assert recipe.blend[task] == found["weight"]
        assert found["in_sample"] > found["untuned"] + 0.02, "much noise on slow labels: smoothing must help"
    assert told["score"]["in_sample"] == pytest.approx(sum(one["in_sample"] for one in told["tasks"].values()))
    assert set(told["tasks"]) == set(challenges.track(track).tasks)
    if track in ("au", "mtl"):
        assert recipe.thresholds == told["tasks"]["action_units"]["thresholds"]
    else:
        assert recipe.thresholds == Recipe.of(ONE, TWO).thresholds, "what was not tuned stays as it was"


@pytest.mark.parametrize("track", ["expr", "va", "au"])
def test_the_surface_is_that_of_each_setting_tried_by_itself(
    made: tuple[Path, dict[str, Annotations]], track: str
) -> None:
    folder, truth = made
    data = gather(find([folder]), truth, track)
    task = data.tasks[0]
    grid = replace(SMALL, seconds=(0.2, 1.0))
    outcome = tune(data, grid, threads=2).tasks[task]
    assert outcome.surface.shape == (len(grid.filters), 4) and outcome.weights == (0.0, 0.3, 0.5, 1.0)
    for (j, filter_), (k, weight) in product(enumerate(grid.filters), enumerate(outcome.weights)):
        choice = grid_search.Choice(filter_, weight, {})
        true, out = values_of(folder, truth, grid_search.chosen_recipe(data, {task: choice}), task)
        if task == "action_units":
            each = [f1_score(true, out >= t, average=None, zero_division=0) for t in THRESHOLDS]
            expected = np.max(each, axis=0).mean()
        else:
            expected = sk_score(task, true, out)
        assert outcome.surface[j, k] == pytest.approx(expected, abs=1e-9), (filter_, weight)
    best = np.unravel_index(outcome.surface.argmax(), outcome.surface.shape)
    assert (outcome.choice.smoothing, outcome.choice.weight) == (grid.filters[best[0]], outcome.weights[best[1]])


@pytest.mark.parametrize("track", ["expr", "va", "au"])
def test_cross_validation_is_choosing_without_each_fold(made: tuple[Path, dict[str, Annotations]], track: str) -> None:
    """Every fold again: a tuning of its own on the others, whose recipe is scored on the fold in public."""
    folder, truth = made
    data = gather(find([folder]), truth, track)
    task = data.tasks[0]
    outcome = tune(data, SMALL, folds=3).tasks[task]
    assert len(outcome.folds) == 3
    assert sorted(name for fold in outcome.folds for name in fold.recordings) == ["a", "b", "c", "d", "one", "two"]
    pooled = []
    for fold in outcome.folds:
        held = {name: one for name, one in truth.items() if name.partition("_")[0] in fold.recordings}
        others = {name: one for name, one in truth.items() if name not in held}
        alone = tune(gather(find([folder]), others, track), SMALL)
        assert fold.choice == alone.tasks[task].choice
        pooled.append(public(folder, held, alone.recipe, task))
        assert fold.score == pytest.approx(sk_score(task, *pooled[-1]), abs=1e-9)
    true, prediction = (np.concatenate(parts) for parts in zip(*pooled, strict=True))
    assert outcome.cross_validated == pytest.approx(sk_score(task, true, prediction), abs=1e-9)
    counted = outcome.fold_choices()
    assert all(sum(found.values()) == 3 for found in counted.values())
    assert set(counted) == {"smoothing", "weight", *(ACTION_UNITS if track == "au" else ())}


def test_the_two_people_of_a_recording_are_in_one_fold(made: tuple[Path, dict[str, Annotations]]) -> None:
    folder, truth = made
    data = gather(find([folder]), truth, "va")
    assert data.recordings == 6 and len(data.people) == 7
    for folds, expected in ((2, 2), (5, 5), (6, 6), (50, 6)):
        parts = tune(data, Grid(deltas=()), folds=folds).tasks["valence_arousal"].folds
        assert len(parts) == expected
        assert all(fold.recordings for fold in parts)
    apart = folder.parent / "apart"
    for k, name in enumerate(("talk_left", "talk_right", "other")):
        one = labels(name, 40, 60 + k)
        write(apart, name, line(one, both(one, 70 + k)))
    own = gather(find([apart]), {name: labels(name, 40, 60) for name in ("talk_left", "talk_right", "other")}, "va")
    own_folds = tune(own, Grid(deltas=())).tasks["valence_arousal"].folds
    assert [fold.recordings for fold in own_folds] == [("talk",), ("other",)], "each with a table of its own"


def test_luck_is_not_sold_as_gain(tmp_path: Path) -> None:
    """Scores that know nothing: what is chosen looks better where it was chosen, and is not."""
    truth = {f"v{k}": labels(f"v{k}", 60, k) for k in range(5)}
    for k, name in enumerate(truth):
        write(tmp_path, name, line(truth[name], both(labels("x", 60, 100 + k), k)))
    found = tune(gather(find([tmp_path]), truth, "expr")).tasks["expression"]
    assert found.cross_validated is not None
    assert found.tuned > found.untuned + 0.01
    assert found.cross_validated < found.tuned - 0.02


def test_one_recording_cannot_be_cross_validated(
    made: tuple[Path, dict[str, Annotations]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = made
    listed = as_list(tmp_path, {name: truth[name] for name in ("two_left", "two_right")})
    run_it([folder], listed, tmp_path / "r.toml", track="va", deltas="5")
    said_ = capsys.readouterr().out
    assert "no cross-validation is possible with one recording" in said_
    assert "no cross-validation" in (tmp_path / "r.toml").read_text()
    run_it([folder], listed, tmp_path / "r.toml", track="va", deltas="5", json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["score"]["cross_validated"] is told["tasks"]["valence_arousal"]["cross_validated"] is None


def test_one_recording_keeps_a_default_that_the_grid_does_not_beat() -> None:
    """The default's weight need not be in the grid, so the best of the grid can be worse even where it was chosen."""
    choice, default = Choice(Smoothing(), 0.9, {}), Choice(Smoothing(), 0.85, {})
    outcome = TaskOutcome(choice, np.zeros((1, 1)), (0.9,), default, 0.4, 0.75, 0.68, None, ())
    assert outcome.keeps_default and outcome.written == default
    assert replace(outcome, tuned=0.76).written == choice
    assert replace(outcome, cross_validated=0.8).written == choice


def test_of_equal_settings_the_least_is_taken(tmp_path: Path) -> None:
    """Where nothing changes over time, and both models say the same, everything is as good as nothing."""
    truth = labels("v", 40, 1)
    fixed = {task: np.repeat(values[:1], 40, axis=0) for task, values in said(truth, 3, 1.0).items()}
    fixed["action_units"][:, 0] = 0.55
    present = truth.action_units
    present[~np.isnan(present[:, 0]), 0] = 1
    write(tmp_path, "v", line(truth, {ONE: fixed, TWO: fixed}))
    outcome = tune(gather(find([tmp_path]), {"v": truth}, "au")).tasks["action_units"]
    assert (outcome.choice.smoothing, outcome.choice.weight) == (Smoothing(), 0.5)
    assert outcome.choice.thresholds["AU01"] == 0.1, "the first of the thresholds that do best"


def test_rounding_does_not_choose(tmp_path: Path) -> None:
    """Two models that say the same: all weights are equally good, but for the last bits of sums."""
    for seed in range(6):
        folder, truth = tmp_path / str(seed), labels("v", 80, seed)
        same = said(truth, seed + 50, 2.0)
        write(folder, "v", line(truth, {ONE: same, TWO: same}))
        outcome = tune(gather(find([folder]), {"v": truth}, "va"), Grid((100.0,), (5,))).tasks["valence_arousal"]
        assert outcome.choice.weight == 0.5
        assert np.ptp(outcome.surface, axis=1).max() < 1e-12


def test_threads_change_nothing(made: tuple[Path, dict[str, Annotations]]) -> None:
    folder, truth = made
    data = gather(find([folder]), truth, "mtl")
    one, many = (tune(data, SMALL, threads=threads) for threads in (1, 7))
    for task in data.tasks:
        assert np.array_equal(one.tasks[task].surface, many.tasks[task].surface)
        assert one.tasks[task].folds == many.tasks[task].folds
    assert one.recipe == many.recipe


def test_progress_runs_to_its_end(made: tuple[Path, dict[str, Annotations]]) -> None:
    folder, truth = made
    seen: list[tuple[int, int]] = []
    data = gather(find([folder]), truth, "va")
    tune(data, SMALL, progress=lambda done, total, note: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


# --- which rows count -----------------------------------------------------------------------------------------


def test_frames_are_counted_and_omissions_are_reported(made: tuple[Path, dict[str, Annotations]]) -> None:
    folder, truth = made
    tables = find([folder])
    more = truth | {"elsewhere": labels("elsewhere", 9, 0)}
    data = gather(tables, more, "au")
    assert data.without_table == 1 and data.without_faces == ()
    expected = filled = 0
    for name, one in truth.items():
        known = ~np.isnan(one.action_units[:, 0])
        whole, _, side = name.partition("_")
        prediction = predict(load(tables[whole]), side=side or None)
        _, seen = prediction.at("action_units", one.frames[known])
        expected, filled = expected + known.sum(), filled + (~seen).sum()
    assert data.frames("action_units") == (expected, filled) and filled > 30
    assert data.max_gap == 0.5 and not data.sparse
    assert gather(tables, truth, "au", max_gap=2.0).max_gap == 2.0


def test_single_images_are_smoothed_by_their_true_distance(tmp_path: Path) -> None:
    """The lists of s-Aff-Wild2; the score is that of smoothing by hand, which knows no gaps."""
    random = np.random.default_rng(4)
    truth = replace(labels("v", 120, 8), frames=np.cumsum(random.integers(1, 40, 120)))
    scores = {ONE: said(truth, 5, 2.0)}
    content = line(truth, scores, first=0)
    write(tmp_path, "v", content, "pictures")
    data = gather(find([tmp_path]), {"v": truth}, "va")
    assert data.sparse and data.max_gap == SPARSE_GAP
    found = tune(data, Grid((1000.0,), (5,)))
    outcome = found.tasks["valence_arousal"]
    assert outcome.weights == (0.5,) and outcome.surface.shape == (3, 1)
    frames, values = content.index.astype(float)[content.row], content.scores[ONE]["valence_arousal"].astype(float)
    w = np.exp(-(np.subtract.outer(frames, frames) ** 2) / 1000)
    w[np.abs(np.subtract.outer(np.arange(len(frames)), np.arange(len(frames)))) > 5] = 0
    hand = w @ values / w.sum(axis=1, keepdims=True)
    known = ~np.isnan(truth.valence_arousal[:, 0])
    at = np.column_stack([np.interp(truth.frames[known], frames, column) for column in hand.T])
    expected = sk_score("valence_arousal", truth.valence_arousal[known], at)
    assert outcome.surface[2, 0] == pytest.approx(expected, abs=1e-9)
    assert gather(find([tmp_path]), {"v": truth}, "va", max_gap=0.5).max_gap == 0.5
    assert found.recipe.max_gap == SPARSE_GAP
    video = tmp_path / "video"
    write(video, "v", content)
    assert not gather(find([video]), {"v": truth}, "va").sparse, "a video is one, whatever was analysed of it"


def test_videos_without_any_scored_face_are_left_out(made: tuple[Path, dict[str, Annotations]]) -> None:
    folder, truth = made
    tables = find([folder])
    nobody = folder.parent / "nobody"
    empty = line(truth["a"], both(truth["a"], 1))
    none = np.empty(0, np.int64)
    empty = Timeline(empty.index, empty.time, none, none, np.empty(0, np.float32), np.empty((0, 4), np.float32), {})
    write(nobody, "empty", empty)
    everything = tables | find([nobody])
    data = gather(everything, truth | {"empty": truth["a"]}, "expr")
    assert data.without_faces == ("empty",) and len(data.videos) == 6
    with pytest.raises(InputError, match="no face was found"):
        gather(find([nobody]), {"empty": truth["a"]}, "expr")
    other_side = gather(everything, {"a": truth["a"], "one_left": truth["one_right"]}, "expr")
    assert other_side.without_faces == ("one_left",)


def test_models_that_are_taken(made: tuple[Path, dict[str, Annotations]], tmp_path: Path) -> None:
    folder, truth = made
    tables = find([folder])
    assert gather(tables, truth, "va").models == (ONE, TWO)
    truth = {name: one for name, one in truth.items() if name != "b"}  # there, one fills in for the other
    turned = tune(gather(tables, truth, "va", models=(TWO, ONE)), SMALL).tasks["valence_arousal"]
    plain = tune(gather(tables, truth, "va"), replace(SMALL, weights=(0.0, 0.5, 0.7, 1.0))).tasks["valence_arousal"]
    np.testing.assert_allclose(turned.surface[:, ::-1], plain.surface, atol=1e-12)
    alone = tune(gather(tables, truth, "va", models=(TWO,)), SMALL)
    assert alone.recipe.models == (TWO,) and alone.recipe.blend == {}
    np.testing.assert_allclose(alone.tasks["valence_arousal"].surface[:, 0], plain.surface[:, 0], atol=1e-12)
    three = {**both(truth["a"], 1), "mbf_va_mtl": said(truth["a"], 2, 1.0)}
    write(tmp_path, "a", line(truth["a"], three), models=(ONE,))
    with pytest.raises(UsageError, match="choose one or two of them with --model"):
        gather(find([tmp_path]), truth, "va")
    assert gather(find([tmp_path]), truth, "va", models=("mbf_va_mtl", ONE)).models == ("mbf_va_mtl", ONE)
    with pytest.raises(UsageError, match="no raw scores of nonsense, only of"):
        gather(find([tmp_path]), truth, "va", models=(ONE, "nonsense"))
    for wrong in ((ONE, ONE), (ONE, TWO, "mbf_va_mtl")):
        with pytest.raises(UsageError, match="give one model, or two different ones"):
            gather(find([tmp_path]), truth, "va", models=wrong)
    with pytest.raises(InputError, match="annotate them alike"):
        gather(tables | find([tmp_path]), truth, "va")


def test_a_task_of_one_of_two_models_has_no_weight(tmp_path: Path) -> None:
    truth = {name: labels(name, 50, k) for k, name in enumerate("ab")}
    for k, name in enumerate(truth):
        scores = both(truth[name], k)
        del scores[TWO]["action_units"]
        write(tmp_path, name, line(truth[name], scores))
    found = tune(gather(find([tmp_path]), truth, "mtl"), SMALL)
    assert found.tasks["action_units"].weights == (0.5,)
    assert found.tasks["expression"].weights == (0.0, 0.3, 0.5, 1.0)
    assert "weight" not in found.tasks["action_units"].fold_choices()


# --- what cannot be -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "value"), [("valence_arousal", np.nan), ("expression", np.inf), ("action_units", np.nan)]
)
def test_scores_that_are_no_numbers(tmp_path: Path, task: str, value: float) -> None:
    truth = labels("v", 30, 1)
    scores = both(truth, 1)
    scores[TWO][task][:, 1] = np.where(np.arange(30) < 15, value, 0.5)
    write(tmp_path, "v", line(truth, scores))
    with pytest.raises(InputError, match=rf"v\.raw\.npz: its {task.replace('_', ' ')} scores contain nan or infinity"):
        gather(find([tmp_path]), {"v": truth}, "mtl")


def test_a_model_without_the_task_and_truth_without_it(tmp_path: Path) -> None:
    truth = labels("v", 30, 1)
    scores = {ONE: {"expression": said(truth, 1, 1.0)["expression"]}}
    write(tmp_path, "v", line(truth, scores))
    with pytest.raises(InputError, match=f"{ONE} gave no action units scores"):
        gather(find([tmp_path]), {"v": truth}, "au")
    with pytest.raises(InputError, match="no frame of these videos has both ground truth and a face for expression"):
        gather(find([tmp_path]), {"v": replace(truth, expression=np.full(30, -1))}, "expr")
    with pytest.raises(InputError, match="none of the 2 videos of the ground truth has a table: they are called x, y"):
        gather(find([tmp_path]), {"x": truth, "y": truth}, "expr")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"track": "ce"}, "--track ce"), ({"track": "emi"}, "--track emi"), ({"track": "faces"}, "--track faces"),
        ({"out": "r.yaml"}, "call it r.toml"), ({"surface": Path("s.jpg")}, "--surface s.jpg"),
        ({"part": "test"}, "--part test"), ({"folds": 1}, "--folds 1"), ({"sigmas": "x"}, "--sigmas x"),
        ({"model": f"{ONE},{ONE}"}, "two different ones"), ({"model": ONE, "weights": "0.5,1"}, "--weights 0.5,1"),
        ({"max_gap": -1.0}, "--max-gap"), ({"model": "nobody"}, "no raw scores of nobody"),
        ({"thresholds": "0.5"}, "--thresholds: action units have thresholds, and the track va"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(
    made: tuple[Path, dict[str, Annotations]], tmp_path: Path, options: dict, says: str
) -> None:
    folder, truth = made
    out = tmp_path / str(options.pop("out", "r.toml"))
    with pytest.raises(UsageError, match=says):
        run_it([folder], as_list(tmp_path, truth), out, **{"track": "va", **options})
    assert not out.exists()


def test_truth_that_is_not_there(made: tuple[Path, dict[str, Annotations]], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        run_it([made[0]], tmp_path / "nowhere.txt", tmp_path / "r.toml", track="va")


# --- what is written and printed ------------------------------------------------------------------------------


def run_it(tables: list[Path], truth: Path, out: Path, **options: object) -> None:
    usual: dict[str, object] = {
        "track": "expr", "part": "validation", "model": None, "sigmas": None, "deltas": None, "seconds": None,
        "weights": None, "folds": 3, "max_gap": None, "surface": None, "threads": 2, "quiet": False, "json": False,
        "one_se": False,
    }  # fmt: skip
    if options.get("track") in ("au", "mtl"):
        usual["thresholds"] = "0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9"
    call(run, tables=tables, truth=truth, out=out, **{**usual, **options})


def test_recipes_say_where_they_come_from(made: tuple[Path, dict[str, Annotations]], tmp_path: Path) -> None:
    folder, truth = made
    listed = as_list(tmp_path, truth)
    for name in ("r.toml", "r.json"):
        (tmp_path / name).write_text("old")
        run_it([folder], listed, tmp_path / name, track="mtl", deltas="1,6", sigmas="100", quiet=True, overwrite=True)
    text = (tmp_path / "r.toml").read_text()
    comments = [row for row in text.splitlines() if row.startswith("#")]
    assert "hsemotion tune" in comments[0] and "mtl" in comments[0] and "6 videos" in comments[0]
    assert all("cross-validated in 3 folds" in row for row in comments[1:4])
    assert all("that was tried" in row or "that were tried" in row for row in comments[4:]), "edges of a given grid"
    facts = json.loads((tmp_path / "r.json").read_text())["tuned"]
    for task, found in facts["tasks"].items():
        row = next(row for row in comments if row.startswith(f"# {task}"))
        for value in (found["untuned"], found["in_sample"], found["cross_validated"]):
            assert f"{value:.4f}" in row
        assert f"{found['frames']:,} frames" in row
    assert tomllib.loads(text)["max_gap"] == 0.5
    assert Recipe.read(tmp_path / "r.toml") == Recipe.read(tmp_path / "r.json")
    assert set(Recipe.read(tmp_path / "r.toml").thresholds) == set(ACTION_UNITS)


def test_smooth_takes_the_recipe(made: tuple[Path, dict[str, Annotations]], tmp_path: Path) -> None:
    from hsemotion_cli.commands.smooth import run as smooth_command
    from hsemotion_cli.formats import table

    folder, truth = made
    run_it([folder], as_list(tmp_path, truth), tmp_path / "r.toml", track="va", quiet=True, deltas="6", sigmas="100")
    call(smooth_command, table=folder / "a.csv", out=tmp_path / "out", recipe=tmp_path / "r.toml", quiet=True)
    recipe = Recipe.read(tmp_path / "r.toml")
    assert Recipe.read(tmp_path / "out" / "a.json") == recipe
    content = load(folder / "a.raw.npz").timeline
    one, two = (content.scores[model]["valence_arousal"].astype(float) for model in recipe.models)
    w = recipe.blend["valence_arousal"]
    expected = smooth(content, w * one + (1 - w) * two, recipe.smoothing["valence_arousal"], 0.5)
    rows = table.load(tmp_path / "out" / "a.csv")
    np.testing.assert_allclose(rows["valence"].dropna(), expected[:, 0], atol=1e-5)


def test_nothing_is_left_half_written(
    made: tuple[Path, dict[str, Annotations]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, truth = made
    listed = as_list(tmp_path, truth)
    (tmp_path / "r.toml").mkdir()
    with pytest.raises(UsageError, match=r"r\.toml: cannot be written \(Is a directory\); a folder has this name"):
        run_it([folder], listed, tmp_path / "r.toml", track="va", deltas="5")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        ModelUnavailable, match=r"s\.png: drawing needs matplotlib.*pip install 'hsemotion-cli\[plot\]'"
    ):
        run_it([folder], listed, tmp_path / "s.toml", track="va", surface=tmp_path / "s.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.toml", listed.name]


def test_the_surface_is_printed_and_drawn(
    made: tuple[Path, dict[str, Annotations]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = made
    options = {"track": "mtl", "sigmas": "10,1000", "deltas": "1,6,20", "seconds": "0.2,1"}
    listed = as_list(tmp_path, truth | {"elsewhere": truth["a"]})
    run_it([folder], listed, tmp_path / "r.json", surface=tmp_path / "s.png", **options)
    text = capsys.readouterr().out
    assert str(tmp_path / "r.json") in text and str(tmp_path / "s.png") in text
    assert "annotated videos without a table, which do not count here: 1." in text
    assert text.count("sigma \\ rows to each side") == text.count("kernel \\ width (s)") == 3
    assert "in 3 folds" in text and "thresholds: AU01" in text
    data = gather(find([folder]), truth, "mtl")
    found = tune(data, Grid.of(*(options[name] for name in ("sigmas", "deltas", "seconds"))), folds=3)
    for outcome in found.tasks.values():
        for panel in grid_plots.panels(found.grid, outcome):
            for score, best in zip(panel.scores.ravel(), panel.best.ravel(), strict=True):
                assert f"{score:.4f}{'*' if best else ' '}" in text
        marked = np.concatenate([panel.scores[panel.best] for panel in grid_plots.panels(found.grid, outcome)])
        assert len(marked) and np.allclose(marked, outcome.surface.max(), atol=1e-12), "the best of all is marked"
        assert f"{outcome.cross_validated:.4f}" in text and f"{outcome.untuned:.4f}" in text
    head = (tmp_path / "s.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n" and min(struct.unpack(">II", head[16:])) > 400
    again = tmp_path / "again.png"
    grid_plots.draw(found, again, "mtl, 6 videos")
    assert again.read_bytes() == (tmp_path / "s.png").read_bytes()
    grid_plots.draw(found, tmp_path / "s.svg", "mtl, 6 videos")
    text = (tmp_path / "s.svg").read_text()
    assert "<image" not in text and ">mtl, 6 videos<" in text


def test_a_recipe_for_single_images_is_marked_and_names_any_model(tmp_path: Path) -> None:
    truth = labels("v", 60, 1, start=5, step=7)
    write(tmp_path / "raw", "v", line(truth, {ONE: said(truth, 5, 2.0)}, first=0), "pictures")
    listed = as_list(tmp_path, {"v": truth}).rename(tmp_path / 'li"st\n\x7f\udcff.txt')
    run_it([tmp_path / "raw"], listed, tmp_path / "r.toml", track="va", deltas="5", quiet=True)
    assert Recipe.read(tmp_path / "r.toml").max_gap == SPARSE_GAP
    assert "# max_gap is this long because" in (tmp_path / "r.toml").read_text()


def test_quiet_prints_nothing(
    made: tuple[Path, dict[str, Annotations]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, truth = made
    run_it([folder], as_list(tmp_path, truth), tmp_path / "r.toml", track="va", deltas="5", quiet=True)
    assert capsys.readouterr() == ("", "")


def test_trees_of_single_tracks_are_read(made: tuple[Path, dict[str, Annotations]], tmp_path: Path) -> None:
    """A folder for the track and a file for each video, whose lines are frames from 1."""
    folder, truth = made
    place = tmp_path / "VA_Estimation_Challenge" / "Validation_Set"
    place.mkdir(parents=True)
    for name, found in truth.items():
        values = np.nan_to_num(found.valence_arousal.astype(float), nan=-5)
        (place / f"{name}.txt").write_text(
            "\n".join(["valence,arousal", *(f"{v!r},{a!r}" for v, a in values.tolist())])
        )
    run_it([folder], tmp_path, tmp_path / "tree.toml", track="va", deltas="1,6", sigmas="100", quiet=True)
    run_it([folder], as_list(tmp_path / "..", truth), tmp_path / "list.toml", track="va", deltas="1,6", sigmas="100")
    assert Recipe.read(tmp_path / "tree.toml") == Recipe.read(tmp_path / "list.toml")
