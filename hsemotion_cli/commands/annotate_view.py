"""The table at the end of ``annotate``, with notes about each video."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..formats.table import WRITERS
from ..media.photos import KIND as PHOTOS
from .console import Table, print_line, print_table, print_text

if TYPE_CHECKING:
    from ..analysis.video_summary import VideoSummary


def print_summaries(summaries: Iterable[VideoSummary], *, verbose: bool) -> None:
    """The table at the end of ``annotate``: a line for each video."""
    summaries = list(summaries)
    table = Table()
    table.add_column("video", overflow="fold")
    for name in ("frames", "faces", "coverage", "expressions", "valence", "arousal", "frames/s"):
        table.add_column(name, justify="left" if name == "expressions" else "right")
    for s in summaries:
        shares = sorted(((share, name) for name, share in s.expressions.items() if share >= 0.005), reverse=True)
        table.add_row(
            Path(s.source).name,
            str(s.frames["analysed"]),
            str(s.faces),
            f"{s.coverage:.1%}",
            ", ".join(f"{name} {share:.0%}" for share, name in shares[:4]) or "-",
            "-" if s.valence is None else f"{s.valence:+.2f}",
            "-" if s.arousal is None else f"{s.arousal:+.2f}",
            f"{s.frames['analysed'] / max(s.elapsed, 1e-3):.1f}",
        )
    print_table(table)
    _print_times(summaries)
    for s in summaries:
        for remark in notes(s):
            print_line(f"{s.source}: {remark}")
        if verbose:
            for path in s.outputs.values():
                print_line(f"  {path}")
    _print_where_to_look(summaries)


def _print_where_to_look(summaries: list[VideoSummary]) -> None:
    """The moments that deserve a look, and the page that shows them, or the command that makes it."""
    for s in summaries:
        if s.looks:
            spans = "; ".join(f"{look.start:.1f} to {look.end:.1f} s ({look.reason})" for look in s.looks)
            print_line(f"{s.source}: look first at {spans}")
        if page := s.outputs.get("report"):
            print_line(f"{s.source}: to look at it, open {page}")
    # Photos have no time, so that there is no page of them.
    without = [s for s in summaries if "report" not in s.outputs and s.kind != PHOTOS]
    folders = {str(Path(s.source).parent) for s in without}
    if len(without) == 1:
        video = _video(without[0])
        command = shlex.join(
            ["hsemotion", "report", _table(without[0]), *([] if video is None else ["--video", video])]
        )
        print_line(f"to look at it: {command}")
    elif len(folders) == 1:
        command = shlex.join(
            ["hsemotion", "report", str(Path(_table(without[0])).parent), "--video", next(iter(folders))]
        )
        print_line(f"to look at them: {command}")
    elif without:
        print_line("to look at one of them: hsemotion report TABLE --video VIDEO")


def _video(summary: VideoSummary) -> str | None:
    """What was annotated, or its recording if it was live; None for a camera or stream that was not recorded."""
    if "growing" not in summary.outputs or Path(summary.source).is_file():
        return summary.outputs.get("recording", summary.source)
    return summary.outputs.get("recording")


def _table(summary: VideoSummary) -> str:
    """Path of the first table of a video."""
    return next(path for kind, path in summary.outputs.items() if kind in WRITERS)


def _print_times(summaries: list[VideoSummary]) -> None:
    totals: dict[str, float] = {}
    for s in summaries:
        for stage, seconds in s.seconds.items():
            totals[stage] = totals.get(stage, 0.0) + seconds
    print_text(
        "seconds by stage (stages run in parallel): "
        + ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in totals.items())
    )


def notes(summary: VideoSummary) -> list[str]:
    """What the user should know about a video before trusting its table."""
    found = list(summary.notes)
    frames = summary.frames
    if frames["decode_failures"] and "failed_files" not in frames:  # those are named elsewhere
        found.append(f"{frames['decode_failures']} frames could not be decoded; they have no row.")
    if frames["corrupt"]:
        found.append(f"{frames['corrupt']} decoded frames are damaged.")
    if frames["variable_frame_rate"]:
        found.append("its frame rate varies; use the time column, never frame / fps.")
    return found
