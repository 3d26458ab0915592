"""Variants, measured in turn, round after round, each run in a process of its own: A B C, A B C, ..."""

from __future__ import annotations

import multiprocessing
import statistics
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from .measure import run
from .records import BenchmarkJob, BenchmarkResult


@dataclass(slots=True)
class Measurements:
    """All runs of one variant."""

    runs: list[BenchmarkResult] = field(default_factory=list)

    def middle(self, value: Callable[[BenchmarkResult], float]) -> float:
        """The median over the runs."""
        return statistics.median(map(value, self.runs))

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.middle(lambda f: f.frames / f.wall)

    @property
    def cpu(self) -> float:
        """CPU seconds for one frame."""
        return self.middle(lambda f: f.cpu / max(f.frames, 1))

    def efficiency(self, cores: int) -> float:
        """Share of what the cores could do that was done: CPU time over wall time and cores."""
        return self.middle(lambda f: f.cpu / f.wall / cores)

    def ratios(self, other: Measurements) -> tuple[float, float, float]:
        """How many times as fast as another variant, within each round: median, least, most."""
        each = [b.wall / b.frames / (a.wall / a.frames) for a, b in zip(self.runs, other.runs, strict=True)]
        return statistics.median(each), min(each), max(each)


def measure(
    orders: Mapping[str, BenchmarkJob], repeat: int, progress: Callable[[int, int, str], None]
) -> dict[str, Measurements]:
    """Run every order ``repeat`` times, interleaved, so that a machine that slows down slows all of them.

    Raises:
        HsemotionError: whatever a run raised.
    """
    found = {name: Measurements() for name in orders}
    for k, name in _rounds(orders, repeat):
        progress(k, repeat * len(orders), name)
        found[name].runs.append(run_in_subprocess(orders[name]))
    progress(repeat * len(orders), repeat * len(orders), "done")
    return found


def run_in_subprocess(order: BenchmarkJob) -> BenchmarkResult:
    """Run an order in a new process, whose memory and start-up are then its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, order).result()


def _rounds(orders: Mapping[str, BenchmarkJob], repeat: int) -> Iterable[tuple[int, str]]:
    return enumerate(name for _ in range(repeat) for name in orders)
