"""Runs a batch: planning, skipping of finished inputs, the run itself, the manifest and the list of failures."""

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
from ..batch.output_paths import was_shortened
from ..batch.resume import ExpectedResults, ResumeDecision, SourceStamp, judge, notes
from ..batch.scheduling import longest_first
from ..batch.shards import Shard
from ..errors import HsemotionError, InputError, LowCoverage, OutputError, UsageError
from ..formats.ownership import check_outputs
from ..pipeline import Settings
from ..runtime.atomic_files import prepare_folder, remove_leftovers
from ..runtime.terminal import say
from .batch_export import BatchExports
from .batch_view import print_counts, print_where_to_look, viewing
from .console import counting, print_json, print_line, say_passed_over


@dataclasses.dataclass(frozen=True, slots=True)
class BatchPlan:
    """The work of a batch.

    Attributes:
        tasks: of this shard, in the order in which they were found.
        decisions: place -> whether it is done.
        sizes: path -> bytes of the source.
        refused: place -> why its results cannot be written there.
        faults: named inputs that cannot be used.
        min_coverage: share of frames with a face below which a video is noted.
        exported: place -> facts about the exports of a video that was annotated earlier.
    """

    tasks: list[Task]
    decisions: dict[str, ResumeDecision]
    sizes: dict[str, int]
    refused: dict[str, Outcome]
    faults: list[Outcome]
    min_coverage: float
    exported: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)

    @property
    def todo(self) -> list[Task]:
        return [t for t in self.tasks if t.place not in self.refused and not self.decisions[t.place].done]

    @property
    def skipped(self) -> list[Outcome]:
        done = [(task, self.decisions[task.place]) for task in self.tasks]
        outcomes = [
            Outcome(task, "skipped", facts={**decision.facts, **self.exported.get(task.place, {})})
            for task, decision in done
            if decision.done
        ]
        return [outcome.checked(self.min_coverage) for outcome in outcomes]

    @property
    def failed(self) -> list[Outcome]:
        """The inputs that fail before any work."""
        return [*self.refused.values(), *self.faults]


@dataclasses.dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a batch runs.

    Attributes:
        overwrite: annotate again what is done, and replace files that hsemotion did not write.
        fail_fast: stop at the first failure.
        min_coverage: share of frames with a face below which a video is noted and the exit code is 6.
        quiet: print errors only.
        as_json: print the result as JSON.
        report: make the page of each recording and their index when everything is annotated.
    """

    overwrite: bool = False
    fail_fast: bool = False
    min_coverage: float = 0.0
    quiet: bool = False
    as_json: bool = False
    report: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a batch.

    Attributes:
        finding: everything that was found, for all shards.
        tasks: those of this shard.
        cut: this shard.
    """

    finding: Discovery
    tasks: list[Task]
    cut: Shard


def run(
    engine: Engine, job: JobConfig, inputs: Inputs, options: BatchOptions, exports: BatchExports, *, dry_run: bool
) -> int:
    """Annotate everything that is not done yet, or show what would be done; returns the exit code.

    Raises:
        UsageError: a file of the user's has the name of the manifest or of the list of failures.
    """
    check_outputs(_Records.places(job.out, inputs.cut), options.overwrite)
    with _stoppable():
        if dry_run:
            if not options.quiet:
                say_passed_over((), inputs.finding.notes)  # the rows below name what is passed over
            plan = _dry_plan(engine, job, inputs, options)
            return _show_plan(inputs, job.out, plan, exports, options.as_json)
        if not options.quiet:
            say_passed_over(inputs.finding.ignored, inputs.finding.notes)
        return _do(engine, job, inputs, options, exports)


def without_progress(settings: Settings, threads: int) -> Settings:
    """The settings for a worker, which reports its downloads through the engine."""
    return dataclasses.replace(settings, running=dataclasses.replace(settings.running, threads=threads, progress=None))


def _do(engine: Engine, job: JobConfig, inputs: Inputs, options: BatchOptions, exports: BatchExports) -> int:
    out, began = job.out, time.time()
    prepare_folder(out)
    with hold_lock(out, inputs.cut) as locked:
        if not locked and not options.quiet:
            say(f"{out}: no locks on this file system; start no second batch there.")
        for folder in {out, *(task.folder(out) for task in inputs.tasks)}:
            remove_leftovers(folder, began)
        with engine if inputs.tasks else contextlib.nullcontext():  # a shard may have nothing to do
            wanted = job.wanted(engine.settings)
            plan = _plan(wanted, job, inputs, options)
            records = _Records(out, inputs.cut, wanted.hash)
            records.begin(plan)
            _say_shortened(plan.todo, options.quiet)
            _annotate(engine, plan, records, options)
        _catch_up(plan, exports)
        settled = records.end(plan)
        unexported = exports.finish(settled)
    unreported = _report(out, options) if options.report else []
    left = len(plan.todo) - len(records.done)
    if options.as_json:
        lines = [outcome.manifest() for outcome in settled]
        counts = {state: sum(o.state == state for o in settled) for state in ("done", "skipped", "failed")}
        ignored = [{"path": path, "reason": reason} for path, reason in inputs.finding.ignored]
        whole = {"counts": {**counts, "left": left}, "results": lines}
        print_json({**whole, "passed_over": ignored, "notes": inputs.finding.notes})
    elif not options.quiet:
        print_counts(settled, left, time.time() - began, engine.workers)
        print_where_to_look(settled, out, reported=options.report)
    return _exit_code(settled) or (OutputError.exit_code if unreported or unexported else 0)


def _report(out: Path, options: BatchOptions) -> list[HsemotionError]:
    """Make the pages of all recordings in the output folder, and their index; returns the errors, printed already."""
    from ..reporting.report_page import PageOptions
    from .report_run import write_folder

    quiet = options.quiet or options.as_json
    return write_folder(out, out, PageOptions(), options.overwrite, quiet)[1]


def _annotate(engine: Engine, plan: BatchPlan, records: _Records, options: BatchOptions) -> None:
    """Run the engine on all tasks, and record every outcome."""
    for outcome in plan.skipped:
        if outcome.low_coverage:
            say(outcome.low_coverage)
    with viewing(len(plan.todo), options.quiet or options.as_json) as view:
        for found in engine.run(longest_first(plan.todo, plan.sizes), view.progress):
            outcome = found.checked(plan.min_coverage)
            view.outcome(outcome)
            records.add(outcome)
            failure = outcome.failure.sentence if outcome.failure else ""
            for sentence in filter(None, (failure, outcome.problem, outcome.low_coverage, outcome.export_problem)):
                say(sentence)
            if outcome.decoding and not (options.quiet or options.as_json):
                say(f"{outcome.task.path}: {outcome.decoding}")
            if outcome.failure and options.fail_fast:
                break


def _catch_up(plan: BatchPlan, exports: BatchExports) -> None:
    """Export what an earlier run has annotated but not exported to all formats."""
    for outcome in plan.skipped:
        if facts := exports.catch_up(outcome):
            plan.exported[outcome.task.place] = facts
            if "export_problem" in facts:
                say(str(facts["export_problem"]))


def _say_shortened(tasks: Sequence[Task], quiet: bool) -> None:
    """Print which results are not named after their video."""
    cut = [task for task in tasks if was_shortened(task.place)]
    if cut and not quiet:
        count = f"the names of {len(cut)} inputs are" if len(cut) > 1 else "the name of one input is"
        example = f"{cut[0].place} for {cut[0].path}"
        say(f"{count} too long for results and shortened, as {example}; manifest.jsonl says which is which.")


class _Records:
    """The manifest and the list of failures of one run, updated after each video."""

    def __init__(self, out: Path, cut: Shard, settings: str) -> None:
        self.manifest, self.failures = self.places(out, cut)
        self.done: list[Outcome] = []
        self._settings, self._failing = settings, False

    @staticmethod
    def places(out: Path, cut: Shard) -> tuple[Path, Path]:
        """Where the manifest and the list of failures of a shard are."""
        return out / f"manifest{cut.suffix}.jsonl", out / f"failures{cut.suffix}.jsonl"

    def begin(self, plan: BatchPlan) -> None:
        with self._tolerant():
            jsonl.append(self.manifest, [outcome.manifest() for outcome in plan.skipped])
            jsonl.rewrite(self.failures, self._failed([*plan.skipped, *plan.failed]))
        for fault in plan.failed:
            say(fault.notes)

    def add(self, outcome: Outcome) -> None:
        outcome = dataclasses.replace(outcome, facts={**outcome.facts, "settings": self._settings})
        self.done.append(outcome)
        with self._tolerant():
            jsonl.append(self.manifest, [outcome.manifest()])
            jsonl.append(self.failures, self._failed([outcome]))

    def end(self, plan: BatchPlan) -> list[Outcome]:
        """Rewrite both in the order of the inputs; returns the lines of the manifest."""
        found = {outcome.task: outcome for outcome in (*plan.skipped, *plan.refused.values(), *self.done)}
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
        """Results matter more than records: if records cannot be written, report it once and continue."""
        try:
            yield
        except OutputError as error:
            if not self._failing:
                say(str(error))
            self._failing = True


def _plan(
    wanted: ExpectedResults, job: JobConfig, inputs: Inputs, options: BatchOptions, quiet: bool = False
) -> BatchPlan:
    out = job.out
    noted: dict[str, Any] = {} if options.overwrite else notes(out)
    decisions: dict[str, ResumeDecision] = {}
    refused: dict[str, Outcome] = {}
    sizes, done = {}, 0
    # Without a manifest the sources are hashed completely, which may take a while.
    with counting("batch", "videos looked at", quiet or options.quiet or options.as_json) as count:
        for task in inputs.tasks:
            try:
                stamp = SourceStamp.of(task.path)
            except (OSError, HsemotionError):  # the worker that opens it reports the reason
                decisions[task.place] = ResumeDecision(False, "its source cannot be used")
                continue
            sizes[task.path] = stamp.size
            if options.overwrite:
                decision = ResumeDecision(False, "--overwrite")
            else:
                decision = judge(task, out, wanted, stamp, noted.get(task.place))
            decisions[task.place] = decision
            if not decision.done and (failure := _refusal(task, job, wanted, options.overwrite)):
                refused[task.place] = Outcome(task, "failed", failure=failure)
            done += decision.done
            count(len(decisions), len(inputs.tasks), f"{done} done already")
    faults = _faults(inputs.finding, inputs.cut)
    return BatchPlan(inputs.tasks, decisions, sizes, refused, faults, options.min_coverage)


def _refusal(task: Task, job: JobConfig, wanted: ExpectedResults, overwrite: bool) -> Failure | None:
    """Why the results of a task cannot be written; checked before it is run."""
    try:
        check_outputs((task.folder(job.out) / name for name in wanted.files(task.name).values()), overwrite)
        job.exports.check(task, job.out)
    except UsageError as error:
        return Failure("write", "UsageError", str(error), usual=True)
    return None


def _dry_plan(engine: Engine, job: JobConfig, inputs: Inputs, options: BatchOptions) -> BatchPlan:
    """Plan the batch without writing to the output folder. Models are loaded only to compare them with a sidecar."""
    sidecars = (task.folder(job.out) / f"{task.name}.json" for task in inputs.tasks)
    if options.overwrite or not any(sidecar.is_file() for sidecar in sidecars):
        return _plan(job.wanted({}), job, inputs, options, quiet=True)
    with engine:
        return _plan(job.wanted(engine.settings), job, inputs, options, quiet=True)


def _faults(finding: Discovery, cut: Shard) -> list[Outcome]:
    return [
        Outcome(Task(path, ""), "failed", failure=Failure("find", type(error).__name__, str(error), usual=True))
        for path, error in finding.faults
        if cut.has(path)
    ]


def _show_plan(inputs: Inputs, out: Path, plan: BatchPlan, exports: BatchExports, as_json: bool) -> int:
    """Print what would be done; returns the exit code."""
    rows: list[tuple[str, str, str, str]] = []
    for task in inputs.finding.tasks:
        if task.place in plan.refused:
            continue
        decision = plan.decisions.get(task.place) or ResumeDecision(True, "in another shard")
        reason = decision.reason + (", name shortened" if was_shortened(task.place) else "")
        if task.place in plan.decisions and decision.done and (missing := exports.missing(task)):
            reason += f", to be exported to {', '.join(missing)}"
        rows.append(("skip" if decision.done else "annotate", task.path, task.place, reason))
    rows += [("ignore", path, "", reason) for path, reason in inputs.finding.ignored]
    rows += [("fail", fault.task.path, "", fault.notes) for fault in plan.failed]
    counts = {kind: sum(row[0] == kind for row in rows) for kind in ("annotate", "skip", "ignore", "fail")}
    if as_json:
        lines = [dict(zip(("action", "path", "output", "reason"), row, strict=True)) for row in rows]
        print_json({"counts": counts, "inputs": lines, "notes": inputs.finding.notes})
    else:
        for kind, path, place, reason in rows:
            to = f" -> {out / place}" if kind == "annotate" else ""
            print_line(f"{kind}: {path}{to} ({reason})")
        print_line(", ".join(f"{kind} {count}" for kind, count in counts.items()))
    return InputError.exit_code if counts["fail"] and not counts["annotate"] + counts["skip"] else 0


def _exit_code(settled: Sequence[Outcome]) -> int:
    """4 if no input could be used, 3 if some failed or are incomplete, 6 for low coverage, else 0."""
    failed = [outcome.failure for outcome in settled if outcome.failure]
    if failed and len(failed) == len(settled) and all(failure.usual for failure in failed):
        return InputError.exit_code
    if failed or any(outcome.problem or outcome.export_problem for outcome in settled):
        return OutputError.exit_code
    return LowCoverage.exit_code if any(outcome.low_coverage for outcome in settled) else 0


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Let the end of a session or of a cluster job (SIGHUP, SIGTERM) stop the batch once, as Ctrl-C does.

    SIGBREAK is what Windows has for Ctrl-Break and for a closed window.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
    numbers = [number for name in names if (number := getattr(signal, name, None)) is not None]
    before = {number: signal.getsignal(number) for number in numbers}

    def stop(_number: int, _frame: FrameType | None) -> None:
        for number in heard:
            signal.signal(number, signal.SIG_IGN)  # cleaning up takes a second or two
        raise KeyboardInterrupt

    heard = [number for number in numbers if before[number] is not signal.SIG_IGN]
    try:
        for number in heard:
            signal.signal(number, stop)
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
