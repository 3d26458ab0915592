"""Frames as they arrive: what a camera and a network stream have in common, and the stamps that each frame gets."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..domain import Frame
from .source import DecodeReport, Sampling, SourceInfo


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a frame arrived, by two clocks of this machine.

    Attributes:
        monotonic: nanoseconds of ``time.monotonic_ns``, which never jumps.
        wall: nanoseconds since 1970 in UTC, of ``time.time_ns``, which may be set while it runs.
    """

    monotonic: int
    wall: int

    @classmethod
    def now(cls) -> Stamp:
        return cls(time.monotonic_ns(), time.time_ns())

    @property
    def wall_text(self) -> str:
        """The wall clock as the table's column ``wall_time`` has it, to the millisecond."""
        moment = datetime.fromtimestamp(self.wall // 1_000_000 / 1000, UTC)
        return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """A frame and when it arrived."""

    frame: Frame
    stamp: Stamp


class LiveSource(ABC):
    """A source whose frames arrive at their own pace, and that has no end of its own.

    Args:
        name: for messages, and in the sidecar.
        info: its size, and what else it declares.

    Attributes:
        path: the name, as other sources have their path.
        report: fills while frames arrive.
        notes: what was assumed, in sentences.
    """

    def __init__(self, name: str, info: SourceInfo) -> None:
        self.path, self.info = Path(name), info
        self.report, self.notes = DecodeReport(), list[str]()

    @abstractmethod
    def captured(self) -> Iterator[Captured]:
        """Frames as they arrive, until the source ends; why it ended early is then in ``report``."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the device or connection."""

    def frames(
        self, sampling: Sampling | None = None, on_audio: Callable[[Any], None] | None = None
    ) -> Iterator[Frame]:
        """The chosen frames as they arrive, none of them left out; ``on_audio`` is never called."""
        choose = (sampling or Sampling()).chooser()
        for one in self.captured():
            if choose(one.frame.index, one.frame.time):
                yield one.frame


class ArrivalClock:
    """Arrival times -> times of frames in seconds, from 0, in whole milliseconds, always rising.

    A Matroska file stores whole milliseconds, so a recording has exactly these times.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._last = -1

    def time(self, stamp: Stamp) -> float:
        """Seconds from the first frame."""
        if self._first is None:
            self._first = stamp.monotonic
        self._last = max(round((stamp.monotonic - self._first) / 1e6), self._last + 1)
        return self._last / 1000
