"""Colours come out as they went in, whatever matrix, range, transfer function and primaries a clip is stored with.

What is expected is computed here from the formulas of the standards (ITU-R BT.601, BT.709, BT.2020, BT.2100, BT.2390;
SMPTE ST 2084 and 240M), in the other direction than the package computes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import pytest

from hsemotion_cli.media.colour import ColourReader
from hsemotion_cli.media.tone_mapping import METHOD
from hsemotion_cli.media.video import open_source
from hsemotion_cli.overlay.video import render
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg command")

Planes = tuple[np.ndarray, ...]

WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}
"""Weights of red and blue in luma, by the number of the matrix in ITU-T H.273."""

# Red, green, blue, yellow, cyan, magenta, a skin tone, grey and white.
PATCHES = np.array(
    [(200, 40, 40), (40, 180, 60), (50, 60, 210), (220, 210, 40), (40, 200, 200), (190, 40, 180), (224, 172, 138),
     (128, 128, 128), (255, 255, 255)]
)  # fmt: skip


def patches(width: int, height: int) -> np.ndarray:
    """Stripes of the colours from left to right, (height, width, 3) in [0, 1]."""
    stripe = np.minimum(np.arange(width) * len(PATCHES) // width, len(PATCHES) - 1)
    return np.broadcast_to(PATCHES[stripe] / 255, (height, width, 3))


def read_patches(image: np.ndarray) -> np.ndarray:
    """The colours in the middle of the stripes, (patches, 3) in [0, 255]."""
    width = image.shape[1]
    centres = (np.arange(len(PATCHES)) + 0.5) * width / len(PATCHES)
    return np.asarray(image[image.shape[0] // 2, centres.astype(int)], float)


def planes(rgb: np.ndarray, matrix: int, *, full: bool = False, bits: int = 8) -> Planes:
    """Y, Cb and Cr (or Y, Cg and Co) of non-linear RGB in [0, 1], as whole numbers."""
    if matrix == 8:
        r, g, b = np.moveaxis(rgb, -1, 0)
        y, cb, cr = (r + 2 * g + b) / 4, (2 * g - r - b) / 4, (r - b) / 2
    else:
        red, blue = WEIGHTS[matrix]
        y = rgb @ np.array((red, 1 - red - blue, blue))
        cb, cr = (rgb[..., 2] - y) / (2 - 2 * blue), (rgb[..., 0] - y) / (2 - 2 * red)
    one, most = 1 << (bits - 8), (1 << bits) - 1
    low, luma, chroma = (0, most, most) if full else (16 * one, 219 * one, 224 * one)
    kind = np.uint8 if bits == 8 else np.uint16
    codes = (
        np.clip(np.round(part), 0, most) for part in (y * luma + low, cb * chroma + 128 * one, cr * chroma + 128 * one)
    )
    return tuple(code.astype(kind) for code in codes)


def store(path: Path, stored: list[Planes], pixels: str = "yuv444p", **tags: int) -> Path:
    """Encode planes as they are, without loss, with the tags of H.273: ``space``, ``range``, ``trc``, ``primaries``."""
    height, width = stored[0][0].shape
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25, options={"qp": "0", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        context = stream.codec_context
        context.colorspace, context.color_range = tags.get("space", 2), tags.get("range", 0)
        context.color_trc, context.color_primaries = tags.get("trc", 2), tags.get("primaries", 2)
        for number, parts in enumerate(stored):
            frame = av.VideoFrame(width, height, pixels)
            for plane, part in zip(frame.planes, parts, strict=True):
                rows = np.zeros((plane.height, plane.line_size // part.itemsize), part.dtype)
                rows[:, : part.shape[1]] = part
                plane.update(rows.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def halved(parts: Planes) -> Planes:
    """Planes of 4:4:4 -> of 4:2:0, by the mean of four."""
    y, *chroma = parts
    height, width = y.shape
    small = [c.reshape(height // 2, 2, width // 2, 2).mean((1, 3)).round().astype(y.dtype) for c in chroma]
    return y, *small


def shown(path: Path) -> np.ndarray:
    return next(open_source(path).frames()).image


def colour(path: Path) -> Any:
    return open_source(path).info.colour


SD, HD = (288, 96), (1296, 64)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("size", [SD, HD])
@pytest.mark.parametrize("matrix", [1, 4, 5, 6, 7, 8])
def test_the_tagged_matrix_and_range_count_whatever_the_size(
    tmp_path: Path, matrix: int, size: tuple[int, int], full: bool
) -> None:
    parts = planes(patches(*size), matrix, full=full)
    path = store(tmp_path / "a.mkv", [parts], space=matrix, range=2 if full else 1)
    assert np.abs(read_patches(shown(path)) - PATCHES).max() <= 2
    found = colour(path)
    assert (found.matrix_from, found.range) == ("tag", "full" if full else "limited")
    assert not open_source(path).notes


@pytest.mark.parametrize(
    ("size", "matrix"),
    [
        ((1280, 720), 1),
        ((1296, 536), 1),
        ((720, 1280), 1),
        ((640, 640), 1),
        ((720, 576), 6),
        ((854, 480), 6),
        ((360, 288), 6),
    ],
)
def test_without_a_tag_the_size_chooses_as_in_players(tmp_path: Path, size: tuple[int, int], matrix: int) -> None:
    path = store(tmp_path / "a.mp4", [planes(patches(*size), matrix)])
    assert np.abs(read_patches(shown(path)) - PATCHES).max() <= 2
    source = open_source(path)
    assert source.info.colour is not None and source.info.colour.matrix_from == "size"
    assert source.info.colour.matrix == {1: "bt709", 6: "smpte170m"}[matrix]
    assert bool(source.notes) == (matrix == 1), "what every player does with SD is no news"


def test_a_stream_keeps_its_matrix_when_it_changes_its_size() -> None:
    reader = ColourReader(1280, 720)
    frame = av.VideoFrame(320, 180, "yuv420p")
    assert reader.describe(frame).matrix == "bt709"


@pytest.mark.parametrize(("tag", "name"), [(3, "reserved"), (10, "bt2020c"), (12, "chroma-derived-nc"), (14, "ictcp")])
def test_a_matrix_that_is_not_supported_is_replaced_and_reported(tmp_path: Path, tag: int, name: str) -> None:
    used = 9 if tag in (10, 14) else 6
    for pixels in ("yuv444p", "yuyv422"):
        frame = av.VideoFrame(*SD, pixels)
        for plane in frame.planes:
            plane.update(bytes([100]) * plane.buffer_size)
        frame.colorspace, frame.color_primaries = tag, 1
        reader = ColourReader(*SD)
        described = reader.describe(frame)
        assert described.tagged_matrix == name
        expected = frame_of(frame, used)
        assert np.abs(reader.rgb(frame).astype(int) - expected).max() <= 3  # libswscale rounds down there
        assert reader.luma(frame).shape == (SD[1], SD[0])


def frame_of(frame: av.VideoFrame, matrix: int) -> np.ndarray:
    """RGB of a frame with another tag, by libswscale."""
    before, frame.colorspace = frame.colorspace, matrix
    image = frame.to_ndarray(format="rgb24")
    frame.colorspace = before
    return np.asarray(image, int)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("pixels", "codec"),
    [("yuv420p", "libx264"), ("yuv422p", "libx264"), ("yuv420p10le", "libx264"), ("yuvj420p", "mjpeg"),
     ("gray", "ffv1"), ("rgb24", "libx264rgb"), ("bgr0", "ffv1"), ("yuva420p", "ffv1"), ("rgb8", "gif"),
     ("yuv410p", "ffv1")],
)  # fmt: skip
def test_every_kind_of_pixels_is_shown_as_ffmpeg_shows_it(tmp_path: Path, pixels: str, codec: str) -> None:
    path = tmp_path / ("a.gif" if codec == "gif" else "a.mkv")
    image = (patches(*SD) * 255).round().astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SD, pixels
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(SD[1], SD[0], 3)
    assert np.abs(read_patches(shown(path)) - read_patches(expected)).max() <= 2


# HDR


def linear(signal: np.ndarray) -> np.ndarray:
    """Light of an SDR display (BT.1886), 1 being white."""
    return np.asarray(signal, float) ** 2.4


TO_2020 = np.array([(0.6274, 0.3293, 0.0433), (0.0691, 0.9195, 0.0114), (0.0164, 0.0880, 0.8956)])
"""Linear RGB of BT.709 -> of BT.2020, ITU-R BT.2087-0."""


def pq(light: np.ndarray) -> np.ndarray:
    """cd/m2 -> signal (inverse EOTF of SMPTE ST 2084)."""
    power = (light / 10000) ** (2610 / 16384)
    return np.asarray(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


def hlg(light: np.ndarray) -> np.ndarray:
    """cd/m2 of a display of 1,000 cd/m2 -> signal (inverse OOTF and OETF of ITU-R BT.2100)."""
    luminance = light @ np.array((0.2627, 0.6780, 0.0593)) / 1000
    scene = light / 1000 * np.maximum(luminance, 1e-6)[..., None] ** ((1 - 1.2) / 1.2)
    logarithm = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), logarithm)


CURVES = {"HLG": (18, hlg), "PQ": (16, pq)}


def hdr(path: Path, images: list[np.ndarray], kind: str, white: float) -> Path:
    """SDR images in [0, 1] as an HDR clip whose white is as bright as that, in cd/m2; 10 bits, BT.2020."""
    transfer, curve = CURVES[kind]
    stored = [halved(planes(curve(linear(image) @ TO_2020.T * white), 9, bits=10)) for image in images]
    return store(path, stored, "yuv420p10le", space=9, range=1, trc=transfer, primaries=9)


def sdr_light(nits: float) -> float:
    """cd/m2 of an SDR display: exposed by 0.76, then by the EETF of BT.2390 from 203 to 100 cd/m2; found by search."""
    source, white = pq(np.array(0.76 * 203)), pq(np.array(100.0))
    knee = 1.5 * white / source - 0.5
    if (e := float(pq(np.array(0.76 * min(nits, 203.0))) / source)) >= knee:
        t = (e - knee) / (1 - knee)
        hermite = np.array((2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, 3 * t**2 - 2 * t**3))
        e = float(hermite @ np.array((knee, 1 - knee, white / source)))
    candidates = np.linspace(0, 100, 100_001)
    return float(np.interp(e * source, pq(candidates), candidates))


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("nits", [0.5, 5.0, 26.0, 69.0, 100.0, 203.0, 320.0, 400.0])
def test_the_tone_curve_is_that_of_bt2390(tmp_path: Path, kind: str, nits: float) -> None:
    path = hdr(tmp_path / "a.mp4", [np.full((64, 96, 3), 1.0)], kind, nits)
    image = shown(path)
    expected = 255 * (sdr_light(nits) / 100) ** (1 / 2.4)
    assert np.abs(image.astype(float) - expected).max() <= 2
    assert colour(path).hdr == kind and METHOD in colour(path).conversion
    assert f"HDR ({kind})" in open_source(path).notes[0]


@pytest.mark.parametrize("kind", CURVES)
def test_hues_stay_through_hdr(tmp_path: Path, kind: str) -> None:
    # As dark as the curve leaves alone, but for the exposure; colours of BT.709 must not leave it.
    path = hdr(tmp_path / "a.mkv", [patches(288, 96)], kind, 60.0)
    factor = (0.6 * 0.76) ** (1 / 2.4)
    assert np.abs(read_patches(shown(path)) - PATCHES * factor).max() <= 4


@pytest.mark.parametrize("matrix", [9, 2])
def test_wide_colours_of_sdr_are_converted(tmp_path: Path, matrix: int) -> None:
    signal = (linear(patches(*SD)) @ TO_2020.T) ** (1 / 2.4)
    path = store(
        tmp_path / "a.mkv", [planes(signal, 9, bits=10)], "yuv444p10le", space=matrix, range=1, trc=1, primaries=9
    )
    assert np.abs(read_patches(shown(path)) - PATCHES).max() <= 3
    assert "bt2020; they were converted to BT.709" in open_source(path).notes[0]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Means of valence, arousal and all expressions: of a face in SDR and in HDR, by the default models."""
    folder = tmp_path_factory.mktemp("hdr")
    face = clips.portrait(640, 480) / 255
    images = [np.roll(face, 2 * k, axis=1) for k in range(3)]
    paths = {
        "SDR": store(folder / "SDR.mp4", [halved(planes(image, 6)) for image in images], "yuv420p", space=6, range=1)
    }
    for kind in CURVES:
        for white in (100, 203):
            paths[f"{kind} {white}"] = hdr(folder / f"{kind}{white}.mp4", images, kind, white)
    means = {}
    with Annotator(Settings(recipe=Recipe.usual())) as annotator:
        for name, path in paths.items():
            summary = annotator.annotate(path, folder / "out", name)
            assert summary.coverage == 1 and summary.valence is not None and summary.arousal is not None
            means[name] = np.array([summary.valence, summary.arousal])
    return means


@pytest.mark.parametrize("white", [100, 203])
@pytest.mark.parametrize("kind", CURVES)
def test_a_face_has_the_same_scores_in_hdr(scores: dict[str, np.ndarray], kind: str, white: int) -> None:
    # One exposure serves clips whose SDR white lies where converters put it (100 cd/m2), and where BT.2408 does (203).
    assert np.abs(scores[f"{kind} {white}"] - scores["SDR"]).max() <= (0.025 if white == 100 else 0.04)


# Overlays


@needs_ffmpeg
@pytest.mark.parametrize("kind", ["untagged HD", "HLG", "PQ", "untagged SD"])
def test_red_stays_red_in_the_overlay_whose_tags_are_right(tmp_path: Path, kind: str) -> None:
    red = np.broadcast_to(np.array((200, 40, 40)) / 255, (720, 1280, 3))
    if kind in CURVES:
        path = hdr(tmp_path / "a.mp4", [red[:360, :640]] * 2, kind, 60.0)
    elif kind == "untagged HD":
        path = store(tmp_path / "a.mp4", [halved(planes(red, 1))] * 2, "yuv420p")
    else:
        path = store(tmp_path / "a.mp4", [halved(planes(red[:360, :640], 6))] * 2, "yuv420p")
    render(path, [(0, []), (1, [])], tmp_path / "out.mp4")
    ask = ["ffprobe", "-v", "error", "-select_streams", "v", "-show_streams", "-of", "json", str(tmp_path / "out.mp4")]
    stream = json.loads(subprocess.run(ask, capture_output=True, check=True).stdout)["streams"][0]
    tags = [stream[f"color_{name}"] for name in ("range", "space", "transfer", "primaries")]
    assert tags == ["tv", "bt709", "bt709", "bt709"]
    parts = decoded_planes(tmp_path / "out.mp4")
    y, cb, cr = (parts[0] - 16) / 219, (parts[1] - 128) / 224, (parts[2] - 128) / 224
    rgb = np.array([y + 1.5748 * cr, y - 0.1873 * cb - 0.4681 * cr, y + 1.8556 * cb]) * 255  # BT.709-6, item 3
    factor = (0.6 * 0.76) ** (1 / 2.4) if kind in CURVES else 1.0
    assert np.abs(rgb - np.array((200, 40, 40)) * factor).max() <= 3


def decoded_planes(path: Path) -> list[float]:
    """Mean Y, Cb and Cr around the middle of the first frame."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert isinstance(frame, av.VideoFrame)
        found = []
        for plane in frame.planes:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)
            found.append(float(rows[plane.height // 2 - 4 : plane.height // 2 + 4, 20:40].mean()))
        return found
