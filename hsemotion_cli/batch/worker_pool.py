"""What all engines share: who gets which task, what is tried again, and when a worker has to go.

Where a worker lives is its own matter: ``local`` has processes of this machine, ``cluster`` those of many.
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
from .messages import Failure, Outcome, Progress, Task

_TICK = 1.0
GRACE = 1.0
"""Seconds in which a worker may clean up after itself."""
_MOST_STARTS = 3

Fetching = Callable[[int, int | None], None]


class PooledWorker(ABC):
    """One worker, seen from the process that commands it.

    Attributes:
        ready: it has loaded its models.
        leaving: it takes no further task.
        ended: it is gone, or about to be.
        lost: it went with its machine, which is no fault of what it did.
        settings: what its results depend on; there when it is ready.
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
        """Give it a task, and so many seconds for it."""
        self.task, self.stage, self.began = task, "read", time.monotonic()
        self.folder = task.folder(Path())
        self.deadline = float("inf") if timeout is None else self.began + timeout
        self.send(task)

    @abstractmethod
    def send(self, task: Task) -> None:
        """Pass a task on; that it could not be is told by ``messages``."""

    @abstractmethod
    def messages(self) -> Iterator[dict[str, Any]]:
        """What it has said since the last time, as ``worker`` describes; notes when it has ended."""

    @abstractmethod
    def stop(self, *, gently: bool) -> None:
        """Have it end soon, after it has removed its temporary files if it does something."""

    @abstractmethod
    def end(self, grace: float) -> None:
        """Wait for its end for so many seconds, then make it end."""

    @abstractmethod
    def last_words(self) -> str:
        """How it ended, in a few words; it is made to end if it has not yet."""

    @abstractmethod
    def forget_words(self) -> None:
        """Begin anew with what it printed, so that a weekend of it fills no disk."""

    @abstractmethod
    def clean(self, out: Path) -> None:
        """Remove what it has left in the folder of its last task, now that it is gone."""


class WorkerPool(ABC):
    """An engine with workers, each of which loads its models once; see ``Engine``.

    Args:
        out: the output folder, where temporary files of killed workers are removed.
        timeout: seconds that one attempt may take, or None.
        retries: further attempts after a crash, a time-out, or a result that could not be written.
        fetching: is told of downloads.

    Attributes:
        workers: at most so many at once.

    Raises:
        HsemotionError: on entering, whatever the first worker met with when it loaded its models.
    """

    def __init__(
        self, out: Path, *, workers: int, timeout: float | None, retries: int, fetching: Fetching | None
    ) -> None:
        self.settings: dict[str, Any] = {}
        self.workers = workers
        self._out, self._timeout, self._retries, self._fetching = out, timeout, retries, fetching
        self._crew: list[Any] = []
        self._attempts: Counter[Task] = Counter()
        self._seconds: defaultdict[Task, float] = defaultdict(float)
        self._bad_starts = 0
        self._why = ""

    @abstractmethod
    def _hire(self) -> PooledWorker:
        """A new worker, which begins to load its models."""

    @abstractmethod
    def _wait(self, seconds: float) -> None:
        """Return when a worker has news, or after so many seconds."""

    def _first(self) -> PooledWorker:
        """Hire the first worker and wait until it is ready."""
        first = self._hire()
        self._crew.append(first)
        while not first.ready:
            self._wait(_TICK)
            for message in first.messages():
                self._on_start(first, message)
            if first.ended:
                raise ModelUnavailable(f"no worker could start: {first.last_words()}.")
        self.settings = first.settings
        return first

    def _dismiss(self) -> None:
        """End all workers, at once."""
        for worker in self._crew:
            worker.stop(gently=worker.task is not None)
        deadline = time.monotonic() + GRACE
        for worker in self._crew:
            worker.end(max(deadline - time.monotonic(), 0))
            worker.clean(self._out)
        self._crew.clear()

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[Outcome]:
        """See ``Engine``."""
        waiting = deque(tasks)
        while waiting or any(worker.task for worker in self._crew):
            yield from self._staff(waiting)
            self._wait(self._until())
            for worker in list(self._crew):
                for message in worker.messages():
                    yield from self._settled(worker, self._on_message(worker, message, report), waiting)
                yield from self._settled(worker, self._on_trouble(worker), waiting)
            report(None)

    def _staff(self, waiting: deque[Task]) -> Iterator[Outcome]:
        """Give every idle worker a task, and hire more while there are tasks for them."""
        for worker in self._crew:
            if worker.ready and not worker.leaving and worker.task is None and waiting:
                worker.begin(waiting.popleft(), self._timeout)
        coming = sum(not worker.ready for worker in self._crew)
        if self._bad_starts < _MOST_STARTS:
            for _ in range(min(self.workers - len(self._crew), len(waiting) - coming)):
                self._crew.append(self._hire())
        elif not self._crew:
            while waiting:
                task = waiting.popleft()
                sentence = f"{task.path}: not tried, since no worker can start any more: {self._why}."
                yield self._outcome(task, Failure("read", "Crash", sentence))

    def _until(self) -> float:
        ends = [worker.deadline - time.monotonic() for worker in self._crew if worker.task]
        return max(min([_TICK, *ends]), 0)

    def _on_start(self, worker: PooledWorker, message: dict[str, Any]) -> None:
        if message["kind"] == "fetching" and self._fetching:
            self._fetching(message["have"], message["total"])
        elif message["kind"] == "refused":
            raise _error(message)
        elif message["kind"] == "ready":
            worker.ready, worker.settings = True, message["settings"]

    def _on_message(self, worker: PooledWorker, message: dict[str, Any], report: Report) -> Outcome | Failure | None:
        """What a message means for the worker's task."""
        kind, task = message["kind"], worker.task
        if task is None:
            self._on_replacement(worker, message)
        elif kind == "progress":
            worker.stage = message["stage"]
            report(Progress(task, worker.stage, message["done"], message["faces"], message["total"]))
        elif kind == "done":
            self._count(worker)
            return self._outcome(task, None, message["facts"])
        elif kind == "failed":
            worker.leaving = message["leaving"]
            return Failure(message["stage"], message["error"], message["sentence"], message["usual"])
        return None

    def _on_replacement(self, worker: PooledWorker, message: dict[str, Any]) -> None:
        """What a worker says that was hired later; one that may not start, or would do other things, has to go."""
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
        """Whether a worker died or takes too long; it leaves the crew then."""
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
            self._crew.remove(worker)
        return failure

    def _settled(
        self, worker: PooledWorker, found: Outcome | Failure | None, waiting: deque[Task]
    ) -> Iterator[Outcome]:
        """What has come of a task, unless it is tried again."""
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


def _error(message: dict[str, Any]) -> HsemotionError:
    """The error that a worker met with, here."""
    kind = getattr(errors, message["error"], HsemotionError)
    error: HsemotionError = kind(message["sentence"])
    return error
