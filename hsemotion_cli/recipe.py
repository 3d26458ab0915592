"""How raw scores become results: models, blend weights, smoothing, thresholds. A recipe is data and fits in JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from . import registry
from .errors import UsageError
from .tasks import ACTION_UNITS, TASKS

KERNELS = ("gaussian", "box", "none")


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
    def of(
        cls,
        models: str,
        *,
        blend: float = 0.5,
        smooth: str = "none",
        max_gap: float = 0.5,
        interpolate: float = 0.0,
        thresholds: Mapping[str, float] | None = None,
    ) -> Recipe:
        """A recipe from the words of the command line; thresholds default to those of the models' cards.

        Raises:
            UsageError: an unknown model, kernel or action unit, or a number out of range.
        """
        names = tuple(name.strip() for name in models.split(","))
        cards = [registry.card(name) for name in names]
        from_cards: dict[str, float] = {}
        # The first model that knows the action units decides about their presence.
        for card in reversed(cards):
            from_cards |= card.au_thresholds
        filter_ = Smoothing.parse(smooth)
        return cls(
            models=names,
            blend=dict.fromkeys(TASKS, blend) if len(names) == 2 else {},
            smoothing={} if filter_.kernel == "none" else dict.fromkeys(TASKS, filter_),
            max_gap=max_gap,
            interpolate=interpolate,
            thresholds={**dict.fromkeys(ACTION_UNITS, 0.5), **from_cards, **(thresholds or {})},
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
        """The inverse of ``to_json``.

        Raises:
            UsageError: a key is missing or a value makes no sense.
        """
        try:
            return cls(
                models=tuple(data["models"]),
                blend=dict(data["blend"]),
                smoothing={task: Smoothing.parse(text) for task, text in data["smoothing"].items()},
                max_gap=float(data["max_gap"]),
                interpolate=float(data["interpolate"]),
                thresholds=dict(data["thresholds"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"the recipe is not complete ({type(error).__name__}: {error}).") from error


def parse_threshold(text: str) -> tuple[str, float]:
    """Read "AU12=0.4".

    Raises:
        UsageError: anything else.
    """
    unit, _, number = text.partition("=")
    try:
        return unit, float(number)
    except ValueError:
        raise UsageError(f"--threshold {text}: write it as AU12=0.4.") from None
