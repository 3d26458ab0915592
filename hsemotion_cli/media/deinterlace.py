"""Interlaced frames -> progressive ones, by ffmpeg's filter bwdif: one frame for each, at its own time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av

from .timestamps import TimedFrame

_TICKS = Fraction(1, 1000)
"""The filter orders frames by their numbers; their times stay outside."""


def deinterlaced(frames: Iterable[TimedFrame], mode: str) -> Iterator[tuple[TimedFrame, bool]]:
    """Deinterlace frames, as many as there are, in their order.

    Args:
        frames: in presentation order.
        mode: "auto" for those that are flagged as interlaced, "on" for all, "off" for none.

    Yields:
        (frame, whether it was deinterlaced). Frames before the first to be deinterlaced pass at once; from there on
        each waits for the next one, whose fields the filter compares it with.
    """
    bwdif: _Filter | None = None
    for frame in frames:
        wanted = mode == "on" or (mode == "auto" and frame.decoded.interlaced_frame)
        if bwdif is not None and not bwdif.takes(frame):
            yield from bwdif.rest()
            bwdif = None
        if bwdif is None and not wanted:
            yield frame, False
            continue
        bwdif = bwdif or _Filter(frame, mode)
        yield from bwdif.put(frame, wanted)
    if bwdif is not None:
        yield from bwdif.rest()


class _Filter:
    """One run of the filter, over frames of one size and format without a jump in time."""

    def __init__(self, first: TimedFrame, mode: str) -> None:
        self._kind = _kind(first)
        self._waiting: deque[tuple[TimedFrame, bool]] = deque()
        self._count = 0
        self._graph = av.filter.Graph()
        decoded = first.decoded
        source = self._graph.add_buffer(
            width=decoded.width, height=decoded.height, format=decoded.format, time_base=_TICKS
        )
        which = "all" if mode == "on" else "interlaced"
        bwdif = self._graph.add("bwdif", f"mode=send_frame:parity=auto:deint={which}")
        sink = self._graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self._graph.configure()

    def takes(self, frame: TimedFrame) -> bool:
        return _kind(frame) == self._kind

    def put(self, frame: TimedFrame, wanted: bool) -> Iterator[tuple[TimedFrame, bool]]:
        self._waiting.append((frame, wanted))
        frame.decoded.pts, frame.decoded.time_base = self._count, _TICKS
        self._count += 1
        self._graph.vpush(frame.decoded)
        yield from self._done()

    def rest(self) -> Iterator[tuple[TimedFrame, bool]]:
        self._graph.vpush(None)
        yield from self._done()

    def _done(self) -> Iterator[tuple[TimedFrame, bool]]:
        while self._waiting:
            try:
                decoded: Any = self._graph.vpull()
            except (BlockingIOError, EOFError):
                return
            frame, wanted = self._waiting.popleft()
            yield replace(frame, decoded=decoded), wanted


def _kind(frame: TimedFrame) -> tuple[Any, ...]:
    decoded = frame.decoded
    return decoded.width, decoded.height, decoded.format.name, frame.segment
