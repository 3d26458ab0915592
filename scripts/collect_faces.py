"""Annotates labelled images, as they are and degraded, for ``fit_uncertainty.py`` and ``risk_coverage.py``.

    python scripts/collect_faces.py --ferplus ../shared/data/ferplus/ferplus_train_val.npz \
        --folder ../shared/data/dev/rafdb --folder ../shared/data/dev/taiwan -o faces.npz

Of FER+ the calibration images (held out of the training of the embedded network by the seed of its plan) and the
validation images are used; of a folder (labels.csv with path and label) all. Each image gets some surroundings, the
default models score its largest face, and images without a face are left out. Variants of FER+ images: reduced to a
half or a third, blurred, darkened with noise, a quarter of the face covered, or turned.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.domain import Frame, Image
from hsemotion_cli.faces.detector import FaceDetector, detect_faces, pad_edges
from hsemotion_cli.media.images import read_image
from hsemotion_cli.models import predict, registry
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.tasks import BASIC_EXPRESSIONS, MEASURES, TASKS
from hsemotion_cli.timeline import Timeline
from hsemotion_cli.training import config, dataset_readers

PLAN = Path(__file__).resolve().parent.parent / "plans" / "mobilefacenet-3.toml"
VARIANTS = ("half", "third", "blurred", "dark", "covered", "turned")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ferplus", type=Path, required=True)
    parser.add_argument("--folder", type=Path, action="append", default=[])
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    with Scorer() as scorer:
        for image, truth, part, variant in [*ferplus(options.ferplus), *folders(options.folder)]:
            if found := scorer(image):
                rows.append({**found, **truth, "part": part, "variant": variant})
    names = sorted({name for row in rows for name in row})
    columns: dict[str, Any] = {name: np.array([row[name] for row in rows]) for name in names}
    np.savez_compressed(options.out, **columns)
    parts, counts = np.unique([f"{row['part']} {row['variant']}" for row in rows], return_counts=True)
    print(*map(" ".join, zip(parts, map(str, counts), strict=True)), sep="\n")


class Scorer:
    """The default detector and models."""

    def __init__(self) -> None:
        self.recipe = Recipe.usual()
        cards = [registry.card(name) for name in self.recipe.models]
        self.models = predict.load_all(cards, predict.InferenceOptions())
        self.crops = sorted({card.crop for card in cards if card.crop})
        self.finder = FaceDetector()

    def __enter__(self) -> Scorer:
        self.finder.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.finder.__exit__(*error)

    def __call__(self, image: Image) -> dict[str, object]:
        """Scores of both models by task, and the measures, of the largest face; empty without one."""
        faces = detect_faces(Frame(0, 0.0, pad_edges(image)), self.finder, self.crops).faces
        if not faces:
            return {}
        face = max(faces, key=lambda found: found.box[2])
        found: dict[str, object] = {"measures": np.full(len(MEASURES), np.nan, np.float32)}
        if face.measures is not None:
            found["measures"] = face.measures
        for name, model in self.models.items():
            scores = model([face]).tasks
            for task, columns in TASKS.items():
                unknown = np.full(len(columns), np.nan, np.float32)
                found[f"{name}/{task}"] = scores[task][0] if task in scores else unknown
        return found


Sample = tuple[Image, dict[str, object], str, str]


def ferplus(path: Path) -> list[Sample]:
    """Calibration images with three variants each, validation images with one."""
    plan = config.read(PLAN)
    source = next(one for one in plan.sources if one.kind == "ferplus")
    labels = dataset_readers.read_labels(replace(source, path=path), plan)
    part = dataset_readers._with_calibration(labels, source, plan.split)
    samples: list[Sample] = []
    random = np.random.default_rng(5)
    for k in np.flatnonzero((part != "train") & labels.clear):
        grey = cv2.imdecode(np.frombuffer(labels.images[k], np.uint8), cv2.IMREAD_GRAYSCALE)
        assert grey is not None
        image = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
        truth: dict[str, object] = {
            "label": str(plan.classes[int(labels.expression[k].argmax())]),
            "affect": labels.valence_arousal[k],
        }
        chosen = random.permutation(VARIANTS)[: 3 if part[k] == "calibration" else 1]
        samples.append((image, truth, f"ferplus {part[k]}", "as it is"))
        samples += [(degraded(image, name, random), truth, f"ferplus {part[k]}", name) for name in chosen.tolist()]
    return samples


def folders(paths: list[Path]) -> list[Sample]:
    samples = []
    for path in paths:
        with (path / "labels.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                image = read_image(path / row["path"])
                if image is not None and row["label"] in BASIC_EXPRESSIONS:
                    truth = {"label": row["label"], "affect": np.full(2, np.nan, np.float32)}
                    samples.append((image, truth, path.name, "as it is"))
    return samples


def degraded(image: Image, how: str, random: np.random.Generator) -> Image:
    """An image made worse in one way."""
    height, width = image.shape[:2]
    if how in ("half", "third"):
        share = 2 if how == "half" else 3
        small = cv2.resize(image, (width // share, height // share), interpolation=cv2.INTER_AREA)
        # Faces this small are found in larger images only; the detail stays that of the small one.
        return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if how == "blurred":
        return np.asarray(cv2.GaussianBlur(image, (0, 0), random.uniform(1, 2.5)), np.uint8)
    if how == "dark":
        noise = random.normal(0, random.uniform(4, 10), (height, width, 1))
        return np.clip(image * random.uniform(0.08, 0.3) + noise, 0, 255).astype(np.uint8)
    if how == "turned":
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-45, 45), 1.0)
        return np.asarray(cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8)
    covered, size = image.copy(), np.array((height, width)) // 2
    top, left = (int(random.integers(0, n - s)) for n, s in zip((height, width), size, strict=True))
    covered[top : top + size[0], left : left + size[1]] = int(random.integers(20, 235))
    return covered


@dataclass(frozen=True, eq=False)
class Scored:
    """What this script wrote, rows as images.

    Attributes:
        part: "ferplus calibration", "ferplus validation", or the name of a folder.
        variant: "as it is", or one of ``VARIANTS``.
        label: expression.
        affect: (n, 2) valence and arousal by the votes, nan if not known.
        timeline: each image as a frame, with the scores of both models.
        original: (n,) row of the same image as it is, -1 if there is none.
    """

    part: NDArray[np.str_]
    variant: NDArray[np.str_]
    label: NDArray[np.str_]
    affect: NDArray[np.float32]
    timeline: Timeline
    original: NDArray[np.int64]


def load(path: Path) -> Scored:
    """Read it back."""
    with np.load(path) as data:
        found = dict(data)
    n = len(found["part"])
    scores: dict[str, dict[str, NDArray[np.float32]]] = {}
    for name in Recipe.usual().models:
        tasks = {task: found[f"{name}/{task}"] for task in TASKS}
        scores[name] = {task: values for task, values in tasks.items() if not np.isnan(values).all()}
    measures = {name: np.ascontiguousarray(found["measures"][:, k]) for k, name in enumerate(MEASURES)}
    numbers = np.arange(n)
    timeline = Timeline(
        numbers, numbers / 1.0, numbers, np.zeros(n, np.int64), np.ones(n, np.float32), np.ones((n, 4), np.float32),
        scores, measures=measures,
    )  # fmt: skip
    original, last = np.full(n, -1), -1
    for k in range(n):
        if found["variant"][k] == "as it is":
            last = k
        elif last >= 0 and np.array_equal(found["affect"][k], found["affect"][last]):
            original[k] = last
    return Scored(found["part"], found["variant"], found["label"], found["affect"], timeline, original)


if __name__ == "__main__":
    main()
