"""A table -> XDF 1.0, the file of Lab Streaming Layer: one stream of numbers for each person, each sample with its own
time stamp, and one stream of markers if there are intervals.

Time stamps are those of ``--clock`` in seconds, so that readers align the streams with those of other devices; of a
clock with a date, seconds since 1970 in UTC. The nominal rate is 0 (irregular), so that pyxdf leaves the time stamps as
they are. Source of the layout: the specification of XDF 1.0 (sccn/xdf).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from datetime import UTC
from typing import IO
from xml.sax.saxutils import escape

from ..formats.schema import Column
from .source_table import Row, SourceTable, lost, measures, need_times

_HEADER, _STREAM, _SAMPLES, _OFFSET, _FOOTER = 1, 2, 3, 4, 6
_BLOCK = 512  # samples in a chunk


def write(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one table; returns what the format cannot hold, in sentences.

    Raises:
        InputError: a table of photos.
    """
    need_times(recording, "XDF")
    columns = measures(recording)
    file.write(b"XDF:")
    _chunk(file, _HEADER, b'<?xml version="1.0"?><info><version>1.0</version></info>')
    streams = {person: number for number, person in enumerate(recording.people, 1)}
    for person, number in streams.items():
        _chunk(file, _STREAM, _id(number) + _stream_header(recording, person, columns))
    pending: dict[str, list[bytes]] = {person: [] for person in streams}
    stamps: dict[str, list[float]] = {person: [] for person in streams}
    for row in recording.rows():
        if row["face_id"] is None:
            continue
        person = recording.person(row)
        stamps[person].append(_stamp(recording, row["time"]))
        pending[person].append(_sample(stamps[person][-1], row, columns))
        if len(pending[person]) == _BLOCK:
            _samples(file, streams[person], pending[person])
    for person, number in streams.items():
        _samples(file, number, pending[person])
        _end(file, number, stamps[person])
    if recording.intervals:
        _markers(recording, file, len(streams) + 1)
    held = {"frame", "time", "face_id", "face_detected", "person", *(column.name for column in columns)}
    return [*lost(recording, held), "absent: samples of frames without a face, and the number of the frame."]


def _stamp(recording: SourceTable, time: float) -> float:
    date = recording.clock.date(time)
    if date is None:
        return recording.clock.seconds(time)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def _sample(stamp: float, row: Row, columns: Sequence[Column]) -> bytes:
    values = (math.nan if row[c.name] is None else float(row[c.name]) for c in columns)
    return struct.pack(f"<Bd{len(columns)}d", 8, stamp, *values)


def _samples(file: IO[bytes], stream: int, samples: list[bytes]) -> None:
    """Write a chunk of samples and forget them."""
    if samples:
        _chunk(file, _SAMPLES, _id(stream) + _count(len(samples)) + b"".join(samples))
        samples.clear()


def _markers(recording: SourceTable, file: IO[bytes], number: int) -> None:
    """A stream of texts: "onset happiness, face 0" and "offset ..." at their times."""
    info = _info(recording, "markers", "Markers", "string", [("marker", "", "")])
    _chunk(file, _STREAM, _id(number) + info)
    events = sorted(
        (time, f"{kind} {each.label}, {each.person}")
        for each in recording.intervals
        for kind, time in (("onset", each.onset), ("offset", each.offset))
    )
    samples = [struct.pack("<Bd", 8, _stamp(recording, time)) + _text(text) for time, text in events]
    _samples(file, number, samples)
    _end(file, number, [_stamp(recording, time) for time, _ in events])


def _end(file: IO[bytes], number: int, stamps: Sequence[float]) -> None:
    """The clock of the stream is that of the file, which readers want to see measured, and its footer."""
    _chunk(file, _OFFSET, _id(number) + struct.pack("<dd", stamps[0] if stamps else 0.0, 0.0))
    _chunk(file, _FOOTER, _id(number) + _stream_footer(stamps))


def _text(text: str) -> bytes:
    content = text.encode("utf-8", "backslashreplace")
    return _count(len(content)) + content


def _stream_header(recording: SourceTable, person: str, columns: Sequence[Column]) -> bytes:
    channels = [(c.name, c.unit, c.meaning) for c in columns]
    return _info(recording, person, "Affect", "double64", channels)


def _info(recording: SourceTable, who: str, kind: str, channel: str, channels: Sequence[tuple[str, str, str]]) -> bytes:
    described = "".join(
        f"<channel><label>{escape(name)}</label><unit>{escape(unit)}</unit><description>{escape(meaning)}</description>"
        "</channel>"
        for name, unit, meaning in channels
    )
    name = escape(f"{recording.name} {who}")
    return (
        f'<?xml version="1.0"?><info><name>{name}</name><type>{kind}</type><channel_count>{len(channels)}'
        f"</channel_count><nominal_srate>0</nominal_srate><channel_format>{channel}</channel_format>"
        f"<source_id>{name}</source_id><desc><channels>{described}</channels></desc></info>"
    ).encode("utf-8", "backslashreplace")


def _stream_footer(stamps: Sequence[float]) -> bytes:
    first, last = (stamps[0], stamps[-1]) if stamps else (0.0, 0.0)
    return (
        f'<?xml version="1.0"?><info><first_timestamp>{first!r}</first_timestamp><last_timestamp>{last!r}'
        f"</last_timestamp><sample_count>{len(stamps)}</sample_count><clock_offsets></clock_offsets></info>"
    ).encode()


def _chunk(file: IO[bytes], tag: int, content: bytes) -> None:
    file.write(_count(len(content) + 2) + struct.pack("<H", tag))
    file.write(content)


def _count(number: int) -> bytes:
    """A number of variable length: how many bytes it takes (1, 4 or 8), then the number."""
    for size, form in ((1, "<BB"), (4, "<BI")):
        if number < 1 << 8 * size:
            return struct.pack(form, size, number)
    return struct.pack("<BQ", 8, number)


def _id(stream: int) -> bytes:
    return struct.pack("<I", stream)
