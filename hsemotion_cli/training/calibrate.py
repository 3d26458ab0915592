"""What is fitted after training, on pictures that were not trained on, and then built into the network's last layer.

So whatever runs the network gets calibrated scores, and no one has to apply anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import nn

from .. import metrics
from ..networks.architectures import Network
from ..tasks import ACTION_UNITS
from .measure import columns
from .plan import Plan
from .samples import Samples
from .views import LUMA

GRID = np.round(np.arange(0.1, 0.91, 0.1), 1)
"""Thresholds that are tried for action units: HSEmotion's grid."""

EVENNESS = np.round(np.arange(0, 0.61, 0.1), 1)
"""Powers that are tried for evening out the shares of the classes."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted; nothing, where there were no labels to fit it on.

    Attributes:
        temperature: logits are divided by it.
        biases: are added to the logits before; one per class, their mean is 0.
        evenness: the part of the biases that evens out the classes: a share p counts as p^(1 - evenness).
        thresholds: action unit -> probability from which it counts as present.
    """

    temperature: float = 1.0
    biases: tuple[float, ...] = ()
    evenness: float = 0.0
    thresholds: dict[str, float] | None = None


def fit(scores: NDArray[np.floating], samples: Samples, rows: NDArray[np.int64], plan: Plan) -> Calibration:
    """Fit temperature and class biases to the votes, and thresholds to the action units.

    Temperature and biases make the cross-entropy with the class shares least (Guo et al. 2017, with the biases of
    their vector scaling). With the shares of web pictures, mostly neutral and happy, the rare classes would hardly
    ever come first; so of ``EVENNESS`` the one is taken that makes accuracy and macro F1 together best. Each threshold
    is the first of ``GRID`` with the best positive-class F1, as HSEmotion's.

    Args:
        scores: (n, outputs) raw outputs for ``rows``.
    """
    parts = {task: values.astype(np.float64) for task, values in columns(scores, plan).items()}
    temperature, biases, evenness, thresholds = 1.0, np.zeros(len(plan.classes)), 0.0, None
    if "expression" in parts:
        shares = samples.expression[rows].astype(np.float64)
        known = ~np.isnan(shares).any(axis=1)
        if known.sum() > 10 * len(plan.classes):
            temperature, biases = _fit_expression(parts["expression"][known], shares[known])
            clear = known & samples.clear[rows]
            towards = -temperature * np.log(np.maximum(shares[known].mean(axis=0), 1e-4))
            evenness = _fit_evenness(parts["expression"][clear] + biases, shares[clear].argmax(axis=1), towards)
            biases = biases + evenness * towards
            biases -= biases.mean()
    if "action_units" in parts:
        truth = samples.action_units[rows]
        known = ~np.isnan(truth).any(axis=1)
        if known.any():
            thresholds = _fit_thresholds(parts["action_units"][known], truth[known] >= 0.5)
    return Calibration(temperature, tuple(float(b) for b in biases), evenness, thresholds)


def build_in(network: Network, plan: Plan, calibration: Calibration) -> None:
    """Put a calibration, and the plan's luminance, into the weights of a network that has a linear last layer."""
    with torch.no_grad():
        if "expression" in plan.tasks:
            last = [module for module in network.head.modules() if isinstance(module, nn.Linear)][-1]
            count = len(plan.classes)
            last.bias[:count] += torch.tensor(calibration.biases, dtype=last.bias.dtype)
            last.weight[:count] /= calibration.temperature
            last.bias[:count] /= calibration.temperature
        if plan.luminance:
            # Trained on grey, where red, green and blue are alike: only the sum of a kernel over them has counted.
            first = next(m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
            first.weight.copy_(first.weight.sum(dim=1, keepdim=True) * torch.tensor(LUMA).view(1, 3, 1, 1))


def _fit_expression(logits: NDArray[np.float64], shares: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    count = shares.shape[1]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        factor, biases = np.exp(-parameters[0]), parameters[1:]
        moved = logits + biases
        z = moved * factor
        z = z - z.max(axis=1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
        slope = (np.exp(log_p) - shares) / len(logits)
        # A little towards 0, for a class that has next to no votes here.
        value = -(shares * log_p).sum() / len(logits) + 1e-3 * (biases**2).mean()
        gradient = np.concatenate([[-(slope * moved).sum() * factor], slope.sum(axis=0) * factor])
        gradient[1:] += 2e-3 * biases / count
        return float(value), gradient

    found = minimize(loss, np.zeros(count + 1), jac=True, method="L-BFGS-B").x
    return float(np.exp(found[0])), found[1:] - found[1:].mean()


def _fit_evenness(logits: NDArray[np.float64], truth: NDArray[np.int64], towards: NDArray[np.float64]) -> float:
    """The power whose shift of the logits scores best; the smallest of equal ones."""
    if not len(truth):
        return 0.0
    scores = []
    for power in EVENNESS:
        label = (logits + power * towards).argmax(axis=1)
        scores.append(metrics.accuracy(truth, label) + metrics.f1_macro(truth, label, len(towards)))
    return float(EVENNESS[int(np.argmax(scores))])


def _fit_thresholds(logits: NDArray[np.float64], present: NDArray[np.bool_]) -> dict[str, float]:
    probabilities = 1 / (1 + np.exp(-logits))
    f1 = np.stack([metrics.f1_binary(present.astype(np.int64), (probabilities >= t).astype(np.int64)) for t in GRID])
    return {name: float(GRID[k]) for name, k in zip(ACTION_UNITS, f1.argmax(axis=0), strict=True)}
