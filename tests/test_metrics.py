"""Metrics against scikit-learn, scipy and their definitions; what must hold for any input; degenerate cases."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sklearn

from hsemotion_cli.evaluation import metrics

VALUES = st.integers(-1000, 1000).map(lambda k: k / 1000)
PAIRS = st.integers(2, 40).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float64, n, elements=VALUES)] * 2))
LABELS = st.tuples(st.integers(2, 9), st.integers(1, 60)).flatmap(
    lambda size: st.tuples(st.just(size[0]), *[hnp.arrays(np.int64, size[1], elements=st.integers(0, size[0] - 1))] * 2)
)
BINARY = st.tuples(st.integers(1, 30), st.integers(1, 12)).flatmap(
    lambda shape: st.tuples(*[hnp.arrays(np.int8, shape, elements=st.integers(0, 1))] * 2)
)


def vary(*values: np.ndarray) -> None:
    for one in values:
        assume((one != one[0]).any())


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_ccc_is_lins(seed: int, offset: float) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(0.1, 0.4, 500) + offset
    y = 0.6 * x + 0.4 * offset + random.normal(-0.1, 0.3, 500)
    n = len(x)
    # Lin's other form, r times a bias factor, from scipy's r and the statistics of the standard library's fsum.
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    sd_x, sd_y = (math.sqrt(math.fsum((v - m) ** 2 for v in a) / n) for a, m in ((x, mean_x), (y, mean_y)))
    scale, shift = sd_x / sd_y, (mean_x - mean_y) / math.sqrt(sd_x * sd_y)
    expected = stats.pearsonr(x, y).statistic * 2 / (scale + 1 / scale + shift**2)
    assert metrics.ccc(x, y) == pytest.approx(expected, abs=1e-9)


def test_ccc_takes_moments_over_n_by_hand() -> None:
    # Means 2 and 3, variances 2/3 and 14/3, covariance 4/3: 8/19. With moments over n - 1 it would be 4/9.
    assert metrics.ccc([1, 2, 3], [2, 1, 6]) == pytest.approx(8 / 19, abs=1e-15)


@given(PAIRS)
def test_ccc_is_one_less_the_squared_distance_over_what_chance_makes_it(pair: tuple[np.ndarray, ...]) -> None:
    x, y = pair
    vary(x, y)
    expected = 1 - ((x - y) ** 2).mean() / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert metrics.ccc(x, y) == pytest.approx(expected, abs=1e-9)


@given(PAIRS)
def test_ccc_is_symmetric_and_never_beyond_pearson(pair: tuple[np.ndarray, ...]) -> None:
    x, y = pair
    value = float(metrics.ccc(x, y))
    assert value == pytest.approx(float(metrics.ccc(y, x)), abs=1e-12)
    assert abs(value) <= abs(float(metrics.pearson(x, y))) + 1e-12
    assert float(metrics.ccc(-x, y)) == pytest.approx(float(metrics.ccc(x, -y)), abs=1e-12)


@given(PAIRS)
def test_ccc_is_one_if_and_only_if_equal(pair: tuple[np.ndarray, ...]) -> None:
    x, y = pair
    vary(x)
    assert metrics.ccc(x, x) == pytest.approx(1, abs=1e-12)
    if (x != y).any():
        assert metrics.ccc(x, y) < 1 - 1e-9
    assert metrics.ccc(x, x + 0.5) < 1 - 1e-9
    assert metrics.ccc(x, 2 * x) < 1 - 1e-9


@given(PAIRS, st.sampled_from([0.0, 0.1, -0.3, 0.7, 1 / 3, 1e-8]))
def test_a_constant_agrees_with_nothing(pair: tuple[np.ndarray, ...], value: float) -> None:
    x, constant = pair[0], np.full_like(pair[0], value)
    for score in (metrics.ccc, metrics.pearson):
        assert score(x, constant) == 0
        assert score(constant, x) == 0
        assert score(constant, constant) == 0
        assert score(constant, constant + 1) == 0
        assert score([value], [value]) == 0


@given(PAIRS)
def test_pearson_is_scipys(pair: tuple[np.ndarray, ...]) -> None:
    x, y = pair
    vary(x, y)
    assert metrics.pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-9)
    assert metrics.pearson(x, 3 * x - 1) == pytest.approx(1, abs=1e-12) and metrics.pearson(x, 3 * x - 1) <= 1


@given(st.integers(1, 5), st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_columns_are_scored_one_by_one(columns: int, n: int, seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, n, columns))
    binary = x > 0, y > 0
    for score, (one, other) in ((metrics.ccc, (x, y)), (metrics.pearson, (x, y)), (metrics.f1_binary, binary)):
        found = score(one, other)
        assert found.shape == (columns,) and found.dtype == np.float64
        for k in range(columns):
            assert score(one[:, k], other[:, k]) == pytest.approx(found[k], abs=1e-12)
            assert score(one[:, k], other[:, k]).shape == ()


def test_single_precision_is_summed_in_double() -> None:
    x, y = (np.random.default_rng(0).normal(size=(2, 200_000)) + 100).astype(np.float32)
    wide = x.astype(np.float64), y.astype(np.float64)
    assert metrics.ccc(x, y) == metrics.ccc(*wide)
    assert metrics.pearson(x, y) == pytest.approx(stats.pearsonr(*wide).statistic, abs=1e-9)


@given(LABELS)
def test_scores_of_classes_are_scikit_learns(labels: tuple[int, np.ndarray, np.ndarray]) -> None:
    classes, truth, prediction = labels
    names = list(range(classes))
    expected = sklearn.f1_score(truth, prediction, labels=names, average="macro", zero_division=0)
    assert metrics.f1_macro(truth, prediction, classes) == pytest.approx(expected, abs=1e-9)
    assert metrics.accuracy(truth, prediction) == pytest.approx(sklearn.accuracy_score(truth, prediction), abs=1e-9)
    table = metrics.confusion(truth, prediction, classes)
    np.testing.assert_array_equal(table, sklearn.confusion_matrix(truth, prediction, labels=names))
    assert table.dtype == np.int64
    found = metrics.per_class(truth, prediction, classes)
    wanted = sklearn.precision_recall_fscore_support(truth, prediction, labels=names, zero_division=0)
    for one, other in zip((found.precision, found.recall, found.f1, found.support), wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    assert found.support.dtype == np.int64


@given(LABELS, st.randoms(use_true_random=False))
def test_f1_depends_neither_on_the_order_of_rows_nor_on_the_names_of_classes(
    labels: tuple[int, np.ndarray, np.ndarray], random: object
) -> None:
    classes, truth, prediction = labels
    score = metrics.f1_macro(truth, prediction, classes)
    rows, names = list(range(len(truth))), list(range(classes))
    random.shuffle(rows)  # type: ignore[attr-defined]
    random.shuffle(names)  # type: ignore[attr-defined]
    assert metrics.f1_macro(truth[rows], prediction[rows], classes) == score
    renamed = np.array(names)
    assert metrics.f1_macro(renamed[truth], renamed[prediction], classes) == pytest.approx(score, abs=1e-12)


def test_a_class_without_samples_lowers_the_mean() -> None:
    truth = prediction = np.array([0, 1, 1, 2])
    assert metrics.f1_macro(truth, prediction, 3) == 1
    assert metrics.f1_macro(truth, prediction, 4) == 0.75
    found = metrics.per_class(truth, prediction, 4)
    assert found.f1.tolist() == [1, 1, 1, 0] and found.support.tolist() == [1, 2, 1, 0]


def test_rows_of_the_confusion_are_the_truth() -> None:
    assert metrics.confusion([0, 0, 1], [1, 1, 1], 2).tolist() == [[0, 2], [0, 1]]


@given(BINARY)
def test_f1_of_units_is_scikit_learns(pair: tuple[np.ndarray, ...]) -> None:
    truth, prediction = pair
    found = metrics.f1_binary(truth, prediction)
    for k in range(truth.shape[1]):
        expected = sklearn.f1_score(truth[:, k], prediction[:, k], zero_division=0)
        assert found[k] == pytest.approx(expected, abs=1e-9)


def test_f1_of_units_by_hand() -> None:
    truth = np.array([[1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 0, 0]], np.float32)
    prediction = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]], bool)
    assert metrics.f1_binary(truth, prediction).tolist() == [0.5, 0, 0]


def test_p_mtl_is_the_sum_of_three_means() -> None:
    # The parts of HSEmotion's best system for ABAW-7 on validation: 0.5578 + 0.4168 + 0.5194.
    units = [0.617, 0.440, 0.592, 0.607, 0.739, 0.723, 0.688, 0.258, 0.166, 0.187, 0.847, 0.367]
    expression = np.mean([0.434, 0.227, 0.517, 0.303, 0.513, 0.733, 0.244, 0.363])
    assert metrics.p_mtl([0.5598, 0.5558], float(expression), units) == pytest.approx(1.4939, abs=2e-4)
    assert metrics.p_mtl([1, 1], 1.0, np.ones(12)) == 3
    arguments: tuple[Any, Any, Any]
    for arguments in (([0.5], 0.5, np.ones(12)), ([0.5, 0.5], 0.5, np.ones(11)), (0.5, 0.5, np.ones(12))):
        with pytest.raises(ValueError, match="expected shapes"):
            metrics.p_mtl(*arguments)
    unknown: list[tuple[Any, Any, Any]] = [([np.nan, 1], 0.5, np.ones(12)), ([1, 1], np.nan, np.ones(12))]
    for arguments in (*unknown, ([1, 1], 1, [np.nan] * 12)):
        with pytest.raises(ValueError, match="nan"):
            metrics.p_mtl(*arguments)


def two_classes(score: Callable[..., object]) -> Callable[..., object]:
    return lambda truth, prediction: score(truth, prediction, 2)


SCORES = {
    "ccc": metrics.ccc,
    "pearson": metrics.pearson,
    "f1_binary": metrics.f1_binary,
    "accuracy": metrics.accuracy,
    "f1_macro": two_classes(metrics.f1_macro),
    "per_class": two_classes(metrics.per_class),
    "confusion": two_classes(metrics.confusion),
}


@pytest.mark.parametrize("name", SCORES)
def test_what_is_no_pair_of_numbers_is_an_error(name: str) -> None:
    score = SCORES[name]
    for bad, order in itertools.product((np.nan, np.inf), (1, -1)):
        with pytest.raises(ValueError, match="nan or infinity"):
            score(*[[0.0, 1.0], [1.0, bad]][::order])
    for shapes in (((3,), (2,)), ((3, 1), (3,)), ((), ()), ((1, 1, 1), (1, 1, 1))):
        with pytest.raises(ValueError, match="must both be"):
            score(*map(np.zeros, shapes))
    for empty in ((0,), (0, 2)):
        with pytest.raises(ValueError, match="no rows"):
            score(np.zeros(empty), np.zeros(empty))


@pytest.mark.parametrize("name", ["accuracy", "f1_macro", "per_class", "confusion"])
def test_what_is_no_class_is_an_error(name: str) -> None:
    score = SCORES[name]
    with pytest.raises(ValueError, match="whole"):
        score([0, 1], [0.5, 1])
    with pytest.raises(ValueError, match=r"must be \(n,\)"):
        score(np.zeros((2, 2)), np.zeros((2, 2)))
    if name != "accuracy":
        for wrong in (-1, 2):
            for pair in (([0, wrong], [0, 1]), ([0, 1], [0, wrong])):
                with pytest.raises(ValueError, match="classes must be 0 to 1"):
                    score(*pair)


@pytest.mark.parametrize("wrong", [0.5, -1, 2])
def test_units_must_have_met_their_thresholds(wrong: float) -> None:
    for pair in (([0, 1], [0, wrong]), ([0, wrong], [0, 1])):
        with pytest.raises(ValueError, match="apply thresholds first"):
            metrics.f1_binary(*pair)


def test_lists_and_whole_floats_are_taken() -> None:
    assert metrics.f1_macro([0.0, 1.0], (0, 1), 2) == 1
    assert metrics.accuracy(np.array([3, 4], np.uint8), np.array([3.0, -1.0])) == 0.5
    assert metrics.ccc([0, 1], np.array([0, 1], np.int8)) == 1
    assert metrics.confusion([0, 0], [0, 0], 1).tolist() == [[2]]
