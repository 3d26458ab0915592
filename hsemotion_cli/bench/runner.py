"""Benchmark rounds: variants are measured alternately (A B C, A B C, ...), each run in its own process."""

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
        """CPU time as a share of wall time times cores."""
        return self.middle(lambda f: f.cpu / f.wall / cores)

    def ratios(self, other: Measurements) -> tuple[float, float, float]:
        """Speed relative to another variant, computed within each round: median, minimum, maximum."""
        each = [b.wall / b.frames / (a.wall / a.frames) for a, b in zip(self.runs, other.runs, strict=True)]
        return statistics.median(each), min(each), max(each)


def measure(
    jobs: Mapping[str, BenchmarkJob], repeat: int, progress: Callable[[int, int, str], None]
) -> dict[str, Measurements]:
    """Run every job ``repeat`` times, interleaved, so that a machine that slows down affects all of them.

    Raises:
        HsemotionError: whatever a run raised.
    """
    found = {name: Measurements() for name in jobs}
    for k, name in _rounds(jobs, repeat):
        progress(k, repeat * len(jobs), name)
        found[name].runs.append(run_in_subprocess(jobs[name]))
    progress(repeat * len(jobs), repeat * len(jobs), "done")
    return found


def run_in_subprocess(job: BenchmarkJob) -> BenchmarkResult:
    """Run a job in a new process, so that memory and start-up are its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, job).result()


def _rounds(jobs: Mapping[str, BenchmarkJob], repeat: int) -> Iterable[tuple[int, str]]:
    return enumerate(name for _ in range(repeat) for name in jobs)
