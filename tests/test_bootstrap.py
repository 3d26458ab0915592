"""Sufficient statistics against scikit-learn, scipy and exact fractions, and sums of them against all rows."""

from __future__ import annotations

import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn import metrics as sklearn

from hsemotion_cli.abaw import bootstrap, scores
from hsemotion_cli.abaw.bootstrap import ConfusionCounts, DetectionCounts, Moments
from hsemotion_cli.evaluation import metrics
from hsemotion_cli.evaluation.resampling import interval, resample

UNHURRIED = settings(deadline=None, max_examples=40)
CLASSES = 5
LABELS = st.lists(
    st.integers(0, 12).flatmap(
        lambda n: st.tuples(*[hnp.arrays(np.int64, n, elements=st.integers(0, CLASSES - 1))] * 2)
    ),
    min_size=1,
    max_size=5,
)
UNITS = st.lists(
    st.integers(0, 12).flatmap(lambda n: st.tuples(*[hnp.arrays(np.bool_, (n, 3))] * 2)), min_size=1, max_size=5
)
STEPS = st.integers(-20, 20)
NUMBERS = st.lists(
    st.integers(0, 8).flatmap(lambda n: st.tuples(*[hnp.arrays(np.int64, (n, 2), elements=STEPS)] * 2)),
    min_size=1,
    max_size=5,
)


def times(random: np.random.Generator, videos: int, count: int = 2) -> np.ndarray:
    return random.integers(0, 3, (count, videos)).astype(float)


def rows(videos: list, often: np.ndarray, which: int) -> np.ndarray:
    """The rows of a collection, written out."""
    return np.concatenate(
        [videos[k][which] for k, n in enumerate(often) for _ in range(int(n))] or [videos[0][which][:0]]
    )


def exact_ccc(x: np.ndarray, y: np.ndarray, scale: Fraction = Fraction(1)) -> float:
    a, b = [Fraction(float(v)) * scale for v in x], [Fraction(float(v)) * scale for v in y]
    n = len(a)
    mean_a, mean_b = sum(a) / n, sum(b) / n
    below = sum((v - mean_a) ** 2 for v in a) + sum((v - mean_b) ** 2 for v in b) + n * (mean_a - mean_b) ** 2
    above = 2 * sum((v - mean_a) * (w - mean_b) for v, w in zip(a, b, strict=True))
    return float(above / below) if below else 0.0


@UNHURRIED
@given(LABELS, st.integers(0, 99))
def test_classes_are_as_scikit_learn_counts_them(videos: list, seed: int) -> None:
    often = times(np.random.default_rng(seed), len(videos))
    pooled = ConfusionCounts.of(videos, CLASSES).pooled(often)
    for k, one in enumerate(often):
        x, y = rows(videos, one, 0), rows(videos, one, 1)
        assert pooled.rows[k] == len(x)
        if not len(x):
            assert np.isnan([pooled.macro_f1[k], pooled.accuracy[k], pooled.macro_f1_present[k]]).all()
            continue
        labels = np.arange(CLASSES)
        each = sklearn.precision_recall_fscore_support(x, y, labels=labels, zero_division=0)
        for found, expected in zip((pooled.precision, pooled.recall, pooled.f1, pooled.support), each, strict=True):
            np.testing.assert_allclose(found[k], expected, rtol=0, atol=1e-9)
        np.testing.assert_array_equal(pooled.counts[k], sklearn.confusion_matrix(x, y, labels=labels))
        macro = sklearn.f1_score(x, y, labels=labels, average="macro", zero_division=0)
        assert pooled.macro_f1[k] == pytest.approx(macro, abs=1e-9)
        # Without a list of labels, scikit-learn takes those that are there.
        assert pooled.macro_f1_present[k] == pytest.approx(
            sklearn.f1_score(x, y, average="macro", zero_division=0), abs=1e-9
        )
        assert pooled.accuracy[k] == pytest.approx(sklearn.accuracy_score(x, y), abs=1e-9)


@UNHURRIED
@given(UNITS, st.integers(0, 99))
def test_units_are_as_scikit_learn_counts_them(videos: list, seed: int) -> None:
    often = times(np.random.default_rng(seed), len(videos))
    pooled = DetectionCounts.of(videos, 3).pooled(often)
    for k, one in enumerate(often):
        x, y = rows(videos, one, 0), rows(videos, one, 1)
        assert pooled.rows[k] == len(x)
        if not len(x):
            assert np.isnan(pooled.mean_f1[k]) and np.isnan(pooled.mean_f1_present[k])
            continue
        for unit in range(3):
            each = sklearn.precision_recall_fscore_support(
                x[:, unit], y[:, unit], labels=[True], average=None, zero_division=0
            )
            for found, expected in zip((pooled.precision, pooled.recall, pooled.f1, pooled.support), each, strict=True):
                assert found[k, unit] == pytest.approx(expected[0], abs=1e-9)
        expected = sklearn.f1_score(x, y, average="macro", zero_division=0)
        assert pooled.mean_f1[k] == pytest.approx(expected, abs=1e-9)
        there = x.any(axis=0) | y.any(axis=0)
        if there.any():
            assert pooled.mean_f1_present[k] == pytest.approx(pooled.f1[k][there].mean(), abs=1e-9)
        else:
            assert np.isnan(pooled.mean_f1_present[k])


@UNHURRIED
@given(NUMBERS, st.integers(0, 99), st.sampled_from([(0.3, 0.05), (0.7, 1e-9), (1e4, 1e-3), (0.0, 1e-12)]))
def test_moments_give_lins_concordance_and_pearsons_correlation(
    videos: list, seed: int, place: tuple[float, float]
) -> None:
    middle, step = place
    videos = [(middle + step * x, middle + step * y) for x, y in videos]
    often = times(np.random.default_rng(seed), len(videos))
    pooled = Moments.of(videos, 2).pooled(often)
    for k, one in enumerate(often):
        x, y = rows(videos, one, 0), rows(videos, one, 1)
        assert pooled.rows[k] == len(x)
        for column in range(2):
            a, b = x[:, column], y[:, column]
            if not len(a):
                assert np.isnan(pooled.ccc[k, column]) and np.isnan(pooled.pearson[k, column])
                continue
            constant = (a == a[0]).all() or (b == b[0]).all()
            assert pooled.constant[k, column] == (a == a[0]).all()
            expected = 0.0 if constant else exact_ccc(a, b)
            assert pooled.ccc[k, column] == pytest.approx(expected, abs=1e-9)
            if constant:
                assert pooled.ccc[k, column] == pooled.pearson[k, column] == 0
            else:
                # On differences, which are exact, since scipy warns of values that hardly vary.
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    r = stats.pearsonr((a - a[0]) / step, (b - b[0]) / step).statistic
                assert pooled.pearson[k, column] == pytest.approx(r, abs=1e-7 if step < 1e-6 else 1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_moments_agree_with_numpy_and_with_metrics(seed: int) -> None:
    random = np.random.default_rng(seed)
    videos = [(x := random.normal(m, 0.3, (n, 2)), 0.5 * x + random.normal(0, 0.2, (n, 2))) for m, n in
              zip(random.normal(0, 0.5, 6), (40, 1, 0, 7, 300, 3), strict=True)]  # fmt: skip
    pooled = Moments.of(videos, 2).pooled(np.ones((1, 6)))
    x, y = (np.concatenate([video[k] for video in videos]) for k in (0, 1))
    for k in range(2):
        covariance = np.cov(x[:, k], y[:, k], bias=True)
        expected = 2 * covariance[0, 1] / (covariance.trace() + (x[:, k].mean() - y[:, k].mean()) ** 2)
        assert pooled.ccc[0, k] == pytest.approx(expected, abs=1e-12)
        assert pooled.pearson[0, k] == pytest.approx(np.corrcoef(x[:, k], y[:, k])[0, 1], abs=1e-12)
    np.testing.assert_allclose(pooled.ccc[0], metrics.ccc(x, y), rtol=0, atol=1e-12)
    each = Moments.of(videos, 2)
    np.testing.assert_allclose(each.ccc[4], metrics.ccc(*videos[4]), rtol=0, atol=1e-12)


def test_collections_that_hardly_vary_keep_their_digits() -> None:
    """A collection of one video far from the others, whose squares would be lost beside its distance."""
    random = np.random.default_rng(0)
    far = 0.9 + 1e-8 * random.random((50, 1))
    near = far + 1e-9 * random.random((50, 1))
    pooled = Moments.of([(far, near), (-far, far)], 1).pooled(np.array([[3.0, 0.0]]))
    assert pooled.ccc[0, 0] == pytest.approx(exact_ccc(far[:, 0], near[:, 0]), abs=1e-6)
    assert pooled.ccc[0, 0] > 0.9


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7])
def test_a_constant_has_no_correlation(value: float) -> None:
    same = np.full((7, 1), value)
    pooled = Moments.of([(same, same), (same[:3], same[:3])], 1).pooled(np.array([[1.0, 1.0], [0.0, 5.0], [0.0, 0.0]]))
    assert pooled.ccc[:, 0].tolist()[:2] == pooled.pearson[:, 0].tolist()[:2] == [0, 0]
    assert np.isnan(pooled.ccc[2, 0])


@UNHURRIED
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 4)), min_size=1, max_size=6),
    st.floats(-1, 1, width=32),
    st.floats(-1, 1, width=32),
)
def test_a_constant_has_no_correlation_whatever_lies_beside_it(parts: list, value: float, other: float) -> None:
    """The mean of equal numbers, and that of equal means, may be rounded; it must not seem that they vary."""
    value, other = value / 3, other / 7
    videos = [(np.full((2, 1), other), np.arange(2.0)[:, None])]
    videos += [(np.full((n, 1), value), np.random.default_rng(n).random((n, 1))) for n, _ in parts]
    made = Moments.of(videos, 1)
    pooled = made.pooled(np.array([[0.0, *(often for _, often in parts)]]))
    assert made.constant.all() and pooled.constant.all()
    assert pooled.ccc[0, 0] == pooled.pearson[0, 0] == 0


def test_many_collections_are_worked_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    made = Moments.of([(random.random((4, 2)), random.random((4, 2))) for _ in range(9)], 2)
    often = resample([str(k) for k in range(9)], 57, 0)
    at_once = made.pooled(often)
    monkeypatch.setattr(bootstrap, "_BLOCK", 100)
    in_blocks = made.pooled(often)
    np.testing.assert_allclose(at_once.ccc, in_blocks.ccc, rtol=0, atol=1e-12)
    assert len(in_blocks.rows) == 57


@pytest.mark.parametrize(
    ("make", "videos"),
    [
        (lambda v: Moments.of(v, 2), [(np.zeros((3, 2)), np.zeros((4, 2)))]),
        (lambda v: Moments.of(v, 2), [(np.zeros((3, 1)), np.zeros((3, 1)))]),
        (lambda v: Moments.of(v, 2), [(np.zeros((3, 2)), np.full((3, 2), np.nan))]),
        (lambda v: Moments.of(v, 2), [(np.full((3, 2), np.inf), np.zeros((3, 2)))]),
        (lambda v: DetectionCounts.of(v, 2), [(np.zeros((3, 2)), np.zeros((4, 2)))]),
        (lambda v: ConfusionCounts.of(v, 2), [(np.array([0, 2]), np.array([0, 1]))]),
        (lambda v: ConfusionCounts.of(v, 2), [(np.array([0, -1]), np.array([0, 1]))]),
        (lambda v: ConfusionCounts.of(v, 2), [(np.array([0]), np.array([]))]),
    ],
)
def test_what_cannot_be_counted_is_refused(make: object, videos: list) -> None:
    with pytest.raises(ValueError):
        make(videos)  # type: ignore[operator]


@UNHURRIED
@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), st.integers(0, 5))
def test_whole_recordings_are_drawn(groups: list[str], seed: int) -> None:
    drawn = resample(groups, 20, seed)
    names = sorted(set(groups))
    assert drawn.shape == (20, len(groups))
    np.testing.assert_array_equal(drawn, resample(groups, 20, seed))
    firsts = [groups.index(name) for name in names]
    assert (drawn[:, firsts].sum(axis=1) == len(names)).all()
    for k, name in enumerate(groups):
        np.testing.assert_array_equal(drawn[:, k], drawn[:, groups.index(name)])


def test_each_recording_is_drawn_as_often_as_any() -> None:
    drawn = resample(["a", "b", "c", "a"], 6000, 1)
    assert drawn[:, :3].mean(axis=0) == pytest.approx([1, 1, 1], abs=0.05)
    assert drawn[:, 0].var() == pytest.approx(2 / 3, abs=0.05)  # of 3 draws with the chance 1/3
    assert not np.array_equal(drawn, resample(["a", "b", "c", "a"], 6000, 2))


def test_intervals_are_percentiles() -> None:
    random = np.random.default_rng(0)
    values = random.random((500, 3))
    values[:100, 1] = np.nan
    values[:, 2] = np.nan
    low, high = interval(values)
    assert low[0] == np.percentile(values[:, 0], 2.5) and high[0] == np.percentile(values[:, 0], 97.5)
    assert (low[1], high[1]) == tuple(np.percentile(values[100:, 1], [2.5, 97.5]))
    assert np.isnan(low[2]) and np.isnan(high[2])


def test_the_intervals_are_those_of_rows_that_are_resampled_and_scored_again() -> None:
    """All three kinds against a plain loop over resampled rows with scikit-learn and numpy."""
    random = np.random.default_rng(5)
    sizes, groups = (30, 4, 55, 0, 21), ["a", "a", "b", "c", "d"]
    labels = [tuple(random.integers(0, CLASSES, (2, n))) for n in sizes]
    units = [tuple(random.random((2, n, 3)) < 0.4) for n in sizes]
    numbers = [(x := random.normal(0, 1, (n, 2)), x + random.normal(0, 1, (n, 2))) for n in sizes]
    drawn = resample(groups, 120, 7)
    often = np.concatenate([np.ones((1, 5)), drawn])
    found = [
        scores.score(ConfusionCounts.of(labels, CLASSES).pooled(often).macro_f1),
        scores.score(DetectionCounts.of(units, 3).pooled(often).mean_f1),
        scores.score(Moments.of(numbers, 2).pooled(often).ccc.mean(axis=1)),
    ]
    loop: list[list[float]] = [[], [], []]
    for one in often:
        x, y = (rows(labels, one, k) for k in (0, 1))
        if not len(x):
            continue
        loop[0].append(sklearn.f1_score(x, y, labels=np.arange(CLASSES), average="macro", zero_division=0))
        loop[1].append(sklearn.f1_score(rows(units, one, 0), rows(units, one, 1), average="macro", zero_division=0))
        x, y = (rows(numbers, one, k) for k in (0, 1))
        below = x.var(axis=0) + y.var(axis=0) + (x.mean(axis=0) - y.mean(axis=0)) ** 2
        loop[2].append(float((2 * ((x * y).mean(axis=0) - x.mean(axis=0) * y.mean(axis=0)) / below).mean()))
    for score, values in zip(found, loop, strict=True):
        assert score.value == pytest.approx(values[0], abs=1e-9)
        assert [score.low, score.high] == pytest.approx(np.percentile(values[1:], [2.5, 97.5]), abs=1e-9)
        assert score.low is not None and score.high is not None and score.low < score.value < score.high


def test_densities_hold_every_frame() -> None:
    truth = np.array([[-1.0, 0.0], [1.0, 0.999], [0.5, -0.25]])
    said = np.array([[-1.0, -3.0], [1.0, 5.0], [0.5, 0.25]])
    counts = scores.density(truth, said)
    assert counts.shape == (2, scores.BINS, scores.BINS) and counts.sum(axis=(1, 2)).tolist() == [3, 3]
    assert [counts[0, k, k] for k in (0, scores.BINS - 1, 3 * scores.BINS // 4)] == [1, 1, 1]
    half = scores.BINS // 2
    assert counts[1, half, 0] == counts[1, -1, -1] == counts[1, 3 * scores.BINS // 8, 5 * scores.BINS // 8] == 1
