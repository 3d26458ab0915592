"""Rebuilds the embedded model ``mp-blendshapes``: weights, figures, and the figures in its model card.

    python scripts/train_geometry.py --data ../shared/data --cache blendshapes.npz

The first run looks for a face in every picture (about ten minutes on two cores) and keeps the blendshapes in the
cache; later runs take two minutes. Needs torch and scipy. Writes hsemotion_cli/assets/mp_blendshapes.safetensors,
docs/models/mp-blendshapes.json, and the part between the two marks in docs/models/mp-blendshapes.md.

What is kept apart from what:

* *fit*, 9 in 10 of FER+'s training part: the head and the action units' weights;
* *calibration*, the other tenth: temperature, class biases, ``TAU``, action-unit thresholds;
* FER+'s validation part and the MEAD clips: reported figures, no decision;
* muxspace, another source: decides between recipes together with the calibration part; ``compare`` shows why it is
  not trained on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.media.images import read_image
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.models.blendshapes import FACS, ORDERS
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS, BLENDSHAPES
from hsemotion_cli.training.dataset_readers import AFFECT

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "hsemotion_cli" / "assets" / "mp_blendshapes.safetensors"
FIGURES = ROOT / "docs" / "models" / "mp-blendshapes.json"
CARD = ROOT / "docs" / "models" / "mp-blendshapes.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

VERSION = "1"
SIDE = 192  # pixels to which a small crop is enlarged before it is shown to the landmarker
TAU = 0.5  # how far class shares are evened out in ``expression``: 0 as in FER+, 1 all alike; see ``compare``
TAUS = (0.0, 0.3, 0.5, 0.7, 1.0)

CONSISTENT = 0.85
"""Prevalence given to units that the table calls consistent, "in more than 70 %" of people: the middle of that."""

PREVALENCE: dict[str, dict[str, float]] = {
    "happiness": {"AU12": CONSISTENT, "AU25": CONSISTENT, "AU06": 0.51},
    "sadness": {"AU04": CONSISTENT, "AU15": CONSISTENT, "AU01": 0.60, "AU06": 0.50},
    "fear": {"AU01": CONSISTENT, "AU04": CONSISTENT, "AU25": CONSISTENT, "AU02": 0.57, "AU26": 0.33},
    "anger": {"AU04": CONSISTENT, "AU07": CONSISTENT, "AU24": CONSISTENT, "AU10": 0.26, "AU23": 0.29},
    "surprise": {"AU01": CONSISTENT, "AU02": CONSISTENT, "AU25": CONSISTENT, "AU26": CONSISTENT},
    "disgust": {"AU10": CONSISTENT, "AU04": 0.31, "AU24": 0.26},
}
"""Emotion -> share of people who show a unit in it: S. Du, Y. Tao, A. M. Martinez, "Compound facial expressions of
emotion", PNAS 111(15), E1454-E1462, 2014, Table 1, as far as our twelve units go. Neutral has none; the table has no
contempt, which is given none either."""


FULL = 0.95  # least probability of a unit whose blendshapes are all at their maximum
EXCESS = 1.5  # how many times the expected share of pictures a unit may be said to be present in


@dataclass(frozen=True, slots=True)
class Pictures:
    """Labelled pictures of one source in which a face was looked for.

    Attributes:
        shapes: (n, 52) blendshapes in [0, 1]; a row of nan where no face was found.
        shares: (n, 8) expression proportions, rows sum to 1 (or to 0: no rater chose one of the eight).
        clear: (n,) whether the most frequent of the eight counts as the true label.
        part: (n,) "fit", "calibration", "validation", or the source's name.
    """

    shapes: NDArray[np.float32]
    shares: NDArray[np.float64]
    clear: NDArray[np.bool_]
    part: NDArray[np.str_]

    def rows(self, part: str, clear: bool = False) -> NDArray[np.bool_]:
        """(n,) the usable pictures of a part: a face was found and most raters chose one of the eight."""
        usable = np.isfinite(self.shapes[:, 0]) & (self.shares.sum(axis=1) > 0) & (self.part == part)
        return usable & self.clear if clear else usable


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is trained.

    Attributes:
        hidden: width of the tanh layer; 0 is logistic regression.
        power: pictures weigh with their classes' share to the minus this power.
        noise: standard deviation of noise on the standardised blendshapes.
        mirror: whether left and right change places in half of the pictures.
        floor: added to each blendshape's deviation, so that those that hardly move are not blown up.
        muxspace: whether 6 in 10 of its people are trained on as well.
    """

    hidden: int = 32
    power: float = 0.5
    noise: float = 0.1
    mirror: bool = True
    floor: float = 0.02
    muxspace: bool = False
    epochs: int = 30
    seed: int = 0


CANDIDATES: dict[str, Recipe] = {
    "32 hidden (kept)": Recipe(),
    "logistic regression": Recipe(hidden=0),
    "64 hidden": Recipe(hidden=64),
    "128 hidden": Recipe(hidden=128),
    "no noise": Recipe(noise=0.0),
    "no mirroring": Recipe(mirror=False),
    "no class weights": Recipe(power=0.0),
    "full class weights": Recipe(power=1.0),
    "with muxspace": Recipe(muxspace=True),
}

Tensors = dict[str, NDArray[np.float32]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--cache", type=Path, default=Path("blendshapes.npz"), help="blendshapes, made if missing")
    parser.add_argument("--workers", type=int, default=2, help="processes that look for faces")
    parser.add_argument("--no-compare", action="store_true", help="train the kept recipe only")
    options = parser.parse_args()

    if not options.cache.exists():
        np.savez_compressed(options.cache, **look_at_everything(options.data, options.workers))
    shapes = dict(np.load(options.cache))
    fer, mux = ferplus(options.data, shapes["ferplus"]), muxspace(options.data, shapes["muxspace"])
    clips = {name.removeprefix("mead_"): rows for name, rows in shapes.items() if name.startswith("mead_")}

    tensors = train(Recipe(), fer, mux) | fit_action_units(fer)
    WEIGHTS.parent.mkdir(exist_ok=True)
    write(tensors)
    report = measure(tensors, fer, mux, clips)
    report["weights_sha256"] = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    if not options.no_compare:
        report["compared"] = compare(fer, mux, clips)
    elif FIGURES.exists():
        report["compared"] = json.loads(FIGURES.read_text())["compared"]
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(report, indent=1) + "\n")
    before, rest = CARD.read_text().split(BEGIN)
    CARD.write_text(before + BEGIN + figures_as_markdown(report) + END + rest.split(END)[1])
    print(figures_as_markdown(report))
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size} bytes, SHA-256 {report['weights_sha256']}")


# Pictures -> blendshapes


def look_at_everything(data: Path, workers: int) -> dict[str, NDArray[np.float32]]:
    """Blendshapes of all pictures and of each third frame of the MEAD clips, by the name they have in the cache."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pictures = len(np.load(data / "ferplus" / "ferplus_train_val.npz")["split"])
        parts = np.array_split(np.arange(pictures), 15 * workers)
        found = {"ferplus": np.concatenate(list(pool.map(look_at_ferplus, [data] * len(parts), parts)))}
        named = [data / "muxspace" / "images" / row["image"] for row in muxspace_rows(data)]
        chunks = [named[start : start + 250] for start in range(0, len(named), 250)]
        found["muxspace"] = np.concatenate(list(pool.map(look_at_files, chunks)))
        videos = sorted((data / "videos" / "mead").glob("M030_*_level*.mp4"))
        for video, rows in zip(videos, pool.map(look_at_clip, videos), strict=True):
            found[f"mead_{video.name.split('_')[1]}"] = rows
    return found


def look_at_ferplus(data: Path, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """(len(rows), 52) blendshapes of some pictures of FER+."""
    images = np.load(data / "ferplus" / "ferplus_train_val.npz")["images"][rows]
    return look_at([np.repeat(image[..., None], 3, axis=2) for image in images])


def look_at_files(paths: list[Path]) -> NDArray[np.float32]:
    """(len(paths), 52) blendshapes of picture files that each show one face."""
    return look_at([read_image(path) for path in paths])


def look_at(images: list[Any]) -> NDArray[np.float32]:
    """(n, 52) blendshapes of RGB pictures that each show one face; nan where it is not found."""
    cv2.setNumThreads(1)
    found = np.full((len(images), len(BLENDSHAPES)), np.nan, np.float32)
    with FaceDetector() as finder:
        for row, image in enumerate(images):
            scale = max(SIDE / max(image.shape[:2]), 1.0)
            larger = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
            face = finder.find_in_crop(larger)
            if face.blendshapes is not None:
                found[row] = face.blendshapes
    return found


def look_at_clip(path: Path) -> NDArray[np.float32]:
    """(frames with a face, 52) blendshapes of the widest face in each third frame, as ``annotate`` would see it."""
    found = []
    with FaceDetector() as finder:
        for frame in VideoFile(path).frames(Sampling(every=3)):
            faces = finder.find(frame.image)
            if faces:
                found.append(max(faces, key=lambda face: face.box[2]).blendshapes)
    return np.array(found, np.float32)


# Labels


def ferplus(data: Path, shapes: NDArray[np.float32]) -> Pictures:
    """FER+ with proportions among the eight expressions; pictures that most raters found unclear take no part."""
    file = np.load(data / "ferplus" / "ferplus_train_val.npz")
    names = [str(name) for name in file["vote_names"]]
    votes = file["votes"].astype(np.float64)
    eight = votes[:, [names.index(name) for name in BASIC_EXPRESSIONS]]
    counted = np.where((eight.sum(axis=1) > votes.sum(axis=1) / 2)[:, None], eight, 0)
    shares = counted / np.maximum(counted.sum(axis=1, keepdims=True), 1)
    held_out = np.random.default_rng(0).random(len(votes)) < 0.1
    part = np.where(file["split"] == "val", "validation", np.where(held_out, "calibration", "fit"))
    return Pictures(shapes, shares, eight.max(axis=1) >= 5, part)


def muxspace_rows(data: Path) -> list[dict[str, str]]:
    with (data / "muxspace" / "labels.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def muxspace(data: Path, shapes: NDArray[np.float32]) -> Pictures:
    """muxspace; part "muxspace-fit" holds 6 in 10 of its people, "muxspace" the others."""
    rows = muxspace_rows(data)
    shares = np.eye(len(BASIC_EXPRESSIONS))[[BASIC_EXPRESSIONS.index(row["label"]) for row in rows]]
    people = np.array([row["subject"] or row["image"] for row in rows])
    names = np.unique(people)
    kept = names[np.random.default_rng(1).random(len(names)) < 0.4]
    part = np.where(np.isin(people, kept), "muxspace", "muxspace-fit")
    return Pictures(shapes, shares, np.ones(len(rows), bool), part)


# Training


def mirrored() -> NDArray[np.int64]:
    """(52,) for each blendshape the position of the one that it becomes in a mirror."""

    def other(name: str) -> str:
        return name.replace("Left", "Right") if "Left" in name else name.replace("Right", "Left")

    return np.array([BLENDSHAPES.index(other(name)) for name in BLENDSHAPES])


def train(recipe: Recipe, fer: Pictures, mux: Pictures) -> Tensors:
    """The expression head with its calibration, and the valence-arousal map."""
    import torch

    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)  # sums in another order would give other last digits
    fit = fer.rows("fit")
    shapes, shares = fer.shapes[fit], fer.shares[fit]
    if recipe.muxspace:
        more = mux.rows("muxspace-fit")
        shapes, shares = np.r_[shapes, mux.shapes[more]], np.r_[shares, mux.shares[more]]
    mirror = mirrored() if recipe.mirror else np.arange(len(BLENDSHAPES))
    mean, scale = shapes.mean(axis=0), shapes.std(axis=0) + recipe.floor
    mean, scale = (mean + mean[mirror]) / 2, (scale + scale[mirror]) / 2
    weight = shares @ shares.mean(axis=0) ** -recipe.power

    inputs, targets, weights = (
        torch.tensor(np.asarray(a, np.float32)) for a in ((shapes - mean) / scale, shares, weight / weight.mean())
    )
    flipped = torch.tensor(np.asarray((shapes[:, mirror] - mean) / scale, np.float32))
    if recipe.hidden:
        layers = (torch.nn.Linear(52, recipe.hidden), torch.nn.Tanh(), torch.nn.Linear(recipe.hidden, 8))
    else:
        layers = (torch.nn.Linear(52, 8),)
    head = torch.nn.Sequential(*layers)
    rate, size = 3e-3, 512
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-4)
    steps = recipe.epochs * -(-len(inputs) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(inputs)).split(size):
            turned = torch.rand(len(rows), 1) < 0.5
            batch = torch.where(turned, flipped[rows], inputs[rows])
            batch = batch + recipe.noise * torch.randn_like(batch)
            loss = -(targets[rows] * head(batch).log_softmax(dim=1)).sum(dim=1) * weights[rows]
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
            schedule.step()

    named = {"output": head[-1]} | ({"hidden": head[0]} if recipe.hidden else {})
    tensors = {"input.mean": np.float32(mean), "input.scale": np.float32(scale)}
    for name, layer in named.items():
        tensors |= {f"{name}.weight": layer.weight.detach().numpy(), f"{name}.bias": layer.bias.detach().numpy()}
    tensors["valence_arousal.weight"] = np.array([AFFECT[name] for name in BASIC_EXPRESSIONS], np.float32).T
    return calibrate(tensors, fer)


def calibrate(tensors: Tensors, fer: Pictures) -> Tensors:
    """Temperature and class biases that fit the votes of the calibration part, and the class shift of ``TAU``."""
    from scipy.optimize import minimize

    rows = fer.rows("calibration")
    raw, shares = logits(tensors, fer.shapes[rows], calibrated=False), fer.shares[rows]

    def loss(parameters: NDArray[np.float64]) -> float:
        return float(-(shares * log_softmax((raw + parameters[1:]) / np.exp(parameters[0]))).sum(axis=1).mean())

    best = minimize(loss, np.zeros(9), method="L-BFGS-B").x
    bias = tensors["output.bias"] + best[1:] - best[1:].mean()
    shift = -TAU * np.log(fer.shares[fer.rows("fit")].mean(axis=0))
    return tensors | {
        "output.bias": bias.astype(np.float32),
        "temperature": np.exp(best[:1]).astype(np.float32),
        "expression.shift": (shift - shift.mean()).astype(np.float32),
    }


def fit_action_units(fer: Pictures) -> Tensors:
    """Weights, biases and thresholds of the twelve logistic functions, from prototypes weighted by the votes.

    One slope per unit, on the mean of its blendshapes (left and right of a pair count as one; a pair that never
    moves is left out). Posed prototypes say little about some units in everyday pictures, and a free fit would make
    those constant. So the slope is held up by what a blendshape means: 1 is "maximum movement" (Apple, ARKit), hence
    p >= ``FULL`` where all of a unit's blendshapes are 1. The rest is maximum likelihood of the targets.
    """
    from scipy.optimize import minimize

    targets = unit_targets(fer.shares)
    fit, held_out = fer.rows("fit"), fer.rows("calibration")
    weight = np.zeros((len(ACTION_UNITS), len(BLENDSHAPES)))
    bias, threshold = np.zeros(len(ACTION_UNITS)), np.zeros(len(ACTION_UNITS))
    full = np.log(FULL / (1 - FULL))
    for unit, name in enumerate(ACTION_UNITS):
        mean = mean_of_pairs(FACS[name], fer.shapes[fit])
        x, y = fer.shapes[fit] @ mean, targets[fit, unit]

        # The parameters are the logits at 0 and at 1, both bounded on one side only by the anchor.
        def loss(ends: NDArray[np.float64], x: NDArray = x, y: NDArray = y) -> tuple[float, NDArray[np.float64]]:
            z = ends[0] * (1 - x) + ends[1] * x
            error = sigmoid(z) - y
            return float((np.logaddexp(0, z) - y * z).mean()), np.array([(error * (1 - x)).mean(), (error * x).mean()])

        low, high = minimize(loss, (-2.0, full), jac=True, method="L-BFGS-B", bounds=[(None, full), (full, None)]).x
        bias[unit], weight[unit] = low, (high - low) * mean
        scores = sigmoid(fer.shapes[held_out].astype(float) @ weight[unit] + bias[unit])
        threshold[unit] = best_threshold(scores, targets[held_out, unit])
    found = {"weight": weight, "bias": bias, "threshold": threshold}
    return {f"action_units.{name}": value.astype(np.float32) for name, value in found.items()}


def mean_of_pairs(names: tuple[str, ...], shapes: NDArray[np.float32]) -> NDArray[np.float64]:
    """(52,) weights, summing to 1, that average blendshapes, each pair counted once and motionless pairs not at all."""
    pairs: dict[str, list[int]] = {}
    for name in names:
        pairs.setdefault(name.removesuffix("Left").removesuffix("Right"), []).append(BLENDSHAPES.index(name))
    moving = [columns for columns in pairs.values() if np.quantile(shapes[:, columns], 0.99) > 0.01]
    mean = np.zeros(len(BLENDSHAPES))
    for columns in moving:
        mean[columns] = 1 / (len(columns) * len(moving))
    return mean


def best_threshold(scores: NDArray[np.float64], target: NDArray[np.float64]) -> float:
    """The threshold with the highest expected F1 among those that do not overdo it.

    Where scores say little, the highest F1 of all is that of "always present". So a threshold may not be passed
    more than ``EXCESS`` times as often as the targets expect.
    """
    choices = np.round(np.arange(0.02, 0.96, 0.01), 2)
    allowed = [choice for choice in choices if (scores >= choice).mean() <= EXCESS * target.mean()]
    return float(max(allowed, key=lambda choice: expected_f1(scores >= choice, target)))


def unit_targets(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, 8) expression proportions -> (n, 12) expected presence of each action unit, in [0, 1]."""
    table = [[PREVALENCE.get(name, {}).get(unit, 0.0) for unit in ACTION_UNITS] for name in BASIC_EXPRESSIONS]
    return shares @ np.array(table)


def write(tensors: Tensors) -> None:
    """Write the weights file, with the orders that give its numbers their names; same numbers, same bytes."""
    from safetensors.numpy import save

    metadata = {name: ",".join(order) for name, order in ORDERS.items()} | {
        "model": "mp-blendshapes",
        "version": VERSION,
        "trained_on": "FER+ training part (labels: microsoft/FERPlus, MIT)",
        "made_by": "scripts/train_geometry.py",
        "licence": "Apache-2.0",
    }
    whole = save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata)
    # The library writes metadata in a random order. A header is 8 bytes of length and JSON, padded with spaces to 8.
    size = int.from_bytes(whole[:8], "little")
    header = json.dumps(json.loads(whole[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    WEIGHTS.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + size :])


# Scores and figures


def sigmoid(z: NDArray[np.floating]) -> NDArray[np.floating]:
    return 1 / (1 + np.exp(-z))


def log_softmax(z: NDArray[np.floating]) -> NDArray[np.floating]:
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def logits(tensors: Tensors, shapes: NDArray[np.float32], calibrated: bool = True) -> NDArray[np.float64]:
    """(n, 52) blendshapes -> (n, 8), before or after division by the temperature; no class shift."""
    x = (shapes.astype(np.float64) - tensors["input.mean"]) / tensors["input.scale"]
    if "hidden.weight" in tensors:
        x = np.tanh(x @ tensors["hidden.weight"].T.astype(np.float64) + tensors["hidden.bias"])
    z = x @ tensors["output.weight"].T.astype(np.float64) + tensors["output.bias"]
    return z / tensors["temperature"] if calibrated else z


def expression(tensors: Tensors, shapes: NDArray[np.float32], tau: float = TAU) -> NDArray[np.float64]:
    """(n, 52) blendshapes -> (n, 8) probabilities, with class shares evened out by ``tau`` (0: as in FER+)."""
    return np.exp(log_softmax(logits(tensors, shapes) + tau / TAU * tensors["expression.shift"]))


def expected_f1(present: NDArray[np.bool_], target: NDArray[np.float64]) -> float:
    """F1 of the positive class when each picture is a positive with probability ``target``."""
    return float(2 * target[present].sum() / (present.sum() + target.sum()))


def agreement(truth: NDArray[np.floating], said: NDArray[np.floating]) -> float:
    """Concordance correlation coefficient (Lin 1989), in [-1, 1]."""
    covariance = ((truth - truth.mean()) * (said - said.mean())).mean()
    return float(2 * covariance / (truth.var() + said.var() + (truth.mean() - said.mean()) ** 2))


def calibration_error(
    scores: NDArray[np.floating], truth: NDArray[np.floating], weight: NDArray[np.floating] | None = None
) -> float:
    """Expected calibration error of the likeliest class in 15 bins; ``truth`` (n, 8) holds votes or ones and zeros."""
    weight = np.ones(len(scores)) if weight is None else weight
    top, best = scores.max(axis=1), scores.argmax(axis=1)
    gap, bins = top - truth[np.arange(len(truth)), best], np.minimum((top * 15).astype(int), 14)
    return float(sum(abs((weight * gap)[bins == k].sum()) for k in range(15)) / weight.sum())


def classification(truth: NDArray[np.int64], said: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy, macro-F1 over the classes that occur, per-class figures and the confusion matrix (rows: truth)."""
    confusion = np.zeros((len(BASIC_EXPRESSIONS), len(BASIC_EXPRESSIONS)), int)
    np.add.at(confusion, (truth, said), 1)
    hits, true, given = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    f1 = 2 * hits / np.maximum(true + given, 1)
    classes = {
        name: {
            "pictures": int(true[k]),
            "precision": round(float(hits[k] / max(given[k], 1)), 3),
            "recall": round(float(hits[k] / max(true[k], 1)), 3),
            "f1": round(float(f1[k]), 3),
        }
        for k, name in enumerate(BASIC_EXPRESSIONS)
    }
    return {
        "pictures": len(truth),
        "accuracy": round(float((truth == said).mean()), 3),
        "macro_f1": round(float(f1[true > 0].mean()), 3),
        "mean_recall": round(float((hits[true > 0] / true[true > 0]).mean()), 3),
        "chance_accuracy": round(float(true.max() / len(truth)), 3),
        "classes": classes,
        "confusion": confusion.tolist(),
    }


def clip_labels(score: Callable[[NDArray], NDArray], clips: dict[str, NDArray]) -> dict[str, str]:
    """Emotion in a clip's name -> the expression with the highest mean probability over its frames."""
    return {name: BASIC_EXPRESSIONS[int(score(shapes).mean(axis=0).argmax())] for name, shapes in clips.items()}


def clips_right(labels: dict[str, str]) -> int:
    """How many clip labels are the expression that the clip's name stands for."""
    return sum(label[:3] == name[:3] for name, label in labels.items())


def measure(tensors: Tensors, fer: Pictures, mux: Pictures, clips: dict[str, NDArray]) -> dict[str, Any]:
    """Every figure of the model card, from the weights as they are stored."""
    clear, asked = fer.rows("validation", clear=True), (fer.part == "validation") & fer.clear
    usable, truth = fer.rows("validation"), fer.shares.argmax(axis=1)
    scores, plain = expression(tensors, fer.shapes), expression(tensors, fer.shapes, tau=0)
    result = classification(truth[clear], scores[clear].argmax(axis=1))
    result["accuracy_counting_unfound_as_wrong"] = round(result["accuracy"] * result["pictures"] / int(asked.sum()), 3)
    unshifted = classification(truth[clear], plain[clear].argmax(axis=1))
    evened = fer.shares[usable] * np.exp(tensors["expression.shift"])
    weight = evened.sum(axis=1)
    ones = np.eye(len(BASIC_EXPRESSIONS))[truth]
    affect = tensors["valence_arousal.weight"].T
    said, votes = np.clip(plain[usable] @ affect, -1, 1), fer.shares[usable] @ affect
    other = (mux.part == "muxspace") | (mux.part == "muxspace-fit")
    other &= np.isfinite(mux.shapes[:, 0])
    there = mux.shares[other]
    labels = clip_labels(lambda shapes: expression(tensors, shapes), clips)
    found = {part: round(float(np.isfinite(fer.shapes[fer.part == part, 0]).mean()), 3) for part in np.unique(fer.part)}
    return {
        "version": VERSION,
        "tau": TAU,
        "temperature": round(float(tensors["temperature"][0]), 3),
        "faces_found": found | {"muxspace": round(float(np.isfinite(mux.shapes[:, 0]).mean()), 3)},
        "pictures_fitted": int(fer.rows("fit").sum()),
        "pictures_for_calibration": int(fer.rows("calibration").sum()),
        "validation": result,
        "validation_unshifted": {key: unshifted[key] for key in ("accuracy", "macro_f1", "mean_recall")},
        "calibration_error": {
            "unshifted_against_votes": round(calibration_error(plain[usable], fer.shares[usable]), 3),
            "shifted_against_votes_reweighted": round(
                calibration_error(scores[usable], evened / weight[:, None], weight), 3
            ),
            "shifted_against_votes": round(calibration_error(scores[usable], fer.shares[usable]), 3),
            "shifted_against_majority": round(calibration_error(scores[clear], ones[clear]), 3),
        },
        "affect_ccc": {
            name: round(agreement(votes[:, k], said[:, k]), 3) for k, name in enumerate(("valence", "arousal"))
        },
        "muxspace": classification(there.argmax(axis=1), expression(tensors, mux.shapes[other]).argmax(axis=1)),
        "mead": {"right": clips_right(labels), "clips": labels},
        "action_units": measure_units(tensors, fer.shapes[usable], unit_targets(fer.shares[usable])),
    }


def measure_units(tensors: Tensors, shapes: NDArray[np.float32], targets: NDArray[np.float64]) -> dict[str, Any]:
    """Per unit: threshold, expected F1, that of saying "present" always, and the weights that are not zero."""
    scores = sigmoid(shapes.astype(np.float64) @ tensors["action_units.weight"].T + tensors["action_units.bias"])
    units = {}
    for k, name in enumerate(ACTION_UNITS):
        threshold, weights = tensors["action_units.threshold"][k], tensors["action_units.weight"][k]
        units[name] = {
            "threshold": round(float(threshold), 2),
            "expected_share": round(float(targets[:, k].mean()), 3),
            "said_share": round(float((scores[:, k] >= threshold).mean()), 3),
            "expected_f1": round(expected_f1(scores[:, k] >= threshold, targets[:, k]), 3),
            "expected_f1_of_always": round(expected_f1(np.ones(len(targets), bool), targets[:, k]), 3),
            "at_rest": round(float(sigmoid(tensors["action_units.bias"][k])), 3),
            "correlation": round(float(np.corrcoef(scores[:, k], targets[:, k])[0, 1]), 3),
            "weights": {shape: round(float(w), 3) for shape, w in zip(BLENDSHAPES, weights, strict=True) if w > 1e-3},
        }
    return units


def compare(fer: Pictures, mux: Pictures, clips: dict[str, NDArray]) -> list[dict[str, Any]]:
    """What was tried: each candidate recipe at ``TAU``, and the kept one at each of ``TAUS``.

    Chosen by the first two: FER+'s calibration part, and muxspace's people that no candidate saw.
    """
    table = []
    for name, recipe in CANDIDATES.items():
        tensors = train(recipe, fer, mux)
        for tau in TAUS if recipe == Recipe() else (TAU,):
            row: dict[str, Any] = {"recipe": name, "tau": tau}
            for source, pictures, part in (
                ("calibration", fer, "calibration"),
                ("muxspace", mux, "muxspace"),
                ("validation", fer, "validation"),
            ):
                rows = pictures.rows(part, clear=True)
                said = expression(tensors, pictures.shapes[rows], tau).argmax(axis=1)
                figures = classification(pictures.shares[rows].argmax(axis=1), said)
                row[source] = {key: figures[key] for key in ("accuracy", "macro_f1", "mean_recall")}
            row["mead_right"] = clips_right(clip_labels(lambda s, t=tensors, u=tau: expression(t, s, u), clips))
            table.append(row)
    return table


def figures_as_markdown(report: dict[str, Any]) -> str:
    """The tables of the model card."""
    found, result, plain = report["faces_found"], report["validation"], report["validation_unshifted"]
    error, ccc = report["calibration_error"], report["affect_ccc"]
    lines = [
        f"Weights version {report['version']}, SHA-256 `{report['weights_sha256']}`.",
        "",
        f"A face was found in {found['fit']:.1%} of FER+'s training pictures, {found['validation']:.1%} of its "
        f"validation pictures and {found['muxspace']:.1%} of muxspace. Fitted on {report['pictures_fitted']:,} "
        f"pictures, calibrated on {report['pictures_for_calibration']:,} others.",
        "",
        f"FER+ validation, the {result['pictures']:,} pictures with a face where at least 5 of 10 raters agree:",
        "",
        "| figure | value |",
        "|---|---|",
        f"| accuracy | {result['accuracy']:.3f} |",
        f"| accuracy if pictures without a face count as wrong | {result['accuracy_counting_unfound_as_wrong']:.3f} |",
        f"| accuracy of always saying the commonest class | {result['chance_accuracy']:.3f} |",
        f"| macro-F1 (8 classes) | {result['macro_f1']:.3f} |",
        f"| mean recall | {result['mean_recall']:.3f} |",
        f"| accuracy / macro-F1 without the class shift | {plain['accuracy']:.3f} / {plain['macro_f1']:.3f} |",
        f"| calibration error without the class shift, against votes | {error['unshifted_against_votes']:.3f} |",
        "| calibration error, votes reweighted as the shift assumes "
        f"| {error['shifted_against_votes_reweighted']:.3f} |",
        f"| calibration error, votes as they are | {error['shifted_against_votes']:.3f} |",
        f"| calibration error, majority label | {error['shifted_against_majority']:.3f} |",
        f"| valence CCC against mapped votes | {ccc['valence']:.3f} |",
        f"| arousal CCC against mapped votes | {ccc['arousal']:.3f} |",
        "",
        "| class | pictures | precision | recall | F1 | muxspace pictures | muxspace recall | muxspace F1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    other = report["muxspace"]
    for name, row in result["classes"].items():
        there = other["classes"][name]
        lines.append(
            f"| {name} | {row['pictures']} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} "
            f"| {there['pictures']} | {there['recall']:.3f} | {there['f1']:.3f} |"
        )
    lines += ["", "Confusion on FER+ validation (rows: raters' majority, columns: the model):", ""]
    lines += ["| | " + " | ".join(BASIC_EXPRESSIONS) + " |", "|---" * (len(BASIC_EXPRESSIONS) + 1) + "|"]
    for name, counts in zip(BASIC_EXPRESSIONS, result["confusion"], strict=True):
        lines.append(f"| **{name}** | " + " | ".join(map(str, counts)) + " |")
    clips = ", ".join(f"{name}: {label}" for name, label in report["mead"]["clips"].items())
    lines += [
        "",
        f"Another source, muxspace ({other['pictures']:,} faces, none trained on): accuracy {other['accuracy']:.3f} "
        f"(commonest class {other['chance_accuracy']:.3f}), macro-F1 {other['macro_f1']:.3f}, mean recall "
        f"{other['mean_recall']:.3f}.",
        "",
        f"Eight MEAD clips of one actor, mean over each third frame: {report['mead']['right']} of "
        f"{len(report['mead']['clips'])} right ({clips}).",
        "",
        "Action units on FER+ validation, against prototype-derived targets and **not against FACS coders**:",
        "",
        "| unit | p at rest | threshold | expected share | said share | expected F1 | F1 of always | r | weights |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["action_units"].items():
        weights = ", ".join(f"{shape} {w:g}" for shape, w in row["weights"].items())
        lines.append(
            f"| {name} | {row['at_rest']:.3f} | {row['threshold']:.2f} | {row['expected_share']:.3f} "
            f"| {row['said_share']:.3f} | {row['expected_f1']:.3f} | {row['expected_f1_of_always']:.3f} "
            f"| {row['correlation']:.3f} | {weights} |"
        )
    lines += [
        "",
        "What was tried (accuracy / macro-F1; one seed; muxspace is the 4 in 10 of its people that nothing saw):",
        "",
        "| recipe | tau | calibration part | muxspace | validation | MEAD clips right |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["compared"]:
        parts = [row[part] for part in ("calibration", "muxspace", "validation")]
        cells = [f"{figures['accuracy']:.3f} / {figures['macro_f1']:.3f}" for figures in parts]
        lines.append(f"| {row['recipe']} | {row['tau']:g} | " + " | ".join(cells) + f" | {row['mead_right']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
