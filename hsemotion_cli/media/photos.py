"""A folder of ordinary photos -> Frames: each photo is a separate scene without a time."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..domain import Frame, Image
from ..errors import InputError, UsageError
from .canvas import Canvas
from .file_type import IMAGE, IMAGE_SUFFIXES, file_type
from .images import decode_image, none_decoded, numbered_images, read_bytes, sentences
from .names import natural, number_of
from .pillow_decoder import taken_at
from .source import DecodeOptions, DecodeReport, Sampling, SourceInfo

KIND = "photos"
"""``SourceInfo.kind`` of a folder of photos."""

_AS_IT_IS = DecodeOptions()


@dataclass(frozen=True, slots=True)
class Photo:
    """What is known of a photo that was read.

    Attributes:
        file: its name in the folder; bytes that are no UTF-8 are written as ``\\xff``.
        taken: when it was taken, as ISO 8601 without a zone unless the file has one, or None.
        width, height: pixels, upright.
    """

    file: str
    taken: str | None
    width: int
    height: int


class PhotoFolder:
    """The photos of a folder as a source, in the natural order of their names.

    A photo's frame number is its ordinal in that order, from 0, and its time is 0: the times of one photo and the next
    have nothing to do with each other. A photo that cannot be read is named in ``report.failed_files``.

    Args:
        path: the folder.
        options: how to decode them; a photo that ``region`` reaches beyond cannot be read.

    Raises:
        InputError: there is no photo, or none that can be read.
    """

    def __init__(self, path: Path, options: DecodeOptions = _AS_IT_IS) -> None:
        self.path = path
        self.options = options
        self.report = DecodeReport()
        self.files = photos_in(path)
        self.photos: dict[int, Photo] = {}
        self._remarks: Counter[str] = Counter()
        if not self.files:
            raise InputError(f"{path}: no photo in this folder.")
        first = next(self._read(), None)
        if first is None:
            named = [f"{name}: {reason}" for name, reason in self.report.failed_files[:3]]
            raise InputError(f"{none_decoded(path, self.files)[:-1]} ({'; '.join(named)}).")
        suffixes = sorted({file.suffix.lstrip(".").lower() for file in self.files})
        self.info = SourceInfo(
            kind=KIND,
            width=first[1].shape[1],
            height=first[1].shape[0],
            fps=None,
            frames=len(self.files),
            duration=None,
            start=None,
            rotation=options.degrees,
            pixel_aspect=1.0,
            codec=", ".join(suffixes),
            audio=None,
            clock="none",
        )

    @property
    def notes(self) -> list[str]:
        """What was assumed or left out, for a person; complete once ``frames`` has run out."""
        return self.report.notes

    def frames(
        self, sampling: Sampling | None = None, on_audio: Callable[[Any], None] | None = None
    ) -> Iterator[Frame]:
        """Yield the chosen photos in order, a new scene with each; ``on_audio`` is never called.

        Every photo stands at time 0, so of a sampling only the step and an empty part of the clock matter.
        """
        sampling = sampling or Sampling()
        self.report, self.photos, self._remarks = DecodeReport(), {}, Counter()
        sizes: Counter[tuple[int, int]] = Counter()
        nothing = (sampling.start or 0.0) > 0 or (sampling.end is not None and sampling.end <= 0)
        for number, image in self._read():
            height, width = image.shape[:2]
            sizes[width, height] += 1
            self.report.decoded += 1
            if not nothing and number % sampling.every == 0:
                part, view = self._canvas(image, self.files[number]).placed(image)
                yield Frame(number, 0.0, part, cut=True, view=view)
        self.report.notes += sentences(self._remarks)
        if len(sizes) > 1:
            self.info = replace(self.info, width=0, height=0)
            self.report.notes.append(
                f"the photos have {len(sizes)} sizes; boxes are in pixels of each photo (image_width, image_height)."
            )

    def name_of(self, number: int) -> str:
        """The name of a photo that was read, by its frame number."""
        return self.photos[number].file

    def columns(self, index: Sequence[int]) -> dict[str, list[Any]]:
        """The optional columns of a table for these frame numbers."""
        chosen = [self.photos[number] for number in index]
        return {
            "file": [photo.file for photo in chosen],
            "taken": [photo.taken for photo in chosen],
            "image_width": [photo.width for photo in chosen],
            "image_height": [photo.height for photo in chosen],
        }

    def _read(self) -> Iterator[tuple[int, Image]]:
        """(number, image) of the photos that can be read."""
        for number, path in enumerate(self.files):
            try:
                content = read_bytes(path)
                image = decode_image(path, content, self.options.rotate, self._remarks)
                if image is not None:
                    self._canvas(image, path)
                reason = "damaged, cut short, or of a kind that cannot be read"
            except (InputError, UsageError) as error:
                image, reason = None, str(error).removeprefix(f"{path}: ").removesuffix(".")
            if image is None:
                self.report.fail(number)
                self.report.failed_files.append((shown(path.name), reason))
                continue
            height, width = image.shape[:2]
            self.photos[number] = Photo(shown(path.name), taken_at(path, content), width, height)
            yield number, image

    def _canvas(self, image: Image, path: Path) -> Canvas:
        """Each photo has its own coordinate system."""
        return Canvas(image.shape[1], image.shape[0], self.options.region, path)


def shown(name: str) -> str:
    """A file name as text that any table can hold."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def photos_in(folder: Path) -> list[Path]:
    """The still images of a folder, numbered ones too, in the natural order of their names; hidden files do not count.

    Files that are named like images count whatever they hold, so that a damaged photo is reported and not overlooked.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: natural(entry.name))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
    return [entry for entry in entries if not entry.name.startswith(".") and is_photo(entry)]


def is_photo(path: Path) -> bool:
    """Whether a file is a still image: by its content, or by its name where the content says nothing."""
    named = path.suffix.lower() in IMAGE_SUFFIXES
    if not os.path.isfile(path):
        return False
    try:
        found = file_type(path)
    except OSError:
        return named
    return found.kind == IMAGE if found else named


def images_in(folder: Path) -> list[Path]:
    """The images of which a folder is a source: the numbered ones if there are any, else all photos.

    Raises:
        InputError: there are none, or the folder cannot be read.
    """
    if has_numbered_images(folder):
        return [path for _, path in numbered_images(folder)]
    photos = photos_in(folder)
    if not photos:
        raise InputError(f"{folder}: no image in this folder.")
    return photos


def has_numbered_images(folder: Path) -> bool:
    """Whether some image of a folder is called by a number, so that the folder is a video in single images.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return any(is_numbered_image(entry) for entry in folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error


def is_numbered_image(path: Path) -> bool:
    """Whether a file is a numbered image, by its name alone."""
    return number_of(path.name) is not None and os.path.isfile(path)
