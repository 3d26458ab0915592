"""Compound expressions, against scipy's means and divergence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hsemotion_cli.postprocess.compound import MEANS, PRIOR, compounds, divergence, frame_scores, probabilities
from hsemotion_cli.tasks import COMPOUNDS, EXPRESSIONS

PAIRS = [(3, 6), (4, 6), (5, 6), (2, 6), (1, 6), (5, 3), (5, 1)]
"""The challenge's seven, by the positions of their parts among neutral, anger, disgust, fear, happiness, ..."""

SCIPY = {
    "arithmetic": lambda pair: np.mean(pair, axis=0),
    "geometric": lambda pair: stats.gmean(pair, axis=0),
    "harmonic": lambda pair: stats.hmean(pair, axis=0),
}


def faces(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(9), count)


@pytest.mark.parametrize("mean", MEANS)
def test_each_is_the_mean_of_its_two_parts(mean: str) -> None:
    expression = faces(50)
    found = compounds(expression, mean)
    for k, (one, other) in enumerate(PAIRS):
        np.testing.assert_allclose(found[:, k], SCIPY[mean](expression[:, [one, other]].T), rtol=1e-12)
    # Nothing is as high as the plain mean, and the harmonic is the strictest.
    assert (found <= compounds(expression, "arithmetic") + 1e-12).all()
    assert (compounds(expression, "harmonic") <= found + 1e-12).all()


@pytest.mark.parametrize("mean", MEANS)
def test_zeros_and_unknown_ones(mean: str) -> None:
    nothing, unknown = np.zeros((1, 9)), np.full((1, 9), np.nan)
    unknown_fear = faces(1)
    unknown_fear[:, EXPRESSIONS.index("fear")] = np.nan
    np.testing.assert_array_equal(compounds(nothing, mean), np.zeros((1, 7)))
    assert np.isnan(compounds(unknown, mean)).all()
    with_fear = ["fear" in pair for pair in COMPOUNDS.values()]
    np.testing.assert_array_equal(np.isnan(compounds(unknown_fear, mean))[0], with_fear)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8))
def test_of_several_faces_the_highest_score_counts(seed: int, count: int, frames: int) -> None:
    random = np.random.default_rng(seed)
    expression, frame = faces(count, seed), random.integers(0, frames, count)
    expression[random.random(count) < 0.2] = np.nan
    found = frame_scores(expression, frame, frames)
    for k in range(frames):
        own = [row for row in compounds(expression[frame == k]) if not np.isnan(row).any()]
        np.testing.assert_array_equal(found[k], np.max(own, axis=0) if own else np.full(7, np.nan))


def test_the_divergence_is_scipys() -> None:
    labels = np.random.default_rng(1).integers(0, 7, 500)
    shares = np.bincount(labels, minlength=7) / 500
    assert divergence(labels) == pytest.approx(stats.entropy(PRIOR, shares))
    assert divergence(np.repeat(np.arange(7), [14445, 24915, 10780, 10637, 10535, 10112, 8878])) == pytest.approx(0)
    assert divergence(np.zeros(9, int)) == np.inf
    np.testing.assert_allclose(PRIOR, [0.1600, 0.2759, 0.1194, 0.1178, 0.1167, 0.1120, 0.0983], atol=5e-5)


def face(**shares: float) -> np.ndarray:
    return np.array([[shares.get(name, 0.0) for name in EXPRESSIONS]])


def test_outside_of_challenges_most_faces_show_no_compound() -> None:
    names = list(COMPOUNDS)
    for shares, none in (
        ({"neutral": 0.96, "happiness": 0.04}, 1.0), ({"happiness": 1.0}, 1.0),
        ({"happiness": 0.5, "surprise": 0.5}, 0.0),
        ({"neutral": 0.9, "sadness": 0.05, "anger": 0.05}, 0.9), ({"happiness": 0.8, "surprise": 0.2}, 0.6),
    ):  # fmt: skip
        found, said = probabilities(face(**shares))
        assert said[0] == pytest.approx(none)
        assert found.sum() + said[0] == pytest.approx(1)
    found, none_ = probabilities(face(surprise=0.4, happiness=0.3, sadness=0.3))
    assert found[0, names.index("happily_surprised")] == found[0, names.index("sadly_surprised")] == pytest.approx(0.3)
    assert none_[0] == pytest.approx(0.4)


@given(st.integers(0, 2**32 - 1))
def test_compounds_and_none_of_them_sum_to_one(seed: int) -> None:
    expression = faces(20, seed)
    found, none = probabilities(expression)
    np.testing.assert_allclose(found.sum(axis=1) + none, 1, atol=1e-12)
    assert (found >= 0).all() and (none >= 0).all()
    order = np.argsort(found, axis=1)[:, -1]
    pairs = np.array(PAIRS)[order]
    smaller = expression[np.arange(20)[:, None], pairs].min(axis=1)
    np.testing.assert_allclose(none, 1 - np.minimum(2 * smaller, 1), atol=1e-12)
    expression[3] = np.nan
    found, none = probabilities(expression)
    assert np.isnan(found[3]).all() and np.isnan(none[3])
