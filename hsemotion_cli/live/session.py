"""A live session from its start to its end: the window and Ctrl-C in the main thread, everything else in another."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from .window import Window

T = TypeVar("T")

_TICK, _SLOW_TICK = 0.01, 0.1
"""Seconds between two looks at the window, and without one."""


class _Work(threading.Thread, Generic[T]):
    """Runs a function, and keeps its result or error."""

    def __init__(self, run: Callable[[], T]) -> None:
        super().__init__(name="live", daemon=True)
        self._work = run
        self.result: T | None = None
        self.error: BaseException | None = None
        self.over = threading.Event()  # an interrupted join would count the thread as ended, up to Python 3.12

    def run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # raised again in the main thread
            self.error = error
        finally:
            self.over.set()


def watch(run: Callable[[], T], stop: Callable[[], None], window: Window | None) -> T:
    """Run a session until it ends by itself, or its window is closed, or the user or the system asks it to end.

    Ctrl-C and SIGTERM end it as its own end would, with all results. A second Ctrl-C does not wait for them.

    Args:
        run: the session.
        stop: lets it end.
        window: is drawn meanwhile, or None.

    Raises:
        BaseException: what the session raised.
        KeyboardInterrupt: at the second Ctrl-C.
    """
    work, asked = _Work(run), False
    with _on_terminate(stop):
        work.start()
        while not work.over.is_set():
            try:
                if window is not None and not window.closed:
                    window.update()
                    if window.closed:
                        stop()
                work.over.wait(_TICK if window is not None and not window.closed else _SLOW_TICK)
            except KeyboardInterrupt:
                if asked:
                    raise
                asked = True
                stop()
    if work.error is not None:
        raise work.error
    return work.result  # type: ignore[return-value]  # None only with an error, or where ``run`` returns it


@contextlib.contextmanager
def _on_terminate(stop: Callable[[], None]) -> Iterator[None]:
    """SIGTERM, by which services are ended, calls ``stop``."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are delivered to the main thread only
        return
    before = signal.signal(signal.SIGTERM, lambda *_: stop())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
