"""What analyses write: CSV files of results, and beside each a JSON file with every parameter. They are known again."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from .. import __version__
from ..formats import sidecar
from ..formats.spreadsheet import quoted
from ..runtime.file_marks import TOOL

DECIMALS = 6
"""Digits after the point of results."""


def description(command: str, settings: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """The sidecar of one analysis.

    Args:
        command: its name, "segments".
        settings: every parameter.
        results: what was read, what came of it, and what was assumed.
    """
    tool = {"name": TOOL, "version": __version__, "python": platform.python_version(), **sidecar.libraries()}
    return {"tool": tool, "analysis": command, "settings": dict(settings), **results}


def write_description(content: Mapping[str, Any], file: IO[bytes]) -> None:
    """Indented JSON; numbers that are not finite become null."""
    sidecar.write(_plain(dict(content)), file)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return round(value, DECIMALS) + 0.0 if math.isfinite(value) else None
    return value


def write_header(names: Sequence[str], file: IO[bytes]) -> None:
    """The first line of a CSV file: UTF-8, commas, LF."""
    write_rows([names], file)


def write_rows(rows: Iterable[Sequence[Any]], file: IO[bytes]) -> None:
    """Lines of a CSV file: numbers with six decimals; None and nan as empty cells; names that a
    spreadsheet would take for a formula with an apostrophe before them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    file.write(text.getvalue().encode("utf-8", "backslashreplace"))


def _cell(value: Any) -> Any:
    if isinstance(value, float):
        return f"{round(value, DECIMALS) + 0.0:.{DECIMALS}f}" if math.isfinite(value) else ""
    if isinstance(value, str):
        return quoted(value)
    return "" if value is None else value


def is_result(path: Path) -> bool:
    """Whether an analysis wrote a file: a sidecar, or a CSV file that a sidecar beside it names with its columns."""
    if path.suffix == ".json":
        return _described(path) is not None
    with path.open(encoding="utf-8-sig") as file:
        header = next(csv.reader([file.readline()]), [])
    beside = [path.with_suffix(".json"), *sorted(path.parent.glob("*.json"))]
    return any((_described(sidecar_) or {}).get(path.name) == header for sidecar_ in beside if sidecar_.is_file())


def _described(path: Path) -> dict[str, list[str]] | None:
    """File name -> columns that a sidecar of an analysis names; None if it is no such sidecar."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        ours = content["tool"]["name"] == TOOL and "analysis" in content
        return dict(content["outputs"]) if ours else None
    except (ValueError, KeyError, TypeError):
        return None
