"""Tables -> ``segments.csv`` and ``segments.json``, one table after the other, so that memory stays flat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from ..errors import HsemotionError
from ..formats.people import PersonName
from ..runtime.atomic_files import write_together
from ..tasks import ACTION_UNITS
from .evidence import columns
from .outputs import description, write_description, write_header, write_rows
from .recordings import Recording, read_each
from .rules import Rules
from .segments import COLUMNS, Segment, segments

FILES = ("segments.csv", "segments.json")

_UNITS = {"action_unit": ACTION_UNITS, "smile": ("AU06", "AU12")}


@dataclass(frozen=True, slots=True, eq=False)
class SegmentReport:
    """What came of some tables.

    Attributes:
        recordings: number of tables that could be used.
        people: number of persons in them, each recording's counted apart.
        count: (kind, label) -> number of segments.
        seconds: (kind, label) -> their summed duration.
        failures: a reason for each table that could not be used.
        notes: sentences about what was assumed.
    """

    recordings: int
    people: int
    count: Mapping[tuple[str, str], int]
    seconds: Mapping[tuple[str, str], float]
    failures: Sequence[HsemotionError]
    notes: Sequence[str]


def write_segments(
    tables: Sequence[Path],
    rules: Rules,
    folder: Path,
    people: Sequence[PersonName] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> SegmentReport:
    """Find the segments of tables and write them.

    Args:
        tables: files, as ``recordings.find_tables`` gives them.
        folder: that is there; see ``FILES`` for what is written into it.
        people: as ``recordings.read_recording`` takes it.
        progress: called with tables done, their number, and the name of the last.

    Raises:
        InputError: no table can be used; nothing is written then.
        OutputError: the results cannot be written.
    """
    count: Counter[tuple[str, str]] = Counter()
    seconds: dict[tuple[str, str], float] = {}
    failures: list[HsemotionError] = []
    described: dict[str, Any] = {}
    notes: list[str] = []
    with write_together() as opened:
        with opened(folder / FILES[0]) as file:
            write_header(COLUMNS, file)
            for recording in read_each(tables, columns(rules), people, failures, progress):
                found = segments(recording, rules)
                write_rows(map(astuple, found), file)
                for one in found:
                    count[one.kind, one.label] += 1
                    seconds[one.kind, one.label] = seconds.get((one.kind, one.label), 0.0) + one.duration
                described[recording.name] = describe(recording, rules, found)
                notes += recording.notes
        if not described:
            raise failures[0]
        results = {
            "recordings": described,
            "failed": [str(error) for error in failures],
            "outputs": {FILES[0]: list(COLUMNS)},
        }
        with opened(folder / FILES[1]) as file:
            write_description(description("segments", rules.to_json(), results), file)
    persons = sum(len(one["people"]) for one in described.values())
    return SegmentReport(len(described), persons, count, seconds, failures, notes)


def describe(recording: Recording, rules: Rules, found: Sequence[Segment]) -> dict[str, Any]:
    """What a sidecar holds of one recording."""
    smoothing = recording.recipe.smoothing if recording.recipe is not None else {}
    units = [label for kind in rules.kinds if kind in ("action_unit", "smile") for label in _UNITS[kind]]
    return {
        "start": recording.start,
        "end": recording.end,
        "frames": len(recording.time),
        "people": [track.person for track in recording.tracks],
        "segments": len(found),
        "smoothed_already": sorted(smoothing),
        "thresholds": {unit: rules.of("action_unit", unit, recording.recipe).onset for unit in dict.fromkeys(units)},
        "notes": list(recording.notes),
    }
