"""Agreement between raters, from sums that add up over recordings: so bootstrap resamples are sums as well.

Every function takes m sets of sums at once (m recordings, or m resamples of them) and returns (m,) values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .metrics import ratio

Floats = NDArray[np.float64]


def cohen_kappa(counts: Floats) -> Floats:
    """(p_o - p_e) / (1 - p_e) of two raters (Cohen 1960); nan without units, or where both use one class only.

    Args:
        counts: (m, c, c) confusion matrices.
    """
    total = counts.sum(axis=(1, 2))
    observed = ratio(np.einsum("mcc->m", counts), total, np.nan)
    expected = ratio((counts.sum(axis=1) * counts.sum(axis=2)).sum(axis=1), total**2, np.nan)
    return ratio(observed - expected, 1 - expected, np.nan)


def coincidences(ratings: NDArray[np.int64], classes: int) -> Floats:
    """(c, c) coincidence matrix of Krippendorff (2004): each unit adds its pairs of ratings, divided by its raters - 1.

    Args:
        ratings: (n, raters) classes from 0; -1 where a rater has none.
        classes: c.
    """
    counts = class_counts(ratings, classes)
    raters = counts.sum(axis=1)
    counts, raters = counts[raters > 1], raters[raters > 1]
    weight = 1 / np.maximum(raters - 1, 1)
    pairs = np.einsum("nc,nk,n->ck", counts, counts, weight)
    return pairs - np.diag((counts * weight[:, None]).sum(axis=0))


def krippendorff_alpha(matrix: Floats) -> Floats:
    """1 - D_o / D_e for classes (Krippendorff 2004); nan where fewer than two classes occur.

    Args:
        matrix: (m, c, c) sums of ``coincidences``.
    """
    margin = matrix.sum(axis=2)
    n = margin.sum(axis=1)
    disagreeing = n - np.einsum("mcc->m", matrix)
    expected = ratio(n**2 - (margin**2).sum(axis=1), n - 1, np.nan)
    return 1 - ratio(disagreeing, expected, np.nan)


def class_counts(ratings: NDArray[np.int64], classes: int) -> Floats:
    """(n, c) how many raters gave each class to each unit; a rating of -1 is none."""
    return np.stack([(ratings == k).sum(axis=1) for k in range(classes)], axis=1).astype(np.float64)


def fleiss_sums(ratings: NDArray[np.int64], classes: int) -> Floats:
    """(2 + c,) sums of the units that every rater has rated: units, sum of P_i, ratings of each class."""
    counts = class_counts(ratings[(ratings >= 0).all(axis=1)], classes)
    raters = ratings.shape[1]
    agreeing = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    return np.concatenate([[len(counts), agreeing.sum()], counts.sum(axis=0)])


def fleiss_kappa(sums: Floats) -> Floats:
    """Kappa of any number of raters (Fleiss 1971); nan without units, or where one class only is used.

    Args:
        sums: (m, 2 + c) of ``fleiss_sums``.
    """
    observed = ratio(sums[:, 1], sums[:, 0], np.nan)
    share = ratio(sums[:, 2:], sums[:, 2:].sum(axis=1, keepdims=True), np.nan)
    expected = (share**2).sum(axis=1)
    return ratio(observed - expected, 1 - expected, np.nan)


def icc_sums(values: Floats) -> Floats:
    """(2 + k + 1,) sums of the units that every rater has rated: units, squares, sum of each rater, squared unit sums.

    Args:
        values: (n, k) numbers; units with nan are left out.
    """
    known = values[~np.isnan(values).any(axis=1)]
    return np.concatenate(
        [[len(known), (known**2).sum()], known.sum(axis=0), [(known.sum(axis=1) ** 2).sum()]]
    )  # fmt: skip


def icc(sums: Floats) -> tuple[Floats, Floats]:
    """ICC(2,1) and ICC(2,k): two-way random effects, absolute agreement, of one rater and of the mean of k.

    Shrout & Fleiss (1979), with the mean squares of units (BMS), raters (JMS) and the rest (EMS):
    (BMS - EMS) / (BMS + (k - 1) EMS + k (JMS - EMS) / n) and (BMS - EMS) / (BMS + (JMS - EMS) / n). nan for fewer than
    two units.

    Args:
        sums: (m, 3 + k) of ``icc_sums``.
    """
    n, squares, raters, units = sums[:, 0], sums[:, 1], sums[:, 2:-1], sums[:, -1]
    k = raters.shape[1]
    middle = ratio(raters.sum(axis=1) ** 2, n * k, np.nan)
    between = units / k - middle
    of_raters = ratio((raters**2).sum(axis=1), n, np.nan) - middle
    rest = np.maximum(squares - middle - between - of_raters, 0)
    bms, jms = ratio(between, n - 1, np.nan), of_raters / (k - 1)
    ems = ratio(rest, (n - 1) * (k - 1), np.nan)
    single = ratio(bms - ems, bms + (k - 1) * ems + ratio(k * (jms - ems), n, np.nan), np.nan)
    mean = ratio(bms - ems, bms + ratio(jms - ems, n, np.nan), np.nan)
    return single, mean
