"""Compose clips in which every face has a known id: people cross, hide, turn, leave, return, and swap places.

    python scripts/compose_tracks.py --portraits ../shared/data/free/london --videos VIDEOS \\
        --backgrounds PHOTOS -o tracks --seeds 0 1 2 3

Heads are cut out of portraits (two images of each person, crossfaded, so that expressions change) and of videos
(moving faces), and pasted with a soft mask on a photo. ``NAME.mp4`` is written, and in ``NAME.json`` for every frame
the people in it, their boxes, and which share of each face is visible.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.domain import Image
from hsemotion_cli.faces import crops
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.media.images import read_image
from hsemotion_cli.media.video import VideoFile

WIDTH, HEIGHT = 640, 360
POOL = 8
"""People in portraits, for each seed."""

TICKS = Fraction(1, 12800)
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Placed:
    """A face in a frame: centre and height of its box in pixels; ``squeeze`` below 1 stands for a turn of the head."""

    person: int
    x: float
    y: float
    height: float = 110.0
    squeeze: float = 1.0
    roll: float = 0.0


@dataclass(frozen=True)
class Shot:
    """One frame: people from back to front, what is before them, and the camera.

    Attributes:
        hands: (centre x, centre y, half width, half height) of ellipses in the colour of skin.
        bars: (left, right) of upright bars.
        camera: (right, down, zoom): applied to people and background.
        scene: number of the background; a cut where it changes.
        light: factor on all values.
        time: seconds.
    """

    people: tuple[Placed, ...]
    hands: tuple[tuple[float, float, float, float], ...] = ()
    bars: tuple[tuple[float, float], ...] = ()
    camera: tuple[float, float, float] = (0.0, 0.0, 1.0)
    scene: int = 0
    light: float = 1.0
    time: float = 0.0


@dataclass(frozen=True)
class Head:
    """A moving head: images and the box of the face in each."""

    images: Sequence[Image]
    boxes: Sequence[Box]
    tint: tuple[float, float, float] = field(default=(1.0, 1.0, 1.0))

    def at(self, k: int) -> tuple[Image, Box]:
        """Image and box of frame ``k``; forwards and backwards through the images."""
        count = len(self.images)
        k %= max(2 * count - 2, 1)
        k = k if k < count else 2 * count - 2 - k
        return self.images[k], self.boxes[k]


# --- what happens ---------------------------------------------------------------------------------------------------


def _over(count: int, people: Callable[[int], Sequence[Placed]], rate: float = 25, **more: Any) -> list[Shot]:
    """``count`` frames; values in ``more`` may be functions of the frame's number."""

    def at(k: int) -> dict[str, Any]:
        return {key: value(k) if callable(value) else value for key, value in more.items()}

    return [Shot(tuple(people(k)), time=k / rate, **at(k)) for k in range(count)]


def _joined(*parts: list[Shot], rate: float = 25) -> list[Shot]:
    shots = [shot for part in parts for shot in part]
    return [replace(shot, time=k / rate) for k, shot in enumerate(shots)]


def _still(*people: tuple[int, float], count: int = 25, height: float = 110, **more: Any) -> list[Shot]:
    """People (number, x) who sway a little."""
    return _over(
        count,
        lambda k: [Placed(p, x + 5 * math.sin(k / 9 + p), 180 + 3 * math.sin(k / 7 + x), height) for p, x in people],
        **more,
    )


def crossing(rate: float = 25, seconds: float = 3.0, sizes: tuple[float, float] = (110, 110)) -> list[Shot]:
    """0 walks right behind 1, who walks left."""
    count = round(rate * seconds)
    step = 480 / count
    return _over(
        count, lambda k: [Placed(0, 80 + step * k, 185, sizes[0]), Placed(1, 560 - step * k, 172, sizes[1])], rate
    )


def uneven(random: np.random.Generator) -> list[Shot]:
    """A crossing at a variable frame rate: a third of 30 frames a second are missing, and times jitter."""
    shots = [shot for shot in crossing(30) if random.random() > 0.33]
    return [replace(shot, time=shot.time + float(random.uniform(0, 0.012))) for shot in shots]


def turned() -> list[Shot]:
    """Two heads turn away and back, one after the other."""

    def squeeze(k: int, start: int) -> float:
        return 1 - 0.62 * math.sin(math.pi * min(max(k - start, 0), 30) / 30) ** 2

    return _over(90, lambda k: [Placed(0, 200, 180, 110, squeeze(k, 8)), Placed(1, 430, 175, 110, squeeze(k, 48), 4.0)])


def passer_by() -> list[Shot]:
    """2 walks behind 0 and 1, who sit."""
    return _over(100, lambda k: [Placed(2, -40 + 7.2 * k, 150, 95), Placed(0, 220, 185, 120), Placed(1, 430, 190, 120)])


def scenarios(random: np.random.Generator) -> dict[str, list[Shot]]:
    """Name -> frames. ``random`` decides the details of some."""
    both = ((0, 200.0), (1, 430.0))
    whip = [0.0] * 20 + [-40.0 * k for k in range(1, 8)] + [-280.0] * 15 + [-280.0 + 35 * k for k in range(1, 9)]
    shake = random.normal(0, 9, (75, 2)).cumsum(axis=0) * 0.5
    return {
        "crossing": crossing(),
        "crossing, near and far": crossing(sizes=(80, 130)),
        "crossing, 8 fps": crossing(8, 3.2),
        "crossing, variable rate": uneven(random),
        "meet and turn back": _over(
            100,
            lambda k: [Placed(0, 150 + 125 * math.sin(k / 16), 182), Placed(1, 490 - 125 * math.sin(k / 16), 176)],
        ),
        "close together": _over(
            90, lambda k: [Placed(0, 260 + 25 * math.sin(k / 8), 180), Placed(1, 380 - 25 * math.sin(k / 8), 170)]
        ),
        "passer-by": passer_by(),
        "hand": _still(*both, count=75, hands=lambda k: [(200 + 240 * math.cos(k / 12), 190, 70, 60)]),
        "bar": _still(*both, count=90, bars=lambda k: [(8 * k - 100, 8 * k + 30)]),
        "behind a post": _over(80, lambda k: [Placed(0, 60 + 6.5 * k, 180, 100)], bars=[(250, 380)]),
        "turn": turned(),
        "absent for 0.5 s": _joined(_still(*both), _still((1, 430), count=12), _still(*both)),
        "absent for 1 s": _joined(_still(*both), _still((1, 430), count=25), _still(*both)),
        "out at the edge for 0.7 s": _over(
            70, lambda k: [Placed(0, 90 + 330 * math.cos(k / 11), 180), Placed(1, 470, 175)]
        ),
        "another in the same place": _joined(
            _still((0, 250), (2, 470)), _still((2, 470), count=15), _still((1, 253), (2, 470))
        ),
        "zoom": _still(*both, count=50, camera=lambda k: (0.0, 0.0, min(max(1 + 0.05 * (k - 12), 1), 1.8))),
        "whip pan": _still((0, 300), (1, 500), count=50, camera=lambda k: (whip[k], 0.0, 1.0)),
        "shaking camera": _still(*both, count=75, camera=lambda k: (*shake[k], 1.0)),
        "swapped over a cut": _joined(_still(*both), _still((1, 200), (0, 430), scene=1), _still(*both)),
        "cut before one background": _joined(_still((0, 300)), _still((1, 302)), _still((0, 300))),
        "lights": _still(*both, count=75, light=lambda k: 1 - 0.6 * min(max(k - 20, 0) / 8, 1, max(60 - k, 0) / 8)),
    }  # fmt: skip


# --- who is there ---------------------------------------------------------------------------------------------------


def portraits(folder: Path) -> dict[str, list[Path]]:
    """Person -> the images of London's set."""
    found: dict[str, list[Path]] = {}
    with (folder / "labels.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["subject"], []).append(folder / row["path"])
    return found


def still_head(paths: list[Path], finder: FaceDetector, random: np.random.Generator) -> Head | None:
    """A head whose two images (one where there is no other) are crossfaded back and forth."""
    images = [image for path in paths[:2] if (image := read_image(path)) is not None]
    faces = [next(iter(finder.find(image)), None) for image in images]
    known = [(image, face) for image, face in zip(images, faces, strict=True) if face and face.points is not None]
    if not known:
        return None
    (first, face), (last, other) = known[0], known[-1]
    assert face.points is not None
    assert other.points is not None
    matrix = crops.similarity(other.points.astype(np.float64), face.points.astype(np.float64))
    last = np.asarray(cv2.warpAffine(last, matrix, first.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)
    shares = [min(max((k - 20) / 6, 0), 1) for k in range(50)]
    mixed = [np.asarray(cv2.addWeighted(first, 1 - share, last, share, 0), np.uint8) for share in shares]
    tint = tuple(random.uniform(0.25, 1.0, 3).tolist()) if random.random() < 0.5 else (1.0, 1.0, 1.0)
    return Head(mixed, [face.box] * len(mixed), tint)


def moving_head(path: Path, finder: FaceDetector, most: int = 60) -> Head | None:
    """The head of the only person of a video, while it is seen without a break; None if nobody is seen long enough."""
    images: list[Image] = []
    boxes: list[Box] = []
    for frame in VideoFile(path).frames():
        scale = 300 / min(frame.image.shape[:2])
        small = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        faces = finder.find(np.asarray(small, np.uint8))
        if len(faces) == 1:
            images.append(np.asarray(small, np.uint8))
            boxes.append(faces[0].box)
        elif len(images) > 40:
            break
        else:
            images, boxes = [], []
        if len(images) == most:
            break
    smooth = np.array(boxes)
    if len(images) <= 40:
        return None
    for column in range(4):
        smooth[:, column] = np.convolve(np.pad(smooth[:, column], 4, mode="edge"), np.full(9, 1 / 9), "valid")
    return Head(images, [tuple(row) for row in smooth.tolist()])


# --- drawing --------------------------------------------------------------------------------------------------------


def head_mask(shape: tuple[int, int], box: Box) -> NDArray[np.float32]:
    """(height, width) opacity of head, neck and shoulders, with a soft edge."""
    x, y, w, h = box
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    head = np.hypot((columns - x - w / 2) / (0.72 * w), (rows - y - 0.42 * h) / (0.82 * h))
    body = np.hypot((columns - x - w / 2) / (1.15 * w), (rows - y - 1.9 * h) / (0.85 * h))
    neck = np.hypot((columns - x - w / 2) / (0.42 * w), (rows - y - 1.1 * h) / (0.5 * h))
    return np.clip((1 - np.minimum(np.minimum(head, body), neck)) / 0.08, 0, 1).astype(np.float32)


def tinted(image: Image, box: Box, tint: tuple[float, float, float]) -> Image:
    """Clothes in another colour."""
    if min(tint) == 1:
        return image
    factor = np.clip((np.arange(image.shape[0]) - box[1] - 1.2 * box[3]) / (0.15 * box[3]), 0, 1)[:, None, None]
    return np.asarray(image * (1 - factor + factor * np.array(tint)), np.uint8)


def paste(canvas: NDArray[np.float32], head: tuple[Image, Box], placed: Placed) -> tuple[Box, NDArray[np.float32]]:
    """Draw a head; returns the box of its face and its (HEIGHT, WIDTH) opacity."""
    image, (x, y, w, h) = head
    scale, angle = placed.height / h, math.radians(placed.roll)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = turn @ np.diag((placed.squeeze, 1.0))
    matrix = np.column_stack([turn, np.array((placed.x, placed.y)) - turn @ np.array((x + w / 2, y + h / 2))])
    blur = max(0.4 / scale if scale < 0.6 else 0.0, (1 - placed.squeeze) * 0.02 * h)
    if blur:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur), np.uint8)
    mask = cv2.warpAffine(head_mask(image.shape[:2], (x, y, w, h)), matrix, (WIDTH, HEIGHT))
    drawn = cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    canvas[:] = canvas * (1 - mask[..., None]) + mask[..., None] * drawn
    half = np.abs(turn) @ np.array((w / 2, h / 2))
    return (placed.x - half[0], placed.y - half[1], 2 * half[0], 2 * half[1]), np.asarray(mask, np.float32)


def face_area(box: Box) -> NDArray[np.float32]:
    """(HEIGHT, WIDTH): 1 in the ellipse of a face."""
    area = np.zeros((HEIGHT, WIDTH), np.float32)
    centre, axes = (box[0] + box[2] / 2, box[1] + box[3] / 2), (box[2] / 2, box[3] / 2)
    cv2.ellipse(area, tuple(map(round, centre)), tuple(map(round, axes)), 0, 0, 360, 1, -1)
    return area


def draw(shot: Shot, k: int, heads: Sequence[Head], photos: Sequence[Image]) -> tuple[Image, list[dict[str, Any]]]:
    """One frame, and who is where and how visible in it."""
    right, down, zoom = shot.camera
    photo = photos[shot.scene]
    matrix = np.array([[zoom, 0, right + (1 - zoom) * WIDTH / 2], [0, zoom, down + (1 - zoom) * HEIGHT / 2]])
    canvas = cv2.warpAffine(photo, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
    drawn: list[tuple[int, Box, NDArray[np.float32]]] = []
    for placed in shot.people:
        x, y = matrix @ np.array((placed.x, placed.y, 1.0))
        image, box = heads[placed.person].at(k)
        image = tinted(image, box, heads[placed.person].tint)
        box, mask = paste(canvas, (image, box), replace(placed, x=float(x), y=float(y), height=placed.height * zoom))
        drawn = [(person, other, area * (1 - mask)) for person, other, area in drawn]
        drawn.append((placed.person, box, face_area(box)))
    before = np.zeros((HEIGHT, WIDTH), np.float32)
    for cx, cy, rx, ry in shot.hands:
        cv2.ellipse(before, (round(cx), round(cy)), (round(rx), round(ry)), 20, 0, 360, 1, -1)
    canvas = canvas * (1 - before[..., None]) + before[..., None] * np.array((205, 160, 135), np.float32)
    for left, stop in shot.bars:
        canvas[:, max(round(left), 0) : max(round(stop), 0)] = (70, 60, 50)
        before[:, max(round(left), 0) : max(round(stop), 0)] = 1
    truth = [
        {
            "person": person,
            "box": [round(v, 1) for v in box],
            "visible": round(float((area * (1 - before)).sum()) / (math.pi / 4 * box[2] * box[3]), 2),
        }
        for person, box, area in drawn
    ]
    return np.clip(canvas * shot.light, 0, 255).astype(np.uint8), truth


def background(paths: Sequence[Path], random: np.random.Generator) -> Image:
    """A random part of a random photo."""
    while (photo := read_image(paths[int(random.integers(len(paths)))])) is None:
        continue
    scale = max(WIDTH / photo.shape[1], HEIGHT / photo.shape[0]) * math.exp(random.uniform(0, 0.7))
    photo = np.asarray(cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    left, top = random.integers(photo.shape[1] - WIDTH + 1), random.integers(photo.shape[0] - HEIGHT + 1)
    return np.ascontiguousarray(photo[top : top + HEIGHT, left : left + WIDTH])


def write(path: Path, shots: Sequence[Shot], heads: Sequence[Head], photos: Sequence[Image]) -> None:
    """``path``.mp4 and ``path``.json."""
    frames = []
    with av.open(str(path.parent / f"{path.name}.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "20", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = TICKS
        for k, shot in enumerate(shots):
            image, people = draw(shot, k, heads, photos)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = round(shot.time / TICKS), TICKS
            container.mux(stream.encode(frame))
            frames.append({"people": people, "scene": shot.scene})
        container.mux(stream.encode())
    (path.parent / f"{path.name}.json").write_text(json.dumps(frames) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", type=Path, required=True, help="a folder with labels.csv (path, subject)")
    parser.add_argument("--videos", type=Path, nargs="+", required=True, help="videos of one person each")
    parser.add_argument("--backgrounds", type=Path, required=True, help="a folder of photos without faces")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    people, photos = portraits(options.portraits), sorted(options.backgrounds.iterdir())
    with FaceDetector(blendshapes=False) as finder:
        moving = [head for path in options.videos if (head := moving_head(path, finder))]
        print(f"{len(moving)} moving heads, {len(people)} people in portraits", flush=True)
        for seed in options.seeds:
            random = np.random.default_rng(seed)
            chosen = random.permutation(sorted(people))[:POOL]
            still = [head for subject in chosen if (head := still_head(people[str(subject)], finder, random))]
            scripts = scenarios(random)
            for number, (name, shots) in enumerate(scripts.items()):
                heads = [still[k] for k in random.permutation(len(still))[:3]]
                if random.random() < 0.5:  # one of the three moves as in life
                    heads[random.integers(2)] = moving[random.integers(len(moving))]
                scenes = [background(photos, random) for _ in range(2)]
                write(options.out / f"{seed:03} {number:02} {name}", shots, heads, scenes)
            print(f"seed {seed}: {len(scripts)} clips", flush=True)


if __name__ == "__main__":
    main()
