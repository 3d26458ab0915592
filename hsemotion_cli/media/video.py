"""path -> Frames: video files, through PyAV.

Decoding goes forward only, from the first packet, one frame at a time. Nothing is ever sought, so an ordinal
and a time stamp always belong to the same image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av

from ..domain import Frame
from ..errors import InputError
from .animation import AnimatedImage, TiffStack
from .arrays import ArraySource
from .container import (
    average_rate,
    codec_rate,
    creation_time,
    declared_duration,
    declared_end,
    open_container,
    packets,
    stored_frames,
    video_stream,
)
from .cropping import container_crop
from .deinterlace import deinterlaced
from .display import FrameDisplay, PixelAspects
from .file_type import ANIMATION, IMAGE, IMAGE_SUFFIXES, OTHER, file_type, holds_text
from .images import ImageSequence
from .joined import has_second_recording
from .live_source import LiveSource
from .notes import decode_notes
from .orientation import orientation_of
from .photos import PhotoFolder, has_numbered_images
from .scene_cuts import CutDetector
from .source import DecodeOptions, DecodeReport, Sampling, SourceInfo, check_size
from .timestamps import ContinuousClock, FrameClock, TimedFrame, has_no_time_stamps, restarts

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
        ".3g2",
        ".asf",
        ".divx",
        ".dv",
        ".f4v",
        ".m2v",
        ".ogm",
        ".qt",
        ".vob",
    ]
)

_AS_IT_IS = DecodeOptions()

_JOINED = (
    "a second recording is appended to it byte by byte, which its format does not allow, so only the first is read; "
    "join the originals with ffmpeg's concat demuxer"
)


class VideoFile:
    """One video file. ``info`` is there at once, ``report`` fills while ``frames`` is read.

    Args:
        path: of the file.
        options: how to decode it.

    Raises:
        InputError: the file is missing, empty, not a video, or has no frame that can be decoded.
        UsageError: ``region`` of the options reaches beyond its displayed image.
    """

    def __init__(self, path: Path, options: DecodeOptions = _AS_IT_IS) -> None:
        self.path = path
        self.options = options
        self.report = DecodeReport()
        with open_container(path) as container:
            chosen = video_stream(container, path, options.stream)
            stream = chosen.stream
            if stream.codec_context.width and stream.codec_context.height:
                check_size(path, stream.codec_context.width, stream.codec_context.height)
            timed = self._first_frame(container, stream)
            first = timed.decoded
            crop = container_crop(path, container, stream)
            self._display = FrameDisplay(first, timed.aspect, crop, options, path)
            width, height = self._display.canvas.width, self._display.canvas.height
            check_size(path, width, height)
            orientation = orientation_of(first, options.rotate)
            self._declared_end = None if options.video_fps else declared_end(container, stream, timed.time)
            audio = [sound for sound in container.streams.audio[:1] if sound.codec_context]  # one that can be decoded
            clock, rate = self._rate(container, stream)
            created = creation_time(container, stream) if options.clock else None
            self.info = SourceInfo(
                kind="video",
                width=width,
                height=height,
                fps=rate,
                frames=stored_frames(container, stream),
                duration=declared_duration(container, stream),
                start=timed.time,
                rotation=orientation.degrees,
                pixel_aspect=float(timed.aspect),
                codec=stream.codec_context.name,
                audio=audio[0].codec_context.name if audio else None,
                clock=clock,
                stream=chosen.number,
                video_streams=chosen.count,
                language=chosen.language,
                created=created.isoformat(timespec="milliseconds").replace("+00:00", "Z") if created else None,
                mirrored=orientation.mirrored,
                rotation_rest=round(orientation.rest, 1),
                crop=crop or None,
                colour=self._display.colours.describe(first),
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
        display, choose, scenes, cut = self._display, sampling.chooser(), CutDetector(), False
        last = end = -math.inf
        segment = 0
        with open_container(self.path) as container:
            stream = video_stream(container, self.path, self.options.stream).stream
            timed = self._timed(container, stream, on_audio)
            for frame, progressive in deinterlaced(timed, self.options.deinterlace):
                picture, time = frame.decoded, frame.time
                if report.decoded:
                    report.step(time - last)
                index, last, end = report.decoded, time, time + frame.duration
                report.decoded += 1
                report.corrupt += picture.is_corrupt
                if sampling.end is not None and time >= sampling.end:
                    return
                report.deinterlaced += progressive
                size = display.size(picture, frame.aspect)
                check_size(self.path, *size)  # it may change from frame to frame
                report.size(index, time, size)
                # A cut at a frame that is not analysed counts for the next one that is.
                new = scenes.cuts(display.colours.luma(picture)) or frame.segment != segment
                cut |= report.cut(time, new)
                segment = frame.segment
                if choose(index, time):
                    image, view = display.show(picture, frame.aspect)
                    yield Frame(index, time, image, cut, segment, frame.duration, view)
                    cut = False
            report.ended_early = self._early_end(end) or self._unread_part(container.format.name)

    @property
    def notes(self) -> list[str]:
        """How it was decoded, for a person; complete once ``frames`` has run out."""
        return decode_notes(self.info, self.report)

    def container(self) -> Any:
        """Open the file again: copying one of its streams needs that stream before its first packet."""
        return open_container(self.path)

    def _rate(self, container: Any, stream: Any) -> tuple[str, float | None]:
        """What the times of frames come from, and frames per second."""
        fixed, average, codec = self.options.video_fps, average_rate(stream), codec_rate(stream)
        if fixed:
            return f"--video-fps {fixed:g}", fixed
        if not has_no_time_stamps(container):
            return "container", float(average) if average else None
        if codec:
            return f"codec's frame rate {float(codec):g}", float(codec)
        return f"assumed frame rate {float(average or 25):g}", float(average or 25)

    def _timed(self, container: Any, stream: Any, on_audio: Callable[[Any], None] | None) -> Iterator[TimedFrame]:
        """Decoded frames with their times, which never fall."""
        bare, report = has_no_time_stamps(container), self.report
        aspects = self._aspects = PixelAspects(container, stream)
        rate = codec_rate(stream) if bare else None
        clock = FrameClock(rate or average_rate(stream), self.options.video_fps, bare)
        jumps = segment = before = 0
        for decoded, part in self._decoded(container, stream, on_audio):
            time = clock.time(decoded, stream.time_base)
            jumps, guessed = clock.jumps, clock.guessed
            if part + jumps != segment:
                segment = part + jumps
                report.jump(time)
            report.guessed_times += guessed - before
            before = guessed
            yield TimedFrame(decoded, time, clock.lasting, segment, aspects.of(decoded))

    def _decoded(
        self, container: Any, stream: Any, on_audio: Callable[[Any], None] | None
    ) -> Iterator[tuple[Any, int]]:
        """(decoded frame, segment of the clock); a packet that cannot be decoded is counted and passed over."""
        wanted = [stream, *container.streams.audio[:1]] if on_audio else [stream]
        clock, segment, self._read_to = ContinuousClock(stream, restarts(container)), 0, 0
        for packet, part in clock.follow(packets(container, wanted, self._damaged)):
            if packet.stream is not stream:
                if on_audio and packet.dts is not None:
                    on_audio(packet)
                continue
            self._read_to = max(self._read_to, (packet.pos or 0) + packet.size)
            if part != segment:
                # Frames that the decoder still holds are of the part before, and must be no reference for this one.
                yield from ((decoded, segment) for decoded in self._drained(stream))
                segment = part
            yield from ((decoded, segment) for decoded in self._of_packet(packet))

    def _of_packet(self, packet: Any) -> list[Any]:
        try:
            return self._aspects.decode(packet)
        except av.error.FFmpegError:
            stamp = packet.pts if packet.pts is not None else packet.dts
            self.report.fail(float(stamp * packet.time_base) if stamp is not None else math.nan)
            return []

    def _drained(self, stream: Any) -> list[Any]:
        try:
            return stream.codec_context.decode(None)
        except av.error.FFmpegError:
            self.report.fail(math.nan)
            return []
        finally:
            stream.codec_context.flush_buffers()

    def _damaged(self, problem: str) -> None:
        self.report.ended_early = problem

    def _first_frame(self, container: Any, stream: Any) -> TimedFrame:
        for frame in self._timed(container, stream, None):
            return frame
        raise InputError(f"{self.path}: no frame of its {stream.codec_context.name} stream can be decoded.")

    def _early_end(self, end: float) -> str:
        """Why the source counts as ended early, or ""; ``end`` is where its last frame ends, in seconds."""
        report, declared = self.report, self._declared_end
        # The durations that a file declares know nothing of jumps of its clock.
        if report.ended_early or declared is None or report.clock_jumps:
            return report.ended_early
        missing = declared - end
        # Half a second and two percent are more than any rounding of durations that muxers do.
        if missing > max(0.5, 0.02 * (self.info.duration or 0.0)):
            return f"it declares {declared:.1f} s but its images end at {end:.1f} s"
        return ""

    def _unread_part(self, format_name: str) -> str:
        try:
            joined = has_second_recording(self.path, format_name, self._read_to)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read to its end ({error.strerror}).") from error
        return _JOINED if joined else ""


SourceOfPath = VideoFile | ImageSequence | AnimatedImage | TiffStack | PhotoFolder
Source = SourceOfPath | ArraySource | LiveSource


def open_source(path: Path, options: DecodeOptions = _AS_IT_IS) -> Source:
    """Open a video file, an image, a folder of numbered images, or a folder of photos.

    Raises:
        InputError: there is nothing there that can be read as a video.
    """
    return source_class(path)(path, options)


def source_class(path: Path) -> type[SourceOfPath]:
    """The class that reads a path. The content of a file decides, and its name only where the content says nothing.

    Raises:
        InputError: there is nothing there that can be read as a video.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or directory.")
    if path.is_dir():
        return ImageSequence if has_numbered_images(path) else PhotoFolder
    try:
        found, text = file_type(path), holds_text(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if found is not None and found.kind == OTHER:
        raise InputError(f"{path}: {found.problem}.")
    if found is not None and found.kind == ANIMATION and found.name in ("WebP", "APNG"):
        return AnimatedImage
    if found is not None and found.kind == ANIMATION and found.name == "TIFF":
        return TiffStack
    if (found.kind == IMAGE and found.name != "GIF") if found else path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSequence
    if found is None and text:
        raise InputError(f"{path}: not a readable video; it is a text file.")
    return VideoFile
