"""Two curves -> windowed cross-lagged correlation, its peak lag, concordance at each lag, and surrogates.

The definition is that of rMEA's MEAccf (Kleinbub & Ramseyer 2021) after Boker et al. (2002): windows of w samples begin
at every s-th sample; at lag k >= 0 the window x[i .. i + w) is correlated with y[i + k .. i + k + w), at lag k < 0 the
window x[i + |k| .. ) with y[i .. i + w), in steps of one sample; each Pearson correlation becomes z = artanh r.
Synchrony is the mean of |z| over windows and lags ("grandAver" of rMEA). A positive lag means that y follows x, so that
x leads. Compared with ``R/rMEA_ccf.R`` of kleinbub/rMEA, two things differ: a window that lacks a sample is left out
here, while rMEA correlates what is left of windows with up to half of their samples missing; and identical windows have
|z| = 10 here, while rMEA leaves them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..evaluation.metrics import ccc

Floats = NDArray[np.float64]

HIGHEST_Z = 10.0
"""Largest |z|, because artanh has no value at 1; that of rMEA's ``fisher.r2z``."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Sizes in samples.

    Attributes:
        size: of a window.
        step: between the starts of two windows.
        lag: largest.
    """

    size: int
    step: int
    lag: int

    def starts(self, length: int) -> NDArray[np.intp]:
        """First samples of the windows of a curve: every lagged window must lie in it."""
        return np.arange(0, max(length - self.size - self.lag + 1, 0), self.step)

    @property
    def lags(self) -> NDArray[np.intp]:
        """(2 lag + 1,) lags, from -lag to lag."""
        return np.arange(-self.lag, self.lag + 1)


@dataclass(frozen=True, slots=True, eq=False)
class Synchrony:
    """What two curves have in common.

    Attributes:
        starts: (m,) first samples of the windows.
        z: (m, lags) artanh of the correlations; nan where a window has missing values or does not vary.
        ccc: (lags,) concordance of all samples that both have at the lag.
        surrogates: (s,) synchrony of shuffled windows.
    """

    starts: NDArray[np.intp]
    z: Floats
    ccc: Floats
    surrogates: Floats

    @property
    def strength(self) -> float:
        """Mean |z| over windows and lags; nan without any."""
        return strength(self.z)

    @property
    def curve(self) -> Floats:
        """(lags,) mean z over windows."""
        return _mean(self.z, axis=0)


def strength(z: Floats) -> float:
    """Mean |z| of correlations; nan without any."""
    known = ~np.isnan(z)
    return float(np.abs(z[known]).mean()) if known.any() else np.nan


def synchrony(x: Floats, y: Floats, windows: Windows, surrogates: int, random: np.random.Generator) -> Synchrony:
    """Compare two curves of equal length.

    Args:
        x, y: (n,) samples; nan where there is none.
        surrogates: number of times that y's windows are put in another order, none in its own place.
    """
    starts = windows.starts(len(x))
    unit_x, unit_y = standardised(x, windows), standardised(y, windows)
    z = correlations(unit_x, unit_y, starts, starts, windows)
    shuffled = [
        strength(correlations(unit_x, unit_y, starts, starts[order], windows))
        for order in _orders(len(starts), surrogates, random)
    ]
    return Synchrony(starts, z, lagged_ccc(x, y, windows), np.array(shuffled))


def correlations(
    unit_x: Floats, unit_y: Floats, starts_x: NDArray[np.intp], starts_y: NDArray[np.intp], windows: Windows
) -> Floats:
    """(m, lags) artanh of the correlations of windows of x with windows of y at each lag.

    Args:
        unit_x, unit_y: as ``standardised`` gives them.
        starts_x, starts_y: (m,) first samples of the windows at lag 0.
    """
    r = np.empty((len(starts_x), len(windows.lags)))
    for k, lag in enumerate(windows.lags):
        one, other = unit_x[starts_x + max(-lag, 0)], unit_y[starts_y + max(lag, 0)]
        r[:, k] = np.einsum("mw,mw->m", one, other)
    with np.errstate(divide="ignore"):
        return np.clip(np.arctanh(np.clip(r, -1, 1)), -HIGHEST_Z, HIGHEST_Z)


def standardised(values: Floats, windows: Windows) -> Floats:
    """(n - w + 1, w) each window with mean 0 and sum of squares 1; nan where it lacks values or does not vary."""
    if len(values) < windows.size:
        return np.empty((0, windows.size))
    parts = sliding_window_view(values, windows.size)
    parts = parts - parts.mean(axis=1, keepdims=True)
    size = np.sqrt((parts**2).sum(axis=1, keepdims=True))
    return np.where(size > 1e-9, parts / np.where(size > 1e-9, size, 1.0), np.nan)


def _orders(count: int, surrogates: int, random: np.random.Generator) -> list[NDArray[np.intp]]:
    """Orders of windows in which none stays in its place; none for fewer than two windows."""
    if count < 2:
        return []
    found = []
    for _ in range(surrogates):
        order = random.permutation(count)
        # In a single circle over a random order, no window meets itself.
        place = np.empty(count, np.intp)
        place[order] = np.roll(order, 1)
        found.append(place)
    return found


def lagged_ccc(x: Floats, y: Floats, windows: Windows) -> Floats:
    """(lags,) Lin's concordance of x[i] and y[i + lag] over all i; nan for fewer than two pairs."""
    found = np.full(len(windows.lags), np.nan)
    for k, lag in enumerate(windows.lags):
        one = x[max(-lag, 0) : len(x) - max(lag, 0)]
        other = y[max(lag, 0) : len(y) - max(-lag, 0)]
        both = ~np.isnan(one) & ~np.isnan(other)
        if both.sum() > 1:
            found[k] = ccc(one[both], other[both])
    return found


def effect(observed: float, surrogates: Floats) -> tuple[float, float, float, float]:
    """Mean and standard deviation (over n - 1) of surrogates, effect size (observed - mean) / sd, and one-sided p.

    p is (1 + surrogates that are at least as high) / (1 + surrogates).
    """
    known = surrogates[~np.isnan(surrogates)]
    if len(known) < 2 or np.isnan(observed):
        return np.nan, np.nan, np.nan, np.nan
    mean, spread = float(known.mean()), float(known.std(ddof=1))
    p = (1 + int((known >= observed).sum())) / (1 + len(known))
    return mean, spread, (observed - mean) / spread if spread > 0 else np.nan, p


def _mean(values: Floats, axis: int) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
