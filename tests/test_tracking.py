"""Tracking: a person keeps one id, no two share one, and a cut ends all tracks."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsemotion_cli.domain import Face, Sighting
from hsemotion_cli.errors import UsageError
from hsemotion_cli.faces.tracking import affinity, follow, keep_largest, one_person, pairs, parse_faces
from hsemotion_cli.media.images import ImageSequence
from hsemotion_cli.media.scene_cuts import CutDetector
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.timeline import Timeline, without_fleeting

Box = tuple[float, float, float, float]


def ids(frames: Sequence[Sequence[Box]], *, step: float = 0.04, cuts: Sequence[int] = ()) -> list[list[int | None]]:
    """Ids by frame, in the order in which the boxes were given."""
    sightings = [
        Sighting(k, k * step, tuple(Face(box, 0.9) for box in boxes), cut=k in cuts) for k, boxes in enumerate(frames)
    ]
    found = []
    for sighting, boxes in zip(follow(sightings), frames, strict=True):
        by_box = {face.box: face.track for face in sighting.faces}
        found.append([by_box[box] for box in boxes])
    return found


def at(x: float, y: float = 100, size: float = 80) -> Box:
    return (x, y, size, size)


def test_a_walking_person_keeps_the_id() -> None:
    assert ids([[at(10 * k)] for k in range(20)]) == [[0]] * 20


def test_two_people_keep_theirs_whatever_the_order_of_detection() -> None:
    frames = [[at(100 + k), at(400 - k)] if k % 2 else [at(400 - k), at(100 + k)] for k in range(20)]
    found = ids(frames)
    assert {tuple(f) for f in found[::2]} == {(1, 0)}
    assert {tuple(f) for f in found[1::2]} == {(0, 1)}


def test_people_who_pass_each_other_do_not_swap() -> None:
    # Between two frames they jump over each other, so that each is nearer to where the other has been.
    frames = [[at(80 + 40 * k), at(500 - 40 * k)] for k in range(11)]
    assert ids(frames) == [[0, 1]] * 11


def test_a_short_absence_keeps_the_id_and_a_long_one_ends_it() -> None:
    assert ids([[at(100)]] * 3 + [[]] * 10 + [[at(105)]]) == [[0]] * 3 + [[]] * 10 + [[0]]
    assert ids([[at(100)]] * 3 + [[]] * 40 + [[at(105)]]) == [[0]] * 3 + [[]] * 40 + [[1]]


def test_a_new_face_far_away_is_somebody_else() -> None:
    assert ids([[at(100)], [at(500)]]) == [[0], [1]]
    assert ids([[at(100, size=80)], [at(60, 60, size=240)]]) == [[0], [1]]


def test_a_cut_ends_every_track() -> None:
    assert ids([[at(100)]] * 2 + [[at(100)]] * 2, cuts=[2]) == [[0], [0], [1], [1]]


def test_one_frame_a_second_is_still_followed() -> None:
    assert ids([[at(100 + k)] for k in range(5)], step=1.0) == [[0]] * 5
    assert ids([[at(100)], [], [at(100)]], step=1.0) == [[0], [], [0]]


boxes = st.tuples(st.floats(0, 500), st.floats(0, 300), st.floats(5, 200), st.floats(5, 200))


@given(st.lists(st.lists(boxes, max_size=6), max_size=12), st.sets(st.integers(0, 11)))
def test_no_id_is_shared_in_a_frame_or_used_again(frames: list[list[Box]], cuts: set[int]) -> None:
    sightings = [Sighting(k, k / 25, tuple(Face(b, 0.5) for b in f), cut=k in cuts) for k, f in enumerate(frames)]
    out = list(follow(sightings))
    assert [(s.index, len(s.faces)) for s in out] == [(s.index, len(s.faces)) for s in sightings]
    first_seen: list[int | None] = []
    ended: set[int | None] = set()
    for sighting in out:
        tracks = [face.track for face in sighting.faces]
        assert len(set(tracks)) == len(tracks)
        if sighting.cut:
            ended |= set(first_seen)
        assert not set(tracks) & ended
        first_seen += [t for t in tracks if t not in first_seen]
    assert first_seen == list(range(len(first_seen)))


def test_keeping_the_largest_keeps_ids() -> None:
    faces = tuple(Face(at(0, size=s), 0.9, track=t) for t, s in enumerate((20, 60, 40)))
    kept = [next(keep_largest([Sighting(0, 0.0, faces)], n)).faces for n in (1, 2, 9)]
    assert [[f.track for f in k] for k in kept] == [[1], [1, 2], [0, 1, 2]]


def test_crops_are_all_one_person() -> None:
    out = list(one_person([Sighting(k, k * 9.0, (Face(at(0), 1.0),)) for k in range(3)]))
    assert [s.faces[0].track for s in out] == [0, 0, 0]


@pytest.mark.parametrize(("text", "count"), [("all", None), ("largest", 1), ("3", 3)])
def test_faces_option(text: str, count: int | None) -> None:
    assert parse_faces(text) == count


@pytest.mark.parametrize("text", ["", "0", "-1", "most", "1.5", "²"])
def test_faces_option_refuses_the_rest(text: str) -> None:
    with pytest.raises(UsageError, match="largest"):
        parse_faces(text)


boxes = st.builds(at, st.integers(0, 12).map(lambda k: 30 * k), st.sampled_from([100, 130]), st.sampled_from([60, 80]))


@given(st.lists(boxes, max_size=4), st.lists(boxes, max_size=4))
def test_no_other_pairs_have_a_larger_overlap_in_all(ones: list[Box], others: list[Box]) -> None:
    found = pairs(ones, others)
    assert all(len(set(side)) == len(found) for side in zip(*found, strict=True))
    values = [affinity(ones[one], others[other]) for one, other in found]
    assert all(value > 0 for value in values)
    few, many = sorted([ones, others], key=len)
    best = max(sum(map(affinity, few, chosen)) for chosen in itertools.permutations(many, len(few)))
    assert sum(values) == pytest.approx(best, abs=1e-12)


def cuts_of(pictures: Sequence[np.ndarray]) -> list[int]:
    detector = CutDetector()
    return [
        k
        for k, picture in enumerate(pictures)
        if detector.cuts(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8))
    ]


def test_cuts_are_seen_and_motion_fades_and_noise_are_not() -> None:
    one, other = clips.portrait(), clips.corners(320, 240)
    assert cuts_of([one] * 10 + [other] * 10 + [one] * 3) == [10, 20]
    assert cuts_of([clips.portrait(shift=6 * k) for k in range(30)]) == []
    fade = [(one * (1 - k / 20) + other * (k / 20)).astype(np.uint8) for k in range(21)]
    assert cuts_of(fade) == []
    random = np.random.default_rng(0)
    noisy = [np.clip(one + random.normal(0, 25, one.shape), 0, 255).astype(np.uint8) for _ in range(10)]
    assert cuts_of(noisy) == []


@pytest.mark.parametrize(("codec", "pixels"), [("libx264", "yuv420p"), ("libx265", "yuv420p10le"), ("ffv1", "bgr0")])
def test_a_cut_is_marked_on_the_next_analysed_frame(tmp_path: Path, codec: str, pixels: str) -> None:
    pictures = [clips.portrait()] * 10 + [clips.corners(320, 240)] * 15
    clips.write(tmp_path / "cut.mkv", pictures, codec=codec, pixels=pixels)
    for every, marked in ((1, [10]), (7, [14])):
        frames = list(VideoFile(tmp_path / "cut.mkv").frames(Sampling(every=every)))
        assert [frame.index for frame in frames if frame.cut] == marked


def test_missing_images_are_no_cut(tmp_path: Path) -> None:
    for number, picture in ((1, clips.portrait()), (2, clips.corners(320, 240)), (9, clips.portrait())):
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    assert [(f.index, f.cut) for f in ImageSequence(tmp_path, 25).frames()] == [(1, False), (2, True), (9, False)]


def test_cuts_of_real_clips(shared_videos: list[Path]) -> None:
    # One of them cuts to a black frame and then to the sky; all others are one shot.
    true = {"face_then_no_face_hevc.mov": [72, 73]}
    for path in shared_videos:
        found = [frame.index for frame in VideoFile(path).frames() if frame.cut]
        assert found == true.get(path.name, []), path.name


def columns(tracks: dict[int, list[float]]) -> Timeline:
    """A timeline of ten frames; track -> score of its face in each of the first frames."""
    rows = sorted((frame, track) for track, scores in tracks.items() for frame in range(len(scores)))
    return Timeline(
        np.arange(10),
        np.arange(10) / 25,
        np.array([frame for frame, _ in rows], np.int64),
        np.array([track for _, track in rows], np.int64),
        np.array([tracks[track][frame] for frame, track in rows], np.float32),
        np.zeros((len(rows), 4), np.float32),
        {"m": {"valence_arousal": np.array([[track, frame] for frame, track in rows], np.float32).reshape(-1, 2)}},
    )


def test_a_pattern_that_looks_like_a_face_for_a_moment_is_dropped() -> None:
    found, count = without_fleeting(columns({0: [0.6] * 3, 1: [0.89, 0.7], 2: [0.6, 0.95], 3: [0.8], 4: [0.99]}))
    assert count == 2
    assert sorted(set(found.face_id.tolist())) == [0, 2, 4]
    assert found.scores["m"]["valence_arousal"][:, 0].tolist() == found.face_id.tolist()
    assert len(found.index) == 10, "frames stay"


def test_crops_without_a_detector_and_empty_videos_are_left_alone() -> None:
    for timeline in (columns({0: [float("nan")]}), columns({})):
        found, count = without_fleeting(timeline)
        assert found is timeline and count == 0
