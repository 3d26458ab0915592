"""Recall of face detection on strict profiles, of which only one eye shows.

    python scripts/measure_profiles.py ../shared/data/dev/expw/images --backgrounds PHOTOS

The 65 images that ``strict_profiles.txt`` lists were chosen by eye from those of ExpW: real heads, since turned
renderings of frontal photos have no side of the head. Each is pasted as it is onto a part of a photo of 1280 x 720, so
that its face is about as wide as ``--width`` gives it, and searched there. A face counts as found if its centre lies in
the pasted image and it is at least a quarter as wide; what is found elsewhere is counted as false.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from compose_scenes import HEIGHT, WIDTH, background

from hsemotion_cli.domain import Face, Image
from hsemotion_cli.evaluation.proportion import wilson
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.media.images import read_image

PROFILES = Path(__file__).with_name("strict_profiles.txt")
"""Beginnings of the names of images of ExpW, one a line."""

SHARE = 0.55
"""Width of a face, as a share of the width of an image of ExpW, which show the whole head."""

SEED = 5

Box = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="the folder of the images")
    parser.add_argument("--backgrounds", type=Path, required=True, help="a folder of photos without faces")
    parser.add_argument("--list", type=Path, default=PROFILES, help="names of other images, one a line")
    parser.add_argument("--width", type=int, action="append", help="of the faces in pixels; repeat; default 120 and 60")
    parser.add_argument("--threshold", type=float, help="det_score that counts; by default that of each detector")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    paths = [named(options.images, name) for name in options.list.read_text().split()]
    settings = {} if options.threshold is None else {"threshold": options.threshold}
    for width in options.width or (120, 60):
        scenes = composed(paths, sorted(options.backgrounds.iterdir()), width)
        for name, kind in (("default", FaceDetector), ("fast", BlazeFaceDetector)):
            with kind(blendshapes=False, **settings) as detector:
                counts = measured(detector, scenes)
            found, count = counts["found"], len(scenes)
            low, high = wilson(found, count)
            print(
                f"{name}, faces of about {width} pixels: {found} of {count} found = {found / count:.2f} "
                f"[{low:.2f}, {high:.2f}], {counts['with landmarks']} with landmarks; {counts['false']} false elsewhere"
            )


def named(folder: Path, name: str) -> Path:
    """The only file of a folder whose name begins so."""
    found = sorted(folder.glob(f"{name}*"))
    if len(found) != 1:
        raise SystemExit(f"{folder}: {len(found)} files have a name that begins with {name}; give the images of ExpW.")
    return found[0]


def composed(paths: Sequence[Path], photos: list[Path], width: int) -> list[tuple[Image, Box]]:
    """Scenes of 1280 x 720, and where each image lies in its scene; the same for the same files and width."""
    rng = np.random.default_rng(SEED)
    found = []
    for path in paths:
        image = read_image(path)
        if image is None:
            raise SystemExit(f"{path}: cannot be read as an image.")
        scale = width / SHARE / image.shape[1]
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        pasted = cv2.resize(image, None, fx=scale, fy=scale, interpolation=how)
        scene = background(photos, rng)
        high, wide = pasted.shape[:2]
        left, top = int(rng.integers(0, WIDTH - wide + 1)), int(rng.integers(0, HEIGHT - high + 1))
        scene[top : top + high, left : left + wide] = pasted
        found.append((scene, (float(left), float(top), float(wide), float(high))))
    return found


def measured(detector: FaceDetector, scenes: Sequence[tuple[Image, Box]]) -> Counter[str]:
    """How many faces were found, how many of them with landmarks, and how many were found elsewhere."""
    counts: Counter[str] = Counter()
    for scene, place in scenes:
        faces = detector.find(scene)
        there = [face for face in faces if is_at(face, place)]
        counts["found"] += bool(there)
        counts["with landmarks"] += any(face.landmarks is not None for face in there)
        counts["false"] += len(faces) - len(there)
    return counts


def is_at(face: Face, place: Box) -> bool:
    """Whether a face lies in the pasted image."""
    (x, y, width, height), (left, top, wide, high) = face.box, place
    inside = left < x + width / 2 < left + wide and top < y + height / 2 < top + high
    return inside and width >= wide / 4


if __name__ == "__main__":
    main()
