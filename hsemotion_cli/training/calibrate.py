"""Calibration after training, on images that were not trained on; it becomes part of the network's last layer.

So every runtime gets calibrated scores without any extra step.
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
from .last_layer import last_linear


@dataclass(frozen=True, slots=True)
class Calibration:
    """The fitted values; the defaults, if there were no labels to fit them on.

    Attributes:
        temperature: expression logits are divided by it.
        thresholds: action unit -> probability from which it counts as present.
        shift: expression -> added to its logit after the division.
    """

    temperature: float = 1.0
    thresholds: dict[str, float] | None = None
    shift: dict[str, float] = field(default_factory=dict)


def fit(scores: NDArray[np.floating], dataset: Dataset, rows: NDArray[np.int64], config: TrainingConfig) -> Calibration:
    """Fit the temperature to the votes and thresholds to the action units, and compute the class-prior correction.

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
    """(classes,) shares of the classes in the votes on some images; a class without votes counts as one vote."""
    shares = dataset.expression[rows].astype(np.float64)
    votes = np.maximum(shares[~np.isnan(shares).any(axis=1)].sum(axis=0), 1.0)
    return votes / votes.sum()


def _shift(dataset: Dataset, config: TrainingConfig) -> dict[str, float]:
    """The class-prior correction of the logits; their mean is 0, since a constant has no effect."""
    if not config.evened or "expression" not in config.tasks:
        return {}
    drawn = {source for stage in config.stages for source in config.drawn_from(stage)}
    shift = -config.evened * np.log(class_shares(dataset, dataset.rows("train", drawn)))
    return dict(zip(config.classes, (shift - shift.mean()).tolist(), strict=True))


def build_in(network: Network, config: TrainingConfig, calibration: Calibration) -> None:
    """Fold a calibration, and luminance if configured, into the weights of a network with a linear last layer."""
    with torch.no_grad():
        if "expression" in config.tasks:
            last = last_linear(network)
            count = len(config.classes)
            last.weight[:count] /= calibration.temperature
            last.bias[:count] /= calibration.temperature
            for k, name in enumerate(config.classes):
                last.bias[k] += calibration.shift.get(name, 0.0)
        if config.luminance:
            # Trained on grey, where red, green and blue are equal: only the sum of a kernel over them has an effect.
            first = next(m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
            first.weight.copy_(first.weight.sum(dim=1, keepdim=True) * torch.tensor(LUMA).view(1, 3, 1, 1))
