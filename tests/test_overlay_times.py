"""Overlays of sources with difficult clocks: as long as the film, each image at its time, sound beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import clips
import numpy as np
import pytest

from hsemotion_cli.media.audio import AudioFile, Clock
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.overlay.video import RenderReport, render

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="needs ffmpeg to make its inputs and ffprobe as an independent reader",
)

X264 = ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-bf", "2"]


def drawn(path: Path, out: Path) -> RenderReport:
    """An overlay of all frames, without faces."""
    count = sum(1 for _ in VideoFile(path).frames())
    return render(path, [(k, []) for k in range(count)], out)


def probed(path: Path, kind: str = "v") -> tuple[list[float], float]:
    """Times of the frames of a stream, and its duration, as ffprobe has them."""
    command = ["ffprobe", "-v", "error", "-select_streams", f"{kind}:0", "-of", "json"]
    command += ["-show_entries", "frame=best_effort_timestamp_time:stream=duration", str(path)]
    content = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    times = [float(frame["best_effort_timestamp_time"]) for frame in content["frames"]]
    return times, float(content["streams"][0]["duration"])


def test_a_gap_of_hours_is_held(tmp_path: Path) -> None:
    """ffmpeg's mp4 takes no step of 2^31 ticks, 6.6 hours at 90 kHz."""
    times = [0, 0.04, 0.08, 8 * 3600, 8 * 3600 + 0.04]
    clips.write(tmp_path / "gap.mkv", [clips.corners()] * 5, times, options={"bf": "0"})
    report = drawn(tmp_path / "gap.mkv", tmp_path / "out.mp4")
    assert report.frames == 5 and report.duration == pytest.approx(8 * 3600 + 0.08)
    found, duration = probed(tmp_path / "out.mp4")
    assert set(np.round(times, 3)) <= set(np.round(found, 3)) and len(found) == 6
    assert duration == pytest.approx(8 * 3600 + 0.08, abs=0.01)


def test_sound_after_a_gap_that_mp4_cannot_hold_is_left_out_and_reported(tmp_path: Path) -> None:
    path, late = tmp_path / "gap.mkv", 13 * 3600
    times = [0, 0.5, late, late + 0.5]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        sound = container.add_stream("libmp3lame", rate=48000, layout="mono")
        for time in times:
            picture = av.VideoFrame.from_ndarray(clips.corners(), format="rgb24")
            picture.pts, picture.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(picture))
            for part in range(10):
                wave = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.float32), format="fltp", layout="mono")
                wave.sample_rate, wave.pts = 48000, round(time * 48000) + part * 1152
                wave.time_base = Fraction(1, 48000)
                container.mux(sound.encode(wave))
        container.mux(video.encode())
        container.mux(sound.encode())
    report = drawn(path, tmp_path / "out.mp4")
    assert report.frames == 4 and report.duration > late
    assert "left out" in report.audio and "13.0 h" in report.audio
    assert probed(tmp_path / "out.mp4")[1] > late
    assert probed(tmp_path / "out.mp4", "a")[1] < 2


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_last_image_is_held_as_long_as_in_the_source(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"screen.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        packets = []
        for k in range(50):
            picture = av.VideoFrame.from_ndarray(clips.corners(), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            packets += stream.encode(picture)
        packets += stream.encode()
        packets[-1].duration = round(8 / packets[-1].time_base)
        container.mux(packets)
    report = drawn(path, tmp_path / "out.mp4")
    assert report.duration == pytest.approx(1.96 + 8)
    times, duration = probed(tmp_path / "out.mp4")
    assert len(times) == 50 and duration == pytest.approx(9.96, abs=0.001)


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "aac"), ("ts", "mp2"), ("mkv", "pcm_s16le")])
def test_joined_parts_make_one_film_with_its_sound(suffix: str, codec: str, tmp_path: Path) -> None:
    """A flash and a beep half a second into each part; the clock of Matroska starts at 0 again, too, when joined."""
    parts = []
    for k in range(2):
        flash = "color=black:size=160x96:rate=25:duration=1.2,geq=lum='if(between(T,0.5,0.579),235,16)'"
        beep = "aevalsrc=exprs='if(between(t,0.5,0.58),0.8*sin(2764*t),0)':s=48000:d=1.3"
        part = tmp_path / f"{k}.{suffix}"
        command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", flash, "-f", "lavfi", "-i", beep, *X264]
        subprocess.run([*command, "-c:a", codec, part], check=True)
        parts.append(part.read_bytes())
    path, out = tmp_path / f"both.{suffix}", tmp_path / "out.mp4"
    path.write_bytes(b"".join(parts))
    report = drawn(path, out)
    assert report.frames == 60 and report.duration == pytest.approx(2.4, abs=0.01)
    film = VideoFile(out)
    frames = [(frame.time, frame.image[:96, :160].mean()) for frame in film.frames()]
    assert len(frames) == 60 and film.report.longest_step == pytest.approx(0.04, abs=0.002)
    flashes = [time for time, light in frames if light > 150][::2]
    clock = Clock()
    samples = np.concatenate(list(AudioFile(out).chunks(clock=clock)))
    loud = clock.times(np.flatnonzero(np.abs(samples) > 0.3).astype(float))
    beeps = loud[np.append(True, np.diff(loud) > 0.5)]
    assert len(flashes) == 2 and beeps == pytest.approx(flashes, abs=0.03)


def test_sound_that_outlasts_the_image_stays(tmp_path: Path) -> None:
    path = tmp_path / "long.mp4"
    tone = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=3"]
    image = ["-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25:duration=1"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *image, *tone, *X264, "-c:a", "aac", path], check=True)
    video = VideoFile(path)
    assert len(list(video.frames())) == 25 and video.report.ended_early == ""
    drawn(path, tmp_path / "out.mp4")
    assert probed(tmp_path / "out.mp4")[1] == pytest.approx(1, abs=0.01)
    assert probed(tmp_path / "out.mp4", "a")[1] == pytest.approx(3, abs=0.05)
