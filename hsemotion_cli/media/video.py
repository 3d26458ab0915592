"""path -> Frames: video files, through PyAV.

Decoding goes forward only, from the first packet, one frame at a time. Nothing is ever sought, so an ordinal
and a time stamp always belong to the picture that they stand beside.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av

from ..domain import Frame
from ..errors import InputError
from .display import displayed, displayed_size, luma, pixel_aspect, quarter_turn
from .images import IMAGE_SUFFIXES, ImageSequence
from .scene_cuts import CutDetector
from .source import MAX_PIXELS, DecodeOptions, DecodeReport, Sampling, SourceInfo, check_size

VIDEO_SUFFIXES = frozenset(
    [
        ".mp4",
        ".mov",
        ".m4v",
        ".mkv",
        ".webm",
        ".avi",
        ".mpg",
        ".mpeg",
        ".ts",
        ".mts",
        ".m2ts",
        ".wmv",
        ".flv",
        ".3gp",
        ".ogv",
        ".mxf",
        ".hevc",
        ".h264",
    ]
)

# Only local files, whatever a reference inside a file may ask for, since faces stay on this machine; only containers
# that hold their pictures and sound themselves, so that no play list names another file; and no picture that is larger
# than what is worked on, whose size a decoder would believe.
_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,asf,flv,ogg,mxf,h264,hevc,m4v,ivf,obu,nut,rm,dv,gif,apng,mjpeg,yuv4mpegpipe,"
    "wav,w64,mp3,aac,flac,aiff,caf,ac3,eac3,amr,au"
)
_MOST = {"max_pixels": str(MAX_PIXELS)}
_OPEN_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, **_MOST}

_AS_IT_IS = DecodeOptions()


class VideoFile:
    """One video file. ``info`` is there at once, ``report`` fills while ``frames`` is read.

    Args:
        path: of the file.
        options: how to decode it.

    Raises:
        InputError: the file is missing, empty, no video, or has no picture that can be decoded.
    """

    def __init__(self, path: Path, options: DecodeOptions = _AS_IT_IS) -> None:
        self.path = path
        self.options = options
        self.report = DecodeReport()
        with open_container(path) as container:
            stream = _video_stream(container, path)
            if stream.codec_context.width and stream.codec_context.height:
                check_size(path, stream.codec_context.width, stream.codec_context.height)
            first = self._first_frame(container, stream)
            rotation, aspect = quarter_turn(first), pixel_aspect(stream)
            height, width = displayed_size(first.height, first.width, rotation, aspect)
            check_size(path, width, height)
            declared = _declared_duration(container, stream)
            audio = [sound for sound in container.streams.audio[:1] if sound.codec_context]  # one that can be decoded
            self.info = SourceInfo(
                kind="video",
                width=width,
                height=height,
                fps=float(stream.average_rate) if stream.average_rate else None,
                frames=stream.frames or None,
                duration=declared,
                start=_time_of(first, stream),
                rotation=rotation,
                pixel_aspect=float(aspect),
                codec=stream.codec_context.name,
                audio=audio[0].codec_context.name if audio else None,
                clock="container",
            )
        self.report = DecodeReport()

    def frames(
        self, sampling: Sampling | None = None, on_audio: Callable[[Any], None] | None = None
    ) -> Iterator[Frame]:
        """Yield the chosen frames in presentation order.

        Args:
            sampling: which frames; all by default.
            on_audio: receives each packet of the first audio stream as it is met in the file.
        """
        sampling = sampling or Sampling()
        report = self.report = DecodeReport()
        choose, scenes, cut = sampling.chooser(), CutDetector(), False
        with open_container(self.path) as container:
            stream = _video_stream(container, self.path)
            aspect = pixel_aspect(stream)
            step = float(1 / stream.average_rate) if stream.average_rate else 0.04
            last = -math.inf
            for picture in self._decoded(container, stream, on_audio):
                time = _time_of(picture, stream)
                if time is None:
                    report.guessed_times += 1
                    time = report.decoded * step if last == -math.inf else last + step
                if report.decoded:
                    report.step(time - last)
                index, last = report.decoded, time
                report.decoded += 1
                report.corrupt += picture.is_corrupt
                if sampling.end is not None and time >= sampling.end:
                    return
                height, width = displayed_size(picture.height, picture.width, 0, aspect)
                check_size(self.path, width, height)  # it may change from frame to frame
                # A cut at a frame that is not analysed counts for the next one that is.
                cut |= scenes.cuts(luma(picture))
                if choose(index, time):
                    yield Frame(index, time, displayed(picture, aspect), cut)
                    cut = False
            report.ended_early = self._early_end(last + step)

    def container(self) -> Any:
        """The file opened once more; whoever copies one of its streams needs that stream before its first packet."""
        return open_container(self.path)

    def _decoded(self, container: Any, stream: Any, on_audio: Callable[[Any], None] | None) -> Iterator[Any]:
        """Decoded pictures of a stream; a packet that cannot be decoded is counted and passed over."""
        wanted = [stream, *container.streams.audio[:1]] if on_audio else [stream]
        for packet in packets(container, wanted, self._damaged):
            if packet.stream is not stream:
                if on_audio and packet.dts is not None:
                    on_audio(packet)
                continue
            try:
                pictures = packet.decode()
            except av.error.FFmpegError:
                stamp = packet.pts if packet.pts is not None else packet.dts
                self.report.fail(float(stamp * packet.time_base) if stamp is not None else math.nan)
                continue
            yield from pictures

    def _damaged(self, problem: str) -> None:
        self.report.ended_early = problem

    def _first_frame(self, container: Any, stream: Any) -> Any:
        for picture in self._decoded(container, stream, None):
            return picture
        raise InputError(f"{self.path}: no frame of its {stream.codec_context.name} stream can be decoded.")

    def _early_end(self, end: float) -> str:
        """Why the source counts as ended early, or ""; ``end`` is where its last frame ends, in seconds."""
        if self.report.ended_early or self.info.duration is None:
            return self.report.ended_early
        declared = (self.info.start or 0.0) + self.info.duration
        missing = declared - end
        # Half a second and two percent are more than any rounding of durations that muxers do.
        if missing > max(0.5, 0.02 * self.info.duration):
            return f"it declares {declared:.1f} s but its pictures end at {end:.1f} s"
        return ""


Source = VideoFile | ImageSequence


def open_source(path: Path, options: DecodeOptions | float = _AS_IT_IS) -> Source:
    """Open a video file, an image, or a folder of numbered images.

    Args:
        options: how to decode it; a number stands for ``DecodeOptions(image_fps=number)``.

    Raises:
        InputError: there is nothing there that can be read as a video.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or directory.")
    if not isinstance(options, DecodeOptions):
        options = DecodeOptions(image_fps=options)
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSequence(path, options.image_fps)
    return VideoFile(path, options)


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
        return av.open(f"file:{os.fspath(path)}", options=_OPEN_OPTIONS, metadata_errors="replace")
    except av.error.PermissionError as error:
        raise InputError(f"{path}: may not be read; check its permissions.") from error
    except (av.error.FFmpegError, ValueError) as error:
        raise InputError(
            f"{path}: not a readable {what} ({getattr(error, 'strerror', error)}); "
            "if it is an unfinished recording or download, its index may be missing."
        ) from error


def packets(container: Any, streams: Any, damaged: Callable[[str], None]) -> Iterator[Any]:
    """The packets of some streams, to the end of the file or to where its container is damaged.

    Args:
        damaged: is told the latter, as a part of a sentence: nothing behind that point can be found.
    """
    try:
        yield from container.demux(streams)
    except av.error.FFmpegError as error:
        damaged(f"its container is damaged ({error.strerror})")


def _video_stream(container: Any, path: Path) -> Any:
    """The stream that a player would show; cover art of a sound file is no video."""
    streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not streams:
        raise InputError(f"{path}: has no video stream.")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: there is no decoder for its video stream; convert it to H.264 first.")
    # Slice threads keep one packet in, one picture out, so that a failure is counted where it happens;
    # measured, frame threads are no faster on two cores.
    stream.thread_type = "SLICE"
    stream.codec_context.options = _MOST
    return stream


def _declared_duration(container: Any, stream: Any) -> float | None:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    if tag:  # Matroska says it stream by stream, as text
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration is not None and len(container.streams) == 1:
        return float(container.duration / av.time_base)
    return None


def _time_of(picture: Any, stream: Any) -> float | None:
    stamp = picture.pts if picture.pts is not None else picture.dts
    return None if stamp is None else float(stamp * (picture.time_base or stream.time_base))
