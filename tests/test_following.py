"""Following on composed scenes: ids survive turns, hands, zooms, crossings and a second of absence, and never jump."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import clips
import cv2
import numpy as np
import pytest
import scipy.linalg
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from hsemotion_cli.domain import Face, Frame, Image, Sighting
from hsemotion_cli.faces import track_state
from hsemotion_cli.faces.appearance import UNKNOWN, Look, difference, difference_of_part, look
from hsemotion_cli.faces.detector import FaceDetector, detect_in_block, overlap
from hsemotion_cli.faces.track_state import Track
from hsemotion_cli.faces.tracking import follow

Box = tuple[float, float, float, float]
WIDTH, HEIGHT = 480, 270
STILLS = ROOT / "sample_videos" / "stills"
# Image, and the box of the face in it.
PEOPLE: tuple[tuple[Image, Box], ...] = (
    (clips.still(STILLS / "astronaut.png"), (180, 70, 91, 109)),
    (clips.still(STILLS / "grace_hopper.jpg"), (171, 132, 183, 202)),
)
Person = tuple[int, float, float, float, float]
"""Number, centre x and y and height of the face in pixels, and its width as a share of the usual one."""


def person(number: int, x: float, y: float = 130, height: float = 80, squeeze: float = 1.0) -> Person:
    return number, x, y, height, squeeze


Seen = list[tuple[int, Box, float]]
"""Number, box and visible share of each face."""


def draw(people: Sequence[Person], hands: Sequence[Box] = (), zoom: float = 1.0) -> tuple[Image, Seen]:
    """An image, people from back to front, and the faces of which more than half is visible.

    Args:
        hands: x, y, width and height of ellipses that are before everybody.
        zoom: of the camera, about the middle.
    """
    canvas = np.asarray(cv2.resize(clips.corners(120, 68), (WIDTH, HEIGHT)), np.uint8)
    owner = np.full((HEIGHT, WIDTH), -1)
    boxes: dict[int, Box] = {}
    for number, x, y, height, squeeze in people:
        image, (left, top, w, h) = PEOPLE[number]
        x, y, scale = WIDTH / 2 + zoom * (x - WIDTH / 2), HEIGHT / 2 + zoom * (y - HEIGHT / 2), zoom * height / h
        across = scale * squeeze
        matrix = np.array([[across, 0, x - across * (left + w / 2)], [0, scale, y - scale * (top + h / 2)]])
        shown = cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
        box = boxes[number] = (x - across * w / 2, y - scale * h / 2, across * w, scale * h)
        inside = ellipse((box[0] - 0.15 * box[2], box[1] - 0.3 * box[3], 1.3 * box[2], 1.45 * box[3]))
        canvas[inside], owner[inside] = shown[inside], number
    for hand in hands:
        canvas[ellipse(hand)], owner[ellipse(hand)] = (200, 150, 120), -1
    seen = [
        (n, box, float((owner == n)[ellipse(box)].sum() / (math.pi / 4 * box[2] * box[3]))) for n, box in boxes.items()
    ]
    return canvas, [one for one in seen if one[2] > 0.5]


def ellipse(box: Box) -> np.ndarray:
    """(HEIGHT, WIDTH): the pixels of the ellipse in a box."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = (columns - box[0] - box[2] / 2) / (box[2] / 2), (rows - box[1] - box[3] / 2) / (box[3] / 2)
    return x**2 + y**2 <= 1


def ids_of(frames: Sequence[tuple[Image, Seen]], times: Sequence[float]) -> list[dict[int, int]]:
    """For each frame: number of a person -> id. Boxes and scores are as inexact as a detector's."""
    random = np.random.default_rng(0)
    sightings, numbers = [], []
    for k, ((image, seen), time) in enumerate(zip(frames, times, strict=True)):
        faces = []
        for _, (x, y, w, h), visible in seen:
            dx, dy, dw, dh = random.normal(0, 0.015, 4) * w
            box = (x + dx, y + dy, w + dw, h + dh)
            faces.append(Face(box, 0.999 if visible > 0.9 else 0.9, look=look(image, box)))
        numbers.append({face.box: number for face, (number, *_) in zip(faces, seen, strict=True)})
        sightings.append(Sighting(k, time, tuple(faces)))
    followed = follow(sightings)
    return [{known[f.box]: f.track or 0 for f in s.faces} for s, known in zip(followed, numbers, strict=True)]


def film(
    count: int,
    people: Callable[[int], Sequence[Person]],
    rate: float = 25,
    hands: Callable[[int], Sequence[Box]] = lambda _: (),
    zoom: Callable[[int], float] = lambda _: 1.0,
) -> list[dict[int, int]]:
    """Ids in a film of ``count`` frames; people, hands and zoom are functions of the frame's number."""
    frames = [draw(people(k), hands(k), zoom(k)) for k in range(count)]
    return ids_of(frames, [k / rate for k in range(count)])


def each_keeps_one(ids: Sequence[dict[int, int]]) -> dict[int, int]:
    """Number of a person -> the only id that the person ever has."""
    pairs = {pair for frame in ids for pair in frame.items()}
    assert len(pairs) == len({number for number, _ in pairs}) == len({track for _, track in pairs}), sorted(pairs)
    return dict(pairs)


def missing(ids: Sequence[dict[int, int]], number: int) -> int:
    """Frames without a person between the first and the last with them."""
    there = [k for k, frame in enumerate(ids) if number in frame]
    return there[-1] - there[0] + 1 - len(there)


def test_people_who_cross_keep_their_ids_though_one_hides_the_other() -> None:
    found = film(50, lambda k: [person(0, 60 + 7 * k, 135), person(1, 420 - 7 * k)])
    assert missing(found, 0) >= 4
    assert each_keeps_one(found) == {0: 0, 1: 1}


def test_people_who_cross_at_eight_frames_a_second_keep_their_ids() -> None:
    found = film(18, lambda k: [person(0, 60 + 20 * k, 135, 70), person(1, 420 - 20 * k, 128, 90)], rate=8)
    assert missing(found, 0) >= 1
    assert len(each_keeps_one(found)) == 2


def test_people_who_meet_and_turn_back_keep_their_ids() -> None:
    found = film(80, lambda k: [person(0, 110 + 112 * math.sin(k / 25)), person(1, 370 - 112 * math.sin(k / 25))])
    assert missing(found, 0) >= 4
    assert len(each_keeps_one(found)) == 2


def test_a_turn_of_the_head_keeps_the_id() -> None:
    found = film(50, lambda k: [person(0, 150, squeeze=1 - 0.6 * math.sin(math.pi * k / 50)), person(1, 330)])
    assert len(each_keeps_one(found)) == 2


def test_a_hand_before_the_face_keeps_the_id() -> None:
    found = film(60, lambda k: [person(0, 150), person(1, 330)], hands=lambda k: [(-60 + 8 * k, 100, 80, 90)])
    assert missing(found, 0) >= 5 and missing(found, 1) >= 5
    assert len(each_keeps_one(found)) == 2


@pytest.mark.parametrize("frames", [12, 25])
def test_an_absence_of_up_to_a_second_keeps_the_id(frames: int) -> None:
    gone = range(20, 20 + frames)
    found = film(65, lambda k: [person(1, 330)] + ([] if k in gone else [person(0, 150 + (20 if k > 20 else 0))]))
    assert missing(found, 0) == frames
    assert len(each_keeps_one(found)) == 2


def test_a_longer_absence_ends_the_id() -> None:
    found = film(90, lambda k: [] if 20 <= k < 60 else [person(0, 150)])
    assert [sorted(set(frame.values())) for frame in (found[19], found[60])] == [[0], [1]]


def test_a_zoom_and_a_pan_keep_ids() -> None:
    found = film(40, lambda k: [person(0, 170), person(1, 310)], zoom=lambda k: min(max(1 + 0.06 * (k - 10), 1), 1.7))
    assert len(each_keeps_one(found)) == 2
    whip = [0.0] * 10 + [-30.0 * k for k in range(1, 7)] + [-180.0] * 10
    found = film(26, lambda k: [person(0, 260 + whip[k]), person(1, 420 + whip[k])])
    assert len(each_keeps_one(found)) == 2


def test_missing_faces_and_uneven_times_keep_ids() -> None:
    random = np.random.default_rng(1)
    frames = [draw([person(0, 60 + 4 * k, 135), person(1, 420 - 2 * k)]) for k in range(60)]
    kept = [k for k in range(60) if random.random() > 0.3]
    some = [(frames[k][0], [one for one in frames[k][1] if random.random() > 0.3]) for k in kept]
    found = ids_of(some, [k / 30 + random.uniform(0, 0.01) for k in kept])
    assert len(each_keeps_one(found)) == 2


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 0)])
@pytest.mark.parametrize("gone", [0, 15])
def test_another_person_in_the_same_place_gets_another_id(one: int, other: int, gone: int) -> None:
    """As after a cut that was not detected, or where somebody sits down on a chair that has just become free."""
    found = film(55, lambda k: [person(one, 240)] if k < 20 else [] if k < 20 + gone else [person(other, 243)])
    assert each_keeps_one(found) == {one: 0, other: 1}


def test_lights_that_change_keep_the_id() -> None:
    frames = [draw([person(0, 150), person(1, 330)]) for _ in range(20)]
    dark = [(image if k < 10 else (image * 0.3 + 20).astype(np.uint8), seen) for k, (image, seen) in enumerate(frames)]
    assert len(each_keeps_one(ids_of(dark, [k / 25 for k in range(20)]))) == 2


def test_a_doubtful_face_gets_a_new_id() -> None:
    """Two people go, and one comes back half way between: either would be a guess."""

    def ids(x: float) -> list[int | None]:
        two: list[Box] = [(100, 100, 80, 80), (220, 100, 80, 80)]
        boxes: list[list[Box]] = [two] * 5 + [[]] * 5 + [[(x, 100, 80, 80)]]
        sightings = [Sighting(k, k / 25, tuple(Face(b, 0.9) for b in row)) for k, row in enumerate(boxes)]
        return [face.track for face in list(follow(sightings))[-1].faces]

    assert ids(160) == [2]
    assert ids(165) == [2]
    assert (ids(105), ids(215)) == ([0], [1])


faces = st.builds(
    lambda x, y, size, score, seed: Face(
        (x, y, size, 1.2 * size), score, look=np.random.default_rng(seed).uniform(0, 255, (58, 3)).astype(np.float32)
    ),
    st.floats(0, 400), st.floats(0, 200), st.floats(20, 120), st.floats(0.55, 1), st.integers(0, 3),
)  # fmt: skip
films = st.lists(st.lists(faces, max_size=5, unique_by=lambda face: face.box), min_size=1, max_size=10)


def tracks(frames: Sequence[Sequence[Face]]) -> list[dict[Box, int | None]]:
    sightings = [Sighting(k, k / 10, tuple(row)) for k, row in enumerate(frames)]
    return [{face.box: face.track for face in sighting.faces} for sighting in follow(sightings)]


@settings(deadline=None)
@given(films, st.randoms(use_true_random=False), st.integers(1, 10))
def test_neither_the_order_of_faces_nor_later_frames_change_ids(frames: list[list[Face]], random, count: int) -> None:  # type: ignore[no-untyped-def]
    expected = tracks(frames)
    shuffled = [random.sample(row, len(row)) for row in frames]
    assert tracks(shuffled) == expected
    assert tracks(frames[:count]) == expected[:count]


def test_real_faces_that_cross_keep_their_ids() -> None:
    """With what our detector finds."""
    shown = [draw([person(0, 70 + 14 * k, 135), person(1, 410 - 14 * k)]) for k in range(25)]
    with FaceDetector(blendshapes=False) as finder:
        found = detect_in_block([Frame(k, k / 12, image) for k, (image, _) in enumerate(shown)], finder, [])
    whose = set()
    for sighting, (_, seen) in zip(follow(found), shown, strict=True):
        for face in sighting.faces:
            whose |= {(number, face.track) for number, box, _ in seen if overlap(face.box, box) > 0.5}
    assert sum(len(sighting.faces) for sighting in found) >= 40
    assert whose == {(0, 0), (1, 1)}


# --- looks ------------------------------------------------------------------------------------------------------


def seen_look(one: Person, light: float = 1.0, hands: Sequence[Box] = ()) -> Look:
    """The look of a person, in the box of the whole face."""
    ((_, box, _),) = draw([one])[1]
    image, _ = draw([one], hands)
    found = look((image * light).astype(np.uint8), box)
    assert found is not None
    return found


def test_a_look_is_of_the_person_and_not_of_size_light_or_a_hand() -> None:
    one = seen_look(person(0, 240))
    other = difference(one, seen_look(person(1, 240)))
    assert other.whole > 0.5 and other.alike > 0.3
    for same in (
        seen_look(person(0, 200, height=110)),
        seen_look(person(0, 200, height=50)),
        seen_look(person(0, 240), 0.4),
    ):
        assert max(difference(one, same)) < 0.22
    hidden = difference(one, seen_look(person(0, 240), hands=[(205, 130, 80, 60)]))
    assert hidden.whole > 0.2 and hidden.alike < 0.05


def test_a_post_before_half_of_a_face_leaves_a_part_that_is_alike() -> None:
    one, other = seen_look(person(0, 240)), seen_look(person(1, 240))
    hidden = seen_look(person(0, 240), hands=[(235, 20, 160, 260)])
    seen = difference(one, hidden)
    assert difference_of_part(one, one) == 0
    assert difference_of_part(one, hidden) < 0.05 < seen.whole
    assert difference_of_part(one, other) > 0.16
    assert difference_of_part(one, np.full_like(one, np.nan)) == 0


def test_a_sure_face_of_which_a_post_hides_half_keeps_the_id() -> None:
    """With a score as high as ever; another person in its place gets another id."""

    def ids(then: Look) -> list[int | None]:
        looks = [seen_look(person(0, 240))] * 10 + [then] * 3
        box: Box = (204, 90, 72, 80)
        sightings = [Sighting(k, k / 25, (Face(box, 0.999, look=each),)) for k, each in enumerate(looks)]
        return [sighting.faces[0].track for sighting in follow(sightings)]

    post = seen_look(person(0, 240), hands=[(220, 20, 200, 260)])
    differs = difference(seen_look(person(0, 240)), post)
    assert differs.whole > 0.45 and differs.alike > 0.26
    assert set(ids(post)) == {0}
    assert ids(seen_look(person(1, 240))) == [0] * 10 + [1] * 3


def test_cells_are_the_means_of_their_pixels() -> None:
    """Of an image of which each cell is plain; and what is outside the image is not known."""
    image = np.zeros((400, 400, 3), np.uint8)
    image[:, 200:] = (90, 60, 30)
    # Of a box of 150 x 160 pixels the cells are 20 wide and high, from 5 pixels left of it.
    found = look(image, (125, 144, 150, 160))
    assert found is not None
    assert set(map(tuple, found.tolist())) == {(0, 0, 0), (90, 60, 30)}
    assert abs(found[:, 0].mean() - 45) < 1
    cut = look(image, (305, 144, 150, 160))
    assert cut is not None
    assert 0.3 < np.isnan(cut[:, 0]).mean() < 0.4
    assert look(image, (360, 144, 150, 160)) is None
    assert max(difference(found, found)) == 0
    assert difference(cut, found[::-1].copy()) != UNKNOWN
    assert difference(cut, np.where(np.isnan(cut), 1, np.nan).astype(np.float32)) == UNKNOWN


# --- motion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.01, 0.04, 0.5, 2.0])
def test_the_expected_place_is_that_of_the_process(gap: float) -> None:
    """Against Van Loan's integral of the process's covariance by a matrix exponential."""
    track = Track.begun(0, Face((100, 100, 50, 50), 0.9), 0.0)
    track.vx, track.vy, track.pp, track.pv, track.vv = 40.0, -20.0, 0.02, 0.01, 3.0
    lasts, speed = track_state._LASTS, track_state._SPEED
    drift = np.array([[0, 1], [0, -1 / lasts]])
    noise = np.diag([0, 2 * speed**2 / lasts])
    block = scipy.linalg.expm(gap * np.block([[-drift, noise], [np.zeros((2, 2)), drift.T]]))
    step = block[2:, 2:].T
    covariance = step @ block[:2, 2:] + step @ np.array([[0.02, 0.01], [0.01, 3.0]]) @ step.T
    there = track.expected(gap)
    assert [there.x, there.y] == pytest.approx([125 + step[0, 1] * 40, 125 - step[0, 1] * 20])
    assert [there.pp, there.pv, there.vv] == pytest.approx([covariance[0, 0], covariance[0, 1], covariance[1, 1]])
    assert there.decay == pytest.approx(step[1, 1])


def test_a_steady_walk_is_learnt() -> None:
    track = Track.begun(0, Face((100, 100, 50, 50), 0.9), 0.0)
    for k in range(1, 30):
        track.move(Face((100 + 5 * k, 100 - 2 * k, 50, 50), 0.9), k / 25, 0.0)
    assert (track.vx, track.vy) == pytest.approx((125, -50), rel=0.15)
    assert track.expected(30 / 25).x == pytest.approx(125 + 5 * 30, abs=2)
