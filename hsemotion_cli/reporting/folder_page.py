"""``index.html`` of a folder of pages: a line for each recording and person, and what failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from ..formats.ownership import is_ours
from ..formats.table_source import SUFFIXES, is_described
from ..palette import EXPRESSION_COLOURS
from ..runtime.atomic_files import atomic_file
from ..tasks import EXPRESSIONS
from . import page_html
from .report_page import PageReport
from .report_table import ReportTable

_BINS = 48
"""Parts of a recording that a sparkline shows."""


def find_tables(folder: Path) -> list[Path]:
    """The tables below a folder, one of each recording, sorted by path: those that sidecars name, and those that have
    the columns of a table."""
    found: dict[Path, Path] = {}
    for suffix in SUFFIXES:
        for path in sorted(folder.rglob(f"*{suffix}")):
            stem = path.with_suffix("")
            if stem not in found and _is_table(path):
                found[stem] = path
    return sorted(found.values())


def _is_table(path: Path) -> bool:
    if path.with_name(f"{path.stem}.json").is_file():
        return is_described(path)
    return path.suffix == ".csv" and path.stat().st_size > 0 and is_ours(path)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a batch noted in its manifests: line by line, as ``batch`` writes them."""

    folder: Path
    lines: tuple[Mapping[str, Any], ...] = ()

    def source_of(self, table: Path) -> Path | None:
        """The source of a table, if the manifest names it and it is there."""
        place = table.relative_to(self.folder).with_suffix("").as_posix()
        for line in self.lines:
            if line.get("output") == place and Path(str(line.get("path"))).exists():
                return Path(str(line["path"]))
        return None

    @property
    def failures(self) -> list[str]:
        """A sentence for each input that failed."""
        return [f"{line.get('path')}: {line.get('note')}" for line in self.lines if line.get("state") == "failed"]


def read_manifest(folder: Path) -> Manifest:
    """The manifests of a folder, those of shards too; without any, one without lines."""
    lines = [line for path in sorted(folder.glob("manifest*.jsonl")) for line in _lines(path)]
    return Manifest(folder, tuple(lines))


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # the last line of a batch that was killed
            continue
        if isinstance(line, dict):
            yield line


@dataclass(frozen=True, slots=True)
class FolderEntry:
    """One recording of the index.

    Attributes:
        name: of the recording.
        page: path of its page below the folder of the index.
        seconds: from its first to its last analysed frame.
        coverage: share of the analysed frames with a face.
        warnings: as on its page.
        people: for each person what ``_person`` gives.
    """

    name: str
    page: Path
    seconds: float
    coverage: float
    warnings: list[str] = field(default_factory=list)
    people: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, report: PageReport, page: Path) -> FolderEntry:
        """The entry of a page that has been written."""
        recording = report.recording
        names: dict[str, list[int]] = {}
        for face in recording.ids:
            names.setdefault(recording.people.get(face) or f"Face {face}", []).append(face)
        people = [_person(recording, name, faces) for name, faces in names.items()]
        seconds = float(recording.time[-1] - recording.time[0])
        return cls(recording.name, page, seconds, recording.coverage, report.warnings, people)


def _person(recording: ReportTable, name: str, faces: list[int]) -> dict[str, Any]:
    """Figures of one person, and its sparkline: expression and mean valence of each part of the recording."""
    rows = np.flatnonzero(np.isin(recording.face_id, faces))
    labels = recording.expression[rows]
    counts = np.bincount(labels[labels >= 0], minlength=len(EXPRESSIONS))
    best = int(counts.argmax())
    part = recording.row[rows] * _BINS // max(len(recording.frame), 1)
    seen = len(np.unique(recording.row[rows][recording.detected[rows]])) / len(recording.frame)
    valence = recording.numbers.get("valence", np.full(len(recording.row), np.nan))[rows]
    return {
        "name": name,
        "seen": round(seen, 4),
        "expression": EXPRESSIONS[best] if counts.any() else "",
        "share": round(float(counts[best] / counts.sum()), 4) if counts.any() else None,
        "valence": _mean(valence),
        "arousal": _mean(recording.numbers.get("arousal", np.full(len(recording.row), np.nan))[rows]),
        "labels": [_commonest(labels[part == k]) for k in range(_BINS)],
        "curve": [_mean(valence[part == k], 2) for k in range(_BINS)],
    }


def _mean(values: NDArray[np.float64], digits: int = 4) -> float | None:
    known = values[~np.isnan(values)]
    return round(float(known.mean()), digits) if len(known) and np.isfinite(known.mean()) else None


def _commonest(labels: NDArray[np.int16]) -> int:
    """Position of the most frequent expression, -1 for none."""
    known = labels[labels >= 0]
    return int(np.bincount(known).argmax()) if len(known) else -1


def write_index(
    out: Path, title: str, entries: Sequence[FolderEntry], manifest: Manifest, failures: Sequence[str]
) -> None:
    """Write the page of a folder.

    Args:
        failures: sentences about tables of which no page could be made.

    Raises:
        OutputError: it cannot be written.
    """
    facts = {
        "title": title,
        "expressions": list(EXPRESSIONS),
        "colours": EXPRESSION_COLOURS,
        "recordings": [
            {
                "name": entry.name, "page": quote(entry.page.as_posix()), "seconds": round(entry.seconds, 3),
                "coverage": round(entry.coverage, 4), "warnings": entry.warnings, "people": entry.people,
            }
            for entry in entries
        ],
        "failures": [*manifest.failures, *failures],
    }  # fmt: skip
    with atomic_file(out) as file:
        for piece in page_html.index(f"{title} - hsemotion", facts):
            file.write(piece.encode("utf-8", "backslashreplace"))
