"""Scene cuts: another scene is one in any light; a lamp, a flash, a pan or a passer-by is none."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence

import clips
import cv2
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hsemotion_cli.media import structure
from hsemotion_cli.media.scene_cuts import CutDetector
from hsemotion_cli.media.video import VideoFile

Luma = NDArray[np.uint8]
SAMPLES = ROOT / "sample_videos"
COUNT, AT = 20, 12
"""Frames of a shot, and the one at which something happens."""


def grey(image: np.ndarray) -> Luma:
    image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(image, (320, 180), interpolation=cv2.INTER_AREA), np.uint8)


def moved(image: Luma, right: float, down: float = 0.0) -> Luma:
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float64)
    shown = cv2.warpAffine(image, matrix, image.shape[::-1], borderMode=cv2.BORDER_REFLECT)
    return np.asarray(shown, np.uint8)


@functools.cache
def shots() -> dict[str, tuple[Luma, ...]]:
    """Name -> frames of one scene: two clips of people who talk, and images seen by a moving and by a still camera."""
    found = {
        name: tuple(grey(frame.image) for frame in itertools.islice(VideoFile(SAMPLES / name).frames(), COUNT))
        for name in ("langer_pexels.mp4", "two_faces.mp4")
    }
    for name in ("astronaut.png", "grace_hopper.jpg"):
        image = grey(clips.still(SAMPLES / "stills" / name))
        found[name] = (image,) * COUNT
        found[f"{name}, moving"] = tuple(moved(image, 1.5 * k, 4 * np.sin(k)) for k in range(COUNT))
    return found


NAMES = ("langer_pexels.mp4", "two_faces.mp4", "astronaut.png", "astronaut.png, moving", "grace_hopper.jpg, moving")


def cuts_of(frames: Sequence[Luma]) -> list[int]:
    detector = CutDetector()
    return [k for k, frame in enumerate(frames) if detector.cuts(frame)]


def noisy(values: np.ndarray) -> Luma:
    """Values in [0, 255] as a camera stores them."""
    noise = np.random.default_rng(0).normal(0, 1, values.shape)
    return np.clip(values + noise, 0, 255).astype(np.uint8)


def lit(gain: float, offset: float, gamma: float) -> Callable[[Luma], Luma]:
    return lambda image: noisy(gain * 255 * (image / 255) ** gamma + offset)


def is_seen(frame: Luma) -> bool:
    """Whether a change of light has left some contrast, and has not made most of the image black or white."""
    lost = float((frame <= 3).mean()) + float((frame >= 252).mean())
    return bool(np.percentile(frame, 75) - np.percentile(frame, 25) > 12) and lost < 0.3


lights = st.builds(lit, st.floats(0.15, 2.5), st.floats(-40, 60), st.floats(0.5, 2))


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(NAMES), lights, lights)
def test_no_change_of_light_is_a_cut(name: str, before: Callable[[Luma], Luma], after: Callable[[Luma], Luma]) -> None:
    frames = [(before if k < AT else after)(frame) for k, frame in enumerate(shots()[name])]
    assume(is_seen(frames[0]) and is_seen(frames[-1]))
    assert cuts_of(frames) == []


@settings(deadline=None, max_examples=50)
@given(st.permutations(NAMES[:3]), lights)
def test_another_scene_is_a_cut_in_any_light(names: Sequence[str], light: Callable[[Luma], Luma]) -> None:
    frames = [light(shots()[names[k >= AT]][k]) for k in range(COUNT)]
    assume(is_seen(frames[0]) and is_seen(frames[-1]))
    assert cuts_of(frames) == [AT]


@pytest.mark.parametrize("name", NAMES)
def test_a_lamp_at_one_side_is_no_cut(name: str) -> None:
    lamp = np.linspace(0.15, 1, 320)
    assert cuts_of([noisy(frame * (lamp if k >= AT else 1)) for k, frame in enumerate(shots()[name])]) == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [1, 3])
def test_a_flash_is_no_cut_and_hides_none(name: str, length: int) -> None:
    def flashed(frames: Sequence[Luma]) -> list[Luma]:
        return [noisy(frame * 3.0 + 240) if 0 <= k - AT < length else frame for k, frame in enumerate(frames)]

    assert cuts_of(flashed(shots()[name])) == []
    other = shots()["grace_hopper.jpg"]
    joined = flashed([*shots()[name][:AT], *other[AT:]])
    if not name.startswith("grace"):
        assert cuts_of(joined) == [AT + length]


def test_to_black_and_back_are_cuts() -> None:
    shot, black = shots()["two_faces.mp4"], np.full((180, 320), 16, np.uint8)
    assert cuts_of([*shot[:8], *[black] * 6, *shot[8:]]) == [8, 14]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("step", [8, 24, 48])
def test_a_pan_is_no_cut(name: str, step: int) -> None:
    """Up to an eighth of the window in each frame."""
    wide = np.hstack([shots()[name][0], shots()[name][0][:, ::-1]])
    left = [0] * AT + [step * k for k in range(1, 1 + min(6, 256 // step))]
    assert cuts_of([np.ascontiguousarray(wide[:, x : x + 384]) for x in left]) == []


def test_a_passer_by_near_the_camera_is_no_cut() -> None:
    frames = []
    for k, frame in enumerate(shots()["two_faces.mp4"]):
        frame = frame.copy()
        right = max(35 * (k - 6), 0)
        frame[:, max(right - 200, 0) : right] = 60
        frames.append(frame)
    assert cuts_of(frames) == []


def test_cuts_that_follow_one_another_are_all_found() -> None:
    one, two, three = (shots()[name] for name in NAMES[:3])
    assert cuts_of([*one[:10], *two[:3], *three[:3], *one[10:12]]) == [10, 13, 16]


# --- structure --------------------------------------------------------------------------------------------------


def small(name: str) -> Luma:
    return np.asarray(cv2.resize(shots()[name][0], (160, 90), interpolation=cv2.INTER_AREA), np.uint8)


def test_structure_is_matched_in_any_light_and_place_and_not_with_another() -> None:
    one, other = small("two_faces.mp4"), small("langer_pexels.mp4")
    assert structure.unmatched(one, one, 255) == 0
    assert structure.unmatched(one, (one * 0.3 + 40).astype(np.uint8), 255) < 0.05
    assert structure.unmatched(one, moved(one, 7, -4), 255) < 0.1
    assert structure.unmatched(one, moved(one, 30, 5), 255) < 0.1, "a pan"
    assert structure.unmatched(one, other, 255) > 0.6
    assert structure.unmatched(one, other, 255) == pytest.approx(structure.unmatched(other, one, 255), abs=0.02)
    assert structure.unmatched(one, np.full_like(one, 16), 255) > 0.8
    assert structure.unmatched(np.full_like(one, 90), np.full_like(one, 16), 255) == 0


def test_the_best_match_is_the_highest_correlation_of_all_shifts() -> None:
    """Against numpy's corrcoef, at every place that is reached."""
    image, there = small("two_faces.mp4"), small("langer_pexels.mp4")
    found = structure._best_matches(image, there)
    assert found.shape == (5, 10)
    for row, column in ((1, 3), (2, 5), (3, 7)):
        y, x = 18 * row, 16 * column
        block = image[y : y + 18, x : x + 16].astype(np.float64).ravel()
        best = max(
            np.corrcoef(block, there[y + dy : y + dy + 18, x + dx : x + dx + 16].ravel())[0, 1]
            for dy in range(-8, 9)
            for dx in range(-10, 11)
        )
        assert found[row, column] == pytest.approx(best, abs=1e-3)


def test_a_pan_is_known_by_its_shift() -> None:
    image = np.asarray(cv2.resize(shots()["two_faces.mp4"][0], (240, 135), interpolation=cv2.INTER_AREA), np.uint8)
    window = [np.ascontiguousarray(image[y : y + 90, x : x + 160]) for x, y in ((20, 20), (46, 12))]
    assert structure._pan(window[0], window[1]) == (26, -8)
    assert structure._pan(window[0], window[0]) == (0, 0)
    assert structure._pan(small("two_faces.mp4"), small("langer_pexels.mp4")) == (0, 0)
    ours, theirs = structure._shared(window[0], 26, -8), structure._shared(window[1], -26, 8)
    assert np.array_equal(ours, theirs)
