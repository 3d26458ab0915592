"""Faster annotation: concurrent stages, the fast detector, and running detector or networks on fewer frames.

Concurrency must not change results; the effect of the other options must stay within known bounds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known import known
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.domain import Face, Frame, Reading, Scores, Sighting
from hsemotion_cli.errors import UsageError
from hsemotion_cli.faces import interpolation, tracking
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.detector import FaceDetector, detect_faces, overlap
from hsemotion_cli.faces.keypoints import KeypointMap
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import open_source
from hsemotion_cli.models import frame_skipping
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.runtime.executor import SerialExecutor, ThreadedExecutor
from hsemotion_cli.timeline import Timeline

NETWORK = Recipe.of("mt-mobilefacenet")
BOTH = Recipe.usual()


def annotated(path: Path, out: Path, in_turn: bool = False, **options: Any) -> Timeline:
    options.setdefault("recipe", BOTH)
    with Annotator(Settings(**options), SerialExecutor if in_turn else ThreadedExecutor) as annotator:
        annotator.annotate(path, out, path.stem)
    return raw_scores.read(out / f"{path.stem}.raw.npz")


@pytest.fixture(scope="module")
def coming_and_going(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No face, a moving face, a cut to the same face elsewhere, no face: 5, 14, 9 and 4 frames."""
    path = tmp_path_factory.mktemp("clips") / "coming.mp4"
    moving = [clips.portrait(shift=3 * k) for k in range(14)]
    elsewhere = [255 - clips.portrait(shift=0) // 3 for _ in range(3)]
    pictures = [clips.blank()] * 5 + moving + elsewhere + [clips.portrait(shift=60)] * 9 + [clips.blank()] * 4
    clips.write(path, pictures)
    return path


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"recipe": NETWORK, "detector": "fast", "batch_size": 3},
        {"detect_every": 4, "stride": 3},
        {"sampling": Sampling(every=2), "faces": 1, "min_face": 60},
    ],
    ids=str,
)
def test_side_by_side_gives_the_bytes_of_in_turn(coming_and_going: Path, tmp_path: Path, options: dict) -> None:
    files = []
    for name, in_turn in (("turn", True), ("beside", False)):
        annotated(coming_and_going, tmp_path / name, in_turn, **options)
        files.append([(tmp_path / name / f"coming.{kind}").read_bytes() for kind in ("csv", "raw.npz")])
    assert files[0] == files[1]
    assert len(files[0][0].splitlines()) > 12


def test_the_sidecar_says_what_was_chosen(smile: Path, tmp_path: Path) -> None:
    annotated(smile, tmp_path, detector="fast", recipe=NETWORK, detect_every=3, stride=2)
    said = json.loads((tmp_path / "smile.json").read_text())
    assert (said["detector"]["kind"], said["detector"]["every"]) == ("fast", 3)
    assert said["sampling"]["network_stride"] == 2


# --- the fast detector --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finders() -> Iterator[tuple[FaceDetector, FaceDetector]]:
    with FaceDetector() as slow, BlazeFaceDetector() as fast:
        yield slow, fast


def test_the_fast_detector_finds_the_same_faces(
    shared_videos: list[Path], finders: tuple[FaceDetector, FaceDetector]
) -> None:
    slow, fast = finders
    frames = agreed = 0
    apart, shared = [], []
    for path in shared_videos:
        for frame in open_source(path).frames(Sampling(every=15)):
            ones, others = slow.find(frame.image), fast.find(frame.image)
            same = tracking.pairs([face.box for face in ones], [face.box for face in others])
            frames += 1
            agreed += len(same) == len(ones) == len(others)
            for i, j in same:
                eyes = np.linalg.norm(known(ones[i].points)[1] - known(ones[i].points)[0])
                apart.append(np.linalg.norm(known(ones[i].points) - known(others[j].points), axis=1).mean() / eyes)
                shared.append(overlap(ones[i].box, others[j].box))
                assert others[j].landmarks is None and others[j].blendshapes is None
    assert frames > 80 and agreed / frames > 0.97
    assert np.median(apart) < 0.1 and np.max(apart) < 0.25
    assert np.median(shared) > 0.88


@given(st.floats(0.2, 5), st.floats(-3.1, 3.1), st.floats(-500, 500), st.floats(-500, 500))
def test_a_face_that_is_turned_and_moved_has_points_turned_and_moved(s: float, a: float, x: float, y: float) -> None:
    marks = np.array([(30, 40), (70, 40), (50, 62), (50, 80), (12, 48), (88, 48)], np.float64)
    turn = s * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    the_map = KeypointMap.read()
    moved = the_map.points((marks @ turn.T + (x, y)).astype(np.float32))
    np.testing.assert_allclose(moved, the_map.points(marks.astype(np.float32)) @ turn.T + (x, y), atol=0.01 * s + 1e-3)


def test_the_fast_detector_finds_the_points_of_a_given_crop(finders: tuple[FaceDetector, FaceDetector]) -> None:
    slow, fast = finders
    picture = clips.portrait()
    face = slow.find(picture)[0]
    x, y, width, height = (round(v) for v in face.box)
    crop = picture[max(y - 20, 0) : y + height + 10, max(x - 10, 0) : x + width + 10]
    one, other = slow.find_in_crop(crop), fast.find_in_crop(crop)
    assert one.box == other.box
    assert np.linalg.norm(known(one.points) - known(other.points), axis=1).mean() < 0.15 * width
    assert fast.find_in_crop(clips.blank()).points is None


def test_the_fast_detector_serves_networks_only(smile: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["annotate", str(smile), "-o", str(tmp_path), "--detector", "fast", "--model", "mp-blendshapes"]
    )
    assert result.exit_code == 2 and "mp-blendshapes reads landmarks" in result.output
    assert not list(tmp_path.iterdir())
    # Without a model it takes the network of the default.
    result = CliRunner().invoke(app, ["annotate", str(smile), "-o", str(tmp_path), "--detector", "fast", "--quiet"])
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "smile.json").read_text())
    assert [model["name"] for model in said["models"]] == ["mt-mobilefacenet"]
    expression = raw_scores.read(tmp_path / "smile.raw.npz").scores["mt-mobilefacenet"]["expression"]
    assert (np.nanargmax(expression, axis=1) == 4).all()  # happiness


# --- fewer searches -----------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 7))
def test_ends_cuts_and_every_nth_frame_are_searched(cuts: list[bool], every: int) -> None:
    picture = np.zeros((1, 1, 3), np.uint8)
    frames = [Frame(k, k / 25, picture, cut) for k, cut in enumerate(cuts)]
    plans = list(interpolation.schedule(frames, every))
    assert [plan.frame.index for plan in plans] == list(range(len(cuts)))
    searched = [plan.searched for plan in plans]
    for k, cut in enumerate(cuts):
        if k in (0, len(cuts) - 1) or cut or (k + 1 < len(cuts) and cuts[k + 1]):
            assert searched[k]
        assert any(searched[k : k + every]) or len(cuts) - k < every
    if not any(cuts) and len(cuts) > 1:
        assert [k for k in range(len(cuts) - 1) if searched[k]] == list(range(0, len(cuts) - 1, every))


def test_between_two_searches_a_face_moves_in_a_straight_line(tmp_path: Path) -> None:
    path = tmp_path / "moving.mp4"
    clips.write(path, [clips.portrait(shift=3 * k) for k in range(13)])
    exact = annotated(path, tmp_path / "exact")
    some = annotated(path, tmp_path / "some", detect_every=4)
    assert some.row.tolist() == exact.row.tolist() == list(range(13))
    for k in range(13):
        before, after = 4 * (k // 4), min(4 * (k // 4) + 4, 12)
        share = (k - before) / 4
        expected = exact.box[before] * (1 - share) + exact.box[after] * share
        np.testing.assert_allclose(some.box[k], expected, atol=0.01)
    # The network looked at the image of each frame, at the place that was worked out.
    for task in ("expression", "valence_arousal"):
        ours, theirs = (one.scores["mt-mobilefacenet"][task] for one in (some, exact))
        np.testing.assert_array_equal(ours[::4], theirs[::4])
        assert 0 < np.nanmax(np.abs(ours - theirs)) < 0.2


def test_where_somebody_comes_or_goes_every_frame_is_searched(coming_and_going: Path, tmp_path: Path) -> None:
    exact = annotated(coming_and_going, tmp_path / "exact")
    some = annotated(coming_and_going, tmp_path / "some", detect_every=6)
    assert some.row.tolist() == exact.row.tolist()
    assert some.face_id.tolist() == exact.face_id.tolist()
    assert 0 < np.abs(some.box - exact.box).max() < 4


def test_faces_are_interpolated_by_time() -> None:
    face = Face((0.0, 0.0, 40.0, 40.0), 0.9, np.zeros((5, 2), np.float32))
    other = replace(face, box=(15.0, 0.0, 50.0, 40.0), score=0.7, points=np.full((5, 2), 15, np.float32))
    picture = np.zeros((60, 90, 3), np.uint8)
    between = [Frame(1, 0.1, picture), Frame(2, 0.4, picture)]
    items: list[Sighting | Frame] = [Sighting(0, 0.0, (face,)), *between, Sighting(3, 0.5, (other,))]
    with FaceDetector() as finder:
        found = list(interpolation.interpolate(iter(items), finder, ["box"]))
    assert [one.index for one in found] == [0, 1, 2, 3]
    # By time, not by number: a fifth and four fifths of the way.
    assert [round(one.faces[0].box[0], 5) for one in found] == [0, 3, 12, 15]
    assert [round(one.faces[0].box[2], 5) for one in found] == [40, 42, 48, 50]
    assert [round(float(known(one.faces[0].points)[0, 0]), 5) for one in found] == [0, 3, 12, 15]
    assert found[1].faces[0].crops["box"].shape == (40, 42, 3)
    assert found[2].faces[0].score == pytest.approx(0.74)


# --- fewer looks --------------------------------------------------------------------------------------------------


def test_scores_between_two_looks_lie_on_a_line(coming_and_going: Path, tmp_path: Path) -> None:
    exact = annotated(coming_and_going, tmp_path / "exact")
    some = annotated(coming_and_going, tmp_path / "some", stride=4)
    assert some.row.tolist() == exact.row.tolist() and some.face_id.tolist() == exact.face_id.tolist()
    # What costs nothing looked at every frame.
    for task, values in exact.scores["mp-blendshapes"].items():
        np.testing.assert_array_equal(some.scores["mp-blendshapes"][task], values)
    ours, theirs = (one.scores["mt-mobilefacenet"] for one in (some, exact))
    time = exact.time[exact.row]
    for track in np.unique(exact.face_id):
        rows = np.flatnonzero(exact.face_id == track)
        runs = np.split(rows, np.flatnonzero(np.diff(exact.row[rows]) > 1) + 1)
        for run in runs:
            looked = sorted({*run[::4], run[-1]})
            for task, values in theirs.items():
                for column in range(values.shape[1]):
                    line = np.interp(time[run], time[looked], values[looked, column])
                    np.testing.assert_allclose(ours[task][run, column], line, atol=1e-6)
    assert np.nanmax(np.abs(ours["expression"] - theirs["expression"])) > 0  # or no frame was left out


@given(st.lists(st.sets(st.integers(0, 3)), max_size=25), st.integers(1, 6))
def test_the_first_and_last_of_each_row_of_frames_are_looked_at(people: list[set[int]], step: int) -> None:
    nobody = Face((0.0, 0.0, 1.0, 1.0), 1.0)
    seen = [
        Sighting(k, k / 10, tuple(replace(nobody, track=one) for one in sorted(here))) for k, here in enumerate(people)
    ]
    looks = list(frame_skipping.schedule(seen, step))
    assert [one.sighting for one in looks] == seen
    for person in range(4):
        row = 0
        for k, here in enumerate(people):
            if person not in here:
                row = 0
                continue
            look = looks[k].scored[sorted(here).index(person)]
            last = k + 1 == len(people) or person not in people[k + 1]
            assert look == (row % step == 0 or last)
            row += 1
    # And every gap is closed again, with the value that each frame has of its own.
    readings = []
    for one in looks:
        values = np.array([[one.sighting.time if look else np.nan] for look in one.scored], np.float32)
        scores = {"m": Scores({"t": values.reshape(-1, 1)})}
        readings.append((Reading(one.sighting.index, one.sighting.time, one.sighting.faces, scores), one.scored))
    for k, reading in enumerate(frame_skipping.interpolate(readings)):
        assert reading.index == k
        np.testing.assert_allclose(reading.scores["m"].tasks["t"], k / 10, rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"detect_every": 0}, {"detect_every": 16}, {"stride": 0}, {"stride": 61}, {"detector": "quick"},
     {"detect_every": 2, "crops": True}, {"detector": "fast"}],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Annotator(Settings(recipe=BOTH, **options))


def test_a_sighting_has_crops_by_every_recipe(finders: tuple[FaceDetector, FaceDetector]) -> None:
    for finder in finders:
        (face,) = detect_faces(Frame(0, 0.0, clips.portrait()), finder, ["aligned-64", "box", "face-48"]).faces
        assert {name: crop.shape[:2] for name, crop in face.crops.items() if name != "box"} == {
            "aligned-64": (64, 64),
            "face-48": (48, 48),
        }
