"""Codings by people -> what each coder says of every frame of a recording, in the tables' own labels."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..formats.events import Event, for_recording, read_events
from ..runtime.whole_numbers import whole_number
from ..tasks import EXPRESSIONS
from .recordings import Recording, Track
from .rules import KINDS, labels_of

HUMAN = "coder"
"""Name of the coder of files that name none."""

IGNORED = ""
"""What a label is mapped to if it is to be left out: ``--map note=``."""

NOTHING_CODED = "the coding has no event of these tables: its files are empty, or --map ignores all of its labels; "
"""Beginning of the message that nothing is coded; the caller says what that prevents."""

LABELS = tuple(label for kind in KINDS if kind != "no_face" for label in labels_of(kind))
"""Labels of the tables that a coding may have."""


@dataclass(frozen=True, slots=True)
class Coding:
    """What one coder says of one person in one recording.

    Attributes:
        coder: name.
        recording, person: as in a segment.
        events: label of the tables -> (onset, offset) in seconds, sorted.
        excluded: spans to leave out.
    """

    coder: str
    recording: str
    person: str
    events: Mapping[str, Sequence[tuple[float, float]]]
    excluded: Sequence[tuple[float, float]] = ()

    def state(self, label: str, time: NDArray[np.float64]) -> NDArray[np.int64]:
        """(F,) 1 in frames within an event of the label, else 0; -1 in excluded spans."""
        found = np.zeros(len(time), np.int64)
        for onset, offset in self.events.get(label, ()):
            found[(time >= onset) & (time < offset)] = 1
        return self._without_excluded(found, time)

    def classes(self, time: NDArray[np.float64]) -> NDArray[np.int64]:
        """(F,) position in ``tasks.EXPRESSIONS`` of the coded expression; -1 where none is coded."""
        found = np.full(len(time), -1, np.int64)
        for k, label in enumerate(EXPRESSIONS):
            for onset, offset in self.events.get(label, ()):
                found[(time >= onset) & (time < offset)] = k
        return self._without_excluded(found, time)

    def _without_excluded(self, found: NDArray[np.int64], time: NDArray[np.float64]) -> NDArray[np.int64]:
        for onset, offset in self.excluded:
            found[(time >= onset) & (time < offset)] = -1
        return found


def parse_codings(texts: Iterable[str]) -> list[tuple[str, Path]]:
    """Read "FILE" and "CODER=FILE": (coder or "", file)."""
    found = []
    for text in texts:
        name, equals, path = text.partition("=")
        if equals and not Path(text).exists():
            found.append((name.strip(), Path(path)))
        else:
            found.append(("", Path(text)))
    return found


def parse_map(texts: Iterable[str]) -> dict[str, str]:
    """Read "grin=smile": label of the coding -> label of the tables, or ``IGNORED``.

    Raises:
        UsageError: there is no =, or no such label.
    """
    found = {}
    for text in texts:
        name, equals, target = text.partition("=")
        if not equals or (target and target not in LABELS):
            raise UsageError(
                f"--map {text}: write it as grin=smile, with a label of the tables, or grin= to ignore it."
            )
        found[name] = target
    return found


def read_codings(
    files: Sequence[tuple[str, Path]], mapping: Mapping[str, str], tiers: Sequence[str] = ()
) -> list[tuple[str, Event]]:
    """(coder, event) of all files, with the labels of the tables.

    Args:
        files: as ``parse_codings`` gives them.
        mapping: as ``parse_map`` gives it.
        tiers: of ELAN or BORIS that are used; none for all.

    Raises:
        InputError: a file cannot be read, or has a label that the tables do not have.
        UsageError: no file has one of the tiers.
    """
    found = []
    read = [(name, event) for name, path in files for event in read_events(path)]
    known = {event.tier for _, event in read}
    if unknown := [tier for tier in tiers if tier not in known]:
        there = ", ".join(sorted(filter(None, known)))
        raise UsageError(
            f"--tier {unknown[0]}: no event has it; "
            + (f"choose from {there}." if there else "the files have no tiers, so leave it out.")
        )
    for name, event in read:
        if not tiers or event.tier in tiers:
            label = event.label if event.kind != "label" else _label(event, mapping)
            if label != IGNORED or event.kind != "label":
                found.append((name or event.coder or HUMAN, replace(event, label=label)))
    return found


def _label(event: Event, mapping: Mapping[str, str]) -> str:
    if event.label in mapping:
        return mapping[event.label]
    plain = event.label.strip().lower()
    if plain.startswith("au") and whole_number(plain[2:].strip()) is not None:
        plain = f"AU{int(plain[2:]):02d}"
    if plain not in LABELS:
        raise InputError(
            f"{event.where}: {event.label!r} is not a label of the tables; give --map '{event.label}=LABEL' (such as "
            f"smile, happiness or AU12), or --map '{event.label}=' to ignore it."
        )
    return plain


def codings_of(recording: Recording, events: Sequence[tuple[str, Event]]) -> list[Coding]:
    """The codings of a recording, by person and coder.

    Raises:
        InputError: an event lies outside, its person is not there or not given although there are several, or a coder
            gives two expressions to one moment.
    """
    found: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for coder, event in events:
        if for_recording([event], recording.name):
            found[_person(recording, event), coder].append(event)
    return [_coding(recording, coder, person, own) for (person, coder), own in sorted(found.items())]


def track_of(recording: Recording, person: str) -> Track:
    """The track of a person who is there."""
    return next(track for track in recording.tracks if track.person == person)


def _person(recording: Recording, event: Event) -> str:
    people = [track.person for track in recording.tracks]
    if event.onset >= recording.end or event.offset < recording.start:
        raise InputError(
            f"{event.where}: from {event.onset:g} to {event.offset:g} s is outside of {recording.name}, which lasts "
            f"from {recording.start:g} to {recording.end:g} s."
        )
    if event.person and event.person not in people:
        raise InputError(
            f"{event.where}: there is no person {event.person!r} in {recording.name}; there are "
            f"{', '.join(people) or 'none'}."
        )
    if not event.person and len(people) != 1:
        raise InputError(
            f"{event.where}: it names no person, but {recording.name} has {len(people)} ({', '.join(people)}); add a "
            "column person, or name people with --people."
        )
    return event.person or people[0]


def _coding(recording: Recording, coder: str, person: str, events: Sequence[Event]) -> Coding:
    by_label: dict[str, list[tuple[float, float]]] = defaultdict(list)
    expressions = sorted((e for e in events if e.label in EXPRESSIONS and e.kind == "label"), key=lambda e: e.onset)
    for before, event in itertools.pairwise(expressions):
        if event.onset < before.offset - 1e-6 and event.label != before.label:
            raise InputError(
                f"{event.where}: {event.label} begins while {before.label} ({before.where}) lasts; a face has one "
                "expression at a time."
            )
    for event in events:
        if event.kind == "label":
            by_label[event.label].append((event.onset, event.offset))
    excluded = [(event.onset, event.offset) for event in events if event.kind == "exclude"]
    return Coding(coder, recording.name, person, {k: sorted(v) for k, v in by_label.items()}, excluded)
