"""The overlay video: the source's own times and sound, rows where they belong, the whole file or nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import cv2
import numpy as np
import pytest
from known import known, noting, stamp

from hsemotion_cli.domain import Frame
from hsemotion_cli.errors import InputError, OutputError
from hsemotion_cli.media.images import ImageSequence
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.overlay.layout import OverlayPainter
from hsemotion_cli.overlay.video import WIDEST, even, fitted, hold, render
from hsemotion_cli.runtime import atomic_files

SIZE = (96, 64)  # width, height of generated clips
VARIABLE = [0.0, 0.04, 0.2, 0.21, 0.5, 1.1, 1.14]


def face(**values: Any) -> dict[str, Any]:
    """A row with a box in the middle of a generated clip."""
    return {"face_id": 0, "face_detected": 1, "interpolated": 0, "x": 30.0, "y": 20.0, "w": 32.0, "h": 32.0, **values}


def nobody(count: int, every: int = 1, start: int = 0) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    return ((index, []) for index in range(start, count, every))


@dataclass
class Read:
    """What another reader finds in a file: times in seconds, in the order of presentation."""

    times: list[float]
    sound: list[tuple[float, bytes]]
    pictures: list[np.ndarray]  # luma of each frame


def read(path: Path) -> Read:
    with av.open(str(path)) as container:
        sound = []
        if container.streams.audio:
            packets = [p for p in container.demux(container.streams.audio[0]) if p.dts is not None]
            sound = [(stamp(p), bytes(p)) for p in packets]
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return Read([stamp(f) for f in frames], sound, [f.to_ndarray(format="gray") for f in frames])


def grey(level: int = 128, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


def two_streams(path: Path, video_start: float, audio_start: float, format: str | None = None) -> None:
    """Ten images and half a second of sound, each beginning at a time of its own."""
    with av.open(str(path), "w", format=format) as container:
        video: Any = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        audio: Any = container.add_stream("mp2", rate=48000, layout="mono")
        for k in range(10):
            picture = av.VideoFrame.from_ndarray(grey(), format="rgb24")
            picture.pts, picture.time_base = round(video_start * 1000) + 40 * k, Fraction(1, 1000)
            container.mux(video.encode(picture))
        for k in range(20):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.time_base = 48000, Fraction(1, 48000)
            samples.pts = round(audio_start * 48000) + 1152 * k
            container.mux(audio.encode(samples))
        container.mux(video.encode())
        container.mux(audio.encode())


@pytest.fixture(scope="module")
def spoken(samples: Path) -> tuple[Path, Read]:
    """A real clip with sound, and what is in it."""
    path = samples / "langer_pexels.mp4"
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux() if packet.dts is not None]
        sound = [(stamp(p), bytes(p)) for p in packets if p.stream.type == "audio"]
        times = sorted(stamp(p) for p in packets if p.stream.type == "video")
    return path, Read(times, sound, [])


def test_a_real_clip_keeps_every_time_and_every_byte_of_its_sound(spoken: tuple[Path, Read], tmp_path: Path) -> None:
    (source, before), out = spoken, tmp_path / "out.mp4"
    counts: list[int] = []
    report = render(source, nobody(60), out, progress=counts.append)
    after = read(out)
    assert after.times == pytest.approx(before.times[:60], abs=1e-5)
    end = before.times[60]
    assert after.sound == [(pytest.approx(time, abs=1e-5), data) for time, data in before.sound if time < end]
    assert counts == list(range(1, 61))
    assert report.frames == 60 and report.shift == 0 and report.audio == "copied (aac)"
    assert report.duration == pytest.approx(end)


def test_a_whole_clip_keeps_its_whole_sound(smile: Path, tmp_path: Path) -> None:
    render(smile, nobody(12), tmp_path / "out.mp4")
    before, after = read(smile), read(tmp_path / "out.mp4")
    assert after.sound == [(pytest.approx(time, abs=1e-5), data) for time, data in before.sound]
    assert after.times == pytest.approx(before.times, abs=1e-5)


def test_the_file_is_what_browsers_play(smile: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    render(smile, nobody(12), out)
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        context = video.codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert (context.width, context.height) == OverlayPainter(320, 240).canvas
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        assert video.frames == 12
        assert float(known(video.duration) * known(video.time_base)) == pytest.approx(12 / 25, abs=1e-3)
    data = out.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat"), "the index comes first, so that playing can start at once"


def test_variable_frame_rate_stays_variable(tmp_path: Path) -> None:
    stored = clips.write(tmp_path / "in.mkv", [grey()] * 7, VARIABLE)
    report = render(tmp_path / "in.mkv", nobody(7), tmp_path / "out.mp4")
    assert read(tmp_path / "out.mp4").times == pytest.approx(stored, abs=1e-4)
    assert report.duration == pytest.approx(1.18, abs=1e-3)


def test_the_last_image_lasts_as_long_as_in_the_source(tmp_path: Path) -> None:
    clips.write(tmp_path / "in.mkv", [grey()] * 7, VARIABLE)
    report = render(tmp_path / "in.mkv", nobody(5), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        video = container.streams.video[0]
        assert float(known(video.duration) * known(video.time_base)) == pytest.approx(1.1, abs=1e-3)
    assert report.duration == pytest.approx(1.1, abs=1e-3)


def test_two_runs_give_the_same_bytes(smile: Path, tmp_path: Path) -> None:
    for name in ("one.mp4", "two.mp4"):
        render(smile, ((k, [face(x=100.0 + k, w=80.0, h=80.0)]) for k in range(12)), tmp_path / name)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_the_bytes_do_not_depend_on_the_number_of_cores(smile: Path, tmp_path: Path) -> None:
    """x264 notes its threads in the file; with as many as there are cores it would also cut images differently."""
    render(smile, nobody(12), tmp_path / "out.mp4")
    options = tmp_path.joinpath("out.mp4").read_bytes().partition(b"x264 - core")[2].partition(b"\0")[0].decode()
    assert " threads=4 " in options and " sliced_threads=0 " in options


@pytest.mark.parametrize(
    ("video_start", "audio_start", "shift"), [(1.4, 1.2, 1.2), (1.4, 1.6, 1.4), (0.5, 0.0, 0.0), (0.0, 0.25, 0.0)]
)
def test_late_starts_keep_video_and_audio_together(
    tmp_path: Path, video_start: float, audio_start: float, shift: float
) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mp4"
    two_streams(source, video_start, audio_start)
    before = read(source)
    report = render(source, nobody(10), out)
    after = read(out)
    # Matroska keeps times in milliseconds, and an encoder's run-in may move the declared beginning by some more.
    assert report.shift == pytest.approx(shift, abs=0.03)
    assert after.times == pytest.approx([time - report.shift for time in before.times], abs=1e-4)
    assert [time for time, _ in after.sound] == pytest.approx([t - report.shift for t, _ in before.sound], abs=6e-4)
    assert [data for _, data in after.sound] == [data for _, data in before.sound]


def test_transport_streams_keep_video_and_audio_together(tmp_path: Path) -> None:
    two_streams(tmp_path / "in.ts", 1.5, 1.4)
    before = read(tmp_path / "in.ts")
    assert before.times[0] > 1, "this kind of file starts late"
    report = render(tmp_path / "in.ts", nobody(10), tmp_path / "out.mp4")
    after = read(tmp_path / "out.mp4")
    assert after.times[0] - after.sound[0][0] == pytest.approx(before.times[0] - before.sound[0][0], abs=1e-3)
    assert min(after.times[0], after.sound[0][0]) == pytest.approx(0, abs=1e-3)
    assert report.shift > 1


def test_sound_that_mp4_cannot_carry_becomes_aac(tmp_path: Path) -> None:
    clips.write(tmp_path / "in.mov", [grey()] * 25, audio="pcm_s16le")
    report = render(tmp_path / "in.mov", nobody(25), tmp_path / "out.mp4")
    assert "pcm_s16le" in report.audio and "AAC" in report.audio
    waves = []
    for name in ("in.mov", "out.mp4"):
        with av.open(str(tmp_path / name)) as container:
            found = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
        waves.append(np.concatenate(found).astype(float))
    before, after = waves
    assert len(after) == pytest.approx(len(before), abs=2 * 1024)
    # In step with the original: the tone has 109 samples, so a lag of a few would show.
    same = slice(4096, len(before) - 4096)
    assert np.corrcoef(before[same], after[same])[0, 1] > 0.99


def test_frames_between_analysed_ones_hold_their_rows(tmp_path: Path) -> None:
    clips.write(tmp_path / "in.mp4", [grey()] * 12)
    # Without an id there is no label, only the box.
    rows = [(2, [face(face_id=None)]), (5, []), (8, [face(face_id=None, x=4.0)])]
    report = render(tmp_path / "in.mp4", rows, tmp_path / "out.mp4")
    shown = read(tmp_path / "out.mp4")
    assert shown.times == pytest.approx([k / 25 for k in range(7)], abs=1e-4), "frames 2 to 8, from zero"
    assert report.frames == 7 and report.shift == pytest.approx(2 / 25)
    # The upper edge of the box: x from 30 to 62 for the first face, from 4 to 36 for the second.
    middle = [bool(np.abs(picture[18:24, 54:62].astype(int) - picture[2, 90]).max() > 30) for picture in shown.pictures]
    left = [bool(np.abs(picture[18:24, 4:12].astype(int) - picture[2, 90]).max() > 30) for picture in shown.pictures]
    assert middle == [True] * 3 + [False] * 4
    assert left == [False] * 6 + [True]


def test_sound_is_cut_to_the_analysed_part(spoken: tuple[Path, Read], tmp_path: Path) -> None:
    source, before = spoken
    report = render(source, nobody(61, every=10, start=20), tmp_path / "out.mp4")
    after = read(tmp_path / "out.mp4")
    start, end = before.times[20], before.times[61]
    assert report.shift == pytest.approx(start)
    assert after.times == pytest.approx([time - start for time in before.times[20:61]], abs=1e-4)
    wanted = [(time - start, data) for time, data in before.sound if start <= time < end]
    assert after.sound == [(pytest.approx(time, abs=1e-4), data) for time, data in wanted]


def test_rows_are_asked_for_a_few_ahead_at_most(tmp_path: Path) -> None:
    clips.write(tmp_path / "in.mp4", [grey()] * 20)
    asked: list[int] = []
    written: list[int] = []

    def table() -> Iterator[tuple[int, list[dict[str, Any]]]]:
        for index in range(20):
            asked.append(index)
            # One for the next frame, one with no room, two on their way, one being drawn, one being written.
            assert index <= len(written) + 6
            yield index, []

    render(tmp_path / "in.mp4", table(), tmp_path / "out.mp4", progress=written.append)
    assert asked == list(range(20))


def test_rotated_clips_come_out_upright(tmp_path: Path) -> None:
    clips.write(tmp_path / "in.mp4", [clips.corners()] * 3, rotate=90)
    frame = next(iter(VideoFile(tmp_path / "in.mp4").frames()))
    render(tmp_path / "in.mp4", nobody(3), tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        found = next(container.decode(video=0))
        assert found.rotation == 0
        image = found.to_ndarray(format="rgb24")
    assert frame.image.shape == (160, 96, 3)
    image = image[:160, :96]
    assert np.abs(image.astype(int) - frame.image).mean() < 8


@pytest.mark.parametrize("size", [(97, 65), (1, 1), (16, 16), (3, 50)])
def test_odd_and_tiny_sizes_are_padded_to_even_ones(tmp_path: Path, size: tuple[int, int]) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), grey(200, size))
    row = face(x=0.0, y=0.0, expression="happiness", expression_score=0.9, valence=0.1, arousal=0.2)
    render(tmp_path / "in.png", [(0, [row])], tmp_path / "out.mp4")
    shown = read(tmp_path / "out.mp4")
    assert len(shown.times) == 1
    width, height = OverlayPainter(*size).canvas
    assert shown.pictures[0].shape == (height, width) and width % 2 == height % 2 == 0
    render(tmp_path / "in.png", [(0, [row])], tmp_path / "plain.mp4", plain=size)
    assert read(tmp_path / "plain.mp4").pictures[0].shape == (size[1] + size[1] % 2, size[0] + size[0] % 2)


def test_padding_leaves_the_image_as_sharp_as_it_was(tmp_path: Path) -> None:
    stripes = grey(40, (97, 65))
    stripes[:, ::2] = 210
    cv2.imwrite(str(tmp_path / "in.png"), stripes)
    render(tmp_path / "in.png", [(0, [])], tmp_path / "out.mp4", plain=(97, 65))
    shown = read(tmp_path / "out.mp4").pictures[0].astype(int)
    assert np.abs(np.diff(shown[:, :97], axis=1)).min() > 80
    assert np.abs(shown[:, 97] - shown[:, 96]).max() < 40, "the last column twice"


def test_padding_repeats_the_edge() -> None:
    image = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    padded = even(image)
    assert padded.shape == (4, 6, 3)
    np.testing.assert_array_equal(padded[:3, :5], image)
    np.testing.assert_array_equal(padded[3, :5], image[2])
    np.testing.assert_array_equal(padded[:3, 5], image[:, 4])
    assert even(image[:2, :4]).shape == (2, 4, 3)


def test_a_canvas_too_wide_for_players_is_made_smaller(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), grey(200, (4000, 1000)))
    render(tmp_path / "in.png", [(0, [])], tmp_path / "out.mp4")
    width, height = OverlayPainter(4000, 1000).canvas
    assert width > WIDEST
    (shown,) = read(tmp_path / "out.mp4").pictures
    assert shown.shape == (round(height * WIDEST / width / 2) * 2, WIDEST)


def test_a_folder_of_images_becomes_a_video_by_their_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (3, 4, 8):
        cv2.imwrite(str(folder / f"{number:05}.png"), grey(20 * number))
    report = render(ImageSequence(folder, 10), [(3, []), (4, []), (8, [])], tmp_path / "out.mp4")
    assert read(tmp_path / "out.mp4").times == pytest.approx([0.0, 0.1, 0.5], abs=1e-4)
    assert report.audio == "none" and report.shift == pytest.approx(0.3)


def test_images_of_another_size_are_fitted_to_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "0.png"), grey(200, (64, 64)))
    cv2.imwrite(str(folder / "1.png"), grey(200, (128, 64)))
    render(folder, [(0, []), (1, [face(x=40.0)])], tmp_path / "out.mp4")
    first, second = (picture[:64, :64] for picture in read(tmp_path / "out.mp4").pictures)
    assert first.shape == second.shape == (64, 64)
    assert second[32, 4] > 180 and second[4, 32] < 30 and second[60, 32] < 30
    assert np.abs(second[16:48].astype(int) - second[32, 4]).max() > 30, "its box is in pixels of the first"


def test_fitting_keeps_proportions() -> None:
    shown = fitted(grey(255, (10, 40)), 64, 64)
    columns = np.flatnonzero(shown[32, :, 0])
    assert (columns.min(), columns.max()) == (24, 39)
    image = grey()
    assert fitted(image, *SIZE) is image


@pytest.mark.parametrize(
    "colour", [(200, 40, 40), (30, 180, 60), (40, 60, 210), (250, 250, 250), (5, 5, 5), (200, 120, 90)]
)
def test_colours_survive(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    cv2.imwrite(str(tmp_path / "in.png"), np.full((64, 64, 3), colour[::-1], np.uint8))
    render(tmp_path / "in.png", [(0, [])], tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        levels = [np.frombuffer(bytes(plane), np.uint8)[8 * plane.line_size + 8] for plane in frame.planes]
    y, u, v = (float(level) for level in levels)
    y, u, v = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    # BT.709 as it is printed, limited range.
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    green = (y - 0.2126 * red - 0.0722 * blue) / 0.7152
    assert np.abs(np.array([red, green, blue]) * 255 - colour).max() < 4


@pytest.mark.parametrize("rows", [[(0, []), (40, [])], [(-3, []), (0, [])], [(40, [])]])
def test_rows_of_another_video_are_refused(smile: Path, tmp_path: Path, rows: list[tuple[int, list[Any]]]) -> None:
    with pytest.raises(InputError, match=r"smile\.mp4: has no frame (40|-3)"):
        render(smile, rows, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rows", "said"), [([], "no analysed frame"), ([(2, []), (1, [])], "sort"), ([(1, []), (1, [])], "sort")]
)
def test_tables_that_make_no_sense_are_refused(
    smile: Path, tmp_path: Path, rows: list[tuple[int, list[Any]]], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        render(smile, rows, tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_what_is_interrupted_leaves_nothing_and_keeps_the_older_file(
    smile: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"older")

    def interrupt(done: int) -> None:
        if done == 5:
            assert len(list(tmp_path.iterdir())) == 2, "the new file grows beside the old one"
            raise error

    with pytest.raises(error):
        render(smile, nobody(12), out, progress=interrupt)
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_bytes() == b"older"


@pytest.mark.posix
def test_a_full_disk_is_reported_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    clips.write(tmp_path / "in.mp4", [np.roll(noise, 9 * k, axis=1) for k in range(12)])
    folder = tmp_path / "out"
    folder.mkdir()
    out = folder / "out.mp4"
    out.write_bytes(b"older")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file may grow beyond this: the same failing write as on a disk that is full.
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # or the limit would cut off cached bytecode as well
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))
    try:
        with pytest.raises(OutputError, match=r"out\.mp4: could not be written"):
            render(tmp_path / "in.mp4", nobody(12), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(folder.iterdir()) == [out] and out.read_bytes() == b"older"


def test_places_that_cannot_be_written_are_refused(smile: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"No such file or directory.*choose another place"):
        render(smile, nobody(12), tmp_path / "missing" / "out.mp4")
    with pytest.raises(OutputError, match="is a folder"):
        render(smile, nobody(12), tmp_path)
    with pytest.raises(OutputError, match="is the source itself"):
        render(smile, nobody(12), smile)
    assert len(read(smile).times) == 12


def test_the_file_has_the_rights_of_any_new_file(smile: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    render(smile, nobody(12), tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_file_is_on_the_disk_before_it_gets_its_name(
    smile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(atomic_files.os, "fsync", noting(done, "sync", sync))
    monkeypatch.setattr(atomic_files.os, "replace", noting(done, "move", move))
    render(smile, nobody(12), tmp_path / "out.mp4")
    assert done == ["sync", "move"]


def test_hold_reads_no_further_than_one_frame_behind_the_last_row() -> None:
    seen: list[int] = []

    def frames() -> Iterator[Frame]:
        for index in range(100):
            seen.append(index)
            yield Frame(index, index / 25, grey())

    shown = list(hold(frames(), [(3, []), (6, [])], Path("clip.mp4")))
    assert [item.frame.index for item in shown if item.faces is not None] == [3, 4, 5, 6]
    assert [item.analysed for item in shown if item.faces is not None] == [3, 3, 3, 6]
    assert seen[-1] == 7
    assert shown[0].first and not shown[1].first and not shown[-1].last


def test_hold_gives_up_as_soon_as_a_row_is_missed() -> None:
    frames = iter([Frame(index, index / 25, grey()) for index in (2, 3, 4, 5)])
    with pytest.raises(InputError, match="no frame 1"):
        list(hold(frames, [(1, []), (4, [])], Path("clip.mp4")))
    assert [frame.index for frame in frames] == [4, 5]


def test_sound_that_lies_far_behind_in_the_file_is_not_lost(
    smile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, together = read(smile), VideoFile.frames

    def apart(self: VideoFile, sampling: Any = None, on_audio: Any = None) -> Iterator[Frame]:
        packets: list[Any] = []
        yield from together(self, sampling, packets.append)
        for packet in packets:
            on_audio(packet)

    monkeypatch.setattr(VideoFile, "frames", apart)
    render(smile, nobody(6), tmp_path / "out.mp4")
    wanted = [data for time, data in before.sound if time < before.times[6]]
    assert len(wanted) > 5
    assert [data for _, data in read(tmp_path / "out.mp4").sound] == wanted


def test_times_that_do_not_grow_still_give_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips.write(tmp_path / "in.mp4", [grey()] * 4)
    reader = VideoFile(tmp_path / "in.mp4")
    broken = [Frame(index, time, grey()) for index, time in enumerate((0.0, 0.1, 0.1, 0.05))]
    monkeypatch.setattr(VideoFile, "frames", lambda *_, **__: iter(broken))
    render(reader, nobody(4), tmp_path / "out.mp4")
    times = read(tmp_path / "out.mp4").times
    assert len(times) == 4 and np.all(np.diff(times) > 0)
