"""Recall and precision of face detection by size of the face, on scenes with known faces, and the time of each.

    python scripts/compose_scenes.py ... -o scenes
    python scripts/measure_detection.py scenes [--threshold 0.5] [--mtcnn] [--show FOLDER] [--sheet FILE]

``scenes`` holds images and ``faces.json``: image -> list of faces, each with ``box`` (x, y, width, height), as
``compose_scenes.py`` writes it or as drawn by hand. A face is found if a box has its centre within two fifths of the
face's size of the true one, and from half to twice its size. On request MTCNN of facenet-pytorch is measured
as well; OpenCV 5 has no detector without a model file of its own (``cv2.FaceDetectorYN`` needs one, and the cascades of
OpenCV 4 are gone). ``--show`` draws what was missed and what is no face into the scenes; ``--sheet`` puts every false
face (red) and every missed face from 60 pixels (yellow) side by side in one image.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from hsemotion_cli.domain import Image
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.media.images import read_image

EDGES = (24, 32, 40, 60, 90, 130, 200, 300, 1000)
"""Widths of faces in pixels at which the rows of the table begin."""

LARGE = 60
"""Width of a face in pixels from which a miss is shown."""

Found = tuple[tuple[float, float, float, float], float]
"""A box and its score."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", type=Path)
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--mtcnn", action="store_true", help="also measure MTCNN (facenet-pytorch)")
    parser.add_argument("--show", type=Path, help="draw misses and false faces of the default into a folder")
    parser.add_argument("--sheet", type=Path, help="draw every false face and every large miss of the default")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    truth = json.loads((options.scenes / "faces.json").read_text())
    finders: dict[str, Callable[[Image], Sequence[Found]]] = {
        "default": ours(FaceDetector(threshold=options.threshold)),
        "fast": ours(BlazeFaceDetector(threshold=options.threshold)),
    }
    if options.mtcnn:
        finders["mtcnn"] = mtcnn()
    print(f"{len(truth)} scenes, {sum(map(len, truth.values()))} faces")
    for name, find in finders.items():
        wrong = measure(name, find, options.scenes, truth, options.show if name == "default" else None)
        if options.sheet is not None and name == "default":
            cv2.imwrite(str(options.sheet), sheet(wrong))


def measure(
    name: str, find: Callable[[Image], Sequence[Found]], folder: Path, truth: dict[str, Any], show: Path | None
) -> list[Image]:
    """Print a detector's recall by size, precision, calibration and time; returns its false faces and large misses."""
    errors: list[Image] = []
    hits: list[list[bool]] = [[] for _ in EDGES[:-1]]
    right: list[tuple[float, bool]] = []
    spent = 0.0
    for scene, faces in truth.items():
        image = read_image(folder / scene)
        assert image is not None
        start = time.perf_counter()
        found = find(image)
        spent += time.perf_counter() - start
        missed = [face for face in faces if not any(matches(box, face["box"]) for box, _ in found)]
        wrong = [one for one in found if not any(matches(one[0], face["box"]) for face in faces)]
        for face in faces:
            row = min(max(int(np.searchsorted(EDGES, size(face["box"]), side="right")) - 1, 0), len(hits) - 1)
            hits[row].append(face not in missed)
        right += [(score, (box, score) not in wrong) for box, score in found]
        errors += [cell(image, box, f"{Path(scene).stem} {score:.2f}", (255, 0, 0)) for box, score in wrong]
        large = [face["box"] for face in missed if size(face["box"]) >= LARGE]
        errors += [cell(image, box, f"{Path(scene).stem} missed", (255, 255, 0)) for box in large]
        if show is not None and (missed or wrong):
            draw(image, missed, wrong, show / f"{Path(scene).stem}.png")
    every = [hit for row in hits[2:] for hit in row]
    cells = " ".join(f"{EDGES[k]}+: {np.mean(row):.2f} ({len(row)})" for k, row in enumerate(hits) if row)
    print(f"{name}: recall {cells}; from {EDGES[2]} pixels {np.mean(every):.3f}")
    false = sum(not good for _, good in right)
    print(f"{name}: precision {1 - false / max(len(right), 1):.4f} ({false} false of {len(right)}); "
          f"{1000 * spent / len(truth):.1f} ms per scene")  # fmt: skip
    spans = ((0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 0.9), (0.9, 0.95), (0.95, 1.01))
    bins = [(low, [good for score, good in right if low <= score < high]) for low, high in spans]
    print(f"{name}: right by score: " + " ".join(f"{low:g}: {np.mean(g):.2f} ({len(g)})" for low, g in bins if g))
    return errors


def cell(image: Image, box: Sequence[float], text: str, colour: tuple[int, int, int]) -> Image:
    """(160, 160): a box with its surroundings and a few words."""
    x, y, width, height = box
    side = 2 * max(width, height)
    left, top = x + width / 2 - side / 2, y + height / 2 - side / 2
    matrix = np.array([[side / 160, 0, left], [0, side / 160, top]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    drawn = np.asarray(cv2.warpAffine(image, matrix, (160, 160), flags=how), np.uint8)
    corner = (round((x - left) * 160 / side), round((y - top) * 160 / side))
    cv2.rectangle(drawn, (*corner, round(width * 160 / side), round(height * 160 / side)), colour, 1)
    cv2.putText(drawn, f"{text} {width:.0f}px", (2, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.38, colour, 1)
    return drawn


def sheet(cells: Sequence[Image]) -> Image:
    """The cells in rows of eight, as OpenCV writes it."""
    filled = [*cells, *[np.zeros((160, 160, 3), np.uint8)] * (-len(cells) % 8 or 8 * (not cells))]
    rows = [np.hstack(filled[k : k + 8]) for k in range(0, len(filled), 8)]
    return np.ascontiguousarray(np.vstack(rows)[..., ::-1])


def size(box: Sequence[float]) -> float:
    """Width of a face in pixels: of a turned one that of the upright face, which is about 1.2 times as high as wide."""
    return math.sqrt(box[2] * box[3] / 1.2)


def matches(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the first box is of the face whose true box is the second."""
    centres = [(box[0] + box[2] / 2, box[1] + box[3] / 2) for box in (one, other)]
    return math.dist(*centres) < 0.4 * size(other) and 0.5 < size(one) / size(other) < 2


def ours(finder: FaceDetector) -> Callable[[Image], Sequence[Found]]:
    finder.__enter__()
    return lambda image: [(face.box, face.score) for face in finder.find(image)]


def mtcnn() -> Callable[[Image], Sequence[Found]]:
    import torch

    from hsemotion_cli.models.architectures import mend_torchvision

    mend_torchvision()
    from facenet_pytorch import MTCNN

    from hsemotion_cli.bench.emotiefflib import _mend_nms

    _mend_nms()

    torch.set_num_threads(1)
    network = MTCNN(keep_all=True, post_process=False, min_face_size=20)

    def find(image: Image) -> list[Found]:
        boxes, scores = network.detect(image)
        if boxes is None:
            return []
        return [((x, y, right - x, low - y), float(s)) for (x, y, right, low), s in zip(boxes, scores, strict=True)]

    return find


def draw(image: Image, missed: list[dict[str, Any]], wrong: list[Found], path: Path) -> None:
    """The scene with missed faces in yellow and false ones in red."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = np.ascontiguousarray(image[..., ::-1])
    for box, colour in [(face["box"], (0, 255, 255)) for face in missed] + [(box, (0, 0, 255)) for box, _ in wrong]:
        x, y, width, height = map(round, box)
        cv2.rectangle(canvas, (x, y), (x + width, y + height), colour, 3)
    cv2.imwrite(str(path), canvas)


if __name__ == "__main__":
    main()
