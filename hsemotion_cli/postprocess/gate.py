"""The confidence gate: where a frozen network is sure of an expression, its probabilities count instead of its head's.

Source: HSEmotion at the 8th ABAW challenge (arXiv 2503.10399, notebook abaw8_expr). After smoothing both, the
pretrained network's label counts where its highest probability among the seven expressions that Aff-Wild2 shares with
AffectNet exceeds a threshold; 0.7 was the best one there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..tasks import EXPRESSIONS

Floats = NDArray[np.float64]

SHARED = tuple(k for k, name in enumerate(EXPRESSIONS) if name not in ("contempt", "other"))
"""Columns of the seven expressions that Aff-Wild2 and AffectNet both have."""


def check_gate(gate: float | None) -> None:
    """Raise UsageError for a gate at which the frozen network need not prefer one expression to all others."""
    if gate is not None and not 0.5 <= gate < 1:
        raise UsageError(f"--gate {gate:g}: give a probability from 0.5, below 1, or none.")


def gated(head: Floats, frozen: Floats, gate: float) -> Floats:
    """(n, 9) the rows of the frozen network where one of its probabilities is above the gate, else those of the head.

    Rows that the frozen network did not score stay the head's. Contempt never opens the gate.

    Args:
        head, frozen: (n, 9) probabilities in the order of ``tasks.EXPRESSIONS``; nan for classes that a model lacks.
        gate: probability; the gate opens above it.
    """
    highest = np.where(np.isnan(frozen), -1.0, frozen)[:, SHARED].max(axis=1, initial=-1.0)
    return np.where((highest > gate)[:, None], frozen, head)
