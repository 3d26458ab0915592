"""Data sets on disk -> samples: labels, held-out subjects, face positions, and refusals."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import challenge
import clips
import cv2
import labelled
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import known
from PIL import Image

from hsemotion_cli.domain import Face
from hsemotion_cli.errors import InputError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations
from hsemotion_cli.faces.crops import FIVE_POINTS
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.models import registry
from hsemotion_cli.models.blendshapes import GeometryModel
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS
from hsemotion_cli.training import dataset_readers
from hsemotion_cli.training.config import DatasetSource, LossConfig, StageConfig, TrainingConfig
from hsemotion_cli.training.dataset import Dataset, write

FACE = clips.PORTRAIT.read_bytes()


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip face detection, which takes seconds and does not affect labels."""

    def look(pictures: list[bytes], workers: object, progress: object) -> tuple[np.ndarray, ...]:
        return tuple(np.full((len(pictures), *shape), np.nan, np.float32) for shape in ((5, 2), (4,), (52,)))

    monkeypatch.setattr(dataset_readers, "find_faces", look)


def planned(*given: DatasetSource, **options: Any) -> TrainingConfig:
    return TrainingConfig("test", "ddamfn", tuple(given), (StageConfig(1.0),), loss=LossConfig(), **options)


def fails(plan: TrainingConfig, *words: str) -> str:
    with pytest.raises(InputError) as raised:
        dataset_readers.gather(plan, 1)
    message = str(raised.value)
    assert message.startswith(str(plan.sources[0].path)), message
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


# --- FER+ -------------------------------------------------------------------------------------------------------

VOTED = ("happiness", "neutral", "unknown", "sadness", "nf")
VOTES = np.array(
    [
        [8, 1, 1, 0, 0],  # clear
        [4, 3, 0, 3, 0],  # no image has five
        [0, 5, 3, 0, 2],  # half and half: most did not say one of ours
        [1, 2, 6, 0, 1],  # unknown
        [0, 0, 1, 0, 9],  # not a face
        [0, 5, 1, 4, 0],  # five of nine
    ],
    np.uint8,
)


def ferplus(path: Path, **changes: Any) -> DatasetSource:
    arrays = {
        "images": np.random.default_rng(0).integers(0, 256, (6, 48, 48), np.uint8),
        "votes": VOTES,
        "vote_names": np.array(VOTED),
        "split": np.array(["train", "train", "val", "train", "val", "val"]),
        "name": np.array([f"fer{k}.png" for k in range(6)]),
    }
    np.savez(path, **{key: value for key, value in {**arrays, **changes}.items() if value is not None})
    return DatasetSource("ferplus", path, "fer", calibration=0.0)


CLASSES = ("neutral", "sadness", "happiness")


@pytest.mark.usefixtures("unseen")
def test_ferplus_is_shares_of_votes(tmp_path: Path) -> None:
    source = ferplus(tmp_path / "fer.npz")
    found = dataset_readers.gather(planned(source, classes=CLASSES))
    nan = np.nan
    expected = [[1 / 9, 0, 8 / 9], [0.3, 0.3, 0.4], [nan] * 3, [nan] * 3, [nan] * 3, [5 / 9, 4 / 9, 0]]
    np.testing.assert_allclose(found.expression, expected, rtol=1e-6)
    affect = np.array([dataset_readers.AFFECT[name] for name in CLASSES])
    for row, shares in enumerate(expected):
        np.testing.assert_allclose(
            found.valence_arousal[row], sum(s * a for s, a in zip(shares, affect, strict=True)), rtol=1e-5
        )
    assert found.clear.tolist() == [True, False, False, False, False, True]
    assert found.part.tolist() == ["train", "train", "validation", "train", "validation", "validation"]
    assert set(found.source) == {"fer"} and set(found.subject) == {""}
    assert np.isnan(found.action_units).all()
    images = np.load(source.path)["images"]
    for row in range(6):
        np.testing.assert_array_equal(found.image(row), images[row])


def test_the_map_to_valence_and_arousal_has_all_expressions_in_range() -> None:
    assert set(dataset_readers.AFFECT) == set(BASIC_EXPRESSIONS)
    assert all(-1 <= value <= 1 for pair in dataset_readers.AFFECT.values() for value in pair)


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"votes": None}, "votes"),
        ({"vote_names": None}, "vote_names"),
        ({"images": np.zeros((5, 48, 48), np.uint8)}, "other shapes"),
        ({"images": np.zeros((6, 48, 48), np.float32)}, "other shapes"),
        ({"images": np.zeros((6, 48 * 48), np.uint8)}, "other shapes"),
        ({"votes": VOTES[:, :4]}, "other shapes"),
        ({"votes": VOTES[0]}, "other shapes"),
        ({"split": np.array(["train"] * 5)}, "other shapes"),
        ({"split": np.array(["train"] * 5 + ["test"])}, "split"),
        ({"vote_names": np.array(["joy", *VOTED[1:]])}, "no happiness"),
        ({"images": np.zeros((0, 48, 48), np.uint8), "votes": VOTES[:0], "split": np.array([], str)}, "no labelled"),
    ],
)
def test_a_file_that_is_not_ferplus(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    fails(planned(ferplus(tmp_path / "fer.npz", **changes), classes=CLASSES), words)


@pytest.mark.usefixtures("unseen")
def test_files_that_are_no_archive(tmp_path: Path) -> None:
    source = ferplus(tmp_path / "fer.npz")
    content = source.path.read_bytes()
    for kind in ("ferplus", "packed"):
        plan = planned(replace(source, kind=kind), classes=CLASSES)
        for wrong in (b"", b"text", content[:-100], content[: len(content) // 2]):
            source.path.write_bytes(wrong)
            fails(plan)
        source.path.unlink()
        fails(plan, "no such file")


# --- a folder with labels.csv -----------------------------------------------------------------------------------


def folder(path: Path, text: str, pictures: int = 3, encoding: str = "utf-8") -> DatasetSource:
    """Images 0.png, 1.png, ... whose grey is 10 times their number, and a table."""
    path.mkdir(parents=True, exist_ok=True)
    for k in range(pictures):
        (path / f"{k}.png").write_bytes(labelled.png(np.full((4, 4), 10 * k, np.uint8)))
    (path / "labels.csv").write_text(text, encoding=encoding, newline="")
    return DatasetSource("folder", path, "web", held_out=0.0, calibration=0.0)


UNITS = ",".join(ACTION_UNITS)


@pytest.mark.usefixtures("unseen")
def test_a_folder_is_what_its_table_says(tmp_path: Path) -> None:
    units = ",".join(["0", "1", "0.25", *["0"] * 9])
    text = (
        f"subject,valence,arousal,note,image,label,split,{UNITS}\r\n"
        f"ann,0.5,-1,,2.png,fear,train,{units}\r\n"
        f' bob ,,0.3,"two\r\nlines",0.png,,val,{units}\r\n'
        "\r\n"
        f",1,0,,1.png, neutral ,calibration,,{units[2:]}\r\n"
    )
    found = dataset_readers.gather(planned(folder(tmp_path / "set", text, encoding="utf-8-sig")))
    assert [int(found.image(row)[0, 0]) for row in range(3)] == [20, 0, 10]
    eye = np.eye(8)
    np.testing.assert_array_equal(found.expression, [eye[3], np.full(8, np.nan), eye[0]])
    np.testing.assert_array_equal(found.valence_arousal, np.array([[0.5, -1], [np.nan, np.nan], [1, 0]], np.float32))
    row = np.array([0, 1, 0.25, *[0] * 9], np.float32)
    np.testing.assert_array_equal(found.action_units, [row, row, np.full(12, np.nan)])
    assert found.subject.tolist() == ["ann", "bob", ""]
    assert found.part.tolist() == ["train", "validation", "calibration"]
    assert found.clear.all()
    assert set(found.source) == {"web"}


@pytest.mark.usefixtures("unseen")
def test_images_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    source = folder(tmp_path, "image,label\n1.png,anger\n")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.png").write_bytes(labelled.png(np.full((4, 4), 99, np.uint8)))
    found = dataset_readers.gather(planned(source))
    assert found.image(0)[0, 0] == 99
    assert np.isnan(found.valence_arousal).all() and np.isnan(found.action_units).all()


@pytest.mark.usefixtures("unseen")
def test_a_table_may_hold_paths_from_its_folder(tmp_path: Path) -> None:
    source = folder(tmp_path, "path,label\nother/1.png,anger\n")
    for name, value in (("other", 99), ("images", 10)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").write_bytes(labelled.png(np.full((4, 4), value, np.uint8)))
    found = dataset_readers.gather(planned(source))
    assert found.image(0)[0, 0] == 99


@pytest.mark.usefixtures("unseen")
def test_images_with_certain_labels_are_left_out_and_no_others(tmp_path: Path) -> None:
    text = "image,label\n0.png,grim\n1.png,anger\n0.png, anger|grim \n2.png,\n"
    source = folder(tmp_path, text)
    fails(planned(source), "line 2: 'grim' is not one of", "left_out")
    fails(planned(replace(source, left_out=("grim",))), "line 4: 'anger|grim' is not one of", "left_out")
    found = dataset_readers.gather(planned(replace(source, left_out=("grim", "anger|grim"))))
    assert [int(found.image(row)[0, 0]) for row in range(len(found))] == [10, 20]
    assert found.expression[0, 1] == 1 and np.isnan(found.expression[1]).all()


HEAD = "image,label,split\n0.png,fear,train\n"
WRONG = [
    ("", "no column 'image' or 'path'", "none"),
    ("picture,label\n0.png,fear\n", "no column 'image' or 'path'", "picture, label"),
    ("image,label\n", "no labelled image", ""),
    (HEAD + "1.png,joy,train\n", "line 3: 'joy' is not one of", "neutral"),
    (HEAD + "1.png,fear,test\n", "line 3: split 'test' is not one of", "validation"),
    (HEAD + "1.png,fear\n", "line 3: split '' is not one of", "train"),
    (HEAD + "\n\n1.png,joy,train\n", "line 5: 'joy' is not one of", ""),
    ('image,label,note\n0.png,fear,"a\nb"\n1.png,joy,\n', "line 4: 'joy' is not one of", ""),
    (HEAD + "1.png,fear,train,more\n", "line 3", "more fields"),
    (HEAD + "gone.png,fear,train\n", "line 3", "gone.png: cannot be read"),
    (HEAD + ",fear,train\n", "line 3", "cannot be read"),
    (HEAD + "a\0b.png,fear,train\n", "line 3", "cannot be read"),
    (HEAD + f"{'x' * 5000}.png,fear,train\n", "line 3", "cannot be read"),
    ("image,valence,arousal\n0.png,0,0\n1.png,0,1.01\n", "line 3: arousal is '1.01'", "from -1 to 1"),
    ("image,valence,arousal\n0.png,nan,0\n", "line 2: valence is 'nan'", ""),
    ("image,valence,arousal\n0.png,high,0\n", "line 2: valence is 'high'", ""),
    (f"image,{UNITS}\n0.png,{',' * 11}\n1.png,{'0,' * 11}-0.1\n", "line 3: AU26 is '-0.1'", "from 0 to 1"),
    ("image,valence\n0.png,0\n", "no column 'arousal'", "valence, arousal"),
    ("image,AU12\n0.png,1\n", "no column 'AU01'", "or none"),
    ('image,label\n0.png,"fear\n', "not a CSV table", ""),
    ("image,label\n0.png," + "x" * 200_000 + "\n", "not a CSV table", ""),
]


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize(("text", "words", "more"), WRONG, ids=range(len(WRONG)))
def test_a_wrong_table_says_where(tmp_path: Path, text: str, words: str, more: str) -> None:
    fails(planned(folder(tmp_path, text)), words, more)


@pytest.mark.usefixtures("unseen")
def test_a_table_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(tmp_path, HEAD)
    (tmp_path / "labels.csv").write_bytes("image,label\ngröße.png,fear\n".encode("latin-1"))
    fails(planned(source), "labels.csv: not a CSV table")
    monkeypatch.setattr(dataset_readers, "_LARGEST_CSV", 10)
    fails(planned(source), "larger than")
    (tmp_path / "labels.csv").unlink()
    fails(planned(source), "labels.csv: cannot be read")
    fails(planned(replace(source, path=tmp_path / "nowhere")), "labels.csv: cannot be read")


def many(path: Path, people: int, each: int, nameless: int = 0) -> DatasetSource:
    rows = [f"0.png,p{k % people}" for k in range(people * each)] + [f"{k % 3}.png," for k in range(nameless)]
    return folder(path, "\n".join(["image,subject", *rows, ""]))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> DatasetSource:
    return many(tmp_path_factory.mktemp("crowd"), 120, 5)


@pytest.mark.usefixtures("unseen")
def test_people_are_held_out_whole(crowd: DatasetSource) -> None:
    parts = []
    for split in (0, 1, 2):
        source = replace(crowd, held_out=0.3, calibration=0.2)
        found = dataset_readers.gather(planned(source, split=split))
        of = {name: set(found.part[found.subject == name]) for name in np.unique(found.subject)}
        assert all(len(there) == 1 for there in of.values())
        counts = {
            part: sum(there == {part} for there in of.values()) for part in ("train", "validation", "calibration")
        }
        assert 20 < counts["validation"] < 54  # 36 expected of 120
        assert 5 < counts["calibration"] < 32  # 17
        # Another seed trains otherwise, and on the same people: a plan that goes on from here is measured fairly.
        again = dataset_readers.gather(planned(source, split=split, seed=5))
        assert again.part.tolist() == found.part.tolist()
        parts.append(tuple(found.part))
    assert len(set(parts)) == 3


@pytest.mark.usefixtures("unseen")
def test_no_person_is_held_out_where_none_is_wanted(crowd: DatasetSource) -> None:
    assert set(dataset_readers.gather(planned(crowd)).part) == {"train"}
    found = dataset_readers.gather(planned(replace(crowd, held_out=0.5)))
    assert set(found.part) == {"train", "validation"}


@pytest.mark.usefixtures("unseen")
def test_who_is_in_a_part_does_not_depend_on_the_order_of_rows(tmp_path: Path, crowd: DatasetSource) -> None:
    rows = (crowd.path / "labels.csv").read_text().split()
    other = folder(tmp_path, "\n".join([rows[0], *rows[:0:-1], ""]))
    for split in (0, 5):
        one, two = (
            dataset_readers.gather(planned(replace(source, held_out=0.3, calibration=0.2), split=split))
            for source in (crowd, other)
        )
        assert one.part.tolist() == two.part.tolist()[::-1]


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(1, 4), st.floats(0, 0.9), st.floats(0, 0.9), st.integers(0, 99))
def test_no_person_is_in_two_parts(people: int, each: int, held_out: float, calibration: float, seed: int) -> None:
    names = np.array([f"p{k % people}" for k in range(people * each)] + [""] * 3)
    source = DatasetSource("folder", Path("x"), held_out=held_out, calibration=calibration)
    named = np.where(names == "", [f"{k}.png" for k in range(len(names))], names)
    part = dataset_readers._hold_out(named, source, seed)
    empty = np.zeros((len(names), 1), np.float32)
    labels = dataset_readers.Labels([], empty, empty, empty, np.ones(len(names), bool), names, part)
    found = dataset_readers._with_calibration(labels, source, seed)
    assert all(len(set(found[names == name])) == 1 for name in set(names) - {""})
    assert (found[part == "validation"] == "validation").all()
    assert held_out or "validation" not in found
    assert calibration or "calibration" not in found


@pytest.mark.usefixtures("unseen")
def test_images_of_unknown_people_are_held_out_by_themselves(tmp_path: Path) -> None:
    source = replace(many(tmp_path, 1, 1, 300), held_out=0.5, calibration=0.3)
    found = dataset_readers.gather(planned(source))
    nameless = found.subject == ""
    # The same image, listed often, is validation everywhere or nowhere.
    for grey in (0, 10, 20):
        rows = [k for k in np.flatnonzero(nameless) if found.image(int(k))[0, 0] == grey]
        assert len({found.part[k] == "validation" for k in rows}) == 1


@pytest.mark.usefixtures("unseen")
def test_a_calibration_part_of_its_own_is_the_only_one(tmp_path: Path) -> None:
    rows = [f"0.png,{'calibration' if k == 0 else 'train'}" for k in range(50)]
    source = replace(folder(tmp_path, "\n".join(["image,split", *rows, ""])), calibration=0.5, held_out=0.5)
    assert dataset_readers.gather(planned(source)).part.tolist() == ["calibration"] + ["train"] * 49


# --- Aff-Wild2 --------------------------------------------------------------------------------------------------


def check_wild(found: Dataset, data: challenge.Challenge, classes: tuple[str, ...]) -> None:
    lost = set(data.lost)
    expected: Iterator[tuple[str, Annotations, int]] = iter(
        (part, labels, k)
        for part, videos in (("train", data.train), ("validation", data.validation))
        for labels in videos.values()
        for k in range(len(labels.frames))
        if (labels.video, int(labels.frames[k])) not in lost
    )
    row = -1
    for row, (part, labels, k) in enumerate(expected):
        assert (found.part[row], found.subject[row]) == (part, labels.video)
        code = int(labels.expression[k])
        name = AFFWILD2_EXPRESSIONS[code] if code >= 0 else None
        shares = np.eye(len(classes))[classes.index(name)] if name in classes else np.full(len(classes), np.nan)
        np.testing.assert_array_equal(found.expression[row], shares)
        np.testing.assert_array_equal(found.valence_arousal[row], labels.valence_arousal[k])
        np.testing.assert_array_equal(found.action_units[row], labels.action_units[k])
        file = data.pictures / labels.video / f"{labels.frames[k]:05d}.jpg"
        begin, end = found.offsets[row : row + 2]
        assert found.encoded[begin:end].tobytes() == file.read_bytes()
    assert len(found) == row + 1
    assert found.clear.all()
    for values in (found.expression, found.valence_arousal, found.action_units):
        share = np.isnan(values).any(axis=1).mean()
        assert 0.05 < share < 0.6  # some are masked, and most are not


@pytest.mark.usefixtures("unseen")
@pytest.mark.parametrize(
    "classes", [AFFWILD2_EXPRESSIONS, ("other", "happiness", "neutral", "fear", "anger", "sadness")]
)
def test_a_list_of_affwild2_is_what_it_says(tmp_path: Path, classes: tuple[str, ...]) -> None:
    data = challenge.make_mtl(tmp_path / "mtl", videos=3, frames=12, validation=1, lost=3)
    found = dataset_readers.gather(
        planned(DatasetSource("affwild2", data.root, "wild", calibration=0.0), classes=classes)
    )
    check_wild(found, data, classes)
    assert len(data.lost) == 3


@pytest.mark.usefixtures("unseen")
def test_tracks_of_affwild2_match_their_names(tmp_path: Path) -> None:
    data = challenge.make_tracks(tmp_path / "tracks", videos=3, frames=12, validation=1)
    (tmp_path / "tracks" / "cropped_aligned").rename(tmp_path / "tracks" / "faces")
    data = replace(data, pictures=tmp_path / "tracks" / "faces")
    source = DatasetSource("affwild2", data.root, "wild", crops="faces", calibration=0.0)
    check_wild(dataset_readers.gather(planned(source, classes=AFFWILD2_EXPRESSIONS)), data, AFFWILD2_EXPRESSIONS)
    fails(planned(replace(source, crops="cropped_aligned"), classes=AFFWILD2_EXPRESSIONS), "no labelled image")


@pytest.mark.usefixtures("unseen")
def test_videos_of_affwild2_are_set_aside_whole(tmp_path: Path) -> None:
    data = challenge.make_mtl(tmp_path / "mtl", videos=8, frames=6, validation=2)
    source = DatasetSource("affwild2", data.root, "wild", calibration=0.5)
    found = dataset_readers.gather(planned(source, classes=AFFWILD2_EXPRESSIONS))
    assert set(found.part) == {"train", "calibration", "validation"}
    for name in np.unique(found.subject):
        assert len(set(found.part[found.subject == name])) == 1
    assert set(found.subject[found.part == "validation"]) == set(data.validation)


def test_affwild2_has_no_contempt(tmp_path: Path) -> None:
    fails(planned(DatasetSource("affwild2", tmp_path, "wild")), "no contempt", "other")
    fails(planned(DatasetSource("affwild2", tmp_path, "wild"), classes=AFFWILD2_EXPRESSIONS), "no annotations")


# --- packed files -----------------------------------------------------------------------------------------------


def packed(path: Path, names: list[str], **columns: object) -> DatasetSource:
    samples = labelled.make(
        [np.full((4, 4), k, np.uint8) for k in range(len(names))],
        3,
        source=names,
        expression=labelled.onehot(np.arange(len(names)) % 3, 3),
        part=["train", "calibration", "validation", "train"][: len(names)],
        **columns,
    )
    write(path, samples)
    return DatasetSource("packed", path, "packed", held_out=0.5, calibration=0.5)


def test_a_packed_file_keeps_its_parts(tmp_path: Path) -> None:
    source = packed(tmp_path / "all.npz", ["a", "b", "a", "b"])
    found = dataset_readers.gather(planned(source, classes=CLASSES))
    assert found.part.tolist() == ["train", "calibration", "validation", "train"]
    assert found.source.tolist() == ["packed"] * 4  # the name by which stages call them


def test_sources_in_a_packed_file_are_taken_by_name(tmp_path: Path) -> None:
    source = packed(tmp_path / "all.npz", ["a", "b", "a", "b"])
    found = dataset_readers.gather(planned(replace(source, name="b"), replace(source, name="a"), classes=CLASSES))
    assert found.source.tolist() == ["b", "b", "a", "a"]
    assert [int(found.image(row)[0, 0]) for row in range(4)] == [1, 3, 0, 2]
    assert found.expression.argmax(axis=1).tolist() == [1, 0, 0, 2]
    assert found.part.tolist() == ["calibration", "train", "train", "validation"]


def test_a_packed_file_with_other_classes(tmp_path: Path) -> None:
    fails(planned(packed(tmp_path / "all.npz", ["a"])), "packed with 3 classes, the plan has 8")
    fails(planned(packed(tmp_path / "none.npz", []), classes=CLASSES), "no images")


def test_a_packed_file_gives_action_units_as_wanted(tmp_path: Path) -> None:
    shapes = np.random.default_rng(0).random((3, 52)).astype(np.float32)
    shapes[1] = np.nan
    labels = np.full((3, 12), 0.5, np.float32)
    source = packed(tmp_path / "all.npz", ["a"] * 3, blendshapes=shapes, action_units=labels)
    np.testing.assert_array_equal(dataset_readers.gather(planned(source, classes=CLASSES)).action_units, labels)
    found = dataset_readers.gather(planned(replace(source, units="blendshapes"), classes=CLASSES))
    np.testing.assert_array_equal(found.action_units, geometry(shapes))


# --- faces ------------------------------------------------------------------------------------------------------


def geometry(shapes: np.ndarray) -> np.ndarray:
    faces = [Face((0, 0, 1, 1), 1.0, blendshapes=None if np.isnan(row).any() else row) for row in shapes]
    units = GeometryModel(registry.card("mp-blendshapes"))(faces).tasks["action_units"]
    assert np.array_equal(np.isnan(units).all(axis=1), np.isnan(shapes).any(axis=1))  # or nothing would be compared
    return units


def files(tmp_path: Path) -> tuple[DatasetSource, np.ndarray]:
    """A folder with one face in several shapes and somebody else's wall, and the face as RGB."""
    picture = cv2.cvtColor(known(cv2.imdecode(np.frombuffer(FACE, np.uint8), cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
    source = folder(tmp_path, "image,label\n0.png,happiness\n1.png,neutral\n2.png,\n3.jpg,happiness\n")
    small = cv2.resize(picture, (96, round(96 * picture.shape[0] / picture.shape[1])), interpolation=cv2.INTER_AREA)
    (tmp_path / "0.png").write_bytes(labelled.png(picture))
    (tmp_path / "1.png").write_bytes(labelled.png(clips.blank()))
    (tmp_path / "2.png").write_bytes(labelled.png(small))
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x112] = 6  # stored lying, to be shown upright
    Image.fromarray(np.rot90(picture)).save(file, "JPEG", quality=97, exif=exif)
    (tmp_path / "3.jpg").write_bytes(file.getvalue())
    return source, picture


def test_faces_are_where_they_are_and_give_the_action_units_of_geometry(tmp_path: Path) -> None:
    source, picture = files(tmp_path)
    told: list[tuple[str, int, int]] = []
    more = packed(tmp_path / "more.npz", ["x"])
    plan = planned(replace(source, units="blendshapes"), more, classes=CLASSES)
    found = dataset_readers.gather(plan, 1, lambda *news: told.append(news))
    assert told == [("web", 4, 4)]
    with FaceDetector() as finder:
        face = finder.find_in_crop(picture)
    assert face.landmarks is not None and face.blendshapes is not None
    np.testing.assert_allclose(found.points[0], face.landmarks[list(FIVE_POINTS)], atol=1e-3)
    surface = face.landmarks[:468]
    expected = (*surface.min(axis=0), *np.ptp(surface, axis=0))
    np.testing.assert_allclose(found.boxes[0], expected, atol=1e-3)
    np.testing.assert_allclose(found.blendshapes[0], face.blendshapes, atol=1e-6)
    np.testing.assert_array_equal(found.action_units[:4], geometry(found.blendshapes[:4]))
    np.testing.assert_array_equal(found.action_units[0], geometry(face.blendshapes[None])[0])
    # The wall shows no face, so nothing is known about it.
    assert found.expression[1].tolist() == [1, 0, 0]
    for values in (found.points[1], found.boxes[1], found.blendshapes[1], found.action_units[1]):
        assert np.isnan(values).all()
    # A smaller image has its points in its own pixels, one that lies is stood up first.
    across = picture.shape[1]
    np.testing.assert_allclose((found.points[2] + 0.5) * across / 96 - 0.5, found.points[0], atol=0.012 * across)
    assert found.image(3).shape == picture.shape
    np.testing.assert_allclose(found.points[3], found.points[0], atol=0.012 * across)
    assert found.source.tolist() == ["web"] * 4 + ["packed"]


def test_an_image_that_does_not_decode_is_named(tmp_path: Path) -> None:
    source = folder(tmp_path, "image\n0.png\n1.png\n")
    (tmp_path / "1.png").write_bytes(b"no picture")
    fails(planned(source), "image 2 of 10 bytes cannot be decoded")


def test_a_table_made_by_python_is_read(tmp_path: Path, unseen: None) -> None:
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "subject"])
        writer.writerow(["a, b.png", "fear", 'Ann "Q", jr.'])
    (tmp_path / "a, b.png").write_bytes(labelled.png(np.zeros((3, 3), np.uint8)))
    found = dataset_readers.gather(planned(DatasetSource("folder", tmp_path, "web", held_out=0.0, calibration=0.0)))
    assert found.subject.tolist() == ['Ann "Q", jr.']
