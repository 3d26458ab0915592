"""Time: every frame at the time that ffprobe gives it, and time that goes on where a container's clock jumps."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import clips
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsemotion_cli.domain import Face, Reading, Scores, Sighting
from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.media.audio import AudioFile, Clock
from hsemotion_cli.media.source import DecodeOptions, Sampling
from hsemotion_cli.media.timestamps import FrameClock
from hsemotion_cli.media.video import VideoFile, open_source
from hsemotion_cli.models import frame_skipping

pytestmark = pytest.mark.skipif(
    not (shutil.which("ffmpeg") and shutil.which("ffprobe")),
    reason="needs ffmpeg to make its inputs and ffprobe as an independent reader",
)

X264 = "-pix_fmt yuv420p -c:v libx264 -preset veryfast -bf 2"


def ffmpeg(*arguments: object) -> None:
    words = [word for a in arguments for word in (a.split() if isinstance(a, str) else [str(a)])]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *words], check=True, stdin=subprocess.DEVNULL)


def moving(seconds: float = 2, rate: int = 25) -> str:
    return f"-f lavfi -i testsrc2=size=160x96:rate={rate}:duration={seconds}"


def tone(seconds: float = 2) -> str:
    return f"-f lavfi -i sine=frequency=440:sample_rate=48000:duration={seconds}"


def probed(path: Path, stream: int = 0) -> list[float]:
    """Times of all frames as ffprobe has them; nan where it has none."""
    command = ["ffprobe", "-v", "quiet", "-select_streams", f"v:{stream}", "-of", "json"]
    command += ["-show_entries", "frame=best_effort_timestamp_time", str(path)]
    frames = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["frames"]
    return [float(frame.get("best_effort_timestamp_time", math.nan)) for frame in frames]


def completed(times: list[float], step: float) -> np.ndarray:
    """The same with each missing time one step after the one before."""
    filled: list[float] = []
    for time in times:
        filled.append(filled[-1] + step if math.isnan(time) else time)
    return np.array(filled)


def read(path: Path, **options: object) -> tuple[VideoFile, np.ndarray]:
    video = VideoFile(path, DecodeOptions(**options))  # type: ignore[arg-type]
    return video, np.array([frame.time for frame in video.frames()])


KINDS = {
    "h264.avi": f"{moving()} {X264}",
    "h264_sound.avi": f"{moving()} {tone()} {X264} -c:a mp3",
    "mpeg4.avi": f"{moving()} -c:v mpeg4 -bf 2",
    "unpacked.avi": f"{moving()} -c:v mpeg4 -bf 2 -bsf:v mpeg4_unpack_bframes",
    "xvid_packed.avi": f"{moving()} -c:v libxvid -bf 2",
    "msmpeg4.avi": f"{moving()} -c:v msmpeg4",
    "h264.asf": f"{moving()} {X264}",
    "old.wmv": f"{moving()} -c:v wmv2",
    "h264.flv": f"{moving()} {X264}",
    "sorenson.flv": f"{moving()} -c:v flv",
    "mpeg2.mpg": f"{moving()} -c:v mpeg2video -bf 2",
    "mpeg1.mpg": f"{moving()} -c:v mpeg1video -bf 2",
    "h264.vob": f"{moving()} {X264}",
    "h264.ts": f"{moving()} {tone()} {X264} -c:a aac",
    "wraps_soon.ts": f"{moving()} {X264} -output_ts_offset 95441",
    "negative.mkv": f"-itsoffset -0.5 {moving()} {X264} -avoid_negative_ts disabled",
    "negative.mp4": f"-itsoffset -0.5 {moving()} {X264}",
    "h264.mov": f"{moving()} {X264}",
    "fields.mp4": f"{moving()} {X264} -x264-params interlaced=1",
    "fields.ts": f"{moving()} {X264} -x264-params interlaced=1",
    "fields.mpg": f"{moving()} -c:v mpeg2video -flags +ildct+ilme -bf 2",
    "h264.webm": f"{moving()} -c:v libvpx -b:v 200k",
    "bare.m4v": f"{moving(rate=15)} -c:v mpeg4 -f m4v",
    "bare.m2v": f"{moving()} -c:v mpeg2video -bf 2 -f mpeg2video",
    "bare.obu": f"{moving()} -c:v libaom-av1 -cpu-used 8 -f obu",
}


@pytest.mark.parametrize("name", KINDS)
def test_times_are_those_of_ffprobe_and_rise(name: str, tmp_path: Path) -> None:
    rate = 15 if name == "bare.m4v" else 25
    ffmpeg(KINDS[name], tmp_path / name)
    video, times = read(tmp_path / name)
    expected = completed(probed(tmp_path / name), 1 / rate)
    if name == "h264.vob":  # ffprobe gives a frame the stamp of the one behind it, see ContinuousClock
        expected = expected[0] + np.arange(len(expected)) / rate
    assert times == pytest.approx(expected, abs=1e-5)
    assert (np.diff(times) > 0).all()
    report = video.report
    assert report.clock_jumps == 0 and report.ended_early == "" and report.guessed_times == 0
    if not name.startswith(("xvid", "negative")):
        assert not report.variable_rate


# Two parts of a recording, each on a clock of its own, joined byte by byte.
PARTS = {
    "h264.ts": f"{X264} -g 12 -c:a aac",
    "h264.m2ts": f"{X264} -g 12 -c:a ac3",
    "mpeg2.ts": "-c:v mpeg2video -bf 2 -c:a mp2",
    "mpeg2.mpg": "-c:v mpeg2video -bf 2 -c:a mp2",
    "h264.vob": f"{X264} -c:a mp2",
    "h264.mkv": f"{X264} -g 12 -c:a aac",
    "vp8.webm": "-c:v libvpx -b:v 300k -auto-alt-ref 1 -lag-in-frames 10 -c:a libopus",
}


def joined(folder: Path, name: str, codecs: str, later: float = 0.0) -> tuple[Path, Path, Path]:
    """(part, part, both in one file); the clock of the second part begins ``later`` seconds after that of the first."""
    one, other, both = (folder / f"{part}_{name}" for part in ("one", "other", "both"))
    ffmpeg(moving(3), tone(3), codecs, "-ss 0 -t 1.6", one)
    ffmpeg(moving(3), tone(3), codecs, "-ss 1 -t 1.2", f"-output_ts_offset {later}" if later else "", other)
    both.write_bytes(one.read_bytes() + other.read_bytes())
    return one, other, both


# Matroska's clock never restarts, so a gap in it is a real gap.
JOINED = [(name, later) for name in PARTS for later in (0.0, 90.0) if not later or not name.endswith(("mkv", "webm"))]


@pytest.mark.parametrize(("name", "later"), JOINED)
def test_the_clock_goes_on_across_a_jump(name: str, later: float, tmp_path: Path) -> None:
    one, other, both = joined(tmp_path, name, PARTS[name], later)
    (_, first), (_, second) = read(one), read(other)
    video = VideoFile(both)
    frames = list(video.frames())
    expected = [*first, *(second - second[0] + first[-1] + 0.04)]
    assert [frame.time for frame in frames] == pytest.approx(expected, abs=0.0021)  # Matroska counts milliseconds
    assert video.report.clock_jumps == 1
    assert video.report.jumped_at == [pytest.approx(first[-1] + 0.04, abs=0.0021)]
    assert video.report.ended_early == "" and not video.report.variable_rate
    assert [frame.segment for frame in frames] == [0] * len(first) + [1] * len(second)
    assert frames[len(first)].cut
    apart = [*VideoFile(one).frames(), *VideoFile(other).frames()]
    assert all((a.image == b.image).all() for a, b in zip(frames, apart, strict=True))
    assert any("clock jumps once" in note for note in video.notes)


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mov", "h264.flv", "h264.wmv", "front.mp4", "frag.mp4", "dash.mp4"])
def test_a_second_recording_that_nothing_reads_is_found(name: str, tmp_path: Path) -> None:
    flags = {"front": "faststart", "frag": "frag_keyframe+empty_moov", "dash": "frag_keyframe+empty_moov+skip_trailer"}
    front = f"-movflags +{flags[name[:-4]]}" if name[:-4] in flags else ""
    one, _, both = joined(tmp_path, name, f"{X264} {front} -c:a aac -ar 44100")
    video, times = read(one)
    assert video.report.ended_early == ""
    video, found = read(both)
    assert len(found) == len(times) and "second recording is appended" in video.report.ended_early


def test_sampling_keeps_both_sides_of_a_jump(tmp_path: Path) -> None:
    _, _, both = joined(tmp_path, "a.ts", PARTS["h264.ts"])
    video = VideoFile(both)
    whole = [frame.time for frame in video.frames()]
    some = list(video.frames(Sampling(fps=5)))
    assert len(some) == pytest.approx(5 * (whole[-1] - whole[0]), abs=1)
    assert len({frame.segment for frame in some}) == 2
    assert sum(frame.cut for frame in some) == 1, "the jump lies between two analysed frames and must not be lost"
    late = [frame.time for frame in video.frames(Sampling(start=whole[-10]))]
    assert late == whole[-10:]


def test_a_part_cut_inside_a_gop_joins_as_well(tmp_path: Path) -> None:
    one, other, _ = joined(tmp_path, "a.ts", f"{X264} -g 10 -c:a aac")
    packets = [one.read_bytes()[k : k + 188] for k in range(0, one.stat().st_size, 188)]
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(packets[: len(packets) * 2 // 3]) + other.read_bytes())
    video = VideoFile(both)
    frames = list(video.frames())
    times = [frame.time for frame in frames]
    assert (np.diff(times) > 0).all() and video.report.clock_jumps == 1
    assert sum(frame.segment == 1 for frame in frames) == 30


def test_image_and_sound_stay_together_across_a_jump(tmp_path: Path) -> None:
    """A white flash and a beep at the same moment, half a second into each part, whose streams differ in length."""
    parts = []
    for k, longer in enumerate((0.4, -0.1)):
        flash = "-f lavfi -i color=black:size=160x96:rate=25:duration=1.2,geq=lum='if(between(T,0.5,0.579),235,16)'"
        beep = f"-f lavfi -i aevalsrc=exprs='if(between(t,0.5,0.58),0.8*sin(2764*t),0)':s=48000:d={1.2 + longer}"
        parts.append(tmp_path / f"{k}.ts")
        ffmpeg(flash, beep, X264, "-c:a aac -muxdelay 0.3", f"-output_ts_offset {40 * k}", parts[k])
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in [*parts, parts[0]]))
    video = VideoFile(both)
    bright = np.array([frame.time for frame in video.frames() if frame.image.mean() > 150])
    assert video.report.clock_jumps == 2 and len(bright) == 6
    clock = Clock()
    samples = np.concatenate(list(AudioFile(both).chunks(clock=clock)))
    loud = clock.times(np.flatnonzero(np.abs(samples) > 0.3).astype(float))
    flashes, beeps = bright[::2], loud[np.append(True, np.diff(loud) > 0.5)]
    assert beeps == pytest.approx(flashes, abs=0.03)


def test_a_long_gap_in_the_sound_alone_is_no_jump(tmp_path: Path) -> None:
    times = [k * 0.24 for k in range(80)]
    path = tmp_path / "gap.ts"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0", "g": "5"})
        video.width, video.height, video.pix_fmt = 160, 96, "yuv420p"
        sound = container.add_stream("mp2", rate=48000, layout="mono")
        for time in times:
            picture = av.VideoFrame.from_ndarray(clips.corners(), format="rgb24")
            picture.pts, picture.time_base = round(time * 90000), Fraction(1, 90000)
            container.mux(video.encode(picture))
            for start in range(round(time * 48000), round((time + 0.24) * 48000), 1152):
                if time < 2 or time >= 16:
                    wave = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
                    wave.sample_rate, wave.pts, wave.time_base = 48000, start, Fraction(1, 48000)
                    container.mux(sound.encode(wave))
        container.mux(video.encode())
        container.mux(sound.encode())
    read_, found = read(path)
    assert read_.report.clock_jumps == 0 and np.diff(found) == pytest.approx(0.24, abs=1e-4)
    clock = Clock()
    for _ in AudioFile(path).chunks(clock=clock):
        pass
    assert [time - found[0] for _, time in clock.marks] == pytest.approx([0, times[67]], abs=0.02)


@pytest.mark.parametrize("wrong", [2.5, 5000.0, -0.9, -3.0])
@pytest.mark.parametrize("kind", ["v", "a"])
def test_one_wrong_stamp_moves_nothing_else(kind: str, wrong: float, tmp_path: Path) -> None:
    """As after a transmission error; without care image and sound would stay apart from there on."""
    path = tmp_path / "good.ts"
    ffmpeg(moving(4), tone(4), X264, "-c:a mp2 -output_ts_offset 10", path)
    (_, good), ends = read(path), sound_ends(path)
    data = bytearray(path.read_bytes())
    found = [k for k in range(0, len(data), 188) if starts_packet(data, k, 0xE0 if kind == "v" else 0xC0)]
    place = found[len(found) // 2]
    shift_stamps(data, place, wrong)
    path.write_bytes(data)
    video, times = read(path)
    assert video.report.clock_jumps == 0
    assert times == pytest.approx(good, abs=0.05) and times[-1] == pytest.approx(good[-1], abs=1e-6)
    # Several frames of sound share a stamp in the file; those behind them are where they were.
    assert sound_ends(path) == pytest.approx(ends, abs=0.05)


def sound_ends(path: Path) -> float:
    """When the last sample of a file is heard, in seconds."""
    clock = Clock()
    count = sum(len(samples) for samples in AudioFile(path).chunks(clock=clock))
    return float(clock.times(np.array([count - 1]))[0])


def starts_packet(data: bytes | bytearray, place: int, kind: int) -> bool:
    """Whether a packet of MPEG-TS begins a PES packet of video (0xE0) or sound (0xC0)."""
    offset = payload(data, place)
    return bool(data[place + 1] & 0x40) and data[offset : offset + 4] == bytes([0, 0, 1, kind])


def payload(data: bytes | bytearray, place: int) -> int:
    return place + 4 + (1 + data[place + 4] if data[place + 3] & 0x20 else 0)


def shift_stamps(data: bytearray, place: int, seconds: float) -> None:
    """Change the stamps in the header of a PES packet (ISO/IEC 13818-1, 2.4.3.7)."""
    offset = payload(data, place)
    for stamp in range(2 if data[offset + 7] & 0x40 else 1):
        at = offset + 9 + 5 * stamp
        high, middle, low = data[at] >> 1 & 7, *(int.from_bytes(data[at + k : at + k + 2]) >> 1 for k in (1, 3))
        ticks = ((high << 30 | middle << 15 | low) + round(seconds * 90000)) % (1 << 33)
        data[at] = data[at] & 0xF1 | (ticks >> 30) << 1
        data[at + 1 : at + 3] = ((ticks >> 15 & 0x7FFF) << 1 | 1).to_bytes(2)
        data[at + 3 : at + 5] = ((ticks & 0x7FFF) << 1 | 1).to_bytes(2)


def test_a_clock_of_33_bits_may_wrap_more_than_once(tmp_path: Path) -> None:
    """26.5 hours, in MPEG-TS: an image every ten minutes, for 28 hours after the first wrap."""
    times = [k * 600.0 for k in range(170)]
    clips.write(tmp_path / "day.ts", [clips.corners(64, 48)] * 170, times, options={"bf": "0", "g": "1"})
    assert min(np.diff(probed(tmp_path / "day.ts"))) < -90_000, "what ffprobe has falls back"
    video, found = read(tmp_path / "day.ts")
    assert found == pytest.approx(times, abs=1e-4)
    assert video.report.clock_jumps == 0


def box(data: bytes | bytearray, start: int, end: int, kind: bytes) -> tuple[int, int]:
    """Place and size of a box of an MP4 file."""
    while start + 8 <= end:
        size, name = struct.unpack(">I4s", data[start : start + 8])
        if name == kind:
            return start, size
        start += size
    raise KeyError(kind)


def edited(source: Path, out: Path, edits: list[tuple[float, float | None]]) -> None:
    """Give a file of one stream, its index last, another edit list: (seconds, from which second on; None: nothing)."""
    data = bytearray(source.read_bytes())
    moov, size = box(data, 0, len(data), b"moov")
    trak, length = box(data, moov + 8, moov + size, b"trak")
    edts, old = box(data, trak + 8, trak + length, b"edts")
    mdia, inner = box(data, trak + 8, trak + length, b"mdia")
    scales: list[int] = []
    for place, _ in (box(data, moov + 8, moov + size, b"mvhd"), box(data, mdia + 8, mdia + inner, b"mdhd")):
        scales += struct.unpack(">I", data[place + 20 : place + 24])
    (begin,) = struct.unpack(">i", data[edts + 28 : edts + 32])
    entries = b"".join(
        struct.pack(">IiHH", round(lasting * scales[0]), -1 if at is None else begin + round(at * scales[1]), 1, 0)
        for lasting, at in edits
    )
    elst = struct.pack(">I4sII", 16 + len(entries), b"elst", 0, len(edits)) + entries
    new = struct.pack(">I4s", 8 + len(elst), b"edts") + elst
    data[edts : edts + old] = new
    for place, before in ((moov, size), (trak, length)):
        data[place : place + 4] = struct.pack(">I", before + len(new) - old)
    out.write_bytes(data)


@pytest.mark.parametrize(
    ("edits", "start", "end"),
    [
        ([(2.0, 1.3)], 0.0, 2.0),  # what trimming a recording on a phone leaves
        ([(2.0, None), (2.0, 1.1)], 2.0, 4.0),
        ([(2.0, 3.3), (2.0, 1.1), (1.5, 4.2)], 0.0, 5.5),  # a later piece first
    ],
)
def test_edit_lists_of_all_kinds(edits: list, start: float, end: float, tmp_path: Path) -> None:
    ffmpeg(moving(6), X264, "-g 50 -sc_threshold 0", tmp_path / "whole.mp4")
    edited(tmp_path / "whole.mp4", tmp_path / "edited.mp4", edits)
    video, times = read(tmp_path / "edited.mp4")
    assert times == pytest.approx(probed(tmp_path / "edited.mp4"), abs=1e-5)
    assert times[0] == pytest.approx(start, abs=1e-5) and times[-1] == pytest.approx(end, abs=0.07)
    assert (np.diff(times) >= 0).all() and len(times) == pytest.approx((end - start) * 25, abs=2)
    assert video.report.clock_jumps == 0 and video.report.ended_early == ""


def test_equal_times_stay_and_are_no_jump(tmp_path: Path) -> None:
    # Matroska counts milliseconds, so frames of a fast recording share them.
    clips.write(tmp_path / "fast.mkv", [clips.corners(64, 48)] * 9, [k / 3000 for k in range(9)], options={"bf": "0"})
    video, times = read(tmp_path / "fast.mkv")
    assert times == pytest.approx(probed(tmp_path / "fast.mkv"), abs=1e-6)
    assert (np.diff(times) == 0).any() and (np.diff(times) >= 0).all() and video.report.clock_jumps == 0


STAMPS = st.lists(st.tuples(st.none() | st.integers(-50, 50), st.none() | st.integers(-50, 50), st.integers(0, 5)))


@given(STAMPS, st.none() | st.integers(1, 60))
def test_times_never_fall_whatever_the_stamps_are(stamps: list, rate: int | None) -> None:
    clock = FrameClock(Fraction(rate) if rate else None, None, bare=False)
    unit = Fraction(1, 25)
    times = [clock.time(SimpleNamespace(pts=p, dts=d, duration=n, time_base=unit), unit) for p, d, n in stamps]
    assert all(b >= a for a, b in itertools.pairwise(times))
    shown = [p for p, d, _ in stamps if p is not None]
    if len(shown) == len(stamps) and shown == sorted(set(shown)) and all(d is None for _, d, _ in stamps):
        assert times == [float(p * unit) for p in shown] and clock.jumps == 0


def test_stamps_that_fall_are_a_jump_and_time_goes_on() -> None:
    clock, unit = FrameClock(None, None, bare=False), Fraction(1, 25)
    stamps = [10, 11, 12, 3, 4, 4, None, 6, 100, 50]
    frames = [SimpleNamespace(pts=p, dts=None, duration=1, time_base=unit) for p in stamps]
    times = [clock.time(frame, unit) * 25 for frame in frames]
    assert times == pytest.approx([10, 11, 12, 13, 14, 14, 15, 16, 110, 111])
    assert clock.jumps == 2 and clock.guessed == 0


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_a_bare_stream_has_the_rate_of_its_codec(codec: str, tmp_path: Path) -> None:
    quiet = "-x265-params log-level=none" if codec == "libx265" else ""
    suffix = {"libx264": "h264", "libx265": "hevc"}[codec]
    path = tmp_path / f"bare.{suffix}"
    ffmpeg(moving(), f"-vf fps=15 -pix_fmt yuv420p -c:v {codec}", quiet, "-f", suffix, path)
    video, times = read(path)
    assert times == pytest.approx(np.arange(30) / 15, abs=1e-9)
    assert video.info.fps == 15 and video.info.clock == "codec's frame rate 15"
    assert any("15 per second" in note for note in video.notes)
    video, times = read(path, video_fps=10.0)
    assert times == pytest.approx(np.arange(30) / 10) and video.info.fps == 10
    assert video.report.guessed_times == 0 and any("--video-fps 10" in note for note in video.notes)


def test_a_rate_that_is_assumed_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "bare.hevc"
    ffmpeg(moving(1), "-pix_fmt yuv420p -c:v libx265 -x265-params log-level=none:vui-timing-info=0 -f hevc", path)
    video, times = read(path)
    assert times == pytest.approx(np.arange(25) / 25)
    assert video.info.clock == "assumed frame rate 25" and video.report.guessed_times == 25
    assert any("assumed" in note and "--video-fps" in note for note in video.notes)


def test_the_ticks_of_an_encoder_are_no_rate(tmp_path: Path) -> None:
    clips.write(tmp_path / "vfr.mp4", [clips.corners()] * 5, [0, 0.1, 0.5, 0.6, 1.0])
    ffmpeg("-i", tmp_path / "vfr.mp4", "-c copy", tmp_path / "vfr.h264")
    video, times = read(tmp_path / "vfr.h264")
    assert times == pytest.approx(np.arange(5) / 25) and video.info.clock == "assumed frame rate 25"


def test_video_fps_replaces_the_times_of_any_file(tmp_path: Path) -> None:
    ffmpeg(moving(1), X264, "-output_ts_offset 5", tmp_path / "late.mkv")
    _, own = read(tmp_path / "late.mkv")
    video, times = read(tmp_path / "late.mkv", video_fps=50.0)
    assert times == pytest.approx(own[0] + np.arange(25) / 50)
    assert video.report.ended_early == ""


def test_a_clock_that_does_not_begin_at_zero_is_no_early_end(tmp_path: Path) -> None:
    ffmpeg(moving(14), X264, "-g 25", tmp_path / "whole.mp4")
    late = tmp_path / "late.mkv"
    ffmpeg("-copyts -ss 10 -i", tmp_path / "whole.mp4", "-c copy -avoid_negative_ts disabled", late)
    video, times = read(late)
    assert times[0] == pytest.approx(10, abs=0.1) and video.report.ended_early == ""
    cut = late.read_bytes()[: late.stat().st_size // 2]
    late.write_bytes(cut)
    video, times = read(late)
    assert times[-1] < 13 and video.report.ended_early, "and a recording that is cut off is still found out"


@pytest.mark.parametrize("part", [(1 / 5, 4 / 5), (1 / 7, 1)])
def test_a_stream_cut_inside_a_gop_is_no_early_end(part: tuple[float, float], tmp_path: Path) -> None:
    ffmpeg(moving(14), X264, "-g 125", tmp_path / "whole.ts")
    data = (tmp_path / "whole.ts").read_bytes()
    first, last = (round(share * len(data) / 188) * 188 for share in part)
    (tmp_path / "part.ts").write_bytes(data[first:last])
    video, times = read(tmp_path / "part.ts")
    assert len(times) > 100 and video.report.ended_early == ""


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_last_image_lasts_as_long_as_the_file_says(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"screen.{suffix}"
    held(path, 8.0)
    video = VideoFile(path)
    frames = list(video.frames())
    assert [frame.duration for frame in frames] == pytest.approx([0.04] * 49 + [8.0], abs=1e-3)
    assert video.report.ended_early == ""


def held(path: Path, seconds: float) -> None:
    """50 frames, 25 a second, the last one shown for some seconds, as screen recorders store it."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        packets = []
        for k in range(50):
            picture = av.VideoFrame.from_ndarray(clips.corners(), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 25)
            packets += stream.encode(picture)
        packets += stream.encode()
        packets[-1].duration = round(seconds / packets[-1].time_base)
        container.mux(packets)


def test_ticks_without_a_frame_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "ticks.avi"
    ffmpeg(moving(), "-fps_mode passthrough -c:v mpeg4 -enc_time_base 1/100 -r 100", path)
    video, times = read(path)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames > 150, "the header counts ticks"
    assert len(times) == 50 == video.info.frames


def two_streams(path: Path) -> None:
    ffmpeg(
        moving(1), "-f lavfi -i color=red:size=64x48:rate=10:duration=1 -map 0 -map 1 -c:v mpeg4",
        "-metadata:s:v:0 language=eng -metadata:s:v:1 language=ger", path,
    )  # fmt: skip


def test_a_video_stream_is_chosen_by_number_or_language(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    two_streams(path)
    for wanted, number, size in [(None, 0, (160, 96)), ("0", 0, (160, 96)), ("1", 1, (64, 48)), ("GER", 1, (64, 48))]:
        video, times = read(path, stream=wanted)
        assert (video.info.width, video.info.height) == size
        assert times == pytest.approx(probed(path, number), abs=1e-6)
        assert (video.info.stream, video.info.video_streams) == (number, 2)
        assert any(f"2 video streams; stream {number} ({'eng' if number == 0 else 'ger'})" in n for n in video.notes)
    for wanted in ("2", "fre"):
        with pytest.raises(InputError, match=r"has no video stream .*0 \(eng\), 1 \(ger\)"):
            read(path, stream=wanted)


@pytest.mark.parametrize(
    "options",
    [{"image_fps": 0.0}, {"video_fps": -1.0}, {"video_fps": math.inf}, {"stream": " "}, {"deinterlace": "maybe"},
     {"rotate": "45"}, {"region": (0, 0, 0, 5)}, {"region": (-1, 0, 4, 5)}],
)  # fmt: skip
def test_options_out_of_range_are_refused(options: dict) -> None:
    with pytest.raises(UsageError):
        DecodeOptions(**options)


def test_an_ordinary_file_has_no_notes(smile: Path) -> None:
    video, _ = read(smile)
    assert video.notes == [] and video.info.clock == "container"
    assert open_source(smile).info.stream == 0


def test_networks_look_on_both_sides_of_a_jump() -> None:
    """With --crops the id stays the same, so that only the segment says where a part ends."""
    face = Face((0, 0, 9, 9), 1.0, track=0)
    sightings = [Sighting(k, k / 10, (face,), segment=k // 5) for k in range(10)]
    plan = list(frame_skipping.schedule(sightings, 10))
    assert [one.scored[0] for one in plan] == [k in (0, 4, 5, 9) for k in range(10)]
    values = [np.full((1, 2), float(k) if one.scored[0] else np.nan, np.float32) for k, one in enumerate(plan)]
    read_ = [
        (Reading(k, k / 10, (face,), {"net": Scores({"valence_arousal": values[k]})}, k // 5), plan[k].scored)
        for k in range(10)
    ]
    for k, (reading, _) in enumerate(read_[5:], 5):  # the second part is far from the first
        if plan[k].scored[0]:
            reading.scores["net"].tasks["valence_arousal"][:] += 100
    done = [float(r.scores["net"].tasks["valence_arousal"][0, 0]) for r in frame_skipping.interpolate(read_)]
    assert done == pytest.approx([*range(5), *range(105, 110)])
