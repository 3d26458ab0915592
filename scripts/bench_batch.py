"""How much do more workers bring, and what does Ray cost? Rounds of one batch in several ways, one after the other.

The same files are annotated by one process of this machine, by two, and by two workers of a Ray cluster that is started
here, in turn, so that other load on the machine affects all. Start-up and work are measured separately. Ratios are
of one round; their median, least and greatest are printed, and tables that differ end the script. On a machine that
others use as well, processor seconds say more than those of the clock; those of all processes are counted, also Ray's
own.
Run: python scripts/bench_batch.py [--rounds 5] [--copies 4] [--every 3] [--videos sample_videos] [--no-ray]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsemotion_cli.batch.job import OPENER, JobConfig
from hsemotion_cli.batch.local_engine import LocalEngine
from hsemotion_cli.batch.messages import Task
from hsemotion_cli.batch.worker import WorkerConfig
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.models.predict import InferenceOptions
from hsemotion_cli.pipeline import Settings
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.runtime import resources

SAMPLES = Path(__file__).parent.parent / "sample_videos"


@dataclass(frozen=True, slots=True)
class Measured:
    """One batch.

    Attributes:
        start: seconds until the first worker was ready.
        work: seconds from then on until the last table was written.
        frames: analysed.
        processor: seconds that all processes together used for the work.
    """

    start: float
    work: float
    frames: int
    processor: float


def main() -> None:
    """Make the study, run the rounds, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=4, help="of each video")
    parser.add_argument("--every", type=int, default=3, help="analyse every Nth frame")
    parser.add_argument("--videos", type=Path, default=SAMPLES)
    parser.add_argument("--no-ray", action="store_true")
    options = parser.parse_args()
    videos = sorted(path.absolute() for path in options.videos.iterdir() if path.suffix in {".mp4", ".mov"})
    tasks = [Task(str(video), f"{video.stem}-{k}") for k in range(options.copies) for video in videos]
    ways: dict[str, Callable[..., Any]] = {"1 worker": local(1), "2 workers": local(2)}
    if not options.no_ray:
        ways["2 workers, Ray"] = on_ray()
    rounds: list[dict[str, Measured]] = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(options.rounds):
            order = list(ways) if k % 2 == 0 else list(ways)[::-1]
            found = {way: measure(ways[way], tasks, Path(folder) / way, options.every) for way in order}
            same_tables([Path(folder) / way for way in ways])
            rounds.append(found)
            for way in ways:
                tell(way, found[way])
    print(f"{len(tasks)} videos, {resources.cores()} cores, {options.rounds} rounds")
    compare("2 workers against 1, frames/s", [r["1 worker"].work / r["2 workers"].work for r in rounds], "x")
    more = [r["2 workers"].processor / r["1 worker"].processor for r in rounds]
    compare("2 workers against 1, processor seconds", more, "x")
    if not options.no_ray:
        pairs = [(r["2 workers, Ray"], r["2 workers"]) for r in rounds]
        compare("Ray against local, seconds of work", [100 * (ray.work / own.work - 1) for ray, own in pairs], "%")
        more = [100 * (ray.processor / own.processor - 1) for ray, own in pairs]
        compare("Ray against local, processor seconds of work", more, "%")
        compare("Ray against local, seconds to start", [ray.start - own.start for ray, own in pairs], "s more")


def local(workers: int) -> Callable[[WorkerConfig, Path], Any]:
    """An engine of this machine."""
    return lambda setup, out: LocalEngine(setup, out, workers=workers)


def on_ray() -> Callable[[WorkerConfig, Path], Any]:
    """An engine on a cluster of its own. Ray lowers its priority unless configured otherwise; local workers do not."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (its name is so)
    from hsemotion_cli.batch.ray_engine import RayEngine

    return lambda setup, out: RayEngine(setup, out, address="local", workers=2)


def measure(engine: Callable[[WorkerConfig, Path], Any], tasks: Sequence[Task], out: Path, every: int) -> Measured:
    """Annotate everything again, with one thread per worker."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    settings = Settings(recipe=Recipe.usual(), sampling=Sampling(every=every), running=InferenceOptions(threads=1))
    began = time.perf_counter()
    with engine(WorkerConfig(OPENER, JobConfig(settings, out), 1), out) as started:
        ready, before = time.perf_counter(), used()
        outcomes = list(started.run(tasks, lambda news: None))
        end, after = time.perf_counter(), used()
    if failed := [outcome.failure.sentence for outcome in outcomes if outcome.failure]:
        sys.exit(failed[0])
    frames = sum(int(outcome.facts["frames"]) for outcome in outcomes)
    return Measured(ready - began, end - ready, frames, after - before)


def used() -> float:
    """Processor seconds that this process and all below it have used until now."""
    ticks, waiting = 0, [os.getpid()]
    while waiting:
        process = waiting.pop()
        with contextlib.suppress(OSError):  # it has just ended
            # The name in brackets may contain anything; times in user and system mode are the 14th and 15th word.
            words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, words[11:13]))
            for thread in os.listdir(f"/proc/{process}/task"):
                waiting += map(int, Path(f"/proc/{process}/task/{thread}/children").read_text().split())
    return ticks / os.sysconf("SC_CLK_TCK")


def same_tables(folders: Sequence[Path]) -> None:
    """End the script unless every way has made the same bytes."""
    first, *others = ({path.name: path.read_bytes() for path in folder.glob("*.csv")} for folder in folders)
    if not first or any(other != first for other in others):
        sys.exit("the tables differ")


def tell(way: str, found: Measured) -> None:
    """One line about one batch."""
    rate, cores = found.frames / found.work, found.processor / found.work
    each = 1000 * found.processor / found.frames
    print(
        f"{way:>14}: start {found.start:.1f} s, work {found.work:.1f} s, {rate:.1f} frames/s, "
        f"{each:.1f} processor ms a frame, {cores:.2f} cores busy",
        flush=True,
    )


def compare(what: str, ratios: Sequence[float], unit: str) -> None:
    """Median, least and greatest of one ratio of every round."""
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    print(f"{what}: {middle:.2f} {unit} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
