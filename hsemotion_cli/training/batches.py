"""Dataset rows -> batches of augmented images and labels, made in the background while a GPU computes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .augment import Augmenter
from .config import TrainingConfig
from .dataset import Dataset
from .sampler import Sampler

_AHEAD = 3
"""Batches that are prepared in advance on a GPU."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The images and labels of one step, on the CPU.

    Attributes:
        images: (n, 3, size, size) float32, normalised.
        labels: task -> (n, columns) float32; nan where an image has no label.
    """

    images: Tensor
    labels: dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class BatchLoader:
    """Makes the batch of any step; it depends on the seed and the step only."""

    config: TrainingConfig
    dataset: Dataset
    sampler: Sampler
    augmenter: Augmenter

    def batch(self, step: int) -> Batch:
        """The batch of one step."""
        rows = self.sampler.rows(step)
        rng = np.random.default_rng((self.config.seed, 1, step))
        crops = [self.augmenter.augmented(self.dataset, int(row), self.config.augmentation, rng) for row in rows]
        batch = Batch(torch.from_numpy(np.stack(crops)), self.labels(rows))
        if self.config.augmentation.mixup:
            batch = mix_up(batch, self.config.augmentation.mixup, rng)
        return batch

    def batches(self, begin: int, end: int, device: str) -> Iterator[tuple[int, Batch]]:
        """The steps from ``begin`` to ``end`` (exclusive) with their batches.

        On a GPU the next batches are prepared during a step. On a CPU the extra thread would only slow down torch's
        own threads, which synchronise many times a step.
        """
        if not device.startswith("cuda"):
            yield from ((step, self.batch(step)) for step in range(begin, end))
            return
        with ThreadPoolExecutor(1) as pool:
            waiting: list[tuple[int, Future[Batch]]] = []
            try:
                for step in range(begin, end):
                    waiting.append((step, pool.submit(self.batch, step)))
                    if len(waiting) > _AHEAD:
                        number, future = waiting.pop(0)
                        yield number, future.result()
                while waiting:
                    number, future = waiting.pop(0)
                    yield number, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def labels(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        """Task -> (len(rows), columns) targets; expressions as shares or as the majority class, as configured."""
        labels = {task: torch.from_numpy(getattr(self.dataset, task)[rows]) for task in self.config.tasks}
        if "expression" in labels and self.config.loss.targets == "majority":
            shares = labels["expression"]
            hard = nn.functional.one_hot(shares.argmax(dim=1), shares.shape[1]).float()
            labels["expression"] = torch.where(shares.isnan(), shares, hard)
        return labels


def mix_up(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Mixup (Zhang et al. 2018, arXiv:1710.09412): average each image and its labels with another of the batch.

    The shares are drawn from Beta(alpha, alpha), and an image always keeps the larger one; the paper's order does not
    matter there. A mixture has a label only if both of its images have one.
    """
    count = len(batch.images)
    own = torch.from_numpy(rng.beta(alpha, alpha, count).astype(np.float32))
    own = torch.maximum(own, 1 - own)
    partners = torch.from_numpy(rng.permutation(count))

    def mix(values: Tensor) -> Tensor:
        share = own.view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[partners]

    return Batch(mix(batch.images), {task: mix(values) for task, values in batch.labels.items()})
