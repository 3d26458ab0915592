"""Overlapping stages have the results of stages that take turns, end with any error, and stop at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsemotion_cli.runtime import stage_timer
from hsemotion_cli.runtime.executor import SerialExecutor, SerialRun, ThreadedExecutor, ThreadedRun
from hsemotion_cli.runtime.stage_timer import StageClock

PATIENCE = 300.0
"""Seconds after which a test gives up waiting; none of them measures speed."""


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("hsemotion-")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_results_and_their_order_are_those_of_stages_in_turn(items: list[int], one: int, two: int, room: int) -> None:
    def slow(item: int) -> int:
        time.sleep(item / 50_000)  # the later may well be ready first
        return item * 7

    found = []
    for kind in (SerialRun, ThreadedRun):
        with kind(StageClock()) as flow:
            first = flow.map("first", items, [slow] * one, room)
            found.append(list(flow.map("second", (x + 1 for x in first), [str] * two, room)))
    assert found[0] == found[1] == [str(item * 7 + 1) for item in items]
    assert not helpers()


def test_workers_work_at_the_same_time_and_the_later_result_waits() -> None:
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(PATIENCE)  # never, if only one of them were at work
        else:
            second_is_done.set()
        return item

    with ThreadedRun(StageClock()) as flow:
        assert list(flow.map("work", range(2), [work, work], 1)) == [0, 1]


class Watched(StageClock):
    """Counts how often each wait has begun, and lets a test wait for one."""

    def __init__(self) -> None:
        super().__init__()
        self._begun: Counter[str] = Counter()
        self._changed = threading.Condition()

    def waiting(self, name: str) -> contextlib.AbstractContextManager[None]:
        with self._changed:
            self._begun[name] += 1
            self._changed.notify_all()
        return super().waiting(name)

    def until(self, name: str, times: int) -> None:
        """Return once a wait has begun that many times."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._begun[name] >= times, PATIENCE)


def test_no_more_is_pulled_than_there_is_room_for() -> None:
    pulled = []
    gate = threading.Event()

    def items() -> Iterator[int]:
        for k in range(100):
            pulled.append(k)
            yield k

    def work(item: int) -> str:
        assert gate.wait(PATIENCE)
        return str(item)

    clock = Watched()
    with ThreadedRun(clock) as flow:
        results = flow.map("work", items(), [work, work], room=3)
        # Two with the workers, three that wait, and the one for which there is no room: nothing has been taken, so its
        # wait cannot end, and the next is pulled only after it.
        clock.until("work: room", 6)
        assert pulled == list(range(6))
        gate.set()
        assert next(results) == "0"
        clock.until("work: room", 7)
        assert pulled == list(range(7))
    assert not helpers()


@pytest.mark.parametrize("kind", [SerialRun, ThreadedRun])
@pytest.mark.parametrize("where", ["source", "worker"])
def test_an_error_comes_behind_the_results_before_it(kind: type, where: str) -> None:
    def items() -> Iterator[int]:
        for k in range(10):
            if where == "source" and k == 4:
                raise ValueError("the fourth")
            yield k

    def work(item: int) -> int:
        if where == "worker" and item == 4:
            raise ValueError("the fourth")
        return item

    taken = []
    with pytest.raises(ValueError, match="the fourth"), kind(StageClock()) as flow:
        doubled = (2 * k for k in flow.map("first", items(), [work, work], 2))
        for item in flow.map("second", doubled, [int, int, int], 2):
            taken.append(item)
    assert taken == [0, 2, 4, 6]
    assert not helpers()


def test_leaving_early_stops_all_threads_and_closes_the_source() -> None:
    closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    with ThreadedRun(StageClock()) as flow:
        results = flow.map("second", flow.map("first", endless(), [str], 2), [len, len], 2)
        assert next(results) == 1
    assert closed.is_set()
    assert not helpers()


def test_a_thread_that_hangs_does_not_keep_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hsemotion_cli.runtime.executor._PATIENCE", 0.1)
    free = threading.Event()

    def hang(item: int) -> int:
        free.wait(30)
        return item

    with ThreadedRun(StageClock()) as flow:
        flow.map("hangs", [1], [hang], 1)
    assert [thread.name for thread in helpers()] == ["hsemotion-hangs"]
    free.set()
    for thread in helpers():
        thread.join(10)


class OwnTime:
    """A clock for each thread, which stands still unless the thread says that time passes."""

    def __init__(self) -> None:
        self._local = threading.local()

    def passes(self, seconds: float) -> None:
        self._local.now = self.perf_counter() + seconds

    def perf_counter(self) -> float:
        return getattr(self._local, "now", 0.0)


@pytest.mark.parametrize("kind", [SerialRun, ThreadedRun])
def test_time_counts_for_the_stage_that_works(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    time = OwnTime()
    monkeypatch.setattr(stage_timer, "time", time)

    def items() -> Iterator[int]:
        for k in range(5):
            time.passes(0.25)
            yield k

    def work(item: int) -> int:
        time.passes(0.125)
        return item

    clock = StageClock()
    with kind(clock) as flow:
        assert list(flow.map("work", clock.stage("read", items()), [work], 2)) == list(range(5))
    assert clock.seconds() == {"read": 1.25, "work": 0.625}
    assert list(clock.seconds()) == ["read", "work"]


def test_a_worker_that_waits_for_the_stage_before_is_not_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    clock = Watched()
    monkeypatch.setattr(stage_timer, "time", SimpleNamespace(perf_counter=lambda: now))

    def items() -> Iterator[int]:
        nonlocal now
        clock.until("work: work", 1)
        clock.until("work: results", 1)
        now += 5.0
        yield 0

    with ThreadedRun(clock) as flow:
        assert list(flow.map("work", items(), [lambda item: item], 2)) == [0]
    assert clock.waits()["work: work"] == clock.waits()["work: results"] == 5.0
    assert clock.seconds() == {"work": 0.0}


def test_an_executor_decides_how_many_workers_a_stage_has() -> None:
    def made(executor: SerialExecutor | ThreadedExecutor, **bounds: int) -> int:
        return len(executor.workers(object, **bounds))

    assert [made(SerialExecutor(8)), made(SerialExecutor(8), least=2), SerialExecutor(8).threads] == [1, 1, 8]
    assert [made(ThreadedExecutor(8)), made(ThreadedExecutor(8), most=3), made(ThreadedExecutor(1), least=2)] == [
        8,
        3,
        2,
    ]
    assert ThreadedExecutor(8).threads == 1, "each of them computes with one core"
    one, two = ThreadedExecutor(2).workers(object)
    assert one is not two
    assert isinstance(SerialExecutor(1).run(StageClock()), SerialRun)
    assert isinstance(ThreadedExecutor(1).run(StageClock()), ThreadedRun)
