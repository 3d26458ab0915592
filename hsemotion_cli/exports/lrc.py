"""Intervals -> timed lyrics (LRC), which music and karaoke players and ffmpeg show line by line.

A line of LRC has a start and no end: it stands until the next one. So there is a line for every moment at which
anything changes, with all that is present from then on ("face 0: happiness, AU12; face 1: neutral"), and an empty
one where nothing is. Times are hundredths of a second since the first frame of the video, whatever ``--clock`` is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from .intervals import in_order, milliseconds
from .source_table import SourceTable, need_times

_BRACKETS = str.maketrans("[]", "()")  # a bracket at the start of a line would be read as a time


def write(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording; returns what the format cannot hold, in sentences."""
    need_times(recording, "LRC")
    title = _line(recording.source or recording.name)
    lines = [f"[ti:{title}]", "[re:hsemotion]", *(f"[{_time(at)}]{text}" for at, text in _changes(recording))]
    file.write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
    return [
        "holds segments only, without their scores and peaks.",
        "a line stands until the next one, and times are hundredths of a second.",
    ]


def _changes(recording: SourceTable) -> Iterator[tuple[int, str]]:
    """(hundredths of a second, what is present from then on), from each change to the next."""
    spans = []
    for one in in_order(recording.intervals):
        start, end = (round(milliseconds(recording.clock.media(t)) / 10) for t in (one.onset, one.offset))
        spans.append((start, max(end, start + 1), one))
    before = ""
    for at in sorted({edge for start, end, _ in spans for edge in (start, end)}):
        labels: dict[str, list[str]] = {}
        for start, end, one in spans:
            if start <= at < end:
                labels.setdefault(one.person, []).append(one.label)
        text = _line("; ".join(f"{person}: {', '.join(dict.fromkeys(own))}" for person, own in labels.items()))
        if text != before:
            yield at, text
        before = text


def _time(hundredths: int) -> str:
    minutes, rest = divmod(hundredths, 6000)
    return f"{minutes:02d}:{rest // 100:02d}.{rest % 100:02d}"


def _line(text: str) -> str:
    return " ".join(text.split()).translate(_BRACKETS)
