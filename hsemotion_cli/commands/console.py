"""The only way to print: tables and results on stdout, progress and messages on stderr, and a log of the latter.

No text is markup here, wherever it comes from: ``[torch]`` stays as it is, and a file's name can neither colour nor
clear a terminal. Bold or coloured text is a ``Text`` with a style.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import table as rich_table
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from ..pipeline import Progress as Report
from ..runtime.terminal import logged, note, print_line, print_raw, printable, say

__all__ = ["Table", "Text", "asks", "bars", "counting", "downloading", "fetching", "note", "print_json", "print_line",
           "print_table", "print_text", "progress", "say", "say_passed_over", "speed"]  # fmt: skip

_EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal, and in a log."""

_LISTED = 20
"""Entries that are passed over and named on the terminal."""


class Table(rich_table.Table):
    """A table with bold headings; text in its cells is shown as it is, made safe for a terminal."""

    def __init__(self, *headings: str, **given: Any) -> None:
        super().__init__(*headings, **{"header_style": "bold", **given})

    def add_row(self, *cells: Any, **given: Any) -> None:
        super().add_row(*(printable(cell) if isinstance(cell, str) else cell for cell in cells), **given)


def asks() -> bool:
    """Whether a question can be answered: stdin and stderr are terminals."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def print_table(table: Table) -> None:
    """A table on stdout; wide where that is no terminal, so that nothing is cut."""
    _stdout().print(table)


def print_text(text: str) -> None:
    """Prose on stdout, broken where a terminal ends."""
    _stdout().print(printable(text))


def print_json(value: Any, indent: int | None = 2) -> None:
    """A result for a program: JSON in ASCII; NaN and infinity, which JSON lacks, are null."""
    print_raw(json.dumps(_finite(value), indent=indent, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _stdout() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160, markup=False, emoji=False)


def _stderr() -> Console:
    return Console(stderr=True, markup=False, emoji=False)


# --- progress -------------------------------------------------------------------------------------------------


def say_passed_over(passed_over: Sequence[tuple[str, str]], notes: Sequence[str]) -> None:
    """How folders were understood, and what in them is not annotated and why, on stderr."""
    for sentence in notes:
        say(sentence)
    if not passed_over:
        return
    count = len(passed_over)
    note(f"skipped: {count} {'entry' if count == 1 else 'entries'}")
    for path, reason in passed_over[:_LISTED]:
        note(f"  {path}: {reason}")
    if count > _LISTED:
        note(f"  and {count - _LISTED} more; --json lists all")


@contextmanager
def progress(name: str, quiet: bool) -> Iterator[Report]:
    """Report the progress of one video: a live bar on a terminal, a line every ten seconds elsewhere and in a log."""
    live = not quiet and sys.stderr.isatty()
    lines = _in_lines(name, shown=not quiet and not live)
    if not live:
        yield lines if not quiet or logged() else _silent
        return
    columns = [_text("{task.fields[rate]}"), _text("{task.fields[faces]}")]
    with _bar(*columns) as bar:
        shown = _on_bar(bar, name)

        def both(stage: str, done: int, faces: int, total: int | None) -> None:
            shown(stage, done, faces, total)
            lines(stage, done, faces, total)

        yield both if logged() else shown


def _silent(stage: str, done: int, faces: int, total: int | None) -> None:
    """Show no progress."""


@contextmanager
def counting(name: str, unit: str, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Report how much of something is done, and a word on it: a live bar, or a line every ten seconds."""
    live = not quiet and sys.stderr.isatty()
    last = time.monotonic()

    def line(done: int, total: int, word: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY or done == total:
            last = time.monotonic()
            note(f"{name}: {done} of {total} {unit}, {word}", shown=not quiet and not live)

    if not live:
        yield line if not quiet or logged() else lambda done, total, word: None
        return
    with bars() as bar:
        task = bar.add_task(printable(name), total=None, note="")

        def both(done: int, total: int, word: str) -> None:
            bar.update(task, completed=done, total=total, note=printable(word))
            if logged():
                line(done, total, word)

        yield both


def fetching(quiet: bool) -> Callable[[int, int | None], None]:
    """Report the download of weights: a line when it begins, and one every ten seconds."""
    last = -_EVERY

    def report(have: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            of = f" of {total / 1e6:.1f}" if total else ""
            note(f"downloading weights: {have / 1e6:.1f}{of} MB", shown=not quiet)

    return report


@contextmanager
def downloading(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar for one download, which appears with its first byte and goes away with its last."""
    columns = (_text("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=_stderr(), transient=True) as bar:
        task = bar.add_task(printable(name), total=None)
        yield lambda have, total: bar.update(task, completed=have, total=total)


def bars() -> Progress:
    """Live bars on a terminal: what, how much of it, and a word on it."""
    return _bar(_text("{task.fields[note]}"))


def _bar(*columns: ProgressColumn) -> Progress:
    first = (_text("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*first, *columns, TimeRemainingColumn(), console=_stderr(), transient=True)


def _text(pattern: str) -> TextColumn:
    return TextColumn(pattern, markup=False)


def _on_bar(bar: Progress, name: str) -> Report:
    tasks: dict[str, tuple[TaskID, float]] = {}

    def report(stage: str, done: int, faces: int, total: int | None) -> None:
        if stage not in tasks:
            label = printable(name if stage == "annotate" else f"{name} {stage}")
            tasks[stage] = (bar.add_task(label, total=total, rate="", faces=""), time.monotonic())
        task, began = tasks[stage]
        rate = speed(done / max(time.monotonic() - began, 0.5))
        bar.update(task, completed=done, total=total, rate=rate, faces=f"{faces} faces" if faces else "")

    return report


def speed(rate: float) -> str:
    """A rate in frames per second, with a decimal where it is low."""
    return f"{rate:.{1 if rate < 9.95 else 0}f} frames/s"


def _in_lines(name: str, shown: bool) -> Report:
    began: dict[str, float] = {}
    last = before = time.monotonic()

    def report(stage: str, done: int, faces: int, total: int | None) -> None:
        nonlocal last, before
        # A stage begins where the one before it has ended, not with its first frame, which may take long.
        rate = done / max(time.monotonic() - began.setdefault(stage, before), 1e-3)
        before = time.monotonic()
        if before - last >= _EVERY:
            last = before
            of = f" of {total}" if total else ""
            note(f"{name}: {stage} {done}{of} frames, {speed(rate)}", shown=shown)

    return report
