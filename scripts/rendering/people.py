"""Random people: the shape of the head, skin, eyes, hair and glasses.

The order of the random draws, also of those that nothing uses, decides which people a seed gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .assets import BROWS, DETAILS, EYES, GLASSES, LASHES, TEETH, Assets

ORIGINS = ("caucasian", "asian", "african")
"""MakeHuman's names of the three shapes of the head between which people are mixed."""

_HAIR = (
    "Braid01",
    "afro01",
    "long01",
    "long01",
    "ponytail01",
    "short01",
    "short02",
    "short03",
    "short04",
    "short01",
    None,
)
_LONG, _SHORT = ("Braid01", "ponytail01", "long01"), ("short01", "short02", "short03", "short04", None)
_LASHES = (*LASHES, None)
_TINTS = ((0.25, 0.22, 0.2), (0.7, 0.5, 0.35), (1.6, 1.3, 0.9), (1.3, 1.3, 1.3))
"""Of hair, by which its texture is multiplied: black, brown, fair, grey."""

_END = re.compile(r"-(incr|decr|up|down|in|out|forward|backward|compress|uncompress|concave|convex|l|r)$")
"""End of a target's name that has an opposite."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """Something to draw, and its material.

    Attributes:
        mesh: "body", or a name of ``assets.PROXIES``.
        texture: path among the textures.
        tint: factors of red, green and blue, in linear light.
        gloss: strength of reflections.
        sharpness: exponent of the reflection; higher is smaller.
        wrap: how far light reaches around the edge of what it lights, as it does under skin.
        see_through: drawn from both sides, blended by its opacity.
        casts_shadow: whether it does.
    """

    mesh: str
    texture: str
    tint: NDArray[np.float64] = field(default_factory=lambda: np.ones(3))
    gloss: float = 0.0
    sharpness: float = 20.0
    wrap: float = 0.3
    see_through: bool = False
    casts_shadow: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Someone who does not exist.

    Attributes:
        targets: name of a target -> weight.
        items: what is drawn.
        origins: (3,) shares of ``ORIGINS``.
        brightness: of the face in an image with average exposure, 0 to 255.
    """

    targets: dict[str, float]
    items: list[Item]
    origins: NDArray[np.float64]
    brightness: float


@dataclass(frozen=True, slots=True, eq=False)
class Traits:
    """What skin and hair follow from: shares of ``ORIGINS``, and sex (1 is male) and age from 0 to 1."""

    origins: NDArray[np.float64]
    sex: float
    age: float


def person(rng: Generator, assets: Assets) -> Person:
    """Draw a person."""
    origins = rng.dirichlet([0.45] * 3)
    traits = Traits(origins, sex=rng.beta(0.35, 0.35), age=rng.uniform(0, 1) ** 1.2)
    child = rng.random() < 0.04
    targets = build(rng, traits, child) | details(rng, assets.targets)
    items, dark = look(rng, assets, traits)
    brightness = rng.uniform(60, 135) if dark else rng.uniform(115, 190)
    return Person(targets, items, origins, brightness)


def build(rng: Generator, traits: Traits, child: bool) -> dict[str, float]:
    """Weights of the targets for origin, sex, age, muscles and weight: products of the shares of each."""
    weight, muscle = rng.dirichlet([2, 0.7, 0.7]), rng.dirichlet([2, 0.7, 0.7])
    sexes = (("female", 1 - traits.sex), ("male", traits.sex))
    ages = (("child", 0.8), ("young", 0.2)) if child else (("young", 1 - traits.age), ("old", traits.age))
    found = {}
    for origin, share in zip(ORIGINS, traits.origins, strict=True):
        for sex, of_sex in sexes:
            for age, of_age in ages:
                found[f"macro/{origin}-{sex}-{age}"] = share * of_sex * of_age
    levels = ("average", "max", "min")
    for sex, of_sex in sexes:
        for age, of_age in ages:
            for m, of_muscle in zip(levels, muscle, strict=True):
                for w, of_weight in zip(levels, weight, strict=True):
                    found[f"macro/universal-{sex}-{age}-{m}muscle-{w}weight"] = of_sex * of_age * of_muscle * of_weight
    return found


def details(rng: Generator, names: Iterable[str]) -> dict[str, float]:
    """Weights of the targets of head, eyes, nose and so on, normally distributed; both sides of a face get the same.

    One draw is made for each target and its opposite, which stands for negative values. A target without an opposite
    is left out for negative values.
    """
    scale = rng.uniform(0.1, 0.32)
    found: dict[str, float] = {}
    paired: dict[tuple[str, str], float] = {}
    for (folder, stem), options in opposites(names).items():
        sided = stem.startswith(("l-", "r-"))
        share = 0.3 if folder in ("asym", "ears") else 0.7 if folder == "eyebrows" and not sided else 1
        value = rng.normal() * scale * share
        if sided:
            value = paired.setdefault((folder, stem[2:]), value)
        if len(options) > 1:
            found[options[0] if value < 0 else options[-1]] = min(abs(value), 0.9)
        elif value > 0:
            found[options[0]] = min(value, 0.9)
    return found


def opposites(names: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """Folder and stem of a target -> the targets with that stem, such as ...-decr and ...-incr."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        folder, _, rest = name.partition("/")
        # The head's place in space and MakeHuman's old targets of age are no traits of a person.
        if folder in DETAILS and not (folder == "head" and ("trans" in rest or "age" in rest)):
            found.setdefault((folder, _END.sub("", rest)), []).append(name)
    return found


def look(rng: Generator, assets: Assets, traits: Traits) -> tuple[list[Item], bool]:
    """What is drawn of a person, and whether the skin is dark."""
    african = traits.origins[2]
    coin = rng.random()
    dark = bool(african > 0.5 or (african > 0.25 and coin < 0.5))
    skin = np.array([1, rng.uniform(0.9, 1.08), rng.uniform(0.82, 1.12)])
    hair = np.array(_TINTS[rng.choice(4, p=[0.5, 0.3, 0.12, 0.08])]) * rng.uniform(0.6, 1.4)
    if traits.age > 0.7 and rng.random() < 0.6:
        hair = np.array([1.8, 1.8, 1.8])
    items = [*_head(rng, assets, traits, skin, dark), *_hair(rng, assets, traits, hair)]
    rng.uniform(size=3)  # unused: the colour of clothes, which images do not show
    return items, dark


def _head(rng: Generator, assets: Assets, traits: Traits, tint: NDArray[np.float64], dark: bool) -> Iterable[Item]:
    """Skin, eyes and teeth."""
    age = "old" if traits.age > 0.66 else "middleage" if traits.age > 0.33 else "young"
    kind = f"{age}_{'dark' if dark else 'light'}skinned_{'male' if traits.sex > 0.5 else 'female'}_"
    skins = [path for path in assets.skins if kind in path.rpartition("/")[2]]
    yield Item(
        "body",
        _one(rng, skins or assets.skins),
        tint,
        gloss=rng.uniform(0.02, 0.22),
        sharpness=rng.uniform(8, 30),
        wrap=rng.uniform(0.2, 0.5),
    )
    brown = next(path for path in assets.irises if "brown_" in path)
    iris = _one(rng, assets.irises) if traits.origins[0] > 0.5 else brown
    yield Item(EYES, iris, np.array([0.85] * 3), gloss=0.5, sharpness=150.0, casts_shadow=False)
    teeth = np.array([0.8, 0.75, 0.66]) * rng.uniform(0.6, 1)
    yield Item(TEETH, assets.proxies[TEETH].texture, teeth, gloss=0.2, casts_shadow=False)


def _hair(rng: Generator, assets: Assets, traits: Traits, tint: NDArray[np.float64]) -> Iterable[Item]:
    """Brows, and most often lashes and hair, rarely glasses."""
    brow, lash, hair = _one(rng, BROWS), _one(rng, _LASHES), _one(rng, _HAIR)
    if traits.sex > 0.6 and hair in _LONG and rng.random() < 0.8:
        hair = _one(rng, _SHORT)
    yield _strands(assets, f"eyebrows/{brow}/{brow}", tint * 0.8)
    if lash:
        yield _strands(assets, f"eyelashes/{lash}/{lash}", np.ones(3))
    if hair:
        yield _strands(assets, f"hair/{hair}/{hair}", tint, casts_shadow=True)
    if rng.random() < 0.1:
        yield _strands(assets, GLASSES, np.ones(3))


def _strands(assets: Assets, mesh: str, tint: NDArray[np.float64], casts_shadow: bool = False) -> Item:
    texture = assets.proxies[mesh].texture
    return Item(mesh, texture, tint, see_through=True, casts_shadow=casts_shadow)


def _one(rng: Generator, options: Any) -> Any:
    """One of several, each as likely."""
    return options[int(rng.integers(len(options)))]
