"""What a file is by its content, what a folder stands for, and what is passed over and why."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import clips
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known import program
from PIL import Image
from typer.testing import CliRunner

from hsemotion_cli.batch.discovery import Search, find, parse_suffixes
from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.media.discovery import discover, find_jobs, look_into, parse_time
from hsemotion_cli.media.file_type import ANIMATION, HEAD, IMAGE, SOUND, VIDEO, file_type, sniff
from hsemotion_cli.media.names import natural, number_of

PHOTO = Image.fromarray(clips.portrait(160, 120))

# suffix -> (format, codec, pixels, arguments) for ffmpeg, which writes each as a program or camera would.
WRITTEN = {
    ".vob": "-f vob -c:v mpeg2video",
    ".mpg": "-f mpeg -c:v mpeg1video",
    ".m2v": "-f mpeg2video -c:v mpeg2video",
    ".dv": "-f dv -c:v dvvideo -s 720x576 -pix_fmt yuv420p -r 25",
    ".asf": "-f asf -c:v wmv2",
    ".wmv": "-f asf -c:v wmv2",
    ".divx": "-f avi -c:v mpeg4",
    ".f4v": "-f mp4 -c:v libx264",
    ".3g2": "-f 3g2 -c:v mpeg4",
    ".3gp": "-f 3gp -c:v mpeg4",
    ".qt": "-f mov -c:v mjpeg",
    ".mp4": "-f mp4 -c:v libx264",
    ".webm": "-f webm -c:v libvpx",
    ".mkv": "-f matroska -c:v libx264",
    ".flv": "-f flv -c:v flv1",
    ".ts": "-f mpegts -c:v mpeg2video",
    ".m2ts": "-f mpegts -mpegts_m2ts_mode 1 -c:v libx264",
    ".mxf": "-f mxf -c:v mpeg2video",
    ".ogv": "-f ogg -c:v libtheora",
    ".h264": "-f h264 -c:v libx264",
    ".hevc": "-f hevc -c:v libx265",
    ".y4m": "-f yuv4mpegpipe -pix_fmt yuv420p",
    ".nut": "-f nut -c:v mpeg4",
    ".ivf": "-f ivf -c:v libvpx",
    ".rm": "-f rm -c:v rv10 -s 176x144",
    ".gif": "-f gif",
}
SOUNDS = {".wav": "wav", ".mp3": "mp3", ".m4a": "ipod", ".flac": "flac", ".ogg": "ogg", ".aiff": "aiff", ".au": "au"}


def ffmpeg(path: Path, source: str, *arguments: str) -> Path:
    command = [program("ffmpeg"), "-v", "error", "-y", "-f", "lavfi", "-i", source, *arguments, str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One video of each kind, one recording of each kind, and images."""
    folder = tmp_path_factory.mktemp("media")
    for suffix, how in WRITTEN.items():
        ffmpeg(folder / f"v{suffix}", "testsrc=size=128x96:rate=25:duration=0.4", *how.split())
    for suffix, kind in SOUNDS.items():
        ffmpeg(folder / f"s{suffix}", "sine=duration=0.3", "-f", kind)
    return folder


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_video_is_recognised_by_its_content(written: Path, tmp_path: Path, suffix: str) -> None:
    nameless = tmp_path / "nothing"
    nameless.write_bytes((written / f"v{suffix}").read_bytes())
    found = file_type(nameless)
    assert found is not None
    assert found.kind == (ANIMATION if suffix == ".gif" else VIDEO)


@pytest.mark.parametrize("suffix", SOUNDS)
def test_a_recording_is_recognised_as_sound(written: Path, tmp_path: Path, suffix: str) -> None:
    nameless = tmp_path / "nothing"
    nameless.write_bytes((written / f"s{suffix}").read_bytes())
    found = file_type(nameless)
    assert found is not None
    assert found.kind == SOUND


@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "JPEG2000", "AVIF", "PPM", "MPO", "BIGTIFF", "J2K"]
)
def test_an_image_is_recognised_by_its_content(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "nothing"
    options = {"BIGTIFF": {"big_tiff": True}, "J2K": {"no_jp2": True}}.get(kind, {})
    PHOTO.save(path, {"BIGTIFF": "TIFF", "J2K": "JPEG2000"}.get(kind, kind), **options)
    found = file_type(path)
    assert found is not None
    assert found.kind == IMAGE


WORDS = st.sampled_from(
    ["RIFF", "GIF89a", "BM", "ftyp", "moov", "ID3", "P5 3 4 255", "II*", "%", "\n", "G" * 188, "ÿØÿ", "frame,time\n"]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(WORDS, st.text(max_size=20)), max_size=30), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_no_text_is_taken_for_media(parts: list[str], encoding: str) -> None:
    text = "".join(c for part in parts for c in part if c.isprintable() or c in "\t\n\r")
    data = text.encode(encoding, "surrogatepass")
    if encoding == "utf-16" or data.decode(encoding, "ignore") == text:
        assert sniff(data[:HEAD]) is None
    assert sniff((data * 500)[:HEAD]) is None or not data or encoding == "utf-16"


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_something_or_nothing(data: bytes) -> None:
    sniff(data)


NAMES = st.text(st.sampled_from("0123456789aB²٣. _-é\udc80"), max_size=12)


@settings(max_examples=500, deadline=None)
@given(NAMES, NAMES, NAMES)
def test_the_natural_order_is_total(one: str, other: str, third: str) -> None:
    a, b, c = natural(one), natural(other), natural(third)
    assert (a == b) == (one == other)
    assert (a < b) + (b < a) + (a == b) == 1
    assert not (a < b and b < c) or a < c


def test_the_natural_order_counts() -> None:
    names = ["clip10", "clip2", "clip02", "clip", "IMG_0009.jpg", "IMG_0010.jpg", "²1.jpg", "٣.jpg", "9" * 5000, "1"]
    assert sorted(names, key=natural) == [
        "1", "9" * 5000, "IMG_0009.jpg", "IMG_0010.jpg", "clip", "clip02", "clip2", "clip10", "²1.jpg", "٣.jpg"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"),
    [("00001.jpg", 1), ("7.PNG", 7), ("²1.jpg", None), ("٣.jpg", None), ("1a.jpg", None), ("1.gif", None),
     ("1.txt", None), (f"{10**13}.jpg", None), ("-1.jpg", None), ("1", None), (".jpg", None), ("00001.heic", 1)],
)  # fmt: skip
def test_only_plain_digits_number_an_image(name: str, number: int | None) -> None:
    assert number_of(name) == number


@pytest.mark.parametrize("name", ["²1.mp4", "²1.jpg", "٣.jpg", f"{'9' * 200}.jpg", "1²2.jpg"])
def test_odd_digits_in_a_name_are_no_bug(tmp_path: Path, name: str) -> None:
    PHOTO.save(tmp_path / "00002.jpg")
    (tmp_path / name).write_bytes((tmp_path / "00002.jpg").read_bytes())
    assert [job.path for job in find_jobs([tmp_path])] == [tmp_path]
    assert [task.path for task in find([str(tmp_path)], [], Search(tmp_path / "out")).tasks] == [str(tmp_path)]


def collection(folder: Path, written: Path) -> Path:
    """Thirteen media files, a recording, and what is no media."""
    folder.mkdir()
    for suffix in (".vob", ".dv", ".asf", ".divx", ".f4v", ".3g2", ".m2v", ".qt", ".mp4", ".webm", ".gif"):
        os.link(written / f"v{suffix}", folder / f"v{suffix[1:]}{suffix}")
    os.link(written / "v.mkv", folder / "nameless")
    os.link(written / "s.mp3", folder / "song.mp3")
    PHOTO.save(folder / "b10.jpg")
    PHOTO.save(folder / "b9.avif")
    (folder / "notes.txt").write_text("RIFF and GIF89a are formats.\n")
    (folder / "table.csv").write_text("frame,time\n0,0\n")
    (folder / "script.ts").write_text("export const a = 1;\n")
    (folder / "x.jxl").write_bytes(b"\xff\x0a" + bytes(60))
    (folder / "raw.cr2").write_bytes(b"II*\0\x10\0\0\0CR\2\0" + bytes(60))
    (folder / "._v.mp4").write_bytes(b"\0\5\x16\7")
    (folder / "book.pdf").write_bytes(b"%PDF-1.7\n%\xe2\xe3\n")
    (folder / "deeper").mkdir()
    PHOTO.save(folder / "deeper" / "c.jpg")
    return folder


PASSED_OVER = {
    "song.mp3": "MP3: sound without images",
    "x.jxl": "JPEG XL cannot be read here; convert it to JPEG or PNG first",
    "raw.cr2": "camera raw cannot be read here; export it as JPEG or PNG first",
    "._v.mp4": "hidden",
}


def test_every_medium_of_a_folder_is_done_or_named(tmp_path: Path, written: Path) -> None:
    folder = collection(tmp_path / "lab", written)
    found = discover([folder])
    videos = sorted(path.name for path in folder.iterdir() if path.name[0] == "v")
    assert sorted(job.path.name for job in found.jobs) == sorted([*videos, "nameless", "lab"])
    assert {os.path.basename(path): reason for path, reason in found.passed_over} == {
        **PASSED_OVER, "deeper": "a folder in a folder, which only batch searches"
    }  # fmt: skip
    assert found.notes == [
        f"{folder}: holds videos (12) and photos (2); each video gets a table, and the photos get one together, "
        "named after the folder."
    ]


def test_batch_finds_the_same_and_the_folders_below(tmp_path: Path, written: Path) -> None:
    folder = collection(tmp_path / "lab", written)
    found = find([str(folder)], [], Search(tmp_path / "out"))
    assert len(found.tasks) == 14
    assert {task.place for task in found.tasks} >= {"lab", "deeper", "nameless", "vgif"}
    assert {os.path.basename(path): reason for path, reason in found.ignored} == PASSED_OVER
    flat = find([str(folder)], [], Search(tmp_path / "out", recursive=False))
    assert (f"{folder}/deeper", "a folder in a folder; --no-recursive") in flat.ignored
    chosen = find([str(folder)], [], Search(tmp_path / "out", suffixes=parse_suffixes("mp4,qt")))
    assert [task.place for task in chosen.tasks] == ["vmp4", "vqt"]
    assert (f"{folder}/vvob.vob", "not one of --extensions") in chosen.ignored


def test_what_is_passed_over_is_printed_and_in_the_json(tmp_path: Path, written: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    os.link(written / "v.qt", folder / "v.qt")
    os.link(written / "s.mp3", folder / "song.mp3")
    annotate = ["annotate", str(folder), "-o", str(tmp_path / "out"), "--every", "5"]
    done = CliRunner().invoke(app, annotate)
    assert done.exit_code == 0, done.output
    assert "skipped: 1 entry" in done.stderr
    assert "song.mp3: MP3: sound without images" in done.stderr
    records = json.loads(CliRunner().invoke(app, [*annotate, "--json"]).stdout)
    assert records[1:] == [{"source": str(folder / "song.mp3"), "passed_over": "MP3: sound without images"}]
    dry = CliRunner().invoke(app, ["batch", str(folder), "-o", str(tmp_path / "b"), "--dry-run"])
    assert f"ignore: {folder}/song.mp3 (MP3: sound without images)" in dry.stdout
    assert "annotate 1, skip 0, ignore 1, fail 0" in dry.stdout
    dry = CliRunner().invoke(app, ["batch", str(folder), "-o", str(tmp_path / "b"), "--dry-run", "--json"])
    assert json.loads(dry.stdout)["counts"]["ignore"] == 1


def test_a_folder_without_any_source_says_what_is_in_it(tmp_path: Path, written: Path) -> None:
    os.link(written / "s.mp3", tmp_path / "song.mp3")
    with pytest.raises(InputError, match=r"no video or image in this folder \(song\.mp3: MP3: sound without images\)"):
        discover([tmp_path])


def test_beside_numbered_images_nothing_else_counts(tmp_path: Path, written: Path) -> None:
    for k in range(3):
        PHOTO.save(tmp_path / f"{k:05d}.jpg")
    PHOTO.save(tmp_path / "cover.jpg")
    os.link(written / "v.mp4", tmp_path / "v.mp4")
    found = discover([tmp_path])
    assert [job.path for job in found.jobs] == [tmp_path]
    assert [(os.path.basename(path), reason) for path, reason in found.passed_over] == [
        ("cover.jpg", "beside numbered images"), ("v.mp4", "beside numbered images")
    ]  # fmt: skip


def test_crops_are_folders_of_images_and_photos(tmp_path: Path, written: Path) -> None:
    for folder, name in (("a", "00001.jpg"), ("b", "face_1.png")):
        (tmp_path / folder).mkdir()
        PHOTO.save(tmp_path / folder / name)
    os.link(written / "v.mp4", tmp_path / "v.mp4")
    found = discover([tmp_path], crops=True)
    assert [job.name for job in found.jobs] == ["a", "b"]
    assert [reason for _, reason in found.passed_over] == ["a video; --crops takes images of faces"]


def test_a_pattern_takes_images_one_by_one_only_where_it_asks_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p").mkdir()
    for name in ("a.jpg", "b.jpg"):
        PHOTO.save(Path("p") / name)
    assert [task.place for task in find(["p/*.jpg"], [], Search(Path("out"))).tasks] == ["a", "b"]
    found = find(["p/*"], [], Search(Path("out")))
    assert not found.tasks
    assert dict(found.ignored)["p/a.jpg"] == "an image; name its folder, or end the pattern as *.jpg"


def test_an_overlay_beside_its_table_is_no_input(tmp_path: Path, written: Path) -> None:
    for name in ("v.mp4", "v.overlay.mp4"):
        os.link(written / "v.mp4", tmp_path / name)
    (tmp_path / "v.json").write_text("{}")
    found = discover([tmp_path])
    assert [job.name for job in found.jobs] == ["v"]
    assert [reason for _, reason in found.passed_over] == ["an overlay, the result of another video"]


def test_files_are_sorted_naturally(tmp_path: Path) -> None:
    for name in ("b10.jpg", "b9.jpg", "b09.jpg"):
        PHOTO.save(tmp_path / name)
    assert [path.name for path in look_into(list(tmp_path.iterdir())).photos] == ["b09.jpg", "b9.jpg", "b10.jpg"]


@pytest.mark.parametrize("text", ["²", "1:²", "9" * 5000, "1:" + "9" * 5000, "٣x", "1:2:3:4", "-1", ""])
def test_times_that_make_no_sense_are_usage_errors(text: str) -> None:
    with pytest.raises(UsageError, match="write a time as"):
        parse_time(text, "--start")
