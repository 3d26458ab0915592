"""Intervals -> annotations for EEG laboratories: a file of EDF+ that has annotations only, and MNE's text file.

Onsets are seconds of ``--clock``; of a clock with a date, the file begins at that date and time. Descriptions are
"expression/happiness/face 0", with slashes as MNE groups events. Source of EDF+: Kemp & Olivan (2003).
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO

from ..errors import InputError
from .intervals import Interval, in_order
from .source_table import SourceTable, need_times

_RECORD = 61_440  # bytes of a data record, the most that EDF recommends
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_UNKNOWN = "01.01.85"  # EDF's first date
_LOST = ["holds segments only, without their scores and peaks."]


def write_mne(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording as MNE's annotations (text); returns what the format cannot hold, in sentences."""
    need_times(recording, "MNE")
    began = recording.clock.began
    lines = ["# MNE-Annotations"]
    if began is not None:
        lines.append(f"# orig_time : {_utc(began).strftime('%Y-%m-%d %H:%M:%S.%f')}")
    lines.append("# onset, duration, description")
    for onset, duration, one in _events(recording):
        lines.append(f"{onset:.6f},{duration:.6f},{_plain(_description(one))}")
    file.write(("\n".join(lines) + "\n").encode("ascii"))
    changed = any(_plain(_description(one)) != _description(one) for one in recording.intervals)
    return [*_LOST, *(["MNE reads ASCII without , and # in this file, so names were changed."] if changed else [])]


def write_edf(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording as EDF+ without signals; returns what the format cannot hold, in sentences.

    Raises:
        InputError: a table of photos, or a date before 1985 or after 2084, which EDF cannot hold.
    """
    need_times(recording, "EDF+")
    began = recording.clock.began
    if began is not None and not 1985 <= began.year <= 2084:
        raise InputError(f"{recording.path}: EDF holds dates from 1985 to 2084; give another --clock.")
    fraction = began.microsecond / 1e6 if began else 0.0
    events = [_annotation(onset + fraction, duration, one) for onset, duration, one in _events(recording)]
    end = max((onset + duration for onset, duration, _ in _events(recording)), default=0.0)
    records = _records(events)
    length = max(math.ceil(end / len(records)), 1)
    size = max(_size(k, length, fraction, record) for k, record in enumerate(records))
    size += size % 2
    file.write(_header(began, len(records), length, size // 2))
    for k, record in enumerate(records):
        content = _timekeeping(k * length + fraction) + b"".join(record)
        file.write(content.ljust(size, b"\0"))
    return _LOST


def _events(recording: SourceTable) -> Iterator[tuple[float, float, Interval]]:
    """(onset, duration, interval) in seconds of the clock."""
    for one in in_order(recording.intervals):
        onset, offset = recording.clock.seconds(one.onset), recording.clock.seconds(one.offset)
        yield round(onset, 6), round(offset - onset, 6), one


def _description(one: Interval) -> str:
    return " ".join(f"{one.measure}/{one.label}/{one.person}".split())


def _plain(text: str) -> str:
    """ASCII without commas and #, which end a cell and begin a comment: MNE reads the file with ``numpy.loadtxt`` as
    bytes. Accents are dropped, other characters are written as Python escapes them."""
    bare = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return bare.encode("ascii", "backslashreplace").decode("ascii").replace(",", " ").replace("#", " ")


def _annotation(onset: float, duration: float, one: Interval) -> bytes:
    text = _description(one).encode("utf-8", "replace").translate(None, b"\x14\x15\x00")
    return f"{onset:+.6f}\x15{duration:.6f}\x14".encode() + text + b"\x14\0"


def _timekeeping(seconds: float) -> bytes:
    """The first annotation of a data record: when it begins."""
    return f"{seconds:+.6f}\x14\x14\0".encode()


def _records(annotations: list[bytes]) -> list[list[bytes]]:
    """Annotations in as many data records as they need."""
    records: list[list[bytes]] = [[]]
    used = 0
    for annotation in annotations:
        if used + len(annotation) > _RECORD - 64 and records[-1]:
            records.append([])
            used = 0
        records[-1].append(annotation)
        used += len(annotation)
    return records


def _size(number: int, length: int, fraction: float, record: list[bytes]) -> int:
    return len(_timekeeping(number * length + fraction)) + sum(map(len, record))


def _header(began: datetime | None, records: int, length: int, samples: int) -> bytes:
    """256 bytes of the file and 256 of its one signal, "EDF Annotations"."""
    if began is None:
        start, date, time = "Startdate X X hsemotion X", _UNKNOWN, "00.00.00"
    else:
        start = f"Startdate {began.day:02d}-{_MONTHS[began.month - 1]}-{began.year} X hsemotion X"
        date, time = began.strftime("%d.%m.%y"), began.strftime("%H.%M.%S")
    fields: list[tuple[str | int, int]] = [
        ("0", 8), ("X X X X", 80), (start, 80), (date, 8), (time, 8), (512, 8), ("EDF+C", 44), (records, 8),
        (length, 8), (1, 4),
        ("EDF Annotations", 16), ("", 80), ("", 8), (-1, 8), (1, 8), (-32768, 8), (32767, 8), ("", 80), (samples, 8),
        ("", 32),
    ]  # fmt: skip
    return b"".join(str(value).encode("ascii").ljust(width) for value, width in fields)


def _utc(date: datetime) -> datetime:
    return date.astimezone(UTC) if date.tzinfo else date
