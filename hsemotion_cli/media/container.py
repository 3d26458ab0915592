"""Opens a media file with ffmpeg: its streams and their declared properties."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from ..errors import InputError
from ..runtime.whole_numbers import whole_number
from .source import MAX_PIXELS
from .timestamps import restarts

# Only local files, whatever a reference inside a file may ask for, since faces stay on this machine; only containers
# that contain their images and sound, so that no playlist can name another file; and no image that is larger
# than what is worked on, whose size a decoder would believe.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,mxf,h264,hevc,m4v,ivf,obu,nut,rm,dv,gif,apng,mjpeg,yuv4mpegpipe,"
    "wav,w64,mp3,aac,flac,aiff,caf,ac3,eac3,amr,au"
)
_MOST = {"max_pixels": str(MAX_PIXELS)}
_DURATION = re.compile(r"([0-9]{1,9}):([0-9]{1,9}):([0-9]{1,9}(?:\.[0-9]+)?)")
_FASTEST = 1000  # frames per second; what claims to be faster is the rate of a clock
_GEN_PTS = 0x0001  # AVFMT_FLAG_GENPTS of libavformat/avformat.h
_OPEN_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, **_MOST}


def open_container(path: Path, what: str = "video") -> Any:
    """A media file, opened by PyAV; nothing but local files is ever read, whatever is written in it.

    Args:
        what: is expected, in a word for the message.

    Raises:
        InputError: the file is empty, may not be read, or is no such thing.
    """
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes).")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    try:
        container = av.open(f"file:{os.fspath(path)}", options=_OPEN_OPTIONS, metadata_errors="replace")
    except av.error.PermissionError as error:
        raise InputError(f"{path}: may not be read; check its permissions.") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable {what} ({getattr(error, 'strerror', error)}); "
            "if it is an unfinished recording or download, its index may be missing."
        ) from error
    # PyAV asks ffmpeg to make up presentation times that a container does not store (AVI, ASF); they are wrong wherever
    # frames are stored in another order than they are shown.
    container.flags = int(container.flags) & ~_GEN_PTS
    return container


def packets(container: Any, streams: Any, damaged: Callable[[str], None]) -> Iterator[Any]:
    """The packets of some streams, to the end of the file or to where its container is damaged.

    Args:
        damaged: called with a clause about damage after which nothing can be found.
    """
    try:
        yield from container.demux(streams)
    except av.error.FFmpegError as error:
        damaged(f"its container is damaged ({error.strerror})")


@dataclass(frozen=True, slots=True)
class VideoStream:
    """The video stream that is decoded.

    Attributes:
        stream: as PyAV has it.
        number: among the video streams of the file, from 0.
        count: how many there are.
    """

    stream: Any
    number: int
    count: int

    @property
    def language(self) -> str | None:
        return self.stream.language or None


def shown_streams(container: Any) -> list[Any]:
    """The video streams of a file; cover art of a sound file is none."""
    return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


def video_stream(container: Any, path: Path, wanted: str | None = None) -> VideoStream:
    """Choose a video stream.

    Args:
        path: to be named.
        wanted: its number among the video streams, from 0, or its language; None for the one that a player shows.

    Raises:
        InputError: there is no such stream, or no decoder for it.
    """
    streams = shown_streams(container)
    if not streams:
        raise InputError(f"{path}: has no video stream.")
    if wanted is None:
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
    else:
        stream = _wanted(streams, path, wanted)
    if stream.codec_context is None:
        raise InputError(f"{path}: there is no decoder for its video stream; convert it to H.264 first.")
    # Slice threads give one frame per packet, so that a failure is counted where it happens;
    # measured, frame threads are no faster on two cores.
    stream.thread_type = "SLICE"
    stream.codec_context.options = _MOST
    return VideoStream(stream, streams.index(stream), len(streams))


def _wanted(streams: list[Any], path: Path, wanted: str) -> Any:
    name = wanted.strip().lower()
    number = whole_number(name)
    if number is not None:
        found = streams[number : number + 1]
    else:
        found = [stream for stream in streams if (stream.language or "").lower() == name]
    if found:
        return found[0]
    has = ", ".join(f"{k}{f' ({stream.language})' if stream.language else ''}" for k, stream in enumerate(streams))
    raise InputError(f"{path}: has no video stream {wanted}; give --stream one of these: {has}.")


def declared_duration(container: Any, stream: Any) -> float | None:
    """Seconds that a stream lasts as the file says it, or None."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    tag = _DURATION.fullmatch(stream.metadata.get("DURATION", ""))
    if tag:  # Matroska says it stream by stream, as text
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return None


def declared_end(container: Any, stream: Any, first: float) -> float | None:
    """When a stream ends as the file says it, in seconds on its own clock, or None.

    Args:
        first: time of its first frame.
    """
    duration = declared_duration(container, stream)
    if duration is None:
        return None
    if restarts(container):
        # ffmpeg computes it, from the first packet, which no frame comes from if the file was cut inside a GOP.
        return duration + (float(stream.start_time * stream.time_base) if stream.start_time is not None else first)
    # Some programs write the time from the first frame, others, like ffmpeg, the time from 0.
    return duration + min(first, 0.0)


def stored_frames(container: Any, stream: Any) -> int | None:
    """Declared number of frames, or None.

    AVI counts ticks of its clock: if nothing changes, an empty frame is stored. Its index has only the others.
    """
    if container.format.name == "avi":
        return len(stream.index_entries) or None
    return stream.frames or None


def codec_rate(stream: Any) -> Fraction | None:
    """Frames per second in the headers of a codec, or None.

    Encoders of a variable rate write the ticks of their clock there, such as 90000 per second.
    """
    rate = stream.codec_context.framerate
    return rate if rate and rate <= _FASTEST else None


def average_rate(stream: Any) -> Fraction | None:
    """Average frames per second, or None."""
    rate = stream.average_rate or stream.guessed_rate
    # Of DV, ffmpeg's average is its time base.
    return stream.guessed_rate if rate and rate > _FASTEST and stream.guessed_rate else rate or None


def creation_time(container: Any, stream: Any) -> datetime | None:
    """Date and time in UTC at which a recording was begun, as the file has it, or None."""
    texts = [container.metadata.get("com.apple.quicktime.creationdate")]  # the only one that exporting does not change
    texts += [origin.metadata.get("creation_time") for origin in (container, stream)]
    for text in texts:
        try:
            moment = datetime.fromisoformat(text or "")
        except ValueError:
            continue
        # 1904 and 1970 are where the clocks of containers begin: nothing was written.
        if moment.tzinfo is not None and moment.year > 1970:
            return moment.astimezone(UTC)
    return None
