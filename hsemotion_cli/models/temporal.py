"""Temporal layers of a head: dilated convolutions over the frames of one face, step by step, in numpy alone.

Each block is h + relu(conv(h)) with three taps that lie ``dilation`` steps apart. The causal variant sees the present
and the past, the centred one as many steps of the future as of the past. Both run as one stream: a centred block is a
causal one that answers ``dilation`` steps later. A step without a face is an input of zeros with a mask of 0, and
before the first face and after the last one all steps are such; so a face that has been away for long is like a new
one, and memory per face is constant.

Convolutions with growing dilations: Bai, Kolter and Koltun 2018, arXiv:1803.01271. Sizes are our choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MODES = ("causal", "centred")
TAPS = 3
SCALES = ("mean", "scale")
LONGEST = 4096
"""Largest dilation of a file, which bounds the memory that it can ask for."""
DILATIONS = (1, 2, 4, 8)
"""Of the blocks that training makes: 30 steps of the past, or 15 to each side, half a second of usual video."""


@dataclass(frozen=True, slots=True, eq=False)
class TemporalPart:
    """The temporal layers of one task.

    Attributes:
        source: of ``heads.INPUTS``.
        activation: "softmax", "tanh" or "sigmoid".
        classes: names of the outputs, in order.
        mode: of ``MODES``.
        dilations: of the blocks, in steps.
        mean, scale: (c,) of each input column; inputs are (x - mean) / scale.
        first: weight (h, c + 1), whose last column is for the mask, and bias (h,).
        blocks: weight (h, h, 3), earliest tap first, and bias (h,) of each.
        last: weight (out, h) and bias (out,).
    """

    source: str
    activation: str
    classes: tuple[str, ...]
    mode: str
    dilations: tuple[int, ...]
    mean: Floats
    scale: Floats
    first: tuple[Floats, Floats]
    blocks: tuple[tuple[Floats, Floats], ...]
    last: tuple[Floats, Floats]

    @property
    def layers(self) -> tuple[tuple[Floats, Floats], ...]:
        """Weight and bias of all layers."""
        return (self.first, *self.blocks, self.last)

    @property
    def memory(self) -> int:
        """Steps without a face after which nothing of it is left."""
        return (TAPS - 1) * sum(self.dilations)

    @property
    def delay(self) -> int:
        """Steps from an input to the output about it."""
        return sum(self.dilations) if self.mode == "centred" else 0

    def entry(self, x: Floats | None) -> Floats:
        """(c,) -> (h,) after the first layer; None for a step without a face."""
        weight, bias = self.first
        if x is None:
            return np.maximum(bias, 0)
        given = np.append((x - self.mean) / self.scale, 1.0)
        return np.maximum(weight @ given + bias, 0)

    def block(self, k: int, taps: tuple[Floats, Floats, Floats]) -> Floats:
        """(h,) output of one block from its taps, earliest first."""
        weight, bias = self.blocks[k]
        z = weight[:, :, 0] @ taps[0] + weight[:, :, 1] @ taps[1] + weight[:, :, 2] @ taps[2] + bias
        return np.asarray((taps[1] if self.mode == "centred" else taps[2]) + np.maximum(z, 0))

    def logits(self, h: Floats) -> Floats:
        """(h,) -> (out,) before the activation."""
        weight, bias = self.last
        return weight @ h + bias


class TemporalState:
    """What the layers of one task remember of one face.

    Args:
        part: the layers.
    """

    def __init__(self, part: TemporalPart) -> None:
        self._part = part
        # As if steps without a face had gone on forever: every step of every layer was the same.
        h = part.entry(None)
        self._rings: list[list[Floats]] = []
        self._at = [0] * len(part.dilations)
        for k, dilation in enumerate(part.dilations):
            self._rings.append([h] * ((TAPS - 1) * dilation + 1))
            h = part.block(k, (h, h, h))

    def step(self, x: Floats | None) -> Floats:
        """The next step: (c,) input, None without a face -> (out,) logits of the step ``delay`` steps before."""
        h = self._part.entry(x)
        for k, (ring, dilation) in enumerate(zip(self._rings, self._part.dilations, strict=True)):
            at = self._at[k]
            ring[at] = h
            h = self._part.block(k, (ring[(at + 1) % len(ring)], ring[at - dilation], h))
            self._at[k] = (at + 1) % len(ring)
        return self._part.logits(h)


def run(part: TemporalPart, steps: list[Floats | None]) -> Iterator[Floats]:
    """The logits of each step of one face's whole sequence, in order."""
    state = TemporalState(part)
    for k, x in enumerate([*steps, *[None] * part.delay]):
        found = state.step(x)
        if k >= part.delay:
            yield found


def from_tensors(
    task: str, entry: Mapping[str, Any], classes: tuple[str, ...], width: int, tensors: Mapping[str, NDArray]
) -> TemporalPart:
    """The layers of one task, from a head's file.

    Args:
        entry: what the header says about the part.
        width: columns of its input.
        tensors: of the whole file.

    Raises:
        ValueError, KeyError, TypeError: they do not belong together, or a number is not finite.
    """
    dilations = tuple(entry["dilations"])
    if entry["temporal"] not in MODES or len(dilations) != entry["layers"] - 2:
        raise ValueError(f"{task}: {entry['layers']} layers, {entry['temporal']}, with {len(dilations)} dilations")
    if not all(isinstance(each, int) and 1 <= each <= LONGEST for each in dilations):
        raise ValueError(f"{task}: dilations {dilations}")
    hidden = len(tensors[f"{task}.0.bias"])
    shapes = [(hidden, width + 1), *[(hidden, hidden, TAPS)] * len(dilations), (len(classes), hidden)]
    expected = {f"{task}.{k}.weight": shape for k, shape in enumerate(shapes)}
    expected |= {f"{task}.{k}.bias": shape[:1] for k, shape in enumerate(shapes)}
    expected |= {f"{task}.{name}": (width,) for name in SCALES}
    for name, shape in expected.items():
        if tensors[name].shape != shape or not np.isfinite(tensors[name]).all():
            raise ValueError(f"{name}: {tensors[name].shape} instead of {shape}, or a number that is not finite")
    own = {name: tensors[name].astype(np.float64) for name in expected}
    if not (own[f"{task}.scale"] > 0).all():
        raise ValueError(f"{task}: a scale that is not above 0")
    layers = [(own[f"{task}.{k}.weight"], own[f"{task}.{k}.bias"]) for k in range(len(shapes))]
    inputs = own[f"{task}.mean"], own[f"{task}.scale"]
    return TemporalPart(
        entry["source"], entry["activation"], classes, entry["temporal"], dilations, *inputs, layers[0],
        tuple(layers[1:-1]), layers[-1],
    )  # fmt: skip
