"""``hsemotion report`` for one recording: a table and what lies beside it -> one HTML page."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..formats import raw_scores, sidecar
from ..formats.people import PersonName, names_for
from ..formats.schema import ACTION_UNIT_NAMES as UNIT_NAMES
from ..formats.table_source import decoding_of, find_video, read_sidecar, source_name
from ..media.source import DecodeOptions
from ..media.video import open_source
from ..palette import EXPRESSION_COLOURS, HEAT, PERSON_COLOURS
from ..runtime.atomic_files import atomic_file
from . import page_html, page_media
from .derived_series import Derived, derive
from .page_data import pack
from .page_facts import about, summary, warnings
from .report_table import ReportTable, read_report_table

Progress = Callable[[str, int], None]
"""Called with what is being done and the number of frames done."""


@dataclass(frozen=True, slots=True)
class PageOptions:
    """How a page is made.

    Attributes:
        video: the video, or a folder to look for it in by its name; None for beside the table.
        embed: put an H.264 copy into the page.
        people: names of face ids.
        marks: spans to show, as the page's own marks.
        events: spans to jump to, which the page cannot change.
        images: decode the video for images of the peaks and, for tables that do not know them, for cuts.
        index: address of the page of the folder, relative to this page; "" for none.
    """

    video: Path | None = None
    embed: bool = False
    people: tuple[PersonName, ...] = ()
    marks: tuple[Mapping[str, Any], ...] = ()
    events: tuple[Mapping[str, Any], ...] = ()
    images: bool = True
    index: str = ""


@dataclass(slots=True)
class PageReport:
    """What came of making a page.

    Attributes:
        path: of the page.
        recording: what it shows.
        meta: the sidecar, {} without one.
        warnings: sentences that the page shows on top.
        remarks: sentences for the terminal, such as that a copy of the video was written.
        size: bytes of the page.
    """

    path: Path
    recording: ReportTable
    meta: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    size: int = 0


@dataclass(slots=True)
class _Film:
    """The video as the page has it; ``facts`` is None without one, and ``sentence`` says why."""

    facts: dict[str, Any] | None
    sentence: str
    tile: str = ""
    remarks: list[str] = field(default_factory=list)
    path: Path | None = None
    options: DecodeOptions = DecodeOptions()  # noqa: RUF009, it cannot be changed
    size: tuple[int, int] = (0, 0)


def write_page(
    table: Path, out: Path, options: PageOptions, progress: Progress = lambda stage, done: None
) -> PageReport:
    """Make the page of a table.

    Raises:
        InputError: the table, its sidecar, its raw scores or the video cannot be used.
        OutputError: the page or the copy of the video could not be written.
    """
    recording, meta = read_report_table(table), read_sidecar(table)
    if options.people:
        recording = replace(recording, people={**recording.people, **names_for(options.people, recording.name)})
    extra = _derived(table, recording, meta)
    film = _film(table, out, recording, meta, options, progress)
    seen, peaks = _seen(recording, meta, film, options)
    packed = pack(recording, extra.series)
    if film.tile:
        packed.tiles["video"] = film.tile
    report = PageReport(out, recording, meta, warnings(recording, meta), film.remarks)
    info = meta.get("source", {})
    width, height = film.size if film.size[0] else (info.get("width") or 0, info.get("height") or 0)
    start, duration = info.get("start"), info.get("duration")
    ends = start + duration if start is not None and duration and recording.clock == "time" else None
    facts = {
        "data": packed.facts, "name": recording.name, "summary": summary(recording, meta),
        "palette": {"expressions": EXPRESSION_COLOURS, "people": PERSON_COLOURS, "heat": HEAT},
        "warnings": report.warnings, "about": about(table.name, recording, meta, extra, packed.facts["levels"]),
        "peaks": peaks, "cuts": meta.get("frames", {}).get("cuts", seen), "width": width, "height": height,
        "failed_at": meta.get("frames", {}).get("failed_at", []), "video": film.facts, "no_video": film.sentence,
        "video_name": film.path.name if film.path else info.get("name", ""), "index": options.index,
        "unit_names": UNIT_NAMES,
        "begins": start if recording.clock == "time" else None, "ends": ends,
        "marks": [mark for mark in options.marks if mark["recording"] in ("", recording.name)],
        "events": [event for event in options.events if event["recording"] in ("", recording.name)],
    }  # fmt: skip
    with atomic_file(out) as file:
        for piece in page_html.page(f"{recording.name} - hsemotion", facts, packed.tiles):
            file.write(piece.encode("utf-8", "backslashreplace"))
        report.size = file.tell()
    return report


def _derived(table: Path, recording: ReportTable, meta: Mapping[str, Any]) -> Derived:
    raw = table.with_name(f"{table.stem}.raw.npz")
    known = meta.get("recipe") is not None  # an imported table has none
    recipe = sidecar.recipe(meta, table.with_name(f"{table.stem}.json")) if known else None
    return derive(recording, raw_scores.read(raw) if raw.exists() else None, recipe)


def _film(
    table: Path, out: Path, recording: ReportTable, meta: Mapping[str, Any], options: PageOptions, progress: Progress
) -> _Film:
    path = find_video(table, meta, options.video)
    if path is None:
        name = source_name(meta)
        why = f"its video {name} was not found" if name else "no sidecar names its video"
        return _Film(None, f"The video {name or table.stem} was not found; give it with --video.", remarks=[
            f"{table}: {why}, so the page has none; give it with --video."
        ])  # fmt: skip
    decoding = decoding_of(meta)
    opened = open_source(path, decoding)
    film = _Film(None, "", path=path, options=decoding, size=(opened.info.width, opened.info.height))
    if options.video is not None and _is_other(path, meta):
        film.remarks.append(
            f"{path}: not the file that {table} was made from ({source_name(meta)}), so boxes and curves may not fit."
        )
    reason = page_media.why_not_played(path, decoding, meta.get("frames", {}).get("clock_jumps", 0))
    if options.embed:
        _embed(film, recording, reason, progress)
    elif reason:
        copy = out.with_name(f"{out.stem}.video.mp4")
        done = page_media.write_copy(path, decoding, recording, copy, lambda n: progress("copy", n))
        film.facts = {"address": quote(copy.name), "shift": done.shift}
        film.remarks.append(f"{path}: {reason}, so a copy that they play was written: {copy}")
    else:
        film.facts = {"address": address(path, out.parent), "shift": page_media.start_of(path)}
    return film


def _is_other(video: Path, meta: Mapping[str, Any]) -> bool:
    """Whether a file of another name than the table's source also has other bytes."""
    known = (meta.get("source") or {}).get("sha256")
    if not known or not video.is_file() or video.name == source_name(meta):
        return False
    return sidecar.file_hash(video) != known


def _embed(film: _Film, recording: ReportTable, reason: str, progress: Progress) -> None:
    """Put the file itself into the page if browsers play it as H.264 and it is small, else a copy."""
    assert film.path is not None
    if not reason and film.path.suffix.lower() != ".webm" and film.path.stat().st_size <= page_media.EMBEDDED_BYTES:
        film.facts = {"tile": "video", "shift": page_media.start_of(film.path)}
        film.tile = page_media.embedded(film.path)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy.mp4"
        done = page_media.write_copy(film.path, film.options, recording, copy, lambda n: progress("copy", n))
        film.facts = {"tile": "video", "shift": done.shift}
        film.tile = page_media.embedded(copy)
    why = reason or f"it is no MP4 file of at most {page_media.EMBEDDED_BYTES / 1e6:.0f} MB"
    film.remarks.append(f"{film.path}: {why}, so the page holds a copy of at most {page_media.EMBEDDED_SIDE} pixels.")


def address(path: Path, folder: Path) -> str:
    """The address of a file for a page in a folder: relative, or absolute where there is no relative one."""
    target, start = Path(os.path.abspath(path)), os.path.abspath(folder)
    with contextlib.suppress(ValueError):  # another drive of Windows
        relative = Path(os.path.relpath(target, start)).as_posix()
        return quote(os.fsencode(relative), safe="/")
    return target.as_uri()


def _seen(
    recording: ReportTable, meta: Mapping[str, Any], film: _Film, options: PageOptions
) -> tuple[list[float], list[dict[str, Any]]]:
    """Cuts, as far as decoding found them, and the peaks with their images."""
    if film.path is None or not options.images:
        return [], []
    found = page_media.peaks(recording)
    unknown = "cuts" not in meta.get("frames", {})
    seen = page_media.look(open_source(film.path, film.options), {peak.frame for peak in found}, unknown)
    shown = [
        {
            "face": peak.face, "expression": peak.expression, "position": peak.position, "score": round(peak.score, 4),
            "image": page_media.thumbnail(seen.images[peak.frame], peak.box),
        }
        for peak in found
        if peak.frame in seen.images
    ]  # fmt: skip
    return seen.cuts, shown
