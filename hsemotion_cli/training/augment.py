"""A labelled picture -> what the network is shown: the exact crop to measure with, varied crops to train with."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image
from ..faces.crops import face_matrix, warped, whole
from .dataset import Dataset

Floats = NDArray[np.float32]

LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in luminance: ITU-R BT.601, as in OpenCV's RGB2GRAY."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How a training picture is varied; 0 leaves a variation out.

    What lies beyond the picture's edge is the edge repeated, the picture mirrored, or black, one as often as the other.

    Attributes:
        flip: probability of a mirror image.
        rotation: degrees to either side.
        scale: largest factor, and its inverse the smallest.
        shift: share of the width, to every side.
        other_crop: probability of the face's plain box, or of the whole picture, instead of the aligned face.
        resolution: probability that the face is shrunk to as few as ``least`` pixels and enlarged again.
        least: pixels of the smallest such face.
        light: strength of changes of gamma, contrast, brightness and of a gradient across the picture; 1 is usual.
        noise: largest standard deviation of noise, of full scale.
        erase: probability that a rectangle of 2 to 15 % of the area is painted over.
        jpeg: probability of JPEG at a quality from 20 to 80.
        mixup: parameter of the Beta distribution by which pictures and labels of a batch are averaged in pairs.
    """

    flip: float = 0.5
    rotation: float = 12.0
    scale: float = 1.15
    shift: float = 0.06
    other_crop: float = 0.2
    resolution: float = 0.3
    least: int = 24
    light: float = 1.0
    noise: float = 0.04
    erase: float = 0.3
    jpeg: float = 0.1
    mixup: float = 0.0


@dataclass(frozen=True, slots=True)
class Augmenter:
    """What a network is shown of a sample.

    Attributes:
        size: pixels of the network's input.
        mean, std: of the network, per channel, of values in [0, 1].
        luminance: colour pictures are turned to grey first.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    luminance: bool

    def exact(self, dataset: Dataset, row: int) -> Floats:
        """(3, size, size): the crop ``face-N`` as annotating cuts it, normalised; all of a picture without points."""
        picture = self._read(dataset, row)
        if np.isnan(dataset.points[row]).any():
            return self._normalised(whole(picture, self.size))
        matrix = self._matrix(dataset, row, picture.shape[:2])
        return self._normalised(warped(picture, matrix, self.size, cv2.BORDER_REPLICATE))

    def batch(self, dataset: Dataset, rows: NDArray[np.int64]) -> Floats:
        """(n, 3, size, size) of ``exact``."""
        return np.stack([self.exact(dataset, int(row)) for row in rows])

    def varied(self, dataset: Dataset, row: int, how: Augmentation, rng: np.random.Generator) -> Floats:
        """(3, size, size): a random variation of the crop, normalised."""
        picture = self._read(dataset, row)
        if rng.random() < how.other_crop:
            base = _other(dataset, row, picture.shape[:2], self.size, rng)
        else:
            base = self._matrix(dataset, row, picture.shape[:2])
        border = (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101)[rng.integers(3)]
        face = warped(picture, _jittered(base, self.size, how, rng), self.size, border)
        return self._normalised(_repainted(face, how, rng))

    def _read(self, dataset: Dataset, row: int) -> Image:
        picture = dataset.picture(row)
        if self.luminance and picture.ndim == 3:
            picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
        return picture

    def _matrix(self, dataset: Dataset, row: int, shape: tuple[int, int]) -> NDArray[np.float64]:
        points = dataset.points[row]
        if np.isnan(points).any():
            return _stretched(0, 0, shape[1], shape[0], self.size)
        return face_matrix(points.astype(np.float64), self.size)

    def _normalised(self, face: NDArray) -> Floats:
        colours = np.repeat(face[..., None], 3, axis=2) if face.ndim == 2 else face
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        values = (colours.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def _stretched(x: float, y: float, width: float, height: float, size: int) -> NDArray[np.float64]:
    """The matrix that takes a box to the whole of a square, pixel centre to pixel centre."""
    across, down = size / width, size / height
    return np.array([[across, 0, (0.5 - x) * across - 0.5], [0, down, (0.5 - y) * down - 0.5]])


def _other(
    dataset: Dataset, row: int, shape: tuple[int, int], size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The face's box, or the whole picture."""
    box = dataset.boxes[row]
    if np.isnan(box).any() or rng.random() < 0.5:
        return _stretched(0, 0, shape[1], shape[0], size)
    x, y, width, height = map(float, box)
    return _stretched(x, y, width, height, size)


def _jittered(
    matrix: NDArray[np.float64], size: int, how: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The matrix, then a turn, a change of scale, a mirror and a shift about the middle of the face."""
    angle = math.radians(rng.uniform(-how.rotation, how.rotation))
    power = rng.uniform(-1, 1)
    factor = how.scale**power if how.scale else 1.0
    shift = rng.uniform(-how.shift, how.shift, 2) * size
    mirror = -1.0 if rng.random() < how.flip else 1.0
    turn = factor * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = np.array([[mirror, 0], [0, 1]]) @ turn
    middle = np.full(2, (size - 1) / 2)
    linear = turn @ matrix[:, :2]
    constant = turn @ (matrix[:, 2] - middle) + middle + shift
    return np.column_stack([linear, constant])


def _repainted(face: NDArray, how: Augmentation, rng: np.random.Generator) -> NDArray:
    """Other resolution, light, noise, compression; a part painted over."""
    size = face.shape[0]
    if rng.random() < how.resolution:
        fewer = int(rng.integers(how.least, max(size, how.least + 1)))
        small = cv2.resize(face, (fewer, fewer), interpolation=cv2.INTER_AREA)
        face = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < how.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 81))]
        face = np.asarray(cv2.imdecode(cv2.imencode(".jpg", face, quality)[1], cv2.IMREAD_UNCHANGED))
    values = face.astype(np.float32) / 255
    if how.light:
        values = values ** math.exp(rng.normal(0, 0.2 * how.light))
        values = (values - 0.5) * rng.uniform(1 - 0.3 * how.light, 1 + 0.3 * how.light) + 0.5
        values += rng.uniform(-0.12, 0.12) * how.light
        if values.ndim == 3:  # white balance, and some pictures without colour
            values = values * rng.uniform(1 - 0.1 * how.light, 1 + 0.1 * how.light, 3).astype(np.float32)
            if rng.random() < 0.2:
                values = np.repeat((values @ np.array(LUMA, np.float32))[..., None], 3, axis=2)
        if rng.random() < 0.3:
            slope = rng.uniform(-0.3, 0.3, 2) * how.light
            ramp = np.linspace(-1, 1, size, dtype=np.float32)
            light = 1 + np.float32(slope[0]) * ramp[:, None] + np.float32(slope[1]) * ramp[None, :]
            values = values * (light if values.ndim == 2 else light[..., None])
    if how.noise and rng.random() < 0.3:
        values = values + rng.normal(0, rng.uniform(0, how.noise), values.shape).astype(np.float32)
    if rng.random() < how.erase:
        area, ratio = rng.uniform(0.02, 0.15) * size * size, math.exp(rng.uniform(-0.7, 0.7))
        height, width = (min(max(round(side), 1), size) for side in (math.sqrt(area * ratio), math.sqrt(area / ratio)))
        top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        values[top : top + height, left : left + width] = rng.random()
    return np.clip(values, 0, 1) * 255
