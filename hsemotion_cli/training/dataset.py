"""A dataset of labelled faces: images, the position of the face in each, and its labels; also as one packed file.

The file is an ``.npz`` without pickles. Images stay encoded (PNG or JPEG) until they are used; missing labels are nan.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image
from ..errors import InputError
from ..formats.npz import arrays
from ..media.image_size import declared_size
from ..media.source import fits
from ..runtime.atomic_files import atomic_file
from ..tasks import ACTION_UNITS, BLENDSHAPES, VALENCE_AROUSAL

PARTS = ("train", "calibration", "validation")
"""Trained on; used to fit thresholds, temperature and blends; used for reported metrics."""

# Column -> its type, and the shape of one sample.
_COLUMNS: dict[str, tuple[type, tuple[int, ...]]] = {
    "points": (np.float32, (5, 2)),
    "boxes": (np.float32, (4,)),
    "blendshapes": (np.float32, (len(BLENDSHAPES),)),
    "valence_arousal": (np.float32, (len(VALENCE_AROUSAL),)),
    "action_units": (np.float32, (len(ACTION_UNITS),)),
    "clear": (np.bool_, ()),
    "source": (np.str_, ()),
    "subject": (np.str_, ()),
    "part": (np.str_, ()),
}


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """n labelled faces.

    Attributes:
        encoded: (bytes,) all images concatenated, each a PNG or JPEG file.
        offsets: (n + 1,) start of each image, and the end of the last.
        points: (n, 5, 2) eyes, nose tip, mouth corners in pixels of the image; nan if no face was found.
        boxes: (n, 4) x, y, width, height of the face; nan likewise.
        blendshapes: (n, 52) in [0, 1]; nan likewise.
        expression: (n, c) shares of the c classes, rows with sum 1; nan if unlabelled.
        valence_arousal: (n, 2) in [-1, 1]; nan if unlabelled.
        action_units: (n, 12) in [0, 1]; nan if unlabelled.
        clear: (n,) whether the largest share counts as the true label in reported metrics.
        source: (n,) name of the source of each.
        subject: (n,) name of the person or video of each, empty if unknown.
        part: (n,) of ``PARTS``.
    """

    encoded: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    points: NDArray[np.float32]
    boxes: NDArray[np.float32]
    blendshapes: NDArray[np.float32]
    expression: NDArray[np.float32]
    valence_arousal: NDArray[np.float32]
    action_units: NDArray[np.float32]
    clear: NDArray[np.bool_]
    source: NDArray[np.str_]
    subject: NDArray[np.str_]
    part: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.part)

    def image(self, row: int) -> Image:
        """The image of one sample: (height, width) grey or (height, width, 3) RGB, uint8.

        Raises:
            InputError: it cannot be decoded.
        """
        image = decode_image(self.encoded[self.offsets[row] : self.offsets[row + 1]])
        if image is None:
            raise InputError(f"{self.source[row]}: image {row} cannot be decoded; is it a PNG or JPEG file?")
        return image

    def rows(self, part: str, sources: Iterable[str] | None = None) -> NDArray[np.int64]:
        """Indices of the samples of a part, of all sources or of some."""
        chosen = self.part == part
        if sources is not None:
            chosen &= np.isin(self.source, list(sources))
        return np.flatnonzero(chosen)

    def subset(self, rows: NDArray[np.int64]) -> Dataset:
        """Some samples, in the order of the given indices."""
        images = [self.encoded[self.offsets[row] : self.offsets[row + 1]].tobytes() for row in rows]
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(Dataset)[2:]}
        return Dataset(*pack(images), **columns)

    def digest(self) -> str:
        """SHA-256 of all columns: images, labels, parts."""
        found = hashlib.sha256()
        for field in fields(Dataset):
            values = np.ascontiguousarray(getattr(self, field.name))
            found.update(f"{field.name} {values.dtype} {values.shape}\n".encode())
            found.update(values.tobytes())
        return found.hexdigest()

    def replaced(self, **columns: NDArray) -> Dataset:
        """The dataset with other columns."""
        return replace(self, **columns)


def decode_image(data: NDArray[np.uint8]) -> Image | None:
    """A PNG or JPEG file -> the image as ``annotate`` reads it: 8 bits, upright by its EXIF orientation, opaque.

    Returns:
        (height, width) grey or (height, width, 3) RGB, uint8; None if it cannot be decoded.
    """
    declared = declared_size(data.tobytes())
    if declared is None or not fits(*declared):
        return None
    try:
        image = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # larger than OpenCV accepts
        return None
    if image is None:
        return None
    return np.asarray(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def join(parts: Sequence[Dataset]) -> Dataset:
    """The samples of several datasets, in order."""
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Dataset)
        if field.name != "offsets"
    }
    starts = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Dataset(offsets=np.concatenate([*starts, ends[-1:]]), **columns)


def pack(images: Iterable[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Encoded images -> ``encoded`` and ``offsets``."""
    images = list(images)
    offsets = np.cumsum([0, *map(len, images)], dtype=np.int64)
    return np.frombuffer(b"".join(images), np.uint8), offsets


def write(path: Path, dataset: Dataset) -> None:
    """Write a packed file atomically.

    Raises:
        OutputError: it cannot be written.
    """
    with atomic_file(path) as file:
        np.savez(file, **{field.name: getattr(dataset, field.name) for field in fields(Dataset)})


def is_packed(path: Path) -> bool:
    """Whether an existing file is a packed dataset, by the names of its arrays.

    Raises:
        OSError, zipfile.BadZipFile: it cannot be read, or is no archive.
    """
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist()) == {f"{field.name}.npy" for field in fields(Dataset)}


def read(path: Path) -> Dataset:
    """Read a packed file.

    Raises:
        InputError: it is missing, is not a packed file, is damaged, or its columns are inconsistent.
    """
    dataset = Dataset(**arrays(path, [field.name for field in fields(Dataset)], "a file of packed samples"))
    if fault := _fault(dataset):
        raise InputError(f"{path}: not a file of packed samples ({fault}).")
    return dataset


def _fault(dataset: Dataset) -> str | None:
    """What is wrong with the columns of a file, or None."""
    count = len(np.atleast_1d(dataset.part))
    classes = dataset.expression.shape[1:2] or (0,)  # as many as the plan that it was packed with
    for name, (kind, shape) in ({"expression": (np.float32, classes)} | _COLUMNS).items():
        values = getattr(dataset, name)
        if not np.issubdtype(values.dtype, kind) or values.shape != (count, *shape):
            return f"its column {name} has the shape {values.shape} and the type {values.dtype}"
    encoded, offsets = dataset.encoded, dataset.offsets
    if encoded.dtype != np.uint8 or encoded.ndim != 1 or offsets.dtype.kind != "i" or offsets.shape != (count + 1,):
        return "its images and its labels do not match"
    if offsets[0] != 0 or offsets[-1] != len(encoded) or (np.diff(offsets) < 0).any():
        return "its images and its labels do not match"
    if not np.isin(dataset.part, PARTS).all():
        return f"a part is not one of {', '.join(PARTS)}"
    for name, least in (("expression", 0), ("valence_arousal", -1), ("action_units", 0)):
        values = getattr(dataset, name)
        if (~np.isnan(values) & ~((least <= values) & (values <= 1))).any():
            return f"its column {name} has values that are not from {least} to 1"
    sums = dataset.expression.sum(axis=1)
    return None if (np.isnan(sums) | (abs(sums - 1) < 1e-3)).all() else "the shares of an image do not add up to 1"
