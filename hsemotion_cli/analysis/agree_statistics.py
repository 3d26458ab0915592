"""Sums of recordings -> coefficients of agreement with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..evaluation import agreement
from ..evaluation.metrics import ratio
from ..evaluation.resampling import interval, resample
from .agree import Key, Sums

Floats = NDArray[np.float64]

LIMITS = 1.96
"""Standard deviations of the limits of agreement (Bland & Altman 1986)."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """One coefficient.

    Attributes:
        first, second: raters.
        label: of the tables, or "expression" for all classes, "valence", "arousal".
        name: "kappa", "event_f1", ...
        value: nan where it is not defined.
        low, high: ends of the 95 % interval; nan with a single recording, or none where no resample defines it.
        recordings: that it comes from.
        units: frames, events, or people that it comes from.
    """

    first: str
    second: str
    label: str
    name: str
    value: float
    low: float
    high: float
    recordings: int
    units: int


def statistics(sums: Mapping[Key, Mapping[str, Sums]], count: int, seed: int) -> list[Statistic]:
    """The coefficients of every comparison, in order.

    Args:
        sums: comparison -> recording -> its sums.
        count: bootstrap resamples of recordings; 0 for no intervals.
        seed: of their random generator.
    """
    found = []
    for key in sorted(sums):
        recordings = sorted(sums[key])
        parts = [sums[key][name] for name in recordings]
        drawn = resample(recordings, count, seed) if count and len(recordings) > 1 else np.zeros((0, len(recordings)))
        weights = np.concatenate([np.ones((1, len(recordings))), drawn])
        for name, (values, units) in _all(parts, weights, key[2]).items():
            low, high = interval(values[1:]) if len(values) > 1 else (np.float64(np.nan), np.float64(np.nan))
            found.append(Statistic(*key, name, float(values[0]), float(low), float(high), len(recordings), units))
    return found


def _all(parts: Sequence[Sums], weights: Floats, label: str) -> dict[str, tuple[Floats, int]]:
    """Name -> (m,) values for m weightings of the recordings, and the units behind them."""
    found: dict[str, tuple[Floats, int]] = {}
    if (counts := _weighted(parts, "counts", weights)) is not None:
        of = _of_counts(counts) if counts.shape[1] == 2 else _of_classes(counts)
        found |= {name: (values, int(counts[0].sum())) for name, values in of.items()}
    if (pairs := _weighted(parts, "coincidences", weights)) is not None:
        found["alpha"] = agreement.krippendorff_alpha(pairs), round(float(pairs[0].sum()) / 2)
    if (fleiss := _weighted(parts, "fleiss", weights)) is not None:
        found["fleiss_kappa"] = agreement.fleiss_kappa(fleiss), int(fleiss[0, 0])
    if (events := _weighted(parts, "events", weights)) is not None:
        found |= {name: (values, int(events[0, :2].sum())) for name, values in _of_events(events).items()}
    icc, moments = _weighted(parts, "icc", weights), _weighted(parts, "moments", weights)
    if icc is not None and moments is not None:
        prefix = "" if label in ("valence", "arousal") else "share_"
        found |= {prefix + name: (v, int(icc[0, 0])) for name, v in _of_values(icc, moments).items()}
        if prefix:
            found.pop("share_ccc")
    return found


def _weighted(parts: Sequence[Sums], name: str, weights: Floats) -> Floats | None:
    """(m, ...) sums over the recordings; None if none of them has the part."""
    given = [getattr(part, name) for part in parts]
    shape = next((value.shape for value in given if value is not None), None)
    if shape is None:
        return None
    return np.tensordot(weights, np.stack([np.zeros(shape) if v is None else v for v in given]), axes=1)


def _of_counts(counts: Floats) -> dict[str, Floats]:
    hits = counts[:, 1, 1]
    coded, found = counts[:, 1].sum(axis=1), counts[:, :, 1].sum(axis=1)
    total = counts.sum(axis=(1, 2))
    return {
        "kappa": agreement.cohen_kappa(counts),
        "f1": ratio(2 * hits, coded + found, np.nan),
        "precision": ratio(hits, found, np.nan),
        "recall": ratio(hits, coded, np.nan),
        "accuracy": ratio(np.einsum("mcc->m", counts), total, np.nan),
        "share_first": ratio(coded, total, np.nan),
        "share_second": ratio(found, total, np.nan),
    }


def _of_classes(counts: Floats) -> dict[str, Floats]:
    hits = np.einsum("mcc->mc", counts)
    size = counts.sum(axis=1) + counts.sum(axis=2)
    f1 = ratio(2 * hits, size, np.nan)
    return {
        "kappa": agreement.cohen_kappa(counts),
        "macro_f1": ratio(np.nansum(f1, axis=1), (size > 0).sum(axis=1).astype(np.float64), np.nan),
        "accuracy": ratio(hits.sum(axis=1), counts.sum(axis=(1, 2)), np.nan),
    }


def _of_events(events: Floats) -> dict[str, Floats]:
    first, second, matched = events[:, 0], events[:, 1], events[:, 2]
    errors = {
        name: ratio(events[:, 3 + k], matched, np.nan)
        for k, name in enumerate(("onset_error", "onset_error_absolute", "offset_error", "offset_error_absolute"))
    }
    return {
        "event_f1": ratio(2 * matched, first + second, np.nan),
        "event_precision": ratio(matched, second, np.nan),
        "event_recall": ratio(matched, first, np.nan),
        **errors,
    }


def _of_values(icc: Floats, moments: Floats) -> dict[str, Floats]:
    """ICC, bias and limits of agreement, and CCC of two raters' numbers."""
    single, mean = agreement.icc(icc)
    n, total, squares, products = moments.T
    bias = ratio(total, n, np.nan)
    spread = np.sqrt(np.maximum(ratio(squares - n * np.nan_to_num(bias) ** 2, n - 1, np.nan), 0))
    first, second = ratio(icc[:, 2], n, np.nan), ratio(icc[:, 3], n, np.nan)
    covariance = ratio(products, n, np.nan) - first * second
    variances = ratio(icc[:, 1], n, np.nan) - first**2 - second**2
    ccc = ratio(2 * covariance, variances + (first - second) ** 2, np.nan)
    return {
        "icc21": single, "icc2k": mean, "bias": bias, "limit_low": bias - LIMITS * spread,
        "limit_high": bias + LIMITS * spread, "ccc": ccc,
    }  # fmt: skip
