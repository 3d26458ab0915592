"""Which action units people typically show in which expression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..tasks import ACTION_UNITS, BASIC_EXPRESSIONS

CONSISTENT = 0.85
"""Prevalence of units that the table calls consistent, "in more than 70 %" of people: the middle of that range."""

PREVALENCE: dict[str, dict[str, float]] = {
    "happiness": {"AU12": CONSISTENT, "AU25": CONSISTENT, "AU06": 0.51},
    "sadness": {"AU04": CONSISTENT, "AU15": CONSISTENT, "AU01": 0.60, "AU06": 0.50},
    "fear": {"AU01": CONSISTENT, "AU04": CONSISTENT, "AU25": CONSISTENT, "AU02": 0.57, "AU26": 0.33},
    "anger": {"AU04": CONSISTENT, "AU07": CONSISTENT, "AU24": CONSISTENT, "AU10": 0.26, "AU23": 0.29},
    "surprise": {"AU01": CONSISTENT, "AU02": CONSISTENT, "AU25": CONSISTENT, "AU26": CONSISTENT},
    "disgust": {"AU10": CONSISTENT, "AU04": 0.31, "AU24": 0.26},
}
"""Emotion -> share of people who show a unit in it: S. Du, Y. Tao, A. M. Martinez, "Compound facial expressions of
emotion", PNAS 111(15), E1454-E1462, 2014, Table 1, for our twelve units. Neutral has none, and the table has no
contempt, which gets none either."""


def unit_targets(
    shares: NDArray[np.floating], classes: Sequence[str] = tuple(BASIC_EXPRESSIONS)
) -> NDArray[np.float64]:
    """(n, c) shares of expressions -> (n, 12) expected presence of each action unit, in [0, 1].

    A class that is not in ``PREVALENCE`` has no typical unit.
    """
    table = [[PREVALENCE.get(name, {}).get(unit, 0.0) for unit in ACTION_UNITS] for name in classes]
    return shares.astype(np.float64) @ np.array(table)
