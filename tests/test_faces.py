"""Finding faces: the right place, whatever came before, also small ones; and cutting them out."""

from __future__ import annotations

import csv
import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import clips
import cv2
import numpy as np
import pytest
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known
from scipy import ndimage
from typer.testing import CliRunner

from hsemotion_cli import tasks
from hsemotion_cli.cli import app
from hsemotion_cli.commands.options import FaceOptions
from hsemotion_cli.domain import Face, Frame
from hsemotion_cli.errors import UsageError
from hsemotion_cli.faces import crops, detector, mediapipe_onnx
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.crops import FIVE_POINTS
from hsemotion_cli.faces.detector import FaceDetector, detect_faces, detect_in_block, overlap, tiles
from hsemotion_cli.faces.mediapipe_detector import MediaPipeDetector
from hsemotion_cli.faces.verification import Evidence, probability
from hsemotion_cli.formats import raw_scores, table
from hsemotion_cli.media.images import read_image
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import open_source
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import refine


def pictures(videos: list[Path], name: str, start: float, end: float | None = None) -> list[np.ndarray]:
    """The frames of a part, in seconds, of the clip whose name begins so."""
    (clip,) = (path for path in videos if path.stem.startswith(name))
    return [frame.image for frame in open_source(clip).frames(Sampling(start=start, end=end))]


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceDetector]:
    with FaceDetector() as finder:
        yield finder


def test_the_same_image_gives_the_same_face_whatever_came_before(finder: FaceDetector, astronaut: np.ndarray) -> None:
    (alone,) = finder.find(astronaut)
    finder.find(clips.portrait(shift=40))
    finder.find(clips.blank())
    (later,) = finder.find(astronaut)
    assert later.box == alone.box
    assert later.score == alone.score
    assert np.array_equal(known(later.landmarks), known(alone.landmarks))
    assert np.array_equal(known(later.blendshapes), known(alone.blendshapes))


def test_two_faces_are_two(finder: FaceDetector) -> None:
    picture = np.hstack([clips.portrait(240, 240), clips.portrait(240, 240)[:, ::-1]])
    found = finder.find(np.ascontiguousarray(picture))
    assert sorted(face.box[0] > 240 for face in found) == [False, True]
    assert overlap(found[0].box, found[1].box) == 0


def test_images_without_a_face_yield_none_and_tiny_images_do_no_harm(finder: FaceDetector) -> None:
    for size in ((1, 1), (2, 500), (500, 2), (320, 240)):
        assert finder.find(clips.blank(*size)) == []


@pytest.mark.parametrize("kind", [FaceDetector, BlazeFaceDetector, MediaPipeDetector])
def test_a_face_that_fills_the_image_is_found_where_it_is(kind: type[FaceDetector], astronaut: np.ndarray) -> None:
    left, top = 170, 102  # the forehead is not in the image
    close = np.ascontiguousarray(astronaut[top:189, left:262])
    with kind() as finder:
        (expected,) = finder.find(astronaut)
        (face,) = finder.find(close)
    shift = np.array((left, top))
    assert expected.points is not None and face.points is not None
    assert np.hypot(*(face.points + shift - expected.points).T).max() < 0.1 * expected.box[2]
    assert overlap((face.box[0] + left, face.box[1] + top, *face.box[2:]), expected.box) > 0.7
    if expected.landmarks is not None:
        assert face.landmarks is not None and face.blendshapes is not None
        np.testing.assert_array_equal(face.points, face.landmarks[list(FIVE_POINTS)])


@pytest.mark.parametrize("kind", [FaceDetector, BlazeFaceDetector])
def test_letters_and_clouds_are_rarely_faces(kind: type[FaceDetector], shared_videos: list[Path]) -> None:
    frames = pictures(shared_videos, "face_then_no_face", 5.6, 6.4) + pictures(shared_videos, "no_face", 3.4)
    assert len(frames) > 25
    with kind(threshold=0.9) as strict, kind(threshold=0.02) as loose:
        assert not any(strict.find(frame) for frame in frames)
        assert sum(bool(loose.find(frame)) for frame in frames[::4]) > 3, "they were asked for"


def test_photos_without_faces_have_none(finder: FaceDetector) -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="two photos come with scikit-learn")
    for name in ("china.jpg", "flower.jpg"):
        photo = datasets.load_sample_image(name)
        for size in ((640, 427), (1280, 854), (1920, 1280)):
            assert finder.find(cv2.resize(photo, size)) == []


def on_grey(picture: np.ndarray, places: list[tuple[int, int, float]], size: tuple[int, int]) -> np.ndarray:
    """An image of (width, height) with the image at each place (left, top, scale)."""
    image = np.full((size[1], size[0], 3), 110, np.uint8)
    for left, top, scale in places:
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        image[top : top + small.shape[0], left : left + small.shape[1]] = small
    return image


@pytest.mark.parametrize("width", [40, 60, 100, 180, 300])
def test_faces_of_any_size_are_found_in_720p_without_any_option(
    finder: FaceDetector, samples: Path, width: int
) -> None:
    for path in sorted((samples / "stills").iterdir()):
        still = read_image(path)
        assert still is not None
        x, y, own, high = finder.find(still)[0].box
        scale = min(width / own, 720 / still.shape[0])
        right, low = 1280 - round(scale * still.shape[1]) - 1, 720 - round(scale * still.shape[0]) - 1
        for left, top in ((min(40, right), 0), (min(600, right), max(low, 0) // 2), (right, max(low, 0))):
            found = finder.find(on_grey(still, [(left, top, scale)], (1280, 720)))
            true = (left + scale * x, top + scale * y, scale * own, scale * high)
            assert len(found) == 1 and overlap(found[0].box, true) > 0.6, (path.name, left, top)


def test_a_small_face_beside_a_large_one_is_found(finder: FaceDetector, astronaut: np.ndarray) -> None:
    own = finder.find(astronaut)[0].box[2]
    found = finder.find(on_grey(astronaut, [(20, 100, 1.1), (900, 300, 45 / own)], (1280, 720)))
    assert sorted(face.box[2] for face in found) == pytest.approx([45, 1.1 * own], rel=0.15)


class Blind(FaceDetector):
    """Sees no landmarks in any candidate, as in a face behind a hand."""

    def _placed(self, image: np.ndarray, candidate: mediapipe_onnx.Candidate) -> detector.Shape:
        return np.zeros((478, 2), np.float32), None, -2.0


def test_a_face_without_landmarks_counts_by_its_scores(finder: FaceDetector, astronaut: np.ndarray) -> None:
    (expected,) = finder.find(astronaut)
    with Blind() as blind:
        (face,) = blind.find(astronaut)
    assert face.landmarks is None and face.blendshapes is None
    assert 0.6 <= face.score < expected.score
    assert expected.points is not None and face.points is not None
    assert np.hypot(*(face.points - expected.points).T).max() < 0.12 * expected.box[2]
    assert overlap(face.box, expected.box) > 0.6


scores = st.floats(0, 1)


logits = st.floats(-30, 30)


@given(scores, scores, st.none() | logits, st.floats(16, 2000), logits, st.floats(0, 0.3))
def test_more_evidence_never_makes_a_face_less_likely(
    score: float, closer: float, presence: float | None, width: float, classified: float, more: float
) -> None:
    evidence = Evidence(score, closer, presence, width, classified)
    one = probability(evidence)
    assert 0 < one < 1
    replace = dataclasses.replace
    assert probability(replace(evidence, score=min(score + more, 1))) >= one
    assert probability(replace(evidence, closer=min(closer + more, 1))) >= one
    assert probability(replace(evidence, classified=classified + 10 * more)) >= one
    if presence is not None:
        assert probability(replace(evidence, presence=presence + 10 * more)) >= one


def test_a_faint_candidate_must_be_surer() -> None:
    clear, faint = (Evidence(score, 0.6, 4.0, 60.0, 2.0) for score in (0.15, 0.149))
    odds = [probability(evidence) / (1 - probability(evidence)) for evidence in (clear, faint)]
    # By the doubt, and the little that the score itself weighs: 0.75 needs what 0.93 was.
    assert odds[0] / odds[1] == pytest.approx(math.exp(1.5), rel=0.01)
    assert math.log(0.93 / 0.07) - 1.5 == pytest.approx(math.log(3), abs=0.02)


@pytest.mark.parametrize(("inside", "count"), [(0.4, 0), (0.8, 1)])
def test_a_face_that_the_edge_cuts_in_half_does_not_count(
    finder: FaceDetector, astronaut: np.ndarray, inside: float, count: int
) -> None:
    x, _, width, _ = finder.find(astronaut)[0].box
    assert len(finder.find(np.ascontiguousarray(astronaut[:, round(x + (1 - inside) * width) :]))) == count


class Counting(FaceDetector):
    """Counts the images that are searched in tiles."""

    searched = 0

    def _in_tiles(self, image: np.ndarray, known: Sequence[Face] = ()) -> list[mediapipe_onnx.Candidate]:
        self.searched += 1
        return super()._in_tiles(image, known)


def test_in_a_block_one_frame_is_searched_in_tiles_and_the_others_near_its_faces(astronaut: np.ndarray) -> None:
    with Counting() as finder:
        own = finder.find(astronaut)[0].box[2]
        shown = [on_grey(astronaut, [(500 + 3 * k, 300, 34 / own)], (1280, 720)) for k in range(5)]
        frames = [Frame(k, k / 25, image) for k, image in enumerate(shown)]
        finder.searched = 0
        block = detect_in_block(frames, finder, [])
        assert finder.searched == 1
        assert [len(sighting.faces) for sighting in block] == [1] * 5
        moved = np.diff([sighting.faces[0].box[0] for sighting in block])
        assert np.abs(moved - 3).max() < 2
        detect_in_block([frames[0], dataclasses.replace(frames[1], cut=True)], finder, [])
        assert finder.searched == 3


@given(st.integers(0, 40), st.integers(1, 50_000_000))
def test_blocks_keep_all_frames_in_order(count: int, pixels: int) -> None:
    frames = [Frame(k, k / 25, clips.blank(2, 2)) for k in range(count)]
    found = list(detector.blocks(iter(frames), pixels))
    assert [frame.index for block in found for frame in block] == list(range(count))
    assert all(2 <= len(block) <= detector.BLOCK for block in found[:-1])


@given(
    st.tuples(*[st.floats(-50, 150)] * 2, *[st.floats(1, 200)] * 2), st.tuples(st.integers(1, 100), st.integers(1, 100))
)
def test_the_share_inside_is_that_of_the_overlap(box: tuple, size: tuple) -> None:
    share = detector.share_inside(box, np.empty((*size, 3), np.uint8))
    picture = (0.0, 0.0, float(size[1]), float(size[0]))
    union = overlap(box, picture)  # of both areas: intersection / (a + b - intersection)
    areas = box[2] * box[3] + size[0] * size[1]
    assert share == pytest.approx(union / (1 + union) * areas / (box[2] * box[3]), abs=1e-9)


def test_faces_without_landmarks_are_scored_by_the_network_alone(finder: FaceDetector, tmp_path: Path) -> None:
    folder = SHARED / "data" / "muxspace" / "images"
    if not folder.is_dir():
        pytest.skip("needs the portraits of ../shared/data/muxspace, which are not here")
    for name in ("KatrinaKaif_67", "Dwarakish_94", "Dileep_68"):
        picture = clips.still(folder / f"{name}.jpg")
        (face,) = finder.find(picture)
        assert face.landmarks is None and face.points is not None
        assert overlap(face.box, (0, 0, picture.shape[1], picture.shape[0])) > 0.4
        for model, answered in (("mt-mobilefacenet,mp-blendshapes", True), ("mp-blendshapes", False)):
            out = str(tmp_path / model)
            options = ["annotate", "-q", str(folder / f"{name}.jpg"), "-o", out, "--model", model]
            assert CliRunner().invoke(app, options).exit_code == 0
            with Path(out, f"{name}.csv").open(newline="") as file:
                (row,) = csv.DictReader(file)
            assert row["face_detected"] == "1" and row["landmarks"] == "0" and row["head_yaw"] == ""
            assert all(bool(row[column]) == answered for column in ("expression", "valence", "AU12_p"))


def test_the_table_has_a_column_for_placed_landmarks(smile: Path, tmp_path: Path) -> None:
    for more, expected in (((), {"1"}), (("--detector", "fast"), {"0"})):
        options = ["annotate", "-q", str(smile), "-o", str(tmp_path), "--model", "mt-mobilefacenet", *more]
        assert CliRunner().invoke(app, options).exit_code == 0
        with (tmp_path / f"{smile.stem}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert {row["landmarks"] for row in rows} == expected
    # Raw scores from before anything was measured do not tell.
    raw = raw_scores.read(tmp_path / f"{smile.stem}.raw.npz")
    affect = refine(dataclasses.replace(raw, measures={}), Recipe.of("mt-mobilefacenet"))
    (block,) = table.blocks(affect)
    assert set(block["landmarks"]) == {None}


def test_min_face_sets_which_faces_are_searched_for(finder: FaceDetector, astronaut: np.ndarray) -> None:
    own = finder.find(astronaut)[0].box[2]
    small = on_grey(astronaut, [(700, 300, 26 / own)], (1920, 1080))
    assert finder.find(small) == []
    with FaceDetector(min_face=24) as tiled:
        (face,) = tiled.find(small)
    assert face.box[2] == pytest.approx(26, abs=4)
    with FaceDetector(min_face=200) as wanted:
        assert wanted.find(on_grey(astronaut, [(700, 300, 100 / own)], (1920, 1080))) == []


@given(st.floats(-300, 300), st.floats(-300, 300), st.floats(1, 400))
def test_a_box_beyond_the_image_has_surroundings_too(x: float, y: float, size: float) -> None:
    left, top, region = detector.surroundings(clips.blank(60, 40), (x, y, size, size), 1.0)
    assert region.size and 0 <= left < 60 and 0 <= top < 40


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_few_tiles_are_searched_unasked(width: int, height: int) -> None:
    least = detector.smallest_tiled_face(width, height)
    found = tiles(width, height, least)
    assert len(found) <= 16 or max(width, height) > 3 * min(width, height)
    assert all(side < max(width, height) for _, _, side in found)
    assert least == 24 or least <= max(width, height) / 32 + 1


@given(st.integers(1, 4000), st.integers(1, 3000), st.integers(16, 200), st.data())
def test_tiles_hold_every_face_of_the_smallest_size_whole(
    width: int, height: int, face: int, data: st.DataObject
) -> None:
    if face > min(width, height):
        return
    x, y = data.draw(st.integers(0, width - face)), data.draw(st.integers(0, height - face))
    whole = [(0, 0, max(width, height)), *tiles(width, height, face)]
    holding = [t for t in whole if t[0] <= x and t[1] <= y and x + face <= t[0] + t[2] and y + face <= t[1] + t[2]]
    # ... in one in which it is large enough for the detector; sides are whole pixels
    assert any(face + detector.REACH >= detector.REACH * side for _, _, side in holding)


def test_a_given_crop_is_the_face(finder: FaceDetector, astronaut: np.ndarray) -> None:
    x, y, w, h = (round(v) for v in finder.find(astronaut)[0].box)
    crop = np.ascontiguousarray(astronaut[y : y + h, x : x + w])
    sighting = detect_faces(Frame(7, 0.28, crop), finder, ["box", "aligned-112"], given=True)
    (face,) = sighting.faces
    assert face.box == (0, 0, w, h)
    assert np.isnan(face.score)
    assert face.crops["box"] is crop
    assert face.crops["aligned-112"] is crop
    assert known(face.blendshapes)[tasks.BLENDSHAPES.index("mouthSmileLeft")] > 0.6


def test_of_a_given_crop_the_face_crop_is_cut_by_its_landmarks(finder: FaceDetector, astronaut: np.ndarray) -> None:
    x, y, w, h = (round(v) for v in finder.find(astronaut)[0].box)
    given = np.ascontiguousarray(astronaut[y - h // 2 : y + 3 * h // 2, x - w // 2 : x + 3 * w // 2])
    sighting = detect_faces(Frame(0, 0.0, given), finder, ["face-112", "aligned-112"], given=True)
    (face,) = sighting.faces
    assert face.crops["aligned-112"] is given
    assert np.array_equal(face.crops["face-112"], crops.face(given, known(face.points), 112))
    # ... so it is what the whole image gives, but for the last decimals of the landmarks.
    (direct,) = finder.find(astronaut)
    whole = crops.face(astronaut, known(direct.points), 112).astype(float)
    assert np.abs(face.crops["face-112"] - whole)[20:90, 20:90].mean() < 6


def test_the_face_crop_of_a_given_crop_without_a_face_is_the_whole_image(finder: FaceDetector) -> None:
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
    points = known(face.points)
    for size in (112, 224):
        placed = []
        for x, y in points:
            marked[:] = 0
            cv2.circle(marked, (round(float(x)), round(float(y))), 2, (255, 255, 255), -1)
            spot = crops.aligned(marked, points, size)[..., 0].astype(float)
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
    chin, *brows = known(face.landmarks)[[152, 105, 334]]
    for size in (64, 112, 224):
        matrix = crops.face_matrix(known(face.points).astype(float), size)
        chin_at, *brows_at = (matrix[:, :2] @ point + matrix[:, 2] for point in (chin, *brows))
        # The tip of this wide smile's chin lies just on the edge; the template's own image ends far above it.
        assert 0.98 * size < chin_at[1] < 1.02 * size
        assert all(0.2 * size < y < 0.3 * size for _, y in brows_at)
        cut = crops.cut(astronaut, face.box, known(face.points), [f"face-{size}"])[f"face-{size}"]
        assert np.array_equal(cut, crops.warped(astronaut, matrix, size, cv2.BORDER_REPLICATE))


def test_beyond_the_image_the_face_crop_repeats_its_edge() -> None:
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
    # Four pixels become one, and the middle of the image stays its middle.
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
def test_warping_takes_any_similarity_and_grey_images(
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
def test_impossible_detector_settings_are_refused(options: dict[str, Any]) -> None:
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


def test_the_command_line_and_the_detectors_have_one_default_threshold() -> None:
    kinds = (FaceDetector, BlazeFaceDetector, MediaPipeDetector)
    assert {kind().threshold for kind in kinds} == {FaceOptions().det_threshold, detector.THRESHOLD}
