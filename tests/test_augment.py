"""Augmentation: without it the training input is the inference input; with it, variations stay within their bounds."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import cv2
import labelled
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known

from hsemotion_cli.faces import crops
from hsemotion_cli.models.cards import HALF, IMAGENET, NetworkSpec
from hsemotion_cli.models.network_model import prepare
from hsemotion_cli.training import augment
from hsemotion_cli.training.augment import Augmentation, Augmenter
from hsemotion_cli.training.dataset import Dataset

CALM = settings(deadline=None, max_examples=40)
SEEDS = st.integers(0, 2**32)
OFF = Augmentation(**{f.name: 0 for f in fields(Augmentation) if f.name not in ("moved", "shrink")})  # type: ignore[arg-type]
SMOOTH = 255 / 2 * (1 + np.sin(np.add.outer(np.arange(160) / 17, np.arange(160) / 11)))
"""(160, 160): nothing in it is finer than some pixels, so that two ways to resample it agree."""


def five(scale: float, angle: float, x: float, y: float, noise: np.ndarray | float = 0.0) -> np.ndarray:
    """(5, 2) points of a face of 112 * ``scale`` pixels about (x, y)."""
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (scale * (crops.ARCFACE_TEMPLATE - 55.5) @ turn.T + (x, y) + noise).astype(np.float32)


def sample(picture: np.ndarray, points: np.ndarray | None = None, box: tuple[float, ...] | None = None) -> Dataset:
    given: dict[str, Any] = {} if points is None else {"points": points[None]}
    if box is not None:
        given["boxes"] = np.array([box])
    return labelled.make([picture], **given)


def viewer(size: int = 48, *, luminance: bool = False, normalisation: tuple = HALF) -> Augmenter:
    mean, std = normalisation
    return Augmenter(size, mean, std, luminance)


def fed(picture: np.ndarray, size: int, normalisation: tuple = HALF) -> np.ndarray:
    """What annotating feeds a network for a crop."""
    colours = np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
    mean, std = normalisation
    spec = NetworkSpec(("any",), size, mean, std, (), False, 1, "fc")
    return prepare([colours], spec, "pil-bilinear")[0]


def shown(values: np.ndarray) -> np.ndarray:
    """(3, n, n) normalised by HALF -> (n, n, 3) of 0 to 255."""
    return (values.transpose(1, 2, 0) * 0.5 + 0.5) * 255


def inside(scale: float = 0.5, angle: float = 0.1) -> np.ndarray:
    """A face whose crop lies wholly in an image of 160 x 160."""
    return five(scale, angle, 80, 84)


# --- exact ------------------------------------------------------------------------------------------------------


@CALM
@given(st.data())
def test_the_exact_view_is_what_annotating_feeds_the_network(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(SEEDS))
    size, colour = data.draw(st.integers(16, 120)), data.draw(st.booleans())
    height, width = data.draw(st.integers(10, 150)), data.draw(st.integers(10, 150))
    picture = random.integers(0, 256, (height, width, 3) if colour else (height, width), np.uint8)
    scale, angle = data.draw(st.floats(0.1, 3)), data.draw(st.floats(-3, 3))
    points = five(scale, angle, width / 2, height / 2, random.normal(0, 2 * scale, (5, 2)))
    normalisation = data.draw(st.sampled_from((HALF, IMAGENET)))
    rgb = picture if colour else np.repeat(picture[..., None], 3, axis=2)
    crop = crops.cut(rgb, (0, 0, 1, 1), points, [f"face-{size}"])[f"face-{size}"]
    found = viewer(size, normalisation=normalisation).exact(sample(picture, points), 0)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, fed(crop, size, normalisation))


@CALM
@given(SEEDS, st.integers(16, 120), st.integers(2, 200), st.integers(2, 200), st.booleans())
def test_an_image_without_points_is_used_whole(seed: int, size: int, height: int, width: int, colour: bool) -> None:
    shape = (height, width, 3) if colour else (height, width)
    picture = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    rgb = picture if colour else np.repeat(picture[..., None], 3, axis=2)
    crop = crops.cut_given(rgb, None, [f"face-{size}"])[f"face-{size}"]
    np.testing.assert_array_equal(viewer(size).exact(sample(picture), 0), fed(crop, size))


def test_one_missing_point_is_as_none() -> None:
    points = inside()
    points[3, 1] = np.nan
    picture = SMOOTH.astype(np.uint8)
    np.testing.assert_array_equal(viewer().exact(sample(picture, points), 0), viewer().exact(sample(picture), 0))


def test_luminance_is_grey() -> None:
    random = np.random.default_rng(1)
    picture = random.integers(0, 256, (160, 160, 3), np.uint8)
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    assert abs(grey - picture @ np.array(augment.LUMA)).max() < 1
    found = viewer(luminance=True).exact(sample(picture, inside()), 0)
    np.testing.assert_array_equal(found, viewer().exact(sample(grey, inside()), 0))
    np.testing.assert_array_equal(found, fed(crops.face(grey, inside(), 48), 48))
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
    # A network into which luminance is folded sees the colour crop's own, up to rounding.
    own = np.tensordot(shown(viewer().exact(sample(picture, inside()), 0)), np.array(augment.LUMA), 1)
    assert abs(own - shown(found)[..., 0]).max() < 2


def test_colours_are_red_green_blue() -> None:
    picture = np.zeros((160, 160, 3), np.uint8)
    picture[:] = (255, 128, 0)
    kept = sample(picture, inside())
    for values in (
        viewer().exact(kept, 0),
        viewer().exact(sample(picture), 0),
        viewer().augmented(kept, 0, OFF, np.random.default_rng(0)),
        viewer().augmented(kept, 0, replace(OFF, resolution=1.0, least=8), np.random.default_rng(0)),
    ):
        np.testing.assert_allclose(shown(values), np.broadcast_to((255, 128, 0), (48, 48, 3)), atol=0.01)


def test_a_batch_is_one_after_the_other() -> None:
    random = np.random.default_rng(3)
    samples = labelled.make([random.integers(0, 256, (30 + k, 40, 3), np.uint8) for k in range(3)])
    found = viewer().batch(samples, np.array([2, 0]))
    assert found.shape == (2, 3, 48, 48)
    np.testing.assert_array_equal(found, [viewer().exact(samples, 2), viewer().exact(samples, 0)])


# --- variations -------------------------------------------------------------------------------------------------


@CALM
@given(SEEDS, st.booleans(), st.floats(0.2, 0.6), st.floats(-3, 3), st.sampled_from((0.0, 1.0)))
def test_without_any_variation_it_is_the_exact_view(
    seed: int, colour: bool, scale: float, angle: float, unscaled: float
) -> None:
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (160, 160, 3) if colour else (160, 160), np.uint8)
    given_sample = sample(picture, five(scale, angle, 80, 80))
    found = viewer().augmented(given_sample, 0, replace(OFF, scale=unscaled), random)
    np.testing.assert_allclose(found, viewer().exact(given_sample, 0), atol=1e-6)


def test_without_any_variation_an_image_without_points_is_nearly_the_exact_view() -> None:
    for side in (40, 48, 160):
        picture = cv2.resize(SMOOTH, (side, side), interpolation=cv2.INTER_AREA).astype(np.uint8)
        found = viewer().augmented(sample(picture), 0, OFF, np.random.default_rng(0))
        # The outermost pixels mix with what lies beyond the edge.
        assert abs(shown(found) - shown(viewer().exact(sample(picture), 0)))[1:-1, 1:-1].max() < 5


def test_beyond_the_edge_is_the_edge_or_its_mirror_or_black() -> None:
    picture = np.random.default_rng(0).integers(100, 256, (60, 60), np.uint8)
    points = five(0.7, 0.2, 20, 30)
    matrix = crops.face_matrix(points.astype(np.float64), 48)
    borders = (cv2.BORDER_REPLICATE, cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101)
    expected = [fed(crops.warped(picture, matrix, 48, border), 48) for border in borders]
    chosen = []
    for seed in range(60):
        found = viewer().augmented(sample(picture, points), 0, OFF, np.random.default_rng(seed))
        alike = [np.allclose(found, values, atol=1e-6) for values in expected]
        assert sum(alike) == 1
        chosen.append(alike.index(True))
    assert min(np.bincount(chosen, minlength=3)) > 8


@pytest.mark.parametrize("angle", [0.0, 0.4])
def test_a_mirror_image_is_a_mirror_image(angle: float) -> None:
    picture = sample(SMOOTH.astype(np.uint8), inside(angle=angle))
    exact = shown(viewer().exact(picture, 0))
    found = shown(viewer().augmented(picture, 0, replace(OFF, flip=1.0), np.random.default_rng(0)))
    assert abs(found - exact[:, ::-1]).max() < 3
    assert abs(found - exact).max() > 50
    half = [
        abs(shown(viewer().augmented(picture, 0, replace(OFF, flip=0.5), np.random.default_rng(k))) - exact).max() > 50
        for k in range(100)
    ]
    assert 30 < sum(half) < 70


@CALM
@given(st.data())
def test_a_face_is_turned_and_scaled_about_the_middle_of_its_view(data: st.DataObject) -> None:
    size = data.draw(st.integers(16, 224))
    points = five(data.draw(st.floats(0.1, 3)), data.draw(st.floats(-3, 3)), 50, 60)
    base = crops.face_matrix(points.astype(np.float64), size)
    how = replace(OFF, rotation=data.draw(st.floats(0, 180)), scale=data.draw(st.floats(1, 3)), flip=0.5)
    moved = replace(how, shift=data.draw(st.floats(0, 0.5)))
    seed = data.draw(SEEDS)
    found = augment._jitter(base, size, how, np.random.default_rng(seed))
    middle = np.full(2, (size - 1) / 2)
    place = np.linalg.solve(base[:, :2], middle - base[:, 2])  # in the image
    np.testing.assert_allclose(found[:, :2] @ place + found[:, 2], middle, atol=1e-6 * size)
    change = found[:, :2] @ np.linalg.inv(base[:, :2])
    mirrored = np.linalg.det(change) < 0
    if mirrored:
        change = np.diag([-1, 1]) @ change
    factor = math.sqrt(np.linalg.det(change))
    assert 1 / how.scale - 1e-9 <= factor <= how.scale + 1e-9
    assert abs(math.degrees(math.atan2(change[1, 0], change[0, 0]))) <= how.rotation + 1e-6
    np.testing.assert_allclose(change @ change.T, factor**2 * np.eye(2), atol=1e-9)
    shifted = augment._jitter(base, size, moved, np.random.default_rng(seed))
    np.testing.assert_allclose(shifted[:, :2], found[:, :2])
    assert (abs(shifted[:, 2] - found[:, 2]) <= moved.shift * size + 1e-9).all()


def test_turning_reaches_its_bounds_and_goes_both_ways() -> None:
    base = np.array([[1.0, 0, 0], [0, 1, 0]])
    how = replace(OFF, rotation=20.0, scale=1.5, shift=0.1)
    found = np.array([augment._jitter(base, 100, how, np.random.default_rng(k)) for k in range(300)])
    angles = np.degrees(np.arctan2(found[:, 1, 0], found[:, 0, 0]))
    factors = np.hypot(found[:, 0, 0], found[:, 1, 0])
    middles = found @ (49.5, 49.5, 1) - 49.5
    for values, bound in ((angles, 20), (np.log(factors), math.log(1.5)), (middles[:, 0], 10), (middles[:, 1], 10)):
        assert abs(values).max() <= bound + 1e-9
        assert values.max() > 0.95 * bound and values.min() < -0.95 * bound


@CALM
@given(SEEDS)
def test_another_crop_is_the_box_or_the_whole_image(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (60, 60), np.uint8)
    box = (9, 4, 48, 48)  # at the size of the view, so that its pixels come as they are
    kept = sample(picture, inside(0.2), box)
    found = viewer().augmented(kept, 0, replace(OFF, other_crop=1.0), np.random.default_rng(seed))
    boxed = fed(picture[4:52, 9:57], 48)
    whole = viewer().augmented(sample(picture), 0, OFF, np.random.default_rng(seed))
    assert np.allclose(found, boxed, atol=1e-6) != np.allclose(found, whole, atol=1e-6)
    # Where no box is known, it is the whole image.
    found = viewer().augmented(
        sample(picture, inside(0.2)), 0, replace(OFF, other_crop=1.0), np.random.default_rng(seed)
    )
    np.testing.assert_allclose(found, whole, atol=1e-6)


def test_both_other_crops_come_about_as_often() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)
    kept, boxed = sample(picture, inside(0.2), (9, 4, 48, 48)), fed(picture[4:52, 9:57], 48)
    found = [viewer().augmented(kept, 0, replace(OFF, other_crop=1.0), np.random.default_rng(k)) for k in range(100)]
    assert 30 < sum(np.allclose(one, boxed, atol=1e-6) for one in found) < 70


@CALM
@given(SEEDS, st.sampled_from((16, 48, 112)), st.booleans())
def test_what_is_painted_over_is_one_rectangle_of_2_to_15_percent(seed: int, size: int, colour: bool) -> None:
    picture = sample(np.full((160, 160, 3) if colour else (160, 160), 128, np.uint8), inside())
    found = shown(viewer(size).augmented(picture, 0, replace(OFF, erase=1.0), np.random.default_rng(seed)))
    painted = np.any(abs(found - 128) > 1e-2, axis=2)
    if not painted.any():  # by chance in the colour that was there
        return
    rows, columns = np.flatnonzero(np.any(painted, axis=1)), np.flatnonzero(np.any(painted, axis=0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    assert painted.sum() == height * width
    assert np.ptp(found[painted]) < 1e-3
    # Each side is rounded to whole pixels.
    assert (height - 0.5) * (width - 0.5) <= 0.15 * size**2 and 0.02 * size**2 <= (height + 0.5) * (width + 0.5)


@CALM
@given(SEEDS, st.sampled_from((8, 24, 47, 48, 60)))
def test_resolution_is_within_its_bounds(seed: int, least: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)
    how = replace(OFF, resolution=1.0, least=least)
    found = shown(viewer().augmented(sample(picture), 0, how, np.random.default_rng(seed)))[..., 0]
    small = [cv2.resize(picture, (n, n), interpolation=cv2.INTER_AREA) for n in range(least, max(48, least + 1))]
    again = [cv2.resize(one, (48, 48), interpolation=cv2.INTER_LINEAR) for one in small]
    assert any(np.allclose(found, one, atol=1e-2) for one in again)


@CALM
@given(SEEDS)
def test_compression_is_within_its_bounds(seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (48, 48), np.uint8)
    found = shown(viewer().augmented(sample(picture), 0, replace(OFF, jpeg=1.0), np.random.default_rng(seed)))[..., 0]
    files = [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, q])[1] for q in range(20, 81)]
    assert any(np.allclose(found, known(cv2.imdecode(file, cv2.IMREAD_UNCHANGED)), atol=1e-2) for file in files)


def test_noise_is_within_its_bounds() -> None:
    picture = sample(np.full((160, 160), 128, np.uint8), inside())
    found = [viewer().augmented(picture, 0, replace(OFF, noise=0.1), np.random.default_rng(k)) for k in range(60)]
    spread = np.array([(shown(one)[..., 0] / 255 - 128 / 255).std() for one in found])
    assert spread.max() <= 0.1 * 1.1
    assert spread.max() > 0.05
    assert 0.4 < (spread < 1e-6).mean() < 0.9  # most have none


def test_light_changes_brightness_and_not_place() -> None:
    picture = sample(SMOOTH.astype(np.uint8))
    exact = shown(viewer().exact(picture, 0))[..., 0]
    found = [
        shown(viewer().augmented(picture, 0, replace(OFF, light=1.0), np.random.default_rng(k)))[..., 0]
        for k in range(60)
    ]
    levels = np.array([one.mean() for one in found]) - exact.mean()
    assert levels.min() < -15 and levels.max() > 15
    assert min(np.corrcoef(one.ravel(), exact.ravel())[0, 1] for one in found) > 0.8


EVERYTHING = Augmentation(0.5, 30, 1.5, 0.3, 0.5, 0.7, 8, 3.0, 0.3, 0.7, 0.7)


@settings(deadline=None, max_examples=80)
@given(SEEDS, st.booleans(), st.booleans(), st.booleans())
def test_values_stay_in_range_and_come_from_the_seed(seed: int, colour: bool, seen: bool, luminance: bool) -> None:
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (50, 70, 3) if colour else (50, 70), np.uint8)
    kept = sample(picture, five(0.4, 0.3, 30, 25), (10, 5, 40, 42)) if seen else sample(picture)
    look = viewer(luminance=luminance)
    found = look.augmented(kept, 0, EVERYTHING, np.random.default_rng(seed))
    assert found.shape == (3, 48, 48)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert np.isfinite(found).all()
    assert found.min() >= -1 - 1e-6 and found.max() <= 1 + 1e-6
    assert luminance <= ((found[0] == found[1]).all() and (found[0] == found[2]).all())
    np.testing.assert_array_equal(found, look.augmented(kept, 0, EVERYTHING, np.random.default_rng(seed)))
    assert (found != look.augmented(kept, 0, EVERYTHING, np.random.default_rng(seed + 1))).any()
