"""A video and the table rows of its frames -> an mp4 with the rows drawn in, in the source's own timing and sound.

The file is written under a temporary name beside its destination, and renamed only when it is complete.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import ColorRange, Colorspace

from ..domain import Frame, Image
from ..errors import InputError, OutputError
from ..media.colour import ACCURATE
from ..media.photos import PhotoFolder
from ..media.video import Source, VideoFile, open_source
from ..runtime import file_marks
from ..runtime.atomic_files import name_failed_file, replace_when_done
from ..runtime.executor import ThreadedRun
from ..runtime.stage_timer import StageClock
from .drawing import Row
from .layout import OverlayPainter
from .strip import HOLD, Moment

CLOCK = 90_000
"""Ticks per second of the written video: every usual frame rate is a whole number of them, or nearly so."""

SLIDE = 2.0
"""Display time of each photo of a folder, in seconds."""

COPIED = frozenset(("aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "opus"))
"""Audio codecs whose packets are copied into the mp4; other audio is re-encoded as AAC."""

ENCODER_THREADS = 4
"""Threads of x264, which encode successive images: the same on every machine, since the bytes depend on it."""

WIDEST = 4096
"""Pixels: the widest image that level 5.2 of H.264 and with it the decoders of most devices take."""

_LONGEST_HOLD = 5 * 3600 * CLOCK
"""Longest duration of one image in ticks; then it is repeated. ffmpeg's mp4 muxer limits it to 2^31 - 1 (6.6 hours)."""

_LONGEST_STEP = (1 << 31) - (1 << 20)
"""Ticks, here samples, from one packet of sound to the next at most: 2^31 less what an encoder adds."""

_AAC_RATES = frozenset((8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000))

# The clock of the whole file as well: on the usual one of a millisecond a late start would be rounded.
_OWN_ERRORS = 1 << 16
"""Error numbers from here on are FFmpeg's own, not the system's."""

_MUXER = {"movflags": "+faststart", "movie_timescale": str(CLOCK)}

# How far audio may lag behind video in a file, in seconds, before reading ahead for it stops.
_PATIENCE = 10.0

Rows = Iterable[tuple[int, Sequence[Row]]]


@dataclass(frozen=True, slots=True)
class RenderReport:
    """What was written.

    Attributes:
        frames: number of frames written.
        duration: seconds from the first frame to the end of the last one.
        shift: seconds by which video and audio were both moved towards zero.
        audio: a sentence part: "none", "copied (aac)" or "pcm_s16le turned into AAC, which mp4 can carry".
    """

    frames: int
    duration: float
    shift: float
    audio: str


@dataclass(frozen=True, slots=True, eq=False)
class OverlayFrame:
    """One frame to write.

    Attributes:
        frame: as it was read.
        faces: rows of the last analysed frame, which may be this one; None before the first one.
        analysed: number of that frame.
        duration: seconds until the next frame of the source.
        first, last: whether it is the source's first or last frame.
    """

    frame: Frame
    faces: Sequence[Row] | None
    analysed: int
    duration: float
    first: bool
    last: bool


def render(
    source: Path | Source,
    rows: Rows,
    out: Path,
    *,
    progress: Callable[[int], None] | None = None,
    plain: tuple[int, int] | None = None,
) -> RenderReport:
    """Draw table rows into a video.

    Only the frames from the first to the last analysed one are written; frames between two analysed ones show the
    rows of the one before.

    Args:
        source: a video, an image, or a folder of numbered images; opened already if its images have a rate of
            their own.
        rows: (frame number, rows of its faces) of every analysed frame, in the order of the frames.
        out: the mp4 file.
        progress: receives the number of frames written so far.
        plain: width and height of a copy without anything drawn; None for an overlay of the size of the source.

    Raises:
        OutputError: the file could not be written; an earlier file of that name is unchanged.
        InputError: the rows do not belong to this video, or it cannot be read.
    """
    reader = open_source(source) if isinstance(source, Path) else source
    _refuse(out, reader.path)
    with replace_when_done(out) as part:
        return _write(reader, rows, part, out, progress, plain)


def hold(frames: Iterable[Frame], rows: Rows, path: Path) -> Iterator[OverlayFrame]:
    """Join frames and rows: one item for each frame up to the last analysed one, lazily.

    Args:
        path: of the source, for messages.

    Raises:
        InputError: no rows at all, rows out of order, or rows of a frame that the source does not have.
    """
    table = iter(rows)
    coming = next(table, None)
    if coming is None:
        raise InputError(f"{path}: nothing to draw, its table has no analysed frame.")
    faces: Sequence[Row] | None = None
    analysed = -1
    step = 1.0
    for first, frame, after in _with_next(frames):
        step = after.time - frame.time if after else frame.duration or step
        if coming and frame.index > coming[0]:
            raise InputError(_stranger(coming[0], path))
        if coming and frame.index == coming[0]:
            analysed, faces, coming = *coming, next(table, None)
            if coming and coming[0] <= frame.index:
                raise InputError(
                    f"{path}: in its table frame {coming[0]} follows frame {frame.index}; sort it by frame."
                )
        yield OverlayFrame(frame, faces, analysed, max(step, 0.0), first, after is None)
        if not coming:
            return
    raise InputError(_stranger(coming[0], path))


def _with_next(frames: Iterable[Frame]) -> Iterator[tuple[bool, Frame, Frame | None]]:
    """(is it the first?, frame, the one behind it or None)."""
    walk = iter(frames)
    frame = next(walk, None)
    first = True
    while frame is not None:
        after = next(walk, None)
        yield first, frame, after
        frame, first = after, False


def _stranger(index: int, path: Path) -> str:
    return f"{path}: has no frame {index}, which the table mentions; give the video that the table was made from."


def _refuse(out: Path, source: Path) -> None:
    """Raise before any work what would otherwise fail at its end."""
    if out.exists() and source.exists() and out.samefile(source):
        raise OutputError(f"{out}: is the source itself; choose another name for the overlay.")
    if out.is_dir():
        raise OutputError(f"{out}: is a folder; give the name of a file.")


def _write(
    reader: Source, rows: Rows, part: Path, out: Path, progress: Callable[[int], None] | None,
    plain: tuple[int, int] | None,
) -> RenderReport:  # fmt: skip
    with ExitStack() as stack:
        sound: AudioCopy | None = None
        if isinstance(reader, VideoFile) and reader.info.audio:
            original = stack.enter_context(reader.container())
            sound = AudioCopy(original.streams.audio[0])
        # Boxes of photos are in pixels of each photo, all others in those of the displayed image.
        size = None if isinstance(reader, PhotoFolder) else (reader.info.width, reader.info.height)
        film = OverlayWriter(part, out, sound, plain or size, draws=plain is None, related=size is not None)
        stack.callback(film.abandon)
        # Frames are read ahead, so each takes along the sound that was met before it: the file then does not depend
        # on how far ahead.
        met: deque[Any] = deque()
        frames = reader.frames(on_audio=met.append if sound else None)
        if isinstance(reader, PhotoFolder):
            frames = (replace(frame, time=frame.index * SLIDE) for frame in frames)
        items = ((shown, _drained(met)) for shown in hold(frames, rows, reader.path))
        flow = stack.enter_context(ThreadedRun(StageClock()))
        for (shown, heard), picture in flow.map("draw", items, [lambda item: (item, film.drawn(item[0]))], room=2):
            if sound:
                sound.offer(heard)
            if picture is None:
                if sound:
                    sound.forget(shown.frame.time)
                continue
            film.add(shown, picture)
            if progress:
                progress(film.frames)
        if sound:
            _hear_on(frames, met, sound, film.end)
        film.close(shown.last)
    return RenderReport(film.frames, film.end - film.start, float(film.shift), sound.told if sound else "none")


def _drained(packets: deque[Any]) -> list[Any]:
    """All that is in a queue, which is empty then."""
    return [packets.popleft() for _ in range(len(packets))]


def _hear_on(frames: Iterator[Frame], met: deque[Any], sound: AudioCopy, end: float) -> None:
    """Read on until the audio has caught up with the video, which it may lag behind in the file."""
    sound.offer(_drained(met))
    for frame in frames:
        sound.offer(_drained(met))
        if sound.heard >= end or frame.time > end + _PATIENCE:
            return
    sound.offer(_drained(met))


class OverlayWriter:
    """The mp4 file while it is written: frame by frame, with audio up to the current frame.

    Args:
        part: the file that is written to.
        out: file name for messages.
        sound: the source's sound, or None.
        size: width and height of the displayed image, which the boxes are in; None if each image has a system of its
            own, so that the first one gives the size.
        draws: whether the faces are drawn; False for a plain copy.
        related: whether successive images belong to one recording; False for photos.
    """

    def __init__(
        self,
        part: Path,
        out: Path,
        sound: AudioCopy | None,
        size: tuple[int, int] | None,
        draws: bool = True,
        related: bool = True,
    ) -> None:
        self.out = out
        self.sound = sound
        self.frames = 0
        self.start = self.end = 0.0  # seconds on the source's clock
        self.shift = Fraction(0)
        self._shown, self._draws, self._related = size, draws, related
        self._written: tuple[int, int] | None = None
        self._painters: dict[tuple[int, int], OverlayPainter] = {}
        self._tick = -1
        self._container: Any = self._guarded(lambda: av.open(f"file:{part}", "w", format="mp4", options=_MUXER))
        self._container.metadata["encoding_tool"] = file_marks.TOOL  # identifies the file as ours to later runs

    def drawn(self, shown: OverlayFrame) -> Any:
        """The image with its faces, in the form that the encoder takes; None before the first analysed frame."""
        if shown.faces is None:
            return None
        image = shown.frame.image
        if self._shown is not None:
            image = fitted(image, *self._shown)
        if self._draws:
            own = (image.shape[1], image.shape[0])
            if own not in self._painters:
                self._painters[own] = OverlayPainter(*own, hold=HOLD if self._related else 0.0)
            time = shown.frame.time if self._related else None
            image = self._painters[own].draw(image, shown.faces, Moment(shown.frame.index, time, shown.analysed))
        if self._written is None:
            self._written = (
                _playable(image.shape[1], image.shape[0]) if self._draws else (image.shape[1], image.shape[0])
            )
        picture = av.VideoFrame.from_ndarray(even(fitted(image, *self._written)), format="rgb24")
        return picture.reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            interpolation=ACCURATE,
        )

    def add(self, shown: OverlayFrame, picture: Any) -> None:
        """Write one frame from ``drawn``, and the audio that precedes it."""
        if not self.frames:
            self._begin(shown, picture)
        # A time stamp that is not later than the one before it would end the file; broken sources have them.
        self._tick = max(self._tick + 1, round((Fraction(shown.frame.time) - self.shift) * CLOCK))
        lasting = max(1, round(shown.duration * CLOCK))
        while lasting > _LONGEST_HOLD:
            self._encode(picture, _LONGEST_HOLD)
            self._tick += _LONGEST_HOLD
            lasting -= _LONGEST_HOLD
        self._encode(picture, lasting)
        self.frames += 1
        self.end = shown.frame.time + shown.duration
        self._mux_sound(shown.frame.time)

    def _encode(self, picture: Any, lasting: int) -> None:
        picture.pts, picture.time_base, picture.duration = self._tick, Fraction(1, CLOCK), lasting
        self._guarded(lambda: self._container.mux(self._video.encode(picture)))

    def close(self, whole: bool) -> None:
        """Flush and finish the file; ``whole`` keeps audio beyond the end of the last frame."""
        self._guarded(lambda: self._container.mux(self._video.encode(None)))
        self._mux_sound(math.inf if whole else self.end)
        sound = self.sound
        if sound:
            self._guarded(lambda: self._container.mux(sound.rest()))
        self._guarded(self._container.close)

    def abandon(self) -> None:
        """Release the file in whatever state it is; does nothing after ``close``."""
        with suppress(Exception):
            self._container.close()

    def _begin(self, shown: OverlayFrame, picture: Any) -> None:
        """Set up the streams, and shift video and audio together so that the earlier one begins at zero."""
        self.start = shown.frame.time
        begin = Fraction(shown.frame.time)
        if self.sound:
            if not shown.first:
                self.sound.forget(shown.frame.time)
            elif self.sound.starts is not None:
                # Encoder priming has negative times, which players cut off, so it needs no shift.
                begin = min(begin, max(self.sound.starts, Fraction(0)))
        self.shift = begin
        self._guarded(lambda: self._open_streams(shown, picture))

    def _open_streams(self, shown: OverlayFrame, picture: Any) -> None:
        rate = Fraction(1 / shown.duration if shown.duration > 0 else 25).limit_denominator(1001)
        video: Any = self._container.add_stream("libx264", rate=max(rate, Fraction(1)))
        video.width, video.height = picture.width, picture.height
        video.pix_fmt = "yuv420p"
        # Without B-frames decoding order is display order: an mp4 then holds any times, and durations, exactly.
        video.options = {"preset": "veryfast", "crf": "20", "bf": "0"}
        video.time_base = video.codec_context.time_base = Fraction(1, CLOCK)
        context = video.codec_context
        # Otherwise x264 cuts images into as many slices as there are cores, and the file depends on the machine.
        context.thread_type, context.thread_count = "FRAME", ENCODER_THREADS
        context.color_primaries = context.color_trc = context.colorspace = 1  # BT.709 in all three lists
        context.color_range = ColorRange.MPEG
        context.flags |= Flags.frame_duration  # nothing else states the duration of the last frame
        self._video = video
        if self.sound:
            self.sound.enter(self._container, self.shift)

    def _mux_sound(self, until: float) -> None:
        sound = self.sound
        if sound:
            self._guarded(lambda: [self._container.mux(packet) for packet in sound.packets(until)])

    def _guarded(self, work: Callable[[], Any]) -> Any:
        """Run an operation on the output; any failure becomes an OutputError."""
        with name_failed_file(self.out):
            try:
                return work()
            except (av.error.FFmpegError, ValueError) as error:
                if isinstance(error, av.error.FFmpegError) and 0 < (error.errno or 0) < _OWN_ERRORS:
                    raise OSError(error.errno, error.strerror) from error
                raise OSError(str(getattr(error, "strerror", error))) from error


class AudioCopy:
    """Transfers the source's first audio stream to the new file, packet by packet.

    Args:
        template: that stream, of a container of its own that stays open.

    Attributes:
        starts: declared time of its first packet in seconds, or None.
        heard: time in seconds up to which packets have been read.
        told: for the report, how the audio was treated.
    """

    def __init__(self, template: Any) -> None:
        self.template = template
        self.starts = Fraction(template.start_time) * template.time_base if template.start_time is not None else None
        self.heard = -math.inf
        codec = template.codec_context.codec.canonical_name  # "mp3", whichever decoder reads it
        self.copied = codec in COPIED
        self.told = f"copied ({codec})" if self.copied else f"{codec} turned into AAC, which mp4 can carry"
        self._waiting: deque[Any] = deque()
        self._floor = self._last = -math.inf
        self._due: Fraction | None = None  # end of the encoded audio, in seconds of the new file
        self._over = False
        self._shift = Fraction(0)
        self._stream: Any = None

    def offer(self, packets: Iterable[Any]) -> None:
        """Queue packets as they are read from the source, until the video reaches them."""
        for packet in packets:
            time = float(_seconds(packet))
            self.heard = max(self.heard, time)
            if time >= self._floor:
                self._waiting.append(packet)

    def enter(self, container: Any, shift: Fraction) -> None:
        """Add its stream to the new file, whose times are ``shift`` seconds earlier."""
        self._shift = shift
        if self.copied:
            self._stream = container.add_stream_from_template(self.template)
            self._rate = self.template.codec_context.sample_rate or 48000
            return
        context = self.template.codec_context
        self._rate = context.sample_rate if context.sample_rate in _AAC_RATES else 48000
        layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        self._stream = container.add_stream("aac", rate=self._rate, layout=layout)
        self._stream.bit_rate = 96_000 * (1 if layout == "mono" else 2)
        self._resampler = av.AudioResampler(format="fltp", layout=layout, rate=self._rate)

    def forget(self, before: float) -> None:
        """Drop packets, including future ones, that begin before a time in seconds: no frame is shown then."""
        self._floor = before
        while self._waiting and _seconds(self._waiting[0]) < before:
            self._waiting.popleft()

    def packets(self, until: float) -> Iterator[Any]:
        """Packets for the new file, of the sound that begins before ``until`` (seconds of the source)."""
        while self._waiting and _seconds(self._waiting[0]) < until:
            packet = self._waiting.popleft()
            yield from self._copy(packet) if self.copied else self._encode(packet)

    def rest(self) -> list[Any]:
        """The packets that the encoder still holds at the end."""
        if self.copied or self._stream is None:
            return []
        return [p for frame in self._resampler.resample(None) for p in self._stream.encode(frame)] + list(
            self._stream.encode(None)
        )

    def _copy(self, packet: Any) -> list[Any]:
        """The packet with new times; none if its decoding time does not increase, which mp4 forbids."""
        unit, shift = packet.time_base, self._shift
        shown, decoded, lasting = packet.pts, packet.dts, packet.duration
        shown = decoded if shown is None else shown
        packet.pts, packet.dts = (round((stamp * unit - shift) * self._rate) for stamp in (shown, decoded))
        packet.duration = round((lasting or 0) * unit * self._rate)
        packet.time_base = Fraction(1, self._rate)
        if packet.dts <= self._last or (self._last > -math.inf and self._is_over(packet.dts - self._last)):
            return []
        self._last = packet.dts
        packet.stream = self._stream
        return [packet]

    def _encode(self, packet: Any) -> list[Any]:
        packets: list[Any] = []
        try:
            # With the template's decoder: the file that the packet came from may be closed by now.
            frames = self.template.codec_context.decode(packet)
        except av.error.FFmpegError:
            return []  # a damaged packet leaves a gap, as it would in a player
        for frame in frames:
            if not self._place(frame):
                continue
            for ready in self._resampler.resample(frame):
                packets.extend(self._stream.encode(ready))
        return packets

    def _place(self, frame: Any) -> bool:
        """Set the time of decoded audio in the new file; False if occupied, as between joined recordings."""
        if frame.pts is None:
            return not self._over
        unit = Fraction(1, frame.sample_rate)
        start, lasting = frame.pts * frame.time_base - self._shift, frame.samples * unit
        if self._due is not None:
            if start < self._due - lasting / 2 or self._is_over((start - self._due) * self._rate):
                return False
            start = max(start, self._due)  # the encoder rejects overlapping samples
        self._due = start + lasting
        frame.pts, frame.time_base = round(start / unit), unit
        return True

    def _is_over(self, ticks: float) -> bool:
        """Whether a step of this many ticks exceeds what ffmpeg's mp4 muxer supports; the rest is then left out."""
        if not self._over and ticks > _LONGEST_STEP:
            self._over = True
            self.told += f", left out after a gap of {ticks / self._rate / 3600:.1f} h, which mp4 cannot hold"
        return self._over


def _seconds(packet: Any) -> Fraction:
    return (packet.dts if packet.pts is None else packet.pts) * packet.time_base


def _playable(width: int, height: int) -> tuple[int, int]:
    """The size in which a canvas is written: at most ``WIDEST`` wide, in its own proportions, in even numbers."""
    if width <= WIDEST:
        return width, height
    return WIDEST, round(height * WIDEST / width / 2) * 2


def fitted(image: Image, width: int, height: int) -> Image:
    """An image scaled to fit into (height, width) at its aspect ratio, with black bars."""
    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return image
    scale = min(width / columns, height / rows)
    inner = max(1, round(columns * scale)), max(1, round(rows * scale))
    small = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    whole = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    whole[top : top + inner[1], left : left + inner[0]] = small
    return whole


def even(image: Image) -> Image:
    """The image with its last row or column repeated if their number is odd, since yuv420p needs even sizes."""
    rows, columns = image.shape[:2]
    if rows % 2 or columns % 2:
        image = np.pad(image, ((0, rows % 2), (0, columns % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)
