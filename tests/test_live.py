"""Live sources: newest frame first, stamps, rows at once, and the same rows from the recording."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
from known import program
from typer.testing import CliRunner

import hsemotion_cli as hs
from hsemotion_cli.cli import app
from hsemotion_cli.domain import Face, Frame, Reading, Scores
from hsemotion_cli.errors import InputError, OutputError, UsageError
from hsemotion_cli.formats.schema import MONOTONIC, WALL_TIME
from hsemotion_cli.formats.table_reader import read_frames
from hsemotion_cli.live.capture import Capture
from hsemotion_cli.live.in_turn import SceneCuts, smallest_face
from hsemotion_cli.live.latency import Latency
from hsemotion_cli.live.newest import NewestRows, check_causal
from hsemotion_cli.live.open_source import open_live, parse_size
from hsemotion_cli.live.outputs import JsonLines, parse_address
from hsemotion_cli.live.recorder import Recorder
from hsemotion_cli.media import camera
from hsemotion_cli.media.live_source import ArrivalClock, Captured, Stamp
from hsemotion_cli.media.network_stream import NetworkStream, shown
from hsemotion_cli.media.paced_file import PacedFile
from hsemotion_cli.media.video import VideoFile, open_source
from hsemotion_cli.postprocess.recipe import Recipe, Smoothing
from hsemotion_cli.postprocess.refine import refine
from hsemotion_cli.tasks import TASKS
from hsemotion_cli.timeline import gather

STAMPS = {WALL_TIME.name, MONOTONIC.name}
LOOKS_AHEAD = {"blink", "speaking"}
"""Columns that a table judges by what comes after as well, so that rows at once may differ."""


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def table(path: Path, without: set[str] = STAMPS) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second and a half: a face that moves, a cut to nobody, a cut back to the face elsewhere."""
    path = tmp_path_factory.mktemp("live") / "clip.mp4"
    faces = [clips.portrait(shift=3 * k) for k in range(14)]
    again = [clips.portrait(shift=-20 - 2 * k) for k in range(10)]
    clips.write(path, [*faces, *[clips.blank()] * 5, *again], rate=20)
    return path


@pytest.fixture(scope="module")
def session(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a session with everything that it can write."""
    out = tmp_path_factory.mktemp("session")
    found = run("live", "--camera", clip, "-o", out, "--name", "s", "--record", "--jsonl", out / "rows.jsonl")
    assert found.exit_code == 0, found.output
    return out


@pytest.mark.parametrize("taken", ["s.csv", "s.live.csv", "s.mkv", "rows.jsonl"])
def test_a_session_is_never_replaced_unasked(session: Path, clip: Path, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_bytes(before := (session / taken).read_bytes())
    asked = ["live", "--camera", clip, "-o", tmp_path, "--name", "s", "--record", "--jsonl", tmp_path / "rows.jsonl"]
    found = run(*asked)
    assert found.exit_code == 2 and f"{tmp_path / taken}: already there" in found.output
    assert (tmp_path / taken).read_bytes() == before and len(list(tmp_path.iterdir())) == 1
    assert run(*asked, "--overwrite", "--seconds", "0.5").exit_code == 0
    assert (tmp_path / taken).read_bytes() != before


def test_the_recording_has_the_same_rows(session: Path, tmp_path: Path) -> None:
    content = json.loads((session / "s.json").read_text())
    assert content["recipe"]["smoothing"]["expression"] == "causal:0.2"
    least = content["detector"]["min_face"]
    found = run("annotate", session / "s.mkv", "--recipe", session / "s.json", "--min-face", least, "-o", tmp_path)
    assert found.exit_code == 0, found.output
    live, again = table(session / "s.csv"), table(tmp_path / "s.csv")
    assert len(live) == content["frames"]["analysed"] >= 3
    assert live == again


def test_rows_at_once_are_those_of_the_table(session: Path) -> None:
    growing, whole = (table(session / name, STAMPS | LOOKS_AHEAD) for name in ("s.live.csv", "s.csv"))
    content = json.loads((session / "s.json").read_text())
    kept = {row["face_id"] for row in whole}  # a track of one or two faces is left out in the end
    assert [row for row in growing if row["face_id"] in kept] == [row for row in whole if row["face_id"] in kept]
    assert len({row["frame"] for row in growing}) == content["frames"]["analysed"]
    rows = [json.loads(line) for line in (session / "rows.jsonl").read_text().splitlines()]
    assert [(row["frame"], row["time"], row["monotonic_ns"]) for row in rows] == [
        (int(row["frame"]), float(row["time"]), int(row["monotonic_ns"]))
        for row in table(session / "s.live.csv", set())
    ]


def test_every_row_has_when_its_frame_arrived(session: Path, clip: Path) -> None:
    rows = table(session / "s.csv", set())
    first = rows[0]
    for row in rows:
        elapsed = (int(row["monotonic_ns"]) - int(first["monotonic_ns"])) / 1e9
        assert elapsed >= float(row["time"]) - float(first["time"]) - 0.01  # never before a player would show it
        assert row["wall_time"].startswith("20") and row["wall_time"].endswith("Z")
    stamps = [int(row["monotonic_ns"]) for row in rows]
    assert stamps == sorted(stamps)


def test_the_sidecar_counts_frames_and_latency(session: Path) -> None:
    content = json.loads((session / "s.json").read_text())
    live, analysed = content["live"], content["frames"]["analysed"]
    assert live["captured"] == 29
    assert live["captured"] == live["dropped"] + analysed
    figures = live["latency_ms"]
    assert 0 < figures["p50"] <= figures["p95"] <= figures["worst"]
    assert live["recording"] == {"file": "s.mkv", "quality": "lossless"}


def test_a_recording_holds_the_pixels_and_times_that_were_analysed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(5)]
    times = [0.0, 0.033, 0.07, 0.5, 0.501]
    recorder = Recorder(tmp_path / "r.mkv", "lossless")
    for image, when in zip(images, times, strict=True):
        recorder.add(image, when, Stamp.now())
    recorder.close()
    frames = list(open_source(tmp_path / "r.mkv").frames())
    assert [frame.time for frame in frames] == times
    assert all((frame.image == image).all() for frame, image in zip(frames, images, strict=True))


def test_cuts_are_those_of_the_recording(tmp_path: Path) -> None:
    images = [*[clips.portrait(shift=k) for k in range(4)], *[clips.blank()] * 3, *[clips.portrait(shift=9)] * 2]
    recorder = Recorder(tmp_path / "r.mkv", "lossless")
    for k, image in enumerate(images):
        recorder.add(image, k / 25, Stamp.now())
    recorder.close()
    cuts = SceneCuts()
    found = [cuts.cut(image) for image in images]
    assert found == [frame.cut for frame in open_source(tmp_path / "r.mkv").frames()]
    assert found[4] and found[7] and sum(found) == 2


class Frames:
    """A source that delivers all its frames at once."""

    def __init__(self, count: int, error: Exception | None = None) -> None:
        self.count, self.error, self.closed = count, error, False

    def captured(self) -> Iterator[Captured]:
        for k in range(self.count):
            yield Captured(Frame(k, k / 10, np.zeros((2, 2, 3), np.uint8)), Stamp(k * 100_000_000, k))
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed = True


def wait_for(condition: Any, seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.01)


def test_the_newest_frame_comes_first_and_the_others_are_counted() -> None:
    source = Frames(5)
    with Capture(source) as capture:
        wait_for(lambda: source.closed)
        assert [one.frame.index for one in capture] == [4]
    assert (capture.captured, capture.dropped) == (5, 4)


def test_a_session_ends_after_its_seconds() -> None:
    source = Frames(50)
    with Capture(source, seconds=0.95) as capture:
        wait_for(lambda: source.closed)
        assert [one.frame.index for one in capture] == [9]
    assert capture.captured == 10


def test_an_error_of_the_source_comes_after_the_frames_before_it() -> None:
    source, taken = Frames(3, InputError("gone.")), []
    with pytest.raises(InputError, match="gone"), Capture(source) as capture:
        wait_for(lambda: source.closed)
        for one in capture:
            taken.append(one.frame.index)
    assert taken == [2]


def test_stop_ends_a_capture_that_waits() -> None:
    class Silent(Frames):
        def captured(self) -> Iterator[Captured]:
            until.wait(60)
            return
            yield

    until = threading.Event()
    with Capture(Silent(0)) as capture:
        threading.Timer(0.05, capture.stop).start()
        assert list(capture) == []
        until.set()


def test_a_file_is_never_ahead_of_its_times(smile: Path) -> None:
    found = list(PacedFile(open_source(smile)).captured())
    first = found[0]
    assert len(found) == 12
    for one in found:
        elapsed = (one.stamp.monotonic - first.stamp.monotonic) / 1e9
        assert elapsed >= one.frame.time - first.frame.time - 0.002


def test_arrival_times_are_whole_milliseconds_that_rise() -> None:
    clock = ArrivalClock()
    assert [clock.time(Stamp(ns, 0)) for ns in (5_000_000, 38_400_000, 38_500_000, 38_600_000)] == [
        0.0,
        0.033,
        0.034,
        0.035,
    ]


def test_latency_figures_are_those_of_numpy() -> None:
    latency, values = Latency(), np.random.default_rng(1).gamma(4, 10, 500)
    assert latency.summary()["p50"] is None
    for value in values:
        latency.add(value)
    expected = {"p50": np.median(values), "p95": np.percentile(values, 95), "worst": values.max()}
    assert {k: latency.summary()[k] for k in expected} == {k: round(float(v), 2) for k, v in expected.items()}


@pytest.mark.parametrize(
    ("smooth", "part"),
    [("gaussian:0.2", "have not arrived yet"), ("box:0.5", "have not arrived yet"), ("causal:5f", "give seconds")],
)
def test_a_recipe_that_needs_later_frames_is_refused(smooth: str, part: str, clip: Path, tmp_path: Path) -> None:
    found = run("live", "--camera", clip, "-o", tmp_path, "--smooth", smooth)
    assert found.exit_code == 2 and part in found.output


def test_gaps_are_not_filled_live() -> None:
    with pytest.raises(UsageError, match="interpolate 0"):
        check_causal(Recipe.usual().changed(interpolate=0.3))


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--camera", "987"], 4, "camera 987: "),
        (["--camera", "no_such.mp4"], 4, "no such file"),
        (["--camera", "ftp://x/y"], 2, "begins with rtsp"),
        (["--camera", "http://127.0.0.1:9/x"], 4, "cannot be opened"),
        (["--size", "large"], 2, "1280x720"),
        (["--seconds", "0"], 2, "above 0"),
        (["--window", "big"], 2, "auto or none"),
        (["--udp", "192.0.2.1:5000"], 2, "of this machine"),
        (["--name", "a/b"], 2, "without folders"),
        (["--record-quality", "best"], 2, "lossless"),
        (["--record-quality", "small"], 2, "--record-quality: it is the quality of --record, which is not given"),
    ],
)
def test_what_cannot_be_is_reported_in_one_sentence(arguments: list[str], code: int, part: str, tmp_path: Path) -> None:
    found = run("live", "-o", tmp_path / "out", *arguments)
    assert found.exit_code == code, found.output
    assert part in found.output and len(found.stderr.strip().splitlines()) == 1


def test_a_camera_that_goes_away_ends_with_a_sentence_and_everything_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV reads a file as it reads a camera; its end is like a camera that is unplugged."""
    clips.write(tmp_path / "v.avi", [clips.portrait(shift=k) for k in range(6)])
    monkeypatch.setattr(camera, "PATIENCE", 0.0)
    monkeypatch.setattr(
        "hsemotion_cli.live.open_source.Camera",
        lambda _device, size, rate: camera.Camera(str(tmp_path / "v.avi"), size),
    )
    found = run("live", "--camera", "0", "-o", tmp_path / "out", "--name", "c", "--size", "640x480")
    assert found.exit_code == 3
    assert "the camera stopped delivering images; the" in found.output and "not 640 x 480 as asked" in found.output
    content = json.loads((tmp_path / "out" / "c.json").read_text())
    assert content["live"]["captured"] == 6
    assert len(table(tmp_path / "out" / "c.csv")) == content["frames"]["analysed"] > 0
    assert content["source"]["sha256"] is None and content["source"]["width"] == 320


def test_a_camera_gives_its_images_in_rgb(tmp_path: Path) -> None:
    clips.write(tmp_path / "v.avi", [clips.corners()] * 3, options={"crf": "1"})
    device = camera.Camera(str(tmp_path / "v.avi"))
    first = next(device.captured()).frame.image
    device.close()
    assert first[5, 5].argmax() == 0 and first[5, -5].argmax() == 1 and first[-5, -5].argmax() == 2


@pytest.mark.posix
def test_interrupted_it_ends_with_a_whole_table(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    clips.write(path, [clips.portrait(shift=k % 9) for k in range(600)], rate=10)
    for name, number in (("int", signal.SIGINT), ("term", signal.SIGTERM)):
        growing = tmp_path / name / "s.live.csv"
        command = ["live", "--camera", path, "-o", growing.parent, "--name", "s", "--record", "--window", "none"]
        process = subprocess.Popen(
            [sys.executable, "-m", "hsemotion_cli", *map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        wait_for(lambda growing=growing: growing.exists() and growing.read_bytes().count(b"\n") > 3, 120)
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        assert b"Traceback" not in errors
        content = json.loads((tmp_path / name / "s.json").read_text())
        rows = table(tmp_path / name / "s.csv")
        assert len({row["frame"] for row in rows}) == content["frames"]["analysed"] >= 3
        recorded = sum(1 for _ in open_source(tmp_path / name / "s.mkv").frames())
        assert recorded == content["frames"]["analysed"]
        assert not content["frames"]["ended_early"]


def test_rows_on_stdout_are_nothing_but_rows(clip: Path, tmp_path: Path) -> None:
    command = ["live", "--camera", clip, "-o", tmp_path, "--name", "s", "--jsonl", "-", "--seconds", "0.5"]
    done = subprocess.run(
        [sys.executable, "-m", "hsemotion_cli", *map(str, command)], capture_output=True, check=True, timeout=120
    )
    rows = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert len(rows) == len(table(tmp_path / "s.live.csv")) > 0
    assert {"frame", "time", "wall_time", "monotonic_ns", "face_id", "valence", "AU12_p"} <= rows[0].keys()


def test_a_reader_of_stdout_that_leaves_ends_the_session_properly(clip: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    command = ["live", "--camera", clip, "-o", tmp_path, "--name", "s", "--jsonl", "-", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "hsemotion_cli", *map(str, command)], stdout=write, stderr=subprocess.PIPE, timeout=120
    )
    os.close(write)
    assert done.returncode == 0, done.stderr.decode()
    assert len(table(tmp_path / "s.csv")) == 1


def test_an_output_that_fails_ends_alone(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutputError("rows.jsonl: could not be written (No space left on device).")

    monkeypatch.setattr(JsonLines, "send", full)
    out = tmp_path / "out"
    found = run("live", "--camera", clip, "-o", out, "--name", "s", "--jsonl", tmp_path / "rows.jsonl")
    assert found.exit_code == 3 and found.output.count("No space left") == 1
    assert table(out / "s.csv") and table(out / "s.live.csv")


def test_datagrams_hold_one_row_each(clip: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(10)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        found = run("live", "--camera", clip, "-o", tmp_path, "--name", "s", "--udp", address)
        assert found.exit_code == 0, found.output
        sent = table(tmp_path / "s.live.csv", set())
        received = [json.loads(listener.recv(65536)) for _ in sent]
    assert [(r["frame"], r["monotonic_ns"]) for r in received] == [
        (int(row["frame"]), int(row["monotonic_ns"])) for row in sent
    ]


@pytest.mark.parametrize("text", ["127.0.0.1:5005", "localhost:5005", "[::1]:5005"])
def test_addresses_of_this_machine(text: str) -> None:
    assert parse_address(text)[1] == 5005


@pytest.mark.parametrize("text", ["5005", "127.0.0.1:0", "127.0.0.1:99999", "10.0.0.1:5005", ":5005", "127.0.0.1:²"])
def test_other_addresses_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--udp"):
        parse_address(text)


def test_a_stream_of_the_network(tmp_path: Path) -> None:
    clips.write(tmp_path / "v.mp4", [clips.portrait(shift=k) for k in range(8)], options={"g": "4"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/feed.ts"
    copy = ["-i", str(tmp_path / "v.mp4"), "-c", "copy", "-f", "mpegts", "-listen", "1", address]
    server = subprocess.Popen([program("ffmpeg"), "-v", "error", *copy], stderr=subprocess.PIPE)
    try:
        stream: NetworkStream | None = None
        until = time.monotonic() + 30
        while stream is None:
            try:
                stream = open_live(address)  # type: ignore[assignment]
            except InputError:
                assert time.monotonic() < until
                time.sleep(0.1)
        images = [one.frame.image for one in stream.captured()]
        stream.close()
    finally:
        server.kill()
        server.communicate()
    expected = [frame.image for frame in VideoFile(tmp_path / "v.mp4").frames()]
    assert len(images) == 8 and all((a == b).all() for a, b in zip(images, expected, strict=True))
    assert stream.report.ended_early and stream.info.codec == "h264"


def test_a_password_is_never_shown() -> None:
    assert shown("rtsp://ann:secret@192.0.2.7:554/stream?key=1") == "rtsp://192.0.2.7:554/stream"


def test_small_matters() -> None:
    assert parse_size("1280x720") == (1280, 720)
    assert smallest_face((1280, 720)) == 107


def test_arrays_from_python_have_the_rows_of_their_recording(tmp_path: Path) -> None:
    images = [clips.portrait(shift=3 * k) for k in range(10)]
    times = [round(k / 15 + 0.004 * (k % 3), 3) for k in range(10)]
    recorder = Recorder(tmp_path / "r.mkv", "lossless")
    for image, when in zip(images, times, strict=True):
        recorder.add(image, when, Stamp.now())
    recorder.close()
    least = smallest_face((320, 240))
    found = run("annotate", tmp_path / "r.mkv", "-o", tmp_path, "--smooth", "causal:0.2", "--min-face", least)
    assert found.exit_code == 0, found.output
    asked: list[int] = []

    def camera_of() -> Iterator[tuple[float, np.ndarray]]:
        for k, pair in enumerate(zip(times, images, strict=True)):
            asked.append(k)
            yield pair

    rows = []
    for number, of_frame in enumerate(hs.annotate_stream(camera_of())):
        assert asked[-1] == number  # the next image is not asked for before these rows are there
        rows += of_frame
    whole = [row for _, of_frame in read_frames(tmp_path / "r.csv") for row in of_frame]
    assert len(rows) == len(whole) == 10
    for row, other in zip(rows, whole, strict=True):
        assert {k: v for k, v in row.items() if k not in LOOKS_AHEAD} == {
            k: other[k] for k in row if k not in LOOKS_AHEAD
        }


def test_rows_of_the_last_seconds_are_those_of_the_whole() -> None:
    """Over far more seconds than are kept, with absences of the face."""
    rng, readings = np.random.default_rng(3), []
    for k in range(220):
        faces = () if k % 47 in (5, 6) or 100 < k < 125 else (Face((10.0, 10.0, 50.0, 60.0), 0.9, track=0),)
        tasks = {name: rng.uniform(0, 1, (len(faces), len(TASKS[name]))).astype(np.float32) for name in TASKS}
        readings.append(Reading(k, k / 20, faces, {"m": Scores(tasks)}))
    recipe = Recipe(("m",), smoothing=dict.fromkeys(TASKS, Smoothing.parse("causal:0.2")))
    kept, whole = NewestRows(recipe), refine(gather(readings), recipe)
    for number, reading in enumerate(readings):
        now, then = kept.add(reading), whole.row == number
        assert now.time.tolist() == [reading.time] and len(now.row) == then.sum()
        assert all((now.tasks[name] == whole.tasks[name][then]).all() for name in TASKS)


def test_a_stream_of_arrays_refuses_what_it_cannot_use() -> None:
    image = clips.blank(64, 48)
    with pytest.raises(UsageError, match="have not arrived yet"):
        hs.annotate_stream([], smooth="gaussian:0.2")
    with pytest.raises(UsageError, match="no image"):
        next(hs.annotate_stream([]))
    with pytest.raises(UsageError, match="not after"):
        list(hs.annotate_stream([(0.0, image), (0.0, image)]))
    with pytest.raises(UsageError, match="not after"):
        list(hs.annotate_stream([(float("nan"), image)]))
    with pytest.raises(UsageError, match="pairs of a time"):
        list(hs.annotate_stream([image]))  # type: ignore[list-item]
    with pytest.raises(UsageError, match="float64"):
        list(hs.annotate_stream([(0.0, image / 255)]))
