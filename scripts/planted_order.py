"""Do the rows of a table come out in the planted order? Runs the plan of ABAW-7 on synthetic data of several seeds.

    python scripts/planted_order.py [--seeds 5] [--frames 500]

Labels are planted in the features of three networks under noise: far apart (1.2, 2, 4, as in the tests) and closer
(1.2, 1.6, 2.1), with labels that last for twelve and for six frames. For each seed the whole chain runs. Prints P
of each row, its mean and range over the seeds, and in how many seeds each planted effect was seen.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from planted import NETWORKS, plant  # noqa: E402

PLAN = ROOT / "plans" / "papers" / "abaw7-mtl.toml"
CONFIGS = (((1.2, 2.0, 4.0), 12), ((1.2, 1.6, 2.1), 12), ((1.2, 2.0, 4.0), 6))
"""Noise of each of ``NETWORKS``, and frames for which labels last."""

ROWS = ("mbf", "enet-mtl", "ddamfn-mtl", "ddamfn-mtl, smoothing", "blend", "blend, smoothing")

Figures = Mapping[str, Mapping[str, float]]


def _ordered(rows: Figures, score: str) -> bool:
    return rows["mbf"][score] < rows["enet-mtl"][score] < rows["ddamfn-mtl"][score]


EFFECTS: Mapping[str, Callable[[Figures], bool]] = {
    "networks in order (P, expressions, units)": lambda rows: all(
        _ordered(rows, score) for score in ("total", "expression", "action_units")
    ),
    "smoothing helps": lambda rows: rows["ddamfn-mtl"]["total"] < rows["ddamfn-mtl, smoothing"]["total"],
    "tuned thresholds do no harm": lambda rows: (
        rows["ddamfn-mtl"]["action_units"] <= rows["ddamfn-mtl, thresholds"]["action_units"]
    ),
    "blend beats its better member": lambda rows: rows["ddamfn-mtl"]["total"] < rows["blend"]["total"],
    "smoothed blend beats the blend": lambda rows: rows["blend"]["total"] < rows["blend, smoothing"]["total"],
}
"""What was planted -> whether it shows in the figures of the rows."""


def run(seed: int, noise: tuple[float, ...], hold: int, frames: int) -> Figures:
    """Row -> figure by name, of one run of the chain."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        plant(root, seed, dict(zip(NETWORKS, noise, strict=True)), frames=frames, hold=hold)
        command = [
            *(sys.executable, "-m", "hsemotion_cli", "train", "reproduce", PLAN, "--data", root / "data"),
            *("-o", root / "run", "--network", ",".join(NETWORKS), "-q"),
        ]
        subprocess.run(list(map(str, command)), check=True)
        content = json.loads((root / "run" / "results.json").read_text())
    return {row["name"]: row["ours"] for row in content["rows"]}


def main() -> None:
    """Run all seeds of all configurations and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--frames", type=int, default=500)
    given = parser.parse_args()
    print(f"| noise; frames a label lasts | {' | '.join(ROWS)} |\n|{'---|' * (len(ROWS) + 1)}")
    seen: dict[str, list[str]] = {name: [] for name in EFFECTS}
    for noise, hold in CONFIGS:
        found = [run(seed, noise, hold, given.frames) for seed in range(given.seeds)]
        cells = []
        for name in ROWS:
            values = np.array([rows[name]["total"] for rows in found])
            cells.append(f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})")
        print(f"| {', '.join(f'{one:g}' for one in noise)}; {hold} | {' | '.join(cells)} |", flush=True)
        for name, holds in EFFECTS.items():
            seen[name].append(f"{sum(map(holds, found))} of {len(found)}")
    print(f"\n| planted effect | {' | '.join(f'{n}; {hold}' for n, hold in CONFIGS)} |\n|{'---|' * (len(CONFIGS) + 1)}")
    for name, counts in seen.items():
        print(f"| {name} | {' | '.join(counts)} |")


if __name__ == "__main__":
    main()
