"""What all engines share: which worker gets which task, what is tried again, and when a worker has to go.

``local_engine`` has workers that are processes of this machine, ``ray_engine`` those of many machines.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import HsemotionError, ModelUnavailable
from .engine import Report
from .messages import (
    Downloading,
    Failed,
    Failure,
    Finished,
    Message,
    Outcome,
    Progress,
    Ready,
    Refused,
    Task,
    Working,
)

_TICK = 1.0
GRACE = 1.0
"""Seconds in which a worker may clean up after itself."""
_MOST_STARTS = 3

Fetching = Callable[[int, int | None], None]
"""Called with the bytes of a download so far, and all of them if they are known."""


class PooledWorker(ABC):
    """One worker, seen from the pool.

    Attributes:
        ready: it has loaded its models.
        leaving: it takes no further task.
        ended: it is gone, or about to be.
        lost: it went with its machine, for which its task is not to blame.
        settings: what its results depend on; set when it is ready.
        task: what it does; None while it is idle.
        folder: of its last task's results, below the output folder.
        stage: of its task.
        began, deadline: of its task, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.ready = self.leaving = self.ended = self.lost = False
        self.settings: dict[str, Any] = {}
        self.task: Task | None = None
        self.folder: Path | None = None
        self.stage, self.began, self.deadline = "read", 0.0, float("inf")

    def begin(self, task: Task, timeout: float | None) -> None:
        """Give it a task, and a limit in seconds or None."""
        self.task, self.stage, self.began = task, "read", time.monotonic()
        self.folder = task.folder(Path())
        self.deadline = float("inf") if timeout is None else self.began + timeout
        self.send(task)

    @abstractmethod
    def send(self, task: Task) -> None:
        """Pass a task on; where that fails ``messages`` notices."""

    @abstractmethod
    def messages(self) -> Iterator[Message]:
        """What it has sent since the last call; sets ``ended`` when it has ended, or sends what is no message."""

    @abstractmethod
    def stop(self, *, gently: bool) -> None:
        """Have it end soon, after it has removed its temporary files if it does something."""

    @abstractmethod
    def end(self, grace: float) -> None:
        """Wait that many seconds for its end, then kill it."""

    @abstractmethod
    def last_words(self) -> str:
        """How it ended, in a few words; it is killed if it has not ended yet."""

    @abstractmethod
    def forget_words(self) -> None:
        """Drop what it has printed so far, so that a weekend of it fills no disk."""

    @abstractmethod
    def clean(self, out: Path) -> None:
        """Remove its temporary files from the folder of its last task, now that it is gone."""


class WorkerPool(ABC):
    """An engine with workers that load their models once; see ``Engine``.

    Args:
        out: the output folder, where temporary files of killed workers are removed.
        timeout: seconds that one attempt may take, or None.
        retries: further attempts after a crash, a time-out, or a result that could not be written.
        fetching: receives the progress of downloads.

    Attributes:
        workers: most workers at the same time.

    Raises:
        HsemotionError: on entering, whatever the first worker met with when it loaded its models.
    """

    def __init__(
        self, out: Path, *, workers: int, timeout: float | None, retries: int, fetching: Fetching | None
    ) -> None:
        self.settings: dict[str, Any] = {}
        self.workers = workers
        self._out, self._timeout, self._retries, self._fetching = out, timeout, retries, fetching
        self._running: list[Any] = []
        self._attempts: Counter[Task] = Counter()
        self._seconds: defaultdict[Task, float] = defaultdict(float)
        self._bad_starts = 0
        self._why = ""

    @abstractmethod
    def _start_worker(self) -> PooledWorker:
        """A new worker, which begins to load its models."""

    @abstractmethod
    def _wait(self, seconds: float) -> None:
        """Return when a worker has sent something, or after that many seconds."""

    def _start_first(self) -> PooledWorker:
        """Start the first worker and wait until it is ready."""
        first = self._start_worker()
        self._running.append(first)
        while not first.ready:
            self._wait(_TICK)
            for message in first.messages():
                self._on_start(first, message)
            if first.ended:
                raise ModelUnavailable(f"no worker could start: {first.last_words()}.")
        self.settings = first.settings
        return first

    def _shut_down(self) -> None:
        """End all workers, at once."""
        for worker in self._running:
            worker.stop(gently=worker.task is not None)
        deadline = time.monotonic() + GRACE
        for worker in self._running:
            worker.end(max(deadline - time.monotonic(), 0))
            worker.clean(self._out)
        self._running.clear()

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[Outcome]:
        """See ``Engine``."""
        waiting = deque(tasks)
        while waiting or any(worker.task for worker in self._running):
            yield from self._assign(waiting)
            self._wait(self._until())
            for worker in list(self._running):
                for message in worker.messages():
                    yield from self._settled(worker, self._on_message(worker, message, report), waiting)
                yield from self._settled(worker, self._on_trouble(worker), waiting)
            report(None)

    def _assign(self, waiting: deque[Task]) -> Iterator[Outcome]:
        """Give every idle worker a task, and start more workers while there are tasks for them."""
        for worker in self._running:
            if worker.ready and not worker.leaving and worker.task is None and waiting:
                worker.begin(waiting.popleft(), self._timeout)
        starting = sum(not worker.ready for worker in self._running)
        if self._bad_starts < _MOST_STARTS:
            for _ in range(min(self.workers - len(self._running), len(waiting) - starting)):
                self._running.append(self._start_worker())
        elif not self._running:
            while waiting:
                task = waiting.popleft()
                sentence = f"{task.path}: not tried, since no worker can start any more: {self._why}."
                yield self._outcome(task, Failure("read", "Crash", sentence))

    def _until(self) -> float:
        ends = [worker.deadline - time.monotonic() for worker in self._running if worker.task]
        return max(min([_TICK, *ends]), 0)

    def _on_start(self, worker: PooledWorker, message: Message) -> None:
        match message:
            case Downloading(have, total) if self._fetching:
                self._fetching(have, total)
            case Refused(error, sentence):
                raise _error(error, sentence)
            case Ready(settings):
                worker.ready, worker.settings = True, settings

    def _on_message(self, worker: PooledWorker, message: Message, report: Report) -> Outcome | Failure | None:
        """What a message means for the worker's task."""
        task = worker.task
        if task is None:
            self._on_replacement(worker, message)
            return None
        match message:
            case Working(stage, done, faces, total):
                worker.stage = stage
                report(Progress(task, stage, done, faces, total))
            case Finished(facts):
                self._count(worker)
                return self._outcome(task, None, facts)
            case Failed():
                worker.leaving = message.leaving
                return message
        return None

    def _on_replacement(self, worker: PooledWorker, message: Message) -> None:
        """A message of a worker that was started later; one that cannot start, or would do other things, has to go."""
        try:
            self._on_start(worker, message)
            if worker.ready and worker.settings != self.settings:
                self._bad_starts = _MOST_STARTS
                raise ModelUnavailable("a model or its surroundings are not those with which this batch began")
            self._bad_starts = 0 if worker.ready else self._bad_starts
        except HsemotionError as error:
            self._why = str(error).removesuffix(".")
            worker.ready = False
            worker.end(GRACE)

    def _on_trouble(self, worker: PooledWorker) -> Failure | None:
        """Whether a worker died or takes too long; it leaves the pool then."""
        failure = None
        if worker.task and time.monotonic() >= worker.deadline and not worker.ended:
            worker.end(0)
            sentence = f"{worker.task.path}: it took longer than --timeout {self._timeout:g} s; give it more, or less"
            failure = Failure(worker.stage, "Timeout", f"{sentence} to do (--fps, --every).")
        elif worker.ended and worker.task:
            failure = Failure(worker.stage, "Crash", f"{worker.task.path}: {worker.last_words()}.")
        elif worker.ended and not worker.ready and not worker.lost:
            self._bad_starts += 1
            self._why = self._why or worker.last_words()
        if worker.ended:
            worker.end(GRACE)
            worker.clean(self._out)
            self._running.remove(worker)
        return failure

    def _settled(
        self, worker: PooledWorker, found: Outcome | Failure | None, waiting: deque[Task]
    ) -> Iterator[Outcome]:
        """The outcome of a task, unless it is tried again."""
        if isinstance(found, Outcome):
            yield found
        elif found is not None and worker.task is not None:
            task = worker.task
            self._count(worker)
            if not found.usual and self._attempts[task] <= self._retries:
                waiting.append(task)
            else:
                yield self._outcome(task, found)

    def _count(self, worker: PooledWorker) -> None:
        """One more attempt, and the time it took; the worker is idle now."""
        assert worker.task is not None
        self._attempts[worker.task] += 1
        self._seconds[worker.task] += time.monotonic() - worker.began
        worker.task = None
        worker.forget_words()

    def _outcome(self, task: Task, failure: Failure | None, facts: dict[str, Any] | None = None) -> Outcome:
        state = "failed" if failure else "done"
        return Outcome(task, state, self._attempts[task], self._seconds[task], facts or {}, failure)


def _error(name: str, sentence: str) -> HsemotionError:
    """The error that a worker met with, here."""
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, HsemotionError):
        return kind(sentence)
    return HsemotionError(sentence)
