"""CPU time and peak memory of segments, summary and sync over many recordings of 20 minutes.

    python scripts/bench_findings.py --recordings 1000 --few 20 --people 1 --only segments,summary --work /tmp/bench

It makes tables at 25 frames per second (30,000 rows for each person), runs each command over a few of them and over all
in processes of their own, and prints CPU seconds per recording and the peak memory of both runs: memory is flat where
the two agree. Only ``--distinct`` tables are different; the others are the same files under other names, which the
commands read again each time. Seconds are those of the processor, so other work on the machine matters little.
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

RATE, MINUTES = 25, 20
COMMANDS = {"segments": "out", "summary": "out.csv", "sync": "out"}


def smooth_noise(random: np.random.Generator, frames: int, columns: int) -> np.ndarray:
    """(frames, columns) noise that changes within about a second, standard deviation 1."""
    kernel = np.exp(-0.5 * (np.arange(-60, 61) / 15) ** 2)
    white = random.normal(size=(frames + len(kernel) - 1, columns))
    values = np.stack([np.convolve(white[:, k], kernel, "valid") for k in range(columns)], axis=1)
    return values / values.std(axis=0)


def write_table(path: Path, seed: int, people: int) -> None:
    """A table of 20 minutes."""
    random, frames = np.random.default_rng(seed), RATE * 60 * MINUTES
    parts = []
    for person in range(people):
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


def add_recording(source: Path, path: Path) -> None:
    """The same table under another name, with a sidecar."""
    os.link(source, path)
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
    parser.add_argument("--few", type=int, default=4, help="recordings of the shorter run")
    parser.add_argument("--distinct", type=int, default=6)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--only", default=",".join(COMMANDS), help="commands, separated by commas")
    parser.add_argument("--work", type=Path, required=True, help="a folder that does not exist yet")
    asked = parser.parse_args()
    for name in ("tables", "few", "all"):
        (asked.work / name).mkdir(parents=True)
    sources = [asked.work / "tables" / f"{k}.csv" for k in range(min(asked.distinct, asked.recordings))]
    for seed, source in enumerate(sources):
        write_table(source, seed, asked.people)
    for k in range(asked.recordings):
        for folder in ("few", "all") if k < asked.few else ("all",):
            add_recording(sources[k % len(sources)], asked.work / folder / f"r{k:04d}.csv")
    size = sum(path.stat().st_size for path in sources) / len(sources) / 1e6
    print(
        f"{asked.recordings} recordings of {MINUTES} min, people: {asked.people}, {RATE} frames/s, {size:.0f} MB each"
    )
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"| command | CPU s, {asked.few} | CPU s, all | MB, {asked.few} | MB, all | CPU s each | CPU hours, all |")
    print("|---|---|---|---|---|---|---|")
    for name in asked.only.split(","):
        out = f"{name}_{COMMANDS[name]}"
        few, whole = (
            measure([name, str(asked.work / part), "-o", str(asked.work / part / out), "-q"]) for part in ("few", "all")
        )
        cells = f"{few[0]:.1f} | {whole[0]:.1f} | {few[1]:.0f} | {whole[1]:.0f}"
        print(f"| {name} | {cells} | {whole[0] / asked.recordings:.2f} | {whole[0] / 3600:.2f} |", flush=True)
    shutil.rmtree(asked.work)


if __name__ == "__main__":
    main()
