"""What a training step updates, and how: optimiser, learning rate, scope, loss weights, and the moving average."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..models.architectures import Network
from .config import TrainingConfig
from .dataset import Dataset


def make_optimiser(config: TrainingConfig, network: Network) -> torch.optim.Optimizer:
    """The configured optimiser; weight decay applies to kernels, not to biases, slopes and normalisation."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    decay = config.optimiser.weight_decay
    groups = [{"params": kernels, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    if config.optimiser.kind == "sgd":
        return torch.optim.SGD(groups, lr=1e-3, momentum=0.9)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimiser.kind]
    return kind(groups, lr=1e-3)


def learning_rate(highest: float, step: int, steps: int, schedule: str = "cosine") -> float:
    """Linear warm-up over the first twentieth of a stage, then a cosine down to 1 % of the highest rate; or constant.

    Args:
        schedule: of ``config.SCHEDULES``.
        step: number of the step within its stage, from 0.
        steps: steps of the stage.
    """
    if schedule == "constant":
        return highest
    warm = max(steps // 20, 1)
    if step < warm:
        return highest * (step + 1) / warm
    return highest * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(steps - warm, 1))))


def trained_modules(network: Network, scope: str) -> list[nn.Module]:
    """The modules that a stage of some scope trains.

    Raises:
        UsageError: the network has no pooling layer to train.
    """
    if scope == "all":
        return [network]
    if scope == "head":
        return [network.head]
    if not network.pooling:
        raise UsageError(f"scope {scope!r}: this network has no such layer; choose all or head.")
    return [network.head, *network.pooling]


def loss_weights(config: TrainingConfig, dataset: Dataset, device: str) -> dict[str, Tensor]:
    """Weights from the training part: (classes,) of expressions, (2, 12) of absent and present action units."""
    rows, found = dataset.rows("train"), {}
    if "expression" in config.tasks and config.loss.class_power:
        counts = np.nansum(dataset.expression[rows], axis=0)
        found["expression"] = (counts.max() / np.maximum(counts, 1)) ** config.loss.class_power
    if "action_units" in config.tasks and config.loss.balance_units:
        units = dataset.action_units[rows]
        present = np.nansum(units, axis=0) / np.maximum((~np.isnan(units)).sum(axis=0), 1)
        present = np.where(np.isnan(units).all(axis=0), 0.5, np.clip(present, 0.01, 0.99))
        found["action_units"] = np.stack([0.5 / (1 - present), 0.5 / present])
    return {task: torch.tensor(np.asarray(values, np.float32), device=device) for task, values in found.items()}


class MovingAverage:
    """Exponential moving average of all weights and statistics of a network.

    Attributes:
        state: as the network's ``state_dict``.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: Network, step: int) -> None:
        """Take in the weights after a step."""
        decay = min(self.decay, (1 + step) / (10 + step))  # early on, forget the random initial weights quickly
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if value.dtype.is_floating_point and self.decay:
                    self.state[name].lerp_(value, 1 - decay)
                else:
                    self.state[name].copy_(value)


class frozen_statistics:
    """Inside, batch normalisation keeps its running statistics: the second pass of a SAM step must not count twice."""

    def __init__(self, network: nn.Module) -> None:
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.norms = [norm for norm in norms if norm.training and norm.track_running_stats]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.track_running_stats = False

    def __exit__(self, *_: object) -> None:
        for norm in self.norms:
            norm.track_running_stats = True
