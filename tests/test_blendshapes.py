"""The built-in model: its predictions, independence of batches, and refusal of a wrong weights file."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.special import expit, softmax

from hsemotion_cli.domain import Face
from hsemotion_cli.errors import ModelUnavailable
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.models import blendshapes
from hsemotion_cli.models.blendshapes import FACS, ORDERS, GeometryModel
from hsemotion_cli.models.registry import card
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS, BLENDSHAPES, EXPRESSIONS
from hsemotion_cli.training import blendshape_card, blendshape_evaluation, blendshape_head, typical_units
from hsemotion_cli.training.blendshape_card import figures_as_markdown

ROOT = Path(__file__).parent.parent
CARD = card("mp-blendshapes")
WEIGHTS = Path(str(files("hsemotion_cli").joinpath("assets", str(CARD.file))))
MODEL = GeometryModel(CARD)
REST = 0.02


def face(shapes: NDArray[np.floating] | None = None, **moved: float) -> Face:
    """A face with given blendshapes, or at rest but for those named (both sides of a pair at once)."""
    if shapes is None:
        for name in moved:
            assert any(shape.startswith(name) for shape in BLENDSHAPES)
        shapes = np.array([next((v for name, v in moved.items() if s.startswith(name)), REST) for s in BLENDSHAPES])
    return Face((0.0, 0.0, 100.0, 100.0), 0.9, blendshapes=shapes.astype(np.float32))


def units(seen: Face) -> dict[str, float]:
    return dict(zip(ACTION_UNITS, MODEL([seen]).tasks["action_units"][0].tolist(), strict=True))


def expressions(seen: Face) -> dict[str, float]:
    """Of the eight that it knows."""
    return dict(zip(BASIC_EXPRESSIONS, MODEL([seen]).tasks["expression"][0, :8].tolist(), strict=True))


def random_faces(count: int, seed: int = 0) -> list[Face]:
    return [face(row) for row in np.random.default_rng(seed).beta(0.4, 1.6, (count, len(BLENDSHAPES)))]


@pytest.fixture(scope="module")
def astronaut() -> Face:
    picture = clips.still(ROOT / "sample_videos" / "stills" / "astronaut.png")
    with FaceDetector() as finder:
        return finder.find(picture)[0]


def test_a_real_smile_is_happiness_with_lip_corners_pulled_and_lips_parted(astronaut: Face) -> None:
    seen = expressions(astronaut)
    assert max(seen, key=lambda name: seen[name]) == "happiness"
    assert seen["happiness"] > 0.8
    present = {unit for unit, p in units(astronaut).items() if p >= MODEL.au_thresholds[unit]}
    assert {"AU12", "AU25"} <= present
    assert not present & {"AU04", "AU15", "AU23"}
    valence, _ = MODEL([astronaut]).tasks["valence_arousal"][0]
    assert valence > 0.25


def test_a_face_at_rest_is_neutral_and_shows_no_action_unit() -> None:
    seen = expressions(face())
    assert max(seen, key=lambda name: seen[name]) == "neutral"
    assert [unit for unit, p in units(face()).items() if p >= MODEL.au_thresholds[unit]] == []
    valence, arousal = MODEL([face()]).tasks["valence_arousal"][0]
    assert abs(valence) < 0.15
    assert arousal < -0.4


@pytest.mark.parametrize(
    ("moved", "name"),
    [
        ({"mouthSmile": 0.9, "eyeSquint": 0.5, "mouthUpperUp": 0.5}, "happiness"),
        ({"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.4, "jawOpen": 0.6}, "surprise"),
        ({"browDown": 0.9, "mouthUpperUp": 0.6, "mouthLowerDown": 0.6, "jawOpen": 0.4}, "anger"),
        ({"browInnerUp": 0.8, "mouthStretch": 0.7, "jawOpen": 0.4, "eyeWide": 0.4}, "fear"),
    ],
)
def test_a_textbook_expression_is_named(moved: dict[str, Any], name: str) -> None:
    seen = expressions(face(**moved))
    assert max(seen, key=lambda key: seen[key]) == name


@pytest.mark.parametrize(
    ("moved", "raised"),
    [
        ("browInnerUp", {"AU01"}),
        ("browOuterUp", {"AU02"}),
        ("browDown", {"AU04"}),
        ("eyeSquint", {"AU06", "AU07"}),
        ("mouthSmile", {"AU12"}),
        ("mouthFrown", {"AU15"}),
        ("mouthPress", {"AU23", "AU24"}),
        ("mouthRoll", {"AU23"}),
        ("mouthUpperUp", {"AU10", "AU25"}),
        ("mouthLowerDown", {"AU25"}),
        ("jawOpen", {"AU25", "AU26"}),
        ("eyeBlink", set()),
        ("mouthPucker", set()),
    ],
)
def test_a_blendshape_raises_its_own_action_units_past_their_thresholds_and_no_others(
    moved: str, raised: set[str]
) -> None:
    change: dict[str, Any] = {moved: 1.0}
    before, after = units(face()), units(face(**change))
    assert {unit for unit in ACTION_UNITS if after[unit] != before[unit]} == raised
    for unit in raised:
        assert before[unit] < MODEL.au_thresholds[unit] <= after[unit]


def test_all_of_a_units_blendshapes_at_their_maximum_make_it_near_certain() -> None:
    for unit, shapes in FACS.items():
        full = np.array([float(shape in shapes) for shape in BLENDSHAPES])
        assert units(face(full))[unit] > 0.949, unit


def test_the_result_for_a_face_is_the_same_to_the_last_bit_in_any_batch() -> None:
    batch = random_faces(32)
    together = MODEL(batch)
    for row, one in enumerate(batch):
        for task, scores in MODEL([one]).tasks.items():
            assert scores[0].tobytes() == together.tasks[task][row].tobytes(), task
    for task, scores in MODEL(batch[5:12]).tasks.items():
        assert scores.tobytes() == together.tasks[task][5:12].tobytes(), task


def test_a_face_without_blendshapes_is_a_row_of_nan_among_the_others() -> None:
    one, other = random_faces(2)
    scores = MODEL([one, replace(one, blendshapes=None), other])
    assert scores.embeddings is not None
    for task, array in {**scores.tasks, "embeddings": scores.embeddings}.items():
        assert np.isnan(array[1]).all()
        assert np.isfinite(array[[0, 2], : 8 if task == "expression" else None]).all()
    for task, array in MODEL([one, other]).tasks.items():
        np.testing.assert_array_equal(scores.tasks[task][[0, 2]], array)


def test_no_faces_give_empty_arrays_of_the_right_widths() -> None:
    scores = MODEL([])
    assert {task: (a.shape, a.dtype) for task, a in scores.tasks.items()} == {
        "expression": ((0, 9), np.float32),
        "valence_arousal": ((0, 2), np.float32),
        "action_units": ((0, 12), np.float32),
    }
    assert scores.embeddings is not None
    assert scores.embeddings.shape == (0, 52)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1, width=32), min_size=52, max_size=52), max_size=4))
def test_any_blendshapes_give_scores_in_range(rows: list[list[float]]) -> None:
    scores = MODEL([face(np.array(row)) for row in rows])
    expression, affect, present = (scores.tasks[t] for t in ("expression", "valence_arousal", "action_units"))
    assert expression.shape == (len(rows), 9) and np.isnan(expression[:, 8]).all()
    expression = expression[:, :8]
    assert affect.shape == (len(rows), 2) and present.shape == (len(rows), 12)
    assert ((expression >= 0) & (expression <= 1)).all()
    np.testing.assert_allclose(expression.sum(axis=1), 1, atol=1e-6)
    # The corners of the linear map: no mixture of eight expressions lies outside them.
    assert ((affect >= (-0.681, -0.801)) & (affect <= (0.491, 0.361))).all()
    assert ((present > 0) & (present < 1)).all()
    assert scores.embeddings is not None
    np.testing.assert_array_equal(scores.embeddings, np.array(rows, np.float32).reshape(-1, 52))


def test_a_recomputation_from_the_file_with_scipy_agrees() -> None:
    w = {name: value.astype(np.float64) for name, value in load_file(WEIGHTS).items()}
    seen = random_faces(16, seed=3)
    shapes = np.stack([known(one.blendshapes) for one in seen]).astype(np.float64)
    hidden = np.tanh(((shapes - w["input.mean"]) / w["input.scale"]) @ w["hidden.weight"].T + w["hidden.bias"])
    logits = (hidden @ w["output.weight"].T + w["output.bias"]) / w["temperature"]
    scores = MODEL(seen).tasks
    expected = softmax(logits + w["expression.shift"], axis=1)
    np.testing.assert_allclose(scores["expression"][:, :8], expected, atol=1e-6)
    affect = np.clip(softmax(logits, axis=1) @ w["valence_arousal.weight"].T, -1, 1)
    np.testing.assert_allclose(scores["valence_arousal"], affect, atol=1e-6)
    logits = shapes @ w["action_units.weight"].T + w["action_units.bias"]
    np.testing.assert_allclose(scores["action_units"], expit(logits), atol=1e-6)


# A model whose expressions depend on its biases only.


@pytest.fixture
def altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function (tensors to replace, metadata to replace) -> the model read from an altered weights file."""
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(blendshapes, "files", lambda _: tmp_path)

    def build(tensors: dict[str, Any] | None = None, metadata: dict[str, str] | None = None) -> GeometryModel:
        whole = load_file(WEIGHTS) | {name: np.asarray(v, np.float32) for name, v in (tensors or {}).items()}
        names = {name: ",".join(order) for name, order in ORDERS.items()} | (metadata or {})
        save_file(whole, tmp_path / "assets" / str(CARD.file), names)
        return GeometryModel(replace(CARD, sha256=None))

    yield build


def told(shares: dict[str, float]) -> dict[str, Any]:
    """Tensors that make the head say the given shares of every face."""
    bias = [math.log(shares.get(name, 1e-12)) for name in BASIC_EXPRESSIONS]
    silent = {"output.weight": np.zeros((8, 32)), "expression.shift": np.zeros(8)}
    return silent | {"output.bias": bias, "temperature": [1]}


@pytest.mark.parametrize(
    ("shares", "valence", "arousal"),
    [
        ({"neutral": 1.0}, 0.05, -0.80),
        ({"happiness": 1.0}, 0.49, 0.06),
        ({"contempt": 1.0}, -0.13, -0.50),
        ({"disgust": 1.0}, -0.56, 0.26),
        # 0.5 * (-0.68) + 0.5 * (-0.03) = -0.355;  0.5 * 0.22 + 0.5 * 0.36 = 0.29
        ({"fear": 0.5, "surprise": 0.5}, -0.355, 0.29),
        # 0.25 * (-0.51) + 0.75 * (-0.55) = -0.54;  0.25 * 0.32 + 0.75 * 0.11 = 0.1625
        ({"anger": 0.25, "sadness": 0.75}, -0.54, 0.1625),
    ],
)
def test_valence_and_arousal_are_the_published_map_of_the_shares(
    altered: Any, shares: dict[str, float], valence: float, arousal: float
) -> None:
    scores = altered(told(shares))([face()]).tasks
    np.testing.assert_allclose(scores["valence_arousal"][0], (valence, arousal), atol=1e-6)
    expected = [*(shares.get(name, 0) for name in BASIC_EXPRESSIONS), math.nan]
    np.testing.assert_allclose(scores["expression"][0], expected, atol=1e-6)


def test_the_class_shift_changes_expressions_but_not_valence_and_arousal(altered: Any) -> None:
    shares, shift = {"neutral": 0.8, "fear": 0.2}, np.zeros(8)
    shift[EXPRESSIONS.index("fear")] = math.log(4)
    scores = altered(told(shares) | {"expression.shift": shift})([face()]).tasks
    # 0.8 : 0.2 * 4 is even; the map still sees 0.8 * 0.05 - 0.2 * 0.68 = -0.096 and -0.8 * 0.8 + 0.2 * 0.22 = -0.596
    assert scores["expression"][0, EXPRESSIONS.index("fear")] == pytest.approx(0.5, abs=1e-6)
    np.testing.assert_allclose(scores["valence_arousal"][0], (-0.096, -0.596), atol=1e-6)


def test_valence_and_arousal_never_leave_their_range(altered: Any) -> None:
    model = altered(told({"happiness": 1.0}) | {"valence_arousal.weight": [[3.0] * 8, [-3.0] * 8]})
    assert model([face()]).tasks["valence_arousal"][0].tolist() == [1.0, -1.0]


# What is refused


@pytest.mark.parametrize("order", list(ORDERS))
def test_a_file_with_two_names_swapped_is_refused(altered: Any, order: str) -> None:
    names = list(ORDERS[order])
    names[0], names[1] = names[1], names[0]
    with pytest.raises(ModelUnavailable, match=f"order of {order.replace('_', ' ')}"):
        altered(metadata={order: ",".join(names)})


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"output.weight": np.zeros((7, 32))}, "instead of"),
        ({"extra": np.zeros(1)}, "instead of"),
        ({"temperature": [math.nan]}, "not finite"),
        ({"action_units.weight": np.full((12, 52), 0.1)}, "does not show it by FACS"),
        ({"action_units.weight": -np.eye(12, 52, 3) * np.eye(12, 1)}, "does not show it by FACS"),  # AU01: browInnerUp
    ],
)
def test_a_file_with_unfit_numbers_is_refused(altered: Any, tensors: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelUnavailable, match=message):
        altered(tensors)


def test_a_changed_truncated_or_missing_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").mkdir()
    monkeypatch.setattr(blendshapes, "files", lambda _: tmp_path)
    copy = tmp_path / "assets" / str(CARD.file)
    with pytest.raises(ModelUnavailable, match=r"is missing .* reinstall"):
        GeometryModel(CARD)
    whole = bytearray(WEIGHTS.read_bytes())
    whole[-1] ^= 1
    copy.write_bytes(whole)
    with pytest.raises(ModelUnavailable, match="has the wrong checksum"):
        GeometryModel(CARD)
    copy.write_bytes(whole[:500])
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        GeometryModel(replace(CARD, sha256=None))
    copy.write_bytes(WEIGHTS.read_bytes())
    assert GeometryModel(CARD).metadata["model"] == "mp-blendshapes"


# Records that must agree


def test_every_unit_has_known_blendshapes_and_a_threshold() -> None:
    assert tuple(FACS) == ACTION_UNITS
    assert {shape for shapes in FACS.values() for shape in shapes} <= set(BLENDSHAPES)
    assert tuple(MODEL.au_thresholds) == ACTION_UNITS
    assert all(0 < threshold < 1 for threshold in MODEL.au_thresholds.values())


def test_the_card_the_figures_and_the_file_speak_of_the_same_weights() -> None:
    digest = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    figures = json.loads((ROOT / "docs" / "models" / "mp-blendshapes.json").read_text())
    assert CARD.sha256 == figures["weights_sha256"] == digest
    assert WEIGHTS.stat().st_size < 200_000
    assert MODEL.metadata["version"] == figures["version"]
    for unit, row in figures["action_units"].items():
        assert MODEL.au_thresholds[unit] == pytest.approx(row["threshold"], abs=1e-6)
    page = (ROOT / "docs" / "models" / "mp-blendshapes.md").read_text()
    assert page.split(blendshape_card.BEGIN)[1].split(blendshape_card.END)[0] == figures_as_markdown(figures)
    assert blendshape_card.renewed(page, figures) == page


def test_the_same_numbers_are_written_as_the_same_bytes(tmp_path: Path) -> None:
    blendshape_head.write(load_file(WEIGHTS), tmp_path / "again.safetensors", "scripts/train_geometry.py")
    assert (tmp_path / "again.safetensors").read_bytes() == WEIGHTS.read_bytes()


def test_the_figures_are_computed_as_sklearn_computes_them() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    truth, said = random.integers(0, 8, 300), random.integers(0, 8, 300)
    said[:150] = truth[:150]
    found = blendshape_evaluation.classification(truth, said)
    assert found["accuracy"] == round(metrics.accuracy_score(truth, said), 3)
    assert found["macro_f1"] == round(metrics.f1_score(truth, said, average="macro"), 3)
    assert found["mean_recall"] == round(metrics.balanced_accuracy_score(truth, said), 3)
    assert found["confusion"] == metrics.confusion_matrix(truth, said).tolist()
    present, hard = random.random(300) < 0.5, (random.random(300) < 0.3).astype(float)
    assert blendshape_head.expected_f1(present, hard) == pytest.approx(metrics.f1_score(hard, present))


def test_the_figures_agree_with_hand_worked_numbers() -> None:
    # Two predictions with confidence 0.8, one of them right, in one bin: |0.8 - 0.5| = 0.3.
    scores = np.array([[0.8] + [0.2 / 7] * 7] * 2)
    assert blendshape_evaluation.calibration_error(scores, np.eye(8)[[0, 1]]) == pytest.approx(0.3)
    # An undecided image of anger and surprise: AU04 is 0.85 in one and absent in the other.
    shares = np.eye(8)[[EXPRESSIONS.index("anger")]] / 2 + np.eye(8)[[EXPRESSIONS.index("surprise")]] / 2
    assert typical_units.unit_targets(shares)[0, ACTION_UNITS.index("AU04")] == pytest.approx(0.425)


def test_a_mirror_swaps_left_and_right_and_nothing_else() -> None:
    mirror = blendshape_head.mirrored()
    pairs = {BLENDSHAPES[k]: BLENDSHAPES[m] for k, m in enumerate(mirror)}
    assert pairs["mouthSmileLeft"] == "mouthSmileRight" and pairs["jawRight"] == "jawLeft"
    assert pairs["mouthRollLower"] == "mouthRollLower" and pairs["browInnerUp"] == "browInnerUp"
    assert (mirror[mirror] == np.arange(52)).all()


def test_the_card_has_the_thresholds_of_the_weights() -> None:
    assert dict(card("mp-blendshapes").au_thresholds) == pytest.approx(MODEL.au_thresholds, abs=1e-6)
