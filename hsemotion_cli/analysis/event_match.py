"""Events of two raters -> pairs that match within a tolerance, and the errors of their onsets and offsets.

An event of the second rater matches one of the first if its onset is within the tolerance, and its offset within the
tolerance or half of the first's duration, whichever is larger (the collars of Mesaros, Heittola & Virtanen 2016). The
pairs are those with the most matches, and among these the smallest summed onset errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Span = tuple[float, float]

OFFSET_SHARE = 0.5
"""Share of an event's duration by which the offset of a match may differ."""


@dataclass(frozen=True, slots=True)
class Matches:
    """What came of two lists of events.

    Attributes:
        first, second: their numbers.
        onset_errors, offset_errors: of each pair, second - first in seconds.
    """

    first: int
    second: int
    onset_errors: tuple[float, ...]
    offset_errors: tuple[float, ...]


def match(first: Sequence[Span], second: Sequence[Span], tolerance: float) -> Matches:
    """Pair the events of two raters.

    Args:
        tolerance: seconds, above 0.
    """
    from scipy.optimize import linear_sum_assignment

    if not first or not second:
        return Matches(len(first), len(second), (), ())
    a, b = np.array(first), np.array(second)
    onset = b[None, :, 0] - a[:, None, 0]
    offset = b[None, :, 1] - a[:, None, 1]
    collar = np.maximum(tolerance, OFFSET_SHARE * (a[:, 1] - a[:, 0]))[:, None]
    allowed = (np.abs(onset) <= tolerance + 1e-9) & (np.abs(offset) <= collar + 1e-9)
    # A match is worth more than any sum of onset errors.
    gain = np.where(allowed, 1 + len(a) * tolerance - np.abs(onset), 0.0)
    rows, columns = linear_sum_assignment(gain, maximize=True)
    kept = allowed[rows, columns]
    pairs = rows[kept], columns[kept]
    return Matches(len(a), len(b), tuple(onset[pairs].tolist()), tuple(offset[pairs].tolist()))
