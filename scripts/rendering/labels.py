"""Labels of the twelve action units from what was drawn.

Labels are probabilities from 0.02 to 0.98. An action counts as absent below a weight of 0.1, where it can hardly be
seen, as present from 0.4, and in between in proportion.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from hsemotion_cli.tasks import ACTION_UNITS

LOWEST, SPAN = 0.02, 0.96

ABSENT, RISE = 0.1, 0.3
"""Weight of an action up to which it is absent, and how much more makes it present; 1 is the full face unit."""

SHUT, PARTING = 0.012, 0.03
"""The same for the gap between the lips, in distances between the eyes."""


def unit_labels(actions: Mapping[str, float], gap: float) -> dict[str, float]:
    """Labels of ``ACTION_UNITS``.

    All but AU25 follow from the weight of the action of the same number. Lips part in many actions (speech, smile,
    raised upper lip), or touch although some of these are present, so AU25 follows from the gap between them.

    Args:
        actions: action, as in ``expressions.ACTIONS``, with "u" before its number if on one side -> weight.
        gap: how much farther apart the lips are than at rest, in distances between the eyes.
    """
    weights: dict[int, float] = {}
    for name, weight in actions.items():
        number = name.removeprefix("u")
        if number.isdigit():
            weights[int(number)] = max(weights.get(int(number), 0.0), float(weight))
    found = {name: _label(weights.get(int(name[2:]), 0.0), ABSENT, RISE) for name in ACTION_UNITS}
    return found | {"AU25": _label(gap, SHUT, PARTING)}


def _label(value: float, absent: float, rise: float) -> float:
    return LOWEST + SPAN * float(np.clip((value - absent) / rise, 0, 1))
