"""Writes small data sets in the shapes of the ABAW challenges, whose truth is known.

The files are written by hand here, value by value, so that reading them can be compared with what was meant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hsemotion_cli.evaluation.ground_truth import Annotations

Painter = Callable[[np.random.Generator, int, np.ndarray, np.ndarray], np.ndarray]
"""(random, expression, valence and arousal, twelve units) -> (112, 112, 3) uint8 RGB."""

UNITS = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
NAMES = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"


@dataclass(frozen=True, slots=True, eq=False)
class Challenge:
    """A data set on disk.

    Attributes:
        root: its folder, for ``truth.read_tree``.
        images: folder of ``<video>/NNNNN.jpg``.
        train, validation: video -> what the files say, with what is masked as unknown.
        beneath: the same frames with every value known, by which the images were painted; for planting a signal.
        unlisted: video -> numbers of images that are there but annotated nowhere.
        lost: (video, frame) that are annotated without an image.
    """

    root: Path
    pictures: Path
    train: dict[str, Annotations]
    validation: dict[str, Annotations]
    beneath: dict[str, Annotations]
    unlisted: dict[str, list[int]]
    lost: list[tuple[str, int]]


def plain(random: np.random.Generator, expression: int, va: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Something like a face that says nothing of the labels."""
    picture = np.full((112, 112, 3), random.integers(40, 200, 3), np.uint8)
    skin = tuple(int(v) for v in random.integers(120, 240, 3))
    cv2.ellipse(picture, (56, 58), (int(random.integers(34, 44)), int(random.integers(44, 52))), 0, 0, 360, skin, -1)
    for x in (40, 72):
        cv2.circle(picture, (x, 46), int(random.integers(3, 7)), (20, 20, 20), -1)
    cv2.ellipse(picture, (56, 80), (16, int(random.integers(2, 9))), 0, 0, 180, (150, 40, 50), 2)
    return np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)


def telling(random: np.random.Generator, expression: int, va: np.ndarray, units: np.ndarray) -> np.ndarray:
    """A face that shows its labels.

    The background's hue is the expression, the mouth's bend the valence, the size of the eyes the arousal, and of
    twelve squares along the lower edge those of the present units are white.
    """
    hue = np.full((112, 112, 3), (180 * expression // 8, 200, 170), np.uint8)
    picture = np.ascontiguousarray(cv2.cvtColor(hue, cv2.COLOR_HSV2RGB))
    cv2.ellipse(picture, (56, 52), (34, 44), 0, 0, 360, (225, 190, 170), -1)
    for x in (42, 70):
        cv2.circle(picture, (x, 42), round(5 + 4 * float(va[1])), (20, 20, 20), -1)
    across = np.arange(36, 77)
    down = 74 + np.rint(9 * float(va[0]) * (1 - 2 * ((across - 56) / 20) ** 2))
    cv2.polylines(picture, [np.column_stack([across, down]).astype(np.int32)], False, (150, 40, 50), 3)
    for k in range(12):
        picture[102:110, 2 + 9 * k : 10 + 9 * k] = 255 if units[k] else 0
    return np.clip(picture + random.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def make_mtl(
    folder: Path,
    videos: int = 6,
    frames: int = 40,
    seed: int = 0,
    *,
    validation: int = 3,
    hold: int = 4,
    masked: float = 0.2,
    lost: int = 0,
    paint: Painter | None = plain,
) -> Challenge:
    """Write an s-Aff-Wild2 tree: two lists and ``cropped_aligned``.

    Args:
        videos: of the training part; the last two are the left and right person of one recording.
        frames: annotated frames of each video; their numbers have gaps.
        validation: videos of the validation part.
        hold: annotated frames for which the labels stay as they are, so that there is something to smooth.
        masked: share of frames without truth, task by task.
        lost: annotated frames of the first training video that have no image.
        paint: makes the images; None for none at all.
    """
    random = np.random.default_rng(seed)
    parts = {"train": _names(videos, ""), "validation": _names(validation, "v", pair=False)}
    beneath, truth, unlisted = {}, {}, {}
    for name in [*parts["train"], *parts["validation"]]:
        numbers = np.sort(random.choice(np.arange(1, 4 * frames + 1), frames + 2, replace=False))
        extra = random.choice(len(numbers), 2, replace=False)
        unlisted[name] = sorted(int(n) for n in numbers[extra])
        beneath[name] = _labels(random, name, np.delete(numbers, extra), hold)
        truth[name] = _mask(random, beneath[name], masked)
    folder.mkdir(parents=True, exist_ok=True)
    for part, file in (("train", "training_set_annotations.txt"), ("validation", "validation_set_annotations.txt")):
        rows = [row for name in parts[part] for row in _mtl_rows(random, truth[name], beneath[name])]
        (folder / file).write_text("\n".join(["image,valence,arousal,expression,aus", *rows, ""]))
    first = parts["train"][0]
    gone = [(first, int(n)) for n in random.choice(beneath[first].frames, lost, replace=False)]
    if paint:
        _paint(folder / "cropped_aligned", random, beneath, unlisted, gone, paint)
    train, held = ({name: truth[name] for name in sorted(parts[part])} for part in ("train", "validation"))
    return Challenge(folder, folder / "cropped_aligned", train, held, beneath, unlisted, gone)


def make_tracks(
    folder: Path,
    videos: int = 4,
    frames: int = 30,
    seed: int = 0,
    *,
    validation: int = 2,
    hold: int = 5,
    masked: float = 0.2,
    edition: int = 6,
    paint: Painter | None = plain,
) -> Challenge:
    """Write a tree of the 3rd to 8th edition: a folder for each track and part, a line for every frame.

    The first video of a part is in all tracks, each other one lacks one of them. The file of valence and arousal has a
    line more than the others, as happens there, so a video has ``frames`` + 1 frames where it is in that track.

    Args:
        edition: the folder of expressions has another name in the 6th.

    The others are as for ``make_mtl``.
    """
    random = np.random.default_rng(seed)
    expressions = "EXPR_Recognition_Challenge" if edition == 6 else "EXPR_Classification_Challenge"
    tracks = (expressions, "VA_Estimation_Challenge", "AU_Detection_Challenge")
    beneath: dict[str, Annotations] = {}
    truth: dict[str, dict[str, Annotations]] = {}
    names = {"Train_Set": _names(videos, ""), "Validation_Set": _names(validation, "v", pair=False)}
    for part in names:
        truth[part] = {}
        for track in tracks:
            (folder / track / part).mkdir(parents=True)
        for k, name in enumerate(names[part]):
            lacks = None if k == 0 else tracks[k % 3]
            count = frames + (lacks != tracks[1])
            full = beneath[name] = _labels(random, name, np.arange(1, count + 1), hold)
            known = _mask(random, full, masked)
            known.expression[0 if lacks == tracks[0] else frames :] = -1
            known.valence_arousal[0 if lacks == tracks[1] else count :] = np.nan
            known.action_units[0 if lacks == tracks[2] else frames :] = np.nan
            truth[part][name] = known
            lines = {
                tracks[0]: [NAMES, *(str(known.expression[k]) for k in range(frames))],
                tracks[1]: ["valence,arousal", *(_va(random, known, full, k) for k in range(count))],
                tracks[2]: [UNITS, *(_units(random, known, full, k) for k in range(frames))],
            }
            for track in tracks:
                if track != lacks:
                    (folder / track / part / f"{name}.txt").write_text("\n".join([*lines[track], ""]))
    if paint:
        _paint(folder / "cropped_aligned", random, beneath, {}, [], paint)
    train, held = ({name: truth[part][name] for name in sorted(names[part])} for part in names)
    return Challenge(folder, folder / "cropped_aligned", train, held, beneath, {}, [])


def _names(count: int, prefix: str, *, pair: bool = True) -> list[str]:
    names = [f"{prefix}{k + 1}-30-1280x720" for k in range(count)]
    if pair and count > 1:
        names[-2:] = [f"{names[-2]}_left", f"{names[-2]}_right"]
    return names


def _labels(random: np.random.Generator, name: str, frames: np.ndarray, hold: int) -> Annotations:
    """Labels that stay for ``hold`` frames; every expression turns up before one does again."""
    runs = -(-len(frames) // hold)
    expression = np.concatenate([random.permutation(8) for _ in range(-(-runs // 8))])[:runs]
    valence_arousal = (random.integers(-1000, 1001, (runs, 2)) / 1000).astype(np.float32)
    action_units = (random.random((runs, 12)) < 0.4).astype(np.float32)
    held = (np.repeat(values, hold, axis=0)[: len(frames)] for values in (expression, valence_arousal, action_units))
    return Annotations(name, frames.astype(np.int64), *held)


def _mask(random: np.random.Generator, full: Annotations, share: float) -> Annotations:
    expression, va, units = full.expression.copy(), full.valence_arousal.copy(), full.action_units.copy()
    for values, unknown in ((expression, -1), (va, np.nan), (units, np.nan)):
        values[random.random(len(full.frames)) < share] = unknown
    return Annotations(full.video, full.frames, expression, va, units)


def _mtl_rows(random: np.random.Generator, known: Annotations, full: Annotations) -> list[str]:
    return [
        f"{full.video}/{full.frames[k]:05d}.jpg,{_va(random, known, full, k)},{known.expression[k]},"
        f"{_units(random, known, full, k)}"
        for k in range(len(full.frames))
    ]


def _va(random: np.random.Generator, known: Annotations, full: Annotations, k: int) -> str:
    """A frame's valence and arousal; where it is masked, one or both of them are -5."""
    fields = [f"{value:g}" for value in full.valence_arousal[k].astype(float).round(3)]
    if np.isnan(known.valence_arousal[k]).all():
        fields = [["-5", "-5"], ["-5", fields[1]], [fields[0], "-5"]][random.integers(3)]
    return ",".join(fields)


def _units(random: np.random.Generator, known: Annotations, full: Annotations, k: int) -> str:
    """A frame's units; where it is masked, one or all of them are -1."""
    fields = [f"{int(value)}" for value in full.action_units[k]]
    if np.isnan(known.action_units[k]).all():
        one = int(random.integers(12))
        fields = ["-1"] * 12 if random.random() < 0.5 else [*fields[:one], "-1", *fields[one + 1 :]]
    return ",".join(fields)


def _paint(
    folder: Path,
    random: np.random.Generator,
    beneath: dict[str, Annotations],
    unlisted: dict[str, list[int]],
    lost: list[tuple[str, int]],
    paint: Painter,
) -> None:
    for name, labels in beneath.items():
        (folder / name).mkdir(parents=True)
        pictures = {
            int(number): paint(random, int(labels.expression[k]), labels.valence_arousal[k], labels.action_units[k])
            for k, number in enumerate(labels.frames)
            if (name, int(number)) not in lost
        }
        pictures |= {number: plain(random, 0, np.zeros(2), np.zeros(12)) for number in unlisted.get(name, [])}
        for number, picture in pictures.items():
            assert cv2.imwrite(str(folder / name / f"{number:05d}.jpg"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
