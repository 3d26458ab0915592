"""Interlaced video: each frame once, at its own time, without combs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import clips
import numpy as np
import pytest

from hsemotion_cli.media.source import DecodeOptions, Sampling
from hsemotion_cli.media.video import VideoFile

pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg to make its inputs")

WIDTH, HEIGHT, COUNT = 320, 240, 12
CODECS = {
    "ts": ["-c:v", "libx264", "-crf", "8", "-x264-params", "interlaced=1:tff=1"],
    "mp4": ["-c:v", "libx264", "-crf", "8", "-bf", "2", "-x264-params", "interlaced=1:tff=1"],
    "mpg": ["-c:v", "mpeg2video", "-q:v", "2", "-bf", "2"],
    "mov": ["-c:v", "prores_ks", "-pix_fmt", "yuv422p10le"],
}
FIELDS = ["-field_order", "tt", "-flags", "+ildct+ilme", "-vf", "setfield=tff"]


def moments() -> list[np.ndarray]:
    """A face that moves sideways by 6 pixels from field to field, 50 fields per second."""
    return [clips.portrait(WIDTH, HEIGHT, shift=6 * k - 70) for k in range(2 * COUNT)]


def woven(fields: list[np.ndarray]) -> list[np.ndarray]:
    """Frames as a camcorder stores them: even rows of one moment, odd rows of the next."""
    frames = [first.copy() for first in fields[::2]]
    for frame, second in zip(frames, fields[1::2], strict=True):
        frame[1::2] = second[1::2]
    return frames


def encode(path: Path, frames: list[np.ndarray], *options: str) -> Path:
    height, width = frames[0].shape[:2]
    command = ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", "25", "-i", "-", "-pix_fmt", "yuv420p", *options, str(path)]
    subprocess.run(command, check=True, input=b"".join(frame.tobytes() for frame in frames))
    return path


def decode(path: Path, **options: str) -> tuple[VideoFile, list[np.ndarray], list[float]]:
    video = VideoFile(path, DecodeOptions(**options))  # type: ignore[arg-type]
    frames = list(video.frames())
    return video, [frame.image for frame in frames], [frame.time for frame in frames]


def error(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return float(np.mean([np.abs(a.astype(int) - b).mean() for a, b in zip(one, other, strict=True)]))


@pytest.mark.parametrize("suffix", CODECS)
def test_flagged_frames_lose_their_combs(suffix: str, tmp_path: Path) -> None:
    fields = moments()
    path = encode(tmp_path / f"field.{suffix}", woven(fields), *CODECS[suffix], *FIELDS)
    video, clean, times = decode(path)
    raw_video, combed, raw_times = decode(path, deinterlace="off")
    assert error(clean, fields[::2]) < 0.4 * error(combed, fields[::2])
    assert video.report.deinterlaced == COUNT and raw_video.report.deinterlaced == 0
    assert times == raw_times and len(times) == COUNT
    assert video.notes == [f"{COUNT} interlaced frames were deinterlaced; --deinterlace off leaves them as they are."]
    assert raw_video.notes == []


def test_the_filter_is_ffmpegs_bwdif(tmp_path: Path) -> None:
    path = encode(tmp_path / "field.ts", woven(moments()), *CODECS["ts"], *FIELDS)
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", "bwdif=mode=send_frame:deint=interlaced"]
    made = subprocess.run([*command, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], capture_output=True, check=True)
    expected = np.frombuffer(made.stdout, np.uint8).reshape(-1, HEIGHT, WIDTH, 3)
    assert error(decode(path)[1], list(expected)) < 0.5


def test_progressive_frames_are_left_alone(tmp_path: Path) -> None:
    path = encode(tmp_path / "plain.mp4", moments()[::2], "-c:v", "libx264")
    _, usual, _ = decode(path)
    _, off, _ = decode(path, deinterlace="off")
    assert all((a == b).all() for a, b in zip(usual, off, strict=True))


def test_frames_that_are_not_flagged_are_deinterlaced_on_demand(tmp_path: Path) -> None:
    fields = moments()
    path = encode(tmp_path / "unflagged.mp4", woven(fields), "-c:v", "libx264", "-crf", "8")
    combed, clean = error(decode(path)[1], fields[::2]), error(decode(path, deinterlace="on")[1], fields[::2])
    assert decode(path)[0].report.deinterlaced == 0 and clean < 0.4 * combed


def test_a_stream_may_turn_interlaced_and_back(tmp_path: Path) -> None:
    """As television does between film and news; and each part is deinterlaced as it would be alone."""
    fields = moments()
    plain = encode(tmp_path / "plain.ts", fields[::2], "-c:v", "libx264")
    combed = encode(tmp_path / "combed.ts", woven(fields), *CODECS["ts"], *FIELDS)
    both = tmp_path / "both.ts"
    both.write_bytes(plain.read_bytes() + combed.read_bytes() + plain.read_bytes())
    video, found, times = decode(both)
    apart = decode(plain)[1] + decode(combed)[1] + decode(plain)[1]
    assert len(found) == 3 * COUNT and all((a == b).all() for a, b in zip(found, apart, strict=True))
    assert video.report.deinterlaced == COUNT and (np.diff(times) > 0).all()


def test_frames_between_interlaced_ones_pass_unchanged(tmp_path: Path) -> None:
    """The same on one clock, so that all of it goes through one filter."""
    fields, parts, alone = moments(), [], []
    for k, codec in enumerate([["-c:v", "libx264"], [*CODECS["ts"], *FIELDS], ["-c:v", "libx264", "-qp", "20"]]):
        frames = woven(fields) if k == 1 else fields[::2]
        offset = str(0.04 * COUNT * k)
        parts.append(encode(tmp_path / f"{k}.ts", frames, *codec, "-bf", "0", "-output_ts_offset", offset))
        alone += decode(parts[k], deinterlace="off")[1]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    video, found, times = decode(both)
    assert video.report.clock_jumps == 0 and np.diff(times) == pytest.approx(0.04, abs=1e-4)
    changed = [bool((a != b).any()) for a, b in zip(found, alone, strict=True)]
    assert changed == [False] * COUNT + [True] * COUNT + [False] * COUNT


def test_one_frame_is_enough(tmp_path: Path) -> None:
    path = encode(tmp_path / "one.mpg", woven(moments())[:1], *CODECS["mpg"], *FIELDS)
    video, found, _ = decode(path)
    assert len(found) == 1 and video.report.deinterlaced == 1


def test_a_turned_recording_is_deinterlaced_before_it_is_turned(tmp_path: Path) -> None:
    path = encode(tmp_path / "field.mp4", woven(moments()), *CODECS["mp4"], *FIELDS)
    turned = tmp_path / "turned.mp4"
    command = ["ffmpeg", "-v", "error", "-y", "-i", str(path), "-c", "copy"]
    command += ["-metadata:s:v", "rotate=90", str(turned)]
    subprocess.run(command, check=True)
    upright, found = decode(path)[1], decode(turned)[1]
    assert all((np.rot90(a) == b).all() for a, b in zip(upright, found, strict=True))


def test_sampling_sees_the_same_frames(tmp_path: Path) -> None:
    path = encode(tmp_path / "field.ts", woven(moments()), *CODECS["ts"], *FIELDS)
    whole = list(VideoFile(path).frames())
    some = list(VideoFile(path).frames(Sampling(every=3, end=whole[8].time)))
    assert [frame.index for frame in some] == [0, 3, 6]
    assert all((frame.image == whole[frame.index].image).all() for frame in some)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe as an independent reader")
def test_the_inputs_are_flagged_as_they_should_be(tmp_path: Path) -> None:
    """Or else the tests above would show nothing."""
    for suffix, codec in CODECS.items():
        path = encode(tmp_path / f"field.{suffix}", woven(moments()), *codec, *FIELDS)
        command = ["ffprobe", "-v", "error", "-of", "json", "-show_entries", "frame=interlaced_frame", str(path)]
        frames = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["frames"]
        assert [frame["interlaced_frame"] for frame in frames] == [1] * COUNT, suffix
