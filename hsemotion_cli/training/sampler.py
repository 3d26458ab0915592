"""Which training images each step sees. A step's rows follow from the seed and its number alone, so runs can resume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .config import StageConfig, TrainingConfig
from .dataset import Dataset


class Sampler:
    """The steps of a whole run, stage after stage.

    Attributes:
        stages: a sampler for each stage of the config.
        ends: (stages,) the number of the first step after each stage.

    Raises:
        InputError: as ``StageSampler``.
    """

    def __init__(self, config: TrainingConfig, dataset: Dataset) -> None:
        self.stages = [StageSampler(config, stage, dataset) for stage in config.stages]
        self.ends = np.cumsum([stage.steps for stage in self.stages])

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return int(self.ends[-1])

    def locate(self, step: int) -> tuple[int, int]:
        """The stage that a step of the run belongs to, and its number within that stage."""
        stage = int(np.searchsorted(self.ends, step, side="right"))
        return stage, step - self.first_step(stage)

    def first_step(self, stage: int) -> int:
        """The number of a stage's first step in the run."""
        return int(self.ends[stage] - self.stages[stage].steps)

    def rows(self, step: int) -> NDArray[np.int64]:
        """The dataset rows of one step of the run."""
        stage, within = self.locate(step)
        return self.stages[stage].rows(within)


class StageSampler:
    """The steps of one stage: each epoch draws every labelled training image about as often as its weight.

    Attributes:
        pool: (n,) dataset rows that can be drawn: the stage's sources, training part, with a label for some task.
        expected: (n,) how often each is drawn per epoch on average; they add up to ``count``, before rounding.
        count: images per epoch.
        batch: images per step; the last step of an epoch may have fewer.
        epoch_steps: steps per epoch.
        steps: steps of the stage.

    Raises:
        InputError: no image can be drawn, or only one.
    """

    def __init__(self, config: TrainingConfig, stage: StageConfig, dataset: Dataset) -> None:
        sources = config.drawn_from(stage)
        pool = dataset.rows("train", sources)
        labelled = np.zeros(len(pool), bool)
        for task in config.tasks:
            labelled |= ~np.isnan(getattr(dataset, task)[pool]).all(axis=1)
        self.pool = pool[labelled]
        if not len(self.pool):
            raise InputError(f"nothing to train on: {', '.join(sources)} has no labelled image in its training part.")
        weights = {source.name: source.weight for source in config.sources}
        expected = np.array([weights[name] for name in dataset.source[self.pool]])
        expected = expected * _class_balance(dataset.expression[self.pool], stage.balance)
        total = sum(weights[name] * (dataset.source[self.pool] == name).sum() for name in sources)
        if len(self.pool) < 2 or not total:
            raise InputError(f"too little to train on: {', '.join(sources)} has only one image, or weight 0.")
        self.expected = expected * (total / expected.sum())
        self.batch, self.seed = stage.batch, config.seed
        # Every epoch draws the same number of images, so the epoch of a step is known without drawing.
        self.count = max(round(total), 2)
        self.epoch_steps = -(-self.count // self.batch)
        self.steps = max(round(stage.epochs * self.epoch_steps), 1)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def rows(self, step: int) -> NDArray[np.int64]:
        """The dataset rows of one step of the stage."""
        epoch, within = divmod(step, self.epoch_steps)
        if self._order[0] != epoch:
            self._order = (epoch, self._draw_epoch(epoch))
        start = within * self.batch
        if start and start == self.count - 1:
            start -= 1  # batch normalisation needs at least two images
        return self._order[1][start : (within + 1) * self.batch]

    def _draw_epoch(self, epoch: int) -> NDArray[np.int64]:
        """The rows of an epoch by systematic sampling: expected 2.3 draws are 2 or 3, and 3 with probability 0.3."""
        rng = np.random.default_rng((self.seed, 0, epoch))
        order = rng.permutation(len(self.pool))
        marks = np.cumsum(self.expected[order]) * (self.count / self.expected.sum())
        ticks = np.arange(self.count) + rng.random()
        drawn = self.pool[order[np.minimum(np.searchsorted(marks, ticks), len(order) - 1)]]
        return rng.permutation(drawn)


def _class_balance(shares: NDArray[np.float32], power: float) -> NDArray[np.float64]:
    """(n,) weights with mean 1: the main class's frequency to the power ``-power``; 1 for unlabelled rows."""
    known = ~np.isnan(shares).any(axis=1)
    weights = np.ones(len(shares))
    if power and known.any():
        main = shares[known].argmax(axis=1)
        frequency = np.bincount(main, minlength=shares.shape[1]) / known.sum()
        weights[known] = frequency[main] ** -power
        weights[known] /= weights[known].mean()
    return weights
