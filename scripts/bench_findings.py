"""CPU time and peak memory of segments, summary and sync over recordings of 20 minutes, and the time of 1,000.

    python scripts/bench_findings.py --recordings 8 --work /tmp/bench

It makes tables of two people at 25 frames per second (60,000 rows), runs each command over half of them and over all in
processes of their own, and prints CPU seconds per recording and the peak memory of both runs: memory is flat where the
two agree. The figure for 1,000 recordings is the mean time of the longer run times 1,000, not a measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from hsemotion_cli.formats.schema import COLUMNS
from hsemotion_cli.formats.table import write_csv
from hsemotion_cli.formats.table_reader import Block, to_frame
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS

RATE, MINUTES, PEOPLE = 25, 20, 2


def smooth_noise(random: np.random.Generator, frames: int, columns: int) -> np.ndarray:
    """(frames, columns) noise that changes within about a second, standard deviation 1."""
    kernel = np.exp(-0.5 * (np.arange(-60, 61) / 15) ** 2)
    white = random.normal(size=(frames + len(kernel) - 1, columns))
    values = np.stack([np.convolve(white[:, k], kernel, "valid") for k in range(columns)], axis=1)
    return values / values.std(axis=0)


def write_table(path: Path, seed: int) -> None:
    """A table of 20 minutes with its sidecar."""
    random, frames = np.random.default_rng(seed), RATE * 60 * MINUTES
    parts = []
    for person in range(PEOPLE):
        p = np.exp(2 * smooth_noise(random, frames, len(BASIC_EXPRESSIONS)))
        p /= p.sum(axis=1, keepdims=True)
        va, units = smooth_noise(random, frames, 2) / 3, smooth_noise(random, frames, len(ACTION_UNITS))
        block: Block = {column.name: [None] * frames for column in COLUMNS}
        block |= {"frame": list(range(frames)), "time": (np.arange(frames) / RATE).tolist()}
        block |= {"face_id": [person] * frames, "face_detected": [1] * frames, "interpolated": [0] * frames}
        block |= {f"p_{name}": p[:, k].tolist() for k, name in enumerate(BASIC_EXPRESSIONS)}
        block |= {name: va[:, k].clip(-1, 1).tolist() for k, name in enumerate(("valence", "arousal"))}
        block |= {f"{n}_p": (1 / (1 + np.exp(-units[:, k]))).tolist() for k, n in enumerate(ACTION_UNITS)}
        parts.append(block)
    frame = to_frame(parts).sort_values(["frame", "face_id"])
    with path.open("wb") as file:
        write_csv(frame, file)
    content = {"recipe": Recipe.usual().to_json(), "outputs": {"csv": path.name}}
    path.with_suffix(".json").write_text(json.dumps(content))


def measure(words: list[str]) -> tuple[float, float]:
    """Seconds of CPU time and peak megabytes of one command in a process of its own; the peak as Linux counts it."""
    script = (
        "import sys\nfrom hsemotion_cli.cli import app\n"
        "try:\n    app(sys.argv[1:], standalone_mode=False)\n"
        "finally:\n    lines = open('/proc/self/status').read().splitlines()\n"
        "    print('PEAK', next(line for line in lines if line.startswith('VmHWM')).split()[1], file=sys.stderr)\n"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
    if "PEAK" not in done.stderr or "Traceback" in done.stderr:
        raise SystemExit(done.stderr)
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, int(done.stderr.rpartition("PEAK")[2].split()[0]) * 1024 / 1e6


def main() -> None:
    """Make the tables, run the commands, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recordings", type=int, default=8)
    parser.add_argument("--work", type=Path, required=True, help="a folder that does not exist yet")
    asked = parser.parse_args()
    count, half = max(asked.recordings, 2), max(asked.recordings // 2, 1)
    (asked.work / "all").mkdir(parents=True)
    (asked.work / "half").mkdir()
    for k in range(count):
        write_table(asked.work / "all" / f"r{k:03d}.csv", k)
        if k < half:
            for suffix in (".csv", ".json"):
                os.link(asked.work / "all" / f"r{k:03d}{suffix}", asked.work / "half" / f"r{k:03d}{suffix}")
    size = sum(path.stat().st_size for path in (asked.work / "all").glob("*.csv")) / count / 1e6
    print(f"{count} recordings of {MINUTES} min, {PEOPLE} people, {RATE} frames/s; a table has {size:.0f} MB")
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print("| command | CPU s, half | CPU s, all | MB, half | MB, all | CPU s each | 1,000 recordings (extrapolated) |")
    print("|---|---|---|---|---|---|---|")
    for name, out in (("segments", "out"), ("summary", "out.csv"), ("sync", "out")):
        runs = [measure([name, str(asked.work / part), "-o", str(asked.work / part / f"{name}_{out}"), "-q"])
                for part in ("half", "all")]  # fmt: skip
        each = runs[1][0] / count  # with the start of the program, so it is rather too much than too little
        cells = f"{runs[0][0]:.1f} | {runs[1][0]:.1f} | {runs[0][1]:.0f} | {runs[1][1]:.0f}"
        print(f"| {name} | {cells} | {each:.2f} | {each * 1000 / 3600:.2f} h |", flush=True)
    shutil.rmtree(asked.work)


if __name__ == "__main__":
    main()
