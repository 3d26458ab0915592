"""What the columns of pose, gaze, eyes, mouth, speech and uncertainty cost: annotate with and without them, in turn.

    python scripts/bench_columns.py sample_videos/langer_pexels.mp4 --pairs 4 --end 12

Each run is a process of its own with one thread; without them, the functions that compute these columns do nothing.
Prints the seconds of the processor of each pair, and the ratio with / without.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
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
    print(f"median ratio {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}")


if __name__ == "__main__":
    main()
