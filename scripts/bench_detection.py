"""Processor time per frame of two checkouts of this repository, on clips of one large face and of six small ones.

    python scripts/bench_detection.py OLD NEW --portraits ../shared/data/free/london/images --backgrounds PHOTOS

OLD and NEW are folders with a checkout each (``git worktree add OLD REVISION``); both run in the Python that runs this
script. Each clip of 1280 x 720 is annotated by ``mp-blendshapes``, so nearly all of the time is decoding, detection,
landmarks and tracking. The time of the first 8 of 40 frames is subtracted, so neither start nor loading counts. The
revisions take turns, and their order changes from run to run. Processor time is that of all threads; other programs on
the same cores still lengthen it, so compare the ratio, with its range over the runs.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import cv2
import numpy as np
from compose_scenes import HEIGHT, WIDTH, Box, background, paste, portrait

from hsemotion_cli.domain import Image
from hsemotion_cli.faces.detector import FaceDetector

CLIPS = {"one face of 300 pixels": (1, 300), "six faces of 85 pixels": (6, 85), "six faces of 53 pixels": (6, 53)}
"""Name -> faces and their width in pixels."""

FRAMES, FIRST = 40, 8
SEED = 11
AS_THEY_ARE = {"turned": 0.0, "blur": 0.0, "dark": 1.0, "hidden": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--portraits", type=Path, required=True, help="a folder of portraits")
    parser.add_argument("--backgrounds", type=Path, required=True, help="a folder of photos without faces")
    parser.add_argument("--runs", type=int, default=4)
    parser.add_argument("--show", type=Path, help="folder for the first frame of each clip")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, FaceDetector(blendshapes=False) as finder:
        folder, rng = Path(name), np.random.default_rng(SEED)
        portraits, photos = (sorted(path.iterdir()) for path in (options.portraits, options.backgrounds))
        for clip, (faces, width) in CLIPS.items():
            scene = composed(faces, width, portraits, photos, finder, rng)
            if options.show:
                options.show.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(options.show / f"{clip}.png"), scene[..., ::-1])
            print(compared(clip, scene, (options.old, options.new), options.runs, folder), flush=True)


def composed(
    faces: int, width: int, portraits: list[Path], photos: list[Path], finder: FaceDetector, rng: np.random.Generator
) -> Image:
    """A scene with this many faces of this width."""
    scene = background(photos, rng)
    boxes: list[Box] = []
    while len(boxes) < faces:
        box = paste(scene, portrait(portraits, finder, rng), float(width), AS_THEY_ARE, boxes, rng)
        if box is not None:
            boxes.append(box)
    return scene


def compared(clip: str, scene: Image, checkouts: tuple[Path, Path], runs: int, folder: Path) -> str:
    """A line with the milliseconds per frame of both checkouts."""
    short, whole = folder / "short.mp4", folder / "whole.mp4"
    for path, frames in ((short, FIRST), (whole, FRAMES)):
        write(path, scene, frames)
    spent: dict[Path, list[float]] = {checkout: [] for checkout in checkouts}
    for run in range(runs):
        for checkout in checkouts if run % 2 == 0 else checkouts[::-1]:
            seconds = annotated(checkout, whole, folder) - annotated(checkout, short, folder)
            spent[checkout].append(1000 * seconds / (FRAMES - FIRST))
    old, new = (np.array(spent[checkout]) for checkout in checkouts)
    ratios = new / old
    return (
        f"{clip}: {old.mean():.1f} ms per frame before, {new.mean():.1f} now; "
        f"ratio {new.mean() / old.mean():.2f}, from {ratios.min():.2f} to {ratios.max():.2f} in {runs} runs"
    )


def write(path: Path, scene: Image, frames: int) -> None:
    """A clip of the scene, which drifts by a pixel per frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for k in range(frames):
            moved = np.ascontiguousarray(np.roll(scene, k, axis=1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(moved, format="rgb24")))
        container.mux(stream.encode())


def annotated(checkout: Path, clip: Path, folder: Path) -> float:
    """Seconds of processor time that annotating a clip takes."""
    command = [sys.executable, "-m", "hsemotion_cli", "annotate", str(clip), "-o", str(folder / "out"), "--quiet"]
    command += ["--model", "mp-blendshapes", "--overwrite"]
    own = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "HSEMOTION_HOME": str(folder / "home")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, env=own, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
