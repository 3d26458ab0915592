"""A video file at its own pace, as if it were a camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from .live_source import Captured, Stamp
from .video import Source


class PacedFile:
    """Delivers each frame of a file when a player would show it.

    Args:
        source: the file.
        sleep: waits for a number of seconds.
    """

    def __init__(self, source: Source, sleep: Callable[[float], None] = time.sleep) -> None:
        self.source = source
        self._sleep = sleep

    def captured(self) -> Iterator[Captured]:
        """The frames of the file with their own times, none before its time; late ones at once."""
        begin: float | None = None
        for frame in self.source.frames():
            if begin is None:
                begin = time.monotonic() - frame.time
            wait = begin + frame.time - time.monotonic()
            if wait > 0:
                self._sleep(wait)
            yield Captured(frame, Stamp.now())

    def close(self) -> None:
        """A file is closed when its frames are read."""
