"""How raw scores become results: models, blend weights, smoothing, thresholds. A recipe is data: TOML or JSON."""

from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from . import registry
from .errors import UsageError
from .networks import trained
from .tasks import ACTION_UNITS, TASKS


@dataclass(frozen=True, slots=True)
class Smoothing:
    """One smoothing filter.

    Attributes:
        kernel: "gaussian", "box" or "none".
        width: standard deviation of the Gaussian, or full width of the box, in ``unit``.
        unit: "seconds" or "frames".
    """

    kernel: str = "none"
    width: float = 0.0
    unit: str = "seconds"

    @classmethod
    def parse(cls, text: str) -> Smoothing:
        """Read "none", "gaussian:0.2" (seconds), "gaussian:5f" (frames), "box:1.5" or "box:11f".

        Raises:
            UsageError: anything else, and a box of an even number of frames, which would have no middle.
        """
        if text == "none":
            return cls()
        match = re.fullmatch(r"(gaussian|box):([0-9]*\.?[0-9]+)(s|f)?", text)
        if not match:
            raise UsageError(
                f"--smooth {text}: choose none, gaussian:WIDTH or box:WIDTH, WIDTH in seconds (0.2) or frames (5f)."
            )
        width, unit = float(match[2]), "frames" if match[3] == "f" else "seconds"
        if not 0 < width < math.inf:
            raise UsageError(f"--smooth {text}: the width must be above 0; use none for no smoothing.")
        if match[1] == "box" and unit == "frames" and width % 2 != 1:
            raise UsageError(f"--smooth {text}: a box needs an odd number of frames, such as box:{int(width) | 1}f.")
        return cls(match[1], width, unit)

    def __str__(self) -> str:
        return (
            self.kernel
            if self.kernel == "none"
            else f"{self.kernel}:{self.width:g}{'f' if self.unit == 'frames' else ''}"
        )


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything between raw scores and a table.

    Attributes:
        models: one or two names of the registry.
        blend: task -> weight of the first model in [0, 1]; the second has the rest. Used where both have the task.
        smoothing: task -> its filter; a task that is not named is not smoothed.
        max_gap: seconds without a sighting, beyond the usual frame distance, across which nothing is smoothed.
        interpolate: longest such gap in seconds that is bridged by interpolated rows; 0 bridges none.
        thresholds: action unit -> probability from which it counts as present.
    """

    models: tuple[str, ...]
    blend: Mapping[str, float] = field(default_factory=dict)
    smoothing: Mapping[str, Smoothing] = field(default_factory=dict)
    max_gap: float = 0.5
    interpolate: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= len(self.models) <= 2 or len(set(self.models)) != len(self.models):
            raise UsageError(f"--model {','.join(self.models)}: give one model, or two different ones to blend.")
        for task, weight in self.blend.items():
            if task not in TASKS or not 0 <= weight <= 1:
                raise UsageError(
                    f"blend weight {weight} for {task}: give a number from 0 to 1 for one of {', '.join(TASKS)}."
                )
        for unit, threshold in self.thresholds.items():
            if unit not in ACTION_UNITS or not 0 <= threshold <= 1:
                raise UsageError(f"threshold {unit}={threshold}: give 0 to 1 for one of {', '.join(ACTION_UNITS)}.")
        for option, seconds in (("--max-gap", self.max_gap), ("--interpolate", self.interpolate)):
            if not 0 <= seconds < math.inf:
                raise UsageError(f"{option} {seconds:g}: give seconds from 0.")

    @classmethod
    def of(cls, *models: str) -> Recipe:
        """The recipe of models as their cards say: equal shares, no smoothing, their own thresholds.

        Raises:
            UsageError: an unknown model, or not one or two of them.
        """
        thresholds = dict.fromkeys(ACTION_UNITS, 0.5)
        # The first model that knows the action units decides about their presence.
        for name in reversed(models):
            thresholds |= registry.card(name).au_thresholds
        return cls(models, _shares(models), thresholds=thresholds)

    @classmethod
    def usual(cls) -> Recipe:
        """What is used when nothing is asked for, as scripts/measure_models.py chose it."""
        return cls.read(registry.ASSETS / "default_recipe.json")

    def changed(
        self,
        *,
        blend: str | None = None,
        smooth: str | None = None,
        max_gap: float | None = None,
        interpolate: float | None = None,
        thresholds: Sequence[str] = (),
    ) -> Recipe:
        """The recipe with what the words of the command line ask for; None leaves a part as it is.

        Raises:
            UsageError: a word that makes no sense.
        """
        filters = _per_task("--smooth", smooth, Smoothing.parse) if smooth is not None else {}
        weights = _per_task("--blend", blend, lambda text: _number("--blend", text)) if blend is not None else {}
        if weights and len(self.models) < 2:
            raise UsageError(f"--blend {blend}: there is only one model, {self.models[0]}; name two with --model.")
        smoothing = {task: f for task, f in {**self.smoothing, **filters}.items() if f.kernel != "none"}
        return replace(
            self,
            blend={**self.blend, **weights},
            smoothing=smoothing,
            max_gap=self.max_gap if max_gap is None else max_gap,
            interpolate=self.interpolate if interpolate is None else interpolate,
            thresholds={**self.thresholds, **dict(map(_threshold, thresholds))},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for a sidecar or a recipe file."""
        return {
            **asdict(self),
            "models": list(self.models),
            "smoothing": {t: str(s) for t, s in self.smoothing.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """The inverse of ``to_json``; what is not there is as ``of`` makes it.

        Models that are not known here (any more) are no fault where nothing of their cards is needed, because all
        thresholds are there: a table can be made anew from its raw scores without the model that gave them.

        Raises:
            UsageError: there are no models, a key is unknown, or a value makes no sense.
        """
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(
                f"a recipe has no {min(unknown)!r}: its keys are {', '.join(f.name for f in fields(cls))}."
            )
        try:
            models, thresholds = _names(data["models"]), data.get("thresholds", {})
            usual = cls(models, _shares(models)) if set(thresholds) >= set(ACTION_UNITS) else cls.of(*models)
            return cls(
                models=models,
                blend={**usual.blend, **{task: float(weight) for task, weight in data.get("blend", {}).items()}},
                smoothing={task: Smoothing.parse(text) for task, text in data.get("smoothing", {}).items()},
                max_gap=float(data.get("max_gap", usual.max_gap)),
                interpolate=float(data.get("interpolate", usual.interpolate)),
                thresholds={**usual.thresholds, **thresholds},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"the recipe cannot be used ({type(error).__name__}: {error}).") from error

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A recipe from a TOML or JSON file; the sidecar of a table serves as well.

        Raises:
            UsageError: it cannot be read, or is no recipe; the message names the file.
        """
        try:
            text = path.read_text(encoding="utf-8")
            data = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
            if not isinstance(data, dict):
                raise ValueError("it is not a table of keys and values")
            return cls.from_json(data.get("recipe", data))
        except OSError as error:
            raise UsageError(f"--recipe {path}: cannot be read ({error.strerror}).") from error
        except (UsageError, ValueError, RecursionError) as error:
            raise UsageError(f"--recipe {path}: {error}") from error


def parse_models(text: str) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Read ``--model``: names, each perhaps with a weight file of the user's, separated by commas.

    A part is NAME, NAME=FILE, or FILE where the file is called like a model, or is a trained one: that says itself
    what it is, and is known by its own name from then on.

    Returns:
        the names, and name -> file for those that have one.

    Raises:
        UsageError: a name or file that belongs to no model.
        ModelUnavailable: a trained file that cannot be used.
    """
    chosen = [_chosen(part.strip()) for part in text.split(",")]
    return tuple(name for name, _ in chosen), {name: file for name, file in chosen if file is not None}


def _chosen(part: str) -> tuple[str, Path | None]:
    """One model of ``--model``, and the weight file that it shall have instead of its own."""
    name, equals, given = part.partition("=")
    if not equals:
        if os.sep not in part and not Path(part).suffix:
            return registry.card(part).name, None
        name, given = Path(part).stem, part
    file = Path(given)
    if trained.describes_itself(file) or (not equals and file.suffix == trained.SUFFIX and name not in registry.MODELS):
        own = registry.add(file).name
        if equals and own != name:
            raise UsageError(f"--model {part}: {file} is {own}, whatever it is called; give --model {file}.")
        return own, None
    if not equals and name not in registry.known():
        raise UsageError(f"--model {part}: say whose weights these are, as NAME={part}.")
    return registry.card(name).name, file if given else None


def _shares(models: Sequence[str]) -> dict[str, float]:
    """Equal shares of two models; nothing for one."""
    return dict.fromkeys(TASKS, 0.5) if len(models) == 2 else {}


def _names(models: Any) -> tuple[str, ...]:
    """The names of models, from plain data."""
    if not (isinstance(models, list | tuple) and all(isinstance(name, str) for name in models)):
        raise ValueError(f"models is {models!r} and no list of names")
    return tuple(models)


T = TypeVar("T")


def _per_task(option: str, text: str, parse: Callable[[str], T]) -> dict[str, T]:
    """One value for all tasks ("0.6"), or some of them each with their own ("expression=0.5,action_units=1")."""
    if "=" not in text:
        return dict.fromkeys(TASKS, parse(text))
    pairs = [part.partition("=") for part in text.split(",")]
    for task, _, _ in pairs:
        if task not in TASKS:
            raise UsageError(f"{option} {text}: {task!r} is no task; choose from {', '.join(TASKS)}.")
    return {task: parse(value) for task, _, value in pairs}


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option} {text}: that is not a number.") from None


def _threshold(text: str) -> tuple[str, float]:
    unit, separator, number = text.partition("=")
    if not separator:
        raise UsageError(f"--threshold {text}: write it as AU12=0.4.")
    return unit, _number("--threshold", number)
