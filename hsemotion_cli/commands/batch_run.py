"""A batch from its plan to its end: what is done already, the run itself, the manifest and the list of failures."""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from ..batch import jsonl
from ..batch.discovery import Discovery
from ..batch.engine import Engine
from ..batch.job import JobConfig
from ..batch.locks import hold_lock
from ..batch.messages import Failure, Outcome, Task
from ..batch.resume import ExpectedResults, ResumeDecision, SourceStamp, judge, notes
from ..batch.scheduling import longest_first
from ..batch.shards import Shard
from ..errors import HsemotionError, InputError, OutputError
from ..pipeline import Settings
from ..runtime.atomic_files import prepare_folder, remove_leftovers
from ..runtime.terminal import printable, say
from .batch_view import print_counts, viewing
from .console import counting, print_json, print_line


@dataclasses.dataclass(frozen=True, slots=True)
class BatchPlan:
    """What is to be done.

    Attributes:
        tasks: of this shard, in the order in which they were found.
        verdicts: place -> whether it is done.
        sizes: path -> bytes of the source.
        faults: what was named and cannot be used.
    """

    tasks: list[Task]
    verdicts: dict[str, ResumeDecision]
    sizes: dict[str, int]
    faults: list[Outcome]

    @property
    def todo(self) -> list[Task]:
        return [task for task in self.tasks if not self.verdicts[task.place].done]

    @property
    def skipped(self) -> list[Outcome]:
        done = [(task, self.verdicts[task.place]) for task in self.tasks]
        return [Outcome(task, "skipped", facts=verdict.facts) for task, verdict in done if verdict.done]


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """What was named.

    Attributes:
        finding: everything that was found, for all shards.
        tasks: those of this shard.
        cut: this shard.
    """

    finding: Discovery
    tasks: list[Task]
    cut: Shard


def run(
    engine: Engine, job: JobConfig, inputs: Inputs, *, overwrite: bool, dry_run: bool, fail_fast: bool, quiet: bool,
    as_json: bool,
) -> int:  # fmt: skip
    """Annotate everything that is not done yet, or show what would be done; returns the exit code."""
    finding, tasks, cut = inputs.finding, inputs.tasks, inputs.cut
    with _stoppable():
        if dry_run:
            return _tell(finding, cut, job.out, _dry_plan(engine, job, finding, tasks, cut, overwrite), as_json)
        return _do(engine, job, finding, tasks, cut, overwrite, fail_fast, quiet, as_json)


def without_progress(settings: Settings, threads: int) -> Settings:
    """The settings for a worker, which reports its downloads through the engine."""
    return dataclasses.replace(settings, running=dataclasses.replace(settings.running, threads=threads, progress=None))


def _do(
    engine: Engine, order: JobConfig, finding: Discovery, tasks: list[Task], cut: Shard, overwrite: bool,
    fail_fast: bool, quiet: bool, as_json: bool,
) -> int:  # fmt: skip
    out, began = order.out, time.time()
    prepare_folder(out)
    with hold_lock(out, cut) as locked:
        if not locked and not quiet:
            say(f"{printable(str(out))}: no locks on this file system; start no second batch there.")
        for folder in {out, *(task.folder(out) for task in tasks)}:
            remove_leftovers(folder, began)
        with engine if tasks else contextlib.nullcontext():  # a shard may have nothing to do
            plan = _plan(order.wanted(engine.settings), out, tasks, finding, cut, overwrite, quiet or as_json)
            books = _Books(out, cut, order.wanted(engine.settings).hash)
            books.begin(plan)
            with viewing(len(plan.todo), quiet or as_json) as view:
                for outcome in engine.run(longest_first(plan.todo, plan.sizes), view.progress):
                    view.outcome(outcome)
                    books.add(outcome)
                    if outcome.failure or outcome.problem:
                        say(printable(outcome.failure.sentence if outcome.failure else outcome.problem))
                    if outcome.decoding and not (quiet or as_json):
                        say(printable(f"{outcome.task.path}: {outcome.decoding}"))
                    if outcome.failure and fail_fast:
                        break
        settled = books.end(plan)
    left = len(plan.todo) - len(books.done)
    if as_json:
        lines = [outcome.manifest() for outcome in settled]
        counts = {state: sum(o.state == state for o in settled) for state in ("done", "skipped", "failed")}
        print_json({"counts": {**counts, "left": left}, "results": lines})
    elif not quiet:
        print_counts(settled, left, time.time() - began, engine.workers)
    return _exit_code(settled)


class _Books:
    """The manifest and the list of failures of one run, kept as it goes."""

    def __init__(self, out: Path, cut: Shard, settings: str) -> None:
        self.manifest = out / f"manifest{cut.suffix}.jsonl"
        self.failures = out / f"failures{cut.suffix}.jsonl"
        self.done: list[Outcome] = []
        self._settings, self._ill = settings, False

    def begin(self, plan: BatchPlan) -> None:
        with self._tolerant():
            jsonl.append(self.manifest, [outcome.manifest() for outcome in plan.skipped])
            jsonl.rewrite(self.failures, self._failed([*plan.skipped, *plan.faults]))
        for fault in plan.faults:
            say(printable(fault.failure.sentence if fault.failure else ""))

    def add(self, outcome: Outcome) -> None:
        outcome = dataclasses.replace(outcome, facts={**outcome.facts, "settings": self._settings})
        self.done.append(outcome)
        with self._tolerant():
            jsonl.append(self.manifest, [outcome.manifest()])
            jsonl.append(self.failures, self._failed([outcome]))

    def end(self, plan: BatchPlan) -> list[Outcome]:
        """Write both anew, in the order of the inputs; returns what is in the manifest."""
        found = {outcome.task: outcome for outcome in (*plan.skipped, *self.done)}
        settled = [*(found[task] for task in plan.tasks if task in found), *plan.faults]
        with self._tolerant():
            jsonl.rewrite(self.manifest, [outcome.manifest() for outcome in settled])
            jsonl.rewrite(self.failures, self._failed(settled))
        return settled

    @staticmethod
    def _failed(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
        return [line for outcome in outcomes for line in outcome.failures()]

    @contextlib.contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Results count more than the books: where these cannot be written that is said once, and work goes on."""
        try:
            yield
        except OutputError as error:
            if not self._ill:
                say(printable(str(error)))
            self._ill = True


def _plan(
    wanted: ExpectedResults,
    out: Path,
    tasks: list[Task],
    finding: Discovery,
    cut: Shard,
    overwrite: bool,
    quiet: bool = True,
) -> BatchPlan:
    noted: dict[str, Any] = {} if overwrite else notes(out)
    verdicts: dict[str, ResumeDecision] = {}
    sizes, done = {}, 0
    # Where the manifest is lost the sources are read from end to end, and that may take its time.
    with counting("batch", "videos looked at", quiet) as count:
        for task in tasks:
            try:
                stamp = SourceStamp.of(task.path)
            except (OSError, HsemotionError):  # whoever opens it says what is wrong with it
                verdicts[task.place] = ResumeDecision(False, "its source cannot be used")
                continue
            sizes[task.path] = stamp.size
            if overwrite:
                verdicts[task.place] = ResumeDecision(False, "--overwrite")
            else:
                verdicts[task.place] = judge(task, out, wanted, stamp, noted.get(task.place))
            done += verdicts[task.place].done
            count(len(verdicts), len(tasks), f"{done} done already")
    return BatchPlan(tasks, verdicts, sizes, _faults(finding, cut))


def _dry_plan(
    engine: Engine, order: JobConfig, finding: Discovery, tasks: list[Task], cut: Shard, overwrite: bool
) -> BatchPlan:
    """The plan, without a trace in the output folder. Models are loaded only where a sidecar asks with which."""
    if overwrite or not any((task.folder(order.out) / f"{task.name}.json").is_file() for task in tasks):
        return _plan(order.wanted({}), order.out, tasks, finding, cut, overwrite)
    with engine:
        return _plan(order.wanted(engine.settings), order.out, tasks, finding, cut, overwrite)


def _faults(finding: Discovery, cut: Shard) -> list[Outcome]:
    return [
        Outcome(Task(path, ""), "failed", failure=Failure("find", type(error).__name__, str(error), usual=True))
        for path, error in finding.faults
        if cut.has(path)
    ]


def _tell(finding: Discovery, cut: Shard, out: Path, plan: BatchPlan, as_json: bool) -> int:
    """Say what would be done; returns the exit code."""
    rows: list[tuple[str, str, str, str]] = []
    for task in finding.tasks:
        verdict = plan.verdicts.get(task.place) or ResumeDecision(True, "in another shard")
        rows.append(("skip" if verdict.done else "annotate", task.path, task.place, verdict.reason))
    rows += [("ignore", path, "", reason) for path, reason in finding.ignored]
    rows += [("fail", fault.task.path, "", fault.failure.sentence if fault.failure else "") for fault in plan.faults]
    counts = {kind: sum(row[0] == kind for row in rows) for kind in ("annotate", "skip", "ignore", "fail")}
    if as_json:
        lines = [dict(zip(("action", "path", "output", "reason"), row, strict=True)) for row in rows]
        print_json({"counts": counts, "inputs": lines})
    else:
        for kind, path, place, reason in rows:
            to = f" -> {printable(str(out / place))}" if kind == "annotate" else ""
            print_line(f"{kind}: {printable(path)}{to} ({printable(reason)})")
        print_line(", ".join(f"{kind} {count}" for kind, count in counts.items()))
    return InputError.exit_code if counts["fail"] and not counts["annotate"] + counts["skip"] else 0


def _exit_code(settled: Sequence[Outcome]) -> int:
    """4 where nothing could be used, 3 where something failed or is not whole, else 0."""
    failed = [outcome.failure for outcome in settled if outcome.failure]
    if failed and len(failed) == len(settled) and all(failure.usual for failure in failed):
        return InputError.exit_code
    return OutputError.exit_code if failed or any(outcome.problem for outcome in settled) else 0


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Have the end of a session or of a cluster's job (SIGHUP, SIGTERM) stop the batch as Ctrl-C does, once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)  # what is left to do is over in a second or two
        raise KeyboardInterrupt

    heard = [number for number in numbers if before[number] is not signal.SIG_IGN]
    try:
        for number in heard:
            signal.signal(number, stop)
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
