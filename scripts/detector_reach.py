"""How small a face does the detector still find, and how close? Prints shares found.

A portrait is pasted at several sizes and places onto a 1920 x 1080 image; then portraits are cropped so that the
image ends near the face or within it. Found means that a face of about the right size lies at the right place. Run:
python scripts/detector_reach.py
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from hsemotion_cli.domain import Face, Image
from hsemotion_cli.faces.detector import FaceDetector, overlap
from hsemotion_cli.media.images import read_image

EDGES = ((-0.1, 0.0, 0.1), (0.0, 0.1, 0.2, 0.3), (-0.1, 0.0, 0.1), (-0.1, 0.0, 0.1))
"""Left, top, right and bottom of a close crop, from those of the face, in its width or height: some of the face may be
outside, of the forehead most."""

PORTRAITS = Path(__file__).parent.parent / "sample_videos" / "stills"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--widths", type=int, nargs="+", default=[24, 32, 40, 60, 80, 120, 160, 200, 240, 280, 320, 400]
    )
    parser.add_argument("--min-face", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=12)
    options = parser.parse_args()
    images = (read_image(path) for path in sorted(PORTRAITS.iterdir()))
    portraits = [image for image in images if image is not None]
    with FaceDetector() as plain, FaceDetector(min_face=options.min_face) as tiled:
        finds = {"one look": one_look(plain), "as it is": plain.find, f"--min-face {options.min_face}": tiled.find}
        print(f"1920 x 1080, {options.repeats} pictures a row; share found (ms per picture)")
        print(f"{'face width':>10} {'of picture':>10} " + " ".join(f"{name:>18}" for name in finds))
        for width in options.widths:
            cells = []
            for find in finds.values():
                hits, start, random = 0, time.perf_counter(), np.random.default_rng(0)
                for k in range(options.repeats):
                    picture, box = scene(portraits[k % len(portraits)], width, plain, random)
                    hits += any(overlap(face.box, box) > 0.4 for face in find(picture))
                cells.append(
                    f"{hits / options.repeats:8.2f} ({1000 * (time.perf_counter() - start) / options.repeats:6.0f})"
                )
            print(f"{width:>10} {width / 1920:>9.1%} " + " ".join(f"{cell:>18}" for cell in cells))
    close(portraits)


def one_look(finder: FaceDetector) -> Callable[[Image], list[Face]]:
    """What finds the faces that show in one look at the whole image."""
    return lambda picture: finder._verified(picture, finder.candidates(picture), [])


def close(portraits: list[Image]) -> None:
    """Prints the share of tight crops in which the face is found, by one look at them and as it is done."""
    with FaceDetector() as finder:
        finds = {"one look": one_look(finder), "as it is": finder.find}
        hits, count = dict.fromkeys(finds, 0), 0
        for portrait in portraits:
            x, y, w, h = finder.find(portrait)[0].box
            for left, top, right, bottom in itertools.product(*EDGES):
                low, high = (
                    (round(x + left * w), round(y + top * h)),
                    (round(x + w + right * w), round(y + h + bottom * h)),
                )
                picture = np.ascontiguousarray(portrait[low[1] : high[1], low[0] : high[0]])
                box, count = (x - low[0], y - low[1], w, h), count + 1
                for name, find in finds.items():
                    hits[name] += any(overlap(face.box, box) > 0.6 for face in find(picture))
    print(f"{count} close crops: " + ", ".join(f"{name} {number / count:.2f}" for name, number in hits.items()))


def scene(
    portrait: Image, width: int, finder: FaceDetector, random: np.random.Generator
) -> tuple[Image, tuple[float, float, float, float]]:
    """A smooth random background with the portrait on it, its face ``width`` pixels wide; and the face's box."""
    x, y, w, h = finder.find(portrait)[0].box
    scale = width / w
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    small = small[:1080, :1920]
    noise = random.integers(60, 200, (9, 16, 3), dtype=np.uint8)
    picture = cv2.resize(noise, (1920, 1080), interpolation=cv2.INTER_CUBIC)
    left = int(random.integers(0, 1920 - small.shape[1] + 1))
    top = int(random.integers(0, 1080 - small.shape[0] + 1))
    picture[top : top + small.shape[0], left : left + small.shape[1]] = small
    return np.asarray(picture, np.uint8), (left + x * scale, top + y * scale, w * scale, h * scale)


if __name__ == "__main__":
    main()
