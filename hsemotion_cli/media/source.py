"""Common types of all sources of frames: decoding options, declared properties, and a report of the decoding."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError, UsageError
from .canvas import Region
from .colour import Colour
from .cropping import Crop

MAX_SIDE = 32_766
"""Largest longer side of an image in pixels; OpenCV's warps do not support more."""

MAX_PIXELS = 1 << 27
"""Largest number of pixels of an image, 400 MB as RGB, enough for 15360 x 8640. A tiny file can declare any size."""


def fits(width: int, height: int) -> bool:
    """Whether an image of this size in pixels can be processed."""
    return width > 0 and height > 0 and max(width, height) <= MAX_SIDE and width * height <= MAX_PIXELS


def check_size(path: Path, width: int, height: int) -> None:
    """Raise InputError for an image that is too large to process, or has no pixels.

    Args:
        path: for the message.
        width, height: in pixels, declared or displayed.
    """
    if not fits(width, height):
        raise InputError(
            f"{path}: its images are declared as {width} x {height} pixels; the limits are 1 to {MAX_SIDE:,} on a "
            f"side and {MAX_PIXELS / 1e6:.0f} million in all, so scale it down first, if the declaration is true."
        )


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which decoded frames are analysed; by default all of them.

    Attributes:
        start: first time in seconds on the container's clock (inclusive), or None.
        end: last time in seconds (exclusive), or None.
        fps: at most this many frames per second, the first at or after each tick, or None.
        every: each n-th decoded frame, by ordinal.
    """

    start: float | None = None
    end: float | None = None
    fps: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"--every {self.every} is not a step: give 1 or more.")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UsageError(f"--fps {self.fps} is not a rate: give a number above 0.")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise UsageError(f"--end {self.end:g} is not after --start {self.start:g}.")

    def chooser(self) -> Callable[[int, float], bool]:
        """A predicate (ordinal, seconds) -> analyse this frame? It must see the frames in order."""
        next_tick = -math.inf

        def choose(index: int, time: float) -> bool:
            nonlocal next_tick
            if (self.start is not None and time < self.start) or index % self.every:
                return False
            if self.fps is not None:
                # Half a microsecond absorbs the rounding of time stamps that lie on the ticks.
                if time < next_tick - 5e-7:
                    return False
                base = time if next_tick == -math.inf else next_tick
                steps = math.floor((time - base) * self.fps + 1e-6) + 1
                next_tick = base + steps / self.fps
            return True

        return choose

    def expected(self, frames: int | None) -> int | None:
        """How many of ``frames`` declared frames will be analysed, or None where that is not known beforehand."""
        if frames is None or self != Sampling(every=self.every):
            return None
        return -(-frames // self.every)

    def no_frames(self, path: Path, decoded: int) -> InputError | UsageError:
        """The error for a source of which no frame was analysed, although ``decoded`` frames were decoded."""
        if decoded and self.start is not None:
            return UsageError(f"{path}: --start {self.start:g} is after its last frame; choose an earlier one.")
        if decoded or self.end is not None:
            return UsageError(f"{path}: none of its frames lies in the chosen part; choose another --start or --end.")
        return InputError(f"{path}: none of its frames could be decoded.")


DEINTERLACE = ("auto", "on", "off")
"""What ``--deinterlace`` may be."""

ROTATE = ("auto", "0", "90", "180", "270")
"""What ``--rotate`` may be."""


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How a source is decoded.

    Attributes:
        image_fps: images per second of a folder of numbered images.
        stream: which video stream of a file that has several: its number among them, from 0, or its language; None for
            the one that a player shows.
        video_fps: frames per second that replace the time stamps of a video file, or None.
        deinterlace: "auto" deinterlaces frames that are flagged as interlaced, "on" every frame, "off" none.
        rotate: "auto" turns and mirrors as the file asks; degrees counter-clockwise replace what the file asks for.
        region: x, y, width, height in pixels of the displayed image; only this part is analysed. None for all of it.
        clock: add the wall-clock time of each frame to the table.

    Raises:
        UsageError: a value is out of range.
    """

    image_fps: float = 30.0
    stream: str | None = None
    video_fps: float | None = None
    deinterlace: str = "auto"
    rotate: str = "auto"
    region: Region | None = None
    clock: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.image_fps < math.inf:
            raise UsageError(f"--image-fps {self.image_fps:g}: give a rate above 0.")
        if self.stream is not None and not self.stream.strip():
            raise UsageError("--stream is empty: give the number of a video stream, from 0, or its language.")
        if self.video_fps is not None and not 0 < self.video_fps < math.inf:
            raise UsageError(f"--video-fps {self.video_fps:g}: give a rate above 0.")
        if self.deinterlace not in DEINTERLACE:
            raise UsageError(f"--deinterlace {self.deinterlace}: choose from {', '.join(DEINTERLACE)}.")
        if self.rotate not in ROTATE:
            raise UsageError(f"--rotate {self.rotate}: choose from {', '.join(ROTATE)}.")
        if self.region is not None and (min(self.region) < 0 or min(self.region[2:]) < 1):
            raise UsageError(
                f"--region {','.join(map(str, self.region))}: give x, y, width and height in pixels, "
                "none of them negative, width and height at least 1."
            )

    @property
    def degrees(self) -> int:
        """Degrees counter-clockwise of ``rotate``; 0 for "auto"."""
        return 0 if self.rotate == "auto" else int(self.rotate)


@dataclass(slots=True)
class DecodeReport:
    """What happened while a source was read; complete once its frames have run out.

    Attributes:
        decoded: frames decoded, analysed or not.
        failures: packets or images that could not be decoded.
        failed_at: times in seconds (or file numbers) of the first of them, at most 20.
        corrupt: decoded frames that the decoder itself marks as damaged.
        ended_early: a sentence if the source ended before the end that it declares, else "".
        guessed_times: frames without any time stamp, timed by the average frame rate.
        shortest_step, longest_step: seconds between neighbouring decoded frames; nan before the second.
        clock_jumps: how often the clock of the container jumped; time goes on across a jump.
        jumped_at: times in seconds of the first frames after the first of them, at most 20.
        deinterlaced: frames that were deinterlaced.
        failed_files: of a folder of photos, name and reason of each that could not be read.
        notes: whole sentences about what was assumed or left out.
        size_changes: how often the size of the displayed image changed.
        sizes: the first of the sizes, at most 20: number and time in seconds of the first frame, width, height.
        cuts: times in seconds of the frames with which a new scene begins.
    """

    decoded: int = 0
    failures: int = 0
    failed_at: list[float] = field(default_factory=list)
    corrupt: int = 0
    ended_early: str = ""
    guessed_times: int = 0
    shortest_step: float = math.nan
    longest_step: float = math.nan
    clock_jumps: int = 0
    jumped_at: list[float] = field(default_factory=list)
    deinterlaced: int = 0
    failed_files: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    size_changes: int = 0
    sizes: list[ImageSize] = field(default_factory=list)
    cuts: list[float] = field(default_factory=list)
    _size: tuple[int, int] | None = field(default=None, init=False, repr=False)

    @property
    def variable_rate(self) -> bool:
        """Whether frame distances differ by more than the millisecond to which some containers round."""
        return self.longest_step - self.shortest_step > 0.0021

    def step(self, seconds: float) -> None:
        # fmin and fmax let the first number win over nan
        self.shortest_step = float(np.fmin(self.shortest_step, seconds))
        self.longest_step = float(np.fmax(self.longest_step, seconds))

    def fail(self, where: float) -> None:
        self.failures += 1
        if len(self.failed_at) < 20:
            self.failed_at.append(round(where, 6))

    def jump(self, where: float) -> None:
        """Count a jump of the clock; ``where`` is the time in seconds of the first frame after it."""
        self.clock_jumps += 1
        if len(self.jumped_at) < 20:
            self.jumped_at.append(round(where, 6))

    def cut(self, where: float, there: bool) -> bool:
        """Record a new scene at this time in seconds if ``there``; returns ``there``."""
        if there:
            self.cuts.append(round(where, 6))
        return there

    def size(self, index: int, time: float, size: tuple[int, int]) -> None:
        """Record the width and height of a frame, if they differ from the frame before."""
        if size == self._size:
            return
        self.size_changes += self._size is not None
        self._size = size
        if len(self.sizes) < 20:
            self.sizes.append(ImageSize(index, round(time, 6), *size))


@dataclass(frozen=True, slots=True)
class ImageSize:
    """Width and height of the displayed image, from a frame on."""

    frame: int
    time: float
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """The properties that a source declares, known before it is decoded.

    Attributes:
        kind: "video" (also an animated image), "images" (numbered images), "image" or "photos".
        width, height: of the displayed image (rotation and pixel aspect applied) in pixels, the units of all boxes; 0
            for photos of several sizes.
        fps: average frames per second, or None.
        frames: declared number of frames, or None; empty frames, which AVI stores to keep time, do not count.
        duration: declared seconds, or None.
        start: time stamp of the first frame in seconds, or None.
        rotation: degrees counter-clockwise by which the stored image is rotated for display.
        pixel_aspect: width of a stored pixel over its height.
        codec: name, or the suffix for images.
        audio: codec of the first audio stream, or None.
        clock: where time stamps come from: "container", "file numbers / RATE", "page numbers / RATE", "codec's frame
            rate RATE", "assumed frame rate RATE", "--video-fps RATE" or, for photos, "none".
        stream: number of the video stream among those of the file, or None.
        video_streams: their number, without cover art.
        language: of the stream, as the file has it, or None.
        created: date and time of the recording, ISO 8601 in UTC, or None. ``time`` 0 is that moment.
        mirrored: whether the stored image is mirrored left to right before the rotation.
        rotation_rest: degrees by which the file asks for a further rotation, clockwise; only quarter turns are made.
        crop: pixels at the sides of the stored image that its container crops away, or None.
        colour: how its colour is stored and was read; None for images.
    """

    kind: str
    width: int
    height: int
    fps: float | None
    frames: int | None
    duration: float | None
    start: float | None
    rotation: int
    pixel_aspect: float
    codec: str
    audio: str | None
    clock: str
    stream: int | None = None
    video_streams: int = 0
    language: str | None = None
    created: str | None = None
    mirrored: bool = False
    rotation_rest: float = 0.0
    crop: Crop | None = None
    colour: Colour | None = None
