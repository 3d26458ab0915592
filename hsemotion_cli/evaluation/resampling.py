"""Bootstrapping over recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PERCENTILES = (2.5, 97.5)
"""Ends of a 95 % interval."""


def resample(groups: Sequence[str], count: int, seed: int) -> Floats:
    """Bootstrap resamples of whole recordings, drawn with replacement, each with as many recordings as there are.

    Args:
        groups: (videos,) the recording that each video belongs to; videos of one recording are drawn together.
        count: number of resamples.
        seed: of the random generator.

    Returns:
        (count, videos) how often each video is in each resample.
    """
    names, which = np.unique(np.asarray(groups), return_inverse=True)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    return drawn[:, which].astype(np.float64)


def interval(scores: Floats) -> tuple[Floats, Floats]:
    """The 95 % percentile interval of bootstrap scores (Efron 1979).

    Args:
        scores: (count, ...); nan, of resamples without a row, is left out.

    Returns:
        the lower and the upper end, (...); nan where all are nan.
    """
    low, high = np.full(scores.shape[1:], np.nan), np.full(scores.shape[1:], np.nan)
    some = ~np.isnan(scores).all(axis=0)
    if some.any():
        low[some], high[some] = np.nanpercentile(scores[:, some], PERCENTILES, axis=0)
    return low, high
