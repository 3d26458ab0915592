"""Run the same commands with two checkouts of this repository and compare every file that they write, byte for byte.

    python scripts/compare_revisions.py OLD NEW [--seconds 3] [--only all|given]

Everything is run twice: each revision on its own results (``all``), and both on what the old one made (``given``), so
that a detector or a network that was changed on purpose does not hide whether smoothing, tuning, submissions and
training are the same. ``--only given`` leaves out the first.

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


CLIPS = (str(SAMPLES / "langer_pexels.mp4"), str(SAMPLES / "two_faces.mp4"))
CROPS = "mini/cropped_aligned"
TUNE = ["tune", "mini/tables", "--truth", "mini", "--part", "train", "--track", "mtl", "-o", "mini/recipe.toml"]
SUBMITS = [
    ["submit", "mini/tables", "--track", track, "--list", f"mini/lists/{track}.txt", "--recipe", "mini/recipe.toml",
     "-o", f"mini/{track}.txt"]
    for track in ("expr", "va", "au")
]  # fmt: skip
HEADS = ["train", "heads", "features", "--truth", "mini", "--kind", "mtl", "--epochs", "3", "-o", "head.safetensors"]
SMOOTH = ["smooth", "annotate/langer_pexels.csv", "-o", "smooth", "--smooth", "box:0.5"]
FINETUNE = ["train", "finetune", "tiny.toml", "-o", "run"]


def making(seconds: float) -> list[list[str]]:
    """Commands whose results the others need."""
    return [
        ["annotate", *CLIPS, "-o", "annotate", "--overlay", "--smooth", "gaussian:0.2", "--format",
         "csv,jsonl,parquet", "--end", f"{seconds:g}"],
        ["annotate", CROPS, "-o", "mini/tables", "--crops", "--image-fps", "25"],
        ["extract", CROPS, "-o", "features", "--crops", "--model", "mt-mobilefacenet"],
    ]  # fmt: skip


def on_own(seconds: float) -> list[list[str]]:
    """The other commands, on a revision's own results."""
    end = ["--end", f"{seconds:g}"]
    return [
        ["annotate", CLIPS[0], "-o", "fast", "--detector", "fast", "--model", "mt-mobilefacenet", *end],
        SMOOTH,
        ["batch", str(SAMPLES), "-o", "batch", "--workers", "2", *end],
        TUNE,
        *SUBMITS,
        HEADS,
        FINETUNE,
    ]


def on_given() -> list[list[str]]:
    """Commands on the results of the old revision."""
    render = ["render", CLIPS[0], "annotate/langer_pexels.csv", "-o", "render.mp4"]
    alone = ["annotate", CROPS, "-o", "alone", "--crops", "--image-fps", "25", "--model", "mp-blendshapes"]
    many = ["batch", CROPS, "-o", "many", "--crops", "--image-fps", "25", "--model", "mp-blendshapes", "--workers", "1"]
    return [SMOOTH, render, alone, many, TUNE, *SUBMITS, HEADS, FINETUNE]


def prepare(checkout: Path, folder: Path) -> None:
    """Make the inputs of all commands in a new folder."""
    folder.mkdir()
    make = [sys.executable, str(checkout / "scripts" / "make_challenge.py"), "mini"]
    subprocess.run(make, cwd=folder, env=environment(checkout, folder), check=True, stdout=subprocess.DEVNULL)
    make_labelled(folder)


def environment(checkout: Path, folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout), "HSEMOTION_HOME": str(folder / "home")}


def run(checkout: Path, folder: Path, commands: list[list[str]]) -> None:
    """Run commands in ``folder`` with the code of a checkout."""
    for arguments in commands:
        print(f"{checkout.name}: hsemotion {' '.join(arguments)}", flush=True)
        command = [sys.executable, "-m", "hsemotion_cli", *arguments, "--quiet"]
        subprocess.run(command, cwd=folder, env=environment(checkout, folder), check=True, stdout=subprocess.DEVNULL)


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


def compared(old: Path, new: Path) -> bool:
    """Compare two folders file by file, and print what differs; whether nothing does that should not."""
    found = [
        {p.relative_to(side) for p in side.rglob("*") if p.suffix in COMPARED and p.is_file()} for side in (old, new)
    ]
    found = [{path for path in side if path.parts[0] != "home"} for side in found]
    different = sorted(path for path in found[0] & found[1] if not same(old / path, new / path))
    logs = {path for path in different if path.name in {"manifest.jsonl", "log.csv"}}  # they hold times
    for path in different:
        print(
            f"differs: {path}"
            + (" (holds times)" if path in logs else "")
            + columns_that_differ(old / path, new / path)
        )
    for path in sorted(found[0] ^ found[1]):
        print(f"only one wrote: {path}")
    print(f"{len(found[0] & found[1])} files compared, {len(different) - len(logs)} differ")
    return not set(different) - logs


def columns_that_differ(old: Path, new: Path) -> str:
    """For CSV tables: which of the common columns differ, and how many only one has."""
    if old.suffix != ".csv":
        return ""
    with old.open(newline="") as first, new.open(newline="") as second:
        one, other = list(csv.DictReader(first)), list(csv.DictReader(second))
    if not one or not other:
        return ""
    both = [name for name in one[0] if name in other[0]]
    names = [name for name in both if [row[name] for row in one] != [row[name] for row in other]]
    alone = len(one[0].keys() ^ other[0].keys())
    return f": of {len(both)} common columns these differ: {', '.join(names) or 'none'}; {alone} columns only in one"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each clip")
    parser.add_argument("--only", choices=("all", "given"), default="all")
    options = parser.parse_args()
    old, new = options.old.resolve(), options.new.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        sides = [Path(scratch) / "old", Path(scratch) / "new"]
        prepare(old, sides[0])
        run(old, sides[0], making(options.seconds))
        given = [Path(scratch) / "given_old", Path(scratch) / "given_new"]
        for checkout, folder in zip((old, new), given, strict=True):
            shutil.copytree(sides[0], folder)
            run(checkout, folder, on_given())
        print("Both on what the old revision made:")
        equal = compared(*given)
        if options.only == "all":
            run(old, sides[0], on_own(options.seconds))
            prepare(new, sides[1])
            run(new, sides[1], [*making(options.seconds), *on_own(options.seconds)])
            print("Each on its own:")
            equal = compared(*sides) and equal
        sys.exit(not equal)


if __name__ == "__main__":
    main()
