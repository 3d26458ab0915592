"""Exports of BORIS (Behavioral Observation Research Interactive Software) -> events.

Tabular events have a row for each start, stop and point (columns "Behavior", "Time", and "Behavior type", or "Status"
in versions before 8); aggregated events have a row for each interval ("Start (s)", "Stop (s)"). Versions before 8 write
lines about the observation before the header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from .event_rows import Event, event, media_recording, number, recording_of

_SEARCHED = 60  # lines in which the header may stand
_MEDIA = ("media file name", "media file path", "media file")


def header_at(lines: Sequence[tuple[int, list[str]]]) -> int | None:
    """Position of the header among the lines of a file, or None if it is no export of BORIS."""
    for k, (_, cells) in enumerate(lines[:_SEARCHED]):
        names = {cell.lower() for cell in cells}
        if "behavior" in names and ("start (s)" in names or ("time" in names and names & {"behavior type", "status"})):
            return k
    return None


def read_boris(path: Path, lines: Sequence[tuple[int, list[str]]]) -> list[Event]:
    """The events of an export; subjects are persons, "No focal subject" is everyone.

    Args:
        lines: of the file, as ``event_rows.rows_of`` gives them.

    Raises:
        InputError: a start without a stop, a stop without a start, or a cell that cannot be used.
    """
    at = header_at(lines)
    assert at is not None
    header = [name.lower() for name in lines[at][1]]
    rows = []
    for line, cells in lines[at + 1 :]:
        where = f"{path}, row {line}"
        if len(cells) < len(header):
            raise InputError(f"{where}: {len(cells)} cells, but the header has {len(header)}.")
        rows.append((where, dict(zip(header, cells, strict=False))))
    if "start (s)" in header:
        return [_event(path, where, row, _times(where, row, "start (s)", "stop (s)")) for where, row in rows]
    return _paired(path, rows)


def _paired(path: Path, rows: Sequence[tuple[str, Mapping[str, str]]]) -> list[Event]:
    found: list[Event] = []
    running: dict[tuple[str, ...], tuple[str, Mapping[str, str]]] = {}
    for where, row in sorted(rows, key=lambda one: number(one[0], "Time", one[1]["time"])):
        state = (row.get("behavior type") or row.get("status") or "POINT").upper()
        key = tuple(row.get(name, "") for name in ("observation id", "subject", "behavior"))
        time = number(where, "Time", row["time"])
        if state in ("POINT", "POINT EVENT"):
            found.append(_event(path, where, row, (time, time)))
        elif state == "START":
            if key in running:
                raise InputError(f"{where}: {row['behavior']} starts again before it stopped ({running[key][0]}).")
            running[key] = where, row
        elif state == "STOP":
            if key not in running:
                raise InputError(f"{where}: {row['behavior']} stops, but did not start.")
            begun, first = running.pop(key)
            found.append(_event(path, begun, first, (number(begun, "Time", first["time"]), time)))
        else:
            raise InputError(f"{where}: the type of event is {state[:60]!r}; expected START, STOP or POINT.")
    if running:
        where, row = next(iter(running.values()))
        raise InputError(f"{where}: {row['behavior']} starts, but never stops.")
    return sorted(found, key=lambda one: (one.onset, one.offset))


def _times(where: str, row: Mapping[str, str], start: str, stop: str) -> tuple[float, float]:
    onset = number(where, "Start (s)", row[start])
    end = row.get(stop, "")
    return onset, onset if end.lower() in ("", "na", "n/a", "nan") else number(where, "Stop (s)", end)


def _event(path: Path, where: str, row: Mapping[str, str], times: tuple[float, float]) -> Event:
    media = next((row[name] for name in _MEDIA if row.get(name)), "")
    recording = media_recording(media.partition(";")[0]) or row.get("observation id", "") or recording_of(path)
    subject = row.get("subject", "")
    return event(
        where, times, row["behavior"],
        recording=recording, person="" if subject.lower() == "no focal subject" else subject,
        tier=row.get("behavioral category", ""),
    )  # fmt: skip
