"""What tuning found for each task: the best setting, how it does on other recordings, and whether it is taken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..postprocess.recipe import Recipe, Smoothing
from ..tasks import ACTION_UNITS
from .objectives import Floats
from .search_space import Grid
from .tuning_data import TuningData


@dataclass(frozen=True, slots=True)
class Choice:
    """The settings of one task.

    Attributes:
        smoothing: the filter.
        weight: of the first model; 0.5 if only one model has the task.
        thresholds: action unit -> probability; empty for other tasks.
        gate: of expressions, or None.
    """

    smoothing: Smoothing
    weight: float
    thresholds: Mapping[str, float]
    gate: float | None = None

    @classmethod
    def of(cls, recipe: Recipe, task: str) -> Choice:
        """The settings of a recipe for a task."""
        levels = {unit: recipe.thresholds[unit] for unit in ACTION_UNITS} if task == "action_units" else {}
        gate = recipe.gate if task == "expression" else None
        return cls(recipe.smoothing.get(task, Smoothing()), recipe.blend.get(task, 0.5), levels, gate)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        gate = {} if self.gate is None else {"gate": self.gate}
        return {"smoothing": str(self.smoothing), "weight": self.weight, "thresholds": dict(self.thresholds), **gate}


def gate_word(gate: float | None) -> str:
    """A gate as the command line takes it."""
    return "none" if gate is None else f"{gate:g}"


@dataclass(frozen=True, slots=True)
class Fold:
    """One fold of the cross-validation.

    Attributes:
        recordings: held out.
        choice: made on all others.
        score: of the choice, on the held-out recordings.
    """

    recordings: tuple[str, ...]
    choice: Choice
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"recordings": list(self.recordings), **self.choice.to_json(), "score": self.score}


@dataclass(frozen=True, slots=True, eq=False)
class TaskOutcome:
    """The result of tuning one task.

    Attributes:
        choice: made on all videos.
        surface: (filters, weights) score of each setting on all videos, with its best thresholds.
        weights: that were tried; a single one if only one model has the task.
        default: the settings of ``TuningData.default``.
        untuned: score without smoothing, with an even blend and thresholds of 0.5.
        as_default: score of ``default``. Nothing of it was chosen on these videos, so it is comparable with
            ``cross_validated``.
        tuned: score of the choice on the videos that it was made on.
        cross_validated: score of all folds' choices on their held-out frames, pooled; None without folds.
        folds: none if there is only one recording.
    """

    choice: Choice
    surface: Floats
    weights: tuple[float, ...]
    default: Choice
    untuned: float
    as_default: float
    tuned: float
    cross_validated: float | None
    folds: tuple[Fold, ...]

    @property
    def keeps_default(self) -> bool:
        """Whether the choice does worse on recordings that it was not made on, and so is not written; with one
        recording, whether it does worse even on that one, as the default need not be in the grid."""
        return (self.tuned if self.cross_validated is None else self.cross_validated) < self.as_default

    @property
    def written(self) -> Choice:
        """The settings that the recipe gets."""
        return self.default if self.keeps_default else self.choice

    def fold_choices(self) -> dict[str, Counter[str]]:
        """How often the folds chose each filter ("smoothing"), weight ("weight") and threshold (by action unit)."""
        found = {"smoothing": Counter(str(fold.choice.smoothing) for fold in self.folds)}
        if len(self.weights) > 1:
            found["weight"] = Counter(f"{fold.choice.weight:g}" for fold in self.folds)
        for unit in self.choice.thresholds:
            found[unit] = Counter(f"{fold.choice.thresholds[unit]:g}" for fold in self.folds)
        if any(choice.gate is not None for choice in (self.choice, *(fold.choice for fold in self.folds))):
            found["gate"] = Counter(gate_word(fold.choice.gate) for fold in self.folds)
        return found


@dataclass(frozen=True, slots=True, eq=False)
class TuningResult:
    """The result of tuning.

    Attributes:
        data: that it was done on.
        grid: that was searched.
        tasks: task -> outcome, in the order of the track.
        recipe: with what is written of each task; everything else is as in ``TuningData.default``.
        first_grid: that the search began with.
        one_se: whether the one-standard-error rule chose.
    """

    data: TuningData
    grid: Grid
    tasks: Mapping[str, TaskOutcome]
    recipe: Recipe
    first_grid: Grid
    one_se: bool = False

    @property
    def total(self) -> dict[str, float | None]:
        """Scores of the track by name; for mtl the sums over its tasks."""
        found = self.tasks.values()
        crossed = [one.cross_validated for one in found if one.cross_validated is not None]
        return {
            "untuned": sum(one.untuned for one in found),
            "as_default": sum(one.as_default for one in found),
            "in_sample": sum(one.tuned for one in found),
            "cross_validated": sum(crossed) if len(crossed) == len(self.tasks) else None,
        }
