"""Decoding: every frame once, in order, upright, with its own time."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import av
import clips
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known import known, stamp

from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.media.images import ImageSequence, numbered_images
from hsemotion_cli.media.source import DecodeOptions, Sampling
from hsemotion_cli.media.video import VideoFile, open_source


def times_of(path: Path) -> list[float]:
    return [frame.time for frame in VideoFile(path).frames()]


def assert_corners(image: np.ndarray, names: str) -> None:
    """Corner colours clockwise from the upper left: r, g, b, w."""
    h, w = image.shape[0] // 6, image.shape[1] // 6
    places = [image[h, w], image[h, -w], image[-h, -w], image[-h, w]]
    colours = {"r": (220, 30, 30), "g": (30, 200, 30), "b": (30, 30, 220), "w": (230, 230, 230)}
    for pixel, name in zip(places, names, strict=True):
        assert np.abs(pixel.astype(int) - colours[name]).max() < 40, (name, pixel)


def test_real_clips_have_as_many_frames_as_opencv_decodes(shared_videos: list[Path]) -> None:
    for path in shared_videos:
        capture, expected = cv2.VideoCapture(str(path)), 0
        while capture.read()[0]:
            expected += 1
        indices = [frame.index for frame in VideoFile(path).frames()]
        assert indices == list(range(expected)), path.name


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="needs ffprobe as an independent reader")
def test_real_clips_have_the_times_that_ffprobe_prints(shared_videos: list[Path]) -> None:
    for path in shared_videos:
        command = ["ffprobe", "-v", "quiet", "-select_streams", "v:0", "-of", "json"]
        command += ["-show_entries", "frame=best_effort_timestamp_time", str(path)]
        frames = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["frames"]
        expected = [float(frame["best_effort_timestamp_time"]) for frame in frames]
        assert times_of(path) == pytest.approx(expected, abs=1e-3), path.name


def test_variable_frame_rate_keeps_each_time(tmp_path: Path) -> None:
    wanted = [0.0, 0.04, 0.2, 0.21, 0.5, 1.5, 1.54]
    stored = clips.write(tmp_path / "vfr.mp4", [clips.corners()] * 7, wanted)
    video = VideoFile(tmp_path / "vfr.mp4")
    assert [f.time for f in video.frames()] == pytest.approx(stored, abs=1e-4)
    assert video.report.variable_rate
    clips.write(tmp_path / "cfr.mkv", [clips.corners()] * 30, rate=30)
    steady = VideoFile(tmp_path / "cfr.mkv")
    assert len(list(steady.frames())) == 30
    assert not steady.report.variable_rate, "Matroska rounds to milliseconds, which is no variable rate"


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_a_late_start_stays_late(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"late.{suffix}"
    clips.write(path, [clips.corners()] * 5, [3 + k / 25 for k in range(5)], options={"bf": "0"})
    with av.open(str(path)) as container:
        expected = [stamp(f) for f in container.decode(video=0)]
    assert times_of(path) == pytest.approx(expected, abs=1e-6)
    assert expected[0] > 2.9
    assert VideoFile(path).info.start == pytest.approx(expected[0])


def test_an_edit_list_hides_frames_and_moves_times(tmp_path: Path) -> None:
    # Negative time stamps become an edit list in mp4: players begin at 0, and so must we.
    clips.write(tmp_path / "edit.mp4", [clips.corners()] * 10, [(k - 4) / 25 for k in range(10)], options={"bf": "0"})
    capture, expected = cv2.VideoCapture(str(tmp_path / "edit.mp4")), 0
    while capture.read()[0]:
        expected += 1
    times = times_of(tmp_path / "edit.mp4")
    assert len(times) == expected
    assert times == sorted(times)
    assert times[0] >= 0


@pytest.mark.parametrize(("degrees", "seen"), [(0, "rgbw"), (90, "gbwr"), (180, "bwrg"), (270, "wrgb")])
def test_rotation_is_undone_as_a_player_does_it(tmp_path: Path, degrees: int, seen: str) -> None:
    clips.write(tmp_path / "turned.mp4", [clips.corners()] * 3, rotate=degrees)
    video = VideoFile(tmp_path / "turned.mp4")
    frame = next(video.frames())
    assert_corners(frame.image, seen)
    assert (video.info.height, video.info.width) == frame.image.shape[:2]
    # An independent reader that honours the same display matrix:
    _, other = cv2.VideoCapture(str(tmp_path / "turned.mp4")).read()
    assert np.abs(cv2.cvtColor(other, cv2.COLOR_BGR2RGB).astype(int) - frame.image).mean() < 4


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    clips.write(tmp_path / "wide.mp4", [clips.corners(80, 96)] * 2, aspect=Fraction(2, 1))
    video = VideoFile(tmp_path / "wide.mp4")
    assert next(video.frames()).image.shape == (96, 160, 3)
    assert (video.info.width, video.info.height, video.info.pixel_aspect) == (160, 96, 2.0)


def test_odd_sizes_ten_bit_and_hevc_decode(tmp_path: Path) -> None:
    clips.write(tmp_path / "odd.mkv", [clips.corners(161, 97)] * 3, pixels="yuv444p")
    assert next(VideoFile(tmp_path / "odd.mkv").frames()).image.shape == (97, 161, 3)
    clips.write(tmp_path / "ten.mov", [clips.corners()] * 3, codec="libx265", pixels="yuv420p10le")
    ten = VideoFile(tmp_path / "ten.mov")
    assert_corners(next(ten.frames()).image, "rgbw")
    assert ten.info.codec == "hevc"


def test_a_file_without_duration_is_read_to_its_end(tmp_path: Path) -> None:
    # A live stream has no index and no duration; a raw one has not even time stamps.
    clips.write(tmp_path / "live.mkv", [clips.corners()] * 8, container_options={"live": "1"}, format="matroska")
    assert len(times_of(tmp_path / "live.mkv")) == 8
    clips.write(tmp_path / "raw.h264", [clips.corners()] * 8, format="h264", options={"bf": "0"})
    raw = VideoFile(tmp_path / "raw.h264")
    times = [f.time for f in raw.frames()]
    assert len(times) == 8
    assert np.all(np.diff(times) > 0)
    assert raw.report.ended_early == ""


def test_broken_packets_are_counted_and_their_frames_have_no_ordinal(tmp_path: Path, samples: Path) -> None:
    source = samples / "langer_pexels.mp4"
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    broken = [p for p in packets if not p.is_keyframe][50:55]
    for packet in broken:
        at = known(packet.pos)
        data[at : at + packet.size] = b"\x55" * packet.size
    (tmp_path / "broken.mp4").write_bytes(data)
    video = VideoFile(tmp_path / "broken.mp4")
    frames = [(f.index, f.time) for f in video.frames()]
    assert video.report.failures == 5
    assert video.report.decoded == len(frames) == 472 - 5
    assert [index for index, _ in frames] == list(range(467))
    stamps = sorted(stamp(p) for p in broken)
    assert sorted(video.report.failed_at) == pytest.approx(stamps, abs=1e-5)
    assert not set(np.round(stamps, 4)) & set(np.round([t for _, t in frames], 4))


def test_half_a_file_is_read_as_far_as_it_goes_and_reports_it(tmp_path: Path, samples: Path) -> None:
    data = (samples / "langer_pexels.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    video = VideoFile(tmp_path / "half.mp4")
    frames = list(video.frames(Sampling(every=50)))
    assert 100 < video.report.decoded < 472
    assert "declares 19.7 s" in video.report.ended_early
    assert frames[-1].index % 50 == 0


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"Dear diary, today I saw a face.\n" * 200, "not a readable video"),
        (bytes(5000), "not a readable"),
    ],
)
def test_what_is_no_video_is_refused_in_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "fake.mp4").write_bytes(content)
    with pytest.raises(InputError, match=says) as raised:
        VideoFile(tmp_path / "fake.mp4")
    assert str(tmp_path / "fake.mp4") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_sound_without_images_is_refused(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        clips._tone(container, container.add_stream("aac", rate=48000, layout="mono"), 0, 1)
    with pytest.raises(InputError, match="no video stream"):
        VideoFile(tmp_path / "song.mp4")


def test_a_play_list_cannot_make_us_fetch_anything(tmp_path: Path) -> None:
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "list.mp4").write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n{address}/a.ts\n#EXT-X-ENDLIST\n"
        )
        (tmp_path / "list.m3u8").write_text((tmp_path / "list.mp4").read_text())
        for name in ("list.mp4", "list.m3u8"):
            with pytest.raises(InputError):
                VideoFile(tmp_path / name)
        with pytest.raises(InputError, match="no such file"):
            open_source(Path(f"{address}/a.mp4"))
    finally:
        server.shutdown()
        server.server_close()
    assert asked == []


def test_numbered_images_keep_their_numbers_and_gaps(tmp_path: Path) -> None:
    for number in (3, 10, 11, 2):
        cv2.imwrite(str(tmp_path / f"{number:05d}.jpg"), clips.corners()[..., ::-1])
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "cover.jpg").write_bytes(b"not numbered")
    pictures = open_source(tmp_path, DecodeOptions(image_fps=10))
    assert [(f.index, f.time) for f in pictures.frames()] == [(2, 0.2), (3, 0.3), (10, 1.0), (11, 1.1)]
    assert_corners(next(pictures.frames()).image, "rgbw")


def test_a_damaged_image_is_counted(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), clips.corners())
    (tmp_path / "2.png").write_bytes(b"\x89PNG but no more")
    pictures = ImageSequence(tmp_path, 25)
    assert [f.index for f in pictures.frames()] == [1]
    assert (pictures.report.failures, pictures.report.failed_at) == (1, [2])


def test_two_images_with_one_number_are_refused(tmp_path: Path) -> None:
    for name in ("1.png", "0001.png"):
        cv2.imwrite(str(tmp_path / name), clips.corners())
    with pytest.raises(InputError, match="same number"):
        numbered_images(tmp_path)


def test_a_single_image_is_a_video_of_one_frame(samples: Path) -> None:
    frames = list(open_source(samples / "stills" / "astronaut.png").frames())
    assert [(f.index, f.time, f.image.shape) for f in frames] == [(0, 0.0, (512, 512, 3))]


def test_sampling_keeps_ordinals_and_times(tmp_path: Path) -> None:
    clips.write(tmp_path / "c.mp4", [clips.corners()] * 50)
    everything = [(f.index, f.time) for f in VideoFile(tmp_path / "c.mp4").frames()]

    def chosen(**options: Any) -> list[tuple[int, float]]:
        return [(f.index, f.time) for f in VideoFile(tmp_path / "c.mp4").frames(Sampling(**options))]

    assert chosen(every=7) == everything[::7]
    assert chosen(start=0.4, end=1.0) == everything[10:25]
    assert chosen(fps=5) == everything[::5]
    assert chosen(fps=100) == everything
    assert chosen(start=99) == []


@given(st.lists(st.floats(0.001, 0.5), min_size=1, max_size=200), st.floats(0.5, 60))
def test_fps_sampling_never_exceeds_the_rate_and_never_lags_a_tick(steps: list[float], fps: float) -> None:
    times = np.cumsum([0.0, *steps]).tolist()
    choose = Sampling(fps=fps).chooser()
    taken = [t for k, t in enumerate(times) if choose(k, t)]
    assert taken[0] == times[0]
    assert len(taken) <= math.floor((times[-1] - times[0]) * fps + 1e-3) + 1
    # Each tick that some frame reaches before the next tick is served by the first such frame.
    for k in range(math.floor((times[-1] - times[0]) * fps)):
        inside = [t for t in times if times[0] + k / fps + 1e-5 <= t < times[0] + (k + 1) / fps - 1e-5]
        if inside:
            assert any(times[0] + k / fps - 1e-5 <= t < times[0] + (k + 1) / fps + 1e-5 for t in taken)


@pytest.mark.parametrize("options", [{"every": 0}, {"fps": 0}, {"fps": math.nan}, {"start": 2, "end": 1}])
def test_impossible_sampling_is_a_usage_error(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Sampling(**options)
