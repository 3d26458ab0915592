"""When a curve counts as an episode: two thresholds, shortest duration, gaps that are closed, share that may lack."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..postprocess.recipe import Recipe, Smoothing
from ..runtime.comma_list import comma_list
from ..tasks import ACTION_UNITS, EXPRESSIONS

KINDS = ("expression", "quadrant", "action_unit", "smile", "blink", "gaze_away", "no_face")
"""What segments are found of."""

QUADRANTS = {
    "pleasant_activated": (1, 1),
    "unpleasant_activated": (-1, 1),
    "unpleasant_deactivated": (-1, -1),
    "pleasant_deactivated": (1, -1),
}
"""Quadrant of Russell's circumplex (1980) -> signs of valence and arousal."""

SMILES = ("smile", "duchenne")
"""AU12; and AU6 together with AU12 (Ekman, Davidson & Friesen 1990)."""

RELEASE = 0.8
"""Offset threshold of an action unit as a share of its onset threshold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When the evidence of a label makes a segment.

    Attributes:
        onset: evidence from which a segment begins.
        offset: evidence below which it ends; at most ``onset``.
        min_duration: seconds; shorter segments are dropped, after gaps have been closed.
        merge_gap: seconds; two segments of a label no further apart become one, whether the evidence between them is
            too low or missing.
        max_missing: largest share of a segment's time in which the evidence is missing.

    Raises:
        UsageError: the offset is above the onset, or a number is out of range.
    """

    onset: float
    offset: float
    min_duration: float = 0.5
    merge_gap: float = 0.25
    max_missing: float = 0.2

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in asdict(self).values()):
            raise UsageError("rules of segments are finite numbers.")
        if self.offset > self.onset:
            raise UsageError(
                f"a segment that begins at {self.onset:g} cannot end only below {self.offset:g}; give an offset "
                "threshold at most as high as the onset threshold."
            )
        if self.min_duration < 0 or self.merge_gap < 0 or not 0 <= self.max_missing <= 1:
            raise UsageError("minimum duration and merge gap are seconds from 0, the largest missing share is 0 to 1.")


DEFAULTS: Mapping[str, Rule] = {
    # A class of at least half the probability is the only one; it ends where it would no longer be the clear first.
    "expression": Rule(0.5, 0.4),
    # Distance of valence and of arousal from their axes, in [-1, 1]. Raters differ by more than this near the origin.
    "quadrant": Rule(0.1, 0.05),
    "action_unit": Rule(0.5, 0.5 * RELEASE),
    # Its thresholds are those of AU12 and AU06; only durations and gaps are its own.
    "smile": Rule(0.5, 0.5 * RELEASE),
    # Blinks last 0.1 to 0.4 s, so nothing of the usual minimum applies to them.
    "blink": Rule(0.5, 0.4, min_duration=0.04, merge_gap=0.05),
    # Degrees between the gaze and the camera.
    "gaze_away": Rule(20.0, 15.0),
    "no_face": Rule(1.0, 1.0, merge_gap=0.0),
}
"""Rules by kind. Half a second: shorter expressions are micro-expressions (Yan et al. 2013), which frame-wise models
cannot tell from noise; of the 13 runs of one label in sample_videos/langer_pexels.mp4, 4 last less than 0.1 s."""

SMOOTHING = Smoothing("gaussian", 0.2)
"""Filter for tables that are not smoothed yet: the one that the documentation recommends for annotate."""


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules of an analysis.

    Attributes:
        kinds: of ``KINDS``, those that are wanted.
        changes: kind or label -> attribute of ``Rule`` -> number that replaces the default; a label's count before
            those of its kind.
        thresholds: action unit -> onset threshold; for units without one, that of each table's recipe.
        smoothing: of tables that are not smoothed.
        filters: task -> a filter of its own, which counts before ``smoothing``.
        offsets: of a recipe, for tables that were made without any; see ``postprocess.offsets``.
    """

    kinds: tuple[str, ...] = KINDS
    changes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    smoothing: Smoothing = SMOOTHING
    filters: Mapping[str, Smoothing] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.changes:
            if kind_of(name) is None:
                raise UsageError(f"{name!r} is neither a kind of segment ({', '.join(KINDS)}) nor a label of one.")
            self.of(str(kind_of(name)), name, None)

    def of(self, kind: str, label: str, recipe: Recipe | None) -> Rule:
        """The rule of one label in a table made with ``recipe``.

        Raises:
            UsageError: the changes make no rule.
        """
        rule = DEFAULTS[kind]
        if kind == "action_unit" and label in ACTION_UNITS:
            onset = self.threshold(label, recipe)
            rule = replace(rule, onset=onset, offset=onset * RELEASE)
        for name in dict.fromkeys((kind, label)):
            rule = _changed(rule, self.changes.get(name, {}))
        return rule

    def threshold(self, unit: str, recipe: Recipe | None) -> float:
        """Onset threshold of an action unit: of these rules, else of the table's recipe, else of the default recipe."""
        if unit in self.thresholds:
            return self.thresholds[unit]
        return (recipe or Recipe.usual()).thresholds[unit]

    def changed(self, **given: Sequence[str]) -> Rules:
        """The rules changed by command-line values, each "0.6", "KIND=0.6" or "LABEL=0.6".

        Args:
            given: attribute of ``Rule`` -> values.

        Raises:
            UsageError: an unknown kind or label, or a value that a rule cannot have.
        """
        changes = {name: dict(values) for name, values in self.changes.items()}
        for attribute, texts in given.items():
            for text in texts:
                name, equals, value = text.rpartition("=")
                number = _number(attribute, text, value)
                if not equals and attribute in ("onset", "offset"):
                    raise UsageError(
                        f"--{attribute} {text}: say of which kind or label, as in --{attribute} expression={value}; "
                        "their units differ."
                    )
                for one in [name] if equals else KINDS:
                    changes.setdefault(one, {})[attribute] = number
        return replace(self, changes=changes)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a sidecar."""
        return {
            "kinds": list(self.kinds),
            "defaults": {kind: asdict(DEFAULTS[kind]) for kind in self.kinds},
            "changes": {name: dict(values) for name, values in self.changes.items()},
            "thresholds": dict(self.thresholds),
            "release": RELEASE,
            "smoothing": str(self.smoothing),
            "filters": {task: str(one) for task, one in self.filters.items()},
            "offsets": dict(self.offsets),
        }


def labels_of(kind: str) -> tuple[str, ...]:
    """The labels that segments of a kind may have."""
    return {
        "expression": EXPRESSIONS,
        "quadrant": tuple(QUADRANTS),
        "action_unit": ACTION_UNITS,
        "smile": SMILES,
    }.get(kind, (kind,))


def kind_of(name: str) -> str | None:
    """The kind that a label belongs to, a kind itself, or None for neither."""
    return name if name in KINDS else next((kind for kind in KINDS if name in labels_of(kind)), None)


def parse_kinds(text: str) -> tuple[str, ...]:
    """Read "expression,smile", or "all".

    Raises:
        UsageError: an unknown kind, or none.
    """
    names = KINDS if text == "all" else comma_list(text)
    if not names or set(names) - set(KINDS):
        raise UsageError(f"--kinds {text}: choose from {', '.join(KINDS)}, separated by commas, or all.")
    return names


def read_rules(path: Path) -> Rules:
    """The rules of a recipe file that calibrate wrote: its table ``segments``, and the recipe's thresholds.

    Raises:
        UsageError: it cannot be read, or its rules cannot be used.
    """
    recipe = Recipe.read(path)
    content: Any = {}
    if path.suffix.lower() == ".toml":
        content = tomllib.loads(path.read_text(encoding="utf-8")).get("segments", {})
    try:
        changes = {
            name: {key: float(value) for key, value in values.items()}
            for name, values in content.get("changes", {}).items()
        }
        filters = {task: Smoothing.parse(text) for task, text in content.get("smooth", {}).items()}
        return Rules(changes=changes, thresholds=recipe.thresholds, filters=filters, offsets=recipe.offsets)
    except (TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"--recipe {path}: its rules of segments cannot be used ({error}).") from error


def _changed(rule: Rule, numbers: Mapping[str, float]) -> Rule:
    """A rule with some numbers replaced; of two thresholds that would cross, the one that is not given follows."""
    if unknown := set(numbers) - {each.name for each in fields(Rule)}:
        raise UsageError(f"a rule of segments has no {min(unknown)!r}.")
    given = dict(numbers)
    if "onset" in given and "offset" not in given:
        given["offset"] = min(rule.offset, given["onset"])
    elif "offset" in given and "onset" not in given:
        given["onset"] = max(rule.onset, given["offset"])
    return replace(rule, **given)


def _number(attribute: str, text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError(f"--{attribute.replace('_', '-')} {text}: {value!r} is not a number.") from None
