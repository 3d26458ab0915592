"""What is fitted after training, on pictures that were not trained on, and then built into the network's last layer.

So whatever runs the network gets calibrated scores, and no one has to apply anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import nn

from ..evaluation.calibration import choose_temperature, choose_thresholds
from ..models.architectures import Network
from ..tasks import ACTION_UNITS
from .augment import LUMA
from .config import TrainingConfig
from .dataset import Dataset
from .figures import columns


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was fitted; nothing, where there were no labels to fit it on.

    Attributes:
        temperature: logits are divided by it.
        thresholds: action unit -> probability from which it counts as present.
        shift: expression -> what is added to its logit after the division.
    """

    temperature: float = 1.0
    thresholds: dict[str, float] | None = None
    shift: dict[str, float] = field(default_factory=dict)


def fit(scores: NDArray[np.floating], dataset: Dataset, rows: NDArray[np.int64], config: TrainingConfig) -> Calibration:
    """Fit a temperature to the votes, and thresholds to the action units; even out the classes as the plan says.

    Args:
        scores: (n, outputs) raw outputs for ``rows``.
    """
    parts = {task: values.astype(np.float64) for task, values in columns(scores, config).items()}
    temperature, thresholds = 1.0, None
    if "expression" in parts:
        shares = dataset.expression[rows].astype(np.float64)
        known = ~np.isnan(shares).any(axis=1)
        if known.sum() > 10 * len(config.classes):
            temperature = choose_temperature(parts["expression"][known], shares[known])
    if "action_units" in parts:
        truth = dataset.action_units[rows]
        known = ~np.isnan(truth).any(axis=1)
        if known.any():
            present = (truth[known] >= 0.5).astype(np.float64)
            chosen = choose_thresholds(present, expit(parts["action_units"][known]))
            thresholds = dict(zip(ACTION_UNITS, chosen.tolist(), strict=True))
    return Calibration(temperature, thresholds, _shift(dataset, config))


def class_shares(dataset: Dataset, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """(classes,) of the votes of some pictures; a class that nobody chose has one vote."""
    shares = dataset.expression[rows].astype(np.float64)
    votes = np.maximum(shares[~np.isnan(shares).any(axis=1)].sum(axis=0), 1.0)
    return votes / votes.sum()


def _shift(dataset: Dataset, config: TrainingConfig) -> dict[str, float]:
    """What evens out the classes; a constant added to all changes nothing, so they add up to 0."""
    if not config.evened or "expression" not in config.tasks:
        return {}
    drawn = {source for stage in config.stages for source in config.drawn_from(stage)}
    shift = -config.evened * np.log(class_shares(dataset, dataset.rows("train", drawn)))
    return dict(zip(config.classes, (shift - shift.mean()).tolist(), strict=True))


def build_in(network: Network, config: TrainingConfig, calibration: Calibration) -> None:
    """Put a calibration, and the plan's luminance, into the weights of a network that has a linear last layer."""
    with torch.no_grad():
        if "expression" in config.tasks:
            last = [module for module in network.head.modules() if isinstance(module, nn.Linear)][-1]
            count = len(config.classes)
            last.weight[:count] /= calibration.temperature
            last.bias[:count] /= calibration.temperature
            for k, name in enumerate(config.classes):
                last.bias[k] += calibration.shift.get(name, 0.0)
        if config.luminance:
            # Trained on grey, where red, green and blue are alike: only the sum of a kernel over them has counted.
            first = next(m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
            first.weight.copy_(first.weight.sum(dim=1, keepdim=True) * torch.tensor(LUMA).view(1, 3, 1, 1))
