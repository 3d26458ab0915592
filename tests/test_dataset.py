"""Packed samples: round trips, and one clear error for any other file."""

from __future__ import annotations

import io
import itertools
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import cv2
import labelled
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hsemotion_cli.errors import InputError, OutputError
from hsemotion_cli.media.images import read_image
from hsemotion_cli.training import dataset as module
from hsemotion_cli.training.dataset import PARTS, Dataset, decode_image, join, pack, read, write

NAMES = [field.name for field in fields(Dataset)]
CALM = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def sets(draw: st.DrawFn, classes: int | None = None) -> tuple[list[np.ndarray], Dataset]:
    """Images, and samples of them with all kinds of labels."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, classes = draw(st.integers(0, 5)), classes or draw(st.integers(2, 9))
    shapes = [tuple(random.integers(1, 9, 2)) + ((3,) if random.random() < 0.5 else ()) for _ in range(count)]
    pictures = [random.integers(0, 256, shape, np.uint8) for shape in shapes]

    def maybe(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float32)
        values[random.random(count) < 0.4] = np.nan
        return values

    texts = st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5), min_size=count)
    shares = random.random((count, classes)) + 1e-3
    made = labelled.make(
        pictures,
        classes,
        points=maybe(random.normal(50, 30, (count, 5, 2))),
        boxes=maybe(random.normal(50, 30, (count, 4))),
        blendshapes=maybe(random.random((count, 52))),
        expression=maybe(shares / shares.sum(axis=1, keepdims=True)),
        valence_arousal=maybe(random.uniform(-1, 1, (count, 2))),
        action_units=maybe(random.random((count, 12))),
        clear=random.random(count) < 0.5,
        source=np.array(draw(texts)[:count], str),
        subject=np.array(draw(texts)[:count], str),
        part=random.choice(PARTS, count),
    )
    return pictures, made


def same(one: Dataset, other: Dataset) -> None:
    for name in NAMES:
        a, b = getattr(one, name), getattr(other, name)
        assert a.shape == b.shape, name
        # Texts may be stored with more room than they need.
        assert a.tolist() == b.tolist() if a.dtype.kind == "U" else a.tobytes() == b.tobytes(), name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packed")


@CALM
@given(sets())
def test_what_is_written_is_read(folder: Path, made: tuple[list[np.ndarray], Dataset]) -> None:
    pictures, samples = made
    write(folder / "one.npz", samples)
    found = read(folder / "one.npz")
    same(samples, found)
    assert len(found) == len(pictures)
    for row, picture in enumerate(pictures):
        np.testing.assert_array_equal(found.image(row), picture)


@CALM
@given(st.lists(sets(classes=3), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_joined_sets_keep_every_sample(parts: list[tuple[list[np.ndarray], Dataset]], random: object) -> None:
    found = join([samples for _, samples in parts])
    assert len(found) == sum(len(pictures) for pictures, _ in parts) == len(found.offsets) - 1
    assert found.offsets[-1] == len(found.encoded)
    row = 0
    for pictures, samples in parts:
        for k, picture in enumerate(pictures):
            np.testing.assert_array_equal(found.image(row), picture)
            for name in NAMES[2:]:
                np.testing.assert_array_equal(getattr(found, name)[row], getattr(samples, name)[k])
            row += 1
    order = list(range(len(found)))
    random.shuffle(order)  # type: ignore[attr-defined]
    some = found.subset(np.array(order[: len(order) // 2], np.int64))
    for k, row in enumerate(order[: len(order) // 2]):
        np.testing.assert_array_equal(some.image(k), found.image(row))
        for name in NAMES[2:]:
            np.testing.assert_array_equal(getattr(some, name)[k], getattr(found, name)[row])


def test_a_joined_set_can_be_read_again(tmp_path: Path) -> None:
    one, other = (labelled.make([np.full((2, 2), k, np.uint8)], source=f"s{k}") for k in (1, 2))
    write(tmp_path / "two.npz", join([one, other]))
    found = read(tmp_path / "two.npz")
    same(join([one, other]), found)
    assert [found.image(k)[0, 0] for k in (0, 1)] == [1, 2]


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_images_are_packed_end_to_end(files: list[bytes]) -> None:
    encoded, offsets = pack(iter(files))
    assert encoded.dtype == np.uint8
    assert offsets.dtype == np.int64
    assert offsets[0] == 0
    assert [encoded[a:b].tobytes() for a, b in itertools.pairwise(offsets)] == files


def test_rows_are_those_of_a_part_and_of_sources() -> None:
    samples = labelled.make(
        [np.zeros((2, 2), np.uint8)] * 5,
        part=["train", "validation", "train", "calibration", "train"],
        source=["a", "a", "b", "b", "c"],
    )
    assert samples.rows("train").tolist() == [0, 2, 4]
    assert samples.rows("train", ["b", "c"]).tolist() == [2, 4]
    assert samples.rows("calibration", ("b",)).tolist() == [3]
    assert samples.rows("validation", []).tolist() == []
    other = samples.replaced(source=np.full(5, "b"))
    assert other.rows("train", ["b"]).tolist() == [0, 2, 4]
    assert samples.source[0] == "a"


# --- files that are something else ------------------------------------------------------------------------------


def plain(count: int = 3) -> Dataset:
    return labelled.make(
        [np.full((4, 4), 50 * k, np.uint8) for k in range(count)], expression=labelled.onehot(np.array([0, 1, -1]))
    )


def refused(path: Path, *words: str) -> str:
    with pytest.raises(InputError) as raised:
        read(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_files_of_another_kind(tmp_path: Path) -> None:
    refused(tmp_path / "missing.npz", "no such file")
    refused(tmp_path)
    for name, content in {
        "empty": b"",
        "text": b"image,label\n1.png,fear\n",
        "zip": b"PK\x03\x04 and no more",
        "picture": labelled.png(np.zeros((3, 3), np.uint8)),
    }.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, "not a file of packed samples")
    np.save(tmp_path / "array.npy", np.zeros(3))
    refused(tmp_path / "array.npy", "not a file of packed samples")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    refused(tmp_path / "other.npz", "encoded")
    with zipfile.ZipFile(tmp_path / "texts.npz", "w") as file:
        for name in NAMES:
            file.writestr(f"{name}.npy", "no array")
    refused(tmp_path / "texts.npz", "not a file of packed samples")


def test_pickles_are_never_read(tmp_path: Path) -> None:
    columns = {name: getattr(plain(), name) for name in NAMES}
    np.savez(tmp_path / "pickled.npz", **{**columns, "subject": np.array([Path("/a"), 2, None], object)})
    refused(tmp_path / "pickled.npz", "allow_pickle")


@CALM
@given(st.floats(0, 1, exclude_max=True))
def test_a_file_that_is_cut_short(folder: Path, share: float) -> None:
    write(folder / "whole.npz", plain())
    content = (folder / "whole.npz").read_bytes()
    (folder / "short.npz").write_bytes(content[: int(share * len(content))])
    refused(folder / "short.npz")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_file_that_was_changed_is_refused_or_makes_sense(folder: Path, data: st.DataObject) -> None:
    write(folder / "whole.npz", plain())
    content = bytearray((folder / "whole.npz").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / "changed.npz").write_bytes(content)
    try:
        found = read(folder / "changed.npz")
    except InputError as error:
        assert str(error).startswith(str(folder / "changed.npz"))
    else:
        assert len(found) == len(found.offsets) - 1 == len(found.expression)


TORN = "its images and its labels do not match"
CHANGES: list[tuple[str, Callable[[dict[str, np.ndarray]], object]]] = [
    (TORN, lambda c: c.update(offsets=c["offsets"][:-1])),
    (TORN, lambda c: c.update(encoded=c["encoded"][:-1])),
    (TORN, lambda c: c.update(offsets=c["offsets"] + 1)),
    (TORN, lambda c: c["offsets"].__setitem__(0, 1)),
    (TORN, lambda c: c.update(offsets=c["offsets"][[0, 2, 1, 3]])),
    (TORN, lambda c: c.update(offsets=c["offsets"].astype(np.float64))),
    (TORN, lambda c: c.update(encoded=c["encoded"].astype(np.int16))),
    ("column boxes", lambda c: c.update(boxes=c["boxes"][:-1])),
    ("column points", lambda c: c.update(points=c["points"][:, :4])),
    ("column blendshapes", lambda c: c.update(blendshapes=c["blendshapes"][:, :51])),
    ("column action_units", lambda c: c.update(action_units=c["action_units"].astype(np.float64))),
    ("column expression", lambda c: c.update(expression=c["expression"][:, 0])),
    ("column valence_arousal", lambda c: c.update(valence_arousal=np.zeros((3, 2), np.int32))),
    ("column clear", lambda c: c.update(clear=c["clear"].astype(np.float32))),
    ("column source", lambda c: c.update(source=np.arange(3))),
    ("column ", lambda c: c.update(part=np.array("train"))),
    ("not one of train, calibration, validation", lambda c: c.update(part=np.array(["train", "test", "train"]))),
    ("column expression has values", lambda c: c["expression"].__setitem__((0, 0), -0.5)),
    ("column valence_arousal has values", lambda c: c["valence_arousal"].__setitem__((1, 0), 1.5)),
    ("column action_units has values", lambda c: c["action_units"].__setitem__((1, 3), np.inf)),
    ("do not add up to 1", lambda c: c["expression"].__setitem__((1, 0), 0.5)),
]


@pytest.mark.parametrize(("words", "change"), CHANGES)
def test_columns_that_do_not_belong_together(
    tmp_path: Path, words: str, change: Callable[[dict[str, np.ndarray]], object]
) -> None:
    columns = {name: getattr(plain(), name).copy() for name in NAMES}
    np.savez(tmp_path / "good.npz", **columns)
    read(tmp_path / "good.npz")
    change(columns)
    np.savez(tmp_path / "bad.npz", **columns)
    refused(tmp_path / "bad.npz", words)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutputError, match="nowhere"):
        write(tmp_path / "nowhere" / "one.npz", plain())
    write(tmp_path / "one.npz", plain())
    before = (tmp_path / "one.npz").read_bytes()

    def full(file: io.BufferedWriter, **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.np, "savez", full)
    with pytest.raises(OutputError, match=r"one\.npz"):
        write(tmp_path / "one.npz", plain())
    assert (tmp_path / "one.npz").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]


# --- images ---------------------------------------------------------------------------------------------------


def stored(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned by a quarter
    return exif


RANDOM = np.random.default_rng(0)
GREY = Image.fromarray(RANDOM.integers(0, 256, (6, 9), np.uint8))
COLOUR = Image.fromarray(RANDOM.integers(0, 256, (6, 9, 3), np.uint8))
FILES = {
    "grey": stored(GREY),
    "colour": stored(COLOUR),
    "jpeg": stored(COLOUR, "JPEG"),
    "grey jpeg": stored(GREY, "JPEG"),
    "turned jpeg": stored(COLOUR, "JPEG", exif=turned()),
    "turned": stored(COLOUR, exif=turned()),
    "palette": stored(COLOUR.quantize(8)),
    "see-through": stored(COLOUR.convert("RGBA")),
    "see-through grey": stored(GREY.convert("LA")),
    "one bit": stored(GREY.convert("1")),
    "16 bits": cv2.imencode(".png", RANDOM.integers(0, 65536, (6, 9), np.uint16))[1].tobytes(),
}


@pytest.mark.parametrize("name", FILES)
def test_images_are_those_that_annotating_reads(tmp_path: Path, name: str) -> None:
    (tmp_path / "picture").write_bytes(FILES[name])
    expected = read_image(tmp_path / "picture")
    found = decode_image(np.frombuffer(FILES[name], np.uint8))
    assert expected is not None and found is not None
    assert found.dtype == np.uint8
    assert found.shape == ((9, 6, 3) if "turned" in name else found.shape)
    colours = np.repeat(found[..., None], 3, axis=2) if found.ndim == 2 else found
    np.testing.assert_array_equal(colours, expected)
    assert (found.ndim == 2) == (name in {"grey", "grey jpeg", "one bit", "16 bits"})


def huge() -> bytes:
    """A PNG file that says that it is 100,000 pixels wide and high."""
    content = bytearray(FILES["grey"])
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


@pytest.mark.parametrize("content", [b"", b"no images", FILES["colour"][:60], FILES["jpeg"][:200], huge()])
def test_an_image_that_does_not_decode(content: bytes) -> None:
    encoded, offsets = pack([FILES["grey"], content])
    samples = labelled.make([np.zeros((2, 2), np.uint8)] * 2, source="web").replaced(encoded=encoded, offsets=offsets)
    assert samples.image(0).shape == (6, 9)
    with pytest.raises(InputError, match="web: image 1 cannot be decoded"):
        samples.image(1)
