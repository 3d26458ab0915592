"""Labelled faces in one packed file: pictures, where the face is in them, and whatever labels each has.

The file is an ``.npz`` without pickles, so that a training set travels as one piece. Pictures stay encoded (PNG or
JPEG) until they are looked at; a label that a picture lacks is nan.
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
from ..errors import InputError, shortened
from ..formats.raw_scores import DAMAGE, check_declared
from ..media.image_size import declared_size
from ..media.source import fits
from ..runtime.atomic_files import atomic_file
from ..tasks import ACTION_UNITS, BLENDSHAPES, VALENCE_AROUSAL

PARTS = ("train", "calibration", "validation")
"""What is trained on; what thresholds, temperature and blends are fitted on; what figures are reported from."""

# Column -> its type, and the shape of one sample's.
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
        encoded: (bytes,) all pictures one after the other, each a PNG or JPEG file.
        offsets: (n + 1,) where each begins, and the end.
        points: (n, 5, 2) eyes, nose tip, mouth corners in pixels of the picture; nan where no face was found.
        boxes: (n, 4) x, y, width, height of the face; nan likewise.
        blendshapes: (n, 52) in [0, 1]; nan likewise.
        expression: (n, c) shares of the c classes, rows that add up to 1; nan where unlabelled.
        valence_arousal: (n, 2) in [-1, 1]; nan where unlabelled.
        action_units: (n, 12) in [0, 1]; nan where unlabelled.
        clear: (n,) whether the largest share counts as the true label when figures are reported.
        source: (n,) name of the source of each.
        subject: (n,) name of the person or video of each, empty where it is not known.
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

    def picture(self, row: int) -> Image:
        """The picture of one sample: (height, width) grey or (height, width, 3) RGB, uint8.

        Raises:
            InputError: its bytes are not a picture.
        """
        picture = decoded(self.encoded[self.offsets[row] : self.offsets[row + 1]])
        if picture is None:
            raise InputError(f"{self.source[row]}: picture {row} cannot be decoded; is it a PNG or JPEG file?")
        return picture

    def rows(self, part: str, sources: Iterable[str] | None = None) -> NDArray[np.int64]:
        """Numbers of the samples of a part, of all sources or of some."""
        chosen = self.part == part
        if sources is not None:
            chosen &= np.isin(self.source, list(sources))
        return np.flatnonzero(chosen)

    def taken(self, rows: NDArray[np.int64]) -> Dataset:
        """Some of them, in the order of their numbers that is given."""
        pictures = [self.encoded[self.offsets[row] : self.offsets[row + 1]].tobytes() for row in rows]
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(Dataset)[2:]}
        return Dataset(*pack(pictures), **columns)

    def digest(self) -> str:
        """SHA-256 of all samples: pictures, labels, and the parts that they are in."""
        found = hashlib.sha256()
        for field in fields(Dataset):
            values = np.ascontiguousarray(getattr(self, field.name))
            found.update(f"{field.name} {values.dtype} {values.shape}\n".encode())
            found.update(values.tobytes())
        return found.hexdigest()

    def but(self, **columns: NDArray) -> Dataset:
        """The same with other columns."""
        return replace(self, **columns)


def decoded(data: NDArray[np.uint8]) -> Image | None:
    """A PNG or JPEG file -> the picture as annotating reads it: 8 bits, upright by its EXIF orientation, opaque.

    Returns:
        (height, width) grey or (height, width, 3) RGB, uint8; None if it cannot be decoded.
    """
    declared = declared_size(data.tobytes())
    if declared is None or not fits(*declared):
        return None
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_ANYCOLOR)
    except cv2.error:  # larger than OpenCV is willing to make one
        return None
    if picture is None:
        return None
    return np.asarray(picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def join(parts: Sequence[Dataset]) -> Dataset:
    """All samples of several sources, in their order."""
    ends = np.cumsum([0, *(part.offsets[-1] for part in parts)])
    columns = {
        field.name: np.concatenate([getattr(part, field.name) for part in parts])
        for field in fields(Dataset)
        if field.name != "offsets"
    }
    starts = [part.offsets[:-1] + end for part, end in zip(parts, ends, strict=False)]
    return Dataset(offsets=np.concatenate([*starts, ends[-1:]]), **columns)


def pack(pictures: Iterable[bytes]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Encoded pictures -> ``encoded`` and ``offsets``."""
    pictures = list(pictures)
    offsets = np.cumsum([0, *map(len, pictures)], dtype=np.int64)
    return np.frombuffer(b"".join(pictures), np.uint8), offsets


def write(path: Path, dataset: Dataset) -> None:
    """Write a packed file, whole or not at all.

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
    """A packed file.

    Raises:
        InputError: it is missing, is no such file, is damaged, or its columns do not belong together.
    """
    dataset = Dataset(**arrays(path, [field.name for field in fields(Dataset)], "a file of packed samples"))
    if fault := _fault(dataset):
        raise InputError(f"{path}: not a file of packed samples ({fault}).")
    return dataset


def arrays(path: Path, names: Iterable[str], what: str) -> dict[str, NDArray]:
    """Some arrays of an ``.npz`` file.

    Args:
        what: the file should be, for the message.

    Raises:
        InputError: it is missing, is no such file, or is damaged.
    """
    try:
        # Opened here, since numpy leaves the file open when it turns out to be damaged.
        with path.open("rb") as file:
            check_declared(file)
            with np.load(file, allow_pickle=False) as data:
                found = {name: data[name] for name in names}
            if wrong := [name for name, values in found.items() if not isinstance(values, np.ndarray)]:
                raise ValueError(f"{wrong[0]} is no array")
            return found
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except DAMAGE as error:
        raise InputError(f"{path}: not {what}, or damaged ({shortened(str(error), 300)}).") from error


def _fault(dataset: Dataset) -> str | None:
    """What is wrong with the columns of a file, or None."""
    count = len(np.atleast_1d(dataset.part))
    classes = dataset.expression.shape[1:2] or (0,)  # as many as the plan has that it was packed with
    for name, (kind, shape) in ({"expression": (np.float32, classes)} | _COLUMNS).items():
        values = getattr(dataset, name)
        if not np.issubdtype(values.dtype, kind) or values.shape != (count, *shape):
            return f"its column {name} has the shape {values.shape} and the type {values.dtype}"
    encoded, offsets = dataset.encoded, dataset.offsets
    if encoded.dtype != np.uint8 or encoded.ndim != 1 or offsets.dtype.kind != "i" or offsets.shape != (count + 1,):
        return "its pictures and its labels do not belong together"
    if offsets[0] != 0 or offsets[-1] != len(encoded) or (np.diff(offsets) < 0).any():
        return "its pictures and its labels do not belong together"
    if not np.isin(dataset.part, PARTS).all():
        return f"a part is none of {', '.join(PARTS)}"
    for name, least in (("expression", 0), ("valence_arousal", -1), ("action_units", 0)):
        values = getattr(dataset, name)
        if (~np.isnan(values) & ~((least <= values) & (values <= 1))).any():
            return f"its column {name} has values that are not from {least} to 1"
    sums = dataset.expression.sum(axis=1)
    return None if (np.isnan(sums) | (abs(sums - 1) < 1e-3)).all() else "the shares of a picture do not add up to 1"
