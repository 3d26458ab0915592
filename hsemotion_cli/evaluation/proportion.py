"""The confidence interval of a proportion."""

from __future__ import annotations

import math

Z = 1.959963984540054
"""Normal quantile of a two-sided 95 % interval."""


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % score interval of hits / count (Wilson 1927), without continuity correction.

    Args:
        hits: 0 to ``count``.
        count: independent trials; without any, the interval is (0, 1).
    """
    if not 0 <= hits <= count:
        raise ValueError(f"{hits} of {count}")
    if not count:
        return 0.0, 1.0
    share, weight = hits / count, Z * Z / count
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * math.sqrt(share * (1 - share) / count + weight / (4 * count))
    # Rounding leaves about 1e-17 where the end is exactly 0 or 1.
    return (0.0 if hits == 0 else middle - half), (1.0 if hits == count else middle + half)
