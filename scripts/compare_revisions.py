"""Run the same commands with two checkouts of this repository and compare every file that they write, byte for byte.

    python scripts/compare_revisions.py OLD NEW [--seconds 3]

OLD and NEW are folders with a checkout each (``git worktree add OLD REVISION``). Both run in the Python that runs this
script. Sidecars, manifests and the facts inside trained files name versions, times and settings that an older revision
did not have; they are compared by the keys that both have, without those that measure time. Prints one line for each
file that differs and a count at the end; exits with 1 if a table, an overlay, raw scores, a submission or trained
weights differ.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

SAMPLES = Path(__file__).parent.parent / "sample_videos"
PASSING = ("elapsed", "seconds", "timing", "wall", "mtime_ns", "tool", "libraries", "version", "commit", "stages")
"""Keys that measure time or name a revision."""

PLAN = """name = "tiny"
architecture = "mobilefacenet_first_48"
size = 48
luminance = true
seed = 3
[[source]]
kind = "folder"
path = "labelled"
[[stage]]
epochs = 2
batch = 16
[loss]
valence_arousal = 0.0
action_units = 0.0
"""


def commands(seconds: float) -> list[list[str]]:
    """Arguments of hsemotion, in the order in which they need each other's results."""
    clip, two = str(SAMPLES / "langer_pexels.mp4"), str(SAMPLES / "two_faces.mp4")
    end = ["--end", f"{seconds:g}"]
    crops = "mini/cropped_aligned"
    tracks = ("expr", "va", "au")
    submits = [["submit", "mini/tables", "--track", t, "--list", f"mini/lists/{t}.txt", "--recipe", "mini/recipe.toml",
                "-o", f"mini/{t}.txt"] for t in tracks]  # fmt: skip
    return [
        ["annotate", clip, two, "-o", "annotate", "--overlay", "--smooth", "gaussian:0.2", "--format",
         "csv,jsonl,parquet", *end],
        ["annotate", clip, "-o", "fast", "--detector", "fast", "--model", "mt-mobilefacenet", *end],
        ["smooth", "annotate/langer_pexels.csv", "-o", "smooth", "--smooth", "box:0.5"],
        ["batch", str(SAMPLES), "-o", "batch", "--workers", "2", *end],
        ["annotate", crops, "-o", "mini/tables", "--crops", "--image-fps", "25"],
        ["tune", "mini/tables", "--truth", "mini", "--part", "train", "--track", "mtl", "-o", "mini/recipe.toml"],
        *submits,
        ["extract", crops, "-o", "features", "--crops", "--model", "mt-mobilefacenet"],
        ["train", "heads", "features", "--truth", "mini", "--kind", "mtl", "--epochs", "3", "-o", "head.safetensors"],
        ["train", "finetune", "tiny.toml", "-o", "run"],
    ]  # fmt: skip


def run(checkout: Path, folder: Path, seconds: float) -> None:
    """Run everything in ``folder`` with the code of a checkout."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(checkout), "HSEMOTION_HOME": str(folder / "home")}
    make = [sys.executable, str(checkout / "scripts" / "make_challenge.py"), "mini"]
    subprocess.run(make, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    make_labelled(folder)
    for arguments in commands(seconds):
        print(f"{checkout.name}: hsemotion {' '.join(arguments)}", flush=True)
        command = [sys.executable, "-m", "hsemotion_cli", *arguments, "--quiet"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)


def make_labelled(folder: Path) -> None:
    """A folder of images with made-up labels, and a plan that trains on it."""
    images = sorted((folder / "mini" / "cropped_aligned").rglob("*.jpg"))[::6]
    home = folder / "labelled" / "images"
    home.mkdir(parents=True)
    with (folder / "labelled" / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "label", "subject"])
        for k, image in enumerate(images):
            shutil.copy(image, home / f"{k:05}.jpg")
            table.writerow([f"{k:05}.jpg", ("neutral", "happiness", "surprise")[k % 3], f"person{k % 7}"])
    (folder / "tiny.toml").write_text(PLAN)


def stripped(value: Any) -> Any:
    """Plain data without what passes."""
    if isinstance(value, dict):
        return {k: stripped(v) for k, v in value.items() if not any(word in k for word in PASSING)}
    return [stripped(item) for item in value] if isinstance(value, list) else value


def common(one: Any, other: Any) -> tuple[Any, Any]:
    """Both without the keys that only one has."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = {key: common(one[key], other[key]) for key in one if key in other}
        return {k: a for k, (a, _) in pairs.items()}, {k: b for k, (_, b) in pairs.items()}
    return one, other


def tensors(path: Path) -> dict[str, np.ndarray]:
    """The weights of a trained file, without the facts beside them."""
    with safe_open(path, framework="np") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)


def same(one: Path, other: Path) -> bool:
    """Whether two results are equal, in the sense that their kind allows."""
    if one.read_bytes() == other.read_bytes():
        return True
    if one.suffix == ".json":
        first, second = common(stripped(json.loads(one.read_text())), stripped(json.loads(other.read_text())))
        return bool(first == second)
    if one.suffix == ".safetensors":
        first_tensors, second_tensors = tensors(one), tensors(other)
        return first_tensors.keys() == second_tensors.keys() and all(
            np.array_equal(first_tensors[name], second_tensors[name]) for name in first_tensors
        )
    return False


COMPARED = {".csv", ".jsonl", ".parquet", ".npz", ".mp4", ".txt", ".json", ".safetensors", ".onnx"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each clip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        sides = [Path(scratch) / "old", Path(scratch) / "new"]
        for side, checkout in zip(sides, (options.old, options.new), strict=True):
            run(checkout.resolve(), side, options.seconds)
        found = [
            {p.relative_to(side) for p in side.rglob("*") if p.suffix in COMPARED and p.is_file()} for side in sides
        ]
        different = sorted(path for path in found[0] & found[1] if not same(sides[0] / path, sides[1] / path))
        logs = {path for path in different if path.name in {"manifest.jsonl", "log.csv"}}  # they hold times
        for path in different:
            print(f"differs: {path}" + (" (holds times)" if path in logs else ""))
        for path in sorted(found[0] ^ found[1]):
            print(f"only one wrote: {path}")
        print(f"{len(found[0] & found[1])} files compared, {len(different) - len(logs)} differ")
        sys.exit(bool(set(different) - logs))


if __name__ == "__main__":
    main()
