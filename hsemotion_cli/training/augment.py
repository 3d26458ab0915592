"""A labelled image -> network input: the exact crop for evaluation, an augmented one for training."""

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
"""Weights of red, green and blue in luminance: ITU-R BT.601, as in OpenCV's RGB2GRAY."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How training images are augmented; 0 turns an augmentation off.

    Beyond the image border, the border is repeated, the image is mirrored, or black is used, with equal probability.

    Attributes:
        flip: probability of a mirror image.
        rotation: largest angle, in degrees.
        scale: largest factor; its inverse is the smallest.
        shift: largest shift, as a share of the width.
        other_crop: probability of the face's bounding box or the whole image instead of the aligned face.
        resolution: probability of downscaling the face to at least ``least`` pixels and upscaling it again.
        least: width of the smallest downscaled face, in pixels.
        light: strength of changes of gamma, contrast, brightness and of a light gradient; 1 is usual.
        noise: largest standard deviation of noise, relative to full scale.
        erase: probability of filling a rectangle of 2 to 15 % of the area.
        jpeg: probability of JPEG compression at a quality from 20 to 80.
        mixup: parameter of the Beta distribution of mixup; see ``batches.mix_up``.
        moved: probability that an image is rotated, scaled and shifted at all.
        shrink: whether scaling only makes the face smaller.
        erased: share of the area of the filled rectangle; 0 for 2 to 15 %.
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
    moved: float = 1.0
    shrink: bool = False
    erased: float = 0.0


@dataclass(frozen=True, slots=True)
class Augmenter:
    """Makes network inputs from samples.

    Attributes:
        size: width and height of the input, in pixels.
        mean, std: normalisation per channel, of values in [0, 1].
        luminance: convert colour images to grey first.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    luminance: bool

    def exact(self, dataset: Dataset, row: int) -> Floats:
        """(3, size, size): the normalised crop ``face-N``, as in ``annotate``; the whole image if it has no points."""
        image = self._read(dataset, row)
        if np.isnan(dataset.points[row]).any():
            return self._normalised(whole(image, self.size))
        matrix = self._matrix(dataset, row, image.shape[:2])
        return self._normalised(warped(image, matrix, self.size, cv2.BORDER_REPLICATE))

    def batch(self, dataset: Dataset, rows: NDArray[np.int64]) -> Floats:
        """(n, 3, size, size) of ``exact``."""
        return np.stack([self.exact(dataset, int(row)) for row in rows])

    def augmented(self, dataset: Dataset, row: int, augmentation: Augmentation, rng: np.random.Generator) -> Floats:
        """(3, size, size): a randomly augmented crop, normalised."""
        image = self._read(dataset, row)
        if rng.random() < augmentation.other_crop:
            base = _other_region(dataset, row, image.shape[:2], self.size, rng)
        else:
            base = self._matrix(dataset, row, image.shape[:2])
        border = (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101)[rng.integers(3)]
        face = warped(image, _jitter(base, self.size, augmentation, rng), self.size, border)
        return self._normalised(_degraded(face, augmentation, rng))

    def _read(self, dataset: Dataset, row: int) -> Image:
        image = dataset.image(row)
        if self.luminance and image.ndim == 3:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        return image

    def _matrix(self, dataset: Dataset, row: int, shape: tuple[int, int]) -> NDArray[np.float64]:
        points = dataset.points[row]
        if np.isnan(points).any():
            return _box_matrix(0, 0, shape[1], shape[0], self.size)
        return face_matrix(points.astype(np.float64), self.size)

    def _normalised(self, face: NDArray) -> Floats:
        colours = np.repeat(face[..., None], 3, axis=2) if face.ndim == 2 else face
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        values = (colours.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def _box_matrix(x: float, y: float, width: float, height: float, size: int) -> NDArray[np.float64]:
    """The affine matrix that maps a box to the whole square, pixel centre to pixel centre."""
    across, down = size / width, size / height
    return np.array([[across, 0, (0.5 - x) * across - 0.5], [0, down, (0.5 - y) * down - 0.5]])


def _other_region(
    dataset: Dataset, row: int, shape: tuple[int, int], size: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The matrix for the face's bounding box or the whole image."""
    box = dataset.boxes[row]
    if np.isnan(box).any() or rng.random() < 0.5:
        return _box_matrix(0, 0, shape[1], shape[0], size)
    x, y, width, height = map(float, box)
    return _box_matrix(x, y, width, height, size)


def _jitter(
    matrix: NDArray[np.float64], size: int, augmentation: Augmentation, rng: np.random.Generator
) -> NDArray[np.float64]:
    """The matrix followed by a random rotation, scaling, mirroring and shift about the centre of the face."""
    angle = math.radians(rng.uniform(-augmentation.rotation, augmentation.rotation))
    power = rng.uniform(-1, 1)
    factor = augmentation.scale**power if augmentation.scale else 1.0
    shift = rng.uniform(-augmentation.shift, augmentation.shift, 2) * size
    mirror = -1.0 if rng.random() < augmentation.flip else 1.0
    if augmentation.shrink:
        factor = min(factor, 1 / factor)
    if augmentation.moved < 1 and rng.random() >= augmentation.moved:
        angle, factor, shift = 0.0, 1.0, np.zeros(2)
    turn = factor * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = np.array([[mirror, 0], [0, 1]]) @ turn
    middle = np.full(2, (size - 1) / 2)
    linear = turn @ matrix[:, :2]
    constant = turn @ (matrix[:, 2] - middle) + middle + shift
    return np.column_stack([linear, constant])


def _degraded(face: NDArray, augmentation: Augmentation, rng: np.random.Generator) -> NDArray:
    """Random changes of resolution, compression, light and noise, and a filled rectangle."""
    size = face.shape[0]
    if rng.random() < augmentation.resolution:
        fewer = int(rng.integers(augmentation.least, max(size, augmentation.least + 1)))
        small = cv2.resize(face, (fewer, fewer), interpolation=cv2.INTER_AREA)
        face = cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < augmentation.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 81))]
        face = np.asarray(cv2.imdecode(cv2.imencode(".jpg", face, quality)[1], cv2.IMREAD_UNCHANGED))
    values = face.astype(np.float32) / 255
    if augmentation.light:
        values = values ** math.exp(rng.normal(0, 0.2 * augmentation.light))
        values = (values - 0.5) * rng.uniform(1 - 0.3 * augmentation.light, 1 + 0.3 * augmentation.light) + 0.5
        values += rng.uniform(-0.12, 0.12) * augmentation.light
        if values.ndim == 3:  # white balance, and some images without colour
            values = values * rng.uniform(1 - 0.1 * augmentation.light, 1 + 0.1 * augmentation.light, 3).astype(
                np.float32
            )
            if rng.random() < 0.2:
                values = np.repeat((values @ np.array(LUMA, np.float32))[..., None], 3, axis=2)
        if rng.random() < 0.3:
            slope = rng.uniform(-0.3, 0.3, 2) * augmentation.light
            ramp = np.linspace(-1, 1, size, dtype=np.float32)
            light = 1 + np.float32(slope[0]) * ramp[:, None] + np.float32(slope[1]) * ramp[None, :]
            values = values * (light if values.ndim == 2 else light[..., None])
    if augmentation.noise and rng.random() < 0.3:
        values = values + rng.normal(0, rng.uniform(0, augmentation.noise), values.shape).astype(np.float32)
    if rng.random() < augmentation.erase:
        area, ratio = rng.uniform(0.02, 0.15) * size * size, math.exp(rng.uniform(-0.7, 0.7))
        area = augmentation.erased * size * size or area
        height, width = (min(max(round(side), 1), size) for side in (math.sqrt(area * ratio), math.sqrt(area / ratio)))
        top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        values[top : top + height, left : left + width] = rng.random()
    return np.clip(values, 0, 1) * 255
