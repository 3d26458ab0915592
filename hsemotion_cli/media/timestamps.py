"""Stamps of packets and frames -> seconds that never fall, on one clock for image and sound.

A container's clock may restart in the middle of a file: camcorders split a recording into MPEG-TS parts, and people
join the parts byte by byte. ``ContinuousClock`` lets the time go on there, for all streams alike; ``FrameClock`` gives
each decoded frame its time, also where the container stores none.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

_TS_DISCONT, _NO_TIMESTAMPS = 0x0200, 0x0080  # AVFMT_TS_DISCONT, AVFMT_NOTIMESTAMPS of libavformat/avformat.h

# In formats whose clock may restart. Backwards: more than packets are ever out of order. Forwards: ffmpeg's
# -dts_delta_threshold; a recording with an image now and then has steps as long, hence the second limit.
_BACKWARDS = 0.5  # seconds
_FORWARDS = 10.0  # seconds
_TIMES_STEP = 20
_MOST_QUEUED = 300  # packets that wait for the next one of a stream
_WRAP = 1 << 33  # ticks after which a 33-bit clock of MPEG-TS and MPEG-PS starts again at 0

# Sound.
_GAP = 0.5  # seconds between its packets that are looked into
_REACH = 2.0  # seconds that image and sound of the same moment may lie apart in a file
_MOST_WAITING = 4000  # packets of sound that wait for the image; some 80 s


def restarts(container: Any) -> bool:
    """Whether the clock of a format may restart within a file (MPEG-TS, MPEG-PS)."""
    return bool(int(container.format.flags) & _TS_DISCONT)


def has_no_time_stamps(container: Any) -> bool:
    """Whether a format stores no time stamps at all: a bare codec stream."""
    return bool(int(container.format.flags) & _NO_TIMESTAMPS)


@dataclass(frozen=True, slots=True)
class TimedFrame:
    """A decoded frame with its place in time.

    Attributes:
        decoded: as PyAV gives it.
        time: seconds at which it is shown, on the clock that goes on.
        duration: seconds that it is shown.
        segment: another one begins where the container's clock jumps.
        aspect: width of its pixels over their height.
    """

    decoded: Any
    time: float
    duration: float
    segment: int
    aspect: Fraction = Fraction(1)


@dataclass(slots=True)
class _Segment:
    """A part of a file within which its clock does not jump.

    Attributes:
        offset: seconds to be added to its stamps.
        first, last: seconds of the first and the latest packet of the leading stream, as stored.
    """

    offset: Fraction
    first: Fraction
    last: Fraction


@dataclass(slots=True)
class _Stamps:
    """Times of one packet in seconds, as stored, but counted on where a clock of 33 bits has wrapped around.

    Attributes:
        wraps: seconds that this adds.
        decoded, shown: when to decode and when to show it.
        lasting: its duration; 0 if it is not stored.
    """

    wraps: Fraction
    decoded: Fraction
    shown: Fraction
    lasting: Fraction


class _Unwrapped:
    """Reads the stamps of one stream; ``wraps`` says whether its clock has 33 bits."""

    def __init__(self, wraps: bool) -> None:
        self._wraps = wraps
        self._turns = 0
        self._last: Fraction | None = None

    def stamps(self, packet: Any) -> _Stamps | None:
        """None for a packet that has none."""
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is None:
            return None
        unit, around = packet.time_base, _WRAP * packet.time_base
        decoded = stamp * unit + self._turns * around
        if self._wraps and self._last is not None and decoded < self._last - around / 2:
            self._turns += 1
            decoded += around
        self._last = decoded
        shown = decoded if packet.pts is None else packet.pts * unit + self._turns * around
        if self._wraps and shown < decoded - around / 2:  # its presentation time has wrapped, its decoding time not yet
            shown += around
        return _Stamps(self._turns * around, decoded, shown, (packet.duration or 0) * unit)


def _repaired(packets: Iterable[Any], leader: Any) -> Iterator[Any]:
    """The packets of an MPEG-TS or MPEG-PS file, in their order, without stamps that cannot be theirs.

    A packet of any stream loses its stamps if they lie far outside of those before and after it, which follow one
    another: a transmission error. A packet of the leader loses them to the next one with the same: a stamp belongs to
    the first frame that begins behind it, and ffmpeg also gives it to the one that reaches over it.
    """
    queue: deque[Any] = deque()
    latest: dict[int, Any] = {}  # stream -> its latest packet, whose successor is not known yet
    before: dict[int, Fraction] = {}  # stream -> decoding time of the packet before that one
    for packet in packets:
        stream = packet.stream.index
        held, latest[stream] = latest.get(stream), packet
        if held is not None and held.dts is not None:
            unit = packet.time_base
            after = None if packet.dts is None else packet.dts * unit
            if packet.stream is leader and held.dts == packet.dts:
                held.pts = held.dts = None
            elif after is not None and stream in before and before[stream] < after:
                apart = max(before[stream] - held.dts * unit, held.dts * unit - after)
                if apart > _BACKWARDS:
                    held.pts = held.dts = None
            if held.dts is not None:
                before[stream] = held.dts * unit
        queue.append(packet)
        while queue and (queue[0] is not latest[queue[0].stream.index] or len(queue) > _MOST_QUEUED):
            yield queue.popleft()
    yield from queue


class ContinuousClock:
    """Moves the stamps of packets so that time goes on where the container's clock jumps.

    One stream leads: the video stream, or the sound of a file without one. Its jumps divide the file into segments,
    and each segment begins where the one before ends. The other stream is moved by the same amounts, from the packet
    on at which it jumps itself, so that image and sound stay together.

    Args:
        leader: the stream that leads.
        may_restart: whether the format's clock may restart, see ``restarts``.
    """

    def __init__(self, leader: Any, may_restart: bool) -> None:
        self._leader = leader
        self._may_restart = may_restart
        self._leading, self._following = _Unwrapped(may_restart), _Unwrapped(may_restart)
        self._segments: list[_Segment] = []
        self._top: Fraction | None = None  # latest presentation time of the segment, as stored
        self._end = Fraction(0)  # where the segment ends, on the clock that goes on
        self._step = self._delay = Fraction(0)  # from packet to packet, and from decoding to presentation at most
        self._follower = 0  # segment of the other stream
        self._expected: Fraction | None = None  # when its next packet is due, as stored
        self._waiting: deque[tuple[Any, _Stamps | None]] = deque()

    def follow(self, packets: Iterable[Any]) -> Iterator[tuple[Any, int]]:
        """(packet, number of its segment), in the order of the file but for sound that waits for its image."""
        for packet in _repaired(packets, self._leader) if self._may_restart else packets:
            if packet.stream is self._leader:
                yield self._lead(packet)
                yield from self._placed()
            else:
                self._waiting.append((packet, self._following.stamps(packet)))
                yield from self._placed(force=len(self._waiting) > _MOST_WAITING)
        while self._waiting:
            yield from self._placed(force=True)

    def _lead(self, packet: Any) -> tuple[Any, int]:
        stamps = self._leading.stamps(packet)
        if stamps is None:
            return packet, max(len(self._segments) - 1, 0)
        if not self._segments:
            self._segments.append(_Segment(Fraction(0), stamps.shown, stamps.decoded))
            self._end = stamps.shown
        if packet.is_discard:  # outside of an edit: it is not shown, and its times are those of frames that are
            _move(packet, self._segments[-1].offset + stamps.wraps)
            return packet, len(self._segments) - 1
        if self._jumps(packet, stamps):
            self._segments.append(_Segment(self._end - stamps.shown, stamps.shown, stamps.decoded))
            self._top = None
        segment = self._segments[-1]
        if stamps.decoded > segment.last:
            self._step = stamps.decoded - segment.last
        segment.last = stamps.decoded
        self._top = stamps.shown if self._top is None else max(self._top, stamps.shown)
        self._delay = max(self._delay, stamps.shown - stamps.decoded)
        shown = stamps.shown if packet.pts is not None else stamps.decoded + self._delay
        self._end = max(self._end, shown + segment.offset + (stamps.lasting or self._step))
        _move(packet, segment.offset + stamps.wraps)
        return packet, len(self._segments) - 1

    def _jumps(self, packet: Any, stamps: _Stamps) -> bool:
        """Whether the clock jumps with this packet of the leading stream."""
        # All that is stored before a key frame is shown before it.
        whole = self._leader.type == "video" and packet.is_keyframe and packet.pts is not None
        if whole and self._top is not None and stamps.shown < self._top:
            return True
        apart = stamps.decoded - self._segments[-1].last
        forwards = apart > _FORWARDS and 0 < self._step * _TIMES_STEP < apart
        return self._may_restart and (apart < -_BACKWARDS or forwards)

    def _placed(self, force: bool = False) -> Iterator[tuple[Any, int]]:
        """Packets of the other stream whose segment is known; with ``force`` at least one."""
        while self._waiting:
            packet, stamps = self._waiting[0]
            if stamps is not None:
                found = self._segment_of(stamps.decoded)
                if found is None and not force:
                    return
                self._follower = self._follower if found is None else found
                self._expected = stamps.decoded + stamps.lasting
                offset = self._segments[self._follower].offset if self._segments else Fraction(0)
                _move(packet, offset + stamps.wraps)
            force = False
            self._waiting.popleft()
            yield packet, self._follower

    def _segment_of(self, time: Fraction) -> int | None:
        """The segment in which sound of a time, as stored, is heard; None while that is open."""
        if self._expected is None:
            numbers = range(len(self._segments))[::-1]
        elif abs(time - self._expected) < _GAP:
            return self._follower
        else:
            # After a step backwards it must be a later one; otherwise it may be a gap in the sound.
            numbers = range(self._follower + (time < self._expected), len(self._segments))
        for number in numbers:
            segment = self._segments[number]
            if segment.first - _REACH <= time <= segment.last + _REACH:
                return number
        return None


def _move(packet: Any, offset: Fraction) -> None:
    """Add seconds to the stamps of a packet."""
    if not offset:
        return
    ticks = round(offset / packet.time_base)
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks


class FrameClock:
    """The time of each decoded frame, in presentation order.

    A frame has a presentation stamp, or the stamp of the packet that the decoder had last (all that AVI stores, in
    decoding order, which at that point is the same), or none. Of the first two the kind is trusted that has gone
    backwards less often so far, as ffprobe does. A frame without any follows the one before after that one's own
    duration, or else after one over the frame rate. If stamps fall nevertheless, time goes on from the frame before.

    Args:
        rate: frames per second for frames without a stamp; 25 if None.
        fixed: frames per second that replace all stamps but the first, or None.
        bare: whether the durations of frames without any stamp mean nothing, as in a bare codec stream.

    Attributes:
        guessed: frames that were timed by the frame rate.
        jumps: how often time would have fallen.
    """

    def __init__(self, rate: Fraction | None, fixed: float | None, bare: bool) -> None:
        self.guessed = self.jumps = 0
        self._step = float(1 / rate) if rate else 0.04
        self._fixed, self._stamped = fixed, not bare
        self._count = 0
        self._last = self._known = -math.inf  # time of the latest frame, and of the latest with a stamp
        self._own = self._shift = self._start = self._lasting = 0.0
        self._last_shown = self._last_decoded = -math.inf
        self._wrong_shown = self._wrong_decoded = 0

    def time(self, frame: Any, unit: Fraction) -> float:
        """Seconds at which a frame is shown.

        Args:
            unit: seconds in a tick of its stamps, where it has no time base itself.
        """
        unit = frame.time_base or unit
        ticks = self._best(frame.pts, frame.dts)
        time = self._fixed_time(ticks, unit) if self._fixed else self._own_time(ticks, unit)
        self._lasting = float(frame.duration * unit) if frame.duration else 0.0
        self._last = time
        self._count += 1
        return time

    @property
    def lasting(self) -> float:
        """Seconds that the latest frame is shown."""
        if self._fixed:
            return 1 / self._fixed
        return self._lasting if self._lasting and self._stamped else self._step

    def _fixed_time(self, ticks: int | None, unit: Fraction) -> float:
        assert self._fixed is not None
        if not self._count:
            self._start = 0.0 if ticks is None else float(ticks * unit)
        return self._start + self._count / self._fixed

    def _own_time(self, ticks: int | None, unit: Fraction) -> float:
        if ticks is None:
            lasting = self._lasting if self._stamped else 0.0
            self.guessed += not (lasting and self._count)
            self._own = self._own + (lasting or self._step) if self._count else 0.0
        else:
            self._stamped = True
            self._own = float(ticks * unit) + self._shift
            if self._own < self._known:
                self.jumps += 1
                self._shift += self._last + self.lasting - self._own
                self._own = self._last + self.lasting
            self._known = self._own
        return max(self._own, self._last)  # frames without a stamp may have been thought too long

    def _best(self, shown: int | None, decoded: int | None) -> int | None:
        """The stamp to be trusted, in ticks."""
        if decoded is not None:
            self._wrong_decoded += decoded <= self._last_decoded
            self._last_decoded = decoded
        elif shown is not None:
            self._last_decoded = shown
        if shown is not None:
            self._wrong_shown += shown <= self._last_shown
            self._last_shown = shown
        elif decoded is not None:
            self._last_shown = decoded
        trusted = shown is not None and (decoded is None or self._wrong_shown <= self._wrong_decoded)
        return shown if trusted else decoded
