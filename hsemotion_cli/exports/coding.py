"""Intervals -> tables of behavioural coding: BORIS's aggregated events, and columns that Datavyu's import script reads.

Times count from the first frame of the video, whatever ``--clock`` is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import IO

from .delimited import Cell, write_rows
from .intervals import in_order, milliseconds, tiers
from .sampling import usual_rate
from .source_table import SourceTable, need_times

BORIS = (
    "Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)",
    "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject", "Behavior", "Behavioral category",
    "Modifiers", "Behavior type", "Start (s)", "Stop (s)", "Duration (s)", "Media file name", "Comment start",
    "Comment stop",
)  # fmt: skip
"""Columns of BORIS's "Aggregated events" (version 8), as far as they apply to one video."""


def write_boris(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording as BORIS's aggregated events; returns what the format cannot hold, in sentences."""
    need_times(recording, "BORIS")
    write_rows(file, BORIS, _boris(recording))
    return ["holds segments only, without their scores and peaks."]


def _boris(recording: SourceTable) -> Iterator[Sequence[Cell]]:
    media = recording.clock.media
    duration = (recording.meta.get("source") or {}).get("duration")
    began = recording.clock.began
    rate = round(usual_rate(recording) / recording.clock.rate, 3)
    for one in in_order(recording.intervals):
        start, stop = (round(max(media(time), 0.0), 3) for time in (one.onset, one.offset))
        yield (
            recording.name, began.isoformat(" ") if began else "", "hsemotion", "Media file(s)",
            recording.source, 0, None, duration, rate, one.person, one.label, one.measure, "", "STATE",
            start, stop, round(stop - start, 3), recording.source, "", "",
        )  # fmt: skip


def write_datavyu(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording with four columns for each tier, side by side; returns what the format cannot hold.

    Datavyu has no CSV of its own; its scripts read ordinal, onset, offset (milliseconds) and code of each column.
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
