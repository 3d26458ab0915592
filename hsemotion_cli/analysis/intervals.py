"""Frames that are on or off -> intervals of time; see ``segments`` for the definition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .recordings import Floats
from .rules import Rule

ROUNDING = 1e-9
"""Seconds that allow for the rounding of time stamps."""


def hysteresis(time: Floats, length: Floats, value: Floats, rule: Rule) -> NDArray[np.bool_]:
    """(n,) whether each frame is on: step 2 of the definition; frames without evidence (nan) are off themselves.

    Args:
        time, length: (n,) seconds.
        value: (n,) evidence.
    """
    on = np.zeros(len(value), bool)
    seen = np.flatnonzero(~np.isnan(value))
    if not len(seen):
        return on
    # 1 switches on, -1 off, 0 keeps the state; a long gap, or a clock that jumps back, starts from off.
    signal = np.where(value[seen] >= rule.onset, 1, np.where(value[seen] < rule.offset, -1, 0))
    lacking = time[seen][1:] - (time[seen] + length[seen])[:-1]
    fresh = np.append(True, (lacking > rule.merge_gap + ROUNDING) | (np.diff(time[seen]) < 0))
    signal[fresh & (signal == 0)] = -1
    last = np.maximum.accumulate(np.where(signal != 0, np.arange(len(signal)), 0))
    on[seen] = signal[last] == 1
    return on


def runs(time: Floats, length: Floats, on: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """(onset, offset) of each run of frames that are on, and that follow each other without a gap in time."""
    at = np.flatnonzero(on)
    if not len(at):
        return []
    end = time + length
    apart = (np.diff(at) > 1) | (np.abs(time[at[1:]] - end[at[:-1]]) > ROUNDING)
    first, last = at[np.append(True, apart)], at[np.append(apart, True)]
    return list(zip(time[first].tolist(), end[last].tolist(), strict=True))


def merged(spans: list[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """Intervals of one label, joined where the next begins at most ``gap`` seconds after the last ended.

    Args:
        spans: in order; one that begins before the last began, where the clock jumps back, stays apart.
    """
    found: list[tuple[float, float]] = []
    for onset, offset in spans:
        if found and found[-1][0] <= onset <= found[-1][1] + gap + ROUNDING:
            found[-1] = (found[-1][0], max(offset, found[-1][1]))
        else:
            found.append((onset, offset))
    return found
