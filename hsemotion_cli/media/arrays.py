"""Arrays in memory -> Frames."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..domain import Frame, Image
from ..errors import UsageError
from .canvas import Canvas
from .chosen_frames import ChosenFrames
from .notes import decode_notes
from .orientation import Orientation
from .source import MAX_PIXELS, MAX_SIDE, DecodeOptions, DecodeReport, Sampling, SourceInfo, fits

KIND = "array"
"""``SourceInfo.codec`` of images that come from memory."""

_AS_IT_IS = DecodeOptions()


class ArraySource:
    """Images in memory as a source: one, or the frames of a stream in their order.

    Images are taken from the iterable as they are analysed, so a stream may be longer than memory, and ``frames`` can
    be read only once.

    Args:
        images: uint8 arrays, RGB (height, width, 3) or grey (height, width).
        fps: images per second, from which times are computed as number / fps; None for a single image.
        name: replaces the path in messages and in the sidecar.
        options: how they are turned, and which part of them is analysed.

    Raises:
        UsageError: there is no image, the first cannot be used, or the region reaches beyond it.
    """

    def __init__(
        self,
        images: Iterable[object],
        fps: float | None = None,
        name: str = KIND,
        options: DecodeOptions = _AS_IT_IS,
    ) -> None:
        self.path = Path(name)
        self.report = DecodeReport()
        self._fps = fps
        self._hash = hashlib.sha256()
        remaining = iter(images)
        try:
            first = as_image(next(remaining), name)
        except StopIteration:
            raise UsageError(f"{name}: there is no image.") from None
        self._images: Iterator[object] = itertools.chain([first], remaining)
        self._orientation = Orientation(options.degrees // 90)
        height, width = self._orientation.apply(first).shape[:2]
        self._canvas = Canvas(width, height, options.region, self.path)
        self.info = SourceInfo(
            kind="picture" if fps is None else "pictures",
            width=width,
            height=height,
            fps=fps,
            frames=1 if fps is None else None,
            duration=None,
            start=0.0,
            rotation=options.degrees,
            pixel_aspect=1.0,
            codec=KIND,
            audio=None,
            clock="none" if fps is None else f"image numbers / {fps:g}",
        )

    @property
    def notes(self) -> list[str]:
        """What was assumed, for a person; complete once ``frames`` has run out."""
        return decode_notes(self.info, self.report)

    @property
    def sha256(self) -> str:
        """SHA-256 over the height, width and RGB bytes of each image read so far, in hexadecimal."""
        return self._hash.hexdigest()

    def frames(
        self, sampling: Sampling | None = None, on_audio: Callable[[Any], None] | None = None
    ) -> Iterator[Frame]:
        """Yield the chosen images in order; ``on_audio`` is never called.

        Raises:
            UsageError: an image cannot be used.
        """
        sampling = sampling or Sampling()
        chosen = ChosenFrames(sampling, self.report, self._canvas)
        for number, array in enumerate(self._images):
            time = number / self._fps if self._fps else 0.0
            if sampling.end is not None and time >= sampling.end:
                return
            image = as_image(array, f"{self.path}, image {number}")
            self._hash.update(f"{image.shape[0]} {image.shape[1]}\n".encode() + image.tobytes())
            image = self._orientation.apply(image)
            if (frame := chosen.frame(number, time, image)) is not None:
                yield frame


def as_image(array: object, name: str = KIND) -> Image:
    """An array as an RGB image; grey becomes RGB.

    Args:
        array: uint8, (height, width, 3) or (height, width).
        name: for messages.

    Raises:
        UsageError: it has another type, shape or size; the message says how to convert it.
    """
    if not isinstance(array, np.ndarray):
        raise UsageError(
            f"{name}: a {type(array).__name__} is not a NumPy array; convert it with numpy.asarray(image), as uint8 "
            "RGB of the shape (height, width, 3)."
        )
    if advice := _shape_advice(array.shape):
        raise UsageError(
            f"{name}: an image has the shape (height, width, 3) or (height, width), not {_of(array)}; {advice}."
        )
    if array.dtype != np.uint8:
        raise UsageError(f"{name}: pixels are uint8 from 0 to 255, not {array.dtype}; {_dtype_advice(array)}.")
    height, width = array.shape[:2]
    if not fits(width, height):
        raise UsageError(
            f"{name}: {width} x {height} pixels; an image has 1 to {MAX_SIDE:,} on a side and at most "
            f"{MAX_PIXELS / 1e6:.0f} million in all."
        )
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    return np.ascontiguousarray(array)


def _of(array: np.ndarray) -> str:
    return "(" + ", ".join(map(str, array.shape)) + ("," if array.ndim == 1 else "") + ")"


def _shape_advice(shape: tuple[int, ...]) -> str:
    """What helps against a wrong shape, or "" for a right one."""
    if len(shape) == 2 or (len(shape) == 3 and shape[2] == 3):
        return ""
    if len(shape) == 3 and shape[2] == 4:
        return "leave the alpha channel out with image[..., :3]"
    if len(shape) == 3 and shape[2] == 1:
        return "drop the last axis with image[..., 0]"
    if len(shape) == 3 and shape[0] in (1, 3, 4):
        return "move the channels last with image.transpose(1, 2, 0)"
    if len(shape) == 4:
        return "give one image at a time, such as images[0]"
    return "reshape it"


def _dtype_advice(array: np.ndarray) -> str:
    """How to convert pixels of another type."""
    if array.dtype.kind == "f":
        if array.size and np.nanmax(array) <= 1.0 and np.nanmin(array) >= 0.0:
            return "these lie between 0 and 1, so convert them with (image * 255).round().astype(numpy.uint8)"
        return "convert them with image.clip(0, 255).round().astype(numpy.uint8) if they go from 0 to 255"
    if array.dtype == np.uint16:
        return "convert 16 bits with (image // 257).astype(numpy.uint8)"
    if array.dtype.kind == "b":
        return "convert a mask with image.astype(numpy.uint8) * 255"
    return "convert them with image.clip(0, 255).astype(numpy.uint8) if they go from 0 to 255"
