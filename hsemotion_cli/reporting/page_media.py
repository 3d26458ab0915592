"""The video of a page: whether browsers play it, a copy that they play, and small images of the peaks."""

from __future__ import annotations

import base64
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from ..domain import Frame, Image
from ..media.source import DecodeOptions, Sampling
from ..media.video import Source, open_source
from ..overlay.video import render
from ..tasks import EXPRESSIONS
from .report_table import ReportTable

_PLAYED = {
    "mp4": frozenset(("h264", "av1", "vp9")),
    "webm": frozenset(("vp8", "vp9", "av1")),
}
"""Kind of file -> codecs that current Chrome, Firefox and Safari play in it."""

_PIXELS = frozenset(("yuv420p", "yuvj420p"))
EMBEDDED_SIDE = 960
"""Pixels of the longer side of a copy at most."""

EMBEDDED_BYTES = 40_000_000
"""Size up to which a file that browsers play is put into a page as it is."""

_THUMBNAIL = 72  # pixels of the side of an image at a peak
_LEAST_PEAK = 0.4  # probability from which the highest point of an expression counts as a peak


@dataclass(frozen=True, slots=True)
class Peak:
    """The moment at which an expression of a face id is strongest.

    Attributes:
        position: of its frame among the analysed ones.
        frame: its ordinal.
        score: probability of the expression there.
        box: x, y, width, height in pixels of the displayed image.
    """

    face: int
    expression: str
    position: int
    frame: int
    score: float
    box: tuple[float, float, float, float]


@dataclass(slots=True)
class Seen:
    """What decoding a video for its page gave.

    Attributes:
        images: frame -> (height, width, 3) RGB, of the frames that were asked for.
        cuts: times in seconds at which a new scene begins, as far as the video was read.
    """

    images: dict[int, Image] = field(default_factory=dict)
    cuts: list[float] = field(default_factory=list)


def peaks(recording: ReportTable, most: int = 60) -> list[Peak]:
    """For each face id and expression but neutral the moment of its highest probability, if it is an expression of it.

    Args:
        most: moments, those of the face ids with the most rows first.
    """
    ids, counts = np.unique(recording.face_id, return_counts=True)
    found: list[Peak] = []
    for face in ids[np.argsort(-counts, kind="stable")]:
        rows = np.flatnonzero((recording.face_id == face) & recording.detected)
        for k, name in enumerate(EXPRESSIONS):
            shown = rows[recording.expression[rows] == k]
            if name == "neutral" or not len(shown) or f"p_{name}" not in recording.numbers:
                continue
            values = recording.numbers[f"p_{name}"][shown]
            if np.isnan(values).all() or np.nanmax(values) < _LEAST_PEAK:
                continue
            best = int(shown[np.nanargmax(values)])
            at = int(recording.row[best])
            box = tuple(
                float(recording.numbers[side][best]) if side in recording.numbers else np.nan for side in "xywh"
            )
            score = float(np.nanmax(values))
            found.append(Peak(int(face), name, at, int(recording.frame[at]), score, box))  # type: ignore[arg-type]
    return found[:most]


@dataclass(frozen=True)
class _Only(Sampling):
    """Chooses single frames by their ordinals."""

    wanted: frozenset[int] = frozenset()

    def chooser(self) -> Callable[[int, float], bool]:
        return lambda index, time: index in self.wanted


def look(source: Source, wanted: Collection[int], to_the_end: bool) -> Seen:
    """Decode a video forward, and keep some of its frames.

    Args:
        wanted: ordinals of the frames to keep.
        to_the_end: read on after the last of them, to find all cuts.

    Raises:
        InputError: it cannot be read.
    """
    seen = Seen()
    if wanted or to_the_end:
        seen.images = {frame.index: frame.image for frame in frames_of(source, wanted, to_the_end)}
    seen.cuts = list(source.report.cuts)
    return seen


def frames_of(source: Source, wanted: Collection[int], to_the_end: bool = False) -> Iterator[Frame]:
    """The frames of these ordinals, in order, as they are decoded; see ``look``."""
    last = max(wanted, default=-1)
    for frame in source.frames(_Only(wanted=frozenset(wanted))):
        yield frame
        if frame.index >= last and not to_the_end:
            return


def thumbnail(image: Image, box: tuple[float, float, float, float], side: int = _THUMBNAIL, margin: float = 0.7) -> str:
    """The face in its box with a margin, as a small JPEG: a data address.

    Args:
        box: x, y, width, height in pixels; the whole image where one of them is not finite.
        side: pixels of its longer side.
        margin: distance from the middle of the box to each side, in lengths of the box's longer side.
    """
    height, width = image.shape[:2]
    x, y, w, h = box if np.isfinite(box).all() else (0.0, 0.0, float(width), float(height))
    half = max(margin * max(w, h), 2.0)
    left, top = (int(max(0, min(v, most - 1))) for v, most in ((x + w / 2 - half, width), (y + h / 2 - half, height)))
    right, bottom = (
        int(max(low + 1, min(v, most)))
        for v, most, low in ((x + w / 2 + half, width, left), (y + h / 2 + half, height, top))
    )
    part = image[top:bottom, left:right]
    scale = side / max(part.shape[:2])
    size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    _, content = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    return f"data:image/jpeg;base64,{base64.b64encode(content.tobytes()).decode()}"


def why_not_played(path: Path, options: DecodeOptions, clock_jumps: int) -> str:
    """Why browsers do not show this source as the table has it, as a clause; "" if they do.

    Args:
        options: how it was decoded for the table.
        clock_jumps: how often its clock jumped.
    """
    if path.is_dir():
        return "it is a folder of images"
    if options.video_fps:
        return "its time stamps were replaced (--video-fps)"
    if clock_jumps:
        return "the clock of its container jumps"
    try:
        with av.open(str(path)) as container:
            kind = _kind(container.format.name, path)
            stream = container.streams.video[0]
            codec, pixels = stream.codec_context.name, stream.codec_context.pix_fmt
    except (av.error.FFmpegError, IndexError, OSError):
        return "it is no video file"
    codec = codec.removeprefix("lib")
    codec = "av1" if "av1" in codec else codec
    if kind not in _PLAYED or codec not in _PLAYED[kind]:
        return f"browsers do not all play {codec} in {path.suffix.lstrip('.') or container.format.name} files"
    if pixels not in _PIXELS:
        return f"browsers do not all play its pixel format {pixels}"
    if options.rotate != "auto" or (options.stream not in (None, "0")):
        return "the table was made with --rotate or --stream, which browsers do not know"
    return ""


def _kind(name: str, path: Path) -> str:
    if "mp4" in name.split(",") and path.suffix.lower() in (".mp4", ".m4v", ".mov"):
        return "mp4"
    return "webm" if "webm" in name.split(",") and path.suffix.lower() == ".webm" else name


def start_of(path: Path) -> float:
    """Seconds of the container's clock at which players begin to count: 0, or its start where that is negative.

    So does Chromium, which keeps the container's clock and shows the first frame until it is due.
    """
    with av.open(str(path)) as container:
        return min((container.start_time or 0) / av.time_base, 0.0)


@dataclass(frozen=True, slots=True)
class Copy:
    """An H.264 copy of a source.

    Attributes:
        shift: seconds of the table's clock at the copy's time 0.
        frames: written.
    """

    shift: float
    frames: int


def write_copy(
    source: Path, options: DecodeOptions, recording: ReportTable, out: Path,
    progress: Callable[[int], None] | None = None,
) -> Copy:  # fmt: skip
    """Write an H.264 copy with the source's timing and sound, from the first to the last frame of the table.

    Raises:
        InputError: the source lacks a frame of the table.
        OutputError: it cannot be written.
    """
    opened = open_source(source, options)
    rows: list[tuple[int, list[Any]]] = [(int(frame), []) for frame in recording.frame]
    done = render(opened, rows, out, progress=progress, plain=_smaller(opened.info.width, opened.info.height))
    return Copy(done.shift, done.frames)


def _smaller(width: int, height: int) -> tuple[int, int]:
    """A size with even sides, the longer one no more than ``EMBEDDED_SIDE``."""
    scale = min(1.0, EMBEDDED_SIDE / max(width, height))
    return max(2, 2 * round(width * scale / 2)), max(2, 2 * round(height * scale / 2))


def embedded(path: Path) -> str:
    """A file as base64."""
    return base64.b64encode(path.read_bytes()).decode()
