"""Where the time goes: busy and waiting seconds of each stage, whether stages take turns or overlap."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class StageClock:
    """Measures stages, from any number of threads.

    Time counts for the innermost block that is measured in a thread: the time in which a stage pulls from the stage
    before it is that stage's, and the time in which it waits for another thread is work of neither.
    """

    def __init__(self) -> None:
        self._busy: dict[str, float] = {}
        self._waited: dict[str, float] = {}
        self._local = threading.local()
        self._lock = threading.Lock()
        self._began = time.perf_counter()

    def stage(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items through and measure how long they take to come."""
        self.name(name)
        return self._measured(name, iter(items))

    def name(self, name: str) -> None:
        """Give a stage its place in the order of stages, which is the order of these calls."""
        self._busy.setdefault(name, 0.0)

    def busy(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Measure a block as work of a stage."""
        return self._inside(self._busy, name)

    def waiting(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Measure a block in which a stage waits for another one."""
        return self._inside(self._waited, name)

    @property
    def elapsed(self) -> float:
        """Wall seconds since the clock was made."""
        return time.perf_counter() - self._began

    def seconds(self) -> dict[str, float]:
        """Stage -> seconds of work, in the order of stages; where stages overlap, they may add up to more than the wall
        time."""
        with self._lock:
            return dict(self._busy)

    def waits(self) -> dict[str, float]:
        """ "STAGE: what it waited for" -> seconds, over all threads."""
        with self._lock:
            return dict(self._waited)

    def timing(self) -> dict[str, Any]:
        """Wall seconds so far, and the seconds of work and of waiting by stage, for the sidecar."""
        stages, waits = ({k: round(v, 3) for k, v in each.items()} for each in (self.seconds(), self.waits()))
        return {"elapsed": round(self.elapsed, 3), "stages": stages, "waits": waits}

    def _measured(self, name: str, iterator: Iterator[T]) -> Iterator[T]:
        while True:
            with self.busy(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    @contextlib.contextmanager
    def _inside(self, totals: dict[str, float], name: str) -> Iterator[None]:
        outer = getattr(self._local, "inner", 0.0)
        self._local.inner = 0.0
        began = time.perf_counter()
        try:
            yield
        finally:
            whole = time.perf_counter() - began
            with self._lock:
                totals[name] = totals.get(name, 0.0) + whole - self._local.inner
            self._local.inner = outer + whole
