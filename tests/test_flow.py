"""Stages side by side give what stages in turn give, end with any error, and stop at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsemotion_cli.runtime.executor import SerialExecutor, ThreadedExecutor
from hsemotion_cli.runtime.stage_timer import StageClock


def helpers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("hsemotion-")]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), max_size=40), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_results_and_their_order_are_those_of_stages_in_turn(items: list[int], one: int, two: int, room: int) -> None:
    def slow(item: int) -> int:
        time.sleep(item / 50_000)  # the later may well be ready first
        return item * 7

    found = []
    for kind in (SerialExecutor, ThreadedExecutor):
        with kind(StageClock()) as flow:
            first = flow.map("first", items, [slow] * one, room)
            found.append(list(flow.map("second", (x + 1 for x in first), [str] * two, room)))
    assert found[0] == found[1] == [str(item * 7 + 1) for item in items]
    assert not helpers()


def test_workers_work_at_the_same_time_and_the_later_result_waits() -> None:
    second_is_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(10)  # never, if only one of them were at work
        else:
            second_is_done.set()
        return item

    with ThreadedExecutor(StageClock()) as flow:
        assert list(flow.map("work", range(2), [work, work], 1)) == [0, 1]


def test_no_more_is_pulled_than_there_is_room_for() -> None:
    pulled = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for k in range(100):
            pulled.append(k)
            if k == 5:
                enough.set()
            yield k

    with ThreadedExecutor(StageClock()) as flow:
        results = flow.map("work", items(), [str, str], room=3)
        # Two with the workers, three that wait, and the one for which there is no room.
        assert enough.wait(10)
        time.sleep(0.05)
        assert pulled == list(range(6))
        assert next(results) == "0"
    assert not helpers()


@pytest.mark.parametrize("kind", [SerialExecutor, ThreadedExecutor])
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

    with ThreadedExecutor(StageClock()) as flow:
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

    with ThreadedExecutor(StageClock()) as flow:
        flow.map("hangs", [1], [hang], 1)
    assert [thread.name for thread in helpers()] == ["hsemotion-hangs"]
    free.set()
    for thread in helpers():
        thread.join(10)


def test_time_counts_for_the_stage_that_works() -> None:
    def items() -> Iterator[int]:
        for k in range(5):
            time.sleep(0.02)
            yield k

    def work(item: int) -> int:
        time.sleep(0.01)
        return item

    for kind in (SerialExecutor, ThreadedExecutor):
        clock = StageClock()
        with kind(clock) as flow:
            list(flow.map("work", clock.stage("read", items()), [work], 2))
        busy = clock.seconds()
        assert list(busy) == ["read", "work"]
        assert 0.1 <= busy["read"] < 0.16 and 0.05 <= busy["work"] < 0.09, (kind, busy)
        if kind is ThreadedExecutor:
            assert clock.waits()["work: work"] >= 0.05  # reading takes longer, so the worker waits for it
