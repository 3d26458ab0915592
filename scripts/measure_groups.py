"""Measure a network by apparent skin lightness, size of the face, turn of the head and apparent age.

    python scripts/measure_groups.py ../shared/data/dev/* ../shared/data/muxspace --age ../shared/models/faceres.json \
        -o docs/models/mt-mobilefacenet.md

Each set is a folder with images and a ``labels.csv`` of one expression for each image. Of a set that the network was
trained on, only the part counts that its plan held out for validation. ``--network`` names a trained file, by default
that of the default recipe. None of the sets states skin colour or age, so the groups are estimates from the image:

- skin lightness: the individual typology angle (ITA, ``typology_angle``), in the classes of Del Bino & Bernerd 2013. In
  photos that were not taken under controlled light it mixes skin and light. Grey images have none.
- apparent age: as predicted by the network of ``--age`` (``scripts/apparent_age.py``).
- the width of the face in pixels, and the yaw of the head, from the landmarks.

Groups differ in the expressions and sets that they are made of. "Expected" is the accuracy, and the share predicted as
neutral, that a group would have if its images were like all those of the same set and expression; what differs from it
is left for the group to explain. Intervals are 95 % percentile bootstrap intervals over people, or over images where
people are unknown. ``-o`` writes the tables into the part between the marks of a model card.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from apparent_age import AgeNetwork, framed
from measure_domains import card_of, chosen
from measure_models import predicted
from numpy.typing import NDArray
from ship_weights import with_groups

from hsemotion_cli.domain import Image
from hsemotion_cli.errors import UsageError
from hsemotion_cli.evaluation.resampling import interval, resample
from hsemotion_cli.faces.crops import FIVE_POINTS
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.faces.head_pose import Camera, head_pose
from hsemotion_cli.models import model_file, registry
from hsemotion_cli.models.cards import ModelCard
from hsemotion_cli.models.weights import checksums
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.tasks import BASIC_EXPRESSIONS, BLENDSHAPES
from hsemotion_cli.training import dataset_readers
from hsemotion_cli.training.config import DatasetSource, StageConfig, TrainingConfig
from hsemotion_cli.training.dataset import Dataset, decode_image, join, pack

FOREHEAD = (104, 69, 108, 151, 337, 299, 333, 334, 296, 336, 9, 107, 66, 105)
CHEEKS = ((117, 118, 101, 36, 205, 187, 123), (346, 347, 330, 266, 425, 411, 352))
"""Outlines of skin between the brows and the middle of the forehead, and below the eyes, in MediaPipe's landmarks."""

TO_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
WHITE = (0.95047, 1.0, 1.08883)
"""Linear sRGB -> CIE XYZ, and the white D65: IEC 61966-2-1."""

GREY = 10
"""Largest difference between the channels of a pixel without colour; JPEG leaves some in grey photos."""

GROUPS: dict[str, tuple[tuple[float, str], ...]] = {
    "skin lightness (ITA)": (
        (55.0, "very light, above 55°"), (41.0, "light, 41 to 55°"), (28.0, "intermediate, 28 to 41°"),
        (10.0, "tan, 10 to 28°"), (-30.0, "brown, -30 to 10°"), (-90.0, "dark, below -30°"),
    ),
    "width of the face in pixels": (
        (160.0, "from 160"), (110.0, "110 to 160"), (80.0, "80 to 110"), (60.0, "60 to 80"), (0.0, "below 60"),
    ),
    "yaw of the head": ((45.0, "from 45°"), (30.0, "30 to 45°"), (15.0, "15 to 30°"), (0.0, "below 15°")),
    "apparent age, predicted": (
        (60.0, "from 60"), (40.0, "40 to 59"), (20.0, "20 to 39"), (10.0, "10 to 19"), (0.0, "below 10"),
    ),
}  # fmt: skip
"""Trait -> least value and name of each group, from the highest down. ITA: Del Bino & Bernerd 2013, Br J Dermatol
169(s3):33."""

UNKNOWN = {
    "skin lightness (ITA)": "none: grey image, or no face found",
    "width of the face in pixels": "no face found",
    "yaw of the head": "no face found",
    "apparent age, predicted": "no face found",
}

FEWEST = 20
"""Images below which a group gets no figures."""

RESAMPLES, SEED = 1000, 1
_CHUNK = 100

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Looked:
    """What the landmarks of a face show; nan where unknown.

    Attributes:
        points: (5, 2) pixels.
        box: x, y, width, height around the landmarks, in pixels.
        angle: ITA in degrees; nan for a grey image.
        yaw: degrees to either side.
        face: (224, 224, 3) RGB for the network that predicts ages.
    """

    points: NDArray[np.float32]
    box: tuple[float, float, float, float]
    angle: float
    yaw: float
    face: Image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+", help="folders with images and labels.csv")
    parser.add_argument("--network", type=Path, help="a trained file; by default that of the default recipe")
    parser.add_argument("--age", type=Path, help="faceres.json; without it ages are left out")
    parser.add_argument("-o", "--output", type=Path, help="a model card with the marks")
    options = parser.parse_args()
    card = registry.card(Recipe.usual().models[0]) if options.network is None else card_of(options.network)
    assert card.path is not None
    faces, traits = gathered(options.sets, model_file.read_card(card.path)[1]["plan"], options.age)
    scores = predicted(card, faces, np.arange(len(faces)))["expression"][:, :8]
    text = as_markdown(card, faces, scores, traits, options.age is not None)
    print(text)
    if options.output:
        options.output.write_text(with_groups(options.output.read_text(encoding="utf-8"), text), encoding="utf-8")


# --- images and traits ----------------------------------------------------------------------------------------


def gathered(folders: Sequence[Path], plan: dict[str, Any], age: Path | None) -> tuple[Dataset, dict[str, Floats]]:
    """The images of all sets that the network was not trained on, and the value of each trait for each image.

    Args:
        plan: of the network; a set that it names as a source counts with its validation part.
        age: graph of the network that predicts ages.

    Raises:
        UsageError: nothing is left of a set.
    """
    sources = {source["name"]: source for source in plan["sources"]}
    parts, looks = [], []
    for folder in folders:
        known = sources.get(folder.name)
        held_out = 0.0 if known is None else known["held_out"]
        source = DatasetSource("folder", folder, name=folder.name, held_out=held_out, calibration=0.0)
        config = TrainingConfig(
            name="groups",
            architecture="mobilefacenet",
            sources=(source,),
            stages=(StageConfig(1),),
            split=plan["split"],
        )
        labels = dataset_readers.read_labels(source, config)
        counts = ~np.isnan(labels.expression).any(axis=1) & ((labels.part == "validation") | (known is None))
        rows = np.flatnonzero(counts)
        if not len(rows):
            raise UsageError(f"{folder}: the network was trained on all of it, so it cannot be measured there.")
        found = looked([labels.images[row] for row in rows])
        parts.append(as_dataset(labels, rows, found, folder.name))
        looks += found
        print(f"{folder}: {len(rows)} images, {sum(one is not None for one in found)} faces", file=sys.stderr)
    return join(parts), traits(looks, age)


def as_dataset(labels: dataset_readers.Labels, rows: Labels, found: Sequence[Looked | None], name: str) -> Dataset:
    """Some images of a set with the faces in them."""
    count = len(rows)
    nowhere = np.full((5, 2), np.nan, np.float32)
    return Dataset(
        *pack(labels.images[row] for row in rows),
        points=np.stack([nowhere if one is None else one.points for one in found]),
        boxes=np.array([(np.nan,) * 4 if one is None else one.box for one in found], np.float32),
        blendshapes=np.full((count, len(BLENDSHAPES)), np.nan, np.float32),
        expression=labels.expression[rows],
        valence_arousal=labels.valence_arousal[rows],
        action_units=labels.action_units[rows],
        clear=labels.clear[rows],
        source=np.full(count, name),
        subject=labels.subject[rows].astype(str),
        part=np.full(count, "validation"),
    )


def looked(images: Sequence[bytes]) -> list[Looked | None]:
    """What the face of each PNG or JPEG file shows; None without landmarks. Searched on all processors."""
    chunks = [images[start : start + _CHUNK] for start in range(0, len(images), _CHUNK)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return [one for chunk in pool.map(_look_at, chunks) for one in chunk]


def _look_at(images: Sequence[bytes]) -> list[Looked | None]:
    cv2.setNumThreads(1)
    found: list[Looked | None] = []
    with FaceDetector(blendshapes=False) as detector:
        for data in images:
            image = decode_image(np.frombuffer(data, np.uint8))
            if image is None:
                raise UsageError(f"an image of {len(data)} bytes cannot be decoded; is it a PNG or JPEG file?")
            face = dataset_readers.find_face(detector, image)
            if face is None or face.landmarks is None:
                found.append(None)
                continue
            pose = head_pose(face.landmarks, Camera.of_crop(image.shape[1], image.shape[0]))
            points, angle = face.landmarks[list(FIVE_POINTS)], skin_angle(image, face.landmarks)
            found.append(Looked(points, face.box, angle, abs(pose.angles()[1]), framed(image, face.box)))
    return found


def traits(found: Sequence[Looked | None], age: Path | None) -> dict[str, Floats]:
    """Trait -> (n,) values; nan where unknown."""
    nan = float("nan")
    lightness, width, yaw, years = GROUPS
    values = {
        lightness: [nan if one is None else one.angle for one in found],
        width: [nan if one is None else one.box[2] for one in found],
        yaw: [nan if one is None else one.yaw for one in found],
    }
    columns = {name: np.array(column, np.float64) for name, column in values.items()}
    if age is not None:
        seen = np.array([one is not None for one in found], bool)
        columns[years] = np.full(len(found), nan)
        columns[years][seen] = AgeNetwork(age).ages([one.face for one in found if one is not None])
    return columns


# --- skin -----------------------------------------------------------------------------------------------------


def skin_angle(image: Image, landmarks: NDArray[np.float32]) -> float:
    """ITA in degrees of the skin on cheeks and forehead, the median of their pixels; nan if it has none.

    Args:
        image: grey or RGB; a grey one, also if stored as RGB, has none.
        landmarks: (478, 2) pixels.
    """
    if image.ndim == 2 or is_grey(image):
        return float("nan")
    skin = np.zeros(image.shape[:2], np.uint8)
    for outline in (FOREHEAD, *CHEEKS):
        cv2.fillPoly(skin, [np.round(landmarks[list(outline)]).astype(np.int32)], 1)
    angles = typology_angle(lab(image[skin > 0]))
    known = angles[~np.isnan(angles)]
    # Mostly blue skin is not lit by white light, and its angle says nothing.
    return float(np.median(known)) if len(known) > len(angles) / 2 else float("nan")


def is_grey(image: Image) -> bool:
    """Whether an RGB image has no colour."""
    return bool(np.percentile(np.ptp(image, axis=2), 99) <= GREY)


def lab(pixels: NDArray[np.uint8]) -> Floats:
    """(n, 3) sRGB pixels -> CIELAB for the white D65: L* from 0 to 100, a*, b*.

    IEC 61966-2-1 and CIE 15. OpenCV's own conversion interpolates a table and is off by up to 0.2.
    """
    values = pixels.astype(np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    ratios = linear @ np.array(TO_XYZ).T / WHITE
    cube = np.where(ratios > (6 / 29) ** 3, np.cbrt(ratios), ratios / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = cube.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def typology_angle(values: Floats) -> Floats:
    """(n, 3) CIELAB -> individual typology angle, arctan((L* - 50) / b*) in degrees: higher is lighter.

    Chardon, Cretois & Hourseau 1991 (Int J Cosmet Sci 13:191). nan for b* of 0 or less, which skin under white light
    does not have.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        angle = np.degrees(np.arctan((values[:, 0] - 50) / values[:, 2]))
    return np.where(values[:, 2] > 0, angle, np.nan)


# --- figures --------------------------------------------------------------------------------------------------


def as_markdown(card: ModelCard, faces: Dataset, scores: Floats, traits: dict[str, Floats], aged: bool) -> str:
    """The section of a model card."""
    assert card.path is not None
    truth = faces.expression.argmax(axis=1)
    label = np.empty(len(faces), np.int64)
    for source in np.unique(faces.source):
        rows = faces.source == source
        label[rows] = chosen(np.log(np.maximum(scores[rows], 1e-30)), truth[rows], str(source))
    names = ", ".join(
        f"{name} {count:,}" for name, count in zip(*np.unique(faces.source, return_counts=True), strict=True)
    )
    lines = [
        f"Measured by `scripts/measure_groups.py` on images that the network was not trained on ({names}), with the "
        f"weights of SHA-256 {checksums(card.path)[0]}.",
        "",
        *recalls(truth, label, faces.source),
        "",
        NOTE if aged else NOTE + WITHOUT_AGE,
    ]
    right, neutral = (expectation(truth, faces.source, hits) for hits in (label == truth, label == 0))
    people = np.where(faces.subject == "", np.arange(len(faces)).astype(str), np.char.add(faces.source, faces.subject))
    for trait, values in traits.items():
        lines += ["", f"| {trait} | {HEADER} |", "| --- |" + " --: |" * (HEADER.count("|") + 1)]
        for name, rows in members(trait, values):
            expected = np.stack([right[rows], neutral[rows]])
            lines.append(row_of(name, truth[rows], label[rows], scores[rows], expected, people[rows]))
    return "\n".join(lines) + "\n"


HEADER = "images | accuracy | expected | macro F1 | mean confidence | neutral predicted | expected"

NOTE = (
    "None of these sets states skin colour or age, so the groups below are estimates from the images. Skin lightness "
    "is the individual typology angle (Chardon et al. 1991) of cheeks and forehead, in the classes of Del Bino & "
    "Bernerd (2013): **in photos like these it mixes skin and light**, and a light face in the shade counts as dark. "
    "Apparent age is itself a prediction. Groups differ in sets and expressions: *expected* is the value that a "
    "group would have if its images were like all those of the same set and expression, so a group is harder than "
    "others only where the interval of its accuracy lies below that. Brackets: 95 % bootstrap intervals over people, "
    f"or images of unknown people; groups below {FEWEST} images have no figures. Confidence is the highest probability."
)

WITHOUT_AGE = " Ages were not predicted here."


def recalls(truth: Labels, label: Labels, source: NDArray[np.str_]) -> list[str]:
    """A table of the recall of each expression on each set, with the number of images."""
    lines = ["| recall (images) | " + " | ".join(BASIC_EXPRESSIONS) + " |", "| --- |" + " --: |" * 8]
    for name in np.unique(source):
        cells = []
        for k in range(8):
            rows = (source == name) & (truth == k)
            cells.append(f"{(label[rows] == k).mean():.2f} ({rows.sum():,})" if rows.any() else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def expectation(truth: Labels, source: NDArray[np.str_], hits: NDArray[np.bool_]) -> Floats:
    """(n,) the share of hits among the images of the same set and expression."""
    found = np.empty(len(truth))
    for name in np.unique(source):
        for k in range(8):
            rows = (source == name) & (truth == k)
            if rows.any():
                found[rows] = hits[rows].mean()
    return found


def members(trait: str, values: Floats) -> list[tuple[str, Labels]]:
    """Name and rows of each group of a trait, and of the images without a value; empty groups included."""
    found, left = [], ~np.isnan(values)
    for least, name in GROUPS[trait]:
        inside = left & (values >= least)
        found.append((name, np.flatnonzero(inside)))
        left &= ~inside
    return [*found, (UNKNOWN[trait], np.flatnonzero(np.isnan(values)))]


def row_of(name: str, truth: Labels, label: Labels, scores: Floats, expected: Floats, people: NDArray[np.str_]) -> str:
    """One row of a table.

    Args:
        expected: (2, n) expectations of being right, and of being predicted as neutral.
    """
    if len(truth) < FEWEST:
        return f"| {name} | {len(truth)} |" + " |" * HEADER.count("|")
    weights = np.concatenate([np.ones((1, len(truth))), resample(people.tolist(), RESAMPLES, SEED)])
    cells = [
        bracketed(mean(weights, label == truth)),
        f"{expected[0].mean():.3f}",
        bracketed(macro_f1(weights, truth, label)),
        bracketed(mean(weights, scores.max(axis=1))),
        bracketed(mean(weights, label == 0)),
        f"{expected[1].mean():.3f}",
    ]
    return f"| {name} | {len(truth):,} | " + " | ".join(cells) + " |"


def bracketed(values: Floats) -> str:
    """The first of (1 + resamples,) values with the interval of the others."""
    low, high = interval(values[1:])
    return f"{values[0]:.3f} [{low:.3f}, {high:.3f}]"


def mean(weights: Floats, values: NDArray[Any]) -> Floats:
    """(resamples,) means of (n,) values; nan for a resample without an image."""
    with np.errstate(invalid="ignore"):
        return np.asarray(weights @ values.astype(np.float64) / weights.sum(axis=1))


def macro_f1(weights: Floats, truth: Labels, label: Labels) -> Floats:
    """(resamples,) mean F1 of the expressions that the group has."""
    found = []
    for k in np.unique(truth):
        hits = weights @ ((truth == k) & (label == k)).astype(np.float64)
        both = weights @ ((truth == k).astype(np.float64) + (label == k))
        with np.errstate(invalid="ignore"):
            found.append(2 * hits / both)
    return np.asarray(np.nanmean(np.stack(found), axis=0))


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(str(error))
