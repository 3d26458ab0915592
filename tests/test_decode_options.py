"""Options of decoding, from the command line to the table, the sidecar and the terminal."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import clips
import cv2
import pytest
from known import program
from typer.testing import CliRunner, Result

from hsemotion_cli.cli import app
from hsemotion_cli.formats import features, table

FAST = ("--model", "mp-blendshapes", "--threads", "1")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face for a second at 10 images per second."""
    path = tmp_path_factory.mktemp("faces") / "face.mp4"
    clips.write(path, [clips.portrait(shift=k) for k in range(10)], rate=10)
    return path


@pytest.fixture(scope="module")
def two(faces: Path) -> Path:
    """No face in the first stream, a face in the second."""
    path = faces.with_name("two.mkv")
    command = [program("ffmpeg"), "-v", "error", "-y", "-f", "lavfi", "-i", "color=gray:size=160x96:rate=5:duration=1"]
    command += ["-i", str(faces), "-map", "0:v", "-map", "1:v", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    command += ["-metadata:s:v:0", "language=eng", "-metadata:s:v:1", "language=ger", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.fixture(scope="module")
def bare(faces: Path) -> Path:
    path = faces.with_name("bare.h264")
    subprocess.run(
        [program("ffmpeg"), "-v", "error", "-y", "-i", faces, "-r", "10", "-c:v", "libx264", path], check=True
    )
    return path


def test_annotate_reads_the_chosen_stream_and_reports_it(two: Path, tmp_path: Path) -> None:
    done = run("annotate", two, "-o", tmp_path / "other", "--stream", "0", *FAST)
    assert done.exit_code == 0 and "2 video streams; stream 0 (eng) was analysed" in " ".join(done.output.split())
    assert table.load(tmp_path / "other" / "two.csv").face_detected.sum() == 0
    done = run("annotate", two, "-o", tmp_path / "chosen", "--stream", "ger", *FAST)
    assert done.exit_code == 0 and " ".join(done.output.split()).count("stream 1 (ger) was analysed") == 1
    chosen = table.load(tmp_path / "chosen" / "two.csv")
    assert len(chosen) == 10 and chosen.face_detected.sum() == 10
    said = json.loads((tmp_path / "chosen" / "two.json").read_text())
    assert (said["source"]["stream"], said["source"]["video_streams"], said["source"]["language"]) == (1, 2, "ger")
    assert said["decoding"]["stream"] == "ger" and "stream 1 (ger)" in said["source"]["notes"][0]
    none = run("annotate", two, "-o", tmp_path / "none", "--stream", "7", *FAST)
    assert none.exit_code == 4 and "0 (eng), 1 (ger)" in none.output


def test_annotate_times_a_bare_stream(bare: Path, tmp_path: Path) -> None:
    done = run("annotate", bare, "-o", tmp_path, *FAST)
    assert done.exit_code == 0 and "codec's frame rate, 10 per second" in " ".join(done.output.split())
    assert table.load(tmp_path / "bare.csv").time.tolist() == pytest.approx([k / 10 for k in range(10)])
    done = run("annotate", bare, "-o", tmp_path, "--video-fps", "20", *FAST)
    assert done.exit_code == 0 and "--video-fps 20, not from the file" in " ".join(done.output.split())
    assert table.load(tmp_path / "bare.csv").time.tolist() == pytest.approx([k / 20 for k in range(10)])


def test_batch_does_again_what_was_decoded_otherwise(faces: Path, tmp_path: Path) -> None:
    for options, action in [((), "annotate"), ((), "skip"), (("--deinterlace", "on"), "annotate")]:
        planned = run("batch", faces, "-o", tmp_path, "--dry-run", *FAST, *options)
        assert planned.exit_code == 0 and planned.output.startswith(f"{action}: ")
        done = run("batch", faces, "-o", tmp_path, "--workers", "1", *FAST, *options)
        assert done.exit_code == 0, done.output
    assert "made with other options of decoding" in planned.output
    assert json.loads((tmp_path / "face.json").read_text())["frames"]["deinterlaced"] == 10
    manifest = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert "10 interlaced frames were deinterlaced" in manifest["note"]
    assert "10 interlaced frames were deinterlaced" in done.output


def test_extract_and_render_read_the_chosen_stream(two: Path, tmp_path: Path) -> None:
    done = run("extract", two, "-o", tmp_path, "--stream", "1", "--model", "mp-blendshapes")
    assert done.exit_code == 0 and "10 faces" in done.output and "stream 1 (ger) was analysed" in done.output
    assert features.read(tmp_path / "two.features.parquet")[1]["decoding"]["stream"] == "1"
    assert run("annotate", two, "-o", tmp_path, "--stream", "1", "-q", *FAST).exit_code == 0
    out = tmp_path / "out.mp4"
    done = run("render", two, tmp_path / "two.csv", "-o", out, "--stream", "ger")
    assert done.exit_code == 0 and "stream 1 (ger) was analysed" in done.output
    probe = [program("ffprobe"), "-v", "error", "-of", "csv=p=0", "-count_frames"]
    probe += ["-show_entries", "stream=width,height,nb_read_frames", str(out)]
    assert (
        subprocess.run(probe, capture_output=True, text=True, check=True).stdout.strip() == "498,256,10"
    )  # 320 x 240 and the strip


@pytest.mark.parametrize(
    "options", [("--deinterlace", "maybe"), ("--video-fps", "0"), ("--stream", ""), ("--video-fps", "nan")]
)
def test_options_out_of_range_stop_at_once(options: tuple[str, str], faces: Path, tmp_path: Path) -> None:
    done = run("annotate", faces, "-o", tmp_path, *options)
    assert done.exit_code == 2 and options[0] in done.output


@pytest.mark.parametrize("crops", [False, True])
def test_a_jump_of_the_clock_ends_tracks_and_smoothing(crops: bool, samples: Path, tmp_path: Path) -> None:
    """Two recordings joined byte by byte give what each gives alone; their clocks both begin at 0."""
    other = clips.still(samples / "stills" / "grace_hopper.jpg")[40:340, 120:420]
    for name, picture in {"one": clips.portrait(240, 240), "other": cv2.resize(other, (240, 240))}.items():
        clips.write(tmp_path / f"{name}.ts", [picture] * 8, rate=10, options={"bf": "0"})
    both = tmp_path / "both.ts"
    both.write_bytes((tmp_path / "one.ts").read_bytes() + (tmp_path / "other.ts").read_bytes())
    options = [*FAST, "--smooth", "gaussian:0.3", "--interpolate", "1", "--stride", "3", "--detect-every", "3"]
    if crops:
        options = [*FAST, "--smooth", "gaussian:0.3", "--crops"]
    done = run("annotate", *sorted(tmp_path.glob("*.ts")), "-o", tmp_path, *options)
    assert done.exit_code == 0 and "its clock jumps once (at 0.80 s)" in " ".join(done.output.split())
    one, other, joined = (table.load(tmp_path / f"{name}.csv") for name in ("one", "other", "both"))
    assert joined.time.tolist() == pytest.approx([k / 10 for k in range(16)])
    assert joined.face_id.tolist() == ([0] * 16 if crops else [0] * 8 + [1] * 8)
    alone = one.valence.tolist() + other.valence.tolist()
    assert abs(alone[7] - alone[8]) > 0.02, "so that mixing them would show"
    assert joined.valence.tolist() == alone
    said = json.loads((tmp_path / "both.json").read_text())["frames"]
    assert said["clock_jumps"] == 1 and said["jumped_at"] == [pytest.approx(0.8)] and said["ended_early"] == ""
    # The archive of raw scores keeps the jump, so that smoothing them once more gives the same.
    done = run("smooth", tmp_path / "both.csv", "-o", tmp_path / "again")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again" / "both.csv").read_bytes() == (tmp_path / "both.csv").read_bytes()


def dated(faces: Path, path: Path, *metadata: str) -> Path:
    words = [word for pair in metadata for word in ("-metadata", pair)]
    command = [program("ffmpeg"), "-v", "error", "-y", "-i", str(faces), "-c", "copy", *words]
    command += ["-movflags", "use_metadata_tags", str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.mark.parametrize(
    ("suffix", "metadata"),
    [
        ("mp4", ["creation_time=2024-05-01T22:59:59.500000Z"]),
        ("mkv", ["creation_time=2024-05-01T22:59:59.500000Z"]),
        # Exporting a film from a phone changes the first of the two, and leaves the second.
        ("mov", ["creation_time=2030-01-01T00:00:00Z", "com.apple.quicktime.creationdate=2024-05-02T00:59:59.5+0200"]),
    ],
)
def test_clock_adds_the_time_of_day(suffix: str, metadata: list[str], faces: Path, tmp_path: Path) -> None:
    path = dated(faces, tmp_path / f"dated.{suffix}", *metadata)
    done = run("annotate", path, "-o", tmp_path / "with", "--clock", "-f", "csv,jsonl,parquet", *FAST)
    assert done.exit_code == 0, done.output
    assert "creation time that the file declares, 2024-05-01T22:59:59.500Z" in " ".join(done.output.split())
    began = datetime(2024, 5, 1, 22, 59, 59, 500_000, tzinfo=UTC)
    for format_ in ("csv", "jsonl", "parquet"):
        rows = table.load(tmp_path / "with" / f"dated.{format_}")
        found = [datetime.fromisoformat(text) for text in rows.wall_time]
        assert [(moment - began).total_seconds() for moment in found] == pytest.approx([k / 10 for k in range(10)])
        assert rows.wall_time[9] == "2024-05-01T23:00:00.400Z"
    # It is one column more, and nothing else is different.
    assert run("annotate", path, "-o", tmp_path / "without", *FAST, "-q").exit_code == 0
    plain = (tmp_path / "without" / "dated.csv").read_text().splitlines()
    with_clock = [line.split(",") for line in (tmp_path / "with" / "dated.csv").read_text().splitlines()]
    assert with_clock[0][:3] == ["frame", "time", "wall_time"]
    assert [",".join(cells[:2] + cells[3:]) for cells in with_clock] == plain
    assert "wall_time" not in plain[0]
    assert json.loads((tmp_path / "without" / "dated.json").read_text())["source"]["created"] is None
    done = run("smooth", tmp_path / "with" / "dated.csv", "-o", tmp_path / "again", "--smooth", "none")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again" / "dated.csv").read_bytes() == (tmp_path / "with" / "dated.csv").read_bytes()


def test_clock_says_that_a_file_has_no_creation_time(faces: Path, tmp_path: Path) -> None:
    done = run("annotate", faces, "-o", tmp_path, "--clock", *FAST)
    assert done.exit_code == 0 and "declares no creation time" in " ".join(done.output.split())
    assert table.load(tmp_path / "face.csv").wall_time.isna().all()
    assert "declares no creation time" in json.loads((tmp_path / "face.json").read_text())["source"]["notes"][0]


def test_the_schema_describes_the_time_of_day() -> None:
    optional = json.loads(run("schema", "--json").output)["optional_columns"]
    described = next(column for column in optional if column["name"] == "wall_time")
    assert "UTC" in described["meaning"] and "creation time" in described["meaning"]
    assert "(--clock)" in run("schema").output
