"""What the columns of pose, gaze, eyes, mouth, speech and uncertainty cost: annotate with and without them, in turn.

    python scripts/bench_columns.py sample_videos/langer_pexels.mp4 --pairs 4 --end 12

Each run is a process of its own with one thread; without them, the functions that compute these columns do nothing.
Prints the seconds of the processor of each pair, and the ratio with / without. Where other work runs on the machine,
the share that these functions have of the time of one run is steadier: it is printed last.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np


def annotate(video: str, out: str, end: str, columns: bool) -> None:
    """One run of annotate in this process."""
    from hsemotion_cli.cli import app
    from hsemotion_cli.faces import detector, interpolation, measures
    from hsemotion_cli.postprocess import refine
    from hsemotion_cli.tasks import UNCERTAINTIES
    from hsemotion_cli.timeline import Timeline

    def nothing(faces: Any, *_: Any) -> Any:
        return tuple(faces)

    def unknown(timeline: Timeline, *_: Any) -> Any:
        return {name: np.full(len(timeline.row), np.nan) for name in UNCERTAINTIES.values()}

    if not columns:
        for module in (detector, interpolation, measures):
            module.measured = nothing  # type: ignore[attr-defined]
        refine.uncertainties = unknown  # type: ignore[assignment]
    app(["annotate", video, "-o", out, "--end", end, "--threads", "1", "-q", "--overwrite"])


def share(video: str, end: str) -> str:
    """The part of one run, in this process, that is spent in the functions that compute these columns."""
    from hsemotion_cli.cli import app
    from hsemotion_cli.faces import detector, measures

    spent = faces_seen = 0.0

    def counted(faces: Any, *more: Any) -> Any:
        nonlocal spent, faces_seen
        given = list(faces)
        began = time.thread_time()
        found = measures.measured(given, *more)
        spent, faces_seen = spent + time.thread_time() - began, faces_seen + len(given)
        return found

    detector.measured = counted  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as out, contextlib.suppress(SystemExit):
        app(["annotate", video, "-o", out, "--end", end, "--threads", "1", "-q"])
    now = os.times()
    whole = now.user + now.system
    return f"share of one run: {spent / whole:.3f}, {spent / max(faces_seen, 1) * 1000:.2f} ms for each face"


def timed(video: str, end: str, columns: bool) -> float:
    """Seconds of the processor of one run in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        before = os.times()
        command = [sys.executable, __file__, video, "--end", end, "--run", "with" if columns else "without", out]
        subprocess.run(command, check=True)
        after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--end", default="12", help="seconds of the video")
    parser.add_argument("--run", nargs=2, metavar=("WHICH", "OUT"), help="one run, in this process")
    asked = parser.parse_args()
    if asked.run:
        annotate(asked.video, asked.run[1], asked.end, asked.run[0] == "with")
        return
    ratios = []
    for _ in range(asked.pairs):
        with_them, without = (timed(asked.video, asked.end, columns) for columns in (True, False))
        ratios.append(with_them / without)
        print(f"with {with_them:.2f} s, without {without:.2f} s, ratio {ratios[-1]:.3f}", flush=True)
    if ratios:
        print(f"median ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")
    print(share(asked.video, asked.end))


if __name__ == "__main__":
    main()
