"""Fit the map from BlazeFace's keypoints used by ``--detector fast``, and report its error against the landmarks.

    python scripts/fit_fast.py --data ../shared/data/muxspace/images --check ../shared/data/videos

Both detectors run on every image of the folder. The map from BlazeFace's keypoints to the points and box of the other
detector minimises the squared error relative to face size. Videos are only used to measure it. Writes
hsemotion_cli/assets/fast.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from hsemotion_cli.domain import Image
from hsemotion_cli.faces.blazeface_detector import refine_candidate
from hsemotion_cli.faces.detector import FaceDetector, overlap
from hsemotion_cli.faces.keypoints import FILE, KeypointMap, frame
from hsemotion_cli.media.images import read_image
from hsemotion_cli.media.video import VIDEO_SUFFIXES, open_source

TARGET = Path(__file__).resolve().parent.parent / "hsemotion_cli" / "assets" / FILE
Pair = tuple[np.ndarray, np.ndarray, tuple[float, float, float, float]]
PLANE = np.array([1, 1j])
"""x, y -> x + iy."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of images to fit to")
    parser.add_argument("--check", type=Path, help="folder of videos to measure on")
    options = parser.parse_args()
    with FaceDetector() as finder:
        images = sorted(p for p in options.data.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
        pairs = [pair for path in images for pair in both(finder, framed(read(path)))]
        found = fit(pairs)
        print(f"fitted to {len(pairs)} faces in {len(images)} images: {error(found, pairs)}")
        for path in sorted(options.check.rglob("*")) if options.check else ():
            if path.suffix.lower() in VIDEO_SUFFIXES:
                seen = [p for f in open_source(path).frames() if f.index % 5 == 0 for p in both(finder, f.image)]
                print(f"{path.name}: {error(found, seen) if seen else 'no face'}")
    points, box = found.weights, found.edges
    content = {
        "made_by": "scripts/fit_fast.py",
        "points": [[[round(w.real, 6), round(w.imag, 6)] for w in row] for row in points],
        "box": np.round(box, 6).tolist(),
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Image:
    image = read_image(path)
    assert image is not None, path
    return image


def framed(image: Image) -> Image:
    """An image cropped to a face, with a black margin, as the detectors need it."""
    margin = max(image.shape) // 3
    return np.asarray(cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE), np.uint8)


def both(finder: FaceDetector, image: Image) -> list[Pair]:
    """Marks, points and box of each face that both detectors find."""
    found = []
    for candidate in finder.candidates(image):
        face, again = finder.look(image, candidate), refine_candidate(finder, image, candidate)
        if face is not None and face.points is not None and again is not None:
            found.append((again.marks, face.points, face.box))
    return found


def fit(pairs: list[Pair]) -> KeypointMap:
    """Least squares; a face and its mirror image count alike."""
    pairs = pairs + [mirrored(pair) for pair in pairs]
    left, right = [], []
    rows, edges = [], []
    for marks, points, box in pairs:
        centre, size = frame(marks)
        left.append(((marks - centre) / size) @ PLANE)
        right.append(((points - centre) / size) @ PLANE)
        rows.append([*((marks - centre) / size).ravel(), 1.0])
        corners = np.array([box[0], box[1], box[0] + box[2], box[1] + box[3]])
        edges.append((corners - np.tile(centre, 2)) / size)
    # About their mean the marks add up to nothing, so adding the same to all weights of a point changes nothing:
    # they are made to add up to one, and the map then holds in any frame.
    solved = np.linalg.lstsq(np.array(left, np.complex128), np.array(right, np.complex128), rcond=None)[0]
    weights = solved.astype(np.complex128).T
    weights += (1 - weights.sum(axis=1, keepdims=True)) / 6
    # A little ridge: the marks hardly differ from a plane of fewer numbers.
    x = np.array(rows)
    box_map = np.linalg.solve(x.T @ x + 1e-3 * len(x) * np.eye(13), x.T @ np.array(edges)).T
    return KeypointMap(weights, box_map)


def mirrored(pair: Pair) -> Pair:
    marks, points, (x, y, width, height) = pair
    turn = np.array((-1, 1))
    return (marks * turn)[[1, 0, 2, 3, 5, 4]], (points * turn)[[1, 0, 2, 4, 3]], (-x - width, y, width, height)


def error(found: KeypointMap, pairs: list[Pair]) -> str:
    """How far the points lie from those of the landmarks, and how much the boxes share."""
    far, shared = [], []
    for marks, points, box in pairs:
        eyes = np.linalg.norm(points[1] - points[0])
        far.append(np.linalg.norm(found.points(marks) - points, axis=1).mean() / max(eyes, 1))
        shared.append(overlap(found.box(marks), box))
    return (
        f"{len(pairs)} faces, points {np.median(far):.3f} of the eyes' distance away (95 %: "
        f"{np.quantile(far, 0.95):.3f}), overlap of the boxes {np.median(shared):.3f} "
        f"(5 %: {np.quantile(shared, 0.05):.3f})"
    )


if __name__ == "__main__":
    main()
