"""Faces made ready for a network on the device that runs it, so that a GPU need not wait for the CPU to resize.

The same bits as ``model.prepared`` with the rule "pil-bilinear" gives, on every device: Pillow resizes in whole
numbers, and so does this; and what normalising makes of the 256 values of a byte is looked up in a table that the CPU
made.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PIL
from torch import Tensor

from ..domain import Image
from .cards import NetworkSpec

_BITS = 22
"""Binary places of Pillow's weights (``PRECISION_BITS`` of its Resample.c): 32 less 8 of the pixels and 2 to spare."""

PIXELS = 1 << 24
"""At most so many at once (of pictures padded to the largest of them), unless a single picture has more; they and
what becomes of them on the way take up to 15 bytes each."""


class GpuPreprocessor:
    """Faces of any size -> (n, 3, size, size) float32 on a device, normalised as a network expects it.

    Args:
        spec: of the network.
        device: "cpu", "cuda" or "cuda:N".
    """

    def __init__(self, spec: NetworkSpec, device: str) -> None:
        self.size, self.device = spec.size, torch.device(device)
        # The steps and their order are those of ``prepared``.
        mean, std = (np.array(values, np.float32)[:, None] for values in (spec.mean, spec.std))
        table = (np.arange(256, dtype=np.uint8) / np.float32(255) - mean) / std
        self._table = torch.from_numpy(table).to(self.device)
        self._channels = torch.arange(3, device=self.device)

    def __call__(self, images: Sequence[Image]) -> Tensor:
        columns_first = np.array([_columns_first(image.shape[0], image.shape[1], self.size) for image in images])
        prepared = torch.empty((len(images), self.size, self.size, 3), device=self.device)
        for vertical in (False, True):
            rows = np.flatnonzero(columns_first == vertical)
            for part in _parts([images[int(k)] for k in rows]):
                prepared[torch.from_numpy(rows[: len(part)]).to(self.device)] = self._prepared(part, vertical)
                rows = rows[len(part) :]
        # The last dimension is that of the channels, which is how convolutions on a GPU like a map to lie.
        return prepared.permute(0, 3, 1, 2)

    def _prepared(self, images: Sequence[Image], columns_first: bool) -> Tensor:
        """(n, size, size, 3), as much at once as there is memory for, all in the same order of the two passes."""
        lengths = [[image.shape[axis] for image in images] for axis in (0, 1)]
        # Page-locked memory can be copied while the device computes what came before.
        shape = (len(images), max(lengths[0]), max(lengths[1]), 3)
        padded = torch.zeros(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for row, image in zip(padded.numpy(), images, strict=True):
            row[: image.shape[0], : image.shape[1]] = image
        pixels = padded.to(self.device, non_blocking=True)
        for axis in (0, 1) if columns_first else (1, 0):
            pixels = self._resampled(pixels.transpose(1, 1 + axis), lengths[axis]).transpose(1, 1 + axis)
        return self._table[self._channels, pixels.long()]

    def _resampled(self, lines: Tensor, lengths: Sequence[int]) -> Tensor:
        """One pass: (n, longest, m, 3) uint8, of which each has a length of its own -> (n, size, m, 3) uint8."""
        windows = [window(length, self.size) for length in lengths]
        first = torch.from_numpy(np.stack([begin for begin, _ in windows])).to(self.device)
        taps = max(weights.shape[1] for _, weights in windows)
        padded = np.stack([np.pad(weights, ((0, 0), (0, taps - weights.shape[1]))) for _, weights in windows])
        weights = torch.from_numpy(padded).to(self.device)
        count, _, others, _ = lines.shape
        total = torch.full((count, self.size, others, 3), 1 << (_BITS - 1), dtype=torch.int32, device=self.device)
        for k in range(taps):
            # A window that ends before the others has weights of 0 there, so any pixel will do.
            places = (first + k).clamp(max=lines.shape[1] - 1)[:, :, None, None].expand_as(total)
            total += lines.gather(1, places) * weights[:, :, k, None, None]
        return (total >> _BITS).clamp(0, 255).to(torch.uint8)


def _columns_first(height: int, width: int, size: int) -> bool:
    """Whether Pillow begins with the columns; what is rounded in between depends on it."""
    return _may_begin_with_columns() and height > size and height + size > 2 * width


@functools.cache
def _may_begin_with_columns() -> bool:
    """Whether this Pillow chooses the order of the passes by the shape of a picture; release 12 did not, 13 does."""
    noise = PIL.fromarray(np.random.default_rng(0).integers(0, 256, (90, 20, 3), np.uint8))
    rows_first = noise.resize((16, 90), PIL.Resampling.BILINEAR).resize((16, 16), PIL.Resampling.BILINEAR)
    return noise.resize((16, 16), PIL.Resampling.BILINEAR).tobytes() != rows_first.tobytes()


def _parts(images: Sequence[Image]) -> Iterator[Sequence[Image]]:
    """Pictures in order, so many together as make ``PIXELS`` when all are padded to the largest."""
    if not images:
        return
    start, height, width = 0, 0, 0
    for k, image in enumerate(images):
        height, width = max(height, image.shape[0]), max(width, image.shape[1])
        if k > start and (k + 1 - start) * height * width > PIXELS:
            yield images[start:k]
            start, (height, width) = k, image.shape[:2]
    yield images[start:]


@functools.lru_cache(maxsize=1024)
def window(length: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which pixels of a line become one of a resized line, and how much of each, by Pillow's bilinear filter.

    A triangle as wide as two pixels of the coarser of the two lines, its weights adding up to 1 and rounded to
    ``_BITS`` binary places.

    Args:
        length: pixels of the line.
        size: pixels that it shall have.

    Returns:
        (size,) first pixels; (size, taps) weights of that and those after it. They are kept, so leave them as they are.
    """
    scale = length / size
    reach = max(scale, 1.0)
    middles = (np.arange(size) + 0.5) * scale
    first = np.maximum((middles - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((middles + reach + 0.5).astype(np.int64), length)
    places = first[:, None] + np.arange((last - first).max())
    triangle = np.maximum(1 - np.abs((places - middles[:, None] + 0.5) * (1 / reach)), 0)
    triangle[places >= last[:, None]] = 0
    total = np.zeros(size)
    for column in triangle.T:  # one after another, as Pillow adds them up: their sum may depend on the order
        total += column
    return first, (triangle / total[:, None] * (1 << _BITS) + 0.5).astype(np.int32)
