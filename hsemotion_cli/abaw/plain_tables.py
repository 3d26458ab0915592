"""Tables without raw scores (imported, edited, or given alone) -> predictions, exactly as they stand.

The class of a frame is what the column ``expression`` says, and an action unit is present where its ``_c`` column says
so; probabilities are used between two frames with a face and where a label is missing. Nothing can be smoothed, blended
or thresholded, because that needs raw scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats import sidecar
from ..formats.table_reader import read_blocks
from ..postprocess.compound import frame_scores
from ..tasks import ACTION_UNITS, EXPRESSIONS, VALENCE_AROUSAL
from .predictions import RAW, Predictions, largest, on_side
from .scores import HALF

Floats = NDArray[np.float64]

SUFFIXES = (".parquet", ".csv", ".jsonl")
"""Of tables; of several with one name the first kind is read."""

_COLUMNS = (
    *("frame", "face_id", "face_detected", "x", "y", "w", "h", "expression", *VALENCE_AROUSAL),
    *(f"p_{name}" for name in EXPRESSIONS),
    *(f"{unit}_{end}" for unit in ACTION_UNITS for end in "pc"),
)


@dataclass(frozen=True, slots=True, eq=False)
class PlainTable:
    """A table that is all there is of a video.

    Attributes:
        video: name of the recording.
        path: of the table.
        frames: (n,) int64 number of each face's frame as the challenges count, in increasing order.
        seen: (n,) bool, False for rows that bridge a gap.
        box: (n, 4) x, y, width, height; nan if unknown.
        last: number of the last row's frame, with or without a face.
        width: of the image in pixels; None if unknown.
        guessed: how frames were numbered, in words; "" if the sidecar says it.
        tasks: task -> (n, columns); action units are 0 or 1.
    """

    video: str
    path: Path
    frames: NDArray[np.int64]
    seen: NDArray[np.bool_]
    box: Floats
    last: int
    width: int | None
    guessed: str
    tasks: Mapping[str, Floats]

    def rows(self, side: str | None) -> NDArray[np.int64]:
        """Indices of the faces on a side of the image, or of all.

        Raises:
            InputError: a side is wanted, but the width of the image or the boxes are unknown.
        """
        if side is None:
            return np.arange(len(self.frames))
        if self.width is None or np.isnan(self.box).any():
            raise InputError(
                f"{self.path}: which face is on the {side} is unknown, as its sidecar has no width of the image or its "
                f"rows have no boxes; give a table called {self.video}_{side}."
            )
        return on_side(self.box, self.width, side)

    def predictions(self, side: str | None, mean: str, other: str) -> Predictions:
        """The predictions for each frame with a face: of its largest face, and for compounds of any.

        Args:
            other: of ``predictions.OTHERS``; expressions are then in Aff-Wild2's classes.

        Raises:
            InputError: nothing stands for "other", and a row says contempt and has no probabilities.
        """
        if other == "none" and (self.tasks["expression"][:, EXPRESSIONS.index("contempt")] == 1).any():
            raise InputError(
                f"{self.path}: --other none: a row says contempt and has no probabilities of other classes to fall "
                "back on; leave --other out."
            )
        rows = self.rows(side)
        chosen = rows[largest(self.frames[rows], np.nan_to_num(self.box[rows]))]
        at = np.searchsorted(self.frames[chosen], self.frames[rows])
        compound = frame_scores(self.tasks["expression"][rows], at, len(chosen), mean)
        tasks = {task: values[chosen] for task, values in self.tasks.items()} | {"compound": compound}
        name = self.video if side is None else f"{self.video}_{side}"
        found = Predictions(name, self.frames[chosen], self.last, tasks, dict.fromkeys(ACTION_UNITS, HALF), self.path)
        return found.in_affwild2(other)


def find(paths: Iterable[Path]) -> dict[str, Path]:
    """Video -> its raw scores if they are there, else its table; sorted by name.

    Args:
        paths: tables, their raw scores or sidecars, or folders of them.

    Raises:
        InputError: a missing path, a folder without tables, or two videos of one name.
    """
    found: dict[str, Path] = {}
    for path in paths:
        for file in _in_folder(path) if path.is_dir() else [_single(path)]:
            name = _name(file)
            if name in found and found[name].resolve() != file.resolve():
                raise InputError(f"{found[name]} and {file} are both of {name}; give only one of them.")
            found[name] = file
    return {name: found[name] for name in sorted(found)}


def _name(path: Path) -> str:
    return path.name.removesuffix(RAW) if path.name.endswith(RAW) else path.stem


def _single(path: Path) -> Path:
    raw = path if path.name.endswith(RAW) else path.with_name(f"{path.stem}{RAW}")
    if raw.is_file():
        return raw
    if path.suffix in SUFFIXES and path.is_file():
        return path
    beside = [table for suffix in SUFFIXES if (table := path.with_suffix(suffix)).is_file()]
    if path.suffix == ".json" and path.is_file() and beside:
        return beside[0]
    raise InputError(f"{path if not path.exists() else raw}: no such file; give a table, or a folder of tables.")


def _in_folder(folder: Path) -> list[Path]:
    raws = {_name(path): path for path in folder.glob(f"*{RAW}")}
    tables = {
        path.stem: path
        for suffix in reversed(SUFFIXES)
        for path in sorted(folder.glob(f"*{suffix}"))
        if path.stem not in raws and _looks_like_a_table(path)
    }
    if not (raws or tables):
        raise InputError(f"{folder}: no tables in this folder, with or without NAME{RAW} beside them.")
    return [*raws.values(), *tables.values()]


def _looks_like_a_table(path: Path) -> bool:
    """Whether a file in a folder has the columns that every table has; summaries and features do not."""
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return {"frame", "expression", "valence"} <= set(pq.read_schema(path).names)
        except (OSError, pa.ArrowInvalid):
            return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline()
    if path.suffix == ".jsonl":
        try:
            row = json.loads(line)
        except ValueError:
            return False
        return isinstance(row, dict) and {"frame", "expression", "valence"} <= row.keys()
    cells = {cell.strip().strip('"') for cell in line.replace(";", ",").replace("\t", ",").split(",")}
    return {"frame", "expression", "valence"} <= cells


def read(path: Path) -> PlainTable:
    """Read a table.

    Raises:
        InputError: it is not a table, or its sidecar is damaged.
    """
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for block in read_blocks(path, _COLUMNS):
        for name, values in columns.items():
            values += block.get(name) or [None] * len(block["frame"])
    frames = np.array(columns["frame"], np.int64)
    first, width, guessed = _source(path, frames)
    face = np.array([value is not None for value in columns["face_id"]], bool)
    order = np.flatnonzero(face)[np.argsort(frames[face], kind="stable")]
    numbers = {name: _floats(values)[order] for name, values in columns.items() if name != "expression"}
    labels = [columns["expression"][k] for k in order]
    return PlainTable(
        path.stem,
        path,
        frames[order] + first,
        np.nan_to_num(numbers["face_detected"], nan=1.0) != 0,
        np.column_stack([numbers[name] for name in "xywh"]),
        int(frames.max()) + first if len(frames) else 0,
        width,
        guessed,
        {
            "expression": _expression(labels, np.column_stack([numbers[f"p_{name}"] for name in EXPRESSIONS])),
            "valence_arousal": np.column_stack([numbers[name] for name in VALENCE_AROUSAL]),
            "action_units": np.column_stack([_presence(numbers, unit) for unit in ACTION_UNITS]),
        },
    )


def _floats(values: list[Any]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _expression(labels: list[str | None], known: Floats) -> Floats:
    """(n, 9) probabilities; 1 for the label where they do not say the same, or there are none."""
    found = known.copy()
    other = EXPRESSIONS.index("other")
    for k, label in enumerate(labels):
        if label in EXPRESSIONS:
            own = EXPRESSIONS.index(label)
            if np.isnan(found[k]).all() or np.nanargmax(found[k]) != own:
                unknown = np.isnan(found[k, other]) and own != other  # so that contempt can stand in for it
                found[k] = np.eye(len(EXPRESSIONS))[own]
                found[k, other] = np.nan if unknown else found[k, other]
    return found


def _presence(numbers: Mapping[str, Floats], unit: str) -> Floats:
    """(n,) 0 or 1; by the probability where the table does not decide, nan where it has neither."""
    present, probability = numbers[f"{unit}_c"], numbers[f"{unit}_p"]
    by_half = np.where(np.isnan(probability), np.nan, probability >= HALF)
    return np.where(np.isnan(present), by_half, present)


def _source(path: Path, frames: NDArray[np.int64]) -> tuple[int, int | None, str]:
    """The challenges' number of frame 0, the width of the image if known, and what was guessed."""
    beside = path.with_suffix(".json")
    if beside.is_file():
        source = sidecar.read(beside).get("source")
        if isinstance(source, Mapping) and source.get("kind") is not None:
            width = source.get("width")
            # Frames of videos, and of other programs' tables, are numbered from 0; images have their own numbers.
            return int(source["kind"] in ("video", "imported")), width if isinstance(width, int) else None, ""
    if len(frames) and frames.min() == 0:
        return 1, None, "frame 0 is taken as the first of the video, 00001"
    return 0, None, "frames are taken as numbered like the images, 1 as 00001"
