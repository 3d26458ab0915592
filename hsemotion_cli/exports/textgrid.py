"""Intervals -> a TextGrid of Praat (long text format): an interval tier for each person and measure.

Times are seconds since the first frame of the video, whatever ``--clock`` is. Between intervals there are empty ones,
because a tier of Praat has no holes.
"""

from __future__ import annotations

from typing import IO

from .intervals import Tier, tiers
from .source_table import SourceTable, need_times


def write(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording; returns what the format cannot hold, in sentences."""
    need_times(recording, "Praat")
    media = recording.clock.media
    last = [media(float(recording.times[-1])), *(media(one.offset) for one in recording.intervals)]
    end = round(max(*last, 0.001), 6)
    found = tiers(recording.intervals) or [Tier("segments", "", "", ())]  # Praat wants one tier at least
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}"]
    lines += ["tiers? <exists>", f"size = {len(found)}", "item []:"]
    for number, tier in enumerate(found, 1):
        parts = _parts(recording, tier, end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(tier.name)}"]
        lines += ["        xmin = 0", f"        xmax = {end}", f"        intervals: size = {len(parts)}"]
        for k, (onset, offset, label) in enumerate(parts, 1):
            lines += [f"        intervals [{k}]:", f"            xmin = {onset}", f"            xmax = {offset}"]
            lines += [f"            text = {_quoted(label)}"]
    file.write(("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
    return ["holds segments only, without their scores and peaks."]


def _parts(recording: SourceTable, tier: Tier, end: float) -> list[tuple[float, float, str]]:
    """(onset, offset, label) from 0 to the end without holes."""
    parts: list[tuple[float, float, str]] = []
    at = 0.0
    for one in tier.intervals:
        onset, offset = (round(max(recording.clock.media(time), 0.0), 6) for time in (one.onset, one.offset))
        onset = max(onset, at)
        if offset <= onset:
            continue  # before the first frame
        if onset > at:
            parts.append((at, onset, ""))
        parts.append((onset, offset, one.label))
        at = offset
    return [*parts, (at, end, "")] if at < end else parts


def _quoted(text: str) -> str:
    return '"' + " ".join(text.split()).replace('"', '""') + '"'
