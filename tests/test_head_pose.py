"""Head pose and gaze: exact on projections with known angles, equivariant on photos, carried through every file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import clips
import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.domain import Face, Frame, View
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.faces.detector import FaceDetector, detect_faces
from hsemotion_cli.faces.gaze import LIDS, eyes_and_mouth
from hsemotion_cli.faces.head_pose import Camera, canonical_face, head_pose
from hsemotion_cli.faces.measures import USUAL_OPTICS, Optics
from hsemotion_cli.formats import raw_scores, table
from hsemotion_cli.formats.schema import ANGLES, NAMES
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import refine
from hsemotion_cli.tasks import MEASURES
from hsemotion_cli.timeline import Timeline

USUAL = Camera.of(1280, 720)
POSES = ((0, 0, 0), (20, 0, 0), (-20, 0, 0), (0, 30, 0), (0, -50, 0), (0, 0, 25), (10, 20, -30), (-15, -40, 60))


@pytest.fixture(scope="module")
def finder() -> Iterator[FaceDetector]:
    with FaceDetector(blendshapes=False) as found:
        yield found


def run(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output


def rotation(pitch: float, yaw: float, roll: float) -> NDArray[np.float64]:
    """By scipy: x right, y down, z away, so that a raised head turns about -x, and so on."""
    return Rotation.from_euler("ZYX", [-roll, yaw, -pitch], degrees=True).as_matrix()


def projected(
    pose: tuple[float, float, float], towards: tuple[float, float] = (0, 0), camera: Camera = USUAL
) -> NDArray[np.float64]:
    """(478, 2) pixels of the canonical face at 1 m, ``towards`` these degrees right and down of the axis.

    The pose is relative to the line of sight.
    """
    sight = Rotation.from_rotvec(_across(towards)).as_matrix()
    points = canonical_face() @ (sight @ rotation(*pose)).T + sight @ (0, 0, 12.0)
    return points[:, :2] / points[:, 2:] * camera.focal + camera.centre


def _across(towards: tuple[float, float]) -> NDArray[np.float64]:
    """The rotation vector that takes the axis to a direction by the shortest way."""
    right, down = (math.tan(math.radians(angle)) for angle in towards)
    direction = np.array([right, down, 1.0]) / math.hypot(right, down, 1.0)
    axis = np.cross((0, 0, 1), direction)
    sine = float(np.linalg.norm(axis))
    return axis / sine * math.asin(sine) if sine else axis


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("towards", [(0, 0), (20, -10)])
def test_the_pose_of_a_projection_is_found(pose: tuple[float, float, float], towards: tuple[float, float]) -> None:
    camera = Camera.of(1280, 720)
    found = head_pose(projected(pose, towards, camera), camera)
    assert found.angles() == pytest.approx(pose, abs=1e-3)
    assert found.position == pytest.approx((0, 0, 12), abs=1e-3)


def test_up_and_the_right_of_the_subject_are_positive() -> None:
    nose, brow = canonical_face()[1], canonical_face()[10]
    assert (rotation(20, 0, 0) @ nose)[1] < nose[1]  # raised: the tip of the nose goes up in the image
    assert (rotation(0, 20, 0) @ nose)[0] < nose[0]  # to the own right: left in the image
    assert (rotation(0, 0, 20) @ brow)[0] < brow[0]  # to the own right shoulder: the forehead goes left


@pytest.mark.parametrize("pose", POSES)
def test_a_mirror_image_has_the_mirrored_angles(pose: tuple[float, float, float]) -> None:
    camera, face = Camera.of(1280, 720), canonical_face()
    mate = np.linalg.norm((face * (-1, 1, 1))[:, None] - face[None], axis=2).argmin(axis=1)
    seen = projected(pose, (10, 5), camera) + np.random.default_rng(1).normal(0, 1.0, (478, 2))
    other = ((1280, 0) + seen * (-1, 1))[mate]
    one, two = head_pose(seen, camera), head_pose(other, camera)
    pitch, yaw, roll = one.angles()
    assert two.angles() == pytest.approx((pitch, -yaw, -roll), abs=1e-3)
    up, right, (left_eye, right_eye), mouth = eyes_and_mouth(seen, one)
    up_again, left_again, lids, mouth_again = eyes_and_mouth(other, two)
    assert (lids, mouth_again) == (pytest.approx((right_eye, left_eye), abs=1e-3), pytest.approx(mouth, abs=1e-4))
    assert (up_again, left_again) == pytest.approx((up, -right), abs=0.01)


def test_eyes_that_turn_in_a_still_head_change_the_gaze_alone() -> None:
    """Irises moved on eyeballs of 10.5 mm, as scipy turns them."""
    camera = Camera.of(1280, 720)
    radius = 10.5 / 11.7 * 0.1433
    for pose in ((0, 0, 0), (10, 20, 0), (-10, -25, 15)):
        for up, right in ((0, 0), (10, 0), (-10, 0), (0, 20), (0, -20), (8, 15)):
            head, face = rotation(*pose), canonical_face().copy()
            look = rotation(up, right, 0) @ (0, 0, -1.0)
            for iris in (468, 473):
                face[iris] += (0, 0, radius) + radius * (head.T @ look)
            points = face @ head.T + (0, 0, 12.0)
            seen = points[:, :2] / points[:, 2:] * camera.focal + camera.centre
            found = head_pose(seen, camera)
            assert found.angles() == pytest.approx(pose, abs=1e-3)
            assert eyes_and_mouth(seen, found)[:2] == pytest.approx((up, right), abs=1.0)


def test_closed_eyes_have_no_gaze() -> None:
    camera, points = Camera.of(1280, 720), projected((0, 0, 0))
    assert eyes_and_mouth(points, head_pose(points, camera)).openings == pytest.approx((0.71, 0.71), abs=0.05)
    for upper, lower in LIDS:
        points[upper] = points[lower]
    pose = head_pose(points, camera)
    closed = eyes_and_mouth(points, pose)
    assert closed.openings == pytest.approx((0, 0), abs=1e-9)
    assert math.isnan(closed.pitch) and math.isnan(closed.yaw)


@pytest.mark.parametrize("name", ["astronaut.png", "grace_hopper.jpg"])
def test_photos_that_are_mirrored_and_turned(finder: FaceDetector, samples: Path, name: str) -> None:
    photo = clips.still(samples / "stills" / name)
    pitch, yaw, roll, up, right = angles(finder, photo)
    mirrored = angles(finder, np.ascontiguousarray(photo[:, ::-1]))
    assert mirrored[:3] == pytest.approx((pitch, -yaw, -roll), abs=1.5)
    assert mirrored[3:] == pytest.approx((up, -right), abs=4)
    for degrees in (-20, 20):  # counter-clockwise: towards the subject's right shoulder
        turned = angles(finder, rotated(photo, degrees))
        assert turned[2] - roll == pytest.approx(degrees, abs=1)
        assert turned[:2] == pytest.approx((pitch, yaw), abs=2)


def angles(finder: FaceDetector, image: np.ndarray, optics: Optics = USUAL_OPTICS) -> np.ndarray:
    """The five angles of the only face."""
    (face,) = detect_faces(Frame(0, 0.0, image), finder, [], optics=optics).faces
    assert face.measures is not None
    return face.measures[:5]


def rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    """Counter-clockwise about its middle, on a larger canvas."""
    height, width = image.shape[:2]
    side = 2 * math.ceil(math.hypot(height, width) / 2)
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    matrix[:, 2] += (side / 2 - width / 2, side / 2 - height / 2)
    return cv2.warpAffine(image, matrix, (side, side), borderValue=(90, 100, 110))


def test_a_region_of_an_image_has_the_poses_of_the_whole(finder: FaceDetector, astronaut: np.ndarray) -> None:
    wide = cv2.copyMakeBorder(astronaut, 100, 100, 900, 0, cv2.BORDER_REPLICATE)
    whole = angles(finder, np.asarray(wide, np.uint8), Optics(90))
    part = Frame(0, 0.0, np.ascontiguousarray(wide[100:, 860:]), view=View(860, 100))
    (face,) = detect_faces(part, finder, [], optics=Optics(90, (wide.shape[1], wide.shape[0]))).faces
    assert face.measures is not None
    assert face.measures[:3] == pytest.approx(whole[:3], abs=1)  # the face stands 31 degrees off the axis


def test_a_crop_is_seen_from_a_metre_whatever_the_field_of_view(finder: FaceDetector, astronaut: np.ndarray) -> None:
    crop = Frame(0, 0.0, np.ascontiguousarray(astronaut[60:260, 120:320]))
    found = []
    for fov in (20, 100):
        (face,) = detect_faces(crop, finder, [], given=True, optics=Optics(fov, crops=True)).faces
        assert face.measures is not None
        found.append(face.measures)
    assert (found[0] == found[1]).all()


@pytest.mark.parametrize("fov", [4.9, 151, math.nan])
def test_an_impossible_field_of_view_is_refused(fov: float) -> None:
    with pytest.raises(UsageError, match="--fov"):
        Optics(fov)


def test_faces_without_landmarks_have_no_measures(tmp_path: Path, nobody: Path, smile: Path) -> None:
    run("annotate", nobody, "-o", tmp_path)
    assert pd.read_csv(tmp_path / "nobody.csv")[list(ANGLES)].isna().all(axis=None)
    run("annotate", smile, "-o", tmp_path, "--model", "mt-mobilefacenet", "--detector", "fast")
    found = pd.read_csv(tmp_path / "smile.csv")
    assert found["face_id"].notna().all() and found[list(ANGLES)].isna().all(axis=None)


def test_angles_survive_smoothing_later(smile: Path, tmp_path: Path) -> None:
    words = ["--smooth", "gaussian:0.1", "--format", "csv,parquet,jsonl"]
    run("annotate", smile, "-o", tmp_path / "once", *words, "--detect-every", "2", "--fov", "40")
    run("annotate", smile, "-o", tmp_path / "raw", "--detect-every", "2", "--fov", "40")
    run("smooth", tmp_path / "raw" / "smile.csv", "-o", tmp_path / "late", *words)
    for suffix in ("csv", "parquet", "jsonl"):
        assert (tmp_path / "late" / f"smile.{suffix}").read_bytes() == (
            tmp_path / "once" / f"smile.{suffix}"
        ).read_bytes()
    once, raw = (pd.read_csv(tmp_path / folder / "smile.csv") for folder in ("once", "raw"))
    assert once[list(ANGLES)].notna().all(axis=None)
    pd.testing.assert_frame_equal(once[list(ANGLES)], raw[list(ANGLES)])  # angles are never smoothed
    assert once["head_roll"].std() < 1.5  # the face moves across the image and does not turn
    run("annotate", smile, "-o", tmp_path / "wide", "--fov", "90")
    assert (pd.read_csv(tmp_path / "wide" / "smile.csv")["head_pitch"] != once["head_pitch"]).any()


def line(rolls: list[float], positions: list[int]) -> Timeline:
    """One face with known roll, in some of ten frames."""
    n = len(positions)
    known = {name: np.arange(n, dtype=np.float32) for name in MEASURES} | {"head_roll": np.array(rolls, np.float32)}
    random = np.random.default_rng(0)
    scores = {"m": {"valence_arousal": random.uniform(-1, 1, (n, 2)).astype(np.float32)}}
    return Timeline(
        np.arange(10), np.arange(10) / 10, np.array(positions), np.zeros(n, np.int64), np.ones(n, np.float32),
        np.ones((n, 4), np.float32), scores, measures=known,
    )  # fmt: skip


def test_gaps_are_bridged_on_the_shorter_way_round() -> None:
    recipe = Recipe(("m",), interpolate=1.0, thresholds=Recipe.of("mp-blendshapes").thresholds)
    found = refine(line([170, -170], [2, 6]), recipe)
    assert found.row.tolist() == [2, 3, 4, 5, 6]
    assert found.measures["head_roll"] == pytest.approx([170, 175, 180, -175, -170])
    assert found.measures["head_yaw"] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert found.measures["mouth_gap"] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    apart = refine(line([170, math.nan], [2, 4]), recipe)
    assert np.isnan(apart.measures["head_roll"][1:]).all()


def test_raw_scores_hold_the_measures_and_older_ones_have_none(tmp_path: Path) -> None:
    recipe = Recipe(("m",), thresholds=Recipe.of("mp-blendshapes").thresholds)
    before = line([1, math.nan], [0, 5])
    with (tmp_path / "a.raw.npz").open("wb") as file:
        raw_scores.write(before, file)
    after = raw_scores.read(tmp_path / "a.raw.npz")
    for name in MEASURES:
        np.testing.assert_array_equal(after.measures[name], before.measures[name])
    with (tmp_path / "b.raw.npz").open("wb") as file:
        raw_scores.write(dataclasses.replace(before, measures={}), file)
    old = raw_scores.read(tmp_path / "b.raw.npz")
    assert old.measures == {}
    (block,) = table.blocks(refine(old, recipe))
    assert all(value is None for name in ANGLES for value in block[name])
    for wrong in (np.zeros(3, np.float32), np.zeros((2, 1), np.float32), np.full(2, np.inf, np.float32), np.zeros(2)):
        with np.load(tmp_path / "a.raw.npz") as data:
            np.savez(tmp_path / "c.raw.npz", **{**data, "measures/head_yaw": wrong})
        with pytest.raises(InputError, match="head_yaw"):
            raw_scores.read(tmp_path / "c.raw.npz")


def test_tables_of_version_2_are_read_with_empty_angles(smile: Path, tmp_path: Path) -> None:
    run("annotate", smile, "-o", tmp_path, "--model", "mp-blendshapes")
    now = pd.read_csv(tmp_path / "smile.csv")
    now.drop(columns=list(ANGLES)).to_csv(tmp_path / "old.csv", index=False)
    old = table.load(tmp_path / "old.csv")
    assert tuple(old) == NAMES
    assert old[list(ANGLES)].isna().all(axis=None)
    assert old["p_happiness"].tolist() == now["p_happiness"].tolist()


def test_a_face_keeps_its_measures_on_its_way(finder: FaceDetector, astronaut: np.ndarray) -> None:
    (face,) = detect_faces(Frame(0, 0.0, astronaut), finder, []).faces
    assert isinstance(face, Face) and face.measures is not None
    assert face.measures.shape == (len(MEASURES),) and face.measures.dtype == np.float32
