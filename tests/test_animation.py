"""Animated images and TIFF stacks: every frame, with the time at which other readers show it."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffiles
from known import program
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError
from hsemotion_cli.media.animation import UNTIMED, AnimatedImage, TiffStack
from hsemotion_cli.media.source import DecodeOptions, Sampling
from hsemotion_cli.media.video import open_source

DURATIONS = [40, 120, 500, 80, 260]  # milliseconds
STARTS = [0.0, 0.04, 0.16, 0.66, 0.74]


def drawn(count: int = 5, size: tuple[int, int] = (96, 64), mode: str = "RGB") -> list[Image.Image]:
    """Frames with a bar whose place is the number of the frame."""
    frames = []
    for k in range(count):
        image = Image.new(mode, size, (0, 0, 0, 0) if mode == "RGBA" else (30, 60, 90))
        ImageDraw.Draw(image).rectangle([12 * k, 10, 12 * k + 8, 50], fill=(255, 0, 0))
        frames.append(image)
    return frames


def save(path: Path, frames: list[Image.Image], **options: Any) -> Path:
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def bar(image: np.ndarray) -> int:
    """The number of the frame, by the place of its bar."""
    red = (image[30, :, 0] > 200) & (image[30, :, 1] < 60)
    return round((np.flatnonzero(red).mean() - 4) / 12)


def ffprobe(path: Path) -> list[float]:
    command = [
        program("ffprobe"),
        "-v",
        "error",
        "-select_streams",
        "v:0",
        "-show_entries",
        "frame=pts_time",
        "-of",
        "json",
    ]
    done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    return [float(frame["pts_time"]) for frame in json.loads(done.stdout)["frames"]]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.webp", {"lossless": True}),
        ("a.webp", {"quality": 90, "allow_mixed": True}),
        ("a.png", {}),
        ("a.gif", {}),
        ("a.avif", {"quality": 90}),
    ],
)
def test_all_frames_come_with_their_own_times(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    path = save(tmp_path / name, drawn(), duration=DURATIONS, **options)
    source = open_source(path)
    frames = list(source.frames())
    assert [frame.time for frame in frames] == pytest.approx(STARTS, abs=1e-6)
    assert [bar(frame.image) for frame in frames] == [0, 1, 2, 3, 4]
    assert (source.info.kind, source.info.width, source.info.height) == ("video", 96, 64)
    assert source.report.variable_rate
    with Image.open(path) as image:  # an independent reader of the durations
        durations = []
        for k in range(getattr(image, "n_frames", 0)):
            image.seek(k)
            image.load()
            durations.append(image.info["duration"])
    assert [0.0, *np.cumsum(durations)[:-1] / 1000] == pytest.approx(STARTS)
    if name in ("a.png", "a.gif"):
        assert ffprobe(path) == pytest.approx(STARTS)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {"disposal": 0, "blend": 0}),
        ("a.png", {"disposal": 0, "blend": 1}),
        ("a.png", {"disposal": 1, "blend": 1}),
        ("a.png", {"disposal": 2, "blend": 1}),
        ("a.webp", {"lossless": True, "kmin": 1, "kmax": 1}),
    ],
)
def test_a_frame_is_what_is_shown_after_disposal_and_blending_on_white(
    tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    path = save(tmp_path / name, drawn(mode="RGBA"), duration=DURATIONS, **options)
    kept = Image.new("RGBA", (96, 64), (255, 255, 255, 255))  # without disposal, bars stay
    for frame, image in zip(AnimatedImage(path).frames(), drawn(mode="RGBA"), strict=True):
        alone = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
        kept = Image.alpha_composite(kept, image)
        stays = options.get("disposal") == 0 and options.get("blend") == 1
        assert np.array_equal(frame.image, np.asarray((kept if stays else alone).convert("RGB")))


def test_the_default_image_of_an_apng_is_not_a_frame(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", drawn(), duration=DURATIONS[:4], default_image=True)
    frames = list(open_source(path).frames())
    assert [bar(frame.image) for frame in frames] == [1, 2, 3, 4]
    assert [frame.time for frame in frames] == pytest.approx(ffprobe(path))


def test_frames_without_a_duration_are_counted(tmp_path: Path) -> None:
    source = AnimatedImage(save(tmp_path / "a.webp", drawn(3), duration=[0, 50, 0], lossless=True))
    assert [frame.time for frame in source.frames()] == pytest.approx([0, UNTIMED, UNTIMED + 0.05])
    assert source.report.notes == ["2 of its frames have no duration; each is taken to last 0.1 s."]


@pytest.mark.parametrize(("name", "options"), [("a.webp", {"lossless": True}), ("a.png", {})])
def test_an_animation_that_is_cut_short_ends_early(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    path = save(tmp_path / name, drawn(), duration=DURATIONS, **options)
    data = path.read_bytes()
    seen = set()
    for length in range(len(data) // 2, len(data) - 20, 23):
        path.write_bytes(data[:length])
        try:
            source = open_source(path)
        except InputError:
            continue
        frames = list(source.frames())
        seen.add(len(frames))
        assert [frame.time for frame in frames] == pytest.approx(STARTS[: len(frames)])
        assert len(frames) == 5 or source.report.ended_early, length
    assert seen - {5} or name == "a.webp"  # Pillow reads no WebP file whose end is missing


def test_a_still_image_stays_one(tmp_path: Path) -> None:
    for name in ("a.webp", "a.png", "a.tif", "a.avif"):
        drawn(1)[0].save(tmp_path / name)
        assert open_source(tmp_path / name).info.kind == "picture"


def test_the_first_frame_of_an_animated_image_among_numbered_ones_is_read_and_this_is_reported(tmp_path: Path) -> None:
    drawn(1)[0].save(tmp_path / "1.png")
    save(tmp_path / "2.webp", drawn(), duration=DURATIONS)
    save(tmp_path / "3.tif", drawn())
    save(tmp_path / "4.png", drawn(), duration=DURATIONS)
    source = open_source(tmp_path)
    assert [bar(frame.image) for frame in source.frames()] == [0, 0, 0, 0]
    assert source.notes == ["3 of its images hold several frames; only the first of each was read."]


def test_the_pages_of_a_tiff_follow_at_the_image_rate_and_this_is_reported(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", drawn(7))
    source = open_source(path, DecodeOptions(image_fps=25))
    frames = list(source.frames())
    assert [(frame.index, frame.time) for frame in frames] == [(k, k / 25) for k in range(7)]
    assert [bar(frame.image) for frame in frames] == list(range(7))
    assert source.info.clock == "page numbers / 25"
    assert source.report.notes == [
        "the pages of a TIFF file have no times; they are taken as 25 per second (--image-fps)."
    ]
    assert [frame.index for frame in source.frames(Sampling(every=3))] == [0, 3, 6]


@pytest.mark.parametrize(("words", "rate"), [("finterval=0.25", 4.0), ("fps=12.5", 12.5), ("finterval=0\nfps=0", None)])
def test_the_rate_that_imagej_wrote_counts(tmp_path: Path, words: str, rate: float | None) -> None:
    text = f"ImageJ=1.54f\nimages=5\nslices=5\n{words}\nloop=false\n"
    source = open_source(save(tmp_path / "a.tif", drawn(), tiffinfo={270: text}), DecodeOptions(image_fps=30))
    assert [frame.time for frame in source.frames()] == pytest.approx([k / (rate or 30) for k in range(5)])
    assert bool(source.report.notes) == (rate is None)


def test_smaller_copies_and_masks_of_a_page_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tifffiles.stack([np.asarray(image) for image in drawn(3)], reduced=(1,)))
    source = open_source(path)
    assert isinstance(source, TiffStack)
    assert [bar(frame.image) for frame in source.frames()] == [0, 2]
    assert "1 of its pages are smaller copies or masks" in source.report.notes[-1]


def test_a_damaged_page_is_counted_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tifffiles.stack([np.asarray(image) for image in drawn(4)], missing=(2,)))
    source = open_source(path, DecodeOptions(image_fps=10))
    assert [bar(frame.image) for frame in source.frames()] == [0, 1, 3]
    assert (source.report.failures, source.report.failed_at) == (1, [0.2])


def test_a_page_that_declares_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tifffiles.stack([np.asarray(image) for image in drawn(3)], width=60_000))
    with pytest.raises(InputError, match=r"declared as 60000 x 64 pixels"):
        open_source(path)


def test_an_animated_image_is_annotated_and_drawn_like_a_video(tmp_path: Path, astronaut: np.ndarray) -> None:
    portrait = Image.fromarray(astronaut).resize((256, 256))
    frames = [portrait.rotate(2 * k) for k in range(4)]
    save(tmp_path / "a.webp", frames, duration=[40, 120, 500, 80], lossless=True)
    done = CliRunner().invoke(app, ["annotate", str(tmp_path / "a.webp"), "-o", str(tmp_path / "out"), "--overlay"])
    assert done.exit_code == 0, done.output
    rows = (tmp_path / "out" / "a.csv").read_text().splitlines()[1:]
    assert [row.split(",")[:3] for row in rows] == [
        [str(k), f"{time:.6f}", "0"] for k, time in enumerate((0, 0.04, 0.16, 0.66))
    ]
    shown = ffprobe(tmp_path / "out" / "a.overlay.mp4")
    assert np.diff(shown) == pytest.approx(np.diff([0, 0.04, 0.16, 0.66]), abs=1e-4)
    assert "variable" in "".join(itertools.chain(done.stdout)) or "varies" in done.stdout
