"""Draws small clips whose truth is known: what is shown, when, and how it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from hsemotion_cli.domain import Image
from hsemotion_cli.media.images import read_image

PORTRAIT = Path(__file__).parent.parent / "hsemotion_cli" / "assets" / "doctor_face.jpg"
TICKS = Fraction(1, 90000)


def portrait(width: int = 320, height: int = 240, shift: float = 0.0) -> np.ndarray:
    """One smiling face, RGB, moved right by ``shift`` pixels."""
    picture = still(PORTRAIT)
    scale = height / picture.shape[0]
    matrix = np.array([[scale, 0, (width - scale * picture.shape[1]) / 2 + shift], [0, scale, 0]])
    return cv2.warpAffine(picture, matrix, (width, height), borderValue=(90, 100, 110))


def still(path: Path) -> Image:
    """An image file that is known to be good."""
    image = read_image(path)
    assert image is not None, path
    return image


def blank(width: int = 320, height: int = 240) -> np.ndarray:
    """No face: a soft gradient."""
    across = np.linspace(60, 160, width, dtype=np.uint8)
    return np.ascontiguousarray(np.broadcast_to(across[None, :, None], (height, width, 3)))


def corners(width: int = 160, height: int = 96) -> np.ndarray:
    """Red, green, blue and white corners, clockwise from the upper left, to tell which way is up."""
    picture = np.full((height, width, 3), 40, np.uint8)
    h, w = height // 3, width // 3
    picture[:h, :w] = (220, 30, 30)
    picture[:h, -w:] = (30, 200, 30)
    picture[-h:, -w:] = (30, 30, 220)
    picture[-h:, :w] = (230, 230, 230)
    return picture


def write(
    path: Path,
    pictures: Sequence[np.ndarray],
    times: Iterable[float] | None = None,
    *,
    rate: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    audio: str | None = None,
    rotate: int = 0,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    format: str | None = None,
) -> list[float]:
    """Encode images at the given times (seconds; constant rate by default); returns the times as stored."""
    times = [k / rate for k in range(len(pictures))] if times is None else list(times)
    stamps = [round(t / TICKS) for t in times]
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", format=format, options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(rate), options={"crf": "18", **(options or {})})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = TICKS
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotate:
            stream.set_display_rotation(rotate)
        sound = container.add_stream(audio, rate=48000, layout="mono") if audio else None
        assert sound is None or isinstance(sound, av.AudioStream)
        for picture, stamp in zip(pictures, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = stamp, TICKS
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _tone(container, sound, times[0], times[-1] + 1 / rate)
    return [float(s * TICKS) for s in stamps]


def _tone(container: av.container.OutputContainer, sound: av.AudioStream, start: float, end: float) -> None:
    layout = sound.codec_context.format.name
    for first in range(round(start * 48000), round(end * 48000), 1024):
        wave = 0.3 * np.sin(2 * np.pi * 440 / 48000 * np.arange(first, first + 1024))
        samples = wave.astype(np.float32) if "flt" in layout else (wave * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples[None], format=layout, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, first, Fraction(1, 48000)
        container.mux(sound.encode(frame))
    container.mux(sound.encode())
