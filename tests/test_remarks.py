"""Sentences about the faces of a video: said where something is wrong, and only there."""

from __future__ import annotations

import numpy as np

from hsemotion_cli.faces.remarks import remarks
from hsemotion_cli.timeline import Timeline


def timeline(tracks: dict[int, range], frames: int, width: float = 100.0, **extra: np.ndarray) -> Timeline:
    """Tracks -> frames in which they are seen, 25 frames a second."""
    rows = sorted((frame, number) for number, there in tracks.items() for frame in there)
    row, face_id = np.array(rows, np.int64).reshape(-1, 2).T
    box = np.tile(np.array([0, 0, width, width], np.float32), (len(row), 1))
    index = np.arange(frames)
    return Timeline(index, index / 25, row, face_id, np.ones(len(row), np.float32), box, {}, extra=extra)


def test_a_person_who_stays_needs_no_remark() -> None:
    assert remarks(timeline({0: range(500)}, 500), 40) == []
    assert remarks(timeline({0: range(500), 1: range(100, 400)}, 500), 40) == []
    assert remarks(timeline({0: range(3)}, 3), 40) == []


def test_few_faces_and_none_are_named() -> None:
    (sentence,) = remarks(timeline({0: range(100)}, 500), 40)
    assert "a face was seen in 20% of its frames" in sentence and "--min-face" in sentence
    (sentence,) = remarks(timeline({}, 500), 40)
    assert "0%" in sentence


def test_people_who_come_and_go_are_named() -> None:
    tracks = {k: range(100 * k, 100 * k + 60) for k in range(5)}
    (sentence,) = remarks(timeline(tracks, 500), 40)
    assert "9 times in 20 s" in sentence
    slow = {k: range(1000 * k, 1000 * k + 900) for k in range(5)}
    assert remarks(timeline(slow, 5000), 40) == []


def test_many_short_tracks_are_named() -> None:
    tracks = {0: range(1000), **{k: range(200 * k, 200 * k + 10) for k in (1, 2, 3)}}
    sentences = remarks(timeline(tracks, 1000), 40)
    assert any("3 of 4 face ids last less than 1 s" in sentence for sentence in sentences)
    few = {0: range(1000), 1: range(200, 210), 2: range(400, 410)}
    assert not any("last less" in sentence for sentence in remarks(timeline(few, 1000), 40))


def test_faces_near_the_smallest_size_are_named() -> None:
    (sentence,) = remarks(timeline({0: range(500)}, 500, width=49), 40)
    assert "100% of its faces" in sentence and "(40 pixels wide)" in sentence
    assert remarks(timeline({0: range(500)}, 500, width=51), 40) == []
    mixed = timeline({0: range(500)}, 500, width=49)
    assert remarks(mixed, np.where(mixed.index < 450, 20.0, 40.0)) == []


def test_nobody_comes_and_goes_between_photos() -> None:
    photos = timeline({k: range(k, k + 1) for k in range(20)}, 20, file=np.array([f"{k}.jpg" for k in range(20)]))
    assert remarks(photos, 40) == []
