"""Model and coders, frame by frame and event by event -> sums from which every coefficient of agreement follows.

docs/agree.md has the definitions. The first of two raters is the coder (or the coder whose name comes first), the
second is the model.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..evaluation import agreement
from ..evaluation.metrics import confusion
from ..tasks import EXPRESSIONS, VALENCE_AROUSAL
from .coding import Coding, codings_of, track_of
from .event_match import match
from .evidence import scores
from .ratings import Rating, for_person
from .recordings import P_EXPRESSION, Recording, Track
from .rules import Rules
from .segments import Segment

Floats = NDArray[np.float64]

MODEL = "model"
CLASSES = "expression"
"""Label of the comparison of all expressions at once."""

Key = tuple[str, str, str]
"""First rater, second rater (several are joined by +), label."""


@dataclass(slots=True)
class Sums:
    """Of one recording and key; parts that do not apply are None.

    Attributes:
        counts: (c, c) confusion of frames, rows the first rater.
        events: (7,) events of the first and second rater, matches, and over these the sums of onset errors, their
            absolute values, offset errors, and theirs.
        coincidences: (c, c) of Krippendorff's alpha.
        fleiss: as ``agreement.fleiss_sums``.
        icc: as ``agreement.icc_sums``, of shares of time (labels) or of ratings (valence, arousal).
        moments: (4,) for ratings: units, sum of differences, sum of squared differences, sum of products.
        pairs: (person, value of the first, value of the second) for the Bland-Altman plot.
    """

    counts: Floats | None = None
    events: Floats | None = None
    coincidences: Floats | None = None
    fleiss: Floats | None = None
    icc: Floats | None = None
    moments: Floats | None = None
    pairs: list[tuple[str, float, float]] = field(default_factory=list)

    def add(self, other: Sums) -> None:
        """Add the sums of another person of the recording."""
        for name in ("counts", "events", "coincidences", "fleiss", "icc", "moments"):
            one, two = getattr(self, name), getattr(other, name)
            setattr(self, name, two if one is None else one if two is None else one + two)
        self.pairs += other.pairs


@dataclass(frozen=True, slots=True, eq=False)
class Rated:
    """One person of one recording, as model and coders see it on F frames.

    Attributes:
        person: as in a segment.
        time: (F,) seconds.
        seen: (F,) whether the face was detected.
        codings: of the coders, by name.
        segments: label -> spans of the model's segments.
        classes: (F,) the model's expression, position in ``tasks.EXPRESSIONS``, -1 where the face was not seen.
        used: coder -> labels that they use anywhere.
    """

    person: str
    time: Floats
    seen: NDArray[np.bool_]
    codings: Mapping[str, Coding]
    segments: Mapping[str, Sequence[tuple[float, float]]]
    classes: NDArray[np.int64]
    used: Mapping[str, frozenset[str]]

    def state(self, rater: str, label: str) -> NDArray[np.int64]:
        """(F,) 1 or 0; -1 where the rater says nothing."""
        if rater != MODEL:
            return self.codings[rater].state(label, self.time)
        found = np.zeros(len(self.time), np.int64)
        for onset, offset in self.segments.get(label, ()):
            found[(self.time >= onset - 1e-9) & (self.time < offset - 1e-9)] = 1
        return np.where(self.seen, found, -1)

    def spans(self, rater: str, label: str) -> Sequence[tuple[float, float]]:
        """The rater's events."""
        return self.segments.get(label, ()) if rater == MODEL else self.codings[rater].events.get(label, ())

    def expression(self, rater: str) -> NDArray[np.int64]:
        """(F,) the rater's expression; -1 where there is none."""
        return self.classes if rater == MODEL else self.codings[rater].classes(self.time)


def rated(
    recording: Recording, events: Sequence[tuple[str, object]], segments: Sequence[Segment], rules: Rules,
    used: Mapping[str, frozenset[str]],
) -> Iterator[Rated]:  # fmt: skip
    """The people of a recording whom at least one coder has coded.

    Raises:
        InputError: as ``coding.codings_of``.
    """
    codings = codings_of(recording, events)  # type: ignore[arg-type]
    for person, own in itertools.groupby(codings, key=lambda coding: coding.person):
        track = track_of(recording, person)
        seen = np.zeros(len(recording.time), bool)
        seen[track.frame[track.detected]] = True
        spans: dict[str, list[tuple[float, float]]] = {}
        for one in segments:
            if one.person == person:
                spans.setdefault(one.label, []).append((one.onset, one.offset))
        classes = np.where(seen, _classes(recording, track, rules), -1)
        yield Rated(person, recording.time, seen, {c.coder: c for c in own}, spans, classes, used)


def _classes(recording: Recording, track: Track, rules: Rules) -> NDArray[np.int64]:
    """(F,) class of the highest probability, smoothed as for segments; -1 where there is none."""
    values = scores(recording, track, P_EXPRESSION, "expression", rules)
    best = np.where(np.isnan(values).all(axis=1), -1, np.nan_to_num(values, nan=-1.0).argmax(axis=1))
    found = np.full(len(recording.time), -1, np.int64)
    found[track.frame] = best
    return found


def compare(person: Rated, tolerance: float, margin: float) -> Iterator[tuple[Key, Sums]]:
    """Every comparison of one person: each coder with the model, the coders with each other, and all at once.

    Args:
        tolerance: of events, in seconds.
        margin: seconds around a coder's onsets and offsets in which frames do not count.
    """
    coders = sorted(person.codings)
    for first, second in [*((coder, MODEL) for coder in coders), *itertools.combinations(coders, 2)]:
        for label in sorted(person.used[first] & person.used.get(second, person.used[first])):
            yield (first, second, label), _labels(person, first, second, label, tolerance, margin)
        if all(_codes_expressions(person, rater) for rater in (first, second)):
            yield (first, second, CLASSES), _class_sums(person, first, second)
    for raters in ([coders] if len(coders) > 2 else []) + ([[*coders, MODEL]] if len(coders) > 1 else []):
        yield from _together(person, raters)


def _codes_expressions(person: Rated, rater: str) -> bool:
    return rater == MODEL or bool(person.used[rater] & set(EXPRESSIONS))


def _labels(person: Rated, first: str, second: str, label: str, tolerance: float, margin: float) -> Sums:
    one, other = person.state(first, label), person.state(second, label)
    known = (one >= 0) & (other >= 0) & ~_near(person, first, label, margin)
    counts = confusion(one[known], other[known], 2).astype(np.float64) if known.any() else np.zeros((2, 2))
    found = match(person.spans(first, label), person.spans(second, label), tolerance)
    errors = [
        total(np.array(each)) for each in (found.onset_errors, found.offset_errors) for total in (np.sum, _absolute)
    ]
    shares = [float(v[known].mean()) for v in (one, other)] if known.any() else []
    return Sums(
        counts=counts,
        events=np.array([found.first, found.second, len(found.onset_errors), *errors], np.float64),
        coincidences=counts + counts.T,
        icc=agreement.icc_sums(np.array([shares])) if shares else None,
        moments=_moments(np.array([shares])) if shares else None,
        pairs=[(person.person, shares[0], shares[1])] if shares else [],
    )


def _absolute(values: Floats) -> float:
    return float(np.abs(values).sum())


def _near(person: Rated, coder: str, label: str, margin: float) -> NDArray[np.bool_]:
    found = np.zeros(len(person.time), bool)
    for span in person.spans(coder, label) if margin > 0 else ():
        for edge in span:
            found |= np.abs(person.time - edge) < margin
    return found


def _class_sums(person: Rated, first: str, second: str) -> Sums:
    one, other = person.expression(first), person.expression(second)
    known = (one >= 0) & (other >= 0)
    size = len(EXPRESSIONS)
    counts = confusion(one[known], other[known], size).astype(np.float64) if known.any() else np.zeros((size, size))
    return Sums(counts=counts, coincidences=counts + counts.T)


def _together(person: Rated, raters: Sequence[str]) -> Iterator[tuple[Key, Sums]]:
    """Fleiss' kappa and Krippendorff's alpha of several raters."""
    people = [rater for rater in raters if rater != MODEL]
    names = "+".join(raters)
    for label in sorted(frozenset.intersection(*(person.used[rater] for rater in people))):
        ratings = np.stack([person.state(rater, label) for rater in raters], axis=1)
        yield ("+".join(people), names, label), _of_many(ratings, 2)
    if all(_codes_expressions(person, rater) for rater in raters):
        ratings = np.stack([person.expression(rater) for rater in raters], axis=1)
        yield ("+".join(people), names, CLASSES), _of_many(ratings, len(EXPRESSIONS))


def _of_many(ratings: NDArray[np.int64], classes: int) -> Sums:
    return Sums(
        coincidences=agreement.coincidences(ratings, classes), fleiss=agreement.fleiss_sums(ratings, classes)
    )  # fmt: skip


def compare_ratings(recording: Recording, ratings: Sequence[Rating]) -> Iterator[tuple[Key, Sums]]:
    """Valence and arousal of each person, of the model and of each rater."""
    for track in recording.tracks:
        time = recording.time[track.frame[track.detected]]
        own = sorted(
            for_person(ratings, recording.name, track.person, len(recording.tracks) == 1), key=lambda r: r.coder
        )
        for measure in VALENCE_AROUSAL:
            values = {MODEL: track.values.get(measure, np.full(len(track.frame), np.nan))[track.detected]}
            values |= {one.coder: one.at(measure, time, recording.step) for one in own}
            pairs = [*((one.coder, MODEL) for one in own), *itertools.combinations([r.coder for r in own], 2)]
            for first, second in pairs:
                both = np.stack([values[first], values[second]], axis=1)
                both = both[~np.isnan(both).any(axis=1)]
                if len(both):
                    means = both.mean(axis=0)
                    pair = [(track.person, float(means[0]), float(means[1]))]
                    yield (first, second, measure), Sums(
                        icc=agreement.icc_sums(both), moments=_moments(both), pairs=pair
                    )  # fmt: skip


def _moments(both: Floats) -> Floats:
    difference = both[:, 1] - both[:, 0]
    return np.array([len(both), difference.sum(), (difference**2).sum(), both.prod(axis=1).sum()])
