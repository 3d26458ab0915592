"""Timeline <-> NAME.raw.npz: what the models said, before blending, smoothing and thresholds, without loss.

From it a table can be rebuilt with other settings, in seconds, without the video.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, shortened
from ..tasks import BASIC_EXPRESSIONS, EXPRESSIONS, MEASURES
from ..timeline import People, Timeline
from .npz import DAMAGE, check_declared
from .schema import OPTIONAL

ARRAYS = ("index", "time", "row", "face_id", "det_score", "box")
OPTIONAL_ARRAYS = ("segment",)
"""Stored only where the clock of the source jumped."""
_KINDS = {"index": "i", "row": "i", "face_id": "i", "segment": "i"}
_DIMENSIONS = {"index": 1, "time": 1, "row": 1, "face_id": 1, "det_score": 1, "segment": 1}
EXTRA = "extra/"
"""What the names of the table's optional columns begin with in an archive."""
MEASURED = "measures/"
"""Likewise, of what is measured on landmarks."""
PEOPLE = "people/"
"""Likewise, of who the face ids are: names and similarities, but no embeddings."""
_OPTIONAL = {column.name: column.type for column in OPTIONAL}


def write(timeline: Timeline, file: IO[bytes]) -> None:
    """Write all columns; the same timeline gives the same bytes."""
    arrays = {name: getattr(timeline, name) for name in ARRAYS}
    if timeline.segment.any():  # the clock of the source jumped
        arrays["segment"] = timeline.segment
    for model, tasks in timeline.scores.items():
        for task, values in tasks.items():
            arrays[f"scores/{model}/{task}"] = values
    for name, values in timeline.measures.items():
        arrays[f"{MEASURED}{name}"] = values
    for name, values in timeline.extra.items():
        text = "\0".join(values.tolist()).encode() if values.dtype.kind == "U" else b""
        arrays[f"{EXTRA}{name}"] = np.frombuffer(text, np.uint8) if values.dtype.kind == "U" else values
    if timeline.who is not None:
        arrays |= _people_arrays(timeline.who)
    np.savez_compressed(file, **arrays)


def _people_arrays(people: People) -> dict[str, NDArray]:
    names = np.frombuffer("\0".join(people.person.tolist()).encode(), np.uint8)
    columns: dict[str, NDArray] = {
        "face_id": people.face_id,
        "person": names,
        "score": people.score,
        "second": people.second,
    }
    return {f"{PEOPLE}{name}": values for name, values in columns.items()}


def read(path: Path) -> Timeline:
    """Read it back, exactly; classes that are younger than the archive are nan.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: not there; annotate writes it beside the table, and it holds the raw scores.")
    try:
        # Opened here, since numpy leaves the file open when it turns out to be damaged.
        with path.open("rb") as file:
            check_declared(file)
            with np.load(file, allow_pickle=False) as data:
                scores: dict[str, dict[str, np.ndarray]] = {}
                for name in data.files:
                    if name.startswith("scores/"):
                        _, model, task = name.split("/")
                        scores.setdefault(model, {})[task] = _with_all_classes(task, _numbers(name, data[name]))
                extra = {name: _extra(name, data[EXTRA + name]) for name in _OPTIONAL if EXTRA + name in data.files}
                measures = {name: _measure(name, data[MEASURED + name]) for name in MEASURES if MEASURED + name in data}
                names = [*ARRAYS, *(name for name in OPTIONAL_ARRAYS if name in data.files)]
                columns = {name: _numbers(name, data[name]) for name in names}
                who = _people(data) if f"{PEOPLE}face_id" in data.files else None
                return Timeline(**columns, scores=scores, extra=extra, measures=measures, who=who)
    except DAMAGE as error:
        raise InputError(f"{path}: not an archive of raw scores, or damaged ({shortened(str(error), 300)}).") from error


def _numbers(name: str, values: Any) -> NDArray:
    """An array of the kind that its column has; raises ValueError for any other."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != _KINDS.get(name, "f"):
        raise ValueError(f"{name!r} is not what it should be")
    if name in ("time", "box") and not np.isfinite(values).all():
        raise ValueError(f"{name!r} holds a value that is no finite number")
    if values.ndim != _DIMENSIONS.get(name, 2) or (name == "box" and values.shape[1] != 4):
        raise ValueError(f"{name!r} has the shape {values.shape}")
    if name == "index" and (np.diff(values) <= 0).any():
        raise ValueError("its frames are not in order")
    return values


def _measure(name: str, values: Any) -> NDArray:
    """A column of what is measured on landmarks; raises ValueError for anything else."""
    if not isinstance(values, np.ndarray) or values.dtype != np.float32 or values.ndim != 1 or np.isinf(values).any():
        raise ValueError(f"{name!r} is not what it should be")
    return values


def _extra(name: str, values: Any) -> NDArray:
    """An optional column: whole numbers, or text that is stored as UTF-8 with a zero byte between two cells."""
    text = _OPTIONAL[name] == "text"
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind != ("u" if text else "i"):
        raise ValueError(f"{name!r} is not what it should be")
    return np.array(values.astype(np.uint8).tobytes().decode().split("\0")) if text else values


def _people(data: Any) -> People:
    """Who the face ids are; raises ValueError for anything else."""
    face_id, name, score, second = (data[f"{PEOPLE}{key}"] for key in ("face_id", "person", "score", "second"))
    if [v.dtype.kind for v in (face_id, name, score, second)] != ["i", "u", "f", "f"] or name.ndim != 1:
        raise ValueError("the columns of people are not what they should be")
    names = name.astype(np.uint8).tobytes().decode().split("\0") if len(face_id) else []
    return People(face_id.astype(np.int64), np.array(names, dtype=str), score, second)


def _with_all_classes(task: str, values: NDArray) -> NDArray:
    """Scores as they are read; version 1 of the table knew eight expressions."""
    if task == "expression" and values.ndim == 2 and values.shape[1] == len(BASIC_EXPRESSIONS):
        later = len(EXPRESSIONS) - len(BASIC_EXPRESSIONS)
        return np.pad(values, ((0, 0), (0, later)), constant_values=np.nan)
    return values
