"""Captured frames -> the newest one, whenever the analysis is ready for it.

A thread reads the source as fast as frames arrive. Only the newest frame waits; the one that it replaces is dropped and
counted, so a slow analysis is never behind by more than one frame.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol

from ..media.live_source import Captured


class Input(Protocol):
    """What frames arrive from: ``media.live_source.LiveSource`` or ``media.paced_file.PacedFile``."""

    def captured(self) -> Iterator[Captured]:
        """Frames as they arrive."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


_PATIENCE = 2.0
"""Seconds that the end waits for a read in progress; a device that hangs is left to the end of the process."""


class Capture:
    """The newest frames of a source; use it as a context manager, and iterate over it once.

    Args:
        source: is closed at the end.
        seconds: after which no frame is taken, from the arrival of the first; None for no limit.

    Attributes:
        captured: frames that have arrived.
        dropped: frames that were replaced by a newer one before they were analysed.
    """

    def __init__(self, source: Input, seconds: float | None = None) -> None:
        self._source, self._seconds = source, seconds
        self._waiting: Captured | None = None
        self._changed = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self.captured = self.dropped = 0
        self._thread = threading.Thread(target=self._read, name="capture", daemon=True)

    def __enter__(self) -> Capture:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._thread.join(_PATIENCE)

    def __iter__(self) -> Iterator[Captured]:
        """Yield the newest frame, as soon as there is one; ends with the source or after ``stop``.

        Raises:
            Exception: what reading the source raised, after the last frame before it.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._ended or self._waiting is not None)
                one, self._waiting = self._waiting, None
                if one is None or self._stopped:
                    self.dropped += one is not None
                    error = self._error
                    break
            yield one
        if error is not None:
            raise error

    def stop(self) -> None:
        """Take no further frame; from any thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Close a source that was never read; otherwise the thread that reads it does so."""
        if self._thread.ident is None:
            self._source.close()

    def _read(self) -> None:
        error: BaseException | None = None
        try:
            self._read_all()
        except Exception as problem:  # raised again where the frames are taken
            error = problem
        finally:
            with self._changed:
                self._ended, self._error = True, error
                self._changed.notify_all()
            self._source.close()

    def _read_all(self) -> None:
        first: int | None = None
        for one in self._source.captured():
            first = one.stamp.monotonic if first is None else first
            over = self._seconds is not None and one.stamp.monotonic - first >= self._seconds * 1e9
            with self._changed:
                if self._stopped or over:
                    return
                self.captured += 1
                self.dropped += self._waiting is not None
                self._waiting = one
                self._changed.notify_all()
