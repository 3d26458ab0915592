"""path -> Frames: animated WebP and PNG, and TIFF files of several pages.

Animated GIF, AVIF and HEIF files have containers that FFmpeg reads: see ``video``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Frame, Image
from ..errors import InputError
from .canvas import Canvas
from .chosen_frames import ChosenFrames
from .file_type import png_animation
from .image_size import TiffPage, declared_size, tiff_pages
from .notes import decode_notes
from .orientation import Orientation
from .pillow_decoder import DAMAGE, on_white, opened, to_rgb
from .source import DecodeOptions, DecodeReport, Sampling, SourceInfo, check_size

UNTIMED = 0.1
"""Seconds that a frame of an animation without a duration is shown; browsers do the same."""

_AS_IT_IS = DecodeOptions()
_HEAD = 1 << 20  # bytes in which the size of an animation is declared
_INTERVAL = re.compile(r"^finterval=([0-9.eE+-]{1,40})\s*$", re.MULTILINE)
_RATE = re.compile(r"^fps=([0-9.eE+-]{1,40})\s*$", re.MULTILINE)
_AT_ONCE = 64 << 20  # bytes of pages that are decoded together: to find a page, all pages before it are visited


class _FramesOfOneFile(ABC):
    """An image file that holds several frames.

    Raises:
        UsageError: ``region`` of the options reaches beyond its first frame.
    """

    def __init__(self, path: Path, options: DecodeOptions) -> None:
        self.path = path
        self.options = options
        self.report = DecodeReport()
        self.info: SourceInfo

    @abstractmethod
    def _timed(self) -> Iterator[tuple[float, Image | None]]:
        """(seconds, image) of all frames in order; None for one that cannot be decoded."""

    @property
    def notes(self) -> list[str]:
        """What was assumed or left out, for a person; complete once ``frames`` has run out."""
        return decode_notes(self.info, self.report)

    def frames(
        self, sampling: Sampling | None = None, on_audio: Callable[[Any], None] | None = None
    ) -> Iterator[Frame]:
        """Yield the chosen frames in order; ``on_audio`` is never called."""
        sampling = sampling or Sampling()
        report = self.report = DecodeReport()
        chosen = ChosenFrames(
            sampling, report, Canvas(self.info.width, self.info.height, self.options.region, self.path)
        )
        last = math.nan
        for index, (time, image) in enumerate(self._turned()):
            if sampling.end is not None and time >= sampling.end:
                return
            if image is None:
                report.fail(time)
                continue
            if report.decoded:
                report.step(time - last)
            last = time
            if (frame := chosen.frame(index, time, image)) is not None:
                yield frame

    def _turned(self) -> Iterator[tuple[float, Image | None]]:
        orientation = Orientation(self.options.degrees // 90)
        for time, image in self._timed():
            yield time, None if image is None else orientation.apply(image)

    def _first(self) -> Image:
        for _, image in self._turned():
            if image is not None:
                Canvas(image.shape[1], image.shape[0], self.options.region, self.path)
                return image
        raise InputError(f"{self.path}: none of its frames can be decoded.")


class AnimatedImage(_FramesOfOneFile):
    """An animated WebP or PNG file; each frame comes as it is shown, after disposal and blending, on white.

    A frame begins when the durations of all frames before it have passed. One without a duration is shown for
    ``UNTIMED`` seconds, and ``report.notes`` says how many there are.

    Raises:
        InputError: it cannot be read, is too large, or none of its frames can be decoded.
    """

    def __init__(self, path: Path, options: DecodeOptions = _AS_IT_IS) -> None:
        super().__init__(path, options)
        try:
            with path.open("rb") as file:
                declared = declared_size(file.read(_HEAD))
                self._count, delays = png_animation(file)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        check_size(path, *(declared or (0, 0)))
        self._png = self._count > 0
        self._untimed = delays.count(0.0)
        first = self._first()
        self.info = SourceInfo(
            kind="video",
            width=first.shape[1],
            height=first.shape[0],
            fps=None,
            frames=self._count,
            duration=None,
            start=0.0,
            rotation=options.degrees,
            pixel_aspect=1.0,
            codec="apng" if self._png else "webp",
            audio=None,
            clock="container",
        )

    def _timed(self) -> Iterator[tuple[float, Image | None]]:
        report, time, number = self.report, 0.0, 0
        try:
            for time, image in self._png_frames() if self._png else self._webp_frames():
                number += 1
                yield time, image
        except (*DAMAGE, av.error.FFmpegError) as error:
            # Later frames are drawn over this one, so none of them can be shown as it is meant.
            reason = str(error).partition("\n")[0][:80]
            report.ended_early = f"its frame {number} cannot be decoded ({reason})"
            report.fail(time)
        if number < self._count and not report.ended_early:
            report.ended_early = f"it declares {self._count} frames but has {number}"
        if self._untimed:
            report.notes.append(f"{self._untimed} of its frames have no duration; each is taken to last {UNTIMED:g} s.")

    def _png_frames(self) -> Iterator[tuple[float, Image]]:
        """Through FFmpeg, since Pillow disposes of chains of frames wrongly (dispose to previous)."""
        options = {"protocol_whitelist": "file", "default_fps": f"{1 / UNTIMED:g}"}
        with av.open(f"file:{self.path}", format="apng", options=options) as container:
            for picture in container.decode(video=0):
                rgba: NDArray[np.uint8] = np.asarray(picture.to_ndarray(format="rgba"), np.uint8)
                yield float(picture.time or 0), on_white(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3])

    def _webp_frames(self) -> Iterator[tuple[float, Image]]:
        """Through Pillow, since FFmpeg reads no animated WebP."""
        time = 0.0
        self._untimed = 0
        with opened(self.path) as image:
            self._count = int(getattr(image, "n_frames", 1))
            for number in range(self._count):
                image.seek(number)
                image.load()
                yield time, to_rgb(image)
                seconds = float(image.info.get("duration") or 0) / 1000
                self._untimed += not seconds
                time += seconds or UNTIMED


class TiffStack(_FramesOfOneFile):
    """The pages of a TIFF file as frames; smaller copies and masks of other pages are left out.

    TIFF has no times. A page's time is its number over the rate that ImageJ wrote into the file, or else over
    ``image_fps`` of the options.

    Raises:
        InputError: it cannot be read, a page is too large, or none can be decoded.
    """

    def __init__(self, path: Path, options: DecodeOptions) -> None:
        super().__init__(path, options)
        try:
            with path.open("rb") as file:
                pages = list(tiff_pages(file))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        self.pages = [page for page in pages if not page.reduced]
        self._left_out = len(pages) - len(self.pages)
        for page in self.pages:
            check_size(path, page.width, page.height)
        self._own_rate = _rate_of_imagej(pages[0].description) if pages else None
        self.fps = self._own_rate or options.image_fps
        first = self._first()
        self.info = SourceInfo(
            kind="video",
            width=first.shape[1],
            height=first.shape[0],
            fps=self.fps,
            frames=len(self.pages),
            duration=None,
            start=0.0,
            rotation=options.degrees,
            pixel_aspect=1.0,
            codec="tiff",
            audio=None,
            clock=f"page numbers / {self.fps:g}" + (" (by ImageJ)" if self._own_rate else ""),
        )

    def _timed(self) -> Iterator[tuple[float, Image | None]]:
        for number, page in enumerate(self._images()):
            yield number / self.fps, page
        if not self._own_rate:
            self.report.notes.append(
                f"the pages of a TIFF file have no times; they are taken as {self.fps:g} per second (--image-fps)."
            )
        if self._left_out:
            self.report.notes.append(f"{self._left_out} of its pages are smaller copies or masks; they are left out.")

    def _images(self) -> Iterator[Image | None]:
        """The pages as RGB, some at a time."""
        at = 0
        while at < len(self.pages):
            block = self._block(at)
            yield from _read_pages(self.path, block, self.options.rotate == "auto")
            at += len(block)

    def _block(self, at: int) -> list[TiffPage]:
        """Pages that are neighbours in the file and small enough to be decoded together."""
        block = [self.pages[at]]
        room = _AT_ONCE
        for page in self.pages[at + 1 :]:
            room -= page.width * page.height * 3
            if room < 0 or page.number != block[-1].number + 1:
                break
            block.append(page)
        return block


def _read_pages(path: Path, block: list[TiffPage], upright: bool) -> list[Image | None]:
    """Neighbouring pages, turned as the file asks if ``upright``; each is tried alone where one cannot be decoded."""
    flags = cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        done, images = cv2.imreadmulti(str(path), block[0].number, len(block), flags=flags)
    except cv2.error:
        done, images = False, ()
    if done and len(images) == len(block):
        return [np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8) for image in images]
    if len(block) == 1:
        return [None]
    return [image for page in block for image in _read_pages(path, [page], upright)]


def _rate_of_imagej(description: str) -> float | None:
    """Pages per second as ImageJ writes them: ``finterval`` in seconds, or ``fps``; None if it wrote neither."""
    if not description.startswith("ImageJ="):
        return None
    interval, rate = _INTERVAL.search(description), _RATE.search(description)
    try:
        value = 1 / float(interval[1]) if interval else float(rate[1]) if rate else 0.0
    except (ValueError, ZeroDivisionError):
        return None
    return value if 0 < value < math.inf else None
