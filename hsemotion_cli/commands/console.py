"""All that is printed: progress while work goes on, tables when it is done."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from ..pipeline import Progress as Report
    from ..pipeline import Summary
from ..runtime.terminal import printable

_EVERY = 10.0
"""Seconds between two progress lines where there is no terminal."""


def stdout() -> Console:
    """The console for results; wide where it is no terminal, so that nothing is cut."""
    return Console(width=None if sys.stdout.isatty() else 160)


def print_line(text: str) -> None:
    """One line of a result, a path mostly: as it is, neither coloured nor broken."""
    stdout().print(printable(text), highlight=False, soft_wrap=True, markup=False)


def stderr() -> Console:
    """The console for what goes on meanwhile."""
    return Console(stderr=True)


@contextmanager
def progress(name: str, quiet: bool) -> Iterator[Report]:
    """Report the progress of one video: a live bar on a terminal, a line every ten seconds elsewhere."""
    if quiet:
        yield lambda stage, done, faces, total: None
    elif sys.stderr.isatty():
        with _bar() as bar:
            yield _on_bar(bar, name)
    else:
        yield _in_lines(name)


def bars() -> Progress:
    """Live bars on a terminal: what, how much of it, and a word on it."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
    return Progress(*columns, TimeRemainingColumn(), console=stderr(), transient=True)


@contextmanager
def counting(name: str, unit: str, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Report how much of something is done, and a word on it: a live bar, or a line every ten seconds."""
    if quiet:
        yield lambda done, total, note: None
    elif sys.stderr.isatty():
        with bars() as bar:
            task = bar.add_task(name, total=None, note="")
            yield lambda done, total, note: bar.update(task, completed=done, total=total, note=escape(printable(note)))
    else:
        last = time.monotonic()

        def line(done: int, total: int, note: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _EVERY or done == total:
                last = time.monotonic()
                print(f"{name}: {done} of {total} {unit}, {printable(note)}", file=sys.stderr, flush=True)

        yield line


def fetching(quiet: bool) -> Callable[[int, int | None], None]:
    """Report the download of weights: a line when it begins, and one every ten seconds."""
    last = -_EVERY

    def report(have: int, total: int | None) -> None:
        nonlocal last
        if not quiet and time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            of = f" of {total / 1e6:.1f}" if total else ""
            print(f"fetching weights: {have / 1e6:.1f}{of} MB", file=sys.stderr, flush=True)

    return report


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.0f} frames/s"),
        TextColumn("{task.fields[faces]}"),
        TimeRemainingColumn(),
        console=stderr(),
        transient=True,
    )


def _on_bar(bar: Progress, name: str) -> Report:
    tasks: dict[str, tuple[TaskID, float]] = {}

    def report(stage: str, done: int, faces: int, total: int | None) -> None:
        if stage not in tasks:
            label = escape(printable(name if stage == "annotate" else f"{name} {stage}"))
            tasks[stage] = (bar.add_task(label, total=total, rate=0.0, faces=""), time.monotonic())
        task, began = tasks[stage]
        rate = done / max(time.monotonic() - began, 0.5)
        bar.update(task, completed=done, rate=rate, faces=f"{faces} faces" if faces else "")

    return report


def _in_lines(name: str) -> Report:
    began: dict[str, float] = {}
    last = time.monotonic()

    def report(stage: str, done: int, faces: int, total: int | None) -> None:
        nonlocal last
        now = time.monotonic()
        rate = done / max(now - began.setdefault(stage, now), 1e-3)
        if now - last >= _EVERY:
            last = now
            of = f" of {total}" if total else ""
            print(f"{printable(name)}: {stage} {done}{of} frames, {rate:.0f} frames/s", file=sys.stderr, flush=True)

    return report


def print_summaries(summaries: Iterable[Summary], *, verbose: bool) -> None:
    """The table at the end of ``annotate``: a line for each video."""
    summaries = list(summaries)
    table = Table(title=None, header_style="bold")
    table.add_column("video", overflow="fold")
    for name in ("frames", "faces", "coverage", "expressions", "valence", "arousal", "frames/s"):
        table.add_column(name, justify="left" if name == "expressions" else "right")
    for s in summaries:
        shares = sorted(((share, name) for name, share in s.expressions.items() if share >= 0.005), reverse=True)
        table.add_row(
            escape(printable(s.source.rsplit("/", 1)[-1])),
            str(s.frames["analysed"]),
            str(s.faces),
            f"{s.coverage:.1%}",
            ", ".join(f"{name} {share:.0%}" for share, name in shares[:4]) or "-",
            "-" if s.valence is None else f"{s.valence:+.2f}",
            "-" if s.arousal is None else f"{s.arousal:+.2f}",
            f"{s.frames['analysed'] / max(s.elapsed, 1e-3):.1f}",
        )
    console = stdout()
    console.print(table)
    _print_times(console, summaries)
    for s in summaries:
        for note in notes(s):
            print_line(f"{s.source}: {note}")
        if verbose:
            for path in s.outputs.values():
                print_line(f"  {path}")


def _print_times(console: Console, summaries: list[Summary]) -> None:
    totals: dict[str, float] = {}
    for s in summaries:
        for stage, seconds in s.seconds.items():
            totals[stage] = totals.get(stage, 0.0) + seconds
    console.print(
        "seconds: " + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in totals.items()), highlight=False
    )


def notes(summary: Summary) -> list[str]:
    """What the user should know about a video before trusting its table."""
    found = []
    frames = summary.frames
    if frames["decode_failures"]:
        found.append(f"{frames['decode_failures']} frames could not be decoded; they have no row.")
    if frames["corrupt"]:
        found.append(f"{frames['corrupt']} decoded frames are damaged.")
    if frames["guessed_times"]:
        found.append(f"{frames['guessed_times']} frames have no time stamp; theirs come from the average frame rate.")
    if frames["variable_frame_rate"]:
        found.append("its frame rate varies; use the time column, never frame / fps.")
    if summary.coverage < 0.5:
        found.append(
            f"a face was seen in {summary.coverage:.0%} of its frames; "
            "if faces are narrow (under a tenth of the longer side), try --min-face with their width in pixels."
        )
    return found
