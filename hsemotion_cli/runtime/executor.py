"""Executors: whether the stages of a run take turns in one thread or overlap, and how many workers each stage has.

Everything heavy here (decoders, MediaPipe, networks) releases the interpreter while it computes, so threads are enough.
Queues are short, and the results are the same, item for item, whichever executor runs the stages.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from .stage_timer import StageClock

T = TypeVar("T")
U = TypeVar("U")
W = TypeVar("W")

_PATIENCE = 2.0
"""Seconds that the end of a run waits for a thread in the middle of an item; a decoder that hangs is left behind."""


class Run(Protocol):
    """The stages of one run; use it as a context manager around the run.

    Attributes:
        clock: measures every stage.
    """

    clock: StageClock

    def __enter__(self) -> Run: ...

    def __exit__(self, *error: object) -> None: ...

    def map(self, name: str, items: Iterable[T], workers: Sequence[Callable[[T], U]], room: int) -> Iterator[U]:
        """The result of a worker for each item, in the order of the items.

        Args:
            name: of the stage.
            items: are pulled as there is room for them.
            workers: made by ``Executor.workers``; any of them may get any item, each only one at a time.
            room: items that may be in the stage beyond one for each worker: those that wait for a worker, and those
                whose results wait to be taken.

        Raises:
            Exception: whatever the items or a worker raised, after the results of the items before.
        """
        ...


class Executor(Protocol):
    """Decides how many workers a stage has, and runs the stages.

    Attributes:
        threads: with which each worker should compute.
    """

    threads: int

    def workers(self, make: Callable[[], W], least: int = 1, most: int | None = None) -> list[W]:
        """The workers of a stage.

        Args:
            make: makes one.
            least, most: of them, where the executor can use several.
        """
        ...

    def run(self, clock: StageClock) -> Run:
        """A new run of stages."""
        ...


class SerialExecutor:
    """One thread does everything: each stage has one worker, and is pulled by the stage after it.

    Args:
        cores: with which that worker computes.
    """

    def __init__(self, cores: int) -> None:
        self.threads = cores

    def workers(self, make: Callable[[], W], least: int = 1, most: int | None = None) -> list[W]:
        """See ``Executor.workers``."""
        return [make()]

    def run(self, clock: StageClock) -> SerialRun:
        """See ``Executor.run``."""
        return SerialRun(clock)


class ThreadedExecutor:
    """Every stage has a thread for each worker; several workers with one core each are faster than one with all cores.

    Args:
        cores: that the workers of a stage share.
    """

    def __init__(self, cores: int) -> None:
        self.threads = 1
        self._cores = cores

    def workers(self, make: Callable[[], W], least: int = 1, most: int | None = None) -> list[W]:
        """See ``Executor.workers``."""
        return [make() for _ in range(max(least, min(self._cores, most or self._cores)))]

    def run(self, clock: StageClock) -> ThreadedRun:
        """See ``Executor.run``."""
        return ThreadedRun(clock)


class SerialRun:
    """Stages that take turns in the thread that pulls the last one."""

    def __init__(self, clock: StageClock) -> None:
        self.clock = clock

    def __enter__(self) -> SerialRun:
        return self

    def __exit__(self, *_: object) -> None:
        """There is nothing to stop."""

    def map(self, name: str, items: Iterable[T], workers: Sequence[Callable[[T], U]], room: int) -> Iterator[U]:
        """See ``Run.map``; only the first worker gets items."""
        self.clock.name(name)
        return self._mapped(name, items, workers[0])

    def _mapped(self, name: str, items: Iterable[T], worker: Callable[[T], U]) -> Iterator[U]:
        for item in items:
            with self.clock.busy(name):
                result = worker(item)
            yield result


class ThreadedRun:
    """Stages that overlap: one thread for each worker, and one that pulls the items of a stage from the stage before.

    Leaving the context stops all of them, whatever they wait for.
    """

    def __init__(self, clock: StageClock) -> None:
        self.clock = clock
        self._stages: list[_Stage] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> ThreadedRun:
        return self

    def __exit__(self, *_: object) -> None:
        for stage in self._stages:
            stage.stop()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def map(self, name: str, items: Iterable[T], workers: Sequence[Callable[[T], U]], room: int) -> Iterator[U]:
        """See ``Run.map``."""
        self.clock.name(name)
        stage: _Stage[T, U] = _Stage(len(workers) + room)
        self._stages.append(stage)
        self._start(name, self._feed, name, items, stage)
        for worker in workers:
            self._start(name, self._work, name, worker, stage)
        return self._taken(name, stage)

    def _start(self, name: str, work: Callable[..., None], *arguments: object) -> None:
        # A daemon, because a thread that hangs in a broken file must not keep the program alive.
        thread = threading.Thread(target=work, args=arguments, name=f"hsemotion-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _feed(self, name: str, items: Iterable[T], stage: _Stage[T, U]) -> None:
        iterator = iter(items)
        failure: BaseException | None = None
        try:
            for item in iterator:
                with self.clock.waiting(f"{name}: room"):
                    stage.put(item)
                del item  # or it would live on while the next one is made
        except _Stopped:
            pass
        except BaseException as error:
            failure = error
        if isinstance(iterator, Generator):
            iterator.close()  # a decoder closes its file, in the thread that read it
        stage.finish(failure)

    def _work(self, name: str, worker: Callable[[T], U], stage: _Stage[T, U]) -> None:
        while True:
            try:
                with self.clock.waiting(f"{name}: work"):
                    number, item = stage.get()
            except (_Stopped, _Finished):
                return
            try:
                with self.clock.busy(name):
                    stage.done(number, worker(item), None)
            except BaseException as error:
                stage.done(number, None, error)
            del item

    def _taken(self, name: str, stage: _Stage[T, U]) -> Iterator[U]:
        while True:
            try:
                with self.clock.waiting(f"{name}: results"):
                    result = stage.take()
            except _Finished:
                return
            yield result


class _Stopped(Exception):
    """The run is over."""


class _Finished(Exception):
    """There are no more items."""


class _Stage(Generic[T, U]):
    """The items in one stage, numbered in the order in which they came.

    Args:
        room: most of them.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._todo: deque[tuple[int, T]] = deque()
        self._results: dict[int, tuple[U | None, BaseException | None]] = {}
        self._come = self._gone = 0
        self._finished = self._stopped = False
        # One condition for each reason to wait: waking a thread that has nothing to do costs a thread switch.
        self._lock = threading.Lock()
        self._for_room, self._for_work, self._for_result = (threading.Condition(self._lock) for _ in range(3))

    def put(self, item: T) -> None:
        """Wait for room; raises _Stopped."""
        with self._lock:
            self._wait(self._for_room, lambda: self._come - self._gone < self._room)
            self._todo.append((self._come, item))
            self._come += 1
            self._for_work.notify()

    def finish(self, error: BaseException | None) -> None:
        """No more items will come; an error is raised after the results of those that did."""
        with self._lock:
            if error is not None:
                self._results[self._come] = None, error
                self._come += 1
            self._finished = True
            self._for_work.notify_all()
            self._for_result.notify_all()

    def get(self) -> tuple[int, T]:
        """The next item for a worker, with its number; raises _Finished and _Stopped."""
        with self._lock:
            self._wait(self._for_work, lambda: self._todo or self._finished)
            if not self._todo:
                raise _Finished
            return self._todo.popleft()

    def done(self, number: int, result: U | None, error: BaseException | None) -> None:
        """The result of an item, or why there is none."""
        with self._lock:
            self._results[number] = result, error
            if number == self._gone:
                self._for_result.notify()

    def take(self) -> U:
        """The next result in order; raises the error of that item, _Finished and _Stopped."""
        with self._lock:
            self._wait(
                self._for_result, lambda: self._gone in self._results or (self._finished and self._gone == self._come)
            )
            if self._gone not in self._results:
                raise _Finished
            result, error = self._results.pop(self._gone)
            self._gone += 1
            self._for_room.notify()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # None only with an error, or where a worker returned it

    def stop(self) -> None:
        """Raise _Stopped wherever a thread waits, or will."""
        with self._lock:
            self._stopped = True
            self._todo.clear()
            self._results.clear()
            for waiting in (self._for_room, self._for_work, self._for_result):
                waiting.notify_all()

    def _wait(self, condition: threading.Condition, ready: Callable[[], object]) -> None:
        condition.wait_for(lambda: self._stopped or ready())
        if self._stopped:
            raise _Stopped
