"""The engine that uses processes of this machine.

One process is one worker, started afresh and not forked, with a session of its own, so that Ctrl-C reaches only the
process that commands them. A decoder that hangs cannot be interrupted and one that crashes takes its process along:
both cost one worker, which is replaced, and one attempt at one video.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import HsemotionError, ModelUnavailable
from ..outputs import remove_leftovers
from .engine import Report
from .records import Failure, Outcome, Progress, Task
from .worker import Setup, environment

_TICK = 1.0
_GRACE = 1.0  # seconds in which a worker may clean up after itself
_MOST_STARTS = 3

Fetching = Callable[[int, int | None], None]


class LocalEngine:
    """Worker processes; each loads its models once.

    Args:
        setup: what workers are told.
        out: the output folder, where temporary files of killed workers are removed.
        workers: processes at most.
        timeout: seconds that one attempt may take, or None.
        retries: further attempts after a crash, a time-out, or a result that could not be written.
        fetching: is told of downloads.

    Raises:
        HsemotionError: on entering, whatever the first worker met with when it loaded its models.
    """

    def __init__(
        self, setup: Setup, out: Path, *, workers: int = 1, timeout: float | None = None, retries: int = 1,
        fetching: Fetching | None = None,
    ) -> None:  # fmt: skip
        self.settings: dict[str, Any] = {}
        self._setup, self._out, self._most, self._timeout, self._retries = setup, out, workers, timeout, retries
        self._fetching = fetching
        self._crew: list[_Worker] = []
        self._attempts: Counter[Task] = Counter()
        self._seconds: defaultdict[Task, float] = defaultdict(float)
        self._bad_starts = 0
        self._why = ""

    def __enter__(self) -> LocalEngine:
        try:
            first = _Worker(self._setup)
            self._crew.append(first)
            while not first.ready:
                wait([first.connection], _TICK)
                for message in first.messages():
                    self._on_start(first, message)
                if first.ended:
                    raise ModelUnavailable(f"no worker could start: {first.last_words()}.")
            self.settings = first.settings
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._crew:
            worker.stop(gently=worker.task is not None)
        deadline = time.monotonic() + _GRACE
        for worker in self._crew:
            worker.end(max(deadline - time.monotonic(), 0))
            self._clean(worker)
        self._crew.clear()

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[Outcome]:
        """See ``Engine``."""
        waiting = deque(tasks)
        while waiting or any(worker.task for worker in self._crew):
            yield from self._staff(waiting)
            wait([worker.connection for worker in self._crew], self._until())
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
            for _ in range(min(self._most - len(self._crew), len(waiting) - coming)):
                self._crew.append(_Worker(self._setup))
        elif not self._crew:
            while waiting:
                task = waiting.popleft()
                sentence = f"{task.path}: not tried, since no worker can start any more: {self._why}."
                yield self._outcome(task, Failure("read", "Crash", sentence))

    def _until(self) -> float:
        ends = [worker.deadline - time.monotonic() for worker in self._crew if worker.task]
        return max(min([_TICK, *ends]), 0)

    def _on_start(self, worker: _Worker, message: dict[str, Any]) -> None:
        if message["kind"] == "fetching" and self._fetching:
            self._fetching(message["have"], message["total"])
        elif message["kind"] == "refused":
            raise _error(message)
        elif message["kind"] == "ready":
            worker.ready, worker.settings = True, message["settings"]

    def _on_message(self, worker: _Worker, message: dict[str, Any], report: Report) -> Outcome | Failure | None:
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

    def _on_replacement(self, worker: _Worker, message: dict[str, Any]) -> None:
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
            worker.end(_GRACE)

    def _on_trouble(self, worker: _Worker) -> Failure | None:
        """Whether a worker died or takes too long; it leaves the crew then."""
        failure = None
        if worker.task and time.monotonic() >= worker.deadline and not worker.ended:
            worker.end(0)
            sentence = f"{worker.task.path}: it took longer than --timeout {self._timeout:g} s; give it more, or less"
            failure = Failure(worker.stage, "Timeout", f"{sentence} to do (--fps, --every).")
        elif worker.ended and worker.task:
            failure = Failure(worker.stage, "Crash", f"{worker.task.path}: {worker.last_words()}.")
        elif worker.ended and not worker.ready:
            self._bad_starts += 1
            self._why = self._why or worker.last_words()
        if worker.ended:
            worker.end(_GRACE)
            self._clean(worker)
            self._crew.remove(worker)
        return failure

    def _settled(self, worker: _Worker, found: Outcome | Failure | None, waiting: deque[Task]) -> Iterator[Outcome]:
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

    def _count(self, worker: _Worker) -> None:
        """One more attempt, and the time it took; the worker is idle now."""
        assert worker.task is not None
        self._attempts[worker.task] += 1
        self._seconds[worker.task] += time.monotonic() - worker.began
        worker.task = None
        worker.forget_words()

    def _outcome(self, task: Task, failure: Failure | None, facts: dict[str, Any] | None = None) -> Outcome:
        state = "failed" if failure else "done"
        return Outcome(task, state, self._attempts[task], self._seconds[task], facts or {}, failure)

    def _clean(self, worker: _Worker) -> None:
        """Remove what a worker that is gone has left in the folder of its last task."""
        if worker.folder is not None:
            remove_leftovers(self._out.joinpath(worker.folder), float("inf"), {worker.process.pid})


class _Worker:
    """One process, seen from the one that commands it."""

    def __init__(self, setup: Setup) -> None:
        self.ready = self.leaving = self.ended = False
        self.settings: dict[str, Any] = {}
        self.task: Task | None = None
        self.folder: Path | None = None
        self.stage, self.began, self.deadline = "read", 0.0, float("inf")
        self.connection, theirs = Pipe()
        # What libraries print would spoil the terminal; its last line may say why a worker died.
        self._words = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (it lives as long as the process)
        self._last: list[str] = []
        verbose = bool(os.environ.get("HSEMOTION_DEBUG"))
        code = f"import sys; sys.path[:] = {sys.path!a}; from {__package__}.worker import main; main()"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=None if verbose else self._words,
                stderr=None if verbose else self._words,
                env=environment(setup.threads),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._send(pickle.dumps(setup))

    def begin(self, task: Task, timeout: float | None) -> None:
        self.task, self.stage, self.began = task, "read", time.monotonic()
        self.folder = task.folder(Path())
        self.deadline = float("inf") if timeout is None else self.began + timeout
        self._send(json.dumps({"path": task.path, "place": task.place}).encode())

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it died; reading tells
            self.connection.send_bytes(data)

    def messages(self) -> Iterator[dict[str, Any]]:
        """What the worker has said since the last time; notes when it has ended."""
        try:
            while not self.ended and self.connection.poll():
                yield json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.ended = True

    def stop(self, *, gently: bool) -> None:
        """Have it end soon, after it has removed its temporary files if it does something."""
        if gently and not self.ended:
            self.process.send_signal(signal.SIGINT)
        elif not self.connection.closed:
            self.connection.close()
        self.ended = True

    def end(self, grace: float) -> None:
        """Wait for its end for so many seconds, then make it end."""
        self.ended = True
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self._words.closed:
            self._words.seek(max(self._words.seek(0, os.SEEK_END) - 2000, 0))
            self._last = self._words.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            self._words.close()
        self.connection.close()

    def last_words(self) -> str:
        """How the process ended, in a few words; it is made to end if it has not yet."""
        self.end(_GRACE)
        code = self.process.returncode
        if code == -signal.SIGKILL:
            return "its worker was killed, perhaps because memory ran out; try fewer --workers"
        if code < 0:
            return f"its worker crashed ({_signal(-code)}) over it; the file may be damaged"
        return ": ".join([f"its worker ended by itself (exit code {code})", *(line[:300] for line in self._last)])

    def forget_words(self) -> None:
        """Begin anew with what it printed, so that a weekend of it fills no disk."""
        if not self._words.closed:
            self._words.truncate(0)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _error(message: dict[str, Any]) -> HsemotionError:
    """The error that a worker met with, here."""
    kind = getattr(errors, message["error"], HsemotionError)
    error: HsemotionError = kind(message["sentence"])
    return error
