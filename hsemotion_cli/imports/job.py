"""One file of another program -> a table and its sidecar."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..formats import sidecar
from ..formats.schema import NAMES, SCHEMA_VERSION
from ..formats.table import WRITERS, BlockRows
from ..runtime.atomic_files import write_together
from ..runtime.whole_numbers import whole_number
from .rows import Counts, TableRows
from .source import Reading, Source
from .text import Text

_UNEVEN = 0.0021
"""Seconds by which distances of frames may differ at a constant rate, as for videos (``media.source``)."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of one file.

    Attributes:
        outputs: kind -> path.
        content: of the sidecar.
        sentences: what a person should know of it.
    """

    outputs: dict[str, Path]
    content: dict[str, Any]
    sentences: list[str]


def import_file(
    text: Text,
    source: Source,
    folder: Path,
    name: str,
    formats: Sequence[str],
    fps: float | None,
    options: Mapping[str, Any],
) -> Imported:
    """Write ``folder / name.*``.

    Args:
        formats: of ``table.WRITERS``; the file is read once for each.
        fps: frames per second where the file has no times.

    Raises:
        InputError: the file has no rows, or one that makes no sense.
        OutputError: a result could not be written.
    """
    reading = source.reading(text.header, text.preamble)
    outputs = {format_: folder / f"{name}.{format_}" for format_ in formats}
    sidecar_path = folder / f"{name}.json"
    with write_together() as opened:
        for format_, path in outputs.items():
            rows = TableRows(text, source, reading, fps)
            with opened(path) as file:
                WRITERS[format_](BlockRows(rows.names, rows.blocks()), file)
        counts = rows.counts
        if not counts.frames:
            raise InputError(f"{text.path}: there are no rows below its header.")
        content = describe(text, source, reading, counts, fps)
        kinds = {**{kind: path.name for kind, path in outputs.items()}, "sidecar": sidecar_path.name}
        with opened(sidecar_path) as file:
            sidecar.write({**content, **({"options": dict(options)} if options else {}), "outputs": kinds}, file)
    return Imported({**outputs, "sidecar": sidecar_path}, content, list(content["source"]["notes"]))


def describe(text: Text, source: Source, reading: Reading, counts: Counts, fps: float | None) -> dict[str, Any]:
    """The sidecar of an imported table: its keys are those of ``annotate``, with ``imported`` besides."""
    used = {text.header[k] for k in reading.fields} | set(reading.refused)
    unheld = [name for name in text.header if name not in used]
    empty = [name for name in NAMES if name not in counts.filled]
    step = (counts.last - counts.first) / (counts.frames - 1) if counts.frames > 1 else math.nan
    uneven = counts.frames > 2 and counts.longest - counts.shortest > _UNEVEN
    return {
        "schema_version": SCHEMA_VERSION,
        "tool": {"name": "hsemotion", "version": __version__, "python": platform.python_version()},
        "source": {
            "name": text.path.name,
            "sha256": sidecar.file_hash(text.path),
            "kind": "imported",
            "fps": round(1 / step, 6) if step > 0 else None,
            "start": counts.first,
            "created": None,
            "clock": "frame numbers / --fps" if fps else f"times of {source.title}",
            "notes": _notes(source, reading, counts, unheld, uneven),
        },
        "imported": {
            "format": source.title,
            "encoding": text.encoding,
            "separator": text.separator,
            "header_line": text.line,
            "preamble": list(text.preamble),
            "columns_read": [text.header[k] for k in reading.fields],
            "columns_without_counterpart": unheld,
            "columns_refused": dict(reading.refused),
            "columns_empty": empty,
            "rows_read": counts.lines,
            "rows_without_a_face": dict(counts.absent),
            "rows_skipped": dict(counts.skipped),
            "rows_repeated": counts.repeated,
        },
        "frames": {
            "analysed": counts.frames,
            "decoded": counts.frames,
            "ended_early": "",
            "variable_frame_rate": uneven,
        },
        "faces": {
            "coverage": round(counts.frames_with_face / max(counts.frames, 1), 6),
            "rows": counts.rows,
            "ids": len(counts.faces),
            "fleeting_tracks": 0,
        },
        "detector": {"used": False},
        "models": [],
        "recipe": None,
    }


def _notes(source: Source, reading: Reading, counts: Counts, unheld: Sequence[str], uneven: bool) -> list[str]:
    notes = [f"imported from {source.title}.", *reading.notes]
    for why in dict.fromkeys(reading.refused.values()):
        names = [name for name, reason in reading.refused.items() if reason == why]
        notes.append(f"left out: {compact(names)}, {why}.")
    if unheld:
        have = "1 column has" if len(unheld) == 1 else f"{len(unheld)} columns have"
        notes.append(f"{have} no counterpart in a table: {compact(unheld)}.")
    for reason, count in counts.absent.items():
        notes.append(f"{count} of {counts.lines} rows have no face: {reason}.")
    for reason, count in counts.skipped.items():
        notes.append(f"{count} of {counts.lines} rows were left out: {reason}.")
    if counts.repeated:
        notes.append(f"{counts.repeated} rows repeat a face of the same frame and were left out.")
    if uneven:
        notes.append(f"the distance of two frames varies from {counts.shortest:.4f} to {counts.longest:.4f} seconds.")
    return notes


def compact(names: Iterable[str], most: int = 60) -> str:
    """Names, with runs like X_0, X_1, ..., X_67 as "X_0 ... X_67"; the first ``most``."""
    parts: list[list[str]] = []
    for name in names:
        if parts and _follows(parts[-1][-1], name):
            parts[-1].append(name)
        else:
            parts.append([name])
    shown = [
        each for run in parts for each in ([f"{run[0]} ... {run[-1]}"] if len(run) > 2 else run)
    ]  # fmt: skip
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def _follows(before: str, name: str) -> bool:
    """Whether two names differ in one number only, which is 1 higher."""
    one, two = (re.split(r"([0-9]+)", each) for each in (before, name))
    differ = [(a, b) for a, b in zip(one, two, strict=False) if a != b]
    return (
        len(one) == len(two)
        and len(differ) == 1
        and all((first := whole_number(a)) is not None and whole_number(b) == first + 1 for a, b in differ)
    )
