"""Make a small data set in the shape of Aff-Wild2 from the sample videos, to try the commands of docs/abaw.md on.

    python scripts/make_challenge.py FOLDER

Six videos of one person each and one of two people, as the organisers hand them out: aligned crops with gaps where
nobody was seen, annotations of three tracks and the multi-task list with marks of what is not known, and a list for
every track, in which each video has one frame more than there are images. The labels are not from people: they are
what mp-blendshapes sees, with one in six changed by chance, so that scores are neither perfect nor nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from hsemotion_cli.abaw.challenges import TRACKS
from hsemotion_cli.domain import Face, Image
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from hsemotion_cli.faces.crops import aligned
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.models import registry
from hsemotion_cli.models.blendshapes import GeometryModel
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS

SAMPLES = Path(__file__).parent.parent / "sample_videos"
FRAMES = 40
SIZE = 112
GAP = range(11, 16)
"""Frames without crops, as if the detector had lost the face."""

CHANGED, MASKED = 1 / 6, 1 / 10
UNKNOWN = {"expr": "-1", "va": "-5,-5", "au": ",".join(["-1"] * 12)}
FOLDERS = {"expr": "EXPR_Recognition_Challenge", "va": "VA_Estimation_Challenge", "au": "AU_Detection_Challenge"}


@dataclass(frozen=True, slots=True)
class Person:
    """One person in one video: image and truth of every frame, None where the face was not found."""

    video: str
    crops: list[Image | None]
    rows: list[dict[str, str]]


def main(folder: Path) -> None:
    """Write it all."""
    random = np.random.default_rng(7)
    people = list(everybody(random))
    validation = [person for person in people if person.video.startswith(("5", "6", "7"))]
    training = [person for person in people if person not in validation]
    for person in people:
        place = folder / "cropped_aligned" / person.video
        place.mkdir(parents=True, exist_ok=True)
        for number, crop in enumerate(person.crops, 1):
            if crop is not None and number not in GAP:
                cv2.imwrite(str(place / f"{number:05d}.jpg"), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
    for name, part in (("Train_Set", training), ("Validation_Set", validation)):
        for person in part:
            for track, header in (("expr", TRACKS["expr"]), ("va", TRACKS["va"]), ("au", TRACKS["au"])):
                place = folder / FOLDERS[track] / name
                place.mkdir(parents=True, exist_ok=True)
                write(place / f"{person.video}.txt", [header.per_video or "", *(row[track] for row in person.rows)])
    (folder / "mtl").mkdir(exist_ok=True)
    for name, part in (("training", training), ("validation", validation)):
        write(folder / "mtl" / f"{name}_set_annotations.txt", [TRACKS["mtl"].header, *mtl_rows(part)])
    (folder / "lists").mkdir(exist_ok=True)
    for track in ("expr", "va", "au", "mtl", "ce"):
        pictures = [f"{p.video}/{number:05d}.jpg," for p in validation for number in range(1, FRAMES + 2)]
        write(folder / "lists" / f"{track}.txt", [TRACKS[track].header, *pictures])


def everybody(random: np.random.Generator) -> Iterator[Person]:
    """Six pieces of one clip, and both halves of another."""
    model = GeometryModel(registry.card("mp-blendshapes"))
    with FaceDetector() as finder:
        frames = (frame.image for frame in VideoFile(SAMPLES / "langer_pexels.mp4").frames())
        for number in range(1, 7):
            seen = [(image, finder.find(image)) for image in islice(frames, FRAMES)]
            yield person(f"{number}-25-640x360", seen, [face for _, faces in seen for face in faces[:1]], model, random)
            next(islice(frames, FRAMES, FRAMES), None)
        both = [frame.image for frame in islice(VideoFile(SAMPLES / "two_faces.mp4").frames(), FRAMES)]
        for side, half in (("left", slice(0, 320)), ("right", slice(320, 640))):
            seen = [(image[:, half], finder.find(np.ascontiguousarray(image[:, half]))) for image in both]
            faces = [face for _, found in seen for face in found[:1]]
            yield person(f"7-25-640x360_{side}", seen, faces, model, random)


def person(
    video: str,
    seen: Sequence[tuple[Image, list[Face]]],
    faces: list[Face],
    model: GeometryModel,
    random: np.random.Generator,
) -> Person:
    """Crops and labels of the first face of every frame."""
    scores = iter(
        zip(*(model(faces).tasks[task] for task in ("expression", "valence_arousal", "action_units")), strict=True)
    )
    crops: list[Image | None] = []
    rows = []
    for image, found in seen:
        points = found[0].points if found else None
        crops.append(None if points is None else aligned(image, points, SIZE))
        if found:
            expression, affect, units = next(scores)
            rows.append(labels(expression, affect, units, random))
        else:
            rows.append(dict(UNKNOWN))
    return Person(video, crops, rows)


def labels(
    expression: np.ndarray, affect: np.ndarray, units: np.ndarray, random: np.random.Generator
) -> dict[str, str]:
    """The lines of the three tracks for one frame."""
    named = EXPRESSIONS[int(np.nan_to_num(expression, nan=-1).argmax())]
    number = AFFWILD2_EXPRESSIONS.index("other" if named == "contempt" else named)
    if random.random() < CHANGED:
        number = int(random.integers(8))
    affect = np.clip(affect + random.normal(0, 0.1, 2), -1, 1)
    limits = [registry.card("mp-blendshapes").au_thresholds[name] for name in ACTION_UNITS]
    present = (units >= limits) ^ (random.random(12) < CHANGED)
    told = {
        "expr": str(number),
        "va": f"{affect[0]:.3f},{affect[1]:.3f}",
        "au": ",".join(str(int(value)) for value in present),
    }
    return {track: UNKNOWN[track] if random.random() < MASKED else line for track, line in told.items()}


def mtl_rows(people: Sequence[Person]) -> list[str]:
    """Every third frame that has a crop: the multi-task set is sparse."""
    return [
        f"{p.video}/{number:05d}.jpg,{row['va']},{row['expr']},{row['au']}"
        for p in people
        for number, (crop, row) in enumerate(zip(p.crops, p.rows, strict=True), 1)
        if crop is not None and number not in GAP and number % 3 == 1
    ]


def write(path: Path, lines: Sequence[str]) -> None:
    """Lines, each ended by a line feed."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
