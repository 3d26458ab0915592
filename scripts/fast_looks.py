"""From which size on the fast detector need not look at a face a second time.

    python scripts/fast_looks.py --videos ../shared/data/videos

Frames are cut or padded so that a face takes a given share of the image's longer side. For each share: how far the
five points of the fast detector lie from those of the landmarks, in distances of the eyes, when it looks once and when
it looks again more closely; median over all frames.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from hsemotion_cli.domain import Image
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector, refine_candidate
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.faces.keypoints import KeypointMap
from hsemotion_cli.faces.mediapipe_onnx import Candidate
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import VIDEO_SUFFIXES, open_source

SHARES = (0.16, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45)
FRAMES = 12  # of each video, one a second or so


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True, help="folder of videos")
    options = parser.parse_args()
    found: dict[float, list[tuple[float, float]]] = {share: [] for share in SHARES}
    marks = KeypointMap.read()
    with FaceDetector() as finder, BlazeFaceDetector() as fast:
        for image, candidate, points in faces(options.videos, finder):
            eyes = float(np.linalg.norm(points[1] - points[0]))
            for share in SHARES:
                shown, offset = framed(image, candidate, share)
                once = next(iter(fast.detect(shown, 0.5)), None)
                again = refine_candidate(fast, shown, once) if once else None
                if once and again:
                    off = [np.abs(marks.points(each.marks) + offset - points).max() / eyes for each in (once, again)]
                    found[share].append((off[0], off[1]))
    print("share  faces  one look  two looks")
    for share, rows in found.items():
        one, two = np.median(rows, axis=0)
        print(f"{share:5.2f}  {len(rows):5d}  {one:8.3f}  {two:9.3f}")


def faces(folder: Path, finder: FaceDetector) -> Iterator[tuple[Image, Candidate, np.ndarray]]:
    """Frames, the best candidate in each, and its five points by the landmarks."""
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in VIDEO_SUFFIXES):
        for count, frame in enumerate(open_source(path).frames(Sampling(every=25))):
            candidates = finder.detect(frame.image, 0.5) if count < FRAMES else []
            face = finder.look(frame.image, candidates[0]) if candidates else None
            if face is not None and face.points is not None:
                yield frame.image, candidates[0], face.points


def framed(image: Image, candidate: Candidate, share: float) -> tuple[Image, np.ndarray]:
    """A square in which the face has this share of the side, and where it begins; grey beyond the image's edge."""
    side = round(candidate.box[2] / share)
    x, y, width, height = candidate.box
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    matrix = np.array([[1.0, 0, -left], [0, 1.0, -top]])
    shown = cv2.warpAffine(image, matrix, (side, side), borderValue=(100, 100, 100))
    return np.asarray(shown, np.uint8), np.array((left, top), np.float32)


if __name__ == "__main__":
    main()
