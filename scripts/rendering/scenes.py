"""Random light, background, turn of the head and camera.

The order of the random draws decides which images a seed gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from hsemotion_cli.domain import Image

from . import geometry
from .assets import Mesh, Vertices

Vector = NDArray[np.float64]

_NECK = (0.0, -1.0, -1.2)
"""From the eyes to the point around which the head turns, in decimetres."""


@dataclass(frozen=True, slots=True, eq=False)
class Light:
    """Three lamps and the surroundings; colours in linear light.

    Attributes:
        brightness: value of the face in the image, 0 to 255.
        directions: (3, 3) towards the lamps, of unit length; the first one casts shadows.
        colours: (3, 3) of the lamps.
        above, below: (3,) of the light from the surroundings.
        softness: distance of the samples of a shadow's edge, in widths of the shadow map.
        shadow: strength of shadows, 0 to 1.
        darkening: strength of the darkening of hollows.
    """

    brightness: float
    directions: Vector
    colours: Vector
    above: Vector
    below: Vector
    softness: float
    shadow: float
    darkening: float


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """It looks along the z axis.

    Attributes:
        centre: (3,) the point in the middle of the image.
        distance: from there, in decimetres.
        angle: of view, in radians.
    """

    centre: Vector
    distance: float
    angle: float


def pose(rng: Generator, mesh: Mesh, base: NDArray[np.floating], face: Vertices) -> tuple[Vertices, Camera]:
    """A turned head, and the camera before it.

    Args:
        base: (n, 3) vertices of the person at rest.
        face: (n, 3) with the expression.
    """
    between, distance = geometry.eyes(mesh, base)
    pivot = between + np.array(_NECK)
    yaw, pitch, roll = rng.normal(0, 0.28), rng.normal(0.0, 0.16), rng.normal(0, 0.1)
    face = geometry.turned(face, yaw, pitch, roll, pivot)
    between, _ = geometry.eyes(mesh, face)
    centre = between + np.array([rng.normal(0, 0.05), -0.5 * distance + rng.normal(0, 0.05), 0])
    angle = rng.uniform(0.12, 0.5)
    away = rng.uniform(1.45, 1.95) * distance * 1.25 / np.tan(angle / 2)
    return face, Camera(centre, float(away), angle)


def light(rng: Generator, brightness: float) -> Light:
    """Light under which the face is about as bright as given, 0 to 255."""
    strength, surroundings = rng.uniform(0.5, 1.6), rng.uniform(0.25, 0.75)
    exposure = np.clip(brightness * np.exp(rng.normal(0, 0.18)), 35, 215)
    directions = np.array([
        [rng.normal(0, 0.8), rng.normal(0.45, 0.5), abs(rng.normal(0.9, 0.4)) + 0.15],
        [rng.choice([-1, 1]) * 1.0, 0.2, 0.4],
        [rng.normal(), 1, -0.6],
    ])  # fmt: skip
    colours = [
        strength * _cast(rng, 0.1),
        rng.uniform(0, 0.6) * _cast(rng, 0.15),
        rng.uniform(0, 0.6) * _cast(rng, 0.1),
    ]
    return Light(
        brightness=float(exposure),
        directions=np.stack([direction / np.linalg.norm(direction) for direction in directions]),
        colours=np.array(colours),
        above=surroundings * _cast(rng, 0.06),
        below=surroundings * rng.uniform(0.4, 0.9) * _cast(rng, 0.06),
        softness=rng.uniform(0.001, 0.006),
        shadow=rng.uniform(0.3, 1),
        darkening=rng.uniform(0.6, 1.2),
    )


def _cast(rng: Generator, spread: float) -> Vector:
    """(3,) factors of a colour cast."""
    return np.clip(1 + rng.normal(0, spread, 3), 0.6, 1.4)


def background(rng: Generator) -> Image:
    """(64, 64, 3) smooth random colours with noise."""
    side = int(rng.integers(2, 7))
    colours = rng.uniform(0, 255, (side, side, 3)).astype(np.float32)
    blurred = cv2.resize(colours, (64, 64), interpolation=cv2.INTER_CUBIC)
    blurred = blurred * rng.uniform(0.2, 0.8) + rng.uniform(0, 255, 3) * 0.4
    return np.clip(blurred + rng.normal(0, rng.uniform(0, 12), blurred.shape), 0, 255).astype(np.uint8)
