"""path -> Frames: folders of numbered images (``00001.jpg`` ...) and single images."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..domain import Frame, Image
from ..errors import InputError
from . import netpbm
from .canvas import Canvas
from .chosen_frames import ChosenFrames
from .file_type import HEAD, OTHER, is_animation, sniff
from .image_size import declared_size
from .names import number_of
from .notes import decode_notes
from .orientation import Orientation
from .pillow_decoder import declares_alpha, read_avif, read_heic, with_alpha
from .source import DecodeOptions, DecodeReport, Sampling, SourceInfo, check_size

_SEVERAL = "hold several frames; only the first of each was read"
_TRANSPARENT = "have transparent parts, which are shown on white"


class ImageSequence:
    """Numbered images of a folder (``00001.jpg`` ...), or one image, as a source.

    An image's frame number is the number in its name; numbers that are missing stay missing.

    Args:
        path: the folder, or one image (frame 0).
        options: how to decode them; a number means ``DecodeOptions(image_fps=number)``.

    Raises:
        InputError: no image there can be decoded, or one is too large.
        UsageError: ``region`` of the options reaches beyond the first one.
    """

    def __init__(self, path: Path, options: DecodeOptions | float) -> None:
        self.path = path
        self.options = options if isinstance(options, DecodeOptions) else DecodeOptions(image_fps=options)
        fps = self.options.image_fps
        self.report = DecodeReport()
        single = path.is_file()
        self.numbered = [(0, path)] if single else numbered_images(path)
        self.fps = fps
        decoded = (decode_image(name, read_bytes(name), self.options.rotate) for _, name in self.numbered)
        first = next((image for image in decoded if image is not None), None)
        if first is None:
            raise InputError(none_decoded(path, [name for _, name in self.numbered]))
        self._canvas = Canvas(first.shape[1], first.shape[0], self.options.region, path)
        self.info = SourceInfo(
            kind="picture" if single else "pictures",
            width=first.shape[1],
            height=first.shape[0],
            fps=None if single else fps,
            frames=len(self.numbered),
            duration=None,
            start=self.numbered[0][0] / fps,
            rotation=self.options.degrees,
            pixel_aspect=1.0,
            codec=self.numbered[0][1].suffix.lstrip(".").lower(),
            audio=None,
            clock=f"file numbers / {fps:g}",
        )

    @property
    def notes(self) -> list[str]:
        """How they were decoded, for a person; complete once ``frames`` has run out."""
        return decode_notes(self.info, self.report)

    def frames(
        self, sampling: Sampling | None = None, on_audio: Callable[[Any], None] | None = None
    ) -> Iterator[Frame]:
        """Yield the chosen images in the order of their numbers; ``on_audio`` is never called."""
        sampling = sampling or Sampling()
        report = self.report = DecodeReport()
        chosen, last = ChosenFrames(sampling, report, self._canvas), None
        remarks: Counter[str] = Counter()
        for number, name in self.numbered:
            time = number / self.fps
            if sampling.end is not None and time >= sampling.end:
                return
            content = read_bytes(name)
            image = decode_image(name, content, self.options.rotate, remarks)
            if image is None:
                report.fail(number)
                continue
            # Where numbers are missing, the scene may have changed or not.
            frame = chosen.frame(number, time, image, adjacent=last == number - 1)
            last = number
            if frame is not None:
                yield frame
        report.notes += sentences(remarks)


def none_decoded(path: Path, images: list[Path]) -> str:
    """The sentence for a source of which no image can be decoded."""
    if images == [path]:
        return f"{path}: the image cannot be decoded; it is damaged, cut short, or of a kind that cannot be read."
    return f"{path}: none of its {len(images)} images can be decoded."


def numbered_images(folder: Path) -> list[tuple[int, Path]]:
    """(number, path) of the images in a folder whose names are digits, in the order of their numbers.

    Raises:
        InputError: none there, two images with the same number, or the folder cannot be read.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
    found = sorted((number, entry) for entry in entries if (number := number_of(entry.name)) is not None)
    if not found:
        raise InputError(f"{folder}: neither a video nor a numbered image (00001.jpg, ...) in this folder.")
    for (number, one), (other_number, other) in itertools.pairwise(found):
        if number == other_number:
            raise InputError(f"{folder}: {one.name} and {other.name} have the same number; keep one of them.")
    return found


def read_image(path: Path) -> Image | None:
    """One image as RGB, turned upright, its transparent parts on white; None if it cannot be decoded.

    What kind of image it is, its content says. Of a file with several images it is the first (HEIC: the primary one).

    Raises:
        InputError: it cannot be read (any more), is larger than what is worked on, or is of a kind that is recognised
            and cannot be read.
    """
    return decode_image(path, read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """The content of an image file.

    Raises:
        InputError: it cannot be read (any more).
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def decode_image(path: Path, content: bytes, rotate: str = "auto", remarks: Counter[str] | None = None) -> Image | None:
    """As ``read_image``, for a file that has been read already.

    Args:
        path: for messages.
        rotate: "auto" turns and mirrors it as the file asks; degrees counter-clockwise replace what the file asks for.
        remarks: counts what a user should know about the images, see ``sentences``.
    """
    image = _decoded(path, content, rotate == "auto", remarks)
    if image is not None and remarks is not None and is_animation(content):
        remarks[_SEVERAL] += 1
    return image if image is None or rotate == "auto" else Orientation(int(rotate) // 90).apply(image)


def sentences(remarks: Counter[str]) -> list[str]:
    """What ``decode_image`` counted over many images, in sentences."""
    return [f"{count} of its images {remark}." for remark, count in sorted(remarks.items())]


def _decoded(path: Path, content: bytes, upright: bool, remarks: Counter[str] | None) -> Image | None:
    """The image, turned and mirrored as the file asks if ``upright``."""
    found = sniff(content[:HEAD])
    if found is not None and found.kind == OTHER:
        raise InputError(f"{path}: {found.problem}.")
    declared = declared_size(content)
    if declared is None:
        return None
    check_size(path, *declared)
    name = found.name if found else ""
    if name == "AVIF":
        return read_avif(content, upright)
    if name == "HEIC":
        if not upright:
            raise InputError(f"{path}: --rotate takes no HEIC images, which are always upright; convert it first.")
        return read_heic(path, content)
    if name == "Netpbm" or content[:1] == b"P":
        return netpbm.read(content)
    if name == "JPEG" and is_cut_short(content):
        return None
    try:
        # OpenCV rotates and mirrors an image by its EXIF orientation by default.
        flags = cv2.IMREAD_COLOR | (0 if upright else cv2.IMREAD_IGNORE_ORIENTATION)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error:  # some decoders of OpenCV raise where others give nothing
        return None
    if image is None:
        return None
    rgb: Image = np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)
    if not declares_alpha(content):
        return rgb
    opaque = with_alpha(rgb, content, upright)
    if opaque is not rgb and remarks is not None:
        remarks[_TRANSPARENT] += 1
    return opaque


def is_cut_short(jpeg: bytes) -> bool:
    """Whether a JPEG file ends before its image does; some decoders then give grey for what is missing."""
    try:
        at = 2
        while jpeg[at : at + 2] != b"\xff\xda":  # where the image data begins; thumbnails lie before it
            at += 2 + int.from_bytes(jpeg[at + 2 : at + 4]) if jpeg[at + 1] != 0xFF else 1
            if jpeg[at] != 0xFF:
                return False  # not made of segments as usual: for the decoder to decide
    except IndexError:
        return True
    return b"\xff\xd9" not in jpeg[at:]
