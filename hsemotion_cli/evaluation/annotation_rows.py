"""Rows of an annotation file -> checked numbers; the first problem is reported with its line.

A shifted or missing line would silently corrupt all metrics, so nothing is skipped or guessed.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_IMAGE = re.compile(r"(?!\.{1,2}/)([^/\\]+)/([0-9]{1,12})\.(?:jpe?g|png)", re.IGNORECASE)
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Field:
    """A column: numbers from ``low`` to ``high``, perhaps integers only, or the mark ``unknown``."""

    name: str
    low: float
    high: float
    whole: bool
    unknown: float

    @property
    def expected(self) -> str:
        if self.whole:
            return f"a whole number from {self.low:g} to {self.high:g}"
        return f"a number from {self.low:g} to {self.high:g}, or {self.unknown:g}"


def read_rows(path: Path, is_header: Callable[[list[str]], bool], header: str) -> list[str]:
    """The lines below the header, at least one."""
    try:
        text = path.read_text("utf-8-sig")  # also turns CRLF into LF
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8; expected annotations that begin with {header}.") from error
    lines = text.rstrip().split("\n")
    if lines == [""]:
        raise InputError(f"{path}: the file is empty; expected the header {header} and a row for each frame.")
    # A trailing comma and leading zeros of a unit's number make no difference.
    names = [re.sub("^au0+", "au", name.strip().lower()) for name in lines[0].rstrip(", ").split(",")]
    if not is_header(names):
        _fail(path, 1, f"the header is {_short(lines[0])!r}, expected {header}")
    if len(lines) == 1:
        raise InputError(f"{path}: nothing below the header; expected a row for each frame.")
    return lines[1:]


def by_video(path: Path, rows: list[str]) -> list[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
    """(name, increasing frame numbers, their rows) of each video in a list of images, sorted by name."""
    images = [row.partition(",")[0].strip() for row in rows]
    codes: dict[str, int] = {}
    code, frame = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
    for k, image in enumerate(images):
        match = _IMAGE.fullmatch(image)
        if not match or not int(match[2]):
            _fail(path, k + 2, f"the image is {_short(image)!r}, expected video/NNNNN.jpg with a number from 1")
        code[k], frame[k] = codes.setdefault(match[1], len(codes)), int(match[2])
    order = np.lexsort((frame, code))
    twice = np.flatnonzero((np.diff(code[order]) == 0) & (np.diff(frame[order]) == 0))
    if len(twice):
        first, second = sorted(order[twice[0] : twice[0] + 2])
        _fail(path, second + 2, f"{images[second]} is already in line {first + 2}; expected it once")
    groups = np.split(order, np.flatnonzero(np.diff(code[order])) + 1)
    return [(name, frame[groups[k]], groups[k]) for name, k in sorted(codes.items())]


def parse_values(path: Path, rows: list[str], fields: Sequence[Field], before: int = 0) -> NDArray[np.float64]:
    """(n, fields) values of all rows, each checked against its field.

    Args:
        before: number of fields, 0 or 1, that precede them in a row.
    """
    values = _parse_at_once([row.partition(",")[2] for row in rows] if before else rows, len(fields))
    if values is not None and _allowed(values, fields).all():
        return values
    # Something is wrong: check cell by cell to report the first problem.
    cells = [row.split(",") if row.strip() else [] for row in rows]
    fit = [len(found) == before + len(fields) for found in cells]
    good = fit.index(False) if False in fit else len(rows)
    values = np.array([[_number(cell) for cell in found[before:]] for found in cells[:good]]).reshape(-1, len(fields))
    wrong = np.argwhere(~_allowed(values, fields))
    if len(wrong):
        k, j = wrong[0]
        found = _short(cells[k][before + j])
        _fail(path, k + 2, f"{fields[j].name} is {found!r}, expected {fields[j].expected}")
    if good < len(rows):
        _fail(path, good + 2, f"found {len(cells[good])} fields, expected {before + len(fields)}")
    return values


def _parse_at_once(rows: list[str], columns: int) -> NDArray[np.float64] | None:
    """All values with pandas, which is fast but does not say what is wrong where; None if something may be wrong."""
    import pandas as pd

    text = "\n".join(rows)
    # pandas silently truncates rows that are too long, but then another is too short, or the sum is wrong.
    if text.count(",") != len(rows) * (columns - 1):
        return None
    # It also reads True as 1; with only the characters of numbers, it agrees with float.
    if text.encode().translate(None, b"0123456789.+-eE, \t\n"):
        return None
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            header=None,
            names=list(range(columns)),
            usecols=list(range(columns)),
            dtype=np.float64,
            quoting=csv.QUOTE_NONE,
        )
    except ValueError:
        return None
    return frame.to_numpy() if frame.shape == (len(rows), columns) else None


def _number(text: str) -> float:
    """The value of a cell, nan if it is not a number."""
    return float(text) if _NUMBER.fullmatch(text.strip()) else math.nan


def _allowed(values: NDArray[np.float64], fields: Sequence[Field]) -> NDArray[np.bool_]:
    low, high, unknown = (np.array([getattr(field, name) for field in fields]) for name in ("low", "high", "unknown"))
    whole = np.array([field.whole for field in fields])
    inside = (low <= values) & (values <= high) & (~whole | (values == np.rint(values)))
    return inside | (values == unknown)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _fail(path: Path, line: int, what: str) -> NoReturn:
    raise InputError(f"{path}, line {line}: {what}.")
