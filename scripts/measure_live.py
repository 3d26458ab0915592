"""Latency and drops of live sessions, for several numbers of faces and cores.

    python scripts/measure_live.py [--faces 1,2,4] [--cores 2,1] [--seconds 20] [--record]

A synthetic clip of 720p at 25 frames per second stands for the camera: it plays at its own pace, and what is late is
dropped. Its decoding takes time that a camera would not. ``--cores`` keeps a session on a number of cores (Linux only).
The load of the machine before each session is printed, as other programs take time from it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hsemotion_cli.bench import synthetic_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", default="1,2,4")
    parser.add_argument("--cores", default="2,1")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--record", action="store_true")
    given = parser.parse_args()
    print("| faces | cores | analysed / s | dropped | p50 ms | p95 ms | worst ms | CPU ms / frame | load before |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for faces in map(int, given.faces.split(",")):
            clip = Path(folder, f"{faces}.mp4")
            synthetic_clip.write(clip, faces, 720, given.seconds)
            for cores in map(int, given.cores.split(",")):
                print(_row(faces, cores, clip, given), flush=True)


def _row(faces: int, cores: int, clip: Path, given: argparse.Namespace) -> str:
    load, before = os.getloadavg()[0], _children_seconds()
    name = f"{faces}-{cores}"
    options = ["--camera", str(clip), "--name", name, "-o", str(clip.parent), "--window", "none", "-q"]
    _run([*options, *(["--record"] if given.record else [])], cores)
    content: dict[str, Any] = json.loads((clip.parent / f"{name}.json").read_text())
    live, analysed, late = content["live"], content["frames"]["analysed"], content["live"]["latency_ms"]
    busy = (_children_seconds() - before) * 1000 / analysed
    return (
        f"| {faces} | {cores} | {analysed / given.seconds:.1f} | {live['dropped'] / live['captured']:.1%} | "
        f"{late['p50']:.0f} | {late['p95']:.0f} | {late['worst']:.0f} | {busy:.0f} | {load:.1f} |"
    )


def _run(options: Sequence[str], cores: int) -> None:
    def prepare() -> None:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])

    subprocess.run([sys.executable, "-m", "hsemotion_cli", "live", *options], preexec_fn=prepare, check=True)


def _children_seconds() -> float:
    """CPU seconds of all sessions so far, their start included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
