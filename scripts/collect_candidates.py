"""Collect faces and what BlazeFace takes for faces: crops on which ``train_face_classifier.py`` trains.

    python scripts/collect_candidates.py --portraits PORTRAITS ... --backgrounds IMAGES ... -o candidates.npz

Thousands of small scenes are composed: a part of an image without faces, onto which portraits, objects with a
transparent background, and ellipses cut from images without faces are pasted, 20 to 300 pixels wide: turned, squeezed,
blurred, dark, noisy, half hidden. The ellipses are pasted just as the heads are, so that the edge of what is pasted
tells nothing. Some portraits are pasted whole, for their hair and clothes; some lie on their side or hang upside down,
which BlazeFace often takes for upright faces. Both BlazeFaces search each scene at a low threshold. A candidate on a
face and turned like it counts as one, a candidate away from every face or turned otherwise as a false alarm, and what
lies between as neither. A further part are small face images
(``--small``, the arrays of FER+), searched with their edge repeated.

``--part K/N`` uses only that share of portraits and backgrounds, chosen by the hash of their names (portraits: up to
the first digit, so that all images of a person fall into one part), for training, calibration and measurement.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from compose_scenes import head_mask, hidden
from measure_detection import matches, size
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from hsemotion_cli.domain import Image
from hsemotion_cli.faces import face_classifier
from hsemotion_cli.faces.detector import _each_once, _surface, margin, pad_edges
from hsemotion_cli.faces.mediapipe_onnx import (
    BLAZEFACE,
    FULL_RANGE,
    LANDMARKS,
    Box,
    Candidate,
    detect,
    landmarks_and_presence,
    load,
    overlap,
)
from hsemotion_cli.media.images import read_image

SIDE = 480
"""Pixels of a scene: a tile of 720p."""

SMALLEST, LARGEST = 20, 300
LOWEST = 0.04
"""Score of a candidate that is collected."""

STORED, MARGIN = 72, 1.5
"""Pixels of a crop, and its side in sides of what the network sees: room to shift and turn it while training."""

LEVEL, ASKEW = 0.6, 1.0
"""Radians between the eyes of a candidate and of the face up to which it is the face, and from which it is not."""

Placed = tuple[Box, float]
"""The box of a face and by how many radians it is turned clockwise."""

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Something to paste: an image, the box in it that counts, an opacity, and whether it is a face."""

    image: Image
    box: Box
    mask: NDArray[np.float32]
    face: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, nargs="+", required=True, help="folders of portraits")
    parser.add_argument("--backgrounds", type=Path, nargs="+", required=True, help="folders of images without faces")
    parser.add_argument("--small", type=Path, help="an .npz with images (n, 48, 48), each a face")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--part", default="0-4/8", help="parts that are used, of how many: 0-4/8")
    parser.add_argument("--count", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(options.seed)
    load([BLAZEFACE, FULL_RANGE, LANDMARKS])
    faces = portraits([p for folder in options.portraits for p in images_in(folder, options.part)])
    things = Things([p for folder in options.backgrounds for p in images_in(folder, options.part)])
    print(f"{len(faces)} portraits, {len(things.photos)} images and {len(things.objects)} objects without faces")
    rows: list[tuple[NDArray[np.uint8], bool, float, float]] = []
    for k in range(options.count):
        scene, boxes = compose(faces, things, rng)
        rows += labelled(scene, both(scene), boxes)
        if k % 1000 == 999:
            print(f"{k + 1} scenes: {sum(r[1] for r in rows)} faces of {len(rows)} candidates", flush=True)
    if options.small:
        rows += small_faces(options.small, things, rng, options.count)
    crops, truth, scores, widths = (np.array(column) for column in zip(*rows, strict=True))
    np.savez(options.out, crops=crops, truth=truth, scores=scores.astype(np.float32), widths=widths.astype(np.float32))
    print(f"{len(truth)} candidates, {truth.sum()} of them faces -> {options.out}")


def images_in(folder: Path, part: str) -> list[Path]:
    """The images of a folder, at any depth, that belong to the parts."""
    chosen, _, count = part.partition("/")
    first, _, last = chosen.partition("-")
    wanted = range(int(first), int(last or first) + 1)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return [path for path in found if in_part(path.stem, int(count)) in wanted]


def in_part(name: str, count: int) -> int:
    """The part to which a file belongs by the beginning of its name."""
    beginning = re.match(r"\D*\d{0,3}", name)
    return hashlib.sha256((beginning[0] if beginning else name).encode()).digest()[0] % count


def portraits(paths: Sequence[Path]) -> list[Head]:
    """Those in which BlazeFace sees exactly one face and the landmark network agrees.

    The face classifier is not asked: it is what is to be trained.
    """
    heads = []
    for path in paths:
        image = read_image(path)
        if image is None:
            continue
        if max(image.shape[:2]) > 448:
            scale = 448 / max(image.shape[:2])
            image = np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
        edge, larger = margin(image), pad_edges(image)
        found = _each_once(detect(larger, 0.3))
        if len(found) != 1 or found[0].score < 0.7:
            continue
        landmarks, presence = landmarks_and_presence(larger, found[0])
        if presence >= 0:
            x, y, width, height = _surface(landmarks)
            box = (x - edge, y - edge, width, height)
            heads.append(Head(image, box, head_mask(image.shape[:2], box), True))
    return heads


class Things:
    """Images without faces, and objects with an opacity."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.photos: list[Image] = []
        self.objects: list[NDArray[np.uint8]] = []
        for path in paths:
            image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            if image is None or image.dtype != np.uint8:
                continue
            scale = min(1.0, 1600 / max(image.shape[:2]))
            if scale < 1:
                image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            if image.ndim == 2:
                image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
            if image.shape[2] == 4:
                self.objects.append(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA), np.uint8))
            else:
                self.photos.append(np.ascontiguousarray(image[..., ::-1]))

    def patch(self, rng: np.random.Generator, side: int = SIDE) -> Image:
        """A random part of a random image at a random scale, (side, side); at times written or even."""
        kind = rng.random()
        if kind < 0.1:
            return written(rng, side)
        if kind < 0.15:
            return even(rng, side)
        photo = self.photos[rng.integers(len(self.photos))]
        shortest = min(photo.shape[:2])
        part = round(min(shortest, side * math.exp(rng.uniform(-1.2, 1.2))))
        left, top = rng.integers(photo.shape[1] - part + 1), rng.integers(photo.shape[0] - part + 1)
        method = cv2.INTER_AREA if part > side else cv2.INTER_CUBIC
        shown = cv2.resize(photo[top : top + part, left : left + part], (side, side), interpolation=method)
        return np.ascontiguousarray(shown[:, ::-1] if rng.random() < 0.5 else shown)

    def thing(self, rng: np.random.Generator) -> Head:
        """An object, or an ellipse of an image."""
        if self.objects and rng.random() < 0.7:
            drawn = self.objects[rng.integers(len(self.objects))]
            height, width = drawn.shape[:2]
            opacity = (drawn[..., 3] / 255.0).astype(np.float32)
            return Head(np.ascontiguousarray(drawn[..., :3]), (0.0, 0.0, width, height), opacity, False)
        patch = self.patch(rng, 224)
        box = (56.0, 60.0, 112.0, 124.0)
        return Head(patch, box, head_mask(patch.shape[:2], box), False)


def written(rng: np.random.Generator, side: int) -> Image:
    """Letters and digits of all sizes."""
    fonts = sorted(Path("/usr/share/fonts").rglob("*.ttf"))
    colours = [tuple(int(v) for v in rng.integers(0, 256, 3)) for _ in range(2)]
    page = PillowImage.new("RGB", (side, side), colours[0])
    draw = ImageDraw.Draw(page)
    signs = "abcdegopqs0689ABCDGOQRS@&%$ioe:)(8"
    font = ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), round(math.exp(rng.uniform(2.5, 5.5))))
    top = -0.3 * font.size
    while top < side:
        text = "".join(signs[k] for k in rng.integers(len(signs), size=max(2, round(2.5 * side / font.size))))
        draw.text((rng.uniform(-font.size, 0), top), text, colours[1], font)
        top += font.size * rng.uniform(0.9, 1.4)
    return np.array(page, np.uint8)


def even(rng: np.random.Generator, side: int) -> Image:
    """A colour with noise of a random grain."""
    grain = max(2, round(side / math.exp(rng.uniform(0, 3.5))))
    noise = cv2.resize(rng.normal(0, 1, (grain, grain, 1)), (side, side), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(rng.uniform(20, 235, 3) + rng.uniform(3, 40) * noise, 0, 255).astype(np.uint8)


def compose(faces: Sequence[Head], things: Things, rng: np.random.Generator) -> tuple[Image, list[Placed]]:
    """A scene and where its faces are."""
    scene = things.patch(rng)
    taken: list[Box] = []
    boxes: list[Placed] = []
    for _ in range(int(rng.integers(1, 6))):
        head = faces[int(rng.integers(len(faces)))] if rng.random() < 0.55 else things.thing(rng)
        if head.face and rng.random() < 0.25:
            head = replace(head, mask=np.ones(head.image.shape[:2], np.float32))
        angle = rng.uniform(-0.8, 0.8) if rng.random() < 0.35 else rng.uniform(-0.15, 0.15)
        if rng.random() < 0.15:
            angle = rng.uniform(1.2, 2 * math.pi - 1.2)
        box = paste(scene, head, angle, things, taken, rng)
        if box is not None:
            taken.append(box)
            if head.face:
                boxes.append((box, angle))
    return degraded(scene, rng), boxes


def paste(
    scene: Image, head: Head, angle: float, things: Things, taken: Sequence[Box], rng: np.random.Generator
) -> Box | None:
    """Put something into a scene, turned clockwise by so many radians; the box there, or None without a place."""
    x, y, w, h = head.box
    width = math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))
    squeeze = rng.uniform(0.65, 1) if rng.random() < 0.3 else 1.0  # as if turned away
    flip = -1 if rng.random() < 0.5 else 1
    scale = width / w
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = scale * turn @ np.diag([squeeze * flip, 1.0])
    half = np.abs(turn) @ np.array((w / 2, h / 2))
    if (half > SIDE / 2).any():
        return None
    for _ in range(10):
        middle = np.array((rng.uniform(half[0], SIDE - half[0]), rng.uniform(half[1], SIDE - half[1])))
        box = (*(middle - half), *(2 * half))
        if all(overlap(box, other) == 0 for other in taken):
            break
    else:
        return None
    matrix = np.column_stack([turn, middle - turn @ np.array((x + w / 2, y + h / 2))])
    image, mask = head.image, head.mask
    if scale < 0.5:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / scale), np.uint8)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 0.4 / scale), np.float32)
    if rng.random() < 0.25:
        mask = hidden(mask, head.box, str(rng.choice(["left", "right", "bottom"])))
    drawn = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(mask, matrix, (SIDE, SIDE))[..., None]
    values = drawn.astype(np.float32)
    values = (values - 128) * rng.uniform(0.5, 1.1) + 128 if rng.random() < 0.3 else values
    values *= rng.uniform(0.2, 0.6) if rng.random() < 0.25 else rng.uniform(0.8, 1.1)
    if rng.random() < 0.25:
        values = np.asarray(cv2.GaussianBlur(values, (0, 0), rng.uniform(0.01, 0.05) * width + 0.1), np.float32)
    if rng.random() < 0.4:  # grey portraits in colour, and the other way round
        values *= rng.uniform(0.75, 1.25, 3).astype(np.float32)
    scene[:] = np.clip(alpha * values + (1 - alpha) * scene, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        cover(scene, box, things, rng)
    return box


def cover(scene: Image, box: Box, things: Things, rng: np.random.Generator) -> None:
    """Something in front of a part of what was pasted: the mouth, one eye, a side."""
    x, y, w, h = box
    patch = things.patch(rng, 96)
    wide, high = w * rng.uniform(0.25, 0.6), h * rng.uniform(0.2, 0.45)
    centre = (x + w * rng.uniform(0, 1), y + h * rng.uniform(0.55, 1))
    left, top = max(round(centre[0] - wide / 2), 0), max(round(centre[1] - high / 2), 0)
    right, bottom = min(round(centre[0] + wide / 2), SIDE), min(round(centre[1] + high / 2), SIDE)
    if right > left and bottom > top:
        scene[top:bottom, left:right] = cv2.resize(patch, (right - left, bottom - top), interpolation=cv2.INTER_AREA)


def degraded(scene: Image, rng: np.random.Generator) -> Image:
    """As a camera and a codec leave it."""
    if rng.random() < 0.3:
        scene = np.clip(scene + rng.normal(0, rng.uniform(2, 14), scene.shape), 0, 255).astype(np.uint8)
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
        scene = np.asarray(cv2.imdecode(cv2.imencode(".jpg", scene, quality)[1], cv2.IMREAD_COLOR), np.uint8)
    return scene


def both(scene: Image) -> list[Candidate]:
    """Candidates of both networks; of those of one place one, chosen as the detector chooses it."""
    return _each_once(detect(scene, LOWEST) + detect(scene, LOWEST, network=FULL_RANGE))


def labelled(
    scene: Image, candidates: Sequence[Candidate], faces: Sequence[Placed]
) -> list[tuple[NDArray[np.uint8], bool, float, float]]:
    """Crop, truth, score and width of each candidate that clearly is or is not a face."""
    rows = []
    for candidate in candidates:
        same = [abs(turned_by(candidate, angle)) for box, angle in faces if matches(candidate.box, box)]
        face = any(angle < LEVEL for angle in same)
        if not face and (
            any(angle < ASKEW for angle in same)
            or any(near(candidate.box, box) and not matches(candidate.box, box) for box, _ in faces)
        ):
            continue
        crop = face_classifier.crop(scene, candidate, STORED, face_classifier.REGION * MARGIN)
        rows.append((crop, face, candidate.score, candidate.box[2]))
    return rows


def turned_by(candidate: Candidate, angle: float) -> float:
    """Radians from a face that is turned by an angle to the candidate, in [-pi, pi]."""
    across, down = (candidate.marks[1] - candidate.marks[0]).tolist()
    return math.remainder(math.atan2(down, across) - angle, 2 * math.pi)


def near(candidate: Box, face: Box) -> bool:
    """Whether a candidate that is not the face shows so much of it that it is no false alarm either."""
    centres = [(box[0] + box[2] / 2, box[1] + box[3] / 2) for box in (candidate, face)]
    return math.dist(*centres) < 0.8 * size(face) and 0.4 < size(candidate) / size(face) < 2.5


def small_faces(
    path: Path, things: Things, rng: np.random.Generator, count: int
) -> list[tuple[NDArray[np.uint8], bool, float, float]]:
    """Candidates in small face images and in as many other patches, both with their edge repeated."""
    content: Any = np.load(path)
    chosen = np.flatnonzero(content["split"] == "train") if "split" in content else np.arange(len(content["images"]))
    images = content["images"]
    rows = []
    for k in rng.choice(chosen, min(count, len(chosen)), replace=False):
        grey = cv2.cvtColor(images[k], cv2.COLOR_GRAY2RGB)
        for image, face in ((grey, True), (things.patch(rng, 48), False)):
            framed = pad_edges(np.asarray(cv2.resize(image, (96, 96), interpolation=cv2.INTER_LINEAR), np.uint8))
            framed = degraded(framed, rng)
            middle = [c for c in both(framed) if not face or abs(c.box[0] + c.box[2] / 2 - framed.shape[1] / 2) < 12]
            for c in middle[: 1 if face else 3]:
                rows += labelled(framed, [c], [(c.box, 0.0)] if face else [])
    return rows


if __name__ == "__main__":
    main()
