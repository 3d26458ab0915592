"""Random expressions: which actions a face shows, and the targets of the mesh that show them.

Actions are the action units of the Facial Action Coding System by their numbers; "u" before a number means one side of
the face only. Recipes name actions with their probabilities and weights (1: the full face unit). They follow the units
typical of each expression in Du, Tao & Martinez 2014 (PNAS 111(15):E1454, Table 1), with variants of acted expressions,
and are mixed with the mouth shapes of speech. The order of the random draws decides which faces a seed gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hsemotion_cli.tasks import BASIC_EXPRESSIONS

from .people import ORIGINS

Option = tuple[float, str, float, float]
"""Probability, action, lowest and highest weight."""


@dataclass(frozen=True, slots=True)
class Action:
    """Targets that show an action.

    Attributes:
        face_units: of Mika Suominen's set, named as ARKit's blendshapes.
        expression_units: of MakeHuman's older set, which has them for each of ``ORIGINS``; empty if none fits.
    """

    face_units: tuple[str, ...]
    expression_units: tuple[str, ...] = ()


def _sides(name: str) -> tuple[str, str]:
    return f"{name}Left", f"{name}Right"


ACTIONS = {
    "1": Action(("browInnerUp",), ("eyebrows-left-inner-up", "eyebrows-right-inner-up")),
    "2": Action(_sides("browOuterUp"), ("eyebrows-left-extern-up", "eyebrows-right-extern-up")),
    "4": Action(_sides("browDown"), ("eyebrows-left-down", "eyebrows-right-down")),
    "5": Action(_sides("eyeWide"), ("eye-left-opened-up", "eye-right-opened-up")),
    "6": Action(_sides("cheekSquint")),
    "7": Action(_sides("eyeSquint"), ("eye-left-slit", "eye-right-slit")),
    "9": Action(_sides("noseSneer"), ("nose-left-elevation", "nose-right-elevation")),
    "10": Action(_sides("mouthUpperUp"), ("mouth-elevation",)),
    "12": Action(_sides("mouthSmile"), ("mouth-corner-puller",)),
    "14": Action(_sides("mouthDimple")),
    "15": Action(_sides("mouthFrown"), ("mouth-depression",)),
    "16": Action(_sides("mouthLowerDown")),
    "17": Action(("mouthShrugLower",)),
    "18": Action(("mouthPucker",), ("mouth-protusion",)),
    "19": Action(("tongueOut",)),
    "20": Action(_sides("mouthStretch"), ("mouth-retraction",)),
    "22": Action(("mouthFunnel",)),
    "23": Action(("mouthRollLower", "mouthRollUpper"), ("mouth-compression",)),
    "24": Action(_sides("mouthPress"), ("mouth-compression",)),
    "26": Action(("jawOpen",)),
    "29": Action(("jawForward",)),
    "43": Action(_sides("eyeBlink"), ("eye-left-closure", "eye-right-closure")),
    "close": Action(("mouthClose",)),
}
"""Action -> targets. 43 closes the eyes; "close" keeps the lips together over an open jaw."""

FIXED: dict[str, tuple[Option, ...]] = {
    "neutral": (
        (0.15, "4", 0.02, 0.12), (0.15, "12", 0.02, 0.12), (0.1, "1", 0.02, 0.12), (0.1, "7", 0.05, 0.25),
        (0.1, "17", 0.02, 0.15), (0.1, "15", 0.02, 0.1), (0.08, "43", 0.1, 1.0), (0.2, "26", 0.02, 0.06),
    ),
    "fear": (
        (0.95, "1", 0.5, 1.1), (0.6, "2", 0.2, 0.8), (0.65, "4", 0.2, 0.7), (0.9, "5", 0.4, 1.1),
        (0.65, "20", 0.3, 1), (0.4, "16", 0.2, 0.7), (0.65, "26", 0.08, 0.45),
    ),
    "sadness": (
        (0.85, "1", 0.4, 1.1), (0.65, "4", 0.2, 0.8), (0.8, "15", 0.4, 1.1), (0.5, "17", 0.2, 0.9),
        (0.25, "7", 0.2, 0.6), (0.2, "6", 0.1, 0.5), (0.3, "43", 0.1, 0.5), (0.15, "24", 0.2, 0.5),
    ),
    "surprise": (
        (0.95, "1", 0.5, 1.1), (0.95, "2", 0.5, 1.1), (0.7, "5", 0.3, 1), (0.85, "26", 0.2, 0.9),
        (0.15, "22", 0.2, 0.5),
    ),
    "contempt": (
        (0.75, "u12", 0.4, 1), (0.6, "u14", 0.4, 1.2), (0.25, "u2", 0.3, 0.9), (0.3, "24", 0.1, 0.5),
        (0.25, "43", 0.1, 0.35), (0.2, "17", 0.1, 0.5), (0.15, "u10", 0.2, 0.6),
    ),
    "speech": (
        (0.7, "26", 0.05, 0.4), (0.3, "22", 0.1, 0.7), (0.3, "18", 0.1, 0.7), (0.35, "16", 0.1, 0.8),
        (0.3, "10", 0.05, 0.4), (0.25, "20", 0.1, 0.5), (0.2, "24", 0.2, 0.8),
    ),
}  # fmt: skip
"""Recipes whose options do not depend on each other."""

_ANGER: tuple[Option, ...] = ((1, "4", 0.6, 1.2), (0.75, "7", 0.3, 1), (0.15, "9", 0.2, 0.6))
_ANGER_SHUT: tuple[Option, ...] = ((0.8, "24", 0.4, 1), (0.6, "23", 0.2, 0.7), (0.5, "17", 0.2, 0.8))
_ANGER_OPEN: tuple[Option, ...] = (
    (0.8, "10", 0.3, 0.8), (0.7, "16", 0.3, 0.9), (0.8, "26", 0.08, 0.4), (0.3, "22", 0.2, 0.6),
)  # fmt: skip
_DISGUST: tuple[Option, ...] = (
    (0.5, "4", 0.2, 0.9), (0.4, "7", 0.2, 0.9), (0.35, "6", 0.2, 0.8), (0.4, "17", 0.2, 0.9), (0.3, "15", 0.1, 0.6),
    (0.3, "16", 0.2, 0.6), (0.25, "26", 0.05, 0.25), (0.06, "19", 0.4, 1),
)  # fmt: skip
_SMILE: tuple[Option, ...] = ((1, "12", 0.5, 1.1), (0.7, "6", 0.3, 1), (0.2, "7", 0.1, 0.5))
_SMILE_OPEN: tuple[Option, ...] = ((0.9, "10", 0.3, 1.0), (0.9, "16", 0.4, 1.2), (0.5, "26", 0.05, 0.35))

SINGLE = (
    "1", "2", "4", "5", "6", "7", "9", "10", "12", "14", "15", "16", "17", "20", "23", "24", "26", "u2", "u12", "u10",
)  # fmt: skip
"""Actions of which one to three are drawn for a face without an expression."""

KINDS = (*BASIC_EXPRESSIONS, "actions")
SHARES = (0.13, 0.09, 0.10, 0.09, 0.08, 0.08, 0.07, 0.06, 0.30)
"""What faces show, and how often; "actions" are single ones without an expression."""

TALKING = ("neutral", "anger", "disgust", "fear", "sadness")
"""Expressions that are seen with a speaking mouth in 40 % of images; the others in 25 %, single actions in 30 %."""

STRONGER, FACTOR = ("1", "2", "4", "u2"), 1.3
"""Actions of the brows, whose face units are smaller than what faces do."""


def kinds(rng: Generator, count: int) -> list[str]:
    """What the images of a person show: the first is neutral."""
    return ["neutral", *(KINDS[k] for k in rng.choice(len(KINDS), count - 1, p=SHARES))]


def actions(rng: Generator, kind: str) -> dict[str, float]:
    """Actions of a face and their weights.

    Args:
        kind: one of ``KINDS``.
    """
    if kind == "actions":
        chosen = rng.choice(SINGLE, int(rng.integers(1, 4)), replace=False)
        found = {str(name): rng.uniform(0.3, 1.1) for name in chosen}
        talks = rng.random() < 0.3
    else:
        found = expression(rng, kind)
        talks = rng.random() < (0.4 if kind in TALKING else 0.25)
    if talks:
        for name, weight in pick(rng, FIXED["speech"]).items():
            found[name] = max(found.get(name, 0), weight)
        if kind in TALKING and kind != "neutral":  # lips that speak are not pressed together
            found.pop("24", None)
            found.pop("23", None)
    if "26" in found and rng.random() < 0.1:
        found["close"] = found["26"]
    return {name: weight * (FACTOR if name in STRONGER else 1) for name, weight in found.items()}


def expression(rng: Generator, kind: str) -> dict[str, float]:
    """Actions of an expression, from faint to strong; of a neutral face at rest, faint ones."""
    if kind == "neutral":
        return pick(rng, FIXED[kind])
    found = recipe(rng, kind)
    strength = rng.uniform(0.4, 1.2)
    return {name: weight * strength for name, weight in found.items()}


def recipe(rng: Generator, kind: str) -> dict[str, float]:
    """Actions of an expression at full strength."""
    if kind == "anger":
        return _anger(rng)
    if kind == "disgust":
        return _disgust(rng)
    if kind == "happiness":
        opened = _SMILE_OPEN if rng.random() < 0.55 else ()
        return pick(rng, (*_SMILE, *opened))
    found = pick(rng, FIXED[kind])
    return found if found or kind != "contempt" else {"u12": rng.uniform(0.5, 1)}


def _anger(rng: Generator) -> dict[str, float]:
    """With the mouth pressed shut, open with teeth shown, or relaxed."""
    found, mouth = pick(rng, _ANGER), rng.random()
    if mouth < 0.8:
        found |= pick(rng, _ANGER_SHUT if mouth < 0.5 else _ANGER_OPEN)
    if rng.random() < 0.3:
        found["5"] = rng.uniform(0.3, 0.8)
        found.pop("7", None)
    return found | pick(rng, ((0.2, "29", 0.2, 0.8), (0.2, "15", 0.1, 0.5)))


def _disgust(rng: Generator) -> dict[str, float]:
    """With a wrinkled nose, a raised upper lip, or both."""
    where = rng.random()
    nose, lip = (0.9 if where < 0.6 else 0.4), (1 if where > 0.45 else 0.5)
    found = pick(rng, ((nose, "9", 0.4, 1.2), (lip, "10", 0.4, 1), *_DISGUST))
    if "9" not in found and "10" not in found:
        found["9"] = rng.uniform(0.5, 1.1)
    return found


def pick(rng: Generator, options: Sequence[Option]) -> dict[str, float]:
    """Actions that were drawn, with a uniformly drawn weight each."""
    return {name: rng.uniform(low, high) for chance, name, low, high in options if rng.random() < chance}


def targets(rng: Generator, found: dict[str, float], origins: NDArray[np.float64]) -> dict[str, float]:
    """Weights of the targets that show actions: a random mixture of both sets, sides a little different.

    Args:
        found: action -> weight.
        origins: (3,) shares of ``ORIGINS``.
    """
    weights: dict[str, float] = {}
    side: int | None = None
    for name, weight in found.items():
        one_sided, action = name.startswith("u"), ACTIONS[name.removeprefix("u")]
        share: float = 1.0
        if action.expression_units and not one_sided and name != "23":  # whose unit there is that of 24
            share = rng.choice([1.0, 1.0, rng.uniform(0.3, 0.8), 0.0])
        lean = rng.normal(0, 0.12)
        both = (weight * (1 + lean), weight * (1 - lean))
        if one_sided:
            drawn = int(rng.integers(2))
            side = drawn if side is None else side  # all one-sided actions of a face are on the same side
            both = (weight, weight * rng.uniform(0, 0.25))
            both = both if side == 0 else both[::-1]
        for unit in action.face_units:
            key = f"arkit/{unit}"
            weights[key] = weights.get(key, 0) + share * on_side(unit, both, weight)
        for unit in action.expression_units:
            for origin, part in zip(ORIGINS, origins, strict=True):
                key = f"unit/{origin}/{unit}"
                weights[key] = weights.get(key, 0) + (1 - share) * part * on_side(unit, both, weight)
    return {name: weight for name, weight in weights.items() if abs(weight) > 1e-3}


def on_side(unit: str, sides: tuple[float, float], weight: float) -> float:
    """The weight of the left, of the right, or, for a unit of both sides, of the face."""
    lower = unit.lower()
    return sides[0] if "left" in lower else sides[1] if "right" in lower else weight


def gaze(rng: Generator, kind: str) -> dict[str, float]:
    """Weights of the targets that turn the eyes, sideways and up or down; eyes look down more in sadness."""
    sideways, up = rng.normal(0, 0.25, 2)
    left, right = ("Out", "In") if sideways > 0 else ("In", "Out")
    found = {f"arkit/eyeLook{left}Left": abs(sideways), f"arkit/eyeLook{right}Right": abs(sideways)}
    for unit in _sides("eyeLookUp" if up > 0 else "eyeLookDown"):
        found[f"arkit/{unit}"] = abs(up) * (1.5 if kind == "sadness" and up < 0 else 1)
    return found
