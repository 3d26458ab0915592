"""How raw scores become results: models, blend weights, smoothing, thresholds. A recipe is data: TOML or JSON."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UsageError, shortened
from ..models import model_file, registry
from ..models.cards import ENCODERS
from ..tasks import ACTION_UNITS, TASKS
from . import offsets
from .gate import check_gate

_NUMBER = r"[0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?"
_FILTER = re.compile(rf"(gaussian|box|causal):({_NUMBER})([sfn]?)(?:/({_NUMBER})([sfn]?))?")
_PUBLISHED = re.compile(rf"abaw:({_NUMBER}|box)/([0-9]{{1,15}})")
_UNITS = {"": "seconds", "s": "seconds", "f": "frames", "n": "neighbours"}
_LETTERS = {"seconds": "", "frames": "f", "neighbours": "n"}


def from_sigma(sigma: float) -> float:
    """The standard deviation in frames of HSEmotion's weights exp(-d^2 / sigma), d in frames: sqrt(sigma / 2)."""
    return math.sqrt(sigma / 2)


def to_sigma(deviation: float) -> float:
    """The sigma of HSEmotion's weights exp(-d^2 / sigma) for a standard deviation in frames: 2 deviation^2."""
    return 2 * deviation * deviation


VISUAL_SHARE = 0.7
"""Weight of the visual model when blended with audio: for expressions that of HSEmotion at ABAW-6; for valence, arousal
and action units no paper names one, and the same is our choice."""


@dataclass(frozen=True, slots=True)
class Smoothing:
    """One smoothing filter.

    Attributes:
        kernel: "gaussian", "box", "causal" or "none". "causal" is the half of a Gaussian that lies in the past, so that
            no value depends on a later frame.
        width: standard deviation of the Gaussian, or full width of the box, in ``unit``.
        unit: "seconds", "frames" by frame number, or "neighbours", which counts rows of the same face.
        reach: half-width of the window, in ``reach_unit``; 0 for that of the kernel: 4 standard deviations of the
            Gaussian, half the width of the box.
        reach_unit: the same as ``unit``, or "neighbours"; "seconds" without a reach.

    Raises:
        UsageError: an unknown kernel or unit, a width that is not above 0, a box of an even number of frames or rows,
            or a reach that is not above 0, not whole in frames or rows, or in a unit that does not match the width.
    """

    kernel: str = "none"
    width: float = 0.0
    unit: str = "seconds"
    reach: float = 0.0
    reach_unit: str = "seconds"

    def __post_init__(self) -> None:
        if self.kernel == "none":
            return
        if self.kernel not in ("gaussian", "box", "causal") or not {self.unit, self.reach_unit} <= _LETTERS.keys():
            raise UsageError(f"smoothing {self.kernel} in {self.unit} and {self.reach_unit}: no such filter.")
        if not 0 < self.width < math.inf:
            raise UsageError(f"--smooth {self}: the width must be above 0; use none for no smoothing.")
        if self.kernel == "box" and self.unit != "seconds" and self.width % 2 != 1:
            odd = f"box:{int(self.width) | 1}{_LETTERS[self.unit]}"
            raise UsageError(f"--smooth {self}: a box needs an odd number of {self.unit}, such as {odd}.")
        if not 0 <= self.reach < math.inf or (self.reach_unit != "seconds" and (self.reach % 1 or not self.reach)):
            raise UsageError(f"--smooth {self}: the reach must be above 0, and a whole number of frames or rows.")
        if self.reach and self.reach_unit not in (self.unit, "neighbours"):
            raise UsageError(
                f"--smooth {self}: the reach must be in {self.unit} like the width, or in neighbours, as in 50n."
            )

    @property
    def causal(self) -> bool:
        """Whether its values depend on the rows so far only."""
        return self.kernel in ("none", "causal")

    @classmethod
    def parse(cls, text: str) -> Smoothing:
        """Parse a filter as written on the command line and in recipes.

        "none"; "gaussian:WIDTH", "box:WIDTH" or "causal:WIDTH", optionally with "/REACH"; both are numbers of seconds
        (0.2 or 0.2s), frames (5f) or neighbours (5n). Or the notation of HSEmotion's papers: "abaw:SIGMA/DELTA",
        weights exp(-d^2 / SIGMA) with d in frames over DELTA rows to each side, and "abaw:box/DELTA", the mean over
        DELTA rows to each side. All are normalised; all but "causal" are symmetric.

        Raises:
            UsageError: anything else, or a filter that the class does not allow.
        """
        if text == "none":
            return cls()
        if match := _PUBLISHED.fullmatch(text):
            delta = int(match[2])
            if match[1] == "box":
                return cls("box", 2.0 * delta + 1, "neighbours")
            if not delta:
                raise UsageError(f"--smooth {text}: DELTA must be at least 1; use none for no smoothing.")
            return cls("gaussian", from_sigma(float(match[1])), "frames", float(delta), "neighbours")
        match = _FILTER.fullmatch(text)
        if not match:
            raise UsageError(
                f"--smooth {text}: choose none, gaussian:WIDTH, box:WIDTH or causal:WIDTH, WIDTH in seconds (0.2), "
                "frames (5f) or neighbours (5n), or one of these with a reach (gaussian:5f/50n), or abaw:SIGMA/DELTA."
            )
        width, unit = float(match[2]), _UNITS[match[3]]
        if match[4] is None:
            return cls(match[1], width, unit)
        if not float(match[4]):
            raise UsageError(f"--smooth {text}: the reach must be above 0; leave it out to use the whole kernel.")
        return cls(match[1], width, unit, float(match[4]), _UNITS[match[5]])

    def __str__(self) -> str:
        """The text that ``parse`` reads as this filter; in the papers' notation if that number is shorter."""
        if self.kernel == "none":
            return "none"
        width = _shortest(self.width)
        if (self.kernel, self.unit, self.reach_unit) == ("gaussian", "frames", "neighbours") and self.reach < 1e15:
            sigma = float(f"{to_sigma(self.width):.12g}")
            if from_sigma(sigma) == self.width and len(_shortest(sigma)) < len(width):
                return f"abaw:{_shortest(sigma)}/{self.reach:.0f}"
        reach = f"/{_shortest(self.reach)}{_LETTERS[self.reach_unit]}" if self.reach else ""
        return f"{self.kernel}:{width}{_LETTERS[self.unit]}{reach}"

    def in_seconds(self, rate: float) -> Smoothing:
        """The same filter in seconds, for a face that is visible in all of ``rate`` frames per second.

        A neighbour is then a frame. A reach is extended by half a frame, so that rounded time stamps have no effect.

        Args:
            rate: frames per second, above 0.
        """
        if self.kernel == "none" or self.unit == "seconds":
            return self
        reach = (self.reach + 0.5) / rate if self.reach else 0.0
        return Smoothing(self.kernel, self.width / rate, "seconds", reach)

    def in_frames(self, rate: float) -> Smoothing:
        """The same filter in frames, the inverse of ``in_seconds``.

        A box covers as many frames as it does in seconds, an odd number. A filter that reaches no other frame becomes
        none.

        Args:
            rate: frames per second, above 0.
        """
        if self.kernel == "none" or self.unit != "seconds":
            return self
        unit = self.reach_unit if self.reach_unit == "neighbours" else "frames"
        reach = float(math.floor(self.reach * rate + 1e-6)) if unit == "frames" else self.reach
        if self.reach and not reach:
            return Smoothing()
        width = 2.0 * math.floor(self.width * rate / 2 + 1e-6) + 1 if self.kernel == "box" else self.width * rate
        return Smoothing(self.kernel, width, "frames", reach, unit if reach else "seconds")


def _shortest(number: float) -> str:
    """The shortest text that represents exactly this number."""
    return repr(float(number)).removesuffix(".0")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything between raw scores and a table.

    Attributes:
        models: one or two names of the registry.
        blend: task -> weight of the first model in [0, 1]; the second has the rest. Used if both predict the task.
        smoothing: task -> its filter; other tasks are not smoothed.
        max_gap: longest gap between detections of a face, beyond the usual frame distance, that smoothing crosses, in
            seconds.
        interpolate: longest such gap that is filled with interpolated rows, in seconds; 0 fills none.
        thresholds: action unit -> probability from which it counts as present.
        offsets: expression, "valence" or "arousal" -> what is added to the logarithm of its probability, or to its
            value, before smoothing; see ``offsets.shifted``.
        gate: probability above which the expression of the frozen network counts instead of its head's, or None; see
            ``gate.gated``.
        tuned_on: what ``tune`` chose it on: "track", "truth" (SHA-256 of the labels) and "recordings"
            (``recording_key`` of each); {} for a recipe that was not tuned.
    """

    models: tuple[str, ...]
    blend: Mapping[str, float] = field(default_factory=dict)
    smoothing: Mapping[str, Smoothing] = field(default_factory=dict)
    max_gap: float = 0.5
    interpolate: float = 0.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    offsets: Mapping[str, float] = field(default_factory=dict)
    gate: float | None = None
    tuned_on: Mapping[str, Any] = field(default_factory=dict)

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
        for name, offset in self.offsets.items():
            if name not in offsets.NAMES or not math.isfinite(offset):
                raise UsageError(f"offset {offset} of {name}: give a number for one of {', '.join(offsets.NAMES)}.")
        check_gate(self.gate)
        for option, seconds in (("--max-gap", self.max_gap), ("--interpolate", self.interpolate)):
            if not 0 <= seconds < math.inf:
                raise UsageError(f"{option} {seconds:g}: give seconds from 0.")

    @classmethod
    def of(cls, *models: str) -> Recipe:
        """The default recipe of some models: equal weights, no smoothing, the thresholds of their cards.

        Raises:
            UsageError: an unknown model, or not one or two of them.
        """
        thresholds = dict.fromkeys(ACTION_UNITS, 0.5)
        # The thresholds of the first model that predicts action units take precedence.
        for name in reversed(models):
            thresholds |= registry.card(name).au_thresholds
        return cls(models, _equal_blend(models), thresholds=thresholds)

    @classmethod
    def usual(cls) -> Recipe:
        """The default recipe of the program, chosen by scripts/measure_models.py."""
        return cls.read(registry.ASSETS / "default_recipe.json")

    def in_order(self, models: Sequence[str]) -> Recipe:
        """The same recipe with its models, and so the weights of its blend, in another order.

        Raises:
            ValueError: they are not its models.
        """
        if sorted(models) != sorted(self.models):
            raise ValueError(f"{models} are not {self.models} in another order")
        turned = tuple(models) != self.models
        blend = {task: 1 - weight if turned else weight for task, weight in self.blend.items()}
        return replace(self, models=tuple(models), blend=blend)

    def changed(
        self,
        *,
        blend: str | None = None,
        smooth: str | None = None,
        max_gap: float | None = None,
        interpolate: float | None = None,
        thresholds: Sequence[str] = (),
        gate: str | None = None,
    ) -> Recipe:
        """The recipe changed by command-line values; None leaves a part unchanged, and "none" takes a gate away.

        Raises:
            UsageError: an invalid value.
        """
        filters = _per_task("--smooth", smooth, Smoothing.parse) if smooth is not None else {}
        weights = _per_task("--blend", blend, lambda text: _number("--blend", text)) if blend is not None else {}
        if weights and len(self.models) < 2:
            raise UsageError(f"--blend {blend}: there is only one model, {self.models[0]}; give two with --model.")
        smoothing = {task: f for task, f in {**self.smoothing, **filters}.items() if f.kernel != "none"}
        return replace(
            self,
            blend={**self.blend, **weights},
            smoothing=smoothing,
            max_gap=self.max_gap if max_gap is None else max_gap,
            interpolate=self.interpolate if interpolate is None else interpolate,
            thresholds={**self.thresholds, **dict(map(_threshold, thresholds))},
            gate=self.gate if gate is None else None if gate == "none" else _number("--gate", gate),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data for a sidecar or a recipe file."""
        data = {
            **asdict(self),
            "models": list(self.models),
            "smoothing": {t: str(s) for t, s in self.smoothing.items()},
        }
        if self.gate is None:
            del data["gate"]
        for key in ("offsets", "tuned_on"):
            if not data[key]:
                del data[key]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Recipe:
        """The inverse of ``to_json``; missing values are those of ``of``.

        Unknown models are accepted if all thresholds are given, so that their cards are not needed: a table can be made
        again from its raw scores without the model.

        Raises:
            UsageError: there are no models, a key is unknown, or a value is invalid.
        """
        if not isinstance(data, Mapping):
            raise UsageError("the recipe is not a table of keys and values.")
        unknown = set(data) - {field.name for field in fields(cls)}
        if unknown:
            raise UsageError(
                f"a recipe has no {min(unknown)!r}: its keys are {', '.join(f.name for f in fields(cls))}."
            )
        try:
            models, thresholds = _names(data["models"]), data.get("thresholds", {})
            usual = cls(models, _equal_blend(models)) if set(thresholds) >= set(ACTION_UNITS) else cls.of(*models)
            return cls(
                models=models,
                blend={**usual.blend, **{task: float(weight) for task, weight in data.get("blend", {}).items()}},
                smoothing={task: Smoothing.parse(text) for task, text in data.get("smoothing", {}).items()},
                max_gap=float(data.get("max_gap", usual.max_gap)),
                interpolate=float(data.get("interpolate", usual.interpolate)),
                thresholds={**usual.thresholds, **thresholds},
                offsets={name: float(offset) for name, offset in data.get("offsets", {}).items()},
                gate=None if data.get("gate") is None else float(data["gate"]),
                tuned_on=_tuned_on(data.get("tuned_on", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"the recipe cannot be used ({type(error).__name__}: {error}).") from error

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Read a recipe from a TOML or JSON file, or from the sidecar of a table.

        Raises:
            UsageError: it cannot be read or is not a recipe; the message names the file.
        """
        try:
            text = path.read_text(encoding="utf-8")
            data = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
            if not isinstance(data, dict):
                raise ValueError("it is not a table of keys and values")
            return cls.from_json(data.get("recipe", data))
        except OSError as error:
            raise UsageError(f"--recipe {path}: cannot be read ({error.strerror}).") from error
        except UsageError as error:
            raise UsageError(f"--recipe {path}: {shortened(str(error))}") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"--recipe {path}: not a recipe in TOML or JSON ({error}).") from error


def parse_models(text: str) -> tuple[tuple[str, ...], dict[str, Path]]:
    """Parse ``--model``: comma-separated names, each optionally with the user's own weight file.

    A part is NAME, NAME=FILE, or FILE if the file is named like a model or is a trained file, which contains its own
    name and is registered under it.

    Returns:
        the names, and name -> file for those that have one.

    Raises:
        UsageError: a name or file of no known model.
        ModelUnavailable: a trained file that cannot be used.
    """
    chosen = [_parse_model(part.strip()) for part in text.split(",")]
    return tuple(name for name, _ in chosen), {name: file for name, file in chosen if file is not None}


def _parse_model(part: str) -> tuple[str, Path | None]:
    """One model of ``--model``, and the weight file to use instead of its own."""
    name, equals, given = part.partition("=")
    if name.startswith(ENCODERS):
        return registry.card(name).name, Path(given) if given else None
    if not equals:
        if os.sep not in part and not Path(part).suffix:
            return registry.card(part).name, None
        name, given = Path(part).stem, part
    file = Path(given)
    if model_file.describes_itself(file) or (
        not equals and file.suffix == model_file.SUFFIX and name not in registry.MODELS
    ):
        own = registry.add(file).name
        if equals and own != name:
            raise UsageError(f"--model {part}: {file} contains the model {own}; give --model {file}.")
        return own, None
    if not equals and name not in registry.known():
        raise UsageError(f"--model {part}: give the model that these weights belong to, as NAME={part}.")
    return registry.card(name).name, file if given else None


def _equal_blend(models: Sequence[str]) -> dict[str, float]:
    """Equal weights of two models; nothing for one."""
    return dict.fromkeys(TASKS, 0.5) if len(models) == 2 else {}


def _names(models: Any) -> tuple[str, ...]:
    """The names of models, from plain data."""
    if not (isinstance(models, list | tuple) and all(isinstance(name, str) for name in models)):
        raise ValueError(f"models is {models!r}, not a list of names")
    return tuple(models)


def recording_key(name: str) -> str:
    """What a recipe keeps of the name of a recording: names may be of people, and a recipe is copied into sidecars."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:12]


def _tuned_on(data: Any) -> dict[str, Any]:
    """What a recipe was tuned on, from plain data; raises ValueError for anything else."""
    if not isinstance(data, Mapping):
        raise ValueError(f"tuned_on is {data!r}, not a table")
    found = dict(data)
    texts = [found.get(key, "") for key in ("track", "truth")]
    if found and not (all(isinstance(text, str) for text in texts) and isinstance(found.get("recordings"), list)):
        raise ValueError("tuned_on lacks its track, truth or recordings")
    return found


T = TypeVar("T")


def _per_task(option: str, text: str, parse: Callable[[str], T]) -> dict[str, T]:
    """One value for all tasks ("0.6"), or separate values for some ("expression=0.5,action_units=1")."""
    if "=" not in text:
        return dict.fromkeys(TASKS, parse(text))
    pairs = [part.partition("=") for part in text.split(",")]
    for task, _, _ in pairs:
        if task not in TASKS:
            raise UsageError(f"{option} {text}: {task!r} is not a task; choose from {', '.join(TASKS)}.")
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


def with_sound(recipe: Recipe, sound: str, tasks: Iterable[str]) -> Recipe:
    """A recipe of one visual model, with audio as the second model; unchanged if it already has that.

    Args:
        sound: of ``registry.SOUNDS``.
        tasks: that the head on it predicts.

    Raises:
        UsageError: there are already two models.
    """
    if sound in recipe.models:
        return recipe
    if len(recipe.models) > 1:
        raise UsageError(
            f"--audio-head: audio would be a third model besides {' and '.join(recipe.models)}; give one with --model."
        )
    shares = dict.fromkeys((task for task in TASKS if task in tasks), VISUAL_SHARE)
    return replace(recipe, models=(*recipe.models, sound), blend={**shares, **recipe.blend})
