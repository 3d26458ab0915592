"""Where the time goes: seconds spent in each stage of a chain of generators."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StageClock:
    """Measures stages that pull from each other.

    A stage's own time is the time its ``next`` takes, less that of the stage that it pulls from; stages are named in
    the order in which data flows.
    """

    def __init__(self) -> None:
        self._inclusive: dict[str, float] = {}
        self._apart: dict[str, float] = {}
        self._began = time.perf_counter()

    def stage(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """Pass items through and measure how long they take to come."""
        # Here and not in the generator, which would only begin with the last stage's first item.
        self._inclusive[name] = 0.0
        return self._measured(name, iter(items))

    def _measured(self, name: str, iterator: Iterator[T]) -> Iterator[T]:
        while True:
            began = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self._inclusive[name] += time.perf_counter() - began
            yield item

    def add(self, name: str, seconds: float) -> None:
        """Record a step outside of the chain."""
        self._apart[name] = self._apart.get(name, 0.0) + seconds

    @property
    def elapsed(self) -> float:
        """Wall seconds since the clock was made."""
        return time.perf_counter() - self._began

    def seconds(self) -> dict[str, float]:
        """Stage -> own wall seconds, in the order of the flow."""
        own, upstream = {}, 0.0
        for name, inclusive in self._inclusive.items():
            own[name] = max(inclusive - upstream, 0.0)
            upstream = inclusive
        return {**own, **self._apart}
