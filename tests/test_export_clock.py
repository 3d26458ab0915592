"""``--clock``: container time to other clocks, against times worked out by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsemotion_cli.errors import UsageError
from hsemotion_cli.formats.clock import parse_clock

META = {"source": {"start": 1.4}}


def test_players_count_from_the_first_frame_and_the_table_from_the_container() -> None:
    assert parse_clock("video", META).seconds(3.4) == pytest.approx(2.0)
    assert parse_clock("container", META).seconds(3.4) == 3.4
    assert parse_clock("offset=-0.5", META).seconds(3.4) == pytest.approx(1.5)
    assert parse_clock("offset=-0.5", META).media(3.4) == pytest.approx(2.0)


def test_a_start_gives_dates() -> None:
    clock = parse_clock("start=2026-03-01T10:00:00.250+01:00", META)
    date = clock.date(3.4)
    assert date is not None and date.astimezone(UTC) == datetime(2026, 3, 1, 9, 0, 2, 250000, UTC)
    assert parse_clock("video", META).date(3.4) is None


def test_one_event_gives_an_offset_and_two_give_the_drift() -> None:
    one = parse_clock("match=10@110.5", META)
    assert (one.rate, one.shift) == (1.0, 100.5)
    two = parse_clock("match=10@110.5,1010@1110.6", META)
    assert two.rate == pytest.approx(1.0001) and two.seconds(1.4 + 510) == pytest.approx(610.55)
    assert two.residual < 1e-9
    assert "+100.0 parts per million" in two.notes[0] and "0.0 ms" in two.notes[0]


def test_three_events_that_do_not_lie_on_a_line_say_how_far_they_are_off() -> None:
    clock = parse_clock("match=0@0,10@10.03,20@20", META)
    assert clock.rate == pytest.approx(1.0) and clock.shift == pytest.approx(0.01)
    assert clock.residual == pytest.approx(0.02)
    assert "20.0 ms off the line" in clock.notes[0]


def test_events_with_dates_give_dates() -> None:
    clock = parse_clock("match=10@2026-03-01T10:00:10,20@2026-03-01T10:00:20.001", META)
    date = clock.date(1.4 + 30)
    assert date is not None and abs((date - datetime(2026, 3, 1, 10, 0, 30, 2000)).total_seconds()) < 1e-5


def test_without_a_sidecar_the_assumption_is_reported() -> None:
    clock = parse_clock("video", {})
    assert clock.zero == 0.0 and "so 0 was assumed" in clock.notes[0]
    assert parse_clock("container", {}).notes == ()


@given(st.floats(-1e4, 1e4), st.floats(0.9905, 1.0095), st.lists(st.integers(0, 36000), min_size=2, unique=True))
def test_events_on_a_line_are_met_exactly(shift: float, rate: float, seconds: list[int]) -> None:
    words = "match=" + ",".join(f"{second}@{rate * second + shift!r}" for second in seconds)
    clock = parse_clock(words, META)
    for second in seconds:
        assert clock.seconds(1.4 + second) == pytest.approx(rate * second + shift, abs=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "give video, container"),
        ("offset=soon", "'soon' is not a number of seconds"),
        ("offset=inf", "not a number"),
        ("start=yesterday", "no date and time"),
        ("match=", "give one event or more"),
        ("match=3", "is no event"),
        ("match=1@1,1@2", "at the same time of the video"),
        ("match=0@0,10@11", "1.1000 of the video's rate"),
        ("match=0@0,10@2026-03-01T10:00:00", "either a date"),
        ("match=0@2026-03-01T10:00:00,10@2026-03-01T10:00:10Z", "a time zone for every date"),
    ],
)
def test_words_that_make_no_sense(words: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_clock(words, META)
