"""What ``hsemotion export`` does, and what it prints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..analysis.evidence import columns
from ..analysis.recordings import find_tables, read_recording
from ..analysis.rules import Rules
from ..analysis.segments import Segment, segments
from ..errors import HsemotionError, InputError, UsageError, exit_code_of
from ..exports.catalogue import FORMATS, parse_targets
from ..exports.intervals import Interval
from ..exports.recording import Recording, open_recording
from ..exports.writing import Exported, check, export
from ..formats.clock import notes_of
from ..runtime.terminal import print_line, say
from .console import counting, print_json
from .defaults import CHOSEN
from .options import OutputOptions


def export_tables(
    paths: Sequence[Path],
    to: str,
    output: OutputOptions,
    rules: Rules,
    clock: str = "video",
    rate: float | None = None,
    media: Path | None = None,
) -> int:
    """Export tables; returns the exit code.

    Args:
        rules: of segments, for formats that hold intervals.
    """
    formats = parse_targets(to)
    if rate is not None and not 0 < rate < math.inf:
        raise UsageError(f"--rate {rate:g}: give a rate above 0.")
    if media is not None and not media.is_dir():
        raise UsageError(f"--media {media}: no such folder.")
    intervals = any(FORMATS[name].intervals for name in formats)
    recordings: list[Recording] = []
    failures: list[HsemotionError] = []
    for path in find_tables(paths):
        try:
            recording = open_recording(path, clock, media)
            recordings.append(with_intervals(recording, rules) if intervals and not recording.photos else recording)
        except InputError as error:
            failures.append(error)
    done = Exported()
    if recordings:
        check(recordings, formats, output.out, output.overwrite)
        with counting("export", "results", output.quiet) as progress:
            done = export(recordings, formats, output.out, rate, dict(CHOSEN.get()), progress)
    failures += [error for _, error in done.failures]
    _show(recordings, done, failures, output)
    return exit_code_of(failures, some_succeeded=bool(done.files))


def with_intervals(recording: Recording, rules: Rules) -> Recording:
    """The recording with its segments as intervals.

    Raises:
        InputError: the table cannot be used for segments, such as one of photos.
    """
    found = segments(read_recording(recording.path, columns(rules)), rules)
    return replace(recording, intervals=tuple(_interval(one) for one in found))


def _interval(one: Segment) -> Interval:
    person = f"face {one.person}" if one.person.isdecimal() else one.person or "nobody"
    score = None if one.kind == "no_face" else round(one.maximum, 6)
    peak = None if one.kind == "no_face" else one.peak
    return Interval(one.onset, one.offset, person, one.kind, one.label, peak, score)


def _show(
    recordings: Sequence[Recording], done: Exported, failures: Sequence[HsemotionError], output: OutputOptions
) -> None:
    for error in failures:
        say(str(error))
    notes = notes_of([recording.clock for recording in recordings])
    if output.json:
        print_json(
            {
                "files": [str(path) for path in done.files],
                "lost": done.lost,
                "notes": notes,
                "failures": [str(error) for error in failures],
            }
        )
        return
    if output.quiet:
        return
    for path in done.files[:_LISTED]:
        print_line(str(path))
    if len(done.files) > _LISTED:
        print_line(f"and {len(done.files) - _LISTED} more in {output.out}")
    for name, sentences in done.lost.items():
        for sentence in sentences:
            print_line(f"{FORMATS[name].title}: {sentence}")
    for sentence in notes:
        print_line(f"clock: {sentence}")


_LISTED = 20
"""Files that are named on the terminal."""
