"""Decoded frames are displayed as players show them: orientation, crop, aspect, one size, and a part of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import cv2
import numpy as np
import pandas as pd
import pytest
import stored
from PIL import Image as Pillow
from PIL import ImageOps

from hsemotion_cli.analysis.video_summary import VideoSummary
from hsemotion_cli.errors import UsageError
from hsemotion_cli.media.canvas import Region, parse_region
from hsemotion_cli.media.images import decode_image, read_image
from hsemotion_cli.media.source import DecodeOptions
from hsemotion_cli.media.video import open_source
from hsemotion_cli.overlay.layout import OverlayPainter
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")


def shown(path: Path, **options: object) -> list[np.ndarray]:
    return [frame.image for frame in open_source(path, DecodeOptions(**options)).frames()]  # type: ignore[arg-type]


def by_ffmpeg(path: Path, size: tuple[int, int]) -> np.ndarray:
    """The first frame as ffmpeg writes it, (height, width, 3)."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(*size, 3)


def near(one: np.ndarray | None, other: np.ndarray) -> bool:
    return one is not None and one.shape == other.shape and float(np.abs(one.astype(int) - other).mean()) < 3


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corners of four colours, 160 x 96."""
    path = tmp_path_factory.mktemp("display") / "plain.mp4"
    clips.write(path, [clips.corners()] * 2)
    return path


@needs_ffmpeg
@pytest.mark.parametrize("name", stored.MATRICES)
def test_every_display_matrix_is_shown_as_ffmpeg_shows_it(plain: Path, tmp_path: Path, name: str) -> None:
    path = stored.with_matrix(plain, tmp_path / "turned.mp4", stored.MATRICES[name])
    image = shown(path)[0]
    assert near(image, by_ffmpeg(path, image.shape[:2]))
    assert near(image, stored.laid(clips.corners(), stored.MATRICES[name]))
    info = open_source(path).info
    assert (info.height, info.width) == image.shape[:2]


@pytest.mark.parametrize("name", stored.MATRICES)
def test_a_clean_aperture_is_cut_out_before_the_image_is_turned(plain: Path, tmp_path: Path, name: str) -> None:
    clap = stored.with_clean_aperture(plain, tmp_path / "clap.mp4", 120, 80, 10, -4)
    path = stored.with_matrix(clap, tmp_path / "both.mp4", stored.MATRICES[name])
    whole = shown(plain)[0]
    # Its centre lies 10 to the right of the image's, and 4 above it.
    assert np.array_equal(shown(path)[0], stored.laid(whole[4:84, 30:150], stored.MATRICES[name]))
    source = open_source(path)
    assert (source.info.height, source.info.width) == shown(path)[0].shape[:2]
    assert any("30 pixels at the left, 4 at the top, 10 at the right and 12 at" in note for note in source.notes)


def test_a_clean_aperture_beyond_the_image_is_no_crop(plain: Path, tmp_path: Path) -> None:
    path = stored.with_clean_aperture(plain, tmp_path / "clap.mp4", 120, 80, 30, 0)
    assert np.array_equal(shown(path)[0], shown(plain)[0])
    path = stored.with_clean_aperture(plain, tmp_path / "clap.mp4", 160, 96, 0, 0)
    assert open_source(path).info.crop is None


@pytest.mark.parametrize("side", stored.PIXEL_CROP)
def test_matroska_crops_at_each_side(tmp_path: Path, side: str) -> None:
    picture = clips.corners()
    stored.cropped_matroska(tmp_path / "crop.mkv", picture, side, 22)
    part = {"left": picture[:, 22:], "right": picture[:, :-22], "top": picture[22:], "bottom": picture[:-22]}[side]
    assert np.array_equal(shown(tmp_path / "crop.mkv")[0], part)


@pytest.mark.parametrize(("angle", "left", "name"), [(80, -10.0, "90 clockwise"), (20, 20.0, "as it is")])
def test_other_angles_are_rounded_and_reported(plain: Path, tmp_path: Path, angle: int, left: float, name: str) -> None:
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    path = stored.with_matrix(plain, tmp_path / "turned.mp4", (cosine, sine, -sine, cosine))
    assert np.array_equal(shown(path)[0], stored.laid(shown(plain)[0], stored.MATRICES[name]))
    source = open_source(path)
    assert source.info.rotation_rest == left and f"{left:+g} degrees" in source.notes[0]


@pytest.mark.parametrize(("rotate", "name"), [("0", "as it is"), ("90", "90 counter-clockwise"), ("180", "180"),
                                              ("270", "90 clockwise")])  # fmt: skip
def test_rotate_replaces_the_matrix_of_the_file(plain: Path, tmp_path: Path, rotate: str, name: str) -> None:
    path = stored.with_matrix(plain, tmp_path / "turned.mp4", stored.MATRICES["transposed"])
    assert np.array_equal(shown(path, rotate=rotate)[0], stored.laid(shown(plain)[0], stored.MATRICES[name]))
    info = open_source(path, DecodeOptions(rotate=rotate)).info
    assert (info.rotation, info.mirrored) == (int(rotate), False)


@needs_ffmpeg
def test_pixels_are_made_square_before_the_image_is_turned(tmp_path: Path) -> None:
    clips.write(tmp_path / "wide.mp4", [clips.corners()] * 2, aspect=Fraction(2))
    path = stored.with_matrix(tmp_path / "wide.mp4", tmp_path / "turned.mp4", stored.MATRICES["transposed"])
    image = shown(path)[0]
    assert image.shape == (320, 96, 3)
    assert near(image, cv2.resize(by_ffmpeg(path, (160, 96)), (96, 320)))


def test_an_aspect_may_change_in_the_middle_of_a_broadcast(tmp_path: Path) -> None:
    for number, aspect in enumerate((1, 2)):
        times = [1 + (12 * number + k) / 25 for k in range(12)]
        options = {"g": "12", "bf": "2"}  # so that the decoder is ahead of the frames that it gives
        path = tmp_path / f"{number}.ts"
        clips.write(path, [clips.corners()] * 12, times, aspect=Fraction(aspect), options=options)
    path = tmp_path / "both.ts"
    path.write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    source = open_source(path)
    frames = list(source.frames())
    assert [frame.image.shape[1] for frame in frames] == [160] * 12 + [320] * 12
    assert (frames[-1].view.scale, frames[-1].view.left, frames[-1].view.top) == (0.5, 0, 24)
    assert [(size.frame, size.width, size.height) for size in source.report.sizes] == [(0, 160, 96), (12, 320, 96)]


def in_sizes(path: Path, parts: list[list[np.ndarray]], codec: str = "libvpx") -> None:
    """A clip whose frames change their size, as those of a call do when the network is slow; 25 a second."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width = parts[0][0].shape[:2]
        stream.pix_fmt = "yuv420p"
        number = 0
        for pictures in parts:
            encoder: Any = av.CodecContext.create(codec, "w")
            encoder.height, encoder.width = pictures[0].shape[:2]
            encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
            encoder.bit_rate, encoder.options = 4_000_000, {"deadline": "realtime", "cpu-used": "8"}
            for picture in (*pictures, None):
                frame = None
                if picture is not None:
                    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                    frame.pts, frame.time_base = number, Fraction(1, 25)
                    number += 1
                for packet in encoder.encode(frame):
                    packet.stream, packet.time_base = stream, Fraction(1, 25)
                    container.mux(packet)


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A face in 640 x 360, then 320 x 180, then back."""
    path = tmp_path_factory.mktemp("call") / "call.webm"
    large, small = clips.portrait(640, 360), clips.portrait(320, 180)
    in_sizes(path, [[large] * 6, [small] * 6, [large] * 6])
    return path


def test_sizes_are_reported_with_the_frames_where_they_change(call: Path) -> None:
    source = open_source(call)
    frames = list(source.frames())
    assert [frame.image.shape[1] for frame in frames] == [640] * 6 + [320] * 6 + [640] * 6
    assert {frame.view.scale for frame in frames[6:12]} == {2.0} and not any(frame.cut for frame in frames)
    assert source.report.size_changes == 2
    assert [(size.frame, size.width, size.height) for size in source.report.sizes] == [
        (0, 640, 360), (6, 320, 180), (12, 640, 360)
    ]  # fmt: skip
    assert (
        "(640 x 360, 320 x 180 from 0.24 s, 640 x 360 from 0.48 s); all boxes are in pixels of 640 x 360."
        in (source.notes[0])
    )


def test_other_proportions_are_centred_as_in_a_player(tmp_path: Path) -> None:
    in_sizes(tmp_path / "call.webm", [[clips.blank(320, 240)] * 2, [clips.blank(320, 180)] * 2])
    view = list(open_source(tmp_path / "call.webm").frames())[-1].view
    assert (view.left, view.top, view.scale) == (0, 30, 1)


def test_a_region_is_a_part_of_the_displayed_image(plain: Path, tmp_path: Path) -> None:
    path = stored.with_matrix(plain, tmp_path / "turned.mp4", stored.MATRICES["transposed"])
    source = open_source(path, DecodeOptions(region=(20, 30, 50, 101)))
    frame = next(source.frames())
    assert np.array_equal(frame.image, shown(path)[0][30:131, 20:70])
    assert (frame.view.left, frame.view.top, frame.view.scale) == (20, 30, 1)
    assert (source.info.width, source.info.height) == (96, 160), "the displayed image is still the whole one"


def test_a_region_stays_where_it_is_when_the_size_changes(call: Path) -> None:
    whole, part = (
        list(open_source(call, DecodeOptions(region=region)).frames()) for region in (None, (101, 50, 301, 200))
    )
    assert np.array_equal(part[0].image, whole[0].image[50:250, 101:402])
    # Half as many pixels, those at the edge of the region as wholes.
    assert np.array_equal(part[6].image, whole[6].image[25:125, 50:201])
    assert part[6].view.to_canvas(0, 0) == (100, 50) and part[6].view.scale == 2


def test_a_region_beside_the_image_is_black(tmp_path: Path) -> None:
    in_sizes(tmp_path / "call.webm", [[clips.blank(320, 240)] * 2, [clips.blank(320, 120)] * 2])
    frame = list(open_source(tmp_path / "call.webm", DecodeOptions(region=(0, 0, 100, 50))).frames())[-1]
    assert frame.image.shape == (50, 100, 3) and not frame.image.any()


@pytest.mark.parametrize("region", [(0, 0, 161, 10), (150, 0, 11, 96), (0, 90, 10, 7), (160, 0, 1, 1)])
def test_a_region_beyond_the_image_is_refused_in_one_sentence(plain: Path, region: Region) -> None:
    with pytest.raises(UsageError, match=r"--region .* reaches beyond .*160 x 96 pixels"):
        open_source(plain, DecodeOptions(region=region))
    open_source(plain, DecodeOptions(region=(0, 0, 160, 96)))


@pytest.mark.parametrize(
    "text", ["", "1,2,3", "1,2,3,4,5", "a,0,1,1", "-1,0,10,10", "0,0,0,10", "0,0,10,0", "0.5,0,9,9"]
)
def test_what_is_no_region_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--region"):
        parse_region(text)


def test_a_region_is_read() -> None:
    assert parse_region("640, 0,640,360") == (640, 0, 640, 360)


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_and_mirrored_by_their_exif(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / f"1.{kind}"
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    how = {"tiffinfo": {0x0112: orientation}} if kind == "tiff" else {"exif": exif}
    Pillow.fromarray(clips.corners()).save(path, quality=95, **how)
    upright = np.asarray(ImageOps.exif_transpose(Pillow.open(path)).convert("RGB"))
    assert near(read_image(path), upright)
    stored_image = np.asarray(Pillow.open(path).convert("RGB"))
    assert near(decode_image(path, path.read_bytes(), "270"), np.rot90(stored_image, 3)), "a number replaces it"


def test_images_of_a_folder_share_one_coordinate_system(tmp_path: Path) -> None:
    for number, size in enumerate(((64, 48), (128, 96), (64, 96))):
        cv2.imwrite(str(tmp_path / f"{number}.png"), clips.blank(*size))
    source = open_source(tmp_path, DecodeOptions(rotate="90", region=(8, 0, 30, 64)))
    frames = list(source.frames())
    assert (source.info.width, source.info.height, source.info.rotation) == (48, 64, 90)
    assert [frame.view.scale for frame in frames] == [1, 0.5, 0.5]
    assert [frame.image.shape[:2] for frame in frames] == [(64, 30), (128, 60), (64, 60)]
    assert frames[2].view.to_canvas(0, 0) == (8, 16)
    assert "all boxes are in pixels of 48 x 64" in source.notes[0]


@pytest.mark.parametrize("kind", ["webp", "png", "tiff"])
def test_frames_of_one_image_file_are_rotated_and_cut_like_others(tmp_path: Path, kind: str) -> None:
    drawn = [clips.blank(64, 48), 255 - clips.blank(64, 48)]
    first, *others = [Pillow.fromarray(image) for image in drawn]
    first.save(tmp_path / f"a.{kind}", save_all=True, append_images=others, lossless=True)
    source = open_source(tmp_path / f"a.{kind}", DecodeOptions(rotate="90", region=(8, 10, 30, 40)))
    assert (source.info.width, source.info.height, source.info.rotation) == (48, 64, 90)
    for frame, image in zip(source.frames(), drawn, strict=True):
        assert np.array_equal(frame.image, np.rot90(image)[10:50, 8:38]) and frame.view.to_canvas(0, 0) == (8, 10)
    with pytest.raises(UsageError, match="reaches beyond"):
        open_source(tmp_path / f"a.{kind}", DecodeOptions(region=(8, 10, 30, 40)))


def test_photos_are_cut_each_in_its_own_pixels(tmp_path: Path) -> None:
    for name, size in (("a", (64, 48)), ("b", (128, 96)), ("c", (32, 32))):
        cv2.imwrite(str(tmp_path / f"{name}.png"), clips.blank(*size))
    source = open_source(tmp_path, DecodeOptions(region=(8, 10, 50, 30)))
    assert [frame.image.shape[:2] for frame in source.frames()] == [(30, 50), (30, 50)]
    assert [name for name, reason in source.report.failed_files] == ["c.png"]
    assert "32 x 32 pixels" in source.report.failed_files[0][1]


# From a file to its table and overlay


@pytest.fixture(scope="module")
def annotator() -> Iterator[Annotator]:
    with Annotator(Settings(recipe=Recipe.of("mp-blendshapes"), overlay=True)) as opened:
        yield opened


def table(summary: VideoSummary) -> pd.DataFrame:
    return pd.read_csv(summary.outputs["csv"])


def test_a_face_keeps_its_id_and_its_box_when_the_size_changes(
    call: Path, annotator: Annotator, tmp_path: Path
) -> None:
    summary = annotator.annotate(call, tmp_path, "call")
    rows = table(summary)
    assert rows["frame"].tolist() == list(range(18)) and set(rows["face_id"]) == {0}
    assert (rows[["x", "y", "w", "h"]].max() - rows[["x", "y", "w", "h"]].min()).max() < 0.05 * rows["w"].mean()
    assert rows["valence"].max() - rows["valence"].min() < 0.1
    images = shown(Path(summary.outputs["overlay"]))
    assert {image[:360, :640].shape for image in images} == {(360, 640, 3)}
    assert len({image.shape for image in images}) == 1
    # The frame around the face is drawn at the same place and as wide in small images as in large ones.
    assert np.abs(images[3].astype(int) - images[9])[60:300, 200:440].mean() < 12
    facts = json.loads((tmp_path / "call.json").read_text())
    assert facts["frames"]["size_changes"] == 2 and len(facts["frames"]["sizes"]) == 3
    assert facts["source"]["notes"] == summary.notes and "all boxes are in pixels of 640 x 360" in summary.notes[0]


@pytest.mark.parametrize("name", ["upside down", "transposed", "left to right"])
def test_a_mirrored_clip_has_the_scores_of_one_that_is_stored_upright(
    annotator: Annotator, tmp_path: Path, name: str
) -> None:
    picture, matrix = clips.portrait(), stored.MATRICES[name]
    # All three matrices undo themselves, so that laying an image twice gives the image.
    clips.write(tmp_path / "upright.mp4", [picture] * 2, options={"crf": "4"})
    clips.write(tmp_path / "stored.mp4", [stored.laid(picture, matrix)] * 2, options={"crf": "4"})
    stored.with_matrix(tmp_path / "stored.mp4", tmp_path / "turned.mp4", matrix)
    upright, turned = (annotator.annotate(tmp_path / f"{kind}.mp4", tmp_path, kind) for kind in ("upright", "turned"))
    columns = ["x", "y", "w", "h"]
    assert np.abs(table(upright)[columns].to_numpy() - table(turned)[columns].to_numpy()).max() < 1.5
    assert turned.valence == pytest.approx(upright.valence, abs=0.02)
    assert turned.arousal == pytest.approx(upright.arousal, abs=0.02)
    facts = json.loads((tmp_path / "turned.json").read_text())
    assert facts["source"]["mirrored"] and "mirrors the image" in facts["source"]["notes"][0]


@pytest.mark.parametrize("every", [1, 3])
def test_boxes_of_a_region_are_those_of_the_whole_image_which_the_overlay_shows(tmp_path: Path, every: int) -> None:
    two = tmp_path / "two.mp4"
    clips.write(two, [np.concatenate([clips.portrait(), clips.portrait(shift=k)], axis=1) for k in range(7)])
    settings = Settings(recipe=Recipe.of("mt-mobilefacenet"), overlay=True, detect_every=every)
    with Annotator(settings) as plain:
        whole = table(plain.annotate(two, tmp_path / "whole", "two"))
    with Annotator(replace(settings, decoding=DecodeOptions(region=(320, 0, 320, 240)))) as cut:
        summary = cut.annotate(two, tmp_path / "part", "two")
    right, part = whole[whole["x"] > 320], table(summary)
    assert len(whole) == 14 and len(part) == 7
    assert np.abs(right[["x", "y", "w", "h"]].to_numpy() - part[["x", "y", "w", "h"]].to_numpy()).max() < 4
    assert np.abs(right["valence"].to_numpy() - part["valence"].to_numpy()).max() < 0.1
    overlay = shown(Path(summary.outputs["overlay"]))[0]
    assert overlay.shape[:2] == OverlayPainter(640, 240).canvas[::-1] and near(
        overlay[:60, :400], shown(two)[0][:60, :400]
    )
    facts = json.loads((tmp_path / "part" / "two.json").read_text())
    assert facts["decoding"]["region"] == [320, 0, 320, 240] and facts["source"]["width"] == 640


def test_boxes_of_a_region_stay_in_place_when_the_size_changes(
    call: Path, annotator: Annotator, tmp_path: Path
) -> None:
    whole = table(annotator.annotate(call, tmp_path, "whole"))
    options = DecodeOptions(region=(161, 1, 320, 358))
    with Annotator(replace(annotator.settings, overlay=False, decoding=options)) as cut:
        part = table(cut.annotate(call, tmp_path, "part"))
    columns = ["x", "y", "w", "h"]
    assert set(part["face_id"]) == {0} and len(part) == len(whole) == 18
    assert np.abs(part[columns].to_numpy() - whole[columns].to_numpy()).max() < 0.05 * whole["w"].mean()
