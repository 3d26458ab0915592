"""Finding faces: the right place, whatever came before, also small ones; and cutting them out."""

from __future__ import annotations

import csv
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from typer.testing import CliRunner

from hsemotion_cli import tasks
from hsemotion_cli.cli import app
from hsemotion_cli.domain import Frame
from hsemotion_cli.errors import UsageError
from hsemotion_cli.faces import blazeface_detector, crops, detector, mediapipe_onnx
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.crops import FIVE_POINTS
from hsemotion_cli.faces.detector import FaceDetector, detect_faces, overlap, tiles
from hsemotion_cli.faces.mediapipe_detector import MediaPipeDetector
from hsemotion_cli.media.images import read_image
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import open_source


def pictures(videos: list[Path], name: str, start: float, end: float | None = None) -> list[np.ndarray]:
    """The frames of a part, in seconds, of the clip whose name begins so."""
    (clip,) = (path for path in videos if path.stem.startswith(name))
    return [frame.image for frame in open_source(clip).frames(Sampling(start=start, end=end))]


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceDetector]:
    with FaceDetector() as finder:
        yield finder


def test_the_same_picture_gives_the_same_face_whatever_came_before(finder: FaceDetector, astronaut: np.ndarray) -> None:
    (alone,) = finder.find(astronaut)
    finder.find(clips.portrait(shift=40))
    finder.find(clips.blank())
    (later,) = finder.find(astronaut)
    assert later.box == alone.box
    assert later.score == alone.score
    assert np.array_equal(later.landmarks, alone.landmarks)
    assert np.array_equal(later.blendshapes, alone.blendshapes)


def test_two_faces_are_two(finder: FaceDetector) -> None:
    picture = np.hstack([clips.portrait(240, 240), clips.portrait(240, 240)[:, ::-1]])
    found = finder.find(np.ascontiguousarray(picture))
    assert sorted(face.box[0] > 240 for face in found) == [False, True]
    assert overlap(found[0].box, found[1].box) == 0


def test_nobody_is_nobody_and_tiny_pictures_do_no_harm(finder: FaceDetector) -> None:
    for size in ((1, 1), (2, 500), (500, 2), (320, 240)):
        assert finder.find(clips.blank(*size)) == []


@pytest.mark.parametrize("kind", [FaceDetector, BlazeFaceDetector, MediaPipeDetector])
def test_a_face_that_fills_the_picture_is_found_where_it_is(kind: type[FaceDetector], astronaut: np.ndarray) -> None:
    left, top = 170, 102  # the forehead is not in the picture
    close = np.ascontiguousarray(astronaut[top:189, left:262])
    with kind() as finder:
        (expected,) = finder.find(astronaut)
        assert finder._seen(close, finder.candidates(close)) == []  # or this would show nothing
        (face,) = finder.find(close)
    shift = np.array((left, top))
    assert expected.points is not None and face.points is not None
    assert np.hypot(*(face.points + shift - expected.points).T).max() < 0.1 * expected.box[2]
    assert overlap((face.box[0] + left, face.box[1] + top, *face.box[2:]), expected.box) > 0.8
    if expected.landmarks is not None:
        assert face.landmarks is not None and face.blendshapes is not None
        np.testing.assert_array_equal(face.points, face.landmarks[list(FIVE_POINTS)])


def test_what_shows_only_with_surroundings_must_be_large(
    shared_videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = pictures(shared_videos, "face_then_no_face", 5.9, 6.3)
    monkeypatch.setattr(detector, "_SURE", 2.0)  # tiles are not what this is about
    with BlazeFaceDetector() as finder:
        frames = [frame for frame in frames if not finder._seen(frame, finder.candidates(frame))]
        assert frames and not any(finder.find(frame) for frame in frames)
        monkeypatch.setattr(detector, "_FILLS", 0.0)
        assert any(finder.find(frame) for frame in frames)  # letters and clouds


def test_letters_and_clouds_are_no_small_faces(shared_videos: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    frames = pictures(shared_videos, "face_then_no_face", 5.6, 6.4)
    with FaceDetector() as finder, BlazeFaceDetector() as fast:
        frames = [frame for frame in frames if not fast._seen(frame, fast.candidates(frame))]
        assert len(frames) > 10 and not any(each.find(frame) for frame in frames for each in (finder, fast))
        monkeypatch.setattr(detector, "_SURE", 0.0)
        assert sum(bool(fast.find(frame)) for frame in frames) > 3


def test_the_fast_detector_takes_no_clouds_for_small_faces(
    shared_videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = pictures(shared_videos, "no_face", 3.4)

    def small(threshold: float = 0.5) -> int:
        with BlazeFaceDetector(threshold=threshold) as finder:
            looked = [(frame, candidate) for frame in frames for candidate in finder.candidates(frame)]
            return sum(c.share < detector.LARGE and finder.look(frame, c) is not None for frame, c in looked)

    assert small() == 0
    assert small(0.4) > 2, "they were asked for"
    monkeypatch.setattr(blazeface_detector, "_TWICE", 0.0)
    assert small() > 2


def test_the_fast_detector_finds_small_faces_as_the_landmarks_do(samples: Path, finder: FaceDetector) -> None:
    stills = [read_image(path) for path in sorted((samples / "stills").iterdir())]
    assert len(stills) == 2
    found = []
    with BlazeFaceDetector() as quick:
        for still in stills:
            for width in (300, 400, 500):
                small = cv2.resize(
                    still, (width, width * still.shape[0] // still.shape[1]), interpolation=cv2.INTER_AREA
                )
                picture = np.full((720, 1280, 3), 110, np.uint8)
                picture[40 : 40 + len(small), 500 : 500 + width] = small
                found.append((len(quick.find(picture)), len(finder.find(picture))))
    assert found == [(0, 0)] * 2 + [(1, 1)] * 4  # two are too small for one look at the whole


def test_a_candidate_that_is_not_seen_again_is_looked_at_where_it_is(
    finder: FaceDetector, astronaut: np.ndarray
) -> None:
    close = np.ascontiguousarray(astronaut[70:167, 198:253])  # no ears, no chin
    (face,) = finder.find(close)
    x, y, width, height = finder.find(astronaut)[0].box
    assert overlap(face.box, (x - 198, y - 70, width, height)) > 0.8
    looks = [landmarks for landmarks, _ in finder._looks(close, finder.candidates(close)[0])]
    assert [landmarks is None for landmarks in looks] == [True, True, False]


class Blind(FaceDetector):
    """Sees no landmarks in any candidate, as in a face behind a hand."""

    def look(self, image: np.ndarray, candidate: mediapipe_onnx.Candidate) -> None:
        return None


def test_a_large_face_without_landmarks_counts_if_its_mirror_image_shows_it(
    finder: FaceDetector, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = np.ascontiguousarray(astronaut[70:190, 160:280])
    (expected,) = finder.find(close)
    with Blind() as blind:
        (face,) = blind.find(close)
        assert face.landmarks is None and face.blendshapes is None and face.score >= detector._PLAIN
        assert expected.points is not None and face.points is not None
        assert np.hypot(*(face.points - expected.points).T).max() < 0.1 * expected.box[2]
        assert overlap(face.box, expected.box) > 0.5
        assert blind.find(astronaut) == []  # the same face, but small
        left, right = sorted(blind.find(np.hstack([close, close])), key=lambda face: face.box[0])
        assert overlap(left.box, face.box) > 0.7 and overlap(right.box, (face.box[0] + 120, *face.box[1:])) > 0.7
        detect, seen = blind.detect, []

        def one_sided(image: np.ndarray) -> list[mediapipe_onnx.Candidate]:
            seen.append(image)  # the picture, the same with surroundings, and that in a mirror: there is no face in it
            return detect(image) if len(seen) < 3 else []

        monkeypatch.setattr(blind, "detect", one_sided)
        monkeypatch.setattr(blind, "_in_tiles", lambda image, min_face: [])
        assert blind.find(close) == [] and len(seen) == 3
        np.testing.assert_array_equal(seen[2], seen[1][:, ::-1])


def test_the_edge_of_a_picture_is_nobody(
    finder: FaceDetector, shared_videos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = pictures(shared_videos, "no_face", 3.4, 3.8)
    assert not any(finder.find(frame) for frame in frames)
    monkeypatch.setattr(detector, "_INSIDE", 0.0)
    assert any(finder.find(frame) for frame in frames)  # clouds, and the edge above them repeated


@given(
    st.tuples(*[st.floats(-50, 150)] * 2, *[st.floats(1, 200)] * 2), st.tuples(st.integers(1, 100), st.integers(1, 100))
)
def test_the_share_inside_is_that_of_the_overlap(box: tuple, size: tuple) -> None:
    share = detector.share_inside(box, np.empty((*size, 3), np.uint8))
    picture = (0.0, 0.0, float(size[1]), float(size[0]))
    union = overlap(box, picture)  # of both areas: intersection / (a + b - intersection)
    areas = box[2] * box[3] + size[0] * size[1]
    assert share == pytest.approx(union / (1 + union) * areas / (box[2] * box[3]), abs=1e-9)


def test_faces_in_profile_and_behind_a_hand_are_scored_by_the_network_alone(
    finder: FaceDetector, tmp_path: Path
) -> None:
    folder = SHARED / "data" / "muxspace" / "images"
    if not folder.is_dir():
        pytest.skip("needs the portraits of ../shared/data/muxspace, which are not here")
    for name in ("KatrinaKaif_67", "Dwarakish_94", "Dileep_68"):
        picture = read_image(folder / f"{name}.jpg")
        (face,) = finder.find(picture)
        assert face.landmarks is None and face.points is not None
        assert overlap(face.box, (0, 0, picture.shape[1], picture.shape[0])) > 0.4
        for model, answered in (("mt-mobilefacenet,mp-blendshapes", True), ("mp-blendshapes", False)):
            out = str(tmp_path / model)
            options = ["annotate", "-q", str(folder / f"{name}.jpg"), "-o", out, "--model", model]
            assert CliRunner().invoke(app, options).exit_code == 0
            with Path(out, f"{name}.csv").open(newline="") as file:
                (row,) = csv.DictReader(file)
            assert row["face_detected"] == "1"
            assert all(bool(row[column]) == answered for column in ("expression", "valence", "AU12_p"))


def test_a_smaller_face_is_found_where_nobody_is_nearer(finder: FaceDetector, astronaut: np.ndarray) -> None:
    x, y, width, height = finder.find(astronaut)[0].box
    scale = 170 / width
    small = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = clips.blank(1920, 1080).copy()
    picture[:, :] = 200
    picture[60 : 60 + small.shape[0], 900 : 900 + small.shape[1]] = small
    assert finder.candidates(picture) == []  # or this would show nothing
    (face,) = finder.find(picture)
    assert overlap(face.box, (900 + scale * x, 60 + scale * y, 170, scale * height)) > 0.8
    with FaceDetector(min_face=300) as wanted:
        assert wanted.find(picture) == []  # smaller ones were not asked for


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_few_tiles_are_searched_for_smaller_faces(width: int, height: int) -> None:
    least = detector.smallest_tiled_face(width, height)
    found = tiles(width, height, least)
    assert len(found) <= 12 or max(width, height) > 3 * min(width, height)
    assert all(side < max(width, height) for _, _, side in found)
    assert least == 24 or least <= 0.1 * max(width, height) + 1


def test_a_40_pixel_face_in_a_1080p_picture_needs_tiles(finder: FaceDetector, astronaut: np.ndarray) -> None:
    scale = 40 / finder.find(astronaut)[0].box[2]
    small = cv2.resize(astronaut, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = clips.blank(1920, 1080).copy()
    picture[700 : 700 + small.shape[0], 1300 : 1300 + small.shape[1]] = small
    assert finder.find(picture) == []
    with FaceDetector(min_face=40) as tiled:
        (face,) = tiled.find(picture)
    assert face.box[2] == pytest.approx(40, abs=6)
    assert 1300 < face.box[0] < 1300 + small.shape[1]
    assert 700 < face.box[1] < 700 + small.shape[0]


@given(st.integers(1, 4000), st.integers(1, 3000), st.integers(16, 200), st.data())
def test_tiles_hold_every_face_of_the_smallest_size_whole(
    width: int, height: int, face: int, data: st.DataObject
) -> None:
    if face > min(width, height):
        return
    x, y = data.draw(st.integers(0, width - face)), data.draw(st.integers(0, height - face))
    whole = [(0, 0, max(width, height)), *tiles(width, height, face)]
    holding = [t for t in whole if t[0] <= x and t[1] <= y and x + face <= t[0] + t[2] and y + face <= t[1] + t[2]]
    # ... in one in which it is large enough for the detector: sides are whole pixels, and may be larger by a little.
    assert any(face + detector.REACH >= detector.REACH * side / (1 + detector._LARGER) for _, _, side in holding)


def test_a_given_crop_is_the_face(finder: FaceDetector, astronaut: np.ndarray) -> None:
    x, y, w, h = (round(v) for v in finder.find(astronaut)[0].box)
    crop = np.ascontiguousarray(astronaut[y : y + h, x : x + w])
    sighting = detect_faces(Frame(7, 0.28, crop), finder, ["box", "aligned-112"], given=True)
    (face,) = sighting.faces
    assert face.box == (0, 0, w, h)
    assert np.isnan(face.score)
    assert face.crops["box"] is crop
    assert face.crops["aligned-112"] is crop
    assert face.blendshapes[tasks.BLENDSHAPES.index("mouthSmileLeft")] > 0.6


def test_of_a_given_crop_the_face_crop_is_cut_by_its_landmarks(finder: FaceDetector, astronaut: np.ndarray) -> None:
    x, y, w, h = (round(v) for v in finder.find(astronaut)[0].box)
    given = np.ascontiguousarray(astronaut[y - h // 2 : y + 3 * h // 2, x - w // 2 : x + 3 * w // 2])
    sighting = detect_faces(Frame(0, 0.0, given), finder, ["face-112", "aligned-112"], given=True)
    (face,) = sighting.faces
    assert face.crops["aligned-112"] is given
    assert np.array_equal(face.crops["face-112"], crops.face(given, face.points, 112))
    # ... so it is what the whole picture gives, but for the last decimals of the landmarks.
    (direct,) = finder.find(astronaut)
    whole = crops.face(astronaut, direct.points, 112).astype(float)
    assert np.abs(face.crops["face-112"] - whole)[20:90, 20:90].mean() < 6


def test_of_a_given_crop_without_a_face_the_face_crop_is_the_whole_picture(finder: FaceDetector) -> None:
    picture = clips.blank(300, 200)
    sighting = detect_faces(Frame(0, 0.0, picture), finder, ["box", "face-50"], given=True)
    crop = sighting.faces[0].crops["face-50"]
    assert sighting.faces[0].landmarks is None
    assert sighting.faces[0].crops["box"] is picture
    assert crop.shape == (50, 50, 3)
    assert np.abs(crop - picture.reshape(50, 4, 50, 6, 3).mean(axis=(1, 3))).max() <= 1
    assert crops.whole(picture[:20, :30, 0], 64).shape == (64, 64)


def test_cutting_the_box_clips_at_the_edge(astronaut: np.ndarray) -> None:
    cut = crops.boxed(astronaut, (-20.4, 500.2, 60, 60))
    assert np.array_equal(cut, astronaut[500:512, 0:40])
    assert crops.boxed(astronaut, (600, 600, 10, 10)).size > 0
    assert crops.boxed(astronaut, (10, 10, 30, 40)).base is None, "a view would keep the whole picture alive"


def test_aligning_puts_the_five_points_on_the_template(finder: FaceDetector, astronaut: np.ndarray) -> None:
    (face,) = finder.find(astronaut)
    marked = np.zeros_like(astronaut)
    points = face.points
    for size in (112, 224):
        placed = []
        for x, y in points:
            marked[:] = 0
            cv2.circle(marked, (round(float(x)), round(float(y))), 2, (255, 255, 255), -1)
            spot = crops.aligned(marked, face.points, size)[..., 0].astype(float)
            ys, xs = np.mgrid[: spot.shape[0], : spot.shape[1]]
            placed.append(((xs * spot).sum() / spot.sum(), (ys * spot).sum() / spot.sum()))
        # A real face is no template: what is left is its own shape, a few pixels of 112.
        assert np.abs(np.array(placed) / size - crops.ARCFACE_TEMPLATE / 112).max() < 0.06


def test_the_face_crop_grows_the_template_about_its_centre_and_moves_it_up() -> None:
    # By hand: 1.05 c - 0.05 * 55.5, twelve pixels less downwards; at another size pixel centres keep their place.
    found = crops.face_matrix(crops.ARCFACE_TEMPLATE, 112)
    assert found == pytest.approx(np.array([[1.05, 0, -2.775], [0, 1.05, -14.775]]), abs=1e-9)
    twice = crops.face_matrix(crops.ARCFACE_TEMPLATE, 224)
    assert twice == pytest.approx(np.array([[2.1, 0, -5.05], [0, 2.1, -29.05]]), abs=1e-9)
    # ... and a face that lies elsewhere, turned and larger, comes to the same place.
    turn = np.array([[0.6, -2.4], [2.4, 0.6]])
    points = crops.ARCFACE_TEMPLATE @ turn.T + (300, 40)
    placed = points @ crops.face_matrix(points, 112)[:, :2].T + crops.face_matrix(points, 112)[:, 2]
    assert placed == pytest.approx(crops.ARCFACE_TEMPLATE * 1.05 - (2.775, 14.775), abs=1e-9)


def test_the_face_crop_shows_chin_and_eyebrows(finder: FaceDetector, astronaut: np.ndarray) -> None:
    (face,) = finder.find(astronaut)
    chin, *brows = face.landmarks[[152, 105, 334]]
    for size in (64, 112, 224):
        matrix = crops.face_matrix(face.points, size)
        chin_at, *brows_at = (matrix[:, :2] @ point + matrix[:, 2] for point in (chin, *brows))
        # The tip of this wide smile's chin lies just on the edge; the template's own picture ends far above it.
        assert 0.98 * size < chin_at[1] < 1.02 * size
        assert all(0.2 * size < y < 0.3 * size for _, y in brows_at)
        cut = crops.cut(astronaut, face.box, face.points, [f"face-{size}"])[f"face-{size}"]
        assert np.array_equal(cut, crops.warped(astronaut, matrix, size, cv2.BORDER_REPLICATE))


def test_beyond_the_picture_the_face_crop_repeats_its_edge() -> None:
    picture = np.full((30, 30, 3), 200, np.uint8)
    points = (crops.ARCFACE_TEMPLATE - 40).astype(np.float32)
    assert (crops.face(picture, points, 112) == 200).all()
    assert (crops.aligned(picture, points, 112) == 0).any()


@pytest.mark.parametrize(
    ("border", "mode"),
    [(cv2.BORDER_CONSTANT, "grid-constant"), (cv2.BORDER_REPLICATE, "nearest"), (cv2.BORDER_REFLECT_101, "mirror")],
)
@pytest.mark.parametrize(
    "shift", [(20.0, 30.0), (50.0, 60.0), (-89.5, 6.5)], ids=["over the edge", "mostly outside", "inside"]
)
def test_warping_is_sampling_at_the_places_that_the_matrix_gives(
    border: int, mode: str, shift: tuple[float, float]
) -> None:
    y, x = np.mgrid[:90, :120]
    picture = np.stack([127 + 90 * np.sin(x / 9 + k) * np.cos(y / (7 + k)) for k in range(3)], axis=2).astype(np.uint8)
    matrix = np.array([[1.5, 0.7, shift[0]], [-0.7, 1.5, shift[1]]])
    inverse = np.linalg.inv(matrix[:, :2])
    rows, columns = np.mgrid[:64, :64]
    places = inverse @ (np.stack([columns.ravel(), rows.ravel()]) - matrix[:, 2:])
    expected = [
        ndimage.map_coordinates(picture[..., k].astype(float), places[::-1], order=1, mode=mode) for k in range(3)
    ]
    found = crops.warped(picture, matrix, 64, border)
    assert found.shape == (64, 64, 3)
    assert found.dtype == np.uint8
    # OpenCV knows places to 1/32 of a pixel.
    assert np.abs(found - np.stack(expected, 1).reshape(64, 64, 3)).max() < 4
    beyond = (places < 0).any() or (places >= np.array([[120], [90]])).any()
    assert (found == 0).all(axis=2).any() == (beyond and border == cv2.BORDER_CONSTANT)


@pytest.mark.parametrize("quarters", range(4))
def test_warping_down_averages_whichever_way_it_turns(quarters: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (480, 480), np.uint8)
    averages = picture.reshape(120, 4, 120, 4).mean(axis=(1, 3))
    # Four pixels become one, and the middle of the picture stays its middle.
    turn = 0.25 * np.linalg.matrix_power(np.array([[0, 1], [-1, 0]]), quarters)
    shift = np.full(2, 59.5) - turn @ np.full(2, 239.5)
    found = crops.warped(picture, np.column_stack([turn, shift]), 120)
    assert np.abs(found - np.rot90(averages, quarters)).max() <= 1


@settings(deadline=None)
@given(
    st.floats(-math.pi, math.pi),
    st.floats(0.08, 3),
    st.booleans(),
    st.tuples(st.floats(-50, 50), st.floats(-50, 50)),
    st.sampled_from([cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE]),
)
def test_warping_takes_any_similarity_and_grey_pictures(
    angle: float, scale: float, mirrored: bool, shift: tuple[float, float], border: int
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (40, 70, 3), np.uint8)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]]) * (1, -1 if mirrored else 1, 1)
    found = crops.warped(picture, matrix, 24, border)
    assert found.shape == (24, 24, 3)
    for k in range(3):
        assert np.abs(crops.warped(picture[..., k], matrix, 24, border).astype(int) - found[..., k]).max() <= 1


def test_the_similarity_is_the_least_squares_one() -> None:
    random = np.random.default_rng(1)
    source, target = random.normal(size=(5, 2)) * 50, random.normal(size=(5, 2)) * 50
    found = crops.similarity(source, target)
    # As a linear system in (a, b, tx, ty), solved by numpy.
    system = np.concatenate([[(x, -y, 1, 0), (y, x, 0, 1)] for x, y in source])
    a, b, tx, ty = np.linalg.lstsq(system, target.ravel(), rcond=None)[0]
    assert found == pytest.approx(np.array([[a, -b, tx], [b, a, ty]]))


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((900, 900, 3), np.uint8)
    stripes[:, ::2] = 255
    points = (crops.ARCFACE_TEMPLATE * 7).astype(np.float32)
    inner = crops.aligned(stripes, points, 112)[10:-10, 10:-10]
    assert inner.std() < 25, "one-pixel stripes must become grey; without averaging the deviation is 127"


@pytest.mark.parametrize("recipe", ["", "aligned", "aligned-0", "box-2", "aligned-12345", "face", "face-0"])
def test_unknown_crop_recipes_are_refused(recipe: str) -> None:
    with pytest.raises(UsageError, match="aligned-112"):
        crops.check_recipe(recipe)


@pytest.mark.parametrize("options", [{"min_face": 3}, {"threshold": 0.0}, {"threshold": 1.5}])
def test_impossible_detector_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        FaceDetector(**options)


@pytest.mark.parametrize("finder", ["detector.FaceDetector", "mediapipe_detector.MediaPipeDetector"])
def test_nothing_of_the_runtimes_chatter_reaches_the_user(finder: str) -> None:
    module, _, kind = finder.partition(".")
    script = (
        f"import numpy as np, sys\nfrom hsemotion_cli.faces.{module} import {kind}\n"
        f"with {kind}(min_face=40) as f:\n    f.find(np.zeros((240, 320, 3), np.uint8))\n"
        "print('mine', file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stderr == "mine\n"
    assert done.stdout == ""
