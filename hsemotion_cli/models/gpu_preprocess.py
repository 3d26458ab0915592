"""Preprocessing of faces on the device that runs the network, so that a GPU need not wait for the CPU to resize.

The results are bit for bit those of ``network_model.prepare`` with the rule "pil-bilinear", on every device: both
resize with integer arithmetic, and normalised values are looked up in a table of 256 entries computed on the CPU.
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
"""Fractional bits of Pillow's weights (``PRECISION_BITS`` in its Resample.c): 32 minus 8 of the pixels and 2 spare."""

PIXELS = 1 << 24
"""Largest number of pixels per pass (of images padded to the largest one), unless a single image has more. Including
intermediate results, they take up to 15 bytes each."""


class GpuPreprocessor:
    """Faces of any size -> (n, 3, size, size) float32 on a device, normalised for a network.

    Args:
        spec: of the network.
        device: "cpu", "cuda" or "cuda:N".
    """

    def __init__(self, spec: NetworkSpec, device: str) -> None:
        self.size, self.device = spec.size, torch.device(device)
        # The steps and their order are those of ``network_model.prepare``.
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
                prepared[torch.from_numpy(rows[: len(part)]).to(self.device)] = self._prepare(part, vertical)
                rows = rows[len(part) :]
        # Channels stay last in memory, the preferred layout of convolutions on a GPU.
        return prepared.permute(0, 3, 1, 2)

    def _prepare(self, images: Sequence[Image], columns_first: bool) -> Tensor:
        """(n, size, size, 3) of some images that fit into memory together and share the order of the two passes."""
        lengths = [[image.shape[axis] for image in images] for axis in (0, 1)]
        # Page-locked memory is copied while the device computes the previous batch.
        shape = (len(images), max(lengths[0]), max(lengths[1]), 3)
        padded = torch.zeros(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for row, image in zip(padded.numpy(), images, strict=True):
            row[: image.shape[0], : image.shape[1]] = image
        pixels = padded.to(self.device, non_blocking=True)
        for axis in (0, 1) if columns_first else (1, 0):
            pixels = self._resample(pixels.transpose(1, 1 + axis), lengths[axis]).transpose(1, 1 + axis)
        return self._table[self._channels, pixels.long()]

    def _resample(self, lines: Tensor, lengths: Sequence[int]) -> Tensor:
        """One pass: (n, longest, m, 3) uint8, each with its own length -> (n, size, m, 3) uint8."""
        windows = [window(length, self.size) for length in lengths]
        first = torch.from_numpy(np.stack([begin for begin, _ in windows])).to(self.device)
        taps = max(weights.shape[1] for _, weights in windows)
        padded = np.stack([np.pad(weights, ((0, 0), (0, taps - weights.shape[1]))) for _, weights in windows])
        weights = torch.from_numpy(padded).to(self.device)
        count, _, width, _ = lines.shape
        total = torch.full((count, self.size, width, 3), 1 << (_BITS - 1), dtype=torch.int32, device=self.device)
        for k in range(taps):
            # Shorter windows are padded with weights of 0, so any pixel will do.
            indices = (first + k).clamp(max=lines.shape[1] - 1)[:, :, None, None].expand_as(total)
            total += lines.gather(1, indices) * weights[:, :, k, None, None]
        return (total >> _BITS).clamp(0, 255).to(torch.uint8)


def _columns_first(height: int, width: int, size: int) -> bool:
    """Whether Pillow resizes columns first; the rounding in between depends on it."""
    return _pillow_chooses_order() and height > size and height + size > 2 * width


@functools.cache
def _pillow_chooses_order() -> bool:
    """Whether this Pillow chooses the order of the passes by the image's shape; release 12 does not, 13 does."""
    noise = PIL.fromarray(np.random.default_rng(0).integers(0, 256, (90, 20, 3), np.uint8))
    rows_first = noise.resize((16, 90), PIL.Resampling.BILINEAR).resize((16, 16), PIL.Resampling.BILINEAR)
    return noise.resize((16, 16), PIL.Resampling.BILINEAR).tobytes() != rows_first.tobytes()


def _parts(images: Sequence[Image]) -> Iterator[Sequence[Image]]:
    """Groups of consecutive images with at most ``PIXELS`` pixels when padded to the largest one."""
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
    """The source pixels and weights of each pixel of a resized line, as in Pillow's bilinear filter.

    The filter is a triangle two pixels of the coarser line wide; its weights have the sum 1 and are rounded to
    ``_BITS`` fractional bits.

    Args:
        length: pixels of the line.
        size: pixels of the resized line.

    Returns:
        (size,) first source pixels; (size, taps) weights of these and the following pixels. They are cached and must
        not be changed.
    """
    scale = length / size
    reach = max(scale, 1.0)
    middles = (np.arange(size) + 0.5) * scale
    first = np.maximum((middles - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((middles + reach + 0.5).astype(np.int64), length)
    indices = first[:, None] + np.arange((last - first).max())
    triangle = np.maximum(1 - np.abs((indices - middles[:, None] + 0.5) * (1 / reach)), 0)
    triangle[indices >= last[:, None]] = 0
    total = np.zeros(size)
    for column in triangle.T:  # in Pillow's order, since rounding depends on it
        total += column
    return first, (triangle / total[:, None] * (1 << _BITS) + 0.5).astype(np.int32)
