"""Frames of any live source -> rows, one frame at a time: the same code for the command and for arrays from Python."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import av

from ..domain import Frame, Image, Reading
from ..errors import UsageError
from ..faces.detector import REACH, smallest_tiled_face
from ..media.arrays import as_image
from ..media.canvas import Canvas
from ..media.colour import ColourReader
from ..media.orientation import Orientation
from ..media.scene_cuts import CutDetector
from ..pipeline import Annotator, Settings
from ..postprocess.refine import Affect
from ..runtime.stage_timer import StageClock
from .newest import NewestRows, check_causal

STREAM = Path("stream")
"""Name of the source in messages."""


def live_settings(settings: Settings, size: tuple[int, int]) -> Settings:
    """Settings as a live source can keep them.

    Unless a smallest face is given, faces are searched for in the whole image only: tiles, in which small faces show,
    take several times as long as everything else together.

    Args:
        size: width and height of the source in pixels.

    Raises:
        UsageError: something is asked for that needs later frames, or the whole recording.
    """
    check_causal(settings.recipe)
    for name, wanted in (
        ("--identify", settings.identify or bool(settings.names)),
        ("--detect-every", settings.detect_every > 1),
        ("--stride", settings.stride > 1),
        ("--audio-head", settings.audio_head is not None),
        ("a joint head on faces and sound", any(head.base.sound for head in settings.running.heads)),
    ):
        if wanted:
            raise UsageError(f"{name} needs frames that have not arrived yet; leave it out, or annotate a recording.")
    least = settings.min_face
    return replace(settings, min_face=smallest_face(size) if least is None else least)


def smallest_face(size: tuple[int, int]) -> int:
    """Width in pixels of the smallest face that the whole image shows, without tiles."""
    return max(math.ceil(REACH * max(size)), smallest_tiled_face(*size))


def in_turn(
    annotator: Annotator,
    frames: Iterable[Frame],
    size: tuple[int, int],
    clock: StageClock,
    extra: Callable[[], dict[str, object]] = dict,
) -> Iterator[tuple[Reading, Affect]]:
    """The reading and the rows of each frame; with a serial executor, before the next frame is asked for.

    Args:
        annotator: with settings of ``live_settings``.
        size: width and height of the displayed image.
        extra: gives the optional columns of the frame that comes next: name -> value.
    """
    cuts, rows = SceneCuts(), NewestRows(annotator.settings.recipe)
    cut = (replace(frame, cut=cuts.cut(frame.image)) for frame in frames)
    for reading in annotator.readings_in_turn(cut, size, clock):
        yield reading, rows.add(reading, **extra())


class TimedImages:
    """Pairs of a time and an array as frames.

    Args:
        pairs: seconds, rising, and an image: uint8, RGB (height, width, 3) or grey (height, width).
        settings: how images are turned, and which part is analysed.

    Attributes:
        size: width and height of the displayed image, that of the first.

    Raises:
        UsageError: there is none, or the first cannot be used.
    """

    def __init__(self, pairs: Iterable[tuple[float, object]], settings: Settings) -> None:
        self._pairs, decoding = iter(pairs), settings.decoding
        self._orientation = Orientation(decoding.degrees // 90)
        first = next(self._pairs, None)
        if first is None:
            raise UsageError("annotate_stream: there is no image.")
        self._first = self._pair(first, 0)
        height, width = self._first[1].shape[:2]
        self._canvas = Canvas(width, height, decoding.region, STREAM)
        self.size = width, height

    def frames(self) -> Iterator[Frame]:
        """Each frame as soon as its image comes.

        Raises:
            UsageError: an image cannot be used, or times do not rise.
        """
        last = -math.inf
        for number, (time, image) in enumerate(self._all()):
            if not time > last or math.isinf(time):
                raise UsageError(f"annotate_stream, image {number}: its time, {time:g} s, is not after {last:g} s.")
            last = time
            part, view = self._canvas.placed(image)
            yield Frame(number, time, part, view=view)

    def _all(self) -> Iterator[tuple[float, Image]]:
        yield self._first
        for number, pair in enumerate(self._pairs, 1):
            yield self._pair(pair, number)

    def _pair(self, pair: Any, number: int) -> tuple[float, Image]:
        try:
            time, image = pair
            seconds = float(time)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"annotate_stream, image {number}: give pairs of a time in seconds and an image, as (0.04, image)."
            ) from error
        return seconds, self._orientation.apply(as_image(image, f"annotate_stream, image {number}"))


class SceneCuts:
    """Scene cuts between analysed images, found as in a lossless recording of them."""

    def __init__(self) -> None:
        self._detector = CutDetector()

    def cut(self, image: Image) -> bool:
        """Whether a new scene begins with this image."""
        picture = av.VideoFrame.from_ndarray(image, format="rgb24")
        return self._detector.cuts(ColourReader(picture.width, picture.height).luma(picture))
