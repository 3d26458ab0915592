"""Uncertainty: its written formula, its limits, and that errors fall when uncertain rows are dropped."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.domain import Frame
from hsemotion_cli.faces.detector import FaceDetector, detect_faces, pad_edges
from hsemotion_cli.models import predict, registry
from hsemotion_cli.models.registry import ASSETS
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import blend, refine
from hsemotion_cli.postprocess.uncertainty import features, uncertainties
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS, MEASURES, TASKS, UNCERTAINTIES
from hsemotion_cli.timeline import Timeline

FERPLUS = Path(__file__).parent.parent.parent / "shared" / "data" / "ferplus" / "ferplus_train_val.npz"
RECIPE = Recipe.usual()
NETWORK, GEOMETRY = RECIPE.models


def line(scores: dict[str, dict[str, NDArray]], measures: dict[str, list[float]] | None = None) -> Timeline:
    """One face in each frame, with scores of models and measures."""
    n = len(next(iter(next(iter(scores.values())).values())))
    rows = {m: {t: np.asarray(v, np.float32) for t, v in tasks.items()} for m, tasks in scores.items()}
    return Timeline(
        np.arange(n), np.arange(n) / 25, np.arange(n), np.zeros(n, np.int64), np.ones(n, np.float32),
        np.ones((n, 4), np.float32), rows,
        measures={name: np.array(values, np.float32) for name, values in (measures or {}).items()},
    )  # fmt: skip


def eight(*rows: list[float]) -> NDArray[np.float64]:
    """Probabilities of the first eight expressions; the ninth is not known."""
    return np.array([[*row, *[0.0] * (8 - len(row)), math.nan] for row in rows])


def found(timeline: Timeline, recipe: Recipe = RECIPE) -> dict[str, NDArray[np.float64]]:
    return uncertainties(timeline, recipe, {task: blend(timeline, recipe, task) for task in TASKS})


def sigmoid(task: str, **given: float) -> float:
    """The formula with the weights as they lie in the file; what is left out counts as average."""
    weights = json.loads((ASSETS / "uncertainty.json").read_text())["tasks"][task]
    total = weights["bias"]
    for name, value in given.items():
        mean, spread, weight = weights["features"][name]
        total += weight * (value - mean) / spread
    return 1 / (1 + math.exp(-total))


def test_the_formula_is_the_written_one() -> None:
    one, two = eight([0.5, 0.5]), eight([0.9, 0.1])
    va, other = np.array([[0.1, 0.2]]), np.array([[0.4, -0.2]])
    units, rest = np.full((1, 12), 0.3), np.full((1, 12), 0.1)
    timeline = line(
        {
            NETWORK: {"expression": one, "valence_arousal": va, "action_units": units},
            GEOMETRY: {"expression": two, "valence_arousal": other, "action_units": rest},
        },
        {"sharpness": [0.5], "contrast": [20.0]},
    )
    own = RECIPE.blend["expression"]
    p = [own * 0.5 + (1 - own) * 0.9, own * 0.5 + (1 - own) * 0.1]
    entropy = -sum(x * math.log(x) for x in p) / math.log(8)
    doubt = math.log((1 - p[0]) / p[0])
    image = {"sharpness": math.log(0.5), "contrast": -1.0, "hidden": 0.0}
    expected = sigmoid("expression", doubt=doubt, entropy=entropy, disagreement=0.4, **image)
    result = found(timeline)
    assert result["uncertainty_expression"] == pytest.approx([expected], abs=1e-6)
    expected = sigmoid("valence_arousal", doubt=doubt, entropy=entropy, disagreement=0.5, **image)
    assert result["uncertainty_va"] == pytest.approx([expected], abs=1e-6)

    def logit(x: float) -> float:
        return math.log(x / (1 - x))

    share = RECIPE.blend["action_units"]
    score = share * 0.3 + (1 - share) * 0.1
    distances = [abs(logit(score) - logit(RECIPE.thresholds[unit])) for unit in ACTION_UNITS]
    threshold = sum(2 / (1 + math.exp(d)) for d in distances) / 12
    expected = sigmoid("action_units", threshold=threshold, disagreement=0.2, **image)
    assert result["uncertainty_au"] == pytest.approx([expected], abs=1e-6)


def test_even_probabilities_and_bad_images_are_more_uncertain() -> None:
    spread = [[1.0], [0.9, 0.1], [0.6, 0.4], [0.4, 0.3, 0.3], [1 / 8] * 8]
    timeline = line({NETWORK: {"expression": eight(*spread)}, GEOMETRY: {"expression": eight(*spread)}})
    values = found(timeline)["uncertainty_expression"]
    assert (np.diff(values) > 0).all() and 0 < values[0] < 0.02 and 0.5 < values[-1] < 1
    dark = {"sharpness": [0.5, 0.5, 0.1, math.nan], "contrast": [60.0, 5.0, 60.0, math.nan]}
    same = eight(*[[0.7, 0.3]] * 4)
    affect = np.zeros((4, 2))
    timeline = line({m: {"expression": same, "valence_arousal": affect} for m in RECIPE.models}, dark)
    clear, low, blurred, hidden = found(timeline)["uncertainty_va"]
    assert clear < min(low, blurred, hidden)


def test_what_is_not_known_counts_as_average_and_no_scores_give_none() -> None:
    lacking = eight([0.6, 0.4], [math.nan] * 8)
    timeline = line({NETWORK: {"expression": lacking}})
    recipe = Recipe((NETWORK,))
    result = found(timeline, recipe)
    doubt, entropy = math.log(0.4 / 0.6), -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) / math.log(8)
    assert result["uncertainty_expression"][0] == pytest.approx(sigmoid("expression", doubt=doubt, entropy=entropy))
    assert math.isnan(result["uncertainty_expression"][1])
    assert np.isnan(result["uncertainty_va"]).all() and np.isnan(result["uncertainty_au"]).all()
    # Landmarks that were not looked for at all say nothing of a face.
    unseen = line({NETWORK: {"expression": lacking}}, {"sharpness": [math.nan] * 2, "contrast": [math.nan] * 2})
    assert found(unseen, recipe)["uncertainty_expression"][0] == result["uncertainty_expression"][0]


def test_values_that_are_certain_stay_within_0_and_1() -> None:
    extreme = np.array([[0.0] * 12, [1.0] * 12])
    timeline = line({m: {"expression": eight([1.0], [0.0]), "action_units": extreme} for m in RECIPE.models})
    for values in (found(timeline)["uncertainty_expression"], found(timeline)["uncertainty_au"]):
        assert ((values >= 0) & (values <= 1)).all()


def test_smoothing_changes_no_uncertainty_and_bridged_rows_have_none() -> None:
    random = np.random.default_rng(3)
    scores = {m: {"expression": eight(*random.dirichlet(np.ones(8), 9).tolist())} for m in RECIPE.models}
    timeline = line(scores)
    plain, smooth = (refine(timeline, RECIPE.changed(smooth=each)) for each in ("none", "gaussian:0.2"))
    assert not np.array_equal(plain.tasks["expression"], smooth.tasks["expression"])
    for name in UNCERTAINTIES.values():
        np.testing.assert_array_equal(plain.measures[name], smooth.measures[name])
    gap = np.array([0, 1, 2, 6, 7, 8, 9, 10, 11])
    apart = Timeline(
        np.arange(12), np.arange(12) / 25, gap, timeline.face_id, timeline.det_score, timeline.box, timeline.scores
    )
    bridged = refine(apart, RECIPE.changed(interpolate=1.0))
    assert np.isnan(bridged.measures["uncertainty_expression"]).tolist() == bridged.interpolated.tolist()


def test_the_table_has_them(smile: Path, nobody: Path, tmp_path: Path) -> None:
    for path in (smile, nobody):
        result = CliRunner().invoke(app, ["annotate", str(path), "-o", str(tmp_path)])
        assert result.exit_code == 0, result.output
    names = list(UNCERTAINTIES.values())
    table = pd.read_csv(tmp_path / "smile.csv")
    assert table[names].notna().all(axis=None) and (table[names] < 0.5).all(axis=None)
    assert pd.read_csv(tmp_path / "nobody.csv")[names].isna().all(axis=None)


@pytest.mark.skipif(not FERPLUS.is_file(), reason="needs the validation images of FER+ in ../shared")
def test_the_error_falls_when_uncertain_rows_are_dropped() -> None:
    with np.load(FERPLUS) as data:
        names, split = data["vote_names"].tolist(), data["split"]
        rows = np.flatnonzero(split == "val")[::18]
        images, votes = data["images"][rows], data["votes"][rows].astype(float)
    cards = [registry.card(name) for name in RECIPE.models]
    models = predict.load_all(cards, predict.InferenceOptions(threads=1))
    truth: list[str] = []
    scores: dict[str, dict[str, list[NDArray]]] = {name: {task: [] for task in TASKS} for name in models}
    measures: list[NDArray] = []
    with FaceDetector() as finder:
        for image, vote in zip(images, votes, strict=True):
            seen = detect_faces(
                Frame(0, 0.0, pad_edges(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB))), finder, [cards[0].crop or "box"]
            ).faces
            if len(seen) != 1 or vote.max() < 5 or names[int(vote.argmax())] not in EXPRESSIONS:
                continue
            unknown = np.full(len(MEASURES), np.nan, np.float32)
            measures.append(unknown if seen[0].measures is None else seen[0].measures)
            for name, model in models.items():
                given = model(list(seen)).tasks
                for task in TASKS:
                    scores[name][task].append(given[task][0])
            truth.append(names[int(vote.argmax())])
    known = {name: [float(row[k]) for row in measures] for k, name in enumerate(MEASURES)}
    timeline = line({m: {t: np.array(v) for t, v in tasks.items()} for m, tasks in scores.items()}, known)
    expression = blend(timeline, RECIPE, "expression")
    error = np.array(EXPRESSIONS)[np.nan_to_num(expression, nan=-1).argmax(axis=1)] != np.array(truth)
    uncertain = found(timeline)["uncertainty_expression"]
    order = np.argsort(uncertain)
    kept = [error[order[: round(share * len(order))]].mean() for share in (1.0, 0.75, 0.5)]
    assert len(error) > 120
    assert kept[0] > 0.05 and kept[1] < 0.65 * kept[0] and kept[2] < 0.35 * kept[0]
    assert uncertain.mean() == pytest.approx(error.mean(), abs=0.06)


def test_features_are_those_that_were_fitted() -> None:
    weights = json.loads((ASSETS / "uncertainty.json").read_text())
    assert weights["models"] == list(RECIPE.models)
    timeline = line({m: {"expression": eight([1.0])} for m in RECIPE.models})
    for task in TASKS:
        blended = {each: blend(timeline, RECIPE, each) for each in TASKS}
        assert features(timeline, RECIPE, blended, task).keys() == weights["tasks"][task]["features"].keys()
