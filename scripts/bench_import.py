"""Time and peak memory of importing a large CSV of OpenFace 2.

    python scripts/bench_import.py --gigabytes 3 --work /tmp/bench

Writes a file with the 714 columns that OpenFace's FeatureExtraction writes, imports it in a process of its own, and
prints the seconds of the processor and the peak memory as Linux counts it. The work folder is removed at the end.
"""

from __future__ import annotations

import argparse
import random
import shutil
from pathlib import Path

from bench_findings import measure

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
_VARIETY = 500  # different rows


def columns() -> list[str]:
    """The columns of OpenFace 2.2 with all outputs, in its order."""
    eyes, face = range(56), range(68)
    return [
        "frame", "face_id", "timestamp", "confidence", "success",
        *(f"gaze_{eye}_{axis}" for eye in "01" for axis in "xyz"), "gaze_angle_x", "gaze_angle_y",
        *(f"eye_lmk_{axis}_{k}" for axis in "xyXYZ" for k in eyes),
        *(f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"),
        *(f"{axis}_{k}" for axis in "xyXYZ" for k in face),
        "p_scale", "p_rx", "p_ry", "p_rz", "p_tx", "p_ty", *(f"p_{k}" for k in range(34)),
        *(f"AU{unit:02d}_r" for unit in UNITS if unit != 28), *(f"AU{unit:02d}_c" for unit in UNITS),
    ]  # fmt: skip


def write_openface(path: Path, size: int) -> int:
    """Write a file of about ``size`` bytes; returns the number of its rows."""
    names, dice = columns(), random.Random(1)
    tails = [", ".join(_value(name, dice) for name in names[5:]) for _ in range(_VARIETY)]
    written, row = 0, 0
    with path.open("w", encoding="ascii") as file:
        written += file.write(", ".join(names) + "\n")
        while written < size:
            row += 1
            written += file.write(f"{row}, 0, {row / 30:.3f}, 0.98, 1, {tails[row % _VARIETY]}\n")
    return row


def _value(name: str, dice: random.Random) -> str:
    if name.endswith("_c"):
        return f"{dice.randint(0, 1)}.00"
    if name.startswith(("gaze", "pose_R")):
        return f"{dice.uniform(-0.5, 0.5):.3f}"
    return f"{dice.uniform(0, 5):.2f}" if name.startswith("AU") else f"{dice.uniform(50, 900):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--work", type=Path, required=True, help="a folder that does not exist yet")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True)
    try:
        path = asked.work / "large.csv"
        rows = write_openface(path, int(asked.gigabytes * 1e9))
        seconds, peak = measure(["import", str(path), "-o", str(asked.work / "out"), "-q"])
        print(f"{path.stat().st_size / 1e9:.2f} GB, {rows} rows: {seconds:.0f} CPU s, peak {peak:.0f} MB")
    finally:
        shutil.rmtree(asked.work)


if __name__ == "__main__":
    main()
