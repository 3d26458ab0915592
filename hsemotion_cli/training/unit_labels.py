"""Action-unit labels for images that nobody coded: from blendshapes, and from the expression that raters saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from ..models.blendshapes import GeometryModel
from ..models.registry import card
from .typical_units import unit_targets

FROM_BLENDSHAPES = "blendshapes"
FROM_BOTH = "blendshapes and expression"

MEAN_LOGIT = np.array([-1.39, -2.85, -1.27, -1.42, -3.35, -4.06, -1.53, -2.08, -3.84, -2.63, -0.63, -2.52])
"""Mean logit of the probabilities of ``mp-blendshapes`` on the training part of FER+ (23,426 images with a face): what
it predicts without evidence for or against a unit. Computed from ``predict_units`` of those images."""

_EXPECTED = (0.05, 0.95)
"""Limits of the presence expected from the expression alone: raters err, and people differ."""

_PREDICTED = (1e-4, 1 - 1e-4)
"""Limits of predicted probabilities, so that their logits are finite."""


def predict_units(shapes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 12) action-unit probabilities that ``mp-blendshapes`` predicts; nan for rows of nan."""
    found = GeometryModel(card("mp-blendshapes")).read(np.asarray(shapes, np.float32))
    return np.asarray(found.tasks["action_units"], np.float32)


def label_units(
    shapes: NDArray[np.float32], shares: NDArray[np.floating], classes: tuple[str, ...]
) -> NDArray[np.float32]:
    """Presence of each action unit given the blendshapes and the expression that raters saw, by Bayes' rule.

    The prior is the share of people who show the unit in that expression (``typical_units``); the evidence is how far
    the logit of ``mp-blendshapes`` is above its mean. Such labels follow the geometry of the face, but cheeks that are
    raised in a scowl count less than those in a smile. Peng & Wang 2018 (CVPR, "Weakly supervised facial action unit
    recognition through adversarial training") use the same knowledge in another way.

    Args:
        shapes: (n, 52) blendshapes, nan without a face.
        shares: (n, c) shares of the classes, nan where unknown.
        classes: their names; as in ``unit_targets``.

    Returns:
        (n, 12) probabilities; those of the blendshapes alone where the expression is unknown, nan without a face.
    """
    predicted = predict_units(shapes)
    prior = logit(np.clip(unit_targets(shares, classes), *_EXPECTED))
    labels = expit(prior + logit(np.clip(predicted.astype(np.float64), *_PREDICTED)) - MEAN_LOGIT)
    return np.where(np.isnan(shares).any(axis=1, keepdims=True), predicted, labels).astype(np.float32)
