"""Tables and events -> one CSV file of a summary, wide or long, and its sidecar; table after table, in flat memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..errors import HsemotionError, InputError, UsageError
from ..formats.events import Event, check_recordings
from ..formats.people import PersonName
from ..runtime.atomic_files import write_together
from ..runtime.comma_list import comma_list
from . import evidence
from .outputs import description, write_description, write_header, write_rows
from .recordings import read_each
from .summary import SummaryRow, SummarySettings, summarise
from .windows import check_windows

KEYS = ("recording", "person", "window", "group")
FORMS = ("wide", "long")
_HEAD = ("recording", "person", "window", "group", "onset", "offset", "frames", "coverage", "reason")
_POOLED = ("rows", "rows_with_values", "frames", "coverage")


@dataclass(slots=True)
class _Pool:
    """Sums over the rows of one group."""

    rows: int = 0
    used: int = 0
    frames: int = 0
    coverage: float = 0.0
    sums: dict[tuple[str, str], list[float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class SummaryReport:
    """What came of some tables.

    Attributes:
        recordings: tables that could be used.
        rows: of the result.
        empty: rows without values.
        failures: a reason for each table that could not be used.
        notes: sentences about what was assumed.
    """

    recordings: int
    rows: int
    empty: int
    failures: Sequence[HsemotionError]
    notes: Sequence[str]


def parse_by(text: str) -> tuple[str, ...]:
    """Read "person,window".

    Raises:
        UsageError: another key, or none.
    """
    names = comma_list(text)
    if not names or set(names) - set(KEYS):
        raise UsageError(f"--by {text}: choose from {', '.join(KEYS)}, separated by commas.")
    return names


def write_summary(
    tables: Sequence[Path],
    events: Sequence[Event] | None,
    settings: SummarySettings,
    out: Path,
    form: str = "wide",
    by: Sequence[str] | None = None,
    people: Sequence[PersonName] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> SummaryReport:
    """Summarise tables and write the result.

    Args:
        tables: as ``recordings.find_tables`` gives them.
        events: windows and excluded spans; None for whole recordings.
        out: the CSV file; its sidecar has the suffix .json.
        form: of ``FORMS``: a row for each window, or for each value.
        by: keys of ``KEYS`` that remain: rows that agree in them become one, with the mean of each statistic over the
            rows that have it. None keeps every window.
        people: as ``recordings.read_recording`` takes it.
        progress: as in ``segment_run.write_segments``.

    Raises:
        InputError: an event does not fit the tables, or no table can be used; nothing is written then.
        OutputError: the results cannot be written.
    """
    if events is not None:
        check_windows(events)
        check_recordings(events, [table.stem for table in tables])
    columns = settings.columns()
    head = _HEAD if by is None else (*by, *_POOLED)
    names = [*head, *(_name(c) for c in columns)] if form == "wide" else [*head, "measure", "statistic", "value"]
    source = _Source(tables, events, settings, people, progress)
    with write_together() as opened:
        with opened(out) as file:
            write_header(names, file)
            each = ((_head(row), row.values) for row in source.rows())
            count = _write(each if by is None else _pooled(source.rows(), by), columns, form, file)
        if not source.done:
            raise source.failures[0] if source.failures else InputError("there are no tables.")
        source.check_people()
        results = {
            "form": form, "by": list(by) if by is not None else None, "recordings": source.done,
            "failed": [str(error) for error in source.failures], "notes": source.notes, "outputs": {out.name: names},
        }  # fmt: skip
        with opened(out.with_suffix(".json")) as file:
            write_description(description("summary", settings.to_json(), results), file)
    return SummaryReport(len(source.done), count, source.empty, source.failures, source.notes)


@dataclass(slots=True)
class _Source:
    """The rows of all tables, one table at a time, and what is known after the last."""

    tables: Sequence[Path]
    events: Sequence[Event] | None
    settings: SummarySettings
    people: Sequence[PersonName]
    progress: Callable[[int, int, str], None] | None
    failures: list[HsemotionError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    empty: int = 0

    def rows(self) -> Iterator[SummaryRow]:
        wanted = (*self.settings.measures, *evidence.columns(self.settings.rules))
        for recording in read_each(self.tables, dict.fromkeys(wanted), self.people, self.failures, self.progress):
            for row in summarise(recording, self.events, self.settings):
                self.empty += bool(row.reason)
                yield row
            self.seen.update(track.person for track in recording.tracks)
            self.notes += recording.notes
            self.done.append(recording.name)

    def check_people(self) -> None:
        for one in self.events or ():
            if one.person and one.person not in self.seen:
                raise InputError(f"{one.where}: there is no person {one.person!r} in any of the tables.")


Line = tuple[Sequence[Any], Mapping[tuple[str, str], float]]


def _head(row: SummaryRow) -> Sequence[Any]:
    window = row.window
    return (
        row.recording, row.person, window.label, window.group, window.onset, window.offset, row.frames, row.coverage,
        row.reason,
    )  # fmt: skip


def _name(column: tuple[str, str]) -> str:
    return "_".join(column)


def _write(lines: Iterable[Line], columns: Sequence[tuple[str, str]], form: str, file: IO[bytes]) -> int:
    count = 0
    for head, values in lines:
        count += 1
        if form == "wide":
            write_rows([[*head, *(_whole(c, values.get(c)) for c in columns)]], file)
        elif values:
            write_rows([[*head, *c, _whole(c, values[c])] for c in columns if c in values], file)
        else:
            write_rows([[*head, "", "", None]], file)
    return count


def _whole(column: tuple[str, str], value: float | None) -> float | int | None:
    """Counts without decimals, unless they are means of several."""
    return int(value) if column[1] == "count" and value is not None and value.is_integer() else value


def _pooled(rows: Iterable[SummaryRow], by: Sequence[str]) -> Iterator[Line]:
    pools: dict[tuple[str, ...], _Pool] = {}
    for row in rows:
        keys = {"recording": row.recording, "person": row.person, "window": row.window.label, "group": row.window.group}
        pool = pools.setdefault(tuple(keys[key] for key in by), _Pool())
        pool.rows += 1
        pool.used += not row.reason
        pool.frames += row.frames
        pool.coverage += row.coverage
        for column, value in row.values.items():
            if not np.isnan(value):
                total = pool.sums.setdefault(column, [0.0, 0.0])
                total[0] += value
                total[1] += 1
    for key in sorted(pools):
        pool = pools[key]
        means = {column: total / count for column, (total, count) in pool.sums.items()}
        yield (*key, pool.rows, pool.used, pool.frames, pool.coverage / pool.rows), means
