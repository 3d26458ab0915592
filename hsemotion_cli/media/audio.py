"""path -> its sound: the first audio stream of a recording, mono at 16 kHz, piece by piece, through PyAV.

Decoding goes forward only and nothing is kept, so an hour of sound needs no more memory than a minute. Samples are
never invented: if a stream begins late or has a gap, ``Clock`` has the time of the next sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .container import open_container, packets, shown_streams
from .file_type import IMAGE_SUFFIXES
from .timestamps import ContinuousClock, restarts

RATE = 16000
"""Samples per second that are given, whatever the file has."""

SUFFIXES = frozenset([".wav", ".mp3", ".m4a", ".aac", ".flac", ".ogg", ".oga", ".opus", ".wma", ".aif", ".aiff"])
"""Of files that hold nothing but sound."""

REACH = 0.05
"""Largest distance in seconds from the centre of a piece of sound to something that is audible in it."""

_JUMP = 0.02
"""Seconds by which a time stamp must differ from what the samples before it add up to, to count as a gap."""

_CHUNK = 10 * RATE

Samples = NDArray[np.float32]


@dataclass(slots=True)
class Clock:
    """The time of each sample: from each of ``marks`` on, samples follow without a gap.

    Attributes:
        marks: (number of a sample, its time in seconds on the container's clock, which is that of the frames).
    """

    marks: list[tuple[int, float]] = field(default_factory=list)

    def times(self, samples: NDArray[np.floating]) -> NDArray[np.float64]:
        """(n,) numbers of samples, also between two of them, -> seconds."""
        first, since = np.array(self.marks, np.float64).T
        mark = np.maximum(np.searchsorted(first, samples, "right") - 1, 0)
        return np.asarray(since[mark] + (samples - first[mark]) / RATE)


@dataclass(frozen=True, slots=True)
class Survey:
    """Statistics of one pass over all of the sound.

    Attributes:
        samples: how many there are, at ``RATE``.
        mean, variance: of them; the variance over n.
        clock: the time of each sample.
        failures: packets that could not be decoded.
        ended_early: a sentence if the file is damaged before its end, else "".
    """

    samples: int
    mean: float
    variance: float
    clock: Clock
    failures: int
    ended_early: str


class AudioFile:
    """The first audio stream of a sound or video file.

    Attributes:
        codec, rate, channels: of the stream as it is stored.
        start: seconds on the container's clock of its first sample; above or below 0 if it begins later or
            earlier than the clock.

    Raises:
        InputError: the file is missing, empty, no recording, or has no sound that can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failures, self._ended = 0, ""
        if not path.exists():
            raise InputError(f"{path}: no such file.")
        if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
            raise InputError(f"{path}: images have no sound; give the video that they are from.")
        with self._opened() as container:
            stream = self._stream(container)
            first = next(self._decoded(container, stream), None)
            if first is None:
                raise InputError(f"{path}: nothing of its {stream.codec_context.name} sound can be decoded.")
            self.codec, self.rate = stream.codec_context.name, first.sample_rate
            self.channels = len(first.layout.channels)
            self.start = _time_of(first) or 0.0

    def chunks(self, size: int = _CHUNK, clock: Clock | None = None) -> Iterator[Samples]:
        """Yield all samples in order.

        The mean of the channels, whatever they are called: a mix by a decoder's own rules would depend on how the
        samples happen to be stored.

        Args:
            size: samples of each chunk but the last, which may be shorter; it changes nothing else.
            clock: gets its marks as the samples come.

        Yields:
            (size,) in [-1, 1], but for what a decoder overshoots.
        """
        kept: list[Samples] = []
        count = 0
        for samples in self._resampled(clock):
            kept.append(samples)
            count += len(samples)
            if count >= size:
                joined = np.concatenate(kept)
                for start in range(0, count - size + 1, size):
                    yield joined[start : start + size].copy()
                kept = [joined[count - count % size :].copy()]
                count %= size
        if count:
            yield np.concatenate(kept)

    def survey(self) -> Survey:
        """Read all of it once.

        Raises:
            InputError: there is not a single sample.
        """
        clock = Clock()
        count, total, squares = 0, 0.0, 0.0
        for chunk in self.chunks(clock=clock):
            values = chunk.astype(np.float64)
            count += len(values)
            total += float(values.sum())
            squares += float(values @ values)
        if not count or not math.isfinite(squares):
            raise InputError(f"{self.path}: its sound {'holds numbers that are none' if count else 'is empty'}.")
        mean = total / count
        return Survey(count, mean, max(squares / count - mean * mean, 0.0), clock, self._failures, self._ended)

    def _resampled(self, clock: Clock | None) -> Iterator[Samples]:
        """Pieces at ``RATE`` as they come out of the resampler."""
        self._failures, self._ended = 0, ""
        resampler, kind = None, None
        heard, expected = 0.0, None  # samples at RATE so far, and when the next one is due
        with self._opened() as container:
            for frame in self._decoded(container, self._stream(container)):
                if kind != (frame.sample_rate, frame.layout.name, frame.format.name):
                    yield from _mono(resampler.resample(None) if resampler else [])
                    kind = (frame.sample_rate, frame.layout.name, frame.format.name)
                    resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=RATE)
                time = _time_of(frame)
                if time is None:
                    time = 0.0 if expected is None else expected
                if expected is None or abs(time - expected) > _JUMP:
                    expected = time
                    if clock is not None:
                        clock.marks.append((round(heard), time))
                seconds = frame.samples / frame.sample_rate
                expected += seconds
                heard += seconds * RATE
                frame.pts = None  # the resampler is not to fill gaps by itself
                assert resampler is not None
                yield from _mono(resampler.resample(frame))
            yield from _mono(resampler.resample(None) if resampler else [])

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        """Decoded frames with samples; a packet that cannot be decoded is counted and passed over.

        Where the clock of the file jumps, its image leads: both then stay together.
        """
        leader = next(iter(shown_streams(container)), stream)
        wanted = [stream] if leader is stream else [leader, stream]
        clock = ContinuousClock(leader, restarts(container))
        for packet, _ in clock.follow(packets(container, wanted, self._damaged)):
            if packet.stream is not stream:
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._failures += 1
                continue
            yield from (frame for frame in frames if frame.samples)

    def _damaged(self, problem: str) -> None:
        self._ended = problem

    def _opened(self) -> Any:
        return open_container(self.path, "sound or video file")

    def _stream(self, container: Any) -> Any:
        if not container.streams.audio:
            raise InputError(f"{self.path}: has no audio stream.")
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise InputError(f"{self.path}: there is no decoder for its audio stream; convert it to AAC first.")
        return stream


def nearest(times: NDArray[np.floating], wanted: NDArray[np.floating], reach: float = REACH) -> NDArray[np.int64]:
    """For each of the wanted times the place in ``times`` of the nearest, the earlier of two; -1 where none is near.

    Args:
        times: (n,) seconds, in any order.
        wanted: (k,) seconds.
        reach: largest distance in seconds.
    """
    return Nearest(times)(wanted, reach)


class Nearest:
    """``nearest`` for many calls with the same times, which are sorted once."""

    def __init__(self, times: NDArray[np.floating]) -> None:
        self._order = np.argsort(times, kind="stable")
        self._ordered = times[self._order]

    def __call__(self, wanted: NDArray[np.floating], reach: float = REACH) -> NDArray[np.int64]:
        """(k,) places of the times nearest to ``wanted``; -1 where none is near."""
        ordered = self._ordered
        if not len(ordered):
            return np.full(len(wanted), -1, np.int64)
        right = np.clip(np.searchsorted(ordered, wanted), 0, len(ordered) - 1)
        left = np.maximum(right - 1, 0)
        best = np.where(np.abs(wanted - ordered[left]) <= np.abs(ordered[right] - wanted), left, right)
        return np.where(np.abs(ordered[best] - wanted) <= reach, self._order[best], -1)


def _mono(frames: list[Any]) -> Iterator[Samples]:
    """Planes of the channels -> their mean, one array for each frame."""
    for frame in frames:
        if frame.samples:
            yield np.asarray(frame.to_ndarray().mean(axis=0, dtype=np.float64), np.float32)


def _time_of(frame: Any) -> float | None:
    return None if frame.pts is None else float(frame.pts * frame.time_base)
