"""Intervals -> tables of behavioural coding: BORIS's aggregated events, and columns that Datavyu's import script reads.

Times count from the first frame of the video, whatever ``--clock`` is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import IO

from .delimited import Cell, write_rows
from .intervals import Interval, in_order, milliseconds, tiers
from .sampling import usual_rate
from .source_table import SourceTable, need_times

BORIS = (
    "Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)",
    "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject",
    "Observation duration by subject by observation", "Behavior", "Behavioral category", "Behavior type", "Start (s)",
    "Stop (s)", "Duration (s)", "Media file name", "Image index start", "Image index stop", "Image file path start",
    "Image file path stop", "Comment start", "Comment stop",
)  # fmt: skip
"""Columns of BORIS's "Aggregated events" (versions 8 and 9) for observations without modifiers and independent
variables. Source: ``boris/export_events.py`` in olivierfriard/BORIS."""

_NOT_APPLICABLE = "NA"
"""As BORIS writes it."""


def write_boris(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording as BORIS's aggregated events; returns what the format cannot hold, in sentences."""
    need_times(recording, "BORIS")
    write_rows(file, BORIS, _boris(recording))
    return ["holds segments only, without their scores and peaks."]


def _boris(recording: SourceTable) -> Iterator[Sequence[Cell]]:
    began = recording.clock.began
    duration = (recording.meta.get("source") or {}).get("duration")
    rate = round(usual_rate(recording) / recording.clock.rate, 3)
    spans = [(*_span(recording, one), one) for one in in_order(recording.intervals)]
    coded = _seconds(
        max((stop for _, stop, _ in spans), default=0.0) - min((start for start, _, _ in spans), default=0)
    )
    sums: dict[str, float] = {}
    for start, stop, one in spans:
        sums[one.person] = sums.get(one.person, 0.0) + stop - start
    for start, stop, one in spans:
        yield (
            recording.name, began.isoformat(" ") if began else "", "hsemotion", "Media file",
            f"player #1:{recording.source}", 0, coded, _seconds(duration), _seconds(rate), one.person,
            _seconds(sums[one.person]), one.label, one.measure, "STATE", _seconds(start), _seconds(stop),
            _seconds(stop - start), recording.source, *[_NOT_APPLICABLE] * 4, "", "",
        )  # fmt: skip


def _span(recording: SourceTable, one: Interval) -> tuple[float, float]:
    """Onset and offset in whole milliseconds since the first frame, in seconds."""
    start, stop = (round(max(recording.clock.media(time), 0.0), 3) for time in (one.onset, one.offset))
    return start, stop


def _seconds(value: float | None) -> str:
    """Three decimals, as BORIS writes numbers."""
    return _NOT_APPLICABLE if value is None else f"{value:.3f}"


def write_datavyu(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording with four columns for each tier, side by side; returns what the format cannot hold.

    Datavyu has no CSV of its own. Scripts that run in it make columns from cells named COLUMN.ordinal, COLUMN.onset,
    COLUMN.offset (milliseconds) and COLUMN.CODE. Sources: ``off.rb`` in SeedlingsBabylab/datavyu_scripts, and
    ``csv2opf.rb`` in iamamutt/datavyu with the files of ``r2datavyu``.
    """
    need_times(recording, "Datavyu")
    found = tiers(recording.intervals)
    names = ["".join(sign if sign.isalnum() else "_" for sign in tier.name) for tier in found]
    header = [f"{name}.{part}" for name in names for part in ("ordinal", "onset", "offset", "code01")]
    columns: list[list[tuple[Cell, ...]]] = []
    for tier in found:
        times = [[milliseconds(recording.clock.media(t)) for t in (one.onset, one.offset)] for one in tier.intervals]
        columns.append([(k, *times[k - 1], one.label) for k, one in enumerate(tier.intervals, 1)])
    rows: Iterator[tuple[tuple[Cell, ...], ...]] = zip_longest(*columns, fillvalue=(None, None, None, None))
    write_rows(file, header, ([cell for part in row for cell in part] for row in rows))
    return ["holds segments only, without their scores and peaks."]
