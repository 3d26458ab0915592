"""A folder of ordinary photos: one table with a column for the file, each photo a scene of its own."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from hsemotion_cli.abaw import predictions
from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError
from hsemotion_cli.formats import features, ownership, raw_scores, schema, sidecar, table
from hsemotion_cli.media.photos import PhotoFolder
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import open_source
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five photos: one person, turned by EXIF; another one; both; nobody; and a damaged file."""
    folder = tmp_path_factory.mktemp("photos") / "holiday"
    folder.mkdir()
    stills = Path(__file__).parent.parent / "sample_videos" / "stills"
    astronaut = Image.open(stills / "astronaut.png").convert("RGB")
    hopper = Image.open(stills / "grace_hopper.jpg").convert("RGB")
    exif = Image.Exif()
    exif[0x112] = 6
    inner = exif.get_ifd(0x8769)
    inner[0x9003], inner[0x9011], inner[0x9291] = "2024:05:01 12:34:56", "+02:00", "78"
    astronaut.rotate(90, expand=True).save(folder / "IMG_0123.jpg", exif=exif, quality=95)
    hopper.save(folder / "IMG_20.png")
    both = Image.new("RGB", (600, 400), (90, 100, 110))
    for k in range(2):
        both.paste(Image.fromarray(clips.portrait(300, 400)), (300 * k, 0))
    both.save(folder / "=two.webp", lossless=True)
    Image.new("RGB", (300, 200), (80, 120, 90)).save(folder / "S005_001_00000001.png")
    (folder / 'a, "b".jpg').write_bytes(b"\xff\xd8\xff\xe0 no more")
    (folder / "notes.txt").write_text("not a photo")
    return folder


@pytest.fixture(scope="module")
def annotated(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    done = run("annotate", photos, "-o", out, "--format", "csv,parquet,jsonl", "--overlay")
    assert done.exit_code == 3, done.output
    assert 'holiday: 1 of 5 photos could not be read and have no row: a, "b".jpg (damaged, cut short' in done.stderr
    assert "the photos have 4 sizes; boxes are in pixels of each photo" in done.stdout
    return out


def test_one_table_names_the_photos_in_natural_order(annotated: Path) -> None:
    rows = rows_of(annotated / "holiday.csv")
    assert list(rows[0])[:7] == ["frame", "time", "file", "taken", "image_width", "image_height", "face_id"]
    assert [(row["frame"], row["file"], row["face_id"]) for row in rows] == [
        ("0", "./=two.webp", "0"),
        ("0", "./=two.webp", "1"),
        ("1", "IMG_20.png", "0"),
        ("2", "IMG_0123.jpg", "0"),
        ("3", "S005_001_00000001.png", ""),
    ]
    assert {row["time"] for row in rows} == {"0.000000"}
    assert [row["taken"] for row in rows] == ["", "", "", "2024-05-01T12:34:56.78+02:00", ""]
    assert [(row["image_width"], row["image_height"]) for row in rows[2:]] == [
        ("512", "600"), ("512", "512"), ("300", "200")
    ]  # fmt: skip
    assert float(rows[0]["x"]) < 300 < float(rows[1]["x"]), "within a photo faces count from left to right"


def test_boxes_are_in_pixels_of_each_photo_upright(annotated: Path, photos: Path) -> None:
    alone = run("annotate", photos / "IMG_0123.jpg", "-o", annotated / "alone", "-q")
    assert alone.exit_code == 0
    (expected,) = rows_of(annotated / "alone" / "IMG_0123.csv")
    (found,) = (row for row in rows_of(annotated / "holiday.csv") if row["file"] == "IMG_0123.jpg")
    kept = [name for name in schema.NAMES if name not in ("frame",)]
    assert [found[name] for name in kept] == [expected[name] for name in kept]
    assert list(expected) == list(schema.NAMES), "an ordinary table has no column more"


def test_all_formats_and_the_reader_hold_the_same(annotated: Path) -> None:
    frames = {suffix: table.load(annotated / f"holiday.{suffix}") for suffix in table.WRITERS}
    for suffix, frame in frames.items():
        pd.testing.assert_frame_equal(frame, frames["csv"], obj=suffix)
        assert list(frame) == list(schema.names_with([column.name for column in schema.PHOTOS]))
        assert frame["file"].dtype == "string"
        assert frame["taken"].isna().tolist() == [True, True, True, False, True]
        assert frame["image_width"].dtype == "Int64"
    assert [(frame, len(faces)) for frame, faces in table.read_frames(annotated / "holiday.csv")] == [
        (0, 2), (1, 1), (2, 1), (3, 0)
    ]  # fmt: skip


def test_the_sidecar_says_what_was_done(annotated: Path) -> None:
    content = sidecar.read(annotated / "holiday.json")
    source, frames = content["source"], content["frames"]
    assert (source["kind"], source["frames"], source["clock"]) == ("photos", 5, "none")
    assert (source["width"], source["height"], source["codec"]) == (None, None, "jpg, png, webp")
    assert (frames["analysed"], frames["decode_failures"], frames["failed_at"]) == (4, 1, [4])
    assert frames["failed_files"] == [
        {"file": 'a, "b".jpg', "reason": "damaged, cut short, or of a kind that cannot be read"}
    ]
    assert content["faces"] == {"coverage": 0.75, "rows": 4, "ids": 4, "fleeting_tracks": 0}


def test_results_of_photos_are_recognised_as_our_own_and_made_again(annotated: Path, photos: Path) -> None:
    for path in annotated.glob("holiday.*"):
        assert ownership.is_ours(path), path.name
    assert run("annotate", photos, "-o", annotated, "--format", "csv,parquet,jsonl", "--overlay").exit_code == 3


def test_a_slide_show_holds_each_photo_for_two_seconds(annotated: Path) -> None:
    shown = list(open_source(annotated / "holiday.overlay.mp4").frames())
    assert [frame.time for frame in shown] == pytest.approx([0, 2, 4, 6])


def test_smoothing_never_crosses_from_photo_to_photo(annotated: Path, photos: Path, tmp_path: Path) -> None:
    done = run("smooth", annotated / "holiday.csv", "-o", tmp_path, "--smooth", "box:9f", "--interpolate", "5")
    assert done.exit_code == 0, done.output
    assert "photos have no neighbours in time, so nothing is smoothed" in done.stderr
    assert (tmp_path / "holiday.csv").read_bytes() == (annotated / "holiday.csv").read_bytes()
    assert "nothing is smoothed" in sidecar.read(tmp_path / "holiday.json")["source"]["notes"][-1]
    direct = run("annotate", photos, "-o", tmp_path / "direct", "--smooth", "box:9f", "--stride", "3")
    assert direct.exit_code == 3
    assert (tmp_path / "direct" / "holiday.csv").read_bytes() == (annotated / "holiday.csv").read_bytes()


def test_the_largest_face_of_each_photo(photos: Path, tmp_path: Path) -> None:
    assert run("annotate", photos, "-o", tmp_path, "--faces", "largest", "-q").exit_code == 3
    found = [(row["file"], row["face_id"]) for row in rows_of(tmp_path / "holiday.csv")]
    assert found == [
        ("./=two.webp", "0"), ("IMG_20.png", "0"), ("IMG_0123.jpg", "0"), ("S005_001_00000001.png", "")
    ]  # fmt: skip


def test_raw_scores_keep_names_and_come_back_exactly(annotated: Path) -> None:
    timeline = raw_scores.read(annotated / "holiday.raw.npz")
    assert timeline.photos
    assert timeline.people == 4
    assert timeline.extra["file"].tolist() == ["=two.webp", "IMG_20.png", "IMG_0123.jpg", "S005_001_00000001.png"]
    assert timeline.extra["taken"].tolist() == ["", "", "2024-05-01T12:34:56.78+02:00", ""]
    assert timeline.extra["image_height"].tolist() == [400, 600, 512, 200]


def test_photos_cannot_be_compared_with_annotations_of_frames(annotated: Path) -> None:
    with pytest.raises(InputError, match=r"holiday\.raw\.npz: was made from a folder of photos"):
        predictions.load(annotated / "holiday.raw.npz")


def test_extract_names_the_photo_of_each_row(photos: Path, tmp_path: Path) -> None:
    done = run("extract", photos, "-o", tmp_path, "--model", "mt-mobilefacenet")
    assert done.exit_code == 3, done.output
    assert "1 of 5 photos could not be read" in done.stderr
    columns, facts = features.read(tmp_path / "holiday.features.parquet")
    assert columns["file"].tolist() == ["=two.webp", "=two.webp", "IMG_20.png", "IMG_0123.jpg"]
    assert columns["face_id"].tolist() == [0, 1, 0, 0]
    assert facts["source"]["kind"] == "photos"


def test_crops_of_any_name_are_faces(photos: Path, tmp_path: Path) -> None:
    done = run("annotate", photos, "-o", tmp_path, "--crops", "-q")
    assert done.exit_code == 3
    rows = rows_of(tmp_path / "holiday.csv")
    assert [(row["frame"], row["face_id"], row["det_score"]) for row in rows] == [(str(k), "0", "") for k in range(4)]


def test_batch_makes_the_same_table_and_skips_it_when_done(photos: Path, annotated: Path, tmp_path: Path) -> None:
    command = ("batch", photos, "-o", tmp_path, "--workers", "1", "--json")
    first, second = (json.loads(run(*command).stdout) for _ in range(2))
    assert first["counts"] == {"done": 1, "skipped": 0, "failed": 0, "left": 0}
    assert second["counts"] == {"done": 0, "skipped": 1, "failed": 0, "left": 0}
    assert "1 of 5 photos could not be read" in second["results"][0]["note"]
    assert (tmp_path / "holiday.csv").read_bytes() == (annotated / "holiday.csv").read_bytes()
    (record,) = map(json.loads, (tmp_path / "failures.jsonl").read_text().splitlines())
    assert (record["error"], record["stage"]) == ("Unreadable", "read")
    os.utime(photos / "notes.txt", (1, 1))
    assert json.loads(run(*command).stdout)["counts"]["skipped"] == 1


def test_only_steps_choose_among_photos(photos: Path) -> None:
    folder = PhotoFolder(photos)

    def chosen(**options: float) -> list[int]:
        return [frame.index for frame in folder.frames(Sampling(**options))]  # type: ignore[arg-type]

    assert chosen() == [0, 1, 2, 3]
    assert chosen(every=2) == [0, 2]
    assert chosen(fps=1) == [0, 1, 2, 3]
    assert chosen(start=5) == []
    assert chosen(end=5) == [0, 1, 2, 3]
    assert all(frame.cut for frame in folder.frames())


def test_a_folder_in_which_no_photo_can_be_read_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (tmp_path / "b.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of its 2 images can be decoded \(a\.jpg: damaged, cut short"):
        open_source(tmp_path)


def test_a_photo_that_declares_too_much_fails_alone(tmp_path: Path, photos: Path) -> None:
    (tmp_path / "ok.png").write_bytes((photos / "IMG_20.png").read_bytes())
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (100_000).to_bytes(4) * 2 + b"\x08\2\0\0\0" + bytes(100)
    (tmp_path / "bomb.png").write_bytes(bomb)
    source = open_source(tmp_path)
    assert [frame.index for frame in source.frames()] == [1]
    ((name, reason),) = source.report.failed_files
    assert name == "bomb.png"
    assert "declared as 100000 x 100000 pixels" in reason


@pytest.mark.parametrize("name", [b"\xff\xfe.png", "Ünïcödé.png".encode(), b"new\nline.png", b"+1.png", b"NA.png"])
def test_odd_names_survive_in_every_format(tmp_path: Path, photos: Path, name: bytes) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes((photos / "IMG_20.png").read_bytes())
    with Annotator(Settings(Recipe.of("mp-blendshapes"), formats=tuple(table.WRITERS))) as annotator:
        annotator.annotate(folder, tmp_path, "t")
    expected = name.decode("utf-8", "backslashreplace")
    for suffix in table.WRITERS:
        (found,) = table.load(tmp_path / f"t.{suffix}")["file"]
        assert found == ("./+1.png" if name == b"+1.png" else expected), suffix


@pytest.mark.parametrize(
    ("tags", "taken"),
    [
        ({0x9003: "2020:02:03 04:05:06"}, "2020-02-03T04:05:06"),
        ({0x9004: "2020:02:03 04:05:06", 0x9012: "-05:30"}, "2020-02-03T04:05:06-05:30"),
        ({0x9003: "0000:00:00 00:00:00"}, None),
        ({0x9003: "    :  :     :  :  "}, None),
        ({0x9003: "2020:02:03 04:05:06", 0x9291: "5 ", 0x9011: "nonsense"}, "2020-02-03T04:05:06.5"),
        ({}, None),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_when_a_photo_was_taken(tmp_path: Path, kind: str, tags: dict[int, str], taken: str | None) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update(tags)
    Image.new("RGB", (32, 32)).save(tmp_path / f"a.{kind.lower()}", kind, exif=exif.tobytes())
    source = PhotoFolder(tmp_path)
    list(source.frames())
    assert source.photos[0].taken == taken


def test_when_a_heic_photo_was_taken(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="writing HEIC files needs pillow-heif (the extra dev)")
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x9003] = "2020:02:03 04:05:06"
    image = Image.fromarray(np.full((48, 64, 3), 90, np.uint8))
    pillow_heif.from_pillow(image).save(tmp_path / "a.heic", exif=exif.tobytes())
    source = PhotoFolder(tmp_path)
    list(source.frames())
    assert source.photos[0].taken == "2020-02-03T04:05:06"


def test_the_schema_describes_the_optional_columns() -> None:
    content = json.loads(run("schema", "--json").stdout)
    assert content["schema_version"] == schema.SCHEMA_VERSION
    assert [column["name"] for column in content["optional_columns"]] == [column.name for column in schema.OPTIONAL]
    assert [column["name"] for column in content["columns"]] == list(schema.NAMES)
    assert "file (photos)" in run("schema").stdout
