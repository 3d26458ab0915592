"""Intervals -> subtitles: WebVTT (W3C) and SubRip. One cue for each interval, the person named.

Times count from the first frame of the video, whatever ``--clock`` is, because players show the cues over it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from .intervals import Interval, in_order, milliseconds
from .source_table import SourceTable, need_times

_LOST = ["holds segments only, without their scores and peaks."]


def write_webvtt(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording as WebVTT; returns what the format cannot hold, in sentences."""
    need_times(recording, "WebVTT")
    note = _escaped(f"hsemotion, {recording.source or recording.name}")
    lines = [f"WEBVTT\n\nNOTE {note}\n"]
    for number, (start, end, one) in enumerate(_cues(recording), 1):
        who = _escaped(one.person)
        lines.append(f"{number}\n{_time(start, '.')} --> {_time(end, '.')}\n<v {who}>{_escaped(one.label)}</v>\n")
    file.write("\n".join(lines).encode("utf-8", "backslashreplace"))
    return _LOST


def write_srt(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording as SubRip; returns what the format cannot hold, in sentences."""
    need_times(recording, "SubRip")
    lines = [
        f"{number}\n{_time(start, ',')} --> {_time(end, ',')}\n{_line(one.words)}\n"
        for number, (start, end, one) in enumerate(_cues(recording), 1)
    ]
    file.write("\n".join(lines).encode("utf-8", "backslashreplace"))
    return _LOST


def _cues(recording: SourceTable) -> Iterator[tuple[int, int, Interval]]:
    """(start, end in milliseconds, interval); each at least a millisecond long."""
    for one in in_order(recording.intervals):
        start, end = (milliseconds(recording.clock.media(time)) for time in (one.onset, one.offset))
        yield start, max(end, start + 1), one


def _time(value: int, point: str) -> str:
    seconds, rest = divmod(value, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{rest:03d}"


def _line(text: str) -> str:
    return " ".join(text.split())


def _escaped(text: str) -> str:
    """Text of a cue: what WebVTT would take for a tag or an arrow is escaped."""
    return _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
