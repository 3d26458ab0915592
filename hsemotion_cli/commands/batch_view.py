"""What ``batch`` shows: live bars on a terminal, a line every ten seconds elsewhere, a table at the end."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.progress import Progress as Bars
from rich.progress import TaskID

from ..batch.messages import Outcome, Progress
from ..runtime.terminal import printable
from .console import Table, bars, note, print_line, print_table, speed

_EVERY = 10.0
"""Seconds between two lines where there is no terminal."""

_LOW, _NAMED = 0.9, 3
"""Share of frames with a face below which a recording is worth a look, and how many of them are named."""


class BatchView:
    """Counts finished videos and frames, and shows the progress.

    Args:
        total: videos to be done.
        shown: whether the lines are for stderr as well as for the log.
    """

    def __init__(self, total: int, shown: bool = True) -> None:
        self._shown = shown
        self._total, self._done, self._failed, self._frames = total, 0, 0, 0
        self._now: dict[str, Progress] = {}
        self._began = self._last = time.monotonic()

    def progress(self, news: Progress | None) -> None:
        """Record the progress that an engine reports."""
        if news is not None:
            self._now[news.task.place] = news
        self._show()

    def outcome(self, outcome: Outcome) -> None:
        """Record the outcome of one video."""
        self._now.pop(outcome.task.place, None)
        self._done += 1
        self._failed += outcome.state == "failed"
        self._frames += int(outcome.facts.get("frames") or 0)
        self._show()

    def _show(self) -> None:
        if time.monotonic() - self._last >= _EVERY:
            self._last = time.monotonic()
            now = ", ".join(_name(news) for news in list(self._now.values())[:4])
            more = f"; now {now}" if now else ""
            failed = f", {self._failed} failed" if self._failed else ""
            done = f"{self._done} of {self._total} videos{failed}"
            amount = f"{self.frames} frames, {speed(self.rate)}"
            note(f"batch: {done}, {amount}{more}", shown=self._shown)

    @property
    def frames(self) -> int:
        """Frames analysed so far, those of unfinished videos included."""
        return self._frames + sum(news.done for news in self._now.values() if news.stage == "annotate")

    @property
    def rate(self) -> float:
        """Frames per second of all workers together."""
        return self.frames / max(time.monotonic() - self._began, 0.5)


class _Live(BatchView):
    def __init__(self, total: int, bars: Bars) -> None:
        super().__init__(total, shown=False)
        self._bars, self._lines = bars, dict[str, TaskID]()
        self._all = bars.add_task("videos", total=total, note="")

    def _show(self) -> None:
        super()._show()
        word = speed(self.rate) + (f", {self._failed} failed" if self._failed else "")
        self._bars.update(self._all, completed=self._done, note=word)
        for place in self._lines.keys() - self._now.keys():
            self._bars.remove_task(self._lines.pop(place))
        for place, news in self._now.items():
            if place not in self._lines:
                self._lines[place] = self._bars.add_task("", total=None, note="")
            word = news.stage if news.stage != "annotate" else f"{news.faces} faces"
            self._bars.update(
                self._lines[place],
                description=printable(place)[-40:],
                completed=news.done,
                total=news.total,
                note=word,
            )


@contextlib.contextmanager
def viewing(total: int, quiet: bool) -> Iterator[BatchView]:
    """The view that suits stderr: bars on a terminal, lines elsewhere, or nothing."""
    if quiet:
        yield BatchView(total, shown=False)
    elif sys.stderr.isatty():
        with bars() as lines:
            yield _Live(total, lines)
    else:
        yield BatchView(total)


def print_counts(outcomes: Sequence[Outcome], left: int, seconds: float, workers: int) -> None:
    """The table at the end of ``batch``."""
    by_state = {state: [o for o in outcomes if o.state == state] for state in ("done", "skipped", "failed")}
    frames = sum(int(o.facts.get("frames") or 0) for o in by_state["done"])
    table = Table()
    for name in (
        "done",
        "done before",
        "failed",
        "ended early",
        "not reached",
        "frames",
        "seconds",
        "frames/s",
        "workers",
    ):
        table.add_column(name, justify="right")
    counts = [len(found) for found in by_state.values()]
    early = sum(bool(o.problem) for o in outcomes if o.state != "failed")
    rate = frames / max(seconds, 1e-3)
    table.add_row(*map(str, (*counts, early, left, frames)), f"{seconds:.0f}", f"{rate:.1f}", str(workers))
    print_table(table)


def print_where_to_look(outcomes: Sequence[Outcome], out: Path, reported: bool) -> None:
    """The recordings with the fewest faces, and the command that makes pages of all, or the page that lists them."""
    done = [(float(o.facts["coverage"]), o.task.place) for o in outcomes if o.facts.get("coverage") is not None]
    if low := sorted(one for one in done if one[0] < _LOW)[:_NAMED]:
        print_line("fewest faces: " + ", ".join(f"{place} {coverage:.0%}" for coverage, place in low))
    if reported:
        print_line(f"to look at them, open {out / 'index.html'}")
    elif done:
        print_line(f"to look at them: {shlex.join(['hsemotion', 'report', str(out)])}")


def _name(news: Progress) -> str:
    of = f" of {news.total}" if news.total else ""
    return f"{printable(news.task.place)} {news.stage} {news.done}{of}"
