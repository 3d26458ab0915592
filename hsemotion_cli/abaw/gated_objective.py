"""The objective of expressions with a confidence gate: each gate is a setting like the thresholds of action units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..postprocess.gate import gated
from .objectives import ExpressionF1, Floats
from .predictions import affwild2


@dataclass(frozen=True, slots=True, eq=False)
class GatedRows:
    """Smoothed expressions at labelled frames, in the order of ``tasks.EXPRESSIONS``.

    Attributes:
        heads: (n, 9) of one model or of two to blend.
        frozen: likewise, of the frozen networks.
    """

    heads: tuple[Floats, ...]
    frozen: tuple[Floats, ...]

    def blended(self, weight: float) -> tuple[Floats, Floats]:
        """(n, 9) of the heads and of the frozen networks."""
        return _blended(self.heads, weight), _blended(self.frozen, weight)


class GatedExpressionF1(ExpressionF1):
    """Macro F1 over Aff-Wild2's 8 expressions, for no gate and for each gate; the sums are confusion matrices.

    Args:
        gates: probabilities, see ``postprocess.gate``.
    """

    def __init__(self, gates: Sequence[float]) -> None:
        self.gates: tuple[float | None, ...] = (None, *gates)
        self.shape = (len(self.gates), *ExpressionF1.shape)

    def gated_sums(
        self, before: GatedRows, after: GatedRows, share: Floats, weights: Sequence[float], truth: NDArray
    ) -> Floats:
        """(w, *shape) sums over frames, for each weight.

        Args:
            before, after: the rows that each frame lies between; the same where it has a row of its own.
            share: (n,) weight of ``after``.
            weights: (w,) of the first model.
            truth: (n,) class numbers.
        """
        classes = self.shape[-1]
        found = np.empty((len(weights), *self.shape))
        for (k, weight), (j, gate) in ((a, b) for a in enumerate(weights) for b in enumerate(self.gates)):
            first, second = (
                affwild2(head if gate is None else gated(head, frozen, gate))
                for head, frozen in (rows.blended(weight) for rows in (before, after))
            )
            label = ((1 - share)[:, None] * first + share[:, None] * second).argmax(axis=1)
            pairs = truth.astype(np.int64) * classes + label
            found[k, j] = np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
        return found

    def thresholds(self, sums: Floats) -> NDArray[np.int64]:
        """(..., 1) index of the best of ``gates``; the first of equals, so that no gate is preferred."""
        return super().best(sums).argmax(axis=-1)[..., None]

    def at_thresholds(self, sums: Floats, thresholds: NDArray[np.int64]) -> Floats:
        """(8, 8) the confusion matrix with one gate."""
        return np.asarray(sums[thresholds[0]])

    def score(self, at_thresholds: Floats) -> float:
        """Macro F1 of a confusion matrix."""
        return float(super().best(at_thresholds))

    def best(self, sums: Floats) -> Floats:
        """(...,) score of each setting, with its best gate."""
        return np.asarray(super().best(sums).max(axis=-1))


def _blended(models: tuple[Floats, ...], weight: float) -> Floats:
    return models[0] if len(models) == 1 else weight * models[0] + (1 - weight) * models[1]
