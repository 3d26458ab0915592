"""Measure scene cuts on shots that are joined, lit and moved here: which are missed, and what is taken for one.

    python scripts/measure_cuts.py --videos VIDEOS --tracks tracks

Videos have to be one shot each. The parts of a film are 25 frames of one of them: joined at a cut, or one shot whose
light or camera changes. ``--tracks`` is a folder of ``compose_tracks.py``: its cuts are where the scene changes, and in
"cut before one background" where the person does.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.media.scene_cuts import CutDetector
from hsemotion_cli.media.video import VideoFile

Luma = NDArray[np.uint8]
Film = Sequence[Luma]
PART = 25
HEIGHT = 360
"""Rows to which larger videos are reduced."""


@dataclass
class Count:
    """Of the films of one kind."""

    films: int = 0
    true: int = 0
    missed: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)


def luma_of(path: Path, most: int = 250) -> list[Luma]:
    """The brightness of the first frames of a video, in [0, 255]."""
    found = []
    for frame in itertools.islice(VideoFile(path).frames(), most):
        image = np.asarray(cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY), np.uint8)
        scale = min(1.0, HEIGHT / min(image.shape))
        found.append(np.asarray(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8))
    return found


# --- light ----------------------------------------------------------------------------------------------------------


def lit(gain: float = 1.0, offset: float = 0.0, gamma: float = 1.0) -> Callable[[Luma], Luma]:
    """A change of all values, with noise of a camera."""

    def change(image: Luma) -> Luma:
        values = 255 * (image / 255.0) ** gamma * gain + offset
        noise = np.random.default_rng(int(image[0, 0])).normal(0, 1.5, image.shape)
        return np.clip(values + noise, 0, 255).astype(np.uint8)

    return change


def from_one_side(image: Luma) -> Luma:
    """A lamp at the left goes off: a tenth of the light is left there, and all of it at the right."""
    return np.asarray(image * np.linspace(0.1, 1, image.shape[1]), np.uint8)


LIGHTS: dict[str, Callable[[Luma], Luma]] = {
    "0.7 of the light": lit(0.7),
    "0.45 of the light": lit(0.45),
    "0.2 of the light": lit(0.2),
    "0.1 of the light": lit(0.1),
    "1.6 of the light, clipped": lit(1.6),
    "2.5 of the light, clipped": lit(2.5),
    "40 levels brighter": lit(offset=40),
    "40 levels darker": lit(offset=-40),
    "half of the contrast, brighter": lit(0.5, 110),
    "gamma 0.5": lit(gamma=0.5),
    "gamma 2": lit(gamma=2),
    "a lamp from one side": from_one_side,
}
FLASHES = {"flash": lit(2.2, 50), "flash, all white": lit(4, 200)}


def lights(shot: Film) -> Iterator[tuple[str, Film]]:
    """The light is switched, and switched back; a flash lasts one or two frames."""
    for name, change in LIGHTS.items():
        yield name, [change(image) if 12 <= k < 24 else image for k, image in enumerate(shot[: PART + 10])]
    for name, change in FLASHES.items():
        for length in (1, 2):
            frames = [change(image) if 12 <= k < 12 + length else image for k, image in enumerate(shot[:PART])]
            yield f"{name}, {length} frames", frames


# --- motion ---------------------------------------------------------------------------------------------------------


def camera(shot: Film, right: Sequence[float], zoom: Sequence[float]) -> Film:
    """The shot seen through a window of 60 % of its width, at ``right`` (share of the width) and enlarged."""
    film = []
    for image, x, times in zip(shot, right, zoom, strict=False):
        height, width = image.shape
        w, h = 0.6 * width / times, 0.6 * height / times
        left = np.clip(x * width + 0.3 * width - w / 2, 0, width - w)
        top = (0.5 - 0.3 / times) * height
        matrix = np.array([[width / w, 0, -left * width / w], [0, height / h, -top * height / h]])
        film.append(np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8))
    return film


def blurred(shot: Film, pixels: Sequence[float]) -> Film:
    """With the blur of a moving camera."""
    return [
        np.asarray(cv2.blur(image, (max(1, round(abs(length))), 1)), np.uint8)
        for image, length in zip(shot, pixels, strict=False)
    ]


def passing(shot: Film, share: float, step: float) -> Film:
    """Something plain of a share of the width goes through the image, ``step`` of the width in each frame."""
    film = []
    for k, image in enumerate(shot):
        image = image.copy()
        left = (-share + step * (k - 8)) * image.shape[1]
        image[:, max(round(left), 0) : max(round(left + share * image.shape[1]), 0)] = 60
        film.append(image)
    return film


def motion(shot: Film) -> Iterator[tuple[str, Film]]:
    yield "as it is", shot
    yield "every 3rd frame", shot[::3]
    yield "every 5th frame", shot[::5]
    whip = [0.0] * 12 + [0.06 * k for k in range(1, 7)] + [0.36] * 12
    yield "whip pan", blurred(camera(shot, whip, [1.0] * len(whip)), [0.0] * 12 + [40.0] * 6 + [0.0] * 12)
    shake = np.random.default_rng(0).normal(0, 0.03, 30).cumsum() * 0.5 + 0.2
    yield "shaking camera", camera(shot, shake.tolist(), [1.0] * 30)
    yield "zoom", camera(shot, [0.2] * 30, [min(max(1 + 0.08 * (k - 8), 1), 2) for k in range(30)])
    yield "passer-by", passing(shot[:30], 0.3, 0.08)
    yield "passer-by who is near", passing(shot[:30], 0.7, 0.12)


# --- cuts -----------------------------------------------------------------------------------------------------------


def sized(shot: Film, like: Luma) -> Film:
    return [np.asarray(cv2.resize(image, like.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8) for image in shot]


def joined(shots: dict[str, Film]) -> Iterator[tuple[str, str, Film]]:
    """Kind, name and film: every two shots one after the other, as they are and in little light."""
    dim = lit(0.2)
    for (name, one), (following, other) in itertools.permutations(shots.items(), 2):
        alike = name[:4] == following[:4]
        film = [*one[:PART], *sized(other[:PART], one[0])]
        both = f"{name} > {following}"
        yield "cuts of one person before one wall" if alike else "cuts", both, film
        if not alike:
            yield "cuts in 0.2 of the light", both, [dim(image) for image in film]
    for name, one in shots.items():
        film = [*one[:PART], *[np.zeros_like(one[0])] * PART]
        yield "cuts to black", name, film


# --- counting -------------------------------------------------------------------------------------------------------


def cuts_of(film: Film) -> list[int]:
    detector = CutDetector()
    return [k for k, image in enumerate(film) if detector.cuts(image)]


def add(counts: dict[str, Count], kind: str, name: str, film: Film, true: Sequence[int]) -> None:
    found, count = cuts_of(film), counts.setdefault(kind, Count())
    count.films += 1
    count.true += len(true)
    count.missed += [f"{name} {k}" for k in true if k not in found]
    count.false += [f"{name} {k}" for k in found if k not in true]


def true_cuts(clip: Path) -> list[int]:
    """Of a clip of ``compose_tracks.py``."""
    truth = json.loads(clip.with_suffix(".json").read_text())
    where = [(frame["scene"], [one["person"] for one in frame["people"]]) for frame in truth]
    whole = "cut before one background" in clip.name
    changes = [before[0] != now[0] or (whole and before != now) for before, now in pairwise(where)]
    return [k for k, change in enumerate(changes, 1) if change]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, nargs="+", required=True, help="videos of one shot each")
    parser.add_argument("--tracks", type=Path, help="a folder of compose_tracks.py")
    parser.add_argument("--names", action="store_true", help="say which cuts are missed or false")
    options = parser.parse_args()
    shots: dict[str, Film] = {path.stem: luma_of(path) for path in options.videos}
    counts: dict[str, Count] = {}
    for name, shot in shots.items():
        for kind, film in lights(shot):
            add(counts, f"light: {kind}", name, film, [])
        for kind, film in motion(shot):
            add(counts, f"motion: {kind}", name, film, [])
    for kind, name, film in joined(shots):
        add(counts, kind, name, film, [PART])
    for clip in sorted(options.tracks.glob("*.mp4")) if options.tracks else []:
        true = true_cuts(clip)
        kind = clip.stem.split(" ", 2)[2] if true else "the other clips"
        add(counts, f"composed: {kind}", clip.stem, luma_of(clip), true)
    print("| kind | films | cuts | missed | false |\n|---|---|---|---|---|")
    for kind, count in counts.items():
        print(f"| {kind} | {count.films} | {count.true} | {len(count.missed)} | {len(count.false)} |")
        if options.names:
            print(
                *[f"  missed {name}\n" for name in count.missed], *[f"  false {name}\n" for name in count.false], sep=""
            )


if __name__ == "__main__":
    main()
