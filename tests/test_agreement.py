"""Coefficients of agreement against scikit-learn, krippendorff, published tables and, where it is there, pingouin."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from hsemotion_cli.evaluation import agreement
from hsemotion_cli.evaluation.metrics import confusion
from hsemotion_cli.evaluation.resampling import interval, resample

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
"""Six targets, four judges: table 2 of Shrout & Fleiss (1979), who print ICC(2,1) = .29 and ICC(2,4) = .62."""

FLEISS = np.array(
    [[0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1], [7, 7, 0, 0, 0],
     [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7]]
)  # fmt: skip
"""Ten subjects, fourteen raters, five categories: the well-known example, with kappa = 0.210."""

ratings = st.integers(0, 2**32 - 1)


@settings(deadline=None, max_examples=40)
@given(ratings)
def test_kappa_and_alpha_are_those_of_other_packages(seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = int(random.integers(2, 5))
    one = random.integers(0, classes, 60)
    other = np.where(random.random(60) < 0.6, one, random.integers(0, classes, 60))
    table = confusion(one, other, classes)[None].astype(float)
    assert agreement.cohen_kappa(table)[0] == pytest.approx(cohen_kappa_score(one, other))
    third = np.where(random.random(60) < 0.4, -1, other)
    all_ = np.stack([one, other, third], axis=1)
    data = np.where(all_ < 0, np.nan, all_).T
    wanted = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    got = agreement.krippendorff_alpha(agreement.coincidences(all_, classes)[None])[0]
    assert got == pytest.approx(wanted)


def test_fleiss_kappa_is_that_of_the_known_example() -> None:
    units = np.array([np.repeat(np.arange(5), row) for row in FLEISS])
    assert agreement.fleiss_kappa(agreement.fleiss_sums(units, 5)[None])[0] == pytest.approx(0.20993, abs=1e-5)


def test_icc_is_that_of_shrout_and_fleiss() -> None:
    single, mean = agreement.icc(agreement.icc_sums(SHROUT_FLEISS)[None])
    assert (single[0], mean[0]) == pytest.approx((0.29, 0.62), abs=0.005)


@settings(deadline=None, max_examples=20)
@given(ratings)
def test_icc_is_that_of_an_analysis_of_variance(seed: int) -> None:
    """Mean squares as sums over deviations, the long way; and pingouin where it is installed."""
    random = np.random.default_rng(seed)
    n, k = int(random.integers(3, 12)), int(random.integers(2, 5))
    x = random.normal(size=(n, 1)) + 0.5 * random.normal(size=(1, k)) + 0.7 * random.normal(size=(n, k))
    rows, columns, all_ = x.mean(axis=1), x.mean(axis=0), x.mean()
    bms = k * ((rows - all_) ** 2).sum() / (n - 1)
    jms = n * ((columns - all_) ** 2).sum() / (k - 1)
    ems = ((x - rows[:, None] - columns[None] + all_) ** 2).sum() / ((n - 1) * (k - 1))
    single, mean = agreement.icc(agreement.icc_sums(x)[None])
    assert single[0] == pytest.approx((bms - ems) / (bms + (k - 1) * ems + k * (jms - ems) / n))
    assert mean[0] == pytest.approx((bms - ems) / (bms + (jms - ems) / n))


@pytest.mark.filterwarnings("ignore")
def test_icc_is_that_of_pingouin() -> None:
    pingouin = pytest.importorskip("pingouin", reason="brings ten packages for plots; not in the extra [dev]")
    import pandas as pd

    targets, judges = np.indices(SHROUT_FLEISS.shape)
    frame = pd.DataFrame({"t": targets.ravel(), "j": judges.ravel(), "x": SHROUT_FLEISS.ravel()})
    table = pingouin.intraclass_corr(frame, "t", "j", "x").set_index("Type")["ICC"]
    single, mean = agreement.icc(agreement.icc_sums(SHROUT_FLEISS)[None])
    names = ("ICC2", "ICC2k") if "ICC2" in table else ("ICC(A,1)", "ICC(A,k)")
    assert [single[0], mean[0]] == pytest.approx([table[name] for name in names], abs=1e-6)


def test_sums_of_recordings_are_those_of_all_together_and_of_resamples() -> None:
    random = np.random.default_rng(3)
    parts = [random.integers(-1, 3, (n, 3)) for n in (5, 20, 9)]
    whole = agreement.fleiss_sums(np.concatenate(parts), 3)
    sums = np.stack([agreement.fleiss_sums(part, 3) for part in parts])
    assert sums.sum(axis=0) == pytest.approx(whole)
    drawn = resample(["a", "b", "c"], 50, 0)
    low, high = interval(agreement.fleiss_kappa(drawn @ sums))
    assert low < agreement.fleiss_kappa(whole[None])[0] < high
    k = 4
    again = agreement.fleiss_kappa((drawn @ sums)[k : k + 1])[0]
    repeated = np.concatenate([part for part, count in zip(parts, drawn[k], strict=True) for _ in range(int(count))])
    assert again == pytest.approx(agreement.fleiss_kappa(agreement.fleiss_sums(repeated, 3)[None])[0])


def test_what_cannot_show_agreement_is_nan() -> None:
    one = np.zeros((1, 2, 2))
    one[0, 0, 0] = 5
    assert np.isnan([agreement.cohen_kappa(one)[0], agreement.cohen_kappa(0 * one)[0]]).all()
    assert np.isnan(agreement.krippendorff_alpha(2 * one)).all()
    assert np.isnan(agreement.icc(agreement.icc_sums(np.ones((1, 2)))[None])).all()
