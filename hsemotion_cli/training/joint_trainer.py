"""Training of joint heads: dense layers on embeddings of a face and a hidden state of the sound, side by side.

The two networks' numbers have other means and spreads, so every column is standardised by those of the training rows;
the finished layers take the numbers as they are, since the first layer's weights absorb it. Where nothing is heard,
the state is zero after standardisation as well, and the last column is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.heads import Part
from .head_trainer import Examples, FittedHead, HeadConfig, Method, Report, examples, fit
from .joint_features import JointRows

HIDDEN = 128
"""Units of the hidden layer, as in the papers' heads that have one: without it, face and sound could only add up."""

_BLOCK = 8192  # rows that are standardised together


def joint_config(config: HeadConfig) -> HeadConfig:
    """A paper's config as that of a joint head, which always has a hidden layer; the size is our choice."""
    return replace(config, hidden=config.hidden or HIDDEN, l2=0.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Scale:
    """Mean and standard deviation (c,) of each column, of the state over the rows that have one."""

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    states: slice

    def folded(self, part: Part) -> Part:
        """A part for standardised inputs -> the same for the numbers as they are."""
        (weight, bias), *rest = part.layers
        weight = weight / self.deviation
        shift = weight * self.mean
        of_sound = shift[:, self.states].sum(axis=1)
        # The state's mean counts only where there is a state, so it goes into the weight of the last column.
        bias = bias - (shift.sum(axis=1) - of_sound)
        weight[:, -1] -= of_sound
        first = tuple(values.astype(np.float32).astype(np.float64) for values in (weight, bias))
        return replace(part, layers=((first[0], first[1]), *rest))


@dataclass(frozen=True, slots=True, eq=False)
class JointExamples(Examples):
    """Examples whose inputs end with a state and with 1, or with zeros.

    Attributes:
        size: length of a state.
        scale: what the inputs are standardised by; None for the numbers as they are.
    """

    size: int = 0
    scale: _Scale | None = None

    def inputs(self, which: NDArray[np.int64] | slice) -> Tensor:
        """As ``Examples.inputs``."""
        values = Examples.inputs(self, which)
        if self.scale is None:
            return values
        mean = torch.from_numpy(self.scale.mean).float().repeat(len(values), 1)
        mean[:, self.scale.states] *= values[:, -1:]
        return (values - mean) / torch.from_numpy(self.scale.deviation).float()


def joint_examples(data: JointRows, task: str, source: str) -> JointExamples:
    """The labelled rows of one task.

    Args:
        source: of ``heads.INPUTS``.
    """
    plain = examples(data.rows, task, source)
    values = (*plain.values, data.sound, data.heard[:, None].astype(np.float32))
    return JointExamples(values, plain.rows, plain.labels, plain.videos, data.sound.shape[1])


def _scale_of(train: JointExamples) -> _Scale:
    """From all rows in blocks; a column that hardly changes is not stretched, and the last one stays as it is."""
    states = slice(train.width - 1 - train.size, train.width - 1)
    total, squares = np.zeros(train.width), np.zeros(train.width)
    heard = 0.0
    for start in range(0, len(train), _BLOCK):
        values = train.inputs(slice(start, start + _BLOCK)).numpy().astype(np.float64)
        total, squares = total + values.sum(axis=0), squares + (values * values).sum(axis=0)
        heard += values[:, -1].sum()
    count = np.full(train.width, float(len(train)))
    count[states] = max(heard, 1.0)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean * mean, 0))
    deviation[deviation < 1e-6 * np.maximum(np.abs(mean), 1)] = 1.0
    mean[-1], deviation[-1] = 0.0, 1.0
    return _Scale(mean, deviation, states)


def _fit(
    task: str, config: HeadConfig, train: JointExamples, validation: JointExamples | None, seed: int, report: Report
) -> FittedHead:
    """As ``head_trainer.fit``, on standardised inputs."""
    if not len(train):
        return fit(task, config, train, validation, seed, report)  # says what is missing
    scale = _scale_of(train)
    held = None if validation is None else replace(validation, scale=scale)
    fitted = fit(task, config, replace(train, scale=scale), held, seed, report)
    assert isinstance(fitted.part, Part)
    return replace(fitted, part=scale.folded(fitted.part))


JOINT = Method(joint_examples, _fit, {"joint": True})
"""Face and sound as one input."""
