"""Timeline <-> NAME.raw.npz: what the models said, before blending, smoothing and thresholds, without loss.

From it a table can be made anew with other settings, in seconds, without the video.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..tasks import BASIC_EXPRESSIONS, EXPRESSIONS
from ..timeline import Timeline

_COLUMNS = ("index", "time", "row", "face_id", "det_score", "box")


def write(timeline: Timeline, file: IO[bytes]) -> None:
    """Write all columns; the same timeline gives the same bytes."""
    arrays = {name: getattr(timeline, name) for name in _COLUMNS}
    for model, tasks in timeline.scores.items():
        for task, values in tasks.items():
            arrays[f"scores/{model}/{task}"] = values
    np.savez_compressed(file, **arrays)


def read(path: Path) -> Timeline:
    """Read it back, exactly; classes that are younger than the archive are nan.

    Raises:
        InputError: missing or damaged.
    """
    if not path.is_file():
        raise InputError(f"{path}: not there; annotate writes it beside the table, and it holds the raw scores.")
    try:
        # Opened here, since numpy leaves the file open when it turns out to be damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            scores: dict[str, dict[str, np.ndarray]] = {}
            for name in data.files:
                if name.startswith("scores/"):
                    _, model, task = name.split("/")
                    scores.setdefault(model, {})[task] = _with_all_classes(task, data[name])
            return Timeline(**{name: data[name] for name in _COLUMNS}, scores=scores)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not an archive of raw scores, or damaged ({error}).") from error


def _with_all_classes(task: str, values: NDArray) -> NDArray:
    """Scores as they are read; version 1 of the table knew eight expressions."""
    if task == "expression" and values.ndim == 2 and values.shape[1] == len(BASIC_EXPRESSIONS):
        later = len(EXPRESSIONS) - len(BASIC_EXPRESSIONS)
        return np.pad(values, ((0, 0), (0, later)), constant_values=np.nan)
    return values
