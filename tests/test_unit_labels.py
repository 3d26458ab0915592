"""Action-unit labels from blendshapes and the labelled expression."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS, BLENDSHAPES
from hsemotion_cli.training.typical_units import unit_targets
from hsemotion_cli.training.unit_labels import label_units, predict_units

CLASSES = tuple(BASIC_EXPRESSIONS)


def one(name: str) -> np.ndarray:
    return np.eye(8)[[CLASSES.index(name)]]


def shapes(**values: float) -> np.ndarray:
    """(1, 52): a resting face with some blendshapes set, on both sides."""
    found = np.full((1, 52), 0.05, np.float32)
    for name, value in values.items():
        for k, column in enumerate(BLENDSHAPES):
            if column.removesuffix("Left").removesuffix("Right") == name:
                found[0, k] = value
    return found


@given(arrays.arrays(np.float32, (3, 52), elements=st.floats(0, 1, width=32)), st.sampled_from(CLASSES))
def test_labels_are_bayes_rule_on_odds(found: np.ndarray, name: str) -> None:
    """The odds of two expressions differ by the ratio of their priors, whatever the face."""
    given_name, neutral = (
        label_units(found, np.repeat(one(which), 3, 0), CLASSES).astype(float) for which in (name, "neutral")
    )
    prior = {which: np.clip(unit_targets(one(which)), 0.05, 0.95)[0] for which in (name, "neutral")}
    odds = {which: values / (1 - values) for which, values in prior.items()}
    expected = np.broadcast_to(odds[name] / odds["neutral"], given_name.shape)
    sure = (np.minimum(given_name, neutral) < 1e-3) | (np.maximum(given_name, neutral) > 0.999)  # single precision
    ratio = (given_name / (1 - given_name) / (neutral / (1 - neutral)))[~sure]
    np.testing.assert_allclose(ratio, expected[~sure], rtol=1e-2)


def test_expression_and_geometry_both_count() -> None:
    brow, cheek = ACTION_UNITS.index("AU04"), ACTION_UNITS.index("AU06")
    calm, frown = shapes(), shapes(browDown=0.9, cheekSquint=0.5)
    angry, happy = (label_units(frown, one(name), CLASSES)[0] for name in ("anger", "happiness"))
    assert angry[brow] > 0.9 > label_units(calm, one("anger"), CLASSES)[0, brow]
    assert happy[brow] < angry[brow]  # the same face, seen as another expression
    assert angry[cheek] < happy[cheek]  # a scowl lifts no cheeks


def test_without_an_expression_the_blendshapes_count_alone_and_without_a_face_nothing() -> None:
    unknown, face = np.full((1, 8), np.nan), shapes(mouthSmile=0.8)
    np.testing.assert_array_equal(label_units(face, unknown, CLASSES), predict_units(face))
    assert np.isnan(label_units(np.full_like(face, np.nan), one("anger"), CLASSES)).all()


def test_classes_count_by_name() -> None:
    face = shapes(mouthSmile=0.5)
    usual = label_units(face, one("happiness"), CLASSES)
    np.testing.assert_array_equal(label_units(face, np.array([[0.0, 1.0]]), ("other", "happiness")), usual)
    assert (label_units(face, np.array([[1.0, 0.0]]), ("other", "happiness")) <= usual).all()
