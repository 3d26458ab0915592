"""Deferring Ctrl-C until native objects are completely constructed, or completely destroyed."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def defer_interrupt() -> Iterator[None]:
    """Hold back an interrupt that arrives inside the block until its end. Only for blocks that end at once.

    A MediaPipe task that was not completely constructed prints errors from its destructor when the interpreter ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # interrupts are delivered to the main thread only
        return
    arrived: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: arrived.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if arrived and callable(before):
            before(*arrived[0])
