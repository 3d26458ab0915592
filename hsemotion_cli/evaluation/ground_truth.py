"""Annotations in the ABAW challenges' file formats -> labels of frames or clips.

Aff-Wild2 and s-Aff-Wild2 come in two formats: a list of the multi-task challenge, with a row for every annotated image
of all videos; and trees of the 3rd to 8th edition, with a folder for each track and part, a file for each video, and a
line for each frame. There are also lists of compound expressions, a row per frame, and of intensities, a row per clip.
Everything is checked, since a shifted or missing line would silently corrupt all metrics.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..tasks import ACTION_UNITS, COMPOUNDS, EMOTIONAL_MIMICRY, VALENCE_AROUSAL
from .annotation_rows import Field, by_video, parse_values, read_rows

AFFWILD2_EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "other")
"""Aff-Wild2's classes in its own order, which differs from ``tasks.EXPRESSIONS``; match them by name."""

TRACKS = ("expr", "va", "au")
PARTS = ("train", "validation")

_UNITS = tuple(f"AU{int(name[2:])}" for name in ACTION_UNITS)
_FOLDERS = {
    "expr": ("EXPR_Recognition_Challenge", "EXPR_Classification_Challenge"),
    "va": ("VA_Estimation_Challenge",),
    "au": ("AU_Detection_Challenge",),
}
_SETS = {"train": "Train_Set", "validation": "Validation_Set"}
_LISTS = {
    "train": ("training_set_annotations.txt", "train_set.txt"),
    "validation": ("validation_set_annotations.txt", "validation_set.txt"),
}
_HEADERS = {"expr": AFFWILD2_EXPRESSIONS, "va": VALENCE_AROUSAL, "au": _UNITS}
_MTL_HEADER = "image,valence,arousal,expression,aus"
_COMPOUND_HEADER = ",".join(["image_location", *(name.title() for name in COMPOUNDS)])


@dataclass(frozen=True, slots=True, eq=False)
class Annotations:
    """The labels of the annotated frames of one video; a frame may lack labels for any task, or for all.

    Attributes:
        video: its name, with the ``_left`` or ``_right`` of a video of two people.
        frames: (n,) int64, increasing, from 1 as in ``00001.jpg``; numbers may be missing in between.
        expression: (n,) int64, index into ``AFFWILD2_EXPRESSIONS``; -1 if unknown.
        valence_arousal: (n, 2) float32 in [-1, 1]; both nan if one is unknown.
        action_units: (n, 12) float32, 0 or 1, in the order of ``tasks.ACTION_UNITS``; all nan if one is unknown.
    """

    video: str
    frames: NDArray[np.int64]
    expression: NDArray[np.int64]
    valence_arousal: NDArray[np.float32]
    action_units: NDArray[np.float32]

    def __post_init__(self) -> None:
        n = len(self.frames)
        shapes = self.expression.shape, self.valence_arousal.shape, self.action_units.shape
        if shapes != ((n,), (n, 2), (n, 12)):
            raise ValueError(f"{self.video}: expected shapes ({n},), ({n}, 2), ({n}, 12), got {shapes}")

    def __repr__(self) -> str:
        return f"Annotations({self.video!r}, {len(self.frames)} frames)"


@dataclass(frozen=True, slots=True, eq=False)
class CompoundAnnotations:
    """The compound expressions of one video.

    Attributes:
        video: its name.
        frames: (n,) int64, increasing, from 1 as in ``00001.jpg``; numbers may be missing in between.
        compound: (n,) int64, index into ``tasks.COMPOUNDS``; -1 if unknown.
    """

    video: str
    frames: NDArray[np.int64]
    compound: NDArray[np.int64]


def recording(name: str) -> str:
    """The video that an annotation file belongs to: its name without ``_left`` or ``_right``."""
    return re.sub("_(left|right)$", "", name)


def read_tree(root: Path, part: str) -> dict[str, Annotations]:
    """All annotations of one part of a data set, by video, sorted by name.

    They are searched in ``root`` and then in its subfolders. In the first of the two places with any, a list of the
    multi-task challenge is used if there is one, else the tracks that exist, merged frame by frame.

    Args:
        part: of ``PARTS``.

    Raises:
        InputError: there are none, or several of a kind; or as ``read_mtl`` and ``read_track``.
    """
    for places in _places(root):
        if listed := _only(places, _LISTS[part]):
            return read_mtl(listed)
        folders = {track: _only(places, _relative(track, part)) for track in TRACKS}
        if any(folders.values()):
            return _read_tracks({track: folder for track, folder in folders.items() if folder})
    tracks = ", ".join(_relative(track, part)[0] for track in TRACKS)
    raise InputError(
        f"{root}: no annotations for {part} in this folder or its subfolders; "
        f"expected {_LISTS[part][0]}, or some of {tracks}."
    )


def read_for(path: Path, track: str, part: str) -> dict[str, Annotations]:
    """The annotations of one track in any format, by video, sorted by name; other tracks are not opened.

    Args:
        path: a list of the multi-task challenge, the root of a data set as for ``read_tree``, or the folder of one
            track and part, as for ``read_track``.
        track: of ``TRACKS``, or "mtl", which has all tasks.
        part: of ``PARTS``, of a whole data set; no effect on a list or the folder of one part.

    Raises:
        InputError: there are no such annotations; or as ``read_tree``, ``read_mtl`` and ``read_track``.
    """
    if not path.is_dir():
        return read_mtl(path)
    for places in _places(path):
        if listed := _only(places, _LISTS[part]):
            return read_mtl(listed)
        if track not in TRACKS and any(_only(places, _relative(one, part)) for one in TRACKS):
            return read_tree(path, part)
        if track in TRACKS and (folder := _only(places, _relative(track, part))):
            return read_track(folder, track)
    if track in TRACKS and any(file.suffix == ".txt" for file in path.iterdir()):
        return read_track(path, track)
    wanted = [_LISTS[part][0], *(_relative(one, part)[0] for one in TRACKS if track in (one, "mtl"))]
    raise InputError(
        f"{path}: no annotations of {track} for {part} in this folder or its subfolders; "
        f"expected {' or '.join(wanted)}{', or a .txt file for each video' if track in TRACKS else ''}."
    )


def find_track(root: Path, track: str, part: str) -> Path:
    """The folder of one track and part in a tree of the 3rd to 8th edition, in ``root`` or a subfolder.

    Args:
        track: of ``TRACKS``.
        part: of ``PARTS``.

    Raises:
        InputError: there is none, or there are several.
    """
    wanted = _relative(track, part)
    for places in _places(root):
        if folder := _only(places, wanted):
            return folder
    raise InputError(f"{root}: no {' or '.join(wanted)} in this folder or its subfolders.")


def read_track(folder: Path, track: str) -> dict[str, Annotations]:
    """The annotations of one track: a file for each video, whose line i (the header is line 0) is frame i.

    Args:
        track: of ``TRACKS``; the other tasks are unknown in the result.

    Returns:
        video -> annotations with frames 1 to n, sorted by name.

    Raises:
        InputError: there are no files; or a file that cannot be read, is empty, has the wrong header or number of
            fields, or a value that is not a number or out of range.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".txt" and path.name[0] != ".")
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); expected a folder of annotations.") from error
    if not paths:
        raise InputError(f"{folder}: no .txt file in this folder; expected one for each video.")
    fields, header = _TRACK_FIELDS[track], _HEADERS[track]
    found = {}
    for path in paths:
        rows = read_rows(path, lambda names: tuple(names) == tuple(map(str.lower, header)), ",".join(header))
        values = parse_values(path, rows, fields)
        blank = np.full((len(rows), len(_FIELDS)), _UNKNOWN)
        blank[:, [_FIELDS.index(field) for field in fields]] = values
        found[path.stem] = _annotations(path.stem, np.arange(1, len(rows) + 1), blank)
    return {name: found[name] for name in sorted(found)}


def read_mtl(path: Path) -> dict[str, Annotations]:
    """A list of the multi-task challenge (s-Aff-Wild2), such as ``training_set_annotations.txt``.

    Its rows, in any order, are ``video/NNNNN.jpg,valence,arousal,expression,AU1,...,AU26``. All are kept, even those
    without any label.

    Returns:
        video -> annotations of the listed frames, sorted by name.

    Raises:
        InputError: the file cannot be read, is empty, has the wrong header or number of fields, a value that is not a
            number or out of range, a malformed image name, or the same image twice.
    """
    rows = read_rows(path, _is_mtl_header, _MTL_HEADER)
    values = parse_values(path, rows, _FIELDS, before=1)
    return {name: _annotations(name, frames, values[k]) for name, frames, k in by_video(path, rows)}


def read_compound(path: Path) -> dict[str, CompoundAnnotations]:
    """A list of compound expressions: rows ``video/NNNNN.jpg,LABEL`` in any order, under the challenge's header.

    LABEL is 0 to 6, in the order of ``tasks.COMPOUNDS``, or -1 if unknown.

    Returns:
        video -> annotations of the listed frames, sorted by name.

    Raises:
        InputError: as ``read_mtl``.
    """
    header = _COMPOUND_HEADER.lower().split(",")
    rows = read_rows(path, lambda names: names == header, _COMPOUND_HEADER)
    values = parse_values(path, rows, _COMPOUND_FIELDS, before=1)[:, 0].astype(np.int64)
    return {name: CompoundAnnotations(name, frames, values[k]) for name, frames, k in by_video(path, rows)}


def clip_key(name: str) -> str:
    """The key that clips are matched by: the number, if the name is one (00012 and 12 are the same), else the name."""
    return name.lstrip("0") or "0" if name.isascii() and name.isdigit() else name


def read_intensities(path: Path) -> dict[str, tuple[float, ...]]:
    """``train_split.csv`` of the emotional mimicry challenge: ``Filename`` and six numbers in [0, 1].

    Returns:
        ``clip_key`` -> intensities in the order of ``tasks.EMOTIONAL_MIMICRY``, whatever the order of the columns.

    Raises:
        InputError: it cannot be read, lacks a column, has a value that is not a number in range, or a clip twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list of clips ({error}).") from error
    header = [name.strip().lower().replace(" ", "_") for name in lines[0]] if lines else []
    missing = [name for name in ("filename", *EMOTIONAL_MIMICRY) if name not in header]
    if missing:
        raise InputError(f"{path}: no column {missing[0]!r}; expected Filename and {', '.join(EMOTIONAL_MIMICRY)}.")
    where = {name: header.index(name) for name in ("filename", *EMOTIONAL_MIMICRY)}
    found: dict[str, tuple[float, ...]] = {}
    for number, line in enumerate(lines[1:], 2):
        try:
            key = clip_key(line[where["filename"]].strip())
            values = tuple(float(line[where[name]]) for name in EMOTIONAL_MIMICRY)
        except (IndexError, ValueError):
            raise InputError(f"{path}, line {number}: expected a name and six numbers.") from None
        if not all(0 <= value <= 1 for value in values):
            raise InputError(f"{path}, line {number}: an intensity is not between 0 and 1.")
        if key in found:
            raise InputError(f"{path}, line {number}: {line[where['filename']]} is already listed.")
        found[key] = values
    return found


_VA_FIELDS = tuple(Field(name, -1, 1, False, -5) for name in VALENCE_AROUSAL)
_EXPR_FIELDS = (Field("expression", -1, len(AFFWILD2_EXPRESSIONS) - 1, True, -1),)
_AU_FIELDS = tuple(Field(name, -1, 1, True, -1) for name in _UNITS)
_COMPOUND_FIELDS = (Field("the label", -1, len(COMPOUNDS) - 1, True, -1),)
_FIELDS = _VA_FIELDS + _EXPR_FIELDS + _AU_FIELDS
_UNKNOWN = np.array([field.unknown for field in _FIELDS], np.float64)
_TRACK_FIELDS = {"expr": _EXPR_FIELDS, "va": _VA_FIELDS, "au": _AU_FIELDS}


def _annotations(video: str, frames: NDArray[np.int64], values: NDArray[np.float64]) -> Annotations:
    """Annotations from the 15 columns of a list, with its marks of unknown values."""
    valence_arousal, action_units = values[:, :2].astype(np.float32), values[:, 3:].astype(np.float32)
    valence_arousal[(values[:, :2] == _UNKNOWN[:2]).any(axis=1)] = np.nan
    action_units[(values[:, 3:] == _UNKNOWN[3:]).any(axis=1)] = np.nan
    return Annotations(video, frames, values[:, 2].astype(np.int64), valence_arousal, action_units)


def _read_tracks(folders: dict[str, Path]) -> dict[str, Annotations]:
    merged: dict[str, Annotations] = {}
    for track, folder in folders.items():
        for name, found in read_track(folder, track).items():
            merged[name] = _merge(merged[name], found) if name in merged else found
    return {name: merged[name] for name in sorted(merged)}


def _merge(one: Annotations, other: Annotations) -> Annotations:
    """The annotations of two tracks for one video; both number frames from 1, and one may be longer."""
    frames = max(one.frames, other.frames, key=len)
    expression = np.full(len(frames), -1, np.int64)
    valence_arousal, action_units = (np.full((len(frames), c), np.nan, np.float32) for c in (2, 12))
    for part in (one, other):
        for target, values, known in (
            (expression, part.expression, part.expression >= 0),
            (valence_arousal, part.valence_arousal, ~np.isnan(part.valence_arousal[:, 0])),
            (action_units, part.action_units, ~np.isnan(part.action_units[:, 0])),
        ):
            target[: len(known)][known] = values[known]
    return Annotations(one.video, frames, expression, valence_arousal, action_units)


def _places(root: Path) -> tuple[list[Path], list[Path]]:
    """The folders to search first, and those to search next."""
    try:
        return [root], sorted(entry for entry in root.iterdir() if entry.is_dir() and entry.name[0] != ".")
    except OSError as error:
        raise InputError(f"{root}: cannot be read ({error.strerror}); expected the folder of a data set.") from error


def _relative(track: str, part: str) -> list[str]:
    return [f"{folder}/{_SETS[part]}" for folder in _FOLDERS[track]]


def _only(places: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The only path with one of these names in one of the places, if any."""
    # os.path.exists treats folders without permission as missing; Path.exists would raise.
    found = [place / name for place in places for name in names if os.path.exists(place / name)]
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1]} both exist, and only one is expected; move one away.")
    return found[0] if found else None


def _is_mtl_header(names: list[str]) -> bool:
    """Whether the columns that we use are in the expected order; editions name the others differently."""
    order = [field.name.lower() for field in _FIELDS]
    return [name for name in names if name in order] in (order[:3], order)
