"""Scenes with known faces: portraits pasted onto real backgrounds, to measure face detection on.

    python scripts/compose_scenes.py --portraits ../shared/data/muxspace/images --backgrounds PHOTOS -o scenes

Each scene is 1280 x 720: a random part of a background and up to four heads, 24 to 400 pixels wide, upright or turned
in the image plane, sharp or blurred, bright or dark, whole or half hidden. Two in five scenes have no face at all. The
true boxes are written to ``faces.json``: scene -> list of x, y, width, height and what was done to each face. A
portrait is used if a detector of its own (the landmark network at its full size) sees exactly one face in it.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.domain import Image
from hsemotion_cli.faces.detector import FaceDetector, overlap
from hsemotion_cli.media.images import read_image

WIDTH, HEIGHT = 1280, 720
SMALLEST, LARGEST = 24, 400
"""Pixels of the width of a face."""

WITHOUT = 0.4
"""Share of scenes without a face."""

HEAD = (0.45, 0.55, 0.45, 0.25)
"""Left, top, right and bottom of what is pasted, beyond the face's box, in its width or height."""

Box = tuple[float, float, float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, nargs="+", required=True, help="folders of portraits")
    parser.add_argument("--backgrounds", type=Path, required=True, help="a folder of photos without faces")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    portraits = sorted(path for folder in options.portraits for path in folder.iterdir())
    backgrounds = sorted(options.backgrounds.iterdir())
    options.out.mkdir(parents=True, exist_ok=True)
    truth: dict[str, Any] = {}
    with FaceDetector() as finder:
        for k in range(options.count):
            scene, faces = compose(portraits, backgrounds, finder, rng)
            name = f"{k:05}.jpg"
            cv2.imwrite(str(options.out / name), scene[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
            truth[name] = faces
    (options.out / "faces.json").write_text(json.dumps(truth, indent=1) + "\n")
    print(f"{len(truth)} scenes, {sum(map(len, truth.values()))} faces")


def compose(
    portraits: list[Path], backgrounds: list[Path], finder: FaceDetector, rng: np.random.Generator
) -> tuple[Image, list[dict[str, Any]]]:
    """One scene and its faces."""
    scene = background(backgrounds, rng)
    faces: list[dict[str, Any]] = []
    if rng.random() < WITHOUT:
        return scene, faces
    for _ in range(int(rng.integers(1, 5))):
        head = portrait(portraits, finder, rng)
        width = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))
        changed = {
            "turned": float(rng.uniform(-40, 40)) if rng.random() < 0.3 else 0.0,
            "blur": float(rng.uniform(0.02, 0.05)) if rng.random() < 0.2 else 0.0,
            "dark": float(rng.uniform(0.25, 0.5)) if rng.random() < 0.2 else 1.0,
            "hidden": str(rng.choice(["left", "right", "bottom"])) if rng.random() < 0.2 else "",
        }
        box = paste(scene, head, width, changed, [face["box"] for face in faces], rng)
        if box is not None:
            faces.append({"box": [round(v, 1) for v in box], **changed})
    return scene, faces


def background(paths: list[Path], rng: np.random.Generator) -> Image:
    """A random part of a random photo at a random scale."""
    while True:
        photo = cv2.imread(str(paths[rng.integers(len(paths))]))
        if photo is not None:
            break
    photo = np.ascontiguousarray(photo[..., ::-1])
    scale = max(WIDTH / photo.shape[1], HEIGHT / photo.shape[0]) * math.exp(rng.uniform(0, 1.0))
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    left, top = rng.integers(photo.shape[1] - WIDTH + 1), rng.integers(photo.shape[0] - HEIGHT + 1)
    photo = photo[top : top + HEIGHT, left : left + WIDTH]
    return np.ascontiguousarray(photo[:, ::-1] if rng.random() < 0.5 else photo)


def portrait(paths: list[Path], finder: FaceDetector, rng: np.random.Generator) -> tuple[Image, Box]:
    """A portrait with exactly one face, and its box."""
    while True:
        image = read_image(paths[rng.integers(len(paths))])
        if image is not None:
            found = finder.find(image)
            if len(found) == 1 and found[0].landmarks is not None:
                return image, found[0].box


def paste(
    scene: Image,
    head: tuple[Image, Box],
    width: float,
    changed: dict[str, Any],
    taken: list[Box],
    rng: np.random.Generator,
) -> Box | None:
    """Put a head into the scene; its box there, or None where no place was found."""
    image, (x, y, w, h) = head
    scale, angle = width / w, math.radians(changed["turned"])
    centre = np.array((x + w / 2, y + h / 2))
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    half = np.abs(turn) @ np.array((w / 2, h / 2))
    for _ in range(20):
        middle = np.array((rng.uniform(half[0], WIDTH - half[0]), rng.uniform(half[1], HEIGHT - half[1])))
        box = (*(middle - half), *(2 * half))
        if all(overlap(box, other) == 0 for other in taken):
            break
    else:
        return None
    shift = middle - turn @ centre
    matrix = np.column_stack([turn, shift])
    if scale < 0.5:  # averaged first, as a lens would
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / scale), np.uint8)
    drawn = cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = np.asarray(cv2.warpAffine(head_mask(image.shape[:2], (x, y, w, h)), matrix, (WIDTH, HEIGHT)), np.float32)
    values = drawn.astype(np.float32) * changed["dark"]
    if changed["blur"]:
        values = cv2.GaussianBlur(values, (0, 0), changed["blur"] * width)
    alpha = hidden(mask, box, changed["hidden"])[..., None]
    scene[:] = np.clip(alpha * values + (1 - alpha) * scene, 0, 255).astype(np.uint8)
    return box


def head_mask(shape: tuple[int, int], box: Box) -> NDArray[np.float32]:
    """(height, width) opacity: an ellipse around the head with a soft edge."""
    x, y, w, h = box
    left, top, right, bottom = (share * size for share, size in zip(HEAD, (w, h, w, h), strict=True))
    centre = (x + (w + right - left) / 2, y + (h + bottom - top) / 2)
    axes = ((w + left + right) / 2, (h + top + bottom) / 2)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    distance = np.hypot((columns - centre[0]) / axes[0], (rows - centre[1]) / axes[1])
    return np.clip((1.0 - distance) / 0.12, 0, 1).astype(np.float32)


def hidden(mask: NDArray[np.float32], box: Box, side: str) -> NDArray[np.float32]:
    """The mask without two fifths of the face from one side; the background stands before it."""
    x, y, w, h = box
    mask = mask.copy()
    if side == "left":
        mask[:, : round(x + 0.4 * w)] = 0
    elif side == "right":
        mask[:, round(x + 0.6 * w) :] = 0
    elif side == "bottom":
        mask[round(y + 0.62 * h) :] = 0
    return mask


if __name__ == "__main__":
    main()
