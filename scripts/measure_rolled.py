"""Measure faces of rolled heads: which are missed, and which are read the wrong way round.

    python scripts/measure_rolled.py ../shared/data/free/london --every 17 --first 3

Portraits in which one face is found upright are turned by eleven angles. A turned face counts as wrong if the line of
its eyes is off by more than half a radian, or one of its five points by more than a quarter of the face's width.
``--detector fast`` measures the detector without a landmark network.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.domain import Face, Image
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.media.images import read_image

ANGLES = (-160, -135, -110, -90, -60, 60, 90, 110, 135, 160, 180)
"""Degrees clockwise. Within 45 degrees a head counts as upright."""

GREY = (128, 128, 128)
MARGIN = 60
TURNED, OFF = 0.5, 0.25
"""Errors from which a face counts as wrong: radians, and the share of the face's width."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of portraits, with all folders in them")
    parser.add_argument("--every", type=int, default=1, help="every n-th image only")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--detector", choices=("landmarks", "fast"), default="landmarks")
    options = parser.parse_args()
    with {"landmarks": FaceDetector, "fast": BlazeFaceDetector}[options.detector]() as detector:
        for folder in options.folders:
            images = sorted(path for path in folder.rglob("*.*") if path.suffix in (".jpg", ".jpeg", ".png"))
            found = measured(detector, images[options.first :: options.every])
            print(f"{folder}: {found['heads']} heads, {found['missed']} missed, {found['wrong']} wrong")
            for degrees in ANGLES:
                print(
                    f"  {degrees:+4d} degrees: {found[f'missed {degrees}']} missed, {found[f'wrong {degrees}']} wrong"
                )


def measured(detector: FaceDetector, paths: list[Path]) -> Counter[str]:
    """Turned heads, those missed and those wrong, in all and by angle."""
    counts: Counter[str] = Counter()
    for path in paths:
        image = read_image(path)
        if image is None:
            raise SystemExit(f"{path}: cannot be read as an image.")
        for degrees, outcome in outcomes(detector, framed(image)):
            counts["heads"] += 1
            if outcome:
                counts.update((outcome, f"{outcome} {degrees}"))
    return counts


def outcomes(detector: FaceDetector, image: Image) -> Iterator[tuple[int, str]]:
    """Each angle with "missed", "wrong", or "" if the face is right; nothing without a single face upright."""
    upright = detector.find(image)
    if len(upright) != 1 or upright[0].points is None:
        return
    for degrees in ANGLES:
        turned, matrix = rolled(image, degrees)
        faces = detector.find(turned)
        yield degrees, ("wrong" if faces and is_wrong(faces[0], upright[0], matrix) else "" if faces else "missed")


def is_wrong(face: Face, upright: Face, matrix: NDArray[np.float64]) -> bool:
    """Whether a face is not where (2, 3) ``matrix`` puts the upright one."""
    assert face.points is not None and upright.points is not None
    expected = np.column_stack([upright.points, np.ones(5)]) @ matrix.T
    turn = math.remainder(direction(face.points) - direction(expected), 2 * math.pi)
    return bool(abs(turn) > TURNED or np.hypot(*(face.points - expected).T).max() > OFF * upright.box[2])


def direction(points: NDArray[np.floating]) -> float:
    """From the first eye to the second, in radians."""
    across, down = points[1] - points[0]
    return math.atan2(down, across)


def framed(image: Image) -> Image:
    """With grey around it: a turned head does not end at the edge."""
    return np.asarray(
        cv2.copyMakeBorder(image, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_CONSTANT, value=GREY), np.uint8
    )


def rolled(image: Image, degrees: float) -> tuple[Image, NDArray[np.float64]]:
    """The image turned clockwise in a larger grey one, and the 2 x 3 map of its points."""
    height, width = image.shape[:2]
    side = math.ceil(math.hypot(height, width))
    matrix = np.asarray(cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0), np.float64)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return np.asarray(cv2.warpAffine(image, matrix, (side, side), borderValue=GREY), np.uint8), matrix


if __name__ == "__main__":
    main()
