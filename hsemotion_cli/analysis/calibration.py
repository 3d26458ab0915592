"""A small coded sample -> thresholds, class priors, smoothing and rules of segments that fit it.

Three parts are fitted one after the other, each by its own score, on frames in which the face was detected:

- ``expression``: smoothing, and then the exponent of the class-prior correction; Cohen's kappa of frames.
- ``action_units``: smoothing, and a threshold for each unit; mean kappa of frames.
- ``segments``: minimum duration and merge gap; F1 of events.

docs/calibrate.md has the definitions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..evaluation.agreement import cohen_kappa
from ..evaluation.metrics import confusion, ratio
from ..postprocess.offsets import shifted
from ..postprocess.recipe import Smoothing
from ..tasks import ACTION_UNITS, EXPRESSIONS
from .coding import Coding
from .event_match import match
from .evidence import Evidence, evidence, smoothed
from .recordings import P_EXPRESSION, P_UNIT, Floats, Recording, Track
from .rules import SMOOTHING, Rules, kind_of
from .segments import curve_segments

FILTERS = tuple(
    Smoothing.parse(text) for text in ("none", "gaussian:0.1", "gaussian:0.2", "gaussian:0.4", "gaussian:0.8")
)
EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
THRESHOLDS = np.round(np.arange(0.02, 0.99, 0.02), 2)
DURATIONS = (0.1, 0.25, 0.5, 1.0)
GAPS = (0.1, 0.25, 0.5, 1.0)
"""Candidates; of equals the first counts, but the default before all others."""

PARTS = ("expression", "action_units", "segments")
TOLERANCE = 0.5
"""Of events, in seconds, as in ``agree``."""

UNITS_OF = {"smile": ("AU12",), "duchenne": ()}
"""Action units that a coding of another label is used for."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is fitted; the defaults are those of the program.

    Attributes:
        expression, units: filters of the two tasks.
        offsets: class -> offset, see ``postprocess.offsets``.
        exponent: of the class-prior correction that the offsets come from.
        thresholds: action unit -> threshold; for units that were not coded, that of the table's recipe.
        min_duration, merge_gap: of segments; None for the defaults of each kind.
    """

    expression: Smoothing = SMOOTHING
    units: Smoothing = SMOOTHING
    offsets: Mapping[str, float] = field(default_factory=dict)
    exponent: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    min_duration: float | None = None
    merge_gap: float | None = None

    def rules(self, kinds: Sequence[str]) -> Rules:
        """Rules of segments with these values."""
        changes = {
            kind: {name: value for name, value in (("min_duration", self.min_duration), ("merge_gap", self.merge_gap))
                   if value is not None}
            for kind in kinds if kind != "blink"
        }  # fmt: skip
        filters = {"expression": self.expression, "action_units": self.units}
        changes = {kind: numbers for kind, numbers in changes.items() if numbers}
        return Rules(tuple(kinds), changes, self.thresholds, filters=filters, offsets=self.offsets)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One coder's coding of one person in one recording.

    Attributes:
        group: person, or recording, that stays together in cross-validation.
        recording, track: the table; it must not be smoothed.
        coding: what the coder says.
    """

    group: str
    recording: Recording
    track: Track
    coding: Coding

    @property
    def time(self) -> Floats:
        """(n,) seconds of the track's rows."""
        return self.recording.time[self.track.frame]

    def classes(self) -> NDArray[np.int64]:
        """(n,) coded expression, -1 for none or a face that was not detected."""
        return np.where(self.track.detected, self.coding.classes(self.time), -1)

    def unit(self, unit: str) -> NDArray[np.int64]:
        """(n,) whether an action unit is coded; -1 where that is not known."""
        label = unit if unit in self.coding.events or unit != "AU12" else "smile"
        return np.where(self.track.detected, self.coding.state(label, self.time), -1)

    def expression(self, filter_: Smoothing, offsets: Mapping[str, float]) -> NDArray[np.int64]:
        """(n,) the model's expression."""
        values = shifted(self.track.matrix(P_EXPRESSION), "expression", offsets)
        values = smoothed(self.recording, self.track, values, "expression", filter_)
        known = ~np.isnan(values).all(axis=1)
        return np.where(known, np.nan_to_num(values, nan=-1.0).argmax(axis=1), -1)

    def probability(self, unit: str, filter_: Smoothing) -> Floats:
        """(n,) the model's probability of an action unit."""
        values = self.track.matrix((P_UNIT[ACTION_UNITS.index(unit)],))
        return smoothed(self.recording, self.track, values, "action_units", filter_)[:, 0]


@dataclass(frozen=True, slots=True)
class Coded:
    """What the coders of a sample used.

    Attributes:
        units: action units.
        labels: of segments.
        expressions: whether two or more expressions were coded.
    """

    units: tuple[str, ...]
    labels: tuple[str, ...]
    expressions: bool

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Coded:
        """Collect the labels of all codings."""
        labels = sorted({label for sample in samples for label in sample.coding.events})
        units = {unit for label in labels for unit in UNITS_OF.get(label, (label,)) if unit in ACTION_UNITS}
        return cls(tuple(sorted(units)), tuple(labels), len(set(labels) & set(EXPRESSIONS)) > 1)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the labels."""
        return tuple(dict.fromkeys(str(kind_of(label)) for label in self.labels))


def fit(samples: Sequence[Sample], coded: Coded, parts: Collection[str] = PARTS) -> Choice:
    """The best choice for some samples, part by part.

    Args:
        parts: those that are fitted; the others keep their defaults.
    """
    choice = Choice()
    if coded.expressions and "expression" in parts:
        for candidates in (_expression_filters, _exponents):
            found = candidates(samples, choice)
            choice = max(found, key=lambda one: score("expression", class_counts(samples, one)))
    if coded.units and "action_units" in parts:
        found = _unit_filters(samples, coded, choice)
        choice = max(found, key=lambda one: score("action_units", unit_counts(samples, coded, one)))
    return _segment_rules(samples, coded, choice) if "segments" in parts else choice


def _expression_filters(samples: Sequence[Sample], choice: Choice) -> Iterator[Choice]:
    """The default first, since ``max`` keeps the first of equals."""
    yield choice
    yield from (replace(choice, expression=one) for one in FILTERS)


def _exponents(samples: Sequence[Sample], choice: Choice) -> Iterator[Choice]:
    for exponent in EXPONENTS:
        yield replace(choice, exponent=exponent, offsets=prior_offsets(samples, exponent))


def prior_offsets(samples: Sequence[Sample], exponent: float) -> dict[str, float]:
    """Offsets of the class-prior correction: exponent x log(share of coded frames / mean probability), mean 0.

    Both shares are over the coded frames, with one frame added to each class that the model knows.
    """
    if not exponent:
        return {}
    truth, values = [], []
    for sample in samples:
        classes = sample.classes()
        truth.append(classes[classes >= 0])
        values.append(sample.track.matrix(P_EXPRESSION)[classes >= 0])
    labels, p = np.concatenate(truth), np.concatenate(values)
    known = np.asarray(~np.isnan(p).all(axis=0))
    if not len(labels) or not known.any():
        return {}
    coded = np.bincount(labels, minlength=len(EXPRESSIONS)).astype(np.float64)[known] + 1
    found = np.nansum(p[:, known], axis=0) + 1
    offset = exponent * np.log((coded / coded.sum()) / (found / found.sum()))
    offset -= offset.mean()
    names = [name for name, there in zip(EXPRESSIONS, known, strict=True) if there]
    return {name: round(float(value), 4) for name, value in zip(names, offset, strict=True)}


def _unit_filters(samples: Sequence[Sample], coded: Coded, choice: Choice) -> Iterator[Choice]:
    yield choice
    for filter_ in FILTERS:
        thresholds = {unit: _threshold(samples, unit, filter_) for unit in coded.units}
        yield replace(choice, units=filter_, thresholds={u: t for u, t in thresholds.items() if t is not None})


def _threshold(samples: Sequence[Sample], unit: str, filter_: Smoothing) -> float | None:
    """The candidate with the highest kappa of frames; None if the unit never occurs, or always."""
    truth = np.concatenate([sample.unit(unit) for sample in samples])
    p = np.concatenate([sample.probability(unit, filter_) for sample in samples])
    known = (truth >= 0) & ~np.isnan(p)
    present, p = truth[known] == 1, p[known]
    if present.all() or not present.any():
        return None
    counts = np.stack([_two_by_two(present, p >= threshold) for threshold in THRESHOLDS])
    return float(THRESHOLDS[np.nan_to_num(cohen_kappa(counts), nan=-1.0).argmax()])


def _two_by_two(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> Floats:
    hits, coded, predicted = (truth & found).sum(), truth.sum(), found.sum()
    return np.array([[len(truth) - coded - predicted + hits, predicted - hits], [coded - hits, hits]], np.float64)


def _segment_rules(samples: Sequence[Sample], coded: Coded, choice: Choice) -> Choice:
    """The choice with the minimum duration and merge gap of the highest score; the default where none is better."""
    best, highest = choice, score("segments", event_counts(samples, coded, choice))
    for gap in GAPS:
        candidates = [replace(choice, min_duration=duration, merge_gap=gap) for duration in DURATIONS]
        curves = [list(_curves(sample, coded, candidates[0])) for sample in samples]
        for one in candidates:
            total = np.zeros((len(coded.labels), 3))
            for sample, own in zip(samples, curves, strict=True):
                total += _matches(sample, coded, own, one.min_duration)
            if score("segments", total) > highest:
                best, highest = one, score("segments", total)
    return best


def class_counts(samples: Sequence[Sample], choice: Choice) -> Floats:
    """(classes, classes) frames by coded and by predicted expression."""
    size = len(EXPRESSIONS)
    total = np.zeros((size, size))
    for sample in samples:
        truth, found = sample.classes(), sample.expression(choice.expression, choice.offsets)
        known = (truth >= 0) & (found >= 0)
        if known.any():
            total += confusion(truth[known], found[known], size)
    return total


def unit_counts(samples: Sequence[Sample], coded: Coded, choice: Choice) -> Floats:
    """(units, 2, 2) frames by whether each unit is coded, and whether it is predicted."""
    total = np.zeros((len(coded.units), 2, 2))
    rules = choice.rules(())
    for sample in samples:
        for k, unit in enumerate(coded.units):
            truth, p = sample.unit(unit), sample.probability(unit, choice.units)
            known = (truth >= 0) & ~np.isnan(p)
            threshold = rules.threshold(unit, sample.recording.recipe)
            total[k] += _two_by_two(truth[known] == 1, p[known] >= threshold)
    return total


def event_counts(samples: Sequence[Sample], coded: Coded, choice: Choice) -> Floats:
    """(labels, 3) matches, coded and found events of each coded label."""
    return np.sum([_matches(one, coded, _curves(one, coded, choice)) for one in samples], axis=0)


def _curves(sample: Sample, coded: Coded, choice: Choice) -> Iterator[Evidence]:
    one_person = replace(sample.recording, tracks=[sample.track])
    yield from (curve for curve in evidence(one_person, choice.rules(coded.kinds)) if curve.label in coded.labels)


def _matches(sample: Sample, coded: Coded, curves: Iterable[Evidence], min_duration: float | None = None) -> Floats:
    total = np.zeros((len(coded.labels), 3))
    for curve in curves:
        if min_duration is not None and curve.kind != "blink":
            curve = replace(curve, rule=replace(curve.rule, min_duration=min_duration))
        found = [(one.onset, one.offset) for one in curve_segments(sample.recording, curve)]
        matches = match(sample.coding.events.get(curve.label, ()), found, TOLERANCE)
        total[coded.labels.index(curve.label)] += len(matches.onset_errors), matches.first, matches.second
    return total


def counts(samples: Sequence[Sample], coded: Coded, choice: Choice) -> dict[str, Floats]:
    """Part -> counts from which its score follows; they add up over samples."""
    found: dict[str, Floats] = {}
    if coded.expressions:
        found["expression"] = class_counts(samples, choice)
    if coded.units:
        found["action_units"] = unit_counts(samples, coded, choice)
    return {**found, "segments": event_counts(samples, coded, choice)}


def score(part: str, total: Floats) -> float:
    """Of a part, from its counts; 0 where nothing is defined.

    Expression: Cohen's kappa. Action units: mean kappa of the units. Segments: mean F1 of events of the labels that
    occur on either side.
    """
    if part == "segments":
        size = total[:, 1] + total[:, 2]
        return float(ratio(2 * total[:, 0], size)[size > 0].mean()) if (size > 0).any() else 0.0
    kappa = cohen_kappa(total[None] if part == "expression" else total)
    return float(kappa[~np.isnan(kappa)].mean()) if (~np.isnan(kappa)).any() else 0.0
