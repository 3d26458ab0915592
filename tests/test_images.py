"""Still images: each kind is read whole, upright and by its content, as Pillow reads it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from hsemotion_cli.errors import InputError
from hsemotion_cli.media import pillow_decoder
from hsemotion_cli.media.image_size import declared_size, tiff_pages
from hsemotion_cli.media.images import ImageSequence, decode_image, is_cut_short, read_image
from hsemotion_cli.media.video import open_source

NAME = Path("x")
PHOTO = Image.fromarray(clips.portrait(300, 200))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def heic(image: Image.Image, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="writing HEIC files needs pillow-heif (the extra dev)")
    file = io.BytesIO()
    pillow_heif.from_pillow(image).save(file, **options)
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def difference(one: np.ndarray | None, other: np.ndarray) -> float:
    assert one is not None
    assert one.shape == other.shape
    return float(np.abs(one.astype(int) - other).mean())


def test_a_heic_image_in_tiles_is_read_whole(tmp_path: Path) -> None:
    large = PHOTO.resize((1200, 1000))
    path = tmp_path / "x.heic"
    path.write_bytes(heic(large, tile_size=512))
    source = open_source(path)
    (frame,) = source.frames()
    assert (source.info.kind, source.info.width, source.info.height) == ("picture", 1200, 1000)
    assert difference(frame.image, np.asarray(large)) < 4
    assert declared_size(path.read_bytes()) == (1200, 1000)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
def test_every_orientation_is_upright_mirrored_ones_too(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = PHOTO.copy()
    stored.getexif()[0x112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored).convert("RGB"))
    data = heic(PHOTO, exif=exif.tobytes()) if kind == "HEIC" else saved(PHOTO, kind, exif=exif.tobytes())
    assert difference(decode_image(NAME, data), expected) < 5


def test_without_the_library_a_heic_image_is_refused_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pillow_decoder, "_HEIF_READERS", ("no_such_library",))
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + ispe(64, 48)
    with pytest.raises(InputError, match=r"x: is a HEIC image.*pip install 'hsemotion-cli\[heic\]'"):
        decode_image(NAME, data)


def ispe(width: int, height: int) -> bytes:
    """The boxes meta/iprp/ipco/ispe of a HEIF file."""

    def box(kind: bytes, content: bytes) -> bytes:
        return (len(content) + 8).to_bytes(4) + kind + content

    size = box(b"ispe", bytes(4) + width.to_bytes(4) + height.to_bytes(4))
    return box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", size)))


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + ispe(40_000, 40_000),
        b"\0\0\0\x18ftypavif\0\0\0\0mif1avif" + ispe(40_000, 40_000),
        b"GIF89a" + (60_000).to_bytes(2, "little") * 2 + bytes(3),
        b"P6 100000 100000 255\n",
        b"P4\n# a comment\n100000 100000\n\x80",
        b"\xff\x4f\xff\x51\x00\x2f\x00\x00" + (90_000).to_bytes(4) * 2 + bytes(8),
    ],
)
def test_an_image_that_declares_too_much_is_refused_before_it_is_decoded(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("opened", "_heif_reader"):
        monkeypatch.setattr(pillow_decoder, name, lambda *_: pytest.fail("a decoder was asked"))
    with pytest.raises(InputError, match=r"x: its .* are declared as \d+ x \d+ pixels"):
        decode_image(NAME, data + bytes(100))


@pytest.mark.parametrize("kind", ["GIF", "JPEG2000", "AVIF", "PPM", "HEIC", "TIFF", "MPO"])
def test_declared_sizes_are_those_of_the_image(kind: str) -> None:
    for size in ((64, 48), (37, 53), (301, 16)):
        image = PHOTO.resize(size)
        data = heic(image) if kind == "HEIC" else saved(image, kind)
        if kind == "HEIC":  # its encoder works on blocks of 64 pixels, and the rest is cropped away
            declared = declared_size(data) or (0, 0)
            assert all(side <= found < side + 64 for side, found in zip(size, declared, strict=True))
        else:
            assert declared_size(data) == size
        for length in range(0, min(len(data), 400), 7):
            declared_size(data[:length])  # never an error


@pytest.mark.parametrize(
    ("kind", "image", "most"),
    [
        ("JPEG", PHOTO.convert("CMYK"), 2.0),
        ("JPEG", PHOTO.convert("L"), 0.1),
        ("PNG", PHOTO.quantize(64), 0.1),
        ("PNG", PHOTO.convert("1"), 0.1),
        ("TIFF", PHOTO.convert("CMYK"), 0.5),
        ("JPEG2000", PHOTO, 0.1),
        ("PPM", PHOTO, 0.0),
        ("PPM", PHOTO.convert("L"), 0.0),
        ("PPM", PHOTO.convert("1"), 0.0),
        ("GIF", PHOTO, 0.0),
        ("MPO", PHOTO, 0.1),
        ("AVIF", PHOTO, 0.1),
    ],
)
def test_each_kind_is_read_as_pillow_reads_it(kind: str, image: Image.Image, most: float) -> None:
    data = saved(image, kind)
    assert difference(decode_image(NAME, data), by_pillow(data)) <= most


def test_sixteen_bits_become_eight() -> None:
    grey = np.asarray(PHOTO.convert("L"))
    wide = Image.fromarray(grey.astype(np.uint16) * 257)
    expected = np.repeat(grey[..., None], 3, axis=2)
    for kind in ("PNG", "TIFF", "PPM"):
        assert difference(decode_image(NAME, saved(wide, kind)), expected) == 0, kind


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 65535), st.integers(1, 9), st.integers(1, 5), st.sampled_from([1, 3]))
def test_netpbm_values_are_scaled_by_the_largest(
    data: st.DataObject, largest: int, width: int, height: int, depth: int
) -> None:
    count = width * height * depth
    values = np.array(data.draw(st.lists(st.integers(0, largest), min_size=count, max_size=count)))
    size = f"\n# made by a test\n{width} {height}\n{largest}\n"
    kinds = {1: ("P2", "P5"), 3: ("P3", "P6")}[depth]
    text = f"{kinds[0]}{size}{' '.join(map(str, values))}\n".encode()
    raw = f"{kinds[1]}{size}".encode() + values.astype("u1" if largest < 256 else ">u2").tobytes()
    expected = np.broadcast_to(np.rint(values.reshape(height, width, depth) * 255 / largest), (height, width, 3))
    for content in (text, raw):
        image = decode_image(NAME, content)
        assert image is not None
        assert np.abs(image - expected).max() <= 1
        assert declared_size(content) == (width, height)
    assert decode_image(NAME, raw[:-1]) is None


def test_what_is_transparent_is_shown_on_white_and_hides_what_is_below(tmp_path: Path) -> None:
    image = PHOTO.copy()
    alpha = np.full((200, 300), 255, np.uint8)
    alpha[:, :150] = 0
    image.putalpha(Image.fromarray(alpha))
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True, "exact": True})):
        found = decode_image(NAME, saved(image, kind, **options))
        assert found is not None
        assert (found[:, :150] == 255).all(), kind
        assert difference(found[:, 150:], np.asarray(PHOTO)[:, 150:]) < 1, kind
    opaque = PHOTO.convert("RGBA")
    assert difference(decode_image(NAME, saved(opaque, "PNG")), np.asarray(PHOTO)) == 0
    for number, shown in enumerate((opaque, image), 1):
        (tmp_path / f"{number}.png").write_bytes(saved(shown, "PNG"))
    source = open_source(tmp_path)
    assert len(list(source.frames())) == 2
    assert source.notes == ["1 of its images have transparent parts, which are shown on white."]


def test_an_image_is_recognised_by_its_content_whatever_its_name(tmp_path: Path) -> None:
    for name, kind in (("a.mp4", "PNG"), ("b.jpg", "WEBP"), ("c", "JPEG"), ("d.png", "GIF"), ("e.jpeg", "AVIF")):
        (tmp_path / name).write_bytes(saved(PHOTO, kind))
        source = open_source(tmp_path / name)
        (frame,) = source.frames()
        assert difference(frame.image, np.asarray(PHOTO)) < 6, name
    clips.write(tmp_path / "video.mkv", [clips.portrait()] * 3)
    (tmp_path / "video.mkv").rename(tmp_path / "video.jpg")
    assert len(list(open_source(tmp_path / "video.jpg").frames())) == 3


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_short_is_not_taken_for_a_whole_one(progressive: bool) -> None:
    exif = Image.Exif()
    data = saved(PHOTO, "JPEG", progressive=progressive, exif=exif.tobytes())
    assert not is_cut_short(data)
    assert decode_image(NAME, data) is not None
    for length in range(2, len(data) - 2, len(data) // 40):
        assert is_cut_short(data[:length])
        assert decode_image(NAME, data[:length]) is None


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "JPEG2000", "PPM", "BMP", "GIF", "AVIF", "HEIC"])
def test_half_an_image_is_none(kind: str) -> None:
    data = heic(PHOTO) if kind == "HEIC" else saved(PHOTO, kind)
    assert decode_image(NAME, data[: len(data) // 2]) is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\xff\x0a" + bytes(50), "JPEG XL cannot be read"),
        (b"8BPS\0\1" + bytes(50), "Photoshop cannot be read"),
        (bytes(128) + b"DICM" + bytes(50), "DICOM cannot be read"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(50), "camera raw cannot be read here; export it as JPEG"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(50), "camera raw cannot be read here; export it as JPEG"),
    ],
)
def test_what_is_recognised_and_cannot_be_read_is_named(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(InputError, match=rf"a\.jpg: {says}"):
        read_image(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=rf"a\.jpg: {says}"):
        open_source(tmp_path / "a.jpg")


def test_a_thumbnail_is_not_taken_for_a_raw_photo(tmp_path: Path) -> None:
    reduced = 254  # NewSubfileType: the first image of such files is a small copy
    (tmp_path / "a.tif").write_bytes(saved(PHOTO.resize((60, 40)), "TIFF", tiffinfo={reduced: 1}))
    (tmp_path / "a.nef").write_bytes(saved(PHOTO.resize((60, 40)), "TIFF"))
    for name in ("a.tif", "a.nef"):
        with pytest.raises(InputError, match="camera raw"):
            open_source(tmp_path / name)


def test_a_text_file_is_never_decoded_as_a_video(tmp_path: Path) -> None:
    for name, text in (("a.mp4", "GIF89a is a format of images\n"), ("b.csv", "frame,time\n0,0\n"), ("c", "RIFF a b")):
        (tmp_path / name).write_text(text * 100)
        with pytest.raises(InputError, match="not a readable video; it is a text file"):
            open_source(tmp_path / name)


def test_numbered_images_may_be_of_every_kind(tmp_path: Path) -> None:
    for number, (suffix, kind) in enumerate({"ppm": "PPM", "jp2": "JPEG2000", "avif": "AVIF", "jpg": "JPEG"}.items()):
        (tmp_path / f"{number:05d}.{suffix}").write_bytes(saved(PHOTO, kind))
    assert [frame.index for frame in ImageSequence(tmp_path, 25).frames()] == [0, 1, 2, 3]


def test_the_pages_of_a_tiff_file_end_where_it_ends() -> None:
    data = bytearray(saved(PHOTO, "TIFF", save_all=True, append_images=[PHOTO.resize((30, 20))]))
    assert [(p.number, p.width, p.height) for p in tiff_pages(io.BytesIO(data))] == [(0, 300, 200), (1, 30, 20)]
    for length in range(0, len(data), 997):
        assert len(list(tiff_pages(io.BytesIO(data[:length])))) <= 2
    looped = b"II*\0\x08\0\0\0" + b"\2\0" + b"\0\1\4\0\1\0\0\0\5\0\0\0" + b"\1\1\4\0\1\0\0\0\5\0\0\0" + b"\x08\0\0\0"
    assert len(list(tiff_pages(io.BytesIO(looped)))) == 1
