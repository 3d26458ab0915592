"""What goes wrong: one sentence, the documented exit code, no traceback, nothing half-written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import clips
import pandas as pd
import pytest
from stamps import unstamped
from typer.testing import CliRunner

from hsemotion_cli.cli import app

HSEMOTION = [sys.executable, "-m", "hsemotion_cli"]


# Python does not notice when a limit cuts off the bytecode that it caches, and would fail to load it ever after.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*HSEMOTION, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, **options)


def invoke(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same in this process: much quicker, for what fails before anything is loaded."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    return subprocess.CompletedProcess([str(a) for a in arguments], result.exit_code, result.stdout, result.stderr)


def assert_fails(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    assert done.returncode == code, done.stderr
    told = [line for line in unstamped(done.stderr).splitlines() if line.startswith("hsemotion: ")]
    assert len(told) == 1, done.stderr
    for words in says:
        assert words in told[0]
    assert "Traceback" not in done.stderr
    assert "Traceback" not in done.stdout


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


def missing(folder: Path) -> Path:
    return folder / "missing.mp4"


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("This is a diary, not a video.\n" * 50)
    return folder / "text.mp4"


def empty(folder: Path) -> Path:
    (folder / "empty.mp4").touch()
    return folder / "empty.mp4"


def no_index(folder: Path) -> Path:
    clips.write(folder / "whole.mp4", [clips.portrait(shift=k) for k in range(40)])
    data = (folder / "whole.mp4").read_bytes()
    (folder / "half.mp4").write_bytes(data[: len(data) // 2])
    return folder / "half.mp4"


def sound_only(folder: Path) -> Path:
    with av.open(str(folder / "song.mp4"), "w") as container:
        clips._tone(container, container.add_stream("aac", rate=48000, layout="mono"), 0, 1)
    return folder / "song.mp4"


def empty_folder(folder: Path) -> Path:
    (folder / "holiday").mkdir()
    (folder / "holiday" / "notes.txt").write_text("no video here")
    return folder / "holiday"


def unreadable_pictures(folder: Path) -> Path:
    (folder / "crops").mkdir()
    for k in range(3):
        (folder / "crops" / f"{k:05d}.jpg").write_bytes(b"not a picture")
    return folder / "crops"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (missing, "no such file"),
        (text, "not a readable video"),
        (empty, "the file is empty"),
        (no_index, "not a readable video"),
        (sound_only, "no video stream"),
        (empty_folder, "no video or image"),
        (unreadable_pictures, "none of its 3 images can be decoded"),
    ],
)
def test_an_unusable_input_is_exit_4(tmp_path: Path, make: Callable[[Path], Path], says: str) -> None:
    path = make(tmp_path)
    done = invoke("annotate", path, "-o", tmp_path / "out")
    assert_fails(done, 4, str(path), says)
    assert left_in(tmp_path / "out") == []


def test_half_a_file_with_its_index_in_front_is_annotated_and_is_exit_3(tmp_path: Path) -> None:
    pictures = [clips.portrait(shift=k) for k in range(60)]
    clips.write(tmp_path / "whole.mp4", pictures, container_options={"movflags": "+faststart"}, options={"g": "5"})
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    done = run("annotate", tmp_path / "half.mp4", "-o", tmp_path / "out")
    assert_fails(done, 3, "half.mp4", "declares 2.4 s", "are written")
    table = pd.read_csv(tmp_path / "out" / "half.csv")
    assert 10 < len(table) < 60
    assert (table["face_detected"] == 1).all()


def test_one_frame_one_pixel_and_no_face_are_no_errors(tmp_path: Path, nobody: Path) -> None:
    clips.write(tmp_path / "one.mp4", [clips.portrait()])
    clips.write(tmp_path / "pixel.mkv", [clips.portrait(1, 1)] * 3, codec="ffv1", pixels="bgr0")
    done = run("annotate", tmp_path / "one.mp4", tmp_path / "pixel.mkv", nobody, "-o", tmp_path / "out", "--overlay")
    assert done.returncode == 0, done.stderr
    rows = {name: pd.read_csv(tmp_path / "out" / f"{name}.csv") for name in ("one", "pixel", "nobody")}
    assert {name: len(table) for name, table in rows.items()} == {"one": 1, "pixel": 3, "nobody": 6}
    assert rows["one"]["face_detected"].tolist() == [1]
    assert rows["nobody"]["face_id"].isna().all()
    for name in rows:
        assert (tmp_path / "out" / f"{name}.overlay.mp4").is_file()


def test_one_bad_input_among_good_ones_is_exit_3_and_stops_no_other(tmp_path: Path, smile: Path) -> None:
    done = invoke("annotate", text(tmp_path), smile, "-o", tmp_path / "out", "-q")
    assert_fails(done, 3, "text.mp4")
    assert left_in(tmp_path / "out") == ["smile.csv", "smile.json", "smile.raw.npz"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--model", "resnet"], "unknown model 'resnet': choose from"),
        (["--model", "mp-blendshapes,mp-blendshapes"], "two different ones"),
        (["--smooth", "median:3"], "choose none, gaussian:WIDTH, box:WIDTH"),
        (["--smooth", "box:4f"], "odd number of frames, such as box:5f"),
        (["--format", "docx"], "choose from csv, parquet, jsonl"),
        (["--start", "soon"], "write a time as"),
        (["--start", "5", "--end", "2"], "is not after --start"),
        (["--start", "30"], "--start 30 is after its last frame"),
        (["--end", "-0"], "write a time as"),
        (["--fps", "0"], "above 0"),
        (["--faces", "few"], "choose all, largest"),
        (["--threshold", "AU12"], "write it as AU12=0.4"),
        (["--threshold", "AU13=0.4"], "AU13"),
        (["--min-face", "2"], "16 pixels or more"),
        (["--det-threshold", "1"], "between 0 and 1"),
        (["--device", "cuda", "--model", "mp-blendshapes"], "runs on the CPU only"),
        (["--blend", "0.5", "--model", "mp-blendshapes"], "there is only one model"),
        (["--model", "mine.pt"], "give the model that these weights belong to"),
        (["--model", "mp-blendshapes=mine.pt"], "cannot be replaced by a file"),
        (["--recipe", "none.toml"], "none.toml: cannot be read"),
        (["--model", "enet_b0_8_va_mtl", "--backend", "tpu"], "unknown backend 'tpu'"),
        (["--model", "enet_b0_8_va_mtl", "--device", "tpu"], "unknown device 'tpu'"),
    ],
)
def test_options_that_cannot_work_are_exit_2(smile: Path, tmp_path: Path, options: list[str], says: str) -> None:
    done = invoke("annotate", smile, "-o", tmp_path / "out", *options)
    assert_fails(done, 2, says)
    assert left_in(tmp_path / "out") == []


@pytest.mark.parametrize("options", [["--nonsense"], ["--every", "0"], ["--threads", "0"]])
def test_options_that_do_not_exist_are_exit_2(smile: Path, tmp_path: Path, options: list[str]) -> None:
    done = invoke("annotate", smile, "-o", tmp_path / "out", *options)
    assert done.returncode == 2
    assert options[0] in done.stderr
    assert left_in(tmp_path / "out") == []


@pytest.mark.posix
def test_an_output_folder_that_cannot_be_made_is_exit_2(smile: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_fails(invoke("annotate", smile, "-o", tmp_path / "file"), 2, "nothing can be written there")
    assert_fails(invoke("annotate", smile, "-o", "/proc/hsemotion"), 2, "nothing can be written there")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.posix
@pytest.mark.skipif(
    getattr(os, "geteuid", int)() == 0, reason="root may write everywhere; /proc stands in for it above"
)
def test_a_read_only_output_folder_is_exit_2(smile: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    assert_fails(run("annotate", smile, "-o", tmp_path / "out"), 2, "nothing can be written there")


def limited(size: int) -> Callable[[], None]:
    import resource

    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.posix
@pytest.mark.parametrize(("format", "size"), [("csv", 2000), ("jsonl", 2000), ("parquet", 2000)])
def test_a_full_disk_is_exit_3_and_leaves_what_was_there(smile: Path, tmp_path: Path, format: str, size: int) -> None:
    (tmp_path / f"smile.{format}").write_text("from yesterday")
    done = run("annotate", smile, "-o", tmp_path, "-f", format, "--overwrite", preexec_fn=limited(size))
    assert_fails(done, 3, f"smile.{format}", "could not be written", "allows no larger file")
    assert left_in(tmp_path) == [f"smile.{format}"]
    assert (tmp_path / f"smile.{format}").read_text() == "from yesterday"


@pytest.mark.posix
def test_a_disk_that_fills_during_the_overlay_keeps_the_table(smile: Path, tmp_path: Path) -> None:
    done = run("annotate", smile, "-o", tmp_path, "--overlay", preexec_fn=limited(12_000))
    assert_fails(done, 3, "smile.overlay.mp4")
    assert left_in(tmp_path) == ["smile.csv", "smile.json", "smile.raw.npz"]


def test_a_really_full_disk(smile: Path, tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path / "small")]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small file system")
    try:
        done = run("annotate", smile, "-o", tmp_path / "small", "-f", "jsonl")
        left = left_in(tmp_path / "small")
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)
    assert_fails(done, 3, "No space left on device")
    assert left == []


def hearing_ctrl_c() -> None:
    """Called in the child: a shell that runs the tests in the background may ignore the signal."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("stage", ["annotate", "overlay"])
def test_ctrl_c_is_exit_130_and_leaves_nothing_half_written(samples: Path, tmp_path: Path, stage: str) -> None:
    # Interrupted after the first frames, or once the overlay's temporary file is there.
    command = [*HSEMOTION, "annotate", str(samples / "two_faces.mp4"), "-o", str(tmp_path), "--overlay"]
    command += ["--every", "10"] if stage == "overlay" else []
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=hearing_ctrl_c
    )
    deadline = time.monotonic() + 120
    if stage == "annotate":
        time.sleep(2.5)
    else:
        while not any(".overlay" in name for name in left_in(tmp_path)) and time.monotonic() < deadline:
            time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "hsemotion: interrupted" in told
    assert "Traceback" not in told
    assert left_in(tmp_path) == (
        [] if stage == "annotate" else ["two_faces.csv", "two_faces.json", "two_faces.raw.npz"]
    )


def test_low_coverage_is_exit_6_and_the_table_is_there(nobody: Path, tmp_path: Path) -> None:
    done = invoke("annotate", nobody, "-o", tmp_path, "--min-coverage", "0.5")
    assert_fails(done, 6, "0.0% of its frames", "below --min-coverage 0.5")
    assert len(pd.read_csv(tmp_path / "nobody.csv")) == 6


def test_equal_names_get_names_of_their_own_or_are_refused(smile: Path, tmp_path: Path) -> None:
    for name in ("a/clip.mp4", "a/clip.mkv", "b/clip.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(smile.read_bytes())
    done = invoke("annotate", tmp_path / "a", "-o", tmp_path / "out", "-q", "--every", "6")
    assert done.returncode == 0, done.stderr
    assert {"clip.mp4.csv", "clip.mkv.csv"} <= set(left_in(tmp_path / "out"))
    done = invoke("annotate", tmp_path / "a" / "clip.mp4", tmp_path / "b" / "clip.mp4", "-o", tmp_path / "none")
    assert_fails(done, 2, "would both write clip.mp4.*")


def test_a_missing_model_file_is_exit_5(smile: Path, tmp_path: Path) -> None:
    script = (
        "from hsemotion_cli.faces.detector import FaceDetector\nFaceDetector.NETWORKS = {'gone.onnx': ''}\n"
        "from hsemotion_cli.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", script, "annotate", str(smile), "-o", str(tmp_path)]
    assert_fails(subprocess.run(command, capture_output=True, text=True), 5, "gone.onnx is missing")


def test_a_bug_is_exit_1_and_shows_its_traceback_on_request(smile: Path, tmp_path: Path) -> None:
    script = (
        "from hsemotion_cli.faces import tracking\ntracking.follow = None\nfrom hsemotion_cli.cli import main\nmain()\n"
    )
    command = [sys.executable, "-c", script, "annotate", str(smile), "-o", str(tmp_path)]
    assert_fails(subprocess.run(command, capture_output=True, text=True), 1, "a bug: TypeError", "HSEMOTION_DEBUG=1")
    shown = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HSEMOTION_DEBUG": "1"})
    assert "Traceback" in shown.stderr


def test_render_and_smooth_refuse_what_does_not_belong(smile: Path, nobody: Path, tmp_path: Path) -> None:
    assert invoke("annotate", smile, "-o", tmp_path, "-q").returncode == 0
    table = tmp_path / "smile.csv"
    assert_fails(invoke("render", nobody, table, "-o", tmp_path / "o.mp4"), 4, "nobody.mp4")
    assert_fails(invoke("render", smile, tmp_path / "none.csv", "-o", tmp_path / "o.mp4"), 4, "none.csv: no such table")
    assert_fails(invoke("render", smile, smile, "-o", tmp_path / "o.mp4"), 4, "not a table")
    assert_fails(invoke("render", smile, table, "-o", tmp_path / "o.avi"), 2, "ends in .mp4")
    assert_fails(invoke("render", smile, table, "-o", smile), 2, "the video itself")
    (tmp_path / "smile.raw.npz").unlink()
    assert_fails(invoke("smooth", table, "-o", tmp_path / "s"), 4, "smile.raw.npz")
    assert_fails(invoke("smooth", tmp_path / "else.csv", "-o", tmp_path / "s"), 4, "else.json")
    assert left_in(tmp_path) == ["smile.csv", "smile.json"]


def test_a_pipe_that_closes_early_is_no_error() -> None:
    command = f"{' '.join(HSEMOTION)} schema --json | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.stdout == "{\n"
    assert done.stderr == ""
