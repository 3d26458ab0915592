"""path -> Frames: folders of numbered pictures (``00001.jpg`` ...) and single pictures, through OpenCV."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..domain import Frame, Image
from ..errors import InputError
from .image_size import declared_size
from .scene_cuts import CutDetector
from .source import DecodeReport, Sampling, SourceInfo, check_size

IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"])


class ImageSequence:
    """Numbered pictures of a folder (``00001.jpg`` ...), or one picture, as a source.

    A picture's frame number is the number in its name; numbers that are missing stay missing.

    Args:
        path: the folder, or one picture (frame 0).
        fps: pictures per second, from which times are computed as number / fps; None for one picture.
    """

    def __init__(self, path: Path, fps: float) -> None:
        self.path = path
        self.report = DecodeReport()
        single = path.is_file()
        self.numbered = [(0, path)] if single else numbered_images(path)
        self.fps = fps
        first = next((image for _, name in self.numbered if (image := read_image(name)) is not None), None)
        if first is None:
            raise InputError(f"{path}: none of its {len(self.numbered)} pictures can be decoded.")
        self.info = SourceInfo(
            kind="picture" if single else "pictures",
            width=first.shape[1],
            height=first.shape[0],
            fps=None if single else fps,
            frames=len(self.numbered),
            duration=None,
            start=self.numbered[0][0] / fps,
            rotation=0,
            pixel_aspect=1.0,
            codec=self.numbered[0][1].suffix.lstrip(".").lower(),
            audio=None,
            clock=f"file numbers / {fps:g}",
        )

    @property
    def notes(self) -> list[str]:
        """Nothing: images are decoded as they are."""
        return []

    def frames(
        self, sampling: Sampling | None = None, on_audio: Callable[[Any], None] | None = None
    ) -> Iterator[Frame]:
        """Yield the chosen pictures in the order of their numbers; ``on_audio`` is never called."""
        sampling = sampling or Sampling()
        report = self.report = DecodeReport()
        choose, scenes, cut, last = sampling.chooser(), CutDetector(), False, None
        for number, name in self.numbered:
            time = number / self.fps
            if sampling.end is not None and time >= sampling.end:
                return
            image = read_image(name)
            if image is None:
                report.fail(number)
                continue
            report.decoded += 1
            # Where numbers are missing, nobody knows whether the scene went on.
            jump = scenes.cuts(np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8))
            cut |= jump and last == number - 1
            last = number
            if choose(number, time):
                yield Frame(number, time, image, cut)
                cut = False


def numbered_images(folder: Path) -> list[tuple[int, Path]]:
    """(number, path) of the pictures in a folder whose names are digits, in the order of their numbers.

    Raises:
        InputError: none there, two pictures with the same number, or the folder cannot be read.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
    found = sorted(
        (int(entry.stem), entry)
        for entry in entries
        if entry.suffix.lower() in IMAGE_SUFFIXES and re.fullmatch(r"[0-9]{1,12}", entry.stem)
    )
    if not found:
        raise InputError(f"{folder}: neither a video nor a numbered picture (00001.jpg, ...) in this folder.")
    for (number, one), (other_number, other) in itertools.pairwise(found):
        if number == other_number:
            raise InputError(f"{folder}: {one.name} and {other.name} have the same number; keep one of them.")
    return found


def read_image(path: Path) -> Image | None:
    """One picture as RGB, turned upright by its EXIF orientation; None if it cannot be decoded.

    Raises:
        InputError: it cannot be read (any more), or is larger than what is worked on.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    declared = declared_size(content)
    if declared is None:
        return None
    check_size(path, *declared)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # some decoders of OpenCV raise where others give nothing
        return None
    return None if image is None else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
