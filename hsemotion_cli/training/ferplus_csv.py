"""FER+ as it is published (fer2013.csv with the images, fer2013new.csv with the votes) -> the npz that plans read."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

VOTE_NAMES = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "nf",
)  # fmt: skip
"""Columns of fer2013new.csv after the first two, in lower case; "nf" is "not a face"."""

PUBLISHED = {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589}
"""Rows of fer2013.csv by their column Usage (Goodfellow et al. 2013)."""

_PARTS = {"Training": "train", "PublicTest": "val", "PrivateTest": "test"}
_SIDE = 48
_PIXELS = _SIDE * _SIDE


@dataclass(frozen=True, slots=True, eq=False)
class FerPlus:
    """The training and validation parts of FER+.

    Attributes:
        images: (n, 48, 48) uint8, grey.
        votes: (n, 10) uint8, how many of ten raters chose each of ``VOTE_NAMES``.
        split: (n,) "train" or "val".
        name: (n,) file name of each image in FER+.
        rows: Usage -> rows of fer2013.csv.
        without_face: rows that FER+ has no image name for, because they show no face.
        duplicates: images left out because the same pixels are in it already, or in the test part.
    """

    images: NDArray[np.uint8]
    votes: NDArray[np.uint8]
    split: NDArray[np.str_]
    name: NDArray[np.str_]
    rows: dict[str, int]
    without_face: int
    duplicates: int

    def arrays(self) -> dict[str, Any]:
        """What the npz of a plan's source of kind "ferplus" holds."""
        return {
            "images": self.images,
            "votes": self.votes,
            "vote_names": np.array(VOTE_NAMES),
            "split": self.split,
            "name": self.name,
        }


def read(images: Path, votes: Path) -> FerPlus:
    """Match the two files row by row.

    The official test part is left out, as it is for final measurements only; so are images whose pixels are in it, and
    all but the first of several images with the same pixels.

    Args:
        images: fer2013.csv, with the columns Usage and pixels.
        votes: fer2013new.csv, with Usage, Image name and a column for each of ``VOTE_NAMES``.

    Raises:
        InputError: a file is missing, is not what it should be, or the two do not belong together.
    """
    pairs = list(_pairs(images, votes))
    rows = dict.fromkeys(PUBLISHED, 0)
    for usage, *_ in pairs:
        rows[usage] += 1
    kept = [pair for pair in pairs if pair[1]]
    seen = {pixels for usage, _, pixels, _ in kept if usage == "PrivateTest"}
    chosen = []
    candidates = [pair for pair in kept if pair[0] != "PrivateTest"]
    for pair in candidates:
        if pair[2] not in seen:
            seen.add(pair[2])
            chosen.append(pair)
    return FerPlus(
        images=np.frombuffer(b"".join(pixels for _, _, pixels, _ in chosen), np.uint8).reshape(-1, _SIDE, _SIDE),
        votes=np.array([row for *_, row in chosen], np.uint8).reshape(-1, len(VOTE_NAMES)),
        split=np.array([_PARTS[usage] for usage, *_ in chosen], str),
        name=np.array([name for _, name, *_ in chosen], str),
        rows=rows,
        without_face=len(pairs) - len(kept),
        duplicates=len(candidates) - len(chosen),
    )


def _pairs(images: Path, votes: Path) -> Iterator[tuple[str, str, bytes, list[int]]]:
    """(usage, image name, pixels, votes) of each row; the name is "" where FER+ has no face."""
    pictures, rated = _rows(images, ("Usage", "pixels")), _rows(votes, ("Usage", "Image name", *VOTE_NAMES))
    for number in range(1, 1 << 30):
        picture, rating = next(pictures, None), next(rated, None)
        if picture is None or rating is None:
            if picture is not rating:
                short, long = (images, votes) if picture is None else (votes, images)
                raise InputError(f"{short}: it ends before {long.name} does; download both again.")
            return
        usage = picture["usage"]
        if usage not in PUBLISHED or usage != rating["usage"]:
            raise InputError(
                f"{votes}, row {number}: Usage is {rating['usage']!r}, and {usage!r} in {images.name}; the two do not "
                "belong together."
            )
        yield (
            usage,
            rating["image name"].strip(),
            _pixels(images, number, picture["pixels"]),
            _votes(votes, number, rating),
        )


def _rows(path: Path, wanted: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """Rows of a CSV file by their headings in lower case."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restval="")
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
            lacking = [name for name in wanted if name.lower() not in reader.fieldnames]
            if lacking:
                raise InputError(f"{path}: no column {lacking[0]!r}; its columns are {', '.join(reader.fieldnames)}.")
            yield from reader
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV table ({error}).") from error


def _pixels(path: Path, number: int, text: str) -> bytes:
    try:
        pixels = bytes(map(int, text.split()))
    except ValueError as error:
        raise InputError(f"{path}, row {number}: pixels are not whole numbers from 0 to 255.") from error
    if len(pixels) != _PIXELS:
        raise InputError(f"{path}, row {number}: {len(pixels)} pixels instead of {_PIXELS}.")
    return pixels


def _votes(path: Path, number: int, row: dict[str, str]) -> list[int]:
    try:
        found = [int(row[name]) for name in VOTE_NAMES]
    except ValueError as error:
        raise InputError(f"{path}, row {number}: votes are not whole numbers.") from error
    if not all(0 <= vote <= 10 for vote in found):
        raise InputError(f"{path}, row {number}: votes are not numbers from 0 to 10.")
    return found
