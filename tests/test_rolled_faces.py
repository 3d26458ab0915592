"""Heads that lie or hang upside down: found in single images, and followed from frame to frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known import known

from hsemotion_cli.domain import Frame, Image
from hsemotion_cli.faces import crops, quarter_turns
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.detector import FaceDetector, detect_in_block
from hsemotion_cli.faces.mediapipe_onnx import Candidate
from hsemotion_cli.media.images import read_image
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import open_source


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceDetector]:
    with FaceDetector() as finder:
        yield finder


@given(st.integers(-4, 4), st.integers(1, 9), st.integers(1, 9), st.data())
def test_turned_points_lie_where_the_turned_image_shows_them(
    turns: int, width: int, height: int, data: st.DataObject
) -> None:
    column, row = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    image = np.zeros((height, width, 3), np.uint8)
    image[row, column] = 255
    ((there_row, there_column),) = np.argwhere(quarter_turns.turned_image(image, turns)[..., 0])
    centre = np.array([[column + 0.5, row + 0.5]], np.float32)
    expected = [[there_column + 0.5, there_row + 0.5]]
    np.testing.assert_allclose(quarter_turns.turned_points(centre, turns, (width, height)), expected)
    box = quarter_turns.turned_box((column, row, 1.0, 1.0), turns, (width, height))
    assert box == (there_column, there_row, 1, 1)
    candidate = Candidate((column, row, 1.0, 1.0), 0.5, np.repeat(centre, 6, axis=0))
    turned = quarter_turns.turned_candidate(candidate, turns, (width, height))
    assert turned.box == box and np.allclose(turned.marks, expected)


def rolled(image: Image, degrees: float) -> tuple[Image, np.ndarray]:
    """The image turned clockwise in a larger grey one, and the 2 x 3 map of its points."""
    height, width = image.shape[:2]
    side = math.ceil(math.hypot(height, width))
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    grey = (128, 128, 128)
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderValue=grey), np.uint8), matrix


@pytest.mark.parametrize(
    ("kind", "degrees"),
    [
        *((FaceDetector, degrees) for degrees in (-135, -90, -60, 75, 90, 135, 180)),
        *((BlazeFaceDetector, degrees) for degrees in (-135, -60, 75, 135)),
    ],
)
def test_a_rolled_face_is_found_and_cut_out_upright(kind: type[FaceDetector], astronaut: Image, degrees: float) -> None:
    with kind() as finder:
        (upright,) = finder.find(astronaut)
        image, matrix = rolled(astronaut, degrees)
        (face,) = finder.find(image)
    expected = np.column_stack([known(upright.points), np.ones(5)]) @ matrix.T
    assert np.hypot(*(known(face.points) - expected).T).max() < 0.2 * upright.box[2]
    one, other = (crops.aligned(i, known(f.points), 112) for i, f in ((astronaut, upright), (image, face)))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.85
    if upright.landmarks is not None:
        assert_alike(known(face.blendshapes), known(upright.blendshapes))


def assert_alike(one: np.ndarray, other: np.ndarray) -> None:
    """The limits of docs/faces.md: blendshapes of a face that lies are less exact than its points, brows above all."""
    assert np.corrcoef(one, other)[0, 1] > 0.8
    assert np.abs(one - other).max() < 0.4


@pytest.mark.parametrize("kind", [FaceDetector, BlazeFaceDetector])
def test_an_upright_face_is_not_taken_for_one_upside_down(kind: type[FaceDetector], shared_videos: list[Path]) -> None:
    # A sad mouth, wide open: the classifier prefers it after half a turn.
    (clip,) = (path for path in shared_videos if path.stem == "M030_sad_level3_001")
    with kind() as finder:
        for frame in open_source(clip).frames(Sampling(end=0.5)):
            (face,) = finder.find(frame.image)
            left, right, nose, *mouth = known(face.points)
            assert left[0] < right[0] and max(left[1], right[1]) < nose[1] < min(corner[1] for corner in mouth)


@pytest.mark.parametrize("kind", [FaceDetector, BlazeFaceDetector])
def test_a_head_upside_down_is_not_taken_for_an_upright_one(kind: type[FaceDetector], samples: Path) -> None:
    # BlazeFace and the landmark network see an upright face in it: the eyes where the mouth is.
    _, frame, *_ = open_source(samples / "langer_pexels.mp4").frames(Sampling(every=240))
    with kind() as finder:
        (upright,) = finder.find(frame.image)
        for degrees in (-160, -120, 120, 160):
            image, matrix = rolled(frame.image, degrees)
            (face,) = finder.find(image)
            expected = np.column_stack([known(upright.points), np.ones(5)]) @ matrix.T
            assert np.hypot(*(known(face.points) - expected).T).max() < 0.1 * upright.box[2]
            if upright.landmarks is not None:
                assert_alike(known(face.blendshapes), known(upright.blendshapes))


def test_a_face_seen_on_its_side_is_looked_at_once_more_upright(finder: FaceDetector, samples: Path) -> None:
    still = read_image(samples / "stills" / "grace_hopper.jpg")
    assert still is not None
    (upright,) = finder.find(still)
    for degrees in (-160, 100):
        (face,) = finder.find(rolled(still, degrees)[0])
        assert_alike(known(face.blendshapes), known(upright.blendshapes))


def test_both_stills_are_found_on_their_side(finder: FaceDetector, samples: Path) -> None:
    for path in sorted((samples / "stills").iterdir()):
        still = read_image(path)
        assert still is not None
        for turns in (1, 2, 3):
            (face,) = finder.find(quarter_turns.turned_image(still, turns))
            assert quarter_turns.turns_to_upright(known(face.points)) == 4 - turns
            assert face.landmarks is not None and face.score > 0.9


def test_a_rolled_face_is_followed_through_a_block(finder: FaceDetector, astronaut: Image) -> None:
    frames = [Frame(k, k / 25, np.roll(rolled(astronaut, 115 + k)[0], 3 * k, axis=1)) for k in range(6)]
    found = detect_in_block(frames, finder, ("aligned-112",))
    assert [len(sighting.faces) for sighting in found] == [1] * 6
    crops_ = [sighting.faces[0].crops["aligned-112"].astype(float) for sighting in found]
    for crop in crops_[1:]:
        assert np.corrcoef(crop.ravel(), crops_[0].ravel())[0, 1] > 0.9
    # It is found again where it was: one look without turning the image finds nobody at this angle.
    alone = finder.find(frames[1].image, before=[])
    assert not any(face.score > 0.95 for face in alone)


def test_an_upright_face_is_enough(finder: FaceDetector, astronaut: Image) -> None:
    both = np.hstack([astronaut, quarter_turns.turned_image(astronaut, 2)])
    best, *others = finder.find(np.ascontiguousarray(both))
    assert best.box[0] < astronaut.shape[1]
    assert all(quarter_turns.turns_to_upright(known(face.points)) == 0 for face in others), "it was not turned"
