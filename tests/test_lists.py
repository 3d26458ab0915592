"""Reading the organisers' lists: what is listed, in which order, and what is wrong with a list."""

from __future__ import annotations

from pathlib import Path

import challenge
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.abaw.lists import read, read_lines
from hsemotion_cli.errors import InputError
from hsemotion_cli.reporting.wording import few, listed

VA = TRACKS["va"]


def listing(folder: Path, text: str | bytes, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("name", ["expr", "va", "au", "mtl", "ce"])
@pytest.mark.parametrize("tail", ["", ",", ",0.5,-0.5", ",,,", ",1,0,1,1,1,0,0,1,0,0,0,1"])
def test_rows_are_kept_in_their_own_order_whatever_is_behind_the_name(name: str, tail: str, tmp_path: Path) -> None:
    track = TRACKS[name]
    rows = ["b/00002.jpg", "a_left/00010.jpg", "b/00001.jpg", "a_left/123456.JPG", "b/7.png"]
    found = read(listing(tmp_path, "\n".join([track.header, *(row + tail for row in rows), ""])), track)
    assert found.names == tuple(rows)
    assert found.videos == ("b", "a_left")
    assert found.video.tolist() == [0, 1, 0, 1, 0]
    assert found.frame.tolist() == [2, 10, 1, 123456, 7]
    assert found.line.tolist() == [2, 3, 4, 5, 6]
    assert [rows.tolist() for rows in found.rows()] == [[0, 2, 4], [1, 3]]
    assert (found.whole, found.notes, found.track) == (False, (), track)


def test_a_list_may_lack_its_header(tmp_path: Path) -> None:
    found = read(listing(tmp_path, "a/00001.jpg,\na/00002.jpg"), VA)
    assert found.names == ("a/00001.jpg", "a/00002.jpg")
    assert found.line.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (b"\xef\xbb\xbf" + VA.header.encode() + b"\na/00001.jpg\n", "it begins with a byte order mark"),
        (VA.header.encode() + b"\r\na/00001.jpg,\r\n", "its lines end with CR LF in 2 of 2"),
        (VA.header.encode() + b"\na/00001.jpg\r\n", "its lines end with LF in 1, CR LF in 1 of 2"),
        (VA.header.encode() + b"\ra/00001.jpg", "its lines end with CR in 1 of 1"),
        (b"\n" + VA.header.encode() + b"\n\n ,\na/00001.jpg\n\n", "3 of its lines are blank"),
        (b"image_location\na/00001.jpg\n", "its header is 'image_location', that of the track is"),
    ],
)
def test_what_is_odd_is_noted_and_read(data: bytes, note: str, tmp_path: Path) -> None:
    found = read(listing(tmp_path, data), VA)
    assert found.names == ("a/00001.jpg",)
    assert len(found.notes) == 1 and found.notes[0].startswith(note)


def test_capitals_and_spaces_in_a_header_are_not_worth_a_note(tmp_path: Path) -> None:
    assert read(listing(tmp_path, "Image_Location, Valence,arousal,\na/00001.jpg\n"), VA).notes == ()


HEAD = VA.header + "\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "list.txt: the file is empty"),
        ("\n \n,\n", "list.txt: the file is empty"),
        (HEAD, "nothing below the header"),
        (HEAD + "a/00001.jpg\n\na/1x.jpg\n", "line 4: 'a/1x.jpg' is not an image"),
        (HEAD + "a/00001.jpg\n/00002.jpg", "line 3: '/00002.jpg' is not an image"),
        (HEAD + "a/00001.jpg\n,0.5", "line 3: '' is not an image"),
        (HEAD + "a/b/00001.jpg", "line 2: 'a/b/00001.jpg' is not an image"),
        (HEAD + "../00001.jpg", "line 2: '../00001.jpg' is not an image"),
        (HEAD + " a/00001.jpg", "line 2: ' a/00001.jpg' is not an image"),
        (HEAD + "a/00001.jpg ,0", "line 2: 'a/00001.jpg ' is not an image"),
        (HEAD + "a/00000.jpg", "line 2: 'a/00000.jpg' is not an image such as video/00001.jpg with a number from 1"),
        (HEAD + "a/00001.mp4", "line 2: 'a/00001.mp4' is not an image"),
        (HEAD + '"a/00001.jpg",0', "line 2: '\"a/00001.jpg\"' is not an image"),
        (HEAD + "a/00001.jpg\nb/00001.jpg\nc\n", "line 4: 'c' is not an image"),
        (HEAD + "00001.jpg\n00002.jpg\n", "line 2: '00001.jpg' is neither an image"),
        ("words, words", "line 1: 'words' is not an image"),
        (HEAD + "a/1.jpg\nb/1.jpg\nc/1.jpg\nb/1.jpg\na/1.jpg", "line 5: b/1.jpg is already in line 3"),
        (HEAD + "a/00001.jpg\na/1.jpg", "line 3: a/1.jpg is already in line 2, as a/00001.jpg"),
        (TRACKS["expr"].header + "\na/00001.jpg", "its header is that of --track expr, not of va"),
        (TRACKS["emi"].header + "\n00001", "its header is that of --track emi, not of va"),
        ("Filename\n00001\n", "its header is that of --track emi, not of va"),
        ("Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other\n4\n5\n", "these are annotations of one video"),
        ("valence,arousal\n0.5,0.5", "these are annotations of one video"),
        ("a\nb\na\n", "line 3: a is already in line 1"),
    ],
)
def test_problems_are_reported(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(listing(tmp_path, text), VA)
    assert message in str(error.value)
    assert str(tmp_path / "list.txt") in str(error.value)


@pytest.mark.parametrize(("data", "line"), [(b"a/00001.jpg\nb\xff", 2), ("a/1.jpg".encode("utf-16"), 1), (b"a\0\n", 1)])
def test_what_is_no_text(data: bytes, line: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"line {line}: not a text file in UTF-8"):
        read(listing(tmp_path, data), VA)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.txt"):
        with pytest.raises(InputError, match=r"cannot be read"):
            read(path, VA)


@pytest.mark.parametrize("own", list(TRACKS))
@pytest.mark.parametrize("other", list(TRACKS))
def test_the_list_of_another_track_is_recognised_by_its_header(own: str, other: str, tmp_path: Path) -> None:
    row = "12660" if other == "emi" else "a/00001.jpg"
    path = listing(tmp_path, f"{TRACKS[other].header}\n{row},\n")
    if own == other:
        assert read(path, TRACKS[own]).names == (row,)
    else:
        with pytest.raises(InputError, match=rf"its header is that of --track {other}, not of {own}"):
            read(path, TRACKS[own])


def test_whole_videos(tmp_path: Path) -> None:
    found = read(listing(tmp_path, "9-15-1920x1080\n306\nvideo2_left\n"), TRACKS["expr"])
    assert found.whole
    assert found.names == found.videos == ("9-15-1920x1080", "306", "video2_left")
    assert found.frame.tolist() == [0, 0, 0]


def test_clips(tmp_path: Path) -> None:
    emi = TRACKS["emi"]
    for header in (emi.header + "\n", "Filename\n", ""):
        found = read(listing(tmp_path, header + "12660,0.49,0.188,0.111,0.074,0.13,0.315\n00001,\n7\n"), emi)
        assert found.names == found.videos == ("12660", "00001", "7")
        assert not found.whole
    with pytest.raises(InputError, match=r"line 3: 00012 is already in line 1, as 12"):
        read(listing(tmp_path, "12\n13\n00012\n"), emi)
    with pytest.raises(InputError, match=r"line 2: 'a/00001\.jpg' is not a clip"):
        read(listing(tmp_path, "Filename\na/00001.jpg\n"), emi)


def test_the_annotations_of_the_multi_task_challenge_are_such_a_list(tmp_path: Path) -> None:
    data = challenge.make_mtl(tmp_path, videos=3, frames=10, paint=None)
    found = read(tmp_path / "validation_set_annotations.txt", TRACKS["mtl"])
    assert set(found.videos) == set(data.validation)
    for video, rows in zip(found.videos, found.rows(), strict=True):
        assert found.frame[rows].tolist() == data.validation[video].frames.tolist()


rows_of = st.lists(
    st.tuples(st.sampled_from(["a", "b-30", "ü 2", "c.mp4"]), st.integers(1, 10**11)), min_size=1, unique=True
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows_of, st.sampled_from(["\n", "\r\n", "\r"]), st.booleans(), st.sampled_from(["", ",", ",1"]))
def test_whatever_order_and_ends_of_lines(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, int]], end: str, header: bool, tail: str
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    names = [f"{video}/{number:05d}.jpg" for video, number in rows]
    text = end.join([*([VA.header] if header else []), *(name + tail for name in names)]) + end
    found = read(listing(folder, text), VA)
    assert found.names == tuple(names)
    assert [(found.videos[v], int(f)) for v, f in zip(found.video, found.frame, strict=True)] == rows
    assert np.array_equal(found.line, np.arange(len(rows)) + 1 + header)


def test_lines_keep_their_line_ends(tmp_path: Path) -> None:
    lines = read_lines(listing(tmp_path, "a\nb\r\nc\rd"))
    assert lines.lines == ("a", "b", "c", "d")
    assert (lines.ends, lines.odd, lines.ended, lines.has_bom) == ((1, 1, 1), 2, False, False)
    assert read_lines(listing(tmp_path, "")).lines == ()
    assert read_lines(listing(tmp_path, "\ufeffa\n")).has_bom


def test_a_few_of_many() -> None:
    assert few("abc") == "a, b, c"
    assert few("abcdefgh") == "a, b, c, d, e and 3 more"
    assert few("") == ""


def test_words_are_listed_as_in_a_sentence() -> None:
    assert [listed(words) for words in ("a", "ab", "abc")] == ["a", "a and b", "a, b and c"]
    assert listed(["x", "y and z"]) == "x, and y and z"
    assert listed(["x", "y and z", "w"]) == "x, y and z, and w"
