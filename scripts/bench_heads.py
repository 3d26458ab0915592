"""Peak memory and time of ``train heads`` on features of many faces, which are made up.

    python scripts/bench_heads.py FOLDER [--faces 2000000] [--width 1280] [--epochs 1] [--temporal causal]

Writes features of 2,000 faces for each video and a list of annotations into FOLDER, unless they are there, and trains a
head for expressions on them in a process of its own. Prints the peak of that process's resident memory, and the number
of faces and their width as FOLDER has them; other ones than ``--faces`` and ``--width`` ask for are refused.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

EACH = 2000


def make(folder: Path, faces: int, width: int) -> None:
    """Features, and annotations of nine tenths of the videos to train on and the rest to validate with."""
    random = np.random.default_rng(0)
    block = random.normal(size=(EACH, width)).astype(np.float16)
    facts = {
        "model": "enet_b0_8_va_mtl", "dtype": "float16", "source": {"kind": "images", "name": "made"},
        "given_crops": True, "weights": {"sha256": "0" * 64}, "crop": "face-224", "classes": [],
    }  # fmt: skip
    (folder / "features").mkdir(parents=True, exist_ok=True)
    lists = {"train": ["image,valence,arousal,expression,aus"], "validation": ["image,valence,arousal,expression,aus"]}
    videos = faces // EACH
    for k in range(videos):
        labels = random.integers(0, 8, EACH)
        values = np.roll(block, k, axis=0)
        values[np.arange(EACH), labels] += 2
        frames = np.arange(1, EACH + 1)
        table = pa.table({
            "frame": frames, "time": frames / 25.0, "face_id": np.zeros(EACH, np.int64),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=pa.float16()), width),
        })  # fmt: skip
        path = folder / "features" / f"v{k:05d}.features.parquet"
        pq.write_table(table.replace_schema_metadata({"hsemotion": json.dumps(facts)}), path, compression="none")
        part = "validation" if k >= 0.9 * videos else "train"
        units = ",".join(["-1"] * 12)
        lists[part] += [f"v{k:05d}/{f:05d}.jpg,-5,-5,{e},{units}" for f, e in zip(frames, labels, strict=True)]
    for part, rows in lists.items():
        (folder / f"{part}.txt").write_text("\n".join([*rows, ""]))


def there(folder: Path) -> tuple[int, int]:
    """Faces in the lists of a folder, and the width of their features."""
    faces = sum(len((folder / f"{part}.txt").read_text().splitlines()) - 1 for part in ("train", "validation"))
    first = min((folder / "features").glob("*.features.parquet"))
    return faces, pq.read_schema(first).field("embedding").type.list_size


def main() -> None:
    """Make the features, train, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--faces", type=int, help="a multiple of 2,000; 2,000,000 unless FOLDER has some")
    parser.add_argument("--width", type=int, help="1280 unless FOLDER has some")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--temporal", default=None)
    given = parser.parse_args()
    if not (given.folder / "validation.txt").is_file():
        make(given.folder, given.faces or 2_000_000, given.width or 1280)
    faces, width = there(given.folder)
    if given.faces not in (None, faces) or given.width not in (None, width):
        sys.exit(f"{given.folder}: it has {faces:,} faces of {width} numbers; name another folder.")
    command = [
        sys.executable, "-m", "hsemotion_cli", "train", "heads", given.folder / "features",
        "--truth", given.folder / "train.txt", "--val-truth", given.folder / "validation.txt", "--tasks", "expression",
        "--epochs", given.epochs, "-o", given.folder / "head.safetensors", "-q", "--overwrite",
    ]  # fmt: skip
    command += [] if given.temporal is None else ["--temporal", given.temporal]
    began = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    print(f"{faces:,} faces of {width} numbers, {given.epochs} epochs: {peak:.2f} GiB at most, "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip


if __name__ == "__main__":
    main()
