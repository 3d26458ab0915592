"""Tables -> ``sync.csv``, ``sync_windows.csv`` and ``sync.json``: every pair of people, with surrogates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import HsemotionError, InputError, UsageError
from ..formats.people import PersonName
from ..formats.schema import COLUMNS as TABLE_COLUMNS
from ..runtime.atomic_files import write_together
from .outputs import description, write_description, write_header, write_rows
from .recordings import Recording, called, read_each, read_recording
from .series import Series, sample
from .synchrony import Synchrony, Windows, correlations, effect, standardised, strength, synchrony

FILES = ("sync.csv", "sync_windows.csv", "sync.json")
MEASURES = ("valence", "arousal", "AU06_p", "AU12_p")
_KEPT = 40
"""Recordings whose curves are kept for the surrogates of shuffled pairs, which bounds memory."""


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """How pairs are compared.

    Attributes:
        measures: columns of the tables.
        rate: samples per second.
        window, step, max_lag: seconds.
        surrogates: shuffles of windows of each pair, and at most as many shuffled pairs.
        min_coverage: smallest share of samples that each of the two needs.
        min_movement: smallest standard deviation of a measure; of degrees, 50 times that.
        seed: of the shuffles.
    """

    measures: tuple[str, ...] = MEASURES
    rate: float = 10.0
    window: float = 10.0
    step: float = 5.0
    max_lag: float = 2.0
    surrogates: int = 200
    min_coverage: float = 0.8
    min_movement: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {column.name for column in TABLE_COLUMNS if column.type == "number"}
        if not self.measures:
            raise UsageError("--measure: no column is given; give one or more, such as valence,AU12_p.")
        if unknown := [name for name in self.measures if name not in numbers]:
            raise UsageError(
                f"--measure {unknown[0]}: not a column of numbers; hsemotion schema lists the columns (type number)."
            )
        for name in ("rate", "window", "step"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise UsageError(f"--{name} {value:g}: give a number above 0.")
        if not 0 <= self.max_lag < math.inf:
            raise UsageError(f"--max-lag {self.max_lag:g}: give a number of seconds from 0.")
        if self.windows.size < 3:
            raise UsageError(f"--window {self.window:g}: at {self.rate:g} samples per second that is fewer than 3.")

    @property
    def windows(self) -> Windows:
        """Sizes in samples."""
        rate = self.rate
        return Windows(round(self.window * rate), max(round(self.step * rate), 1), round(self.max_lag * rate))

    def least_movement(self, measure: str) -> float:
        """Smallest standard deviation of a measure."""
        degrees = any(column.name == measure and column.unit == "degrees" for column in TABLE_COLUMNS)
        return self.min_movement * (50 if degrees or measure.startswith(("head_", "gaze_")) else 1)


@dataclass(frozen=True, slots=True)
class SyncRow:
    """One pair and measure; nan where it was refused, with the reason.

    Attributes:
        recording, first, second_recording, second: who.
        measure: column.
        seconds: of common time.
        windows: with a correlation.
        coverage_first, coverage_second, movement_first, movement_second: of the two curves.
        synchrony: mean |z| over windows and lags.
        peak_lag: seconds with the highest mean z over windows; positive: the second follows the first.
        peak_z: that mean z.
        leader: "first" or "second", "" at a lag of 0.
        ccc, ccc_lag, ccc_peak: concordance at lag 0, the lag with the highest, and that.
        shuffled_mean, shuffled_sd, shuffled_effect, shuffled_p: of shuffled windows.
        pairs_mean, pairs_sd, pairs_effect, pairs_p: of shuffled pairs, from different recordings.
        reason: why it was refused, or "".
    """

    recording: str
    first: str
    second_recording: str
    second: str
    measure: str
    seconds: float
    windows: int
    coverage_first: float
    coverage_second: float
    movement_first: float
    movement_second: float
    synchrony: float = np.nan
    peak_lag: float = np.nan
    peak_z: float = np.nan
    leader: str = ""
    ccc: float = np.nan
    ccc_lag: float = np.nan
    ccc_peak: float = np.nan
    shuffled_mean: float = np.nan
    shuffled_sd: float = np.nan
    shuffled_effect: float = np.nan
    shuffled_p: float = np.nan
    pairs_mean: float = np.nan
    pairs_sd: float = np.nan
    pairs_effect: float = np.nan
    pairs_p: float = np.nan
    reason: str = ""


COLUMNS = tuple(each.name for each in fields(SyncRow))
_WINDOW_COLUMNS = ("recording", "first", "second_recording", "second", "measure", "onset", "offset", "synchrony",
                   "peak_lag", "peak_z")  # fmt: skip


@dataclass(slots=True)
class SyncReport:
    """What came of some tables.

    Attributes:
        rows: one for each pair and measure.
        failures: a reason for each table that could not be used.
        notes: sentences about what was assumed or left out.
    """

    rows: list[SyncRow] = field(default_factory=list)
    windows: list[tuple[Any, ...]] = field(default_factory=list)
    failures: list[HsemotionError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)


def compare_people(
    tables: Sequence[Path], settings: SyncSettings, offset: float | None = None, people: Sequence[PersonName] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> SyncReport:  # fmt: skip
    """Compare the people of each table with each other; or, with an offset, those of two tables.

    Args:
        offset: seconds that are added to the times of the second table to give the clock of the first.

    Raises:
        InputError: there is no pair, or no pair with enough coverage and movement.
        UsageError: an offset without exactly two tables.
    """
    if offset is not None and not math.isfinite(offset):
        raise UsageError(f"--offset {offset:g}: give a number of seconds.")
    report, kept = SyncReport(), _Kept(settings)
    for k, pair in enumerate(_pairs(tables, settings, offset, people, report)):
        recording = pair[0].recording
        _add(report, kept, settings, *pair, seed=settings.seed + k)
        if recording not in report.recordings:
            report.recordings.append(recording)
            if progress:
                progress(min(len(report.recordings), len(tables)), len(tables), recording)
    if not report.rows:
        raise report.failures[0] if report.failures else _no_pair(tables, offset)
    if all(row.reason for row in report.rows):
        row = report.rows[0]
        raise InputError(
            f"{row.recording}: {called(row.first)} and {called(row.second)} cannot be compared ({row.measure}: "
            f"{row.reason})"
            + (f"; the same is true for {_more(len(report.rows) - 1)}." if len(report.rows) > 1 else ".")
        )
    _against_pairs(report, kept, settings)
    return report


def _pairs(
    tables: Sequence[Path], settings: SyncSettings, offset: float | None, people: Sequence[PersonName],
    report: SyncReport,
) -> Iterator[tuple[Series, Series]]:  # fmt: skip
    """The curves of each pair and measure, on a common clock."""
    if offset is not None:
        if len(tables) != 2:
            raise UsageError(f"--offset {offset:g}: it compares two tables; give two, not {len(tables)}.")
        first, second = (read_recording(table, settings.measures, people) for table in tables)
        report.notes += [*first.notes, *second.notes]
        yield from _between(first, second, offset, settings)
        return
    for recording in read_each(tables, settings.measures, people, report.failures):
        report.notes += recording.notes
        if len(recording.tracks) < 2:
            report.notes.append(f"{recording.path}: one person only, so there is no pair.")
        span = recording.start, recording.end
        for measure in settings.measures:
            curves = [sample(recording, track, measure, settings.rate, span) for track in recording.tracks]
            yield from itertools.combinations(curves, 2)


def _no_pair(tables: Sequence[Path], offset: float | None) -> InputError:
    if offset is not None:
        return InputError(f"{tables[0]} and {tables[1]}: one of them has no face, so there is no pair to compare.")
    which = f"{len(tables)} tables, none with two people" if len(tables) > 1 else "fewer than two people"
    return InputError(f"{tables[0]}: {which}; synchrony needs two faces of a video, or two tables with --offset.")


def _more(count: int) -> str:
    return f"{count} more pairs and measures" if count > 1 else "one more pair and measure"


def _between(
    first: Recording, second: Recording, offset: float, settings: SyncSettings
) -> Iterator[tuple[Series, Series]]:
    span = max(first.start, second.start + offset), min(first.end, second.end + offset)
    if span[1] <= span[0]:
        raise InputError(
            f"{first.path} and {second.path}: with --offset {offset:g} they have no time in common "
            f"({first.start:g} to {first.end:g} s, and {second.start + offset:g} to {second.end + offset:g} s)."
        )
    for measure in settings.measures:
        for one, other in itertools.product(first.tracks, second.tracks):
            yield (
                sample(first, one, measure, settings.rate, span),
                sample(second, other, measure, settings.rate, span, offset),
            )


class _Kept:
    """Standardised windows of some recordings, for pairs of people who never met: a uniform sample of recordings."""

    def __init__(self, settings: SyncSettings) -> None:
        self.settings = settings
        self.curves: dict[str, dict[str, list[Series]]] = {}
        self.seen = 0
        self.random = np.random.default_rng(settings.seed)

    def add(self, series: Series) -> None:
        """Keep a curve, if its recording is among the sample (Vitter's reservoir)."""
        if series.recording not in self.curves:
            self.seen += 1
            if len(self.curves) >= _KEPT:
                place = int(self.random.integers(self.seen))
                if place >= _KEPT:
                    return
                del self.curves[list(self.curves)[place]]
            self.curves[series.recording] = {}
        own = self.curves[series.recording].setdefault(series.measure, [])
        if series.person not in {one.person for one in own}:
            own.append(series)


def _add(
    report: SyncReport, kept: _Kept, settings: SyncSettings, one: Series, other: Series, seed: int
) -> None:  # fmt: skip
    base = dict(
        recording=one.recording, first=one.person, second_recording=other.recording, second=other.person,
        measure=one.measure, seconds=len(one.values) / settings.rate, coverage_first=one.coverage,
        coverage_second=other.coverage, movement_first=one.movement, movement_second=other.movement,
    )  # fmt: skip
    reason = _refusal(one, other, settings)
    found = None
    if not reason:
        random = np.random.default_rng(seed)
        found = synchrony(one.values, other.values, settings.windows, settings.surrogates, random)
        reason = "" if (~np.isnan(found.z)).any() else "no window in which both are seen and move"
    if reason or found is None:
        report.rows.append(SyncRow(**base, windows=0, reason=reason))  # type: ignore[arg-type]
        return
    for series in (one, other):
        kept.add(series)
    report.rows.append(SyncRow(**base, **_values(found, one, other, settings)))  # type: ignore[arg-type]
    report.windows += _window_rows(found, one, other, settings)


def _refusal(one: Series, other: Series, settings: SyncSettings) -> str:
    for series in (one, other):
        if series.coverage < settings.min_coverage:
            share = f"{series.coverage:.2f} of the samples, below {settings.min_coverage:g}"
            return f"{called(series.person)} is seen in {share}"
        least = settings.least_movement(series.measure)
        if series.movement < least:
            return f"{called(series.person)} hardly moves (standard deviation {series.movement:.3f}, below {least:g})"
    if len(settings.windows.starts(len(one.values))) < 1:
        return (
            f"{len(one.values) / settings.rate:.1f} s of common time are shorter than a window and the largest lag, "
            f"{settings.window + settings.max_lag:g} s; shorten --window or --max-lag"
        )
    return ""


def _values(found: Synchrony, one: Series, other: Series, settings: SyncSettings) -> dict[str, Any]:
    curve, lags = found.curve, settings.windows.lags / settings.rate
    best, agreed = int(np.nanargmax(curve)), int(np.nanargmax(found.ccc))
    names = ("shuffled_mean", "shuffled_sd", "shuffled_effect", "shuffled_p")
    return {
        "windows": int((~np.isnan(found.z)).any(axis=1).sum()),
        "synchrony": found.strength,
        "peak_lag": float(lags[best]),
        "peak_z": float(curve[best]),
        "leader": "first" if lags[best] > 0 else "second" if lags[best] < 0 else "",
        "ccc": float(found.ccc[settings.windows.lag]),
        "ccc_lag": float(lags[agreed]),
        "ccc_peak": float(found.ccc[agreed]),
        **dict(zip(names, effect(found.strength, found.surrogates), strict=True)),
    }


def _window_rows(found: Synchrony, one: Series, other: Series, settings: SyncSettings) -> list[tuple[Any, ...]]:
    lags, rows = settings.windows.lags / settings.rate, []
    for start, z in zip(found.starts, found.z, strict=True):
        known = ~np.isnan(z)
        onset = one.start + start / settings.rate
        best = int(np.nanargmax(z)) if known.any() else -1
        values = (strength(z), float(lags[best]), float(z[best])) if known.any() else (None, None, None)
        who = (one.recording, one.person, other.recording, other.person, one.measure)
        rows.append((*who, onset, onset + settings.window, *values))
    return rows


def _against_pairs(report: SyncReport, kept: _Kept, settings: SyncSettings) -> None:
    """Compare every row with people of different recordings, who cannot have moved together."""
    apart = {measure: _shuffled_pairs(kept, settings, measure) for measure in settings.measures}
    if not any(len(values) for values in apart.values()):
        if settings.surrogates:
            report.notes.append("shuffled pairs need two or more recordings, so the columns pairs_* are empty.")
        return
    names = ("pairs_mean", "pairs_sd", "pairs_effect", "pairs_p")
    for k, row in enumerate(report.rows):
        if not row.reason:
            values = dict(zip(names, effect(row.synchrony, apart[row.measure]), strict=True))
            report.rows[k] = SyncRow(**{**asdict(row), **values})


def _shuffled_pairs(kept: _Kept, settings: SyncSettings, measure: str) -> np.ndarray:
    """Synchrony of random pairs of people from different recordings, at most ``surrogates`` of them."""
    curves = [(name, one) for name, own in sorted(kept.curves.items()) for one in own.get(measure, [])]
    pairs = [(a, b) for (m, a), (n, b) in itertools.product(curves, curves) if m != n]
    random = np.random.default_rng(settings.seed)
    chosen = random.permutation(len(pairs))[: settings.surrogates] if pairs else ()
    found = []
    for k in chosen:
        x, y = pairs[k][0].values, pairs[k][1].values
        length = min(len(x), len(y))
        starts = settings.windows.starts(length)
        units = standardised(x[:length], settings.windows), standardised(y[:length], settings.windows)
        found.append(strength(correlations(*units, starts, starts, settings.windows)))
    return np.array(found)


def write_sync(folder: Path, report: SyncReport, settings: SyncSettings, offset: float | None) -> None:
    """Write the three files into a folder that is there.

    Raises:
        OutputError: one cannot be written.
    """
    results = {
        "offset": offset, "recordings": report.recordings, "notes": report.notes,
        "failed": [str(error) for error in report.failures],
        "outputs": {FILES[0]: list(COLUMNS), FILES[1]: list(_WINDOW_COLUMNS)},
    }  # fmt: skip
    with write_together() as opened:
        for name, columns, rows in (
            (FILES[0], COLUMNS, map(astuple, report.rows)), (FILES[1], _WINDOW_COLUMNS, iter(report.windows)),
        ):  # fmt: skip
            with opened(folder / name) as file:
                write_header(columns, file)
                write_rows(rows, file)
        with opened(folder / FILES[2]) as file:
            write_description(description("sync", asdict(settings), results), file)
