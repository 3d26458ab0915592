"""Events, windows and codings by people -> a list of ``Event``: CSV, BIDS events.tsv, ELAN and BORIS.

A CSV file has a header with ``onset``, ``offset`` or ``duration`` (seconds), ``label``, and where needed ``recording``,
``person``, ``kind``, ``tier`` and ``coder``; separators may be commas, semicolons or tabs. In a BIDS ``events.tsv`` the
label is ``trial_type``. Tables of ``hsemotion segments`` are read as labels, with what was measured as their tier.
``recording`` is the file name of a table without its extension; an empty one stands for every table. A file without
that column belongs to the recording that its name says, see ``event_rows.recording_of``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..errors import InputError
from .boris import header_at, read_boris
from .elan import read_eaf
from .event_rows import KINDS, Event, event, number, recording_of, rows_of

__all__ = ["KINDS", "Event", "assumption", "check_recordings", "for_recording", "read_events"]

_ALIASES = {
    "recording": ("recording",),
    "onset": ("onset", "start"),
    "offset": ("offset", "end", "stop"),
    "duration": ("duration",),
    "label": ("label", "trial_type"),
    "person": ("person",),
    "kind": ("kind",),
    "tier": ("tier", "group"),
    "coder": ("coder",),
}
_OF_SEGMENTS = frozenset(("kind", "peak", "first_row", "last_row"))
"""Columns by which a table of ``hsemotion segments`` is known."""

_NOTHING = frozenset(("", "na", "n/a", "nan", "none", "null"))


def read_events(path: Path) -> list[Event]:
    """The events of a file, in its order.

    Raises:
        InputError: missing, of no known format, or a row that cannot be used; the message names file and row.
    """
    if path.suffix.lower() == ".eaf":
        return read_eaf(path)
    if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
        raise InputError(f"{path}: not a file of events; give .csv, .tsv (BIDS), .eaf (ELAN) or an export of BORIS.")
    lines = rows_of(path)
    if header_at(lines) is not None:
        return read_boris(path, lines)
    return _read_table(path, lines)


def assumption(path: Path) -> str:
    """A sentence about the recording that a file of events without a column ``recording`` was taken to be of, or "".

    Args:
        path: of a file that ``read_events`` has read.
    """
    if path.suffix.lower() == ".eaf":
        return ""
    lines = rows_of(path)
    if header_at(lines) is not None or not lines or "recording" in (name.lower() for name in lines[0][1]):
        return ""
    name = recording_of(path)
    whose = f"to the recording {name}, by its name" if name else "to every recording"
    return f"{path}: it has no column recording, so its rows belong {whose}."


def for_recording(events: Iterable[Event], recording: str) -> list[Event]:
    """The events of one recording, those of every recording included."""
    return [one for one in events if one.recording in ("", recording)]


def check_recordings(events: Iterable[Event], recordings: Iterable[str]) -> None:
    """Make sure that every event belongs to a recording that is there.

    Raises:
        InputError: one does not.
    """
    known = set(recordings)
    for one in events:
        if one.recording and one.recording not in known:
            raise InputError(
                f"{one.where}: no table of the recording {one.recording!r} was given; recordings are the names of "
                "tables without extension."
            )


def _read_table(path: Path, lines: Sequence[tuple[int, list[str]]]) -> list[Event]:
    if not lines:
        raise InputError(f"{path}: empty; a file of events has a header with onset, offset or duration, and label.")
    header = [name.lower() for name in lines[0][1]]
    columns = {key: header.index(alias) for key, names in _ALIASES.items() for alias in names if alias in header}
    if set(header) >= _OF_SEGMENTS:  # its kind is what was measured, such as expression, and every row is a label
        columns["tier"] = columns.pop("kind")
    if "onset" not in columns or not columns.keys() & {"offset", "duration"}:
        raise InputError(f"{path}: no columns onset, and offset or duration; the header has {', '.join(header)[:200]}.")
    if "label" not in columns and "kind" not in columns:
        raise InputError(f"{path}: no column label (or trial_type); the header has {', '.join(header)[:200]}.")
    found = []
    for line, cells in lines[1:]:
        where = f"{path}, row {line}"
        if len(cells) < len(header):
            raise InputError(f"{where}: {len(cells)} cells, but the header has {len(header)}.")
        found.append(_row(where, {key: cells[k] for key, k in columns.items()}, recording_of(path)))
    return found


def _row(where: str, cells: Mapping[str, str], recording: str) -> Event:
    given = {key: "" if text.lower() in _NOTHING else text for key, text in cells.items()}
    onset = number(where, "onset", given["onset"])
    if given.get("offset"):
        offset = number(where, "offset", given["offset"])
    else:  # BIDS has n/a for the duration of what has none
        offset = onset + number(where, "duration", given.get("duration") or "0")
    label = given.get("label", "")
    if cells.get("label", "").lower() in ("none", "na", "nan", "null"):
        label = cells["label"]  # a coder may well call something none
    more = {key: given.get(key, "") for key in ("person", "kind", "tier", "coder")}
    own = given.get("recording", recording)
    return event(where, (onset, offset), label, recording=own, **more)
