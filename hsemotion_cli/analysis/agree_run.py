"""Tables and codings -> ``agree.csv``, ``bland_altman.csv`` and ``agree.json``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import HsemotionError, InputError
from ..formats.events import Event, check_recordings
from ..formats.people import PersonName
from ..runtime.atomic_files import write_together
from ..tasks import EXPRESSIONS, VALENCE_AROUSAL
from . import evidence
from .agree import CLASSES, MODEL, Key, Sums, compare, compare_ratings, rated
from .agree_statistics import Statistic, statistics
from .coding import NOTHING_CODED
from .outputs import description, write_description, write_header, write_rows
from .ratings import Rating
from .recordings import P_EXPRESSION, Recording, read_each, some_of
from .rules import Rules, kind_of
from .segments import segments

FILES = ("agree.csv", "bland_altman.csv", "agree.json")
_COLUMNS = ("first", "second", "label", "statistic", "value", "low", "high", "recordings", "units")
_PAIRS = ("first_rater", "second_rater", "label", "measure", "recording", "person", "first", "second", "mean",
          "difference")  # fmt: skip


@dataclass(frozen=True, slots=True)
class AgreeSettings:
    """How codings are compared.

    Attributes:
        rules: of the model's segments.
        tolerance: seconds by which onsets of matching events may differ.
        margin: seconds around a coder's boundaries in which frames do not count.
        bootstrap: resamples of recordings.
        seed: of the bootstrap.
    """

    rules: Rules = field(default_factory=Rules)
    tolerance: float = 0.5
    margin: float = 0.0
    bootstrap: int = 1000
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class AgreeReport:
    """What came of some tables.

    Attributes:
        statistics: in order.
        confusion: coder -> (c, c) counts of frames over ``tasks.EXPRESSIONS``, rows the coder, columns the model.
        recordings: that were compared.
        uncoded: recordings without any coding.
        failures, notes: as in ``segment_run.SegmentReport``.
    """

    statistics: Sequence[Statistic]
    confusion: Mapping[str, Sequence[Sequence[int]]]
    recordings: Sequence[str]
    uncoded: Sequence[str]
    failures: Sequence[HsemotionError]
    notes: Sequence[str]


def labels_used(events: Sequence[tuple[str, Event]]) -> dict[str, frozenset[str]]:
    """Coder -> the labels that they use anywhere: one that a coder never uses was not coded by them."""
    found: dict[str, set[str]] = {}
    for coder, event in events:
        found.setdefault(coder, set()).update({event.label} if event.kind == "label" else ())
    return {coder: frozenset(labels) for coder, labels in found.items()}


def agreement_of(
    tables: Sequence[Path],
    events: Sequence[tuple[str, Event]],
    ratings: Sequence[Rating],
    settings: AgreeSettings,
    people: Sequence[PersonName] = (),
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[AgreeReport, dict[Key, dict[str, Sums]]]:
    """Compare tables with codings and ratings.

    Raises:
        InputError: an event does not fit the tables, or there is nothing to compare.
    """
    check_recordings([event for _, event in events], [table.stem for table in tables])
    used = labels_used(events)
    wanted = {kind_of(label) for labels in used.values() for label in labels}
    kinds = tuple(kind for kind in settings.rules.kinds if kind in wanted)
    rules = replace(settings.rules, kinds=kinds)
    columns = dict.fromkeys([*evidence.columns(rules), *P_EXPRESSION, *VALENCE_AROUSAL])
    sums: dict[Key, dict[str, Sums]] = {}
    failures: list[HsemotionError] = []
    notes: list[str] = []
    done: list[str] = []
    uncoded: list[str] = []
    for recording in read_each(tables, columns, people, failures, progress):
        coded = _add(sums, recording, events, ratings, rules, used, settings)
        (done if coded else uncoded).append(recording.name)
        notes += recording.notes
    if not done:
        raise failures[0] if failures else _nothing(ratings, [table.stem for table in tables])
    found = statistics(sums, settings.bootstrap, settings.seed)
    return AgreeReport(found, _confusions(sums), done, uncoded, failures, notes), sums


def _nothing(ratings: Sequence[Rating], names: Sequence[str]) -> InputError:
    """The error that no table has a coding or rating."""
    if foreign := sorted({one.recording for one in ratings} - {*names, ""}):
        return InputError(
            f"the ratings are of {some_of(foreign)}, but the tables of {some_of(names)}; name each file of ratings "
            "after its table, or add a column recording."
        )
    return InputError(NOTHING_CODED + "nothing can be compared.")


def _add(
    sums: dict[Key, dict[str, Sums]], recording: Recording, events: Sequence[tuple[str, Event]],
    ratings: Sequence[Rating], rules: Rules, used: Mapping[str, frozenset[str]], settings: AgreeSettings,
) -> bool:  # fmt: skip
    """Add what a recording gives; whether anybody coded it."""
    found = list(compare_ratings(recording, ratings))
    for person in rated(recording, events, segments(recording, rules), rules, used):
        found += compare(person, settings.tolerance, settings.margin)
    for key, own in found:
        sums.setdefault(key, {}).setdefault(recording.name, Sums()).add(own)
    return bool(found)


def _confusions(sums: Mapping[Key, Mapping[str, Sums]]) -> dict[str, list[list[int]]]:
    found = {}
    for (first, second, label), parts in sums.items():
        counts = [part.counts for part in parts.values() if part.counts is not None]
        if second == MODEL and label == CLASSES and counts:
            found[first] = sum(counts).astype(int).tolist()  # type: ignore[union-attr]
    return found


def write_agreement(
    folder: Path, report: AgreeReport, sums: Mapping[Key, Mapping[str, Sums]], settings: AgreeSettings,
    codings: Sequence[str],
) -> None:  # fmt: skip
    """Write the three files.

    Args:
        folder: that is there.
        codings: names of the files of codings.

    Raises:
        OutputError: one cannot be written.
    """
    results: dict[str, Any] = {
        "codings": list(codings), "recordings": list(report.recordings), "uncoded": list(report.uncoded),
        "failed": [str(error) for error in report.failures], "notes": list(report.notes),
        "confusion": {"classes": list(EXPRESSIONS), "counts": report.confusion},
        "outputs": {FILES[0]: list(_COLUMNS), FILES[1]: list(_PAIRS)},
    }  # fmt: skip
    parameters = {**asdict(settings), "rules": settings.rules.to_json()}
    with write_together() as opened:
        with opened(folder / FILES[0]) as file:
            write_header(_COLUMNS, file)
            write_rows(map(astuple, report.statistics), file)
        with opened(folder / FILES[1]) as file:
            write_header(_PAIRS, file)
            write_rows(_pairs(sums), file)
        with opened(folder / FILES[2]) as file:
            write_description(description("agree", parameters, results), file)


def _pairs(sums: Mapping[Key, Mapping[str, Sums]]) -> list[tuple[Any, ...]]:
    found = []
    for (first, second, label), parts in sorted(sums.items()):
        measure = "mean" if label in VALENCE_AROUSAL else "share"
        for name in sorted(parts):
            for person, one, other in parts[name].pairs:
                row = (first, second, label, measure, name, person, one, other, (one + other) / 2, other - one)
                found.append(row)
    return found
