"""Annotations of Aff-Wild2: round trips, and every fault is found and reported with its line."""

from __future__ import annotations

import csv
import random
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import challenge
import cv2
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.errors import InputError
from hsemotion_cli.evaluation import annotation_rows, ground_truth
from hsemotion_cli.evaluation.ground_truth import (
    AFFWILD2_EXPRESSIONS,
    Annotations,
    clip_key,
    find_track,
    read_compound,
    read_for,
    read_intensities,
    read_mtl,
    read_track,
    read_tree,
)
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS

MTL = "image,valence,arousal,expression,aus"
UNITS = "0,0,0,1,1,1,1,0,0,0,1,0"
GOOD = f"116/01399.jpg,0.12,-0.30,4,{UNITS}"


def same(found: dict[str, Annotations], expected: dict[str, Annotations]) -> None:
    assert list(found) == list(expected)
    for name in found:
        one, other = found[name], expected[name]
        assert one.video == name
        for field, dtype in (
            ("frames", np.int64),
            ("expression", np.int64),
            ("valence_arousal", np.float32),
            ("action_units", np.float32),
        ):
            values = getattr(one, field)
            assert values.dtype == dtype
            np.testing.assert_array_equal(values, getattr(other, field), f"{name} {field}")


def write(folder: Path, *rows: str, header: str = MTL, name: str = "list.txt") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


@pytest.fixture
def mtl(tmp_path: Path) -> challenge.Challenge:
    return challenge.make_mtl(tmp_path / "data", videos=4, frames=30, seed=7, paint=None)


@pytest.fixture
def tracks(tmp_path: Path) -> challenge.Challenge:
    return challenge.make_tracks(tmp_path / "data", videos=5, frames=20, seed=3, paint=None)


def test_classes_and_units_are_in_the_order_of_the_files() -> None:
    assert [name.capitalize() for name in AFFWILD2_EXPRESSIONS] == challenge.NAMES.split(",")
    assert AFFWILD2_EXPRESSIONS[:7] == EXPRESSIONS[:7]
    assert [name.replace("AU0", "AU") for name in ACTION_UNITS] == challenge.UNITS.split(",")


def test_a_list_by_hand(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"video2_left/00007.jpg,0.5,-1,7,{UNITS}",
        "116/00010.jpg,-5,0.25,0,0,0,0,0,0,0,0,0,0,0,0,-1",
        f"116/00002.jpg,0.25,-5,-1,{UNITS}",
        "116/123456.jpg,-1.0,+1,3.0,1,1,1,1,1,1,1,1,1,1,1,1",
        "116/00003.jpg,-5,-5,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1",
    )
    found = read_mtl(path)
    assert list(found) == ["116", "video2_left"]
    first, second = found.values()
    assert first.frames.tolist() == [2, 3, 10, 123456]
    assert first.expression.tolist() == [-1, -1, 0, 3]
    np.testing.assert_array_equal(first.valence_arousal, [[np.nan] * 2, [np.nan] * 2, [np.nan] * 2, [-1, 1]])
    units = [float(v) for v in UNITS.split(",")]
    np.testing.assert_array_equal(first.action_units, [units, [np.nan] * 12, [np.nan] * 12, [1] * 12])
    assert second.frames.tolist() == [7] and second.expression.tolist() == [7]
    assert second.valence_arousal.tolist() == [[0.5, -1]]
    assert repr(first) == "Annotations('116', 4 frames)"


@pytest.mark.parametrize("seed", range(3))
def test_a_list_is_read_as_it_was_meant(tmp_path: Path, seed: int) -> None:
    made = challenge.make_mtl(tmp_path, videos=5, frames=50, seed=seed, masked=0.3, paint=None)
    same(read_mtl(tmp_path / "training_set_annotations.txt"), made.train)
    same(read_mtl(tmp_path / "validation_set_annotations.txt"), made.validation)
    assert any(np.isnan(part.action_units).any() for part in made.train.values())


def test_a_list_agrees_with_the_csv_module(mtl: challenge.Challenge) -> None:
    path = mtl.root / "training_set_annotations.txt"
    expected: dict[str, dict[int, list[float]]] = defaultdict(dict)
    with path.open(newline="") as file:
        for row in list(csv.reader(file))[1:]:
            video, picture = row[0].split("/")
            expected[video][int(picture.removesuffix(".jpg"))] = [float(cell) for cell in row[1:]]
    found = read_mtl(path)
    assert set(found) == set(expected)
    for video, part in found.items():
        rows = expected[video]
        assert part.frames.tolist() == sorted(rows)
        for k, number in enumerate(part.frames.tolist()):
            va, expression, units = rows[number][:2], rows[number][2], rows[number][3:]
            assert part.expression[k] == expression
            if -5 in va:
                assert np.isnan(part.valence_arousal[k]).all()
            else:
                assert part.valence_arousal[k].tolist() == np.array(va, np.float32).tolist()
            if -1 in units:
                assert np.isnan(part.action_units[k]).all()
            else:
                assert part.action_units[k].tolist() == units


def test_the_order_of_rows_does_not_matter(mtl: challenge.Challenge) -> None:
    path = mtl.root / "training_set_annotations.txt"
    header, *rows = path.read_text().splitlines()
    random.Random(5).shuffle(rows)
    path.write_text("\n".join([header, *rows]))
    same(read_mtl(path), mtl.train)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text,
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"),
        lambda text: text.rstrip(b"\n"),
        lambda text: text + b"\n\r\n  \n",
        lambda text: text.replace(b",", b" , "),
        lambda text: text.replace(MTL.encode(), f"picture,Valence,Arousal,Expression,{challenge.UNITS}".encode()),
        lambda text: text.replace(MTL.encode(), f"image,valence,arousal,expression,{','.join(ACTION_UNITS)}".encode()),
        lambda text: text.replace(b".jpg", b".PNG"),
    ],
    ids=["BOM", "CRLF", "BOM and CRLF", "no end", "blank end", "spaces", "long header", "AU01", "PNG"],
)
def test_what_editors_do_to_a_list_does_not_matter(mtl: challenge.Challenge, change: Callable[[bytes], bytes]) -> None:
    path = mtl.root / "training_set_annotations.txt"
    path.write_bytes(change(path.read_bytes()))
    same(read_mtl(path), mtl.train)


def test_a_good_list_is_not_gone_through_cell_by_cell(mtl: challenge.Challenge) -> None:
    with mock.patch.object(annotation_rows, "_number", side_effect=AssertionError):
        same(read_mtl(mtl.root / "training_set_annotations.txt"), mtl.train)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (f"116/00001.jpg,0.1,0.2,{UNITS}", "found 15 fields, expected 16"),
        (f"116/00001.jpg,0.1,0.2,4,{UNITS},0", "found 17 fields, expected 16"),
        (f"116/00001.jpg,0.1,0.2,4,{UNITS},", "found 17 fields, expected 16"),
        ("116/00001.jpg,", "found 2 fields, expected 16"),
        ("116/00001.jpg", "found 1 fields, expected 16"),
        ("", "found 0 fields, expected 16"),
        (f"116/00001.jpg,0.1,x,4,{UNITS}", "arousal is 'x', expected a number from -1 to 1, or -5"),
        (f"116/00001.jpg,,0.2,4,{UNITS}", "valence is '', expected a number from -1 to 1, or -5"),
        (f"116/00001.jpg,nan,0.2,4,{UNITS}", "valence is 'nan', expected"),
        (f"116/00001.jpg,inf,0.2,4,{UNITS}", "valence is 'inf', expected"),
        (f"116/00001.jpg,NA,0.2,4,{UNITS}", "valence is 'NA', expected"),
        (f"116/00001.jpg,True,0.2,4,{UNITS}", "valence is 'True', expected"),
        (f"116/00001.jpg,0_1,0.2,4,{UNITS}", "valence is '0_1', expected"),
        (f"116/00001.jpg,0x1,0.2,4,{UNITS}", "valence is '0x1', expected"),
        (f'116/00001.jpg,"0.1",0.2,4,{UNITS}', "valence is '\"0.1\"', expected"),
        (f"116/00001.jpg,\u0661,0.2,4,{UNITS}", "valence is '\u0661', expected"),
        (f"116/00001.jpg,0\0,0.2,4,{UNITS}", r"valence is '0\x00', expected"),
        (f"116/00001.jpg,1.001,0.2,4,{UNITS}", "valence is '1.001', expected a number from -1 to 1, or -5"),
        (f"116/00001.jpg,0.1,-2,4,{UNITS}", "arousal is '-2', expected a number from -1 to 1, or -5"),
        (f"116/00001.jpg,0.1,-4.999,4,{UNITS}", "arousal is '-4.999', expected"),
        (f"116/00001.jpg,0.1,0.2,8,{UNITS}", "expression is '8', expected a whole number from -1 to 7"),
        (f"116/00001.jpg,0.1,0.2,-5,{UNITS}", "expression is '-5', expected a whole number from -1 to 7"),
        (f"116/00001.jpg,0.1,0.2,3.5,{UNITS}", "expression is '3.5', expected a whole number from -1 to 7"),
        (f"116/00001.jpg,0.1,0.2,4,{UNITS[:-1]}2", "AU26 is '2', expected a whole number from -1 to 1"),
        (f"116/00001.jpg,0.1,0.2,4,0.5{UNITS[1:]}", "AU1 is '0.5', expected a whole number from -1 to 1"),
        (f"116/00001.jpg,0.1,0.2,4,{UNITS[:-1]}-5", "AU26 is '-5', expected a whole number from -1 to 1"),
        (f"00001.jpg,0.1,0.2,4,{UNITS}", "the image is '00001.jpg', expected video/NNNNN.jpg with a number from 1"),
        (f"116/frame.jpg,0.1,0.2,4,{UNITS}", "the image is '116/frame.jpg', expected"),
        (f"116/00000.jpg,0.1,0.2,4,{UNITS}", "the image is '116/00000.jpg', expected"),
        (f"../00001.jpg,0.1,0.2,4,{UNITS}", "the image is '../00001.jpg', expected"),
        (f"/etc/00001.jpg,0.1,0.2,4,{UNITS}", "the image is '/etc/00001.jpg', expected"),
        (f"a\\b/00001.jpg,0.1,0.2,4,{UNITS}", r"the image is 'a\\b/00001.jpg', expected"),
        (f"/00001.jpg,0.1,0.2,4,{UNITS}", "the image is '/00001.jpg', expected"),
        (f"{'v' * 99}.jpg,0.1,0.2,4,{UNITS}", f"the image is '{'v' * 57}...', expected"),
        (f"116/1399.jpg,0.1,0.2,4,{UNITS}", "116/1399.jpg is already in line 2; expected it once"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    path = write(tmp_path, GOOD, f"116/00002.jpg,-5,-5,-1,{UNITS}", row, f"116/00003.jpg,0,0,0,{UNITS}")
    with pytest.raises(InputError) as caught:
        read_mtl(path)
    assert str(caught.value).startswith(f"{path}, line 4: {message}")


def test_the_first_of_several_faults_is_named(tmp_path: Path) -> None:
    short, wrong = "116/00001.jpg,1", f"116/00002.jpg,3,0,0,{UNITS}"
    with pytest.raises(InputError, match="line 3: found 2 fields"):
        read_mtl(write(tmp_path, GOOD, short, wrong))
    with pytest.raises(InputError, match="line 3: valence is '3'"):
        read_mtl(write(tmp_path, GOOD, wrong, short))
    with pytest.raises(InputError, match=r"line 4: 116/01399\.jpg is already in line 2"):
        read_mtl(write(tmp_path, GOOD, f"116/00002.jpg,0,0,0,{UNITS}", GOOD))


@pytest.mark.parametrize(
    "header",
    [
        GOOD,
        "image,arousal,valence,expression,aus",
        "image,expression,valence,arousal,aus",
        "image,valence,arousal,aus",
        "image,valence,arousal,expression,AU2,AU1,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26",
        "image,valence,arousal,expression,AU1,AU2",
        "valence,arousal",
        "nonsense",
    ],
)
def test_a_header_with_other_columns_is_refused(tmp_path: Path, header: str) -> None:
    path = write(tmp_path, f"116/00001.jpg,0,0,0,{UNITS}", header=header)
    with pytest.raises(InputError) as caught:
        read_mtl(path)
    assert str(caught.value).startswith(f"{path}, line 1: the header is ")
    assert str(caught.value).endswith(f", expected {MTL}.")


def test_files_that_hold_nothing(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for content in (b"", b"\n \n", b"\xef\xbb\xbf"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"list\.txt: the file is empty; expected the header"):
            read_mtl(path)
    with pytest.raises(InputError, match=r"list\.txt: nothing below the header"):
        read_mtl(write(tmp_path))
    path.write_bytes(b"\xff\xd8\xff\xe0picture")
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        read_mtl(path)
    with pytest.raises(InputError, match=r"none.txt: cannot be read \(No such file"):
        read_mtl(tmp_path / "none.txt")
    with pytest.raises(InputError, match=r"cannot be read \(Is a directory"):
        read_mtl(tmp_path)


NUMBERS = "0 1 -1 -5 7 0.5 1. .5 +1 1e0 5e-1 -5.0 -0 01 1e9 1e-999 0.1234567890123456789"
OTHERS = "nan -nan inf NA null True x 1_0 0x1 --1 1e #"
CELLS = st.one_of(
    st.sampled_from([*NUMBERS.split(" "), " 1"]),
    st.sampled_from([*OTHERS.split(" "), "", " ", "1 0", "1,0"]),
    st.text('0123456789.-+eE \t"#nafi_x\0\r\n\u0661', max_size=4),
)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=4))
@example([["0", "1,0"], ["1", ""]])
@example([["0", "0\0"]])
@example([["0", "True"]])
@example([['"0', '0"']])
def test_the_quick_and_the_careful_way_agree(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    folder = tmp_path_factory.mktemp("track")
    (folder / "clip.txt").write_bytes("\n".join(["valence,arousal", *map(",".join, rows)]).encode())

    def outcome() -> str:
        try:
            part = read_track(folder, "va")["clip"]
        except InputError as error:
            return str(error)
        return repr((part.frames.tolist(), part.valence_arousal.tolist()))

    quick = outcome()
    with mock.patch.object(annotation_rows, "_parse_at_once", return_value=None):
        assert outcome() == quick


def test_tracks_are_read_as_they_were_meant(tracks: challenge.Challenge) -> None:
    everything = read_tree(tracks.root, "train")
    same(everything, tracks.train)
    same(read_tree(tracks.root, "validation"), tracks.validation)
    assert {len(part.frames) for part in everything.values()} == {20, 21}
    assert {"4-30-1280x720_left", "4-30-1280x720_right"} < set(everything)
    for track in ground_truth.TRACKS:
        folder = find_track(tracks.root, track, "train")
        found = read_track(folder, track)
        assert list(found) == sorted(path.stem for path in folder.iterdir())
        for name, part in found.items():
            rows = (folder / f"{name}.txt").read_text().splitlines()[1:]
            assert part.frames.tolist() == list(range(1, len(rows) + 1))
            known = {
                "expr": (part.expression >= 0).any(),
                "va": np.isfinite(part.valence_arousal).any(),
                "au": np.isfinite(part.action_units).any(),
            }
            assert known == {name: name == track for name in ground_truth.TRACKS}


def test_tracks_by_hand(tmp_path: Path) -> None:
    for name, track, text in (
        ("va", "VA_Estimation_Challenge", "Valence, Arousal,\n0.602,0.389\n-5,-5\n0.1,-5\n-1,1\n"),
        ("expr", "EXPR_Classification_Challenge", f"{challenge.NAMES}\n4\n-1\n"),
        ("au", "AU_Detection_Challenge", f"\ufeff{challenge.UNITS}\r\n{UNITS}\r\n{UNITS[:-1]}-1\r\n{UNITS}\r\n"),
    ):
        folder = tmp_path / track / "Validation_Set"
        folder.mkdir(parents=True)
        (folder / "clip_right.txt").write_bytes(text.encode())
        (folder / "._clip_right.txt").write_bytes(b"\0\5\26\7")  # left behind by an archive made on a Mac
        assert list(read_track(folder, name)) == ["clip_right"]
    part = read_tree(tmp_path, "validation")["clip_right"]
    units = [float(v) for v in UNITS.split(",")]
    assert part.frames.tolist() == [1, 2, 3, 4]
    assert part.expression.tolist() == [4, -1, -1, -1]
    np.testing.assert_array_equal(
        part.valence_arousal, np.array([[0.602, 0.389], [np.nan] * 2, [np.nan] * 2, [-1, 1]], np.float32)
    )
    np.testing.assert_array_equal(part.action_units, [units, [np.nan] * 12, units, [np.nan] * 12])


@pytest.mark.parametrize("edition", [5, 6])
def test_the_folders_of_all_editions_are_found(tmp_path: Path, edition: int) -> None:
    root = tmp_path / "ABAW Annotations"
    made = challenge.make_tracks(root, edition=edition, paint=None)
    folder = "EXPR_Recognition_Challenge" if edition == 6 else "EXPR_Classification_Challenge"
    assert find_track(root, "expr", "train") == root / folder / "Train_Set"
    assert find_track(tmp_path, "va", "validation") == root / "VA_Estimation_Challenge" / "Validation_Set"
    same(read_tree(tmp_path, "train"), made.train)
    shutil.rmtree(root / "VA_Estimation_Challenge")
    shutil.rmtree(root / "AU_Detection_Challenge")
    only = read_tree(root, "train")
    assert all(np.isnan(part.valence_arousal).all() for part in only.values())
    for name, part in only.items():
        np.testing.assert_array_equal(part.expression, made.train[name].expression[: len(part.frames)])


def test_what_is_not_there_or_there_twice_is_named(tracks: challenge.Challenge, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no EXPR_Recognition_Challenge/Train_Set or EXPR_Classification_Challenge/Tr"):
        find_track(tmp_path / "empty", "expr", "train")
    with pytest.raises(InputError, match=r"empty: no annotations for validation in.*validation_set_annotations\.txt,"):
        read_tree(tmp_path / "empty", "validation")
    with pytest.raises(InputError, match=r"none: cannot be read \(No such file"):
        read_tree(tmp_path / "none", "train")
    with pytest.raises(InputError, match=r"none: cannot be read \(No such file"):
        read_track(tmp_path / "none", "va")
    with pytest.raises(InputError, match=r"empty: no \.txt file"):
        read_track(tmp_path / "empty", "va")
    shutil.copytree(tracks.root / "EXPR_Recognition_Challenge", tracks.root / "EXPR_Classification_Challenge")
    with pytest.raises(InputError, match=r"EXPR_Recognition.*Train_Set and .*EXPR_Class.*Train_Set both exist"):
        read_tree(tracks.root, "train")


def test_a_list_goes_before_tracks_and_the_nearer_place_before_the_farther(
    mtl: challenge.Challenge, tmp_path: Path
) -> None:
    same(read_tree(mtl.root, "train"), mtl.train)
    same(read_tree(mtl.root, "validation"), mtl.validation)
    same(read_tree(mtl.root.parent, "train"), mtl.train)
    (mtl.root / "training_set_annotations.txt").rename(mtl.root / "train_set.txt")
    same(read_tree(mtl.root, "train"), mtl.train)
    dense = challenge.make_tracks(tmp_path, seed=1, paint=None)
    same(read_tree(tmp_path, "train"), dense.train)
    shutil.copy(mtl.root / "train_set.txt", tmp_path)
    same(read_tree(tmp_path, "train"), mtl.train)
    same(read_tree(tmp_path, "validation"), dense.validation)
    shutil.copy(mtl.root / "train_set.txt", mtl.root / "training_set_annotations.txt")
    with pytest.raises(InputError, match="both exist"):
        read_tree(mtl.root, "train")


@pytest.mark.parametrize(
    ("track", "header", "row", "message"),
    [
        ("expr", challenge.NAMES, "8", "line 3: expression is '8', expected a whole number from -1 to 7"),
        ("expr", challenge.NAMES, "", "line 3: found 0 fields, expected 1"),
        ("expr", challenge.NAMES, "1,2", "line 3: found 2 fields, expected 1"),
        ("expr", challenge.NAMES, "happy", "line 3: expression is 'happy', expected"),
        ("expr", "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise", "1", "line 1: the header is 'Neutral,"),
        ("va", "valence,arousal", "0.5", "line 3: found 1 fields, expected 2"),
        ("va", "valence,arousal", "0.5,1.5", "line 3: arousal is '1.5', expected a number from -1 to 1, or -5"),
        ("va", "arousal,valence", "0,0", "line 1: the header is 'arousal,valence', expected valence,arousal"),
        ("va", "0,0", "0,0", "line 1: the header is '0,0', expected valence,arousal"),
        ("au", challenge.UNITS, "-1", "line 3: found 1 fields, expected 12"),
        ("au", challenge.UNITS, UNITS[:-1] + "3", "line 3: AU26 is '3', expected a whole number from -1 to 1"),
        ("au", challenge.NAMES, UNITS, "line 1: the header is 'Neutral,"),
    ],
)
def test_a_bad_line_of_a_track_is_named(tmp_path: Path, track: str, header: str, row: str, message: str) -> None:
    good = {"expr": "0", "va": "0,0", "au": UNITS}[track]
    headers = {"expr": challenge.NAMES, "va": "valence,arousal", "au": challenge.UNITS}
    write(tmp_path, good, header=headers[track], name="a.txt")
    path = write(tmp_path, good, row, good, header=header, name="b.txt")
    with pytest.raises(InputError) as caught:
        read_track(tmp_path, track)
    assert str(caught.value).startswith(f"{path}, {message}")


def test_compounds_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "ce.txt"
    rows = ["02/00003.jpg,6", "01/00002.jpg,0", "01/00001.jpg,-1", "02/00001.png,3"]
    for header in (TRACKS["ce"].header, TRACKS["ce"].header.lower() + ","):
        for end, encoding in (("\n", "utf-8"), ("\r\n", "utf-8-sig")):
            path.write_text(end.join([header, *rows, ""]), encoding=encoding, newline="")
            found = read_compound(path)
            assert list(found) == ["01", "02"]
            assert [part.frames.tolist() for part in found.values()] == [[1, 2], [1, 3]]
            assert [part.compound.tolist() for part in found.values()] == [[-1, 0], [3, 6]]
            assert all(part.compound.dtype == np.int64 for part in found.values())
    for text, says in (
        ("", "the file is empty"),
        (TRACKS["expr"].header + "\n01/00001.jpg,0", "line 1: the header is"),
        (TRACKS["ce"].header, "nothing below the header"),
        (TRACKS["ce"].header + "\n01/00001.jpg,7", "line 2: the label is '7', expected a whole number from -1 to 6"),
        (TRACKS["ce"].header + "\n01/00001.jpg,0.5", "line 2: the label is '0.5'"),
        (TRACKS["ce"].header + "\n01/00001.jpg,nan", "line 2: the label is 'nan'"),
        (TRACKS["ce"].header + "\n01/00001.jpg,1\n01/00002.jpg", "line 3: found 1 fields, expected 2"),
        (TRACKS["ce"].header + "\n01/1.jpg,1\n01/00001.jpg,1", "line 3: 01/00001.jpg is already in line 2"),
        (TRACKS["ce"].header + "\n01/00000.jpg,1", "line 2: the image is '01/00000.jpg'"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=says):
            read_compound(path)


@pytest.mark.parametrize("track", ["expr", "va", "au", "mtl"])
def test_one_track_is_found_wherever_it_is(tracks: challenge.Challenge, tmp_path: Path, track: str) -> None:
    for part in ("train", "validation"):
        whole = read_tree(tracks.root, part)
        if track == "mtl":
            same(read_for(tracks.root, track, part), whole)
            continue
        folder = find_track(tracks.root, track, part)
        for place in (tracks.root, tracks.root.parent, folder):
            same(read_for(place, track, part), read_track(folder, track))
    mtl = challenge.make_mtl(tmp_path / "lists" / "data", videos=4, frames=10, seed=7, paint=None)
    for place in (mtl.root / "training_set_annotations.txt", mtl.root, mtl.root.parent):
        same(read_for(place, track, "train"), mtl.train)
    empty = tmp_path / "nothing"
    empty.mkdir()
    with pytest.raises(InputError, match=f"no annotations of {track} for train .*training_set_annotations.txt or "):
        read_for(empty, track, "train")
    with pytest.raises(InputError, match="cannot be read"):
        read_for(empty / "none", track, "train")


def test_a_list_of_clips_is_read_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "train_split.csv"
    path.write_text(
        "Joy,Filename,admiration,Amusement,Determination,Empathic_Pain,Excitement\n.6,00012,.1,.2,.3,.4,.5\n"
    )
    assert read_intensities(path) == {"12": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)}
    assert [clip_key(name) for name in ("00000", "0120", "a01", "٣")] == ["0", "120", "a01", "٣"]
    header = "Filename,Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"
    for text, says in (
        ("", "no column 'filename'"),
        ("Filename,Joy\n1,0\n", "no column 'admiration'"),
        (f"{header}\n1,0,0,0,0,0\n", "line 2: expected a name and six numbers"),
        (f"{header}\n1,0,0,0,0,0,x\n", "line 2: expected a name and six numbers"),
        (f"{header}\n1,0,0,0,0,0,2\n", "line 2: an intensity is not between"),
        (f"{header}\n1,0,0,0,0,0,nan\n", "line 2: an intensity is not between"),
        (f"{header}\n1,0,0,0,0,0,0\n001,0,0,0,0,0,0\n", "line 3: 001 is already listed"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=says):
            read_intensities(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_intensities(tmp_path / "none.csv")


def test_two_people_share_a_recording() -> None:
    names = ["video10_left", "video10_right", "video10", "left_right", "a_left_b", "_leftover"]
    assert [ground_truth.recording(name) for name in names] == ["video10"] * 3 + ["left", "a_left_b", "_leftover"]


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match=r"clip: expected shapes \(3,\), \(3, 2\), \(3, 12\)"):
        Annotations("clip", np.arange(3), np.zeros(3, int), np.zeros((2, 2), np.float32), np.zeros((3, 12), np.float32))


@pytest.mark.parametrize("paint", [challenge.plain, challenge.telling])
def test_the_synthetic_images_are_those_of_the_lists(tmp_path: Path, paint: challenge.Painter) -> None:
    made = challenge.make_mtl(tmp_path, videos=3, frames=8, validation=1, lost=2, seed=1, paint=paint)
    assert [ground_truth.recording(name) for name in made.train] == ["1-30-1280x720", "2-30-1280x720", "2-30-1280x720"]
    for name, part in (made.train | made.validation).items():
        numbers = {int(path.stem) for path in (made.pictures / name).iterdir()}
        gone = {number for video, number in made.lost if video == name}
        assert numbers == set(part.frames.tolist()) - gone | set(made.unlisted[name])
        picture = cv2.imread(str(next((made.pictures / name).iterdir())))
        assert picture is not None and picture.shape == (112, 112, 3) and picture.std() > 5
    assert len(made.lost) == 2
