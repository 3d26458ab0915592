"""Measure the built-in models and their blends.

    python scripts/measure_models.py --samples runs/mt-mobilefacenet/samples-*.npz --mead ../shared/data/videos/mead

Every network of the package, and every trained file given, is run on the packed faces that it was evaluated on in
training; ``mp-blendshapes`` is run on the blendshapes of the same images. Blend weights are chosen on the calibration
parts, those of the default by ``choose_recipe.py``; the validation parts only measure. For an
image without a face the blend is the network's prediction alone; ``mp-blendshapes`` by itself counts as wrong. Writes
docs/models/embedded.json and the part between the markers in docs/models/embedded.md.

``--across`` names networks that were trained on some of the sources only (``make across``). They are evaluated on the
other sources, where the best blend weight for expressions is found as well. There, and on the calibration parts, the
exponent of the class-prior correction (``evened`` in a training config) is varied.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hsemotion_cli.evaluation import metrics
from hsemotion_cli.evaluation.calibration import choose_weight
from hsemotion_cli.models import model_file, registry
from hsemotion_cli.models.blendshapes import GeometryModel
from hsemotion_cli.models.network_model import interpret
from hsemotion_cli.postprocess.refine import weighted_mean
from hsemotion_cli.tasks import BASIC_EXPRESSIONS
from hsemotion_cli.training import trainer
from hsemotion_cli.training.augment import Augmenter
from hsemotion_cli.training.calibrate import class_shares
from hsemotion_cli.training.dataset import Dataset, read

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "models" / "embedded.json"
CARD = ROOT / "docs" / "models" / "embedded.md"
RECIPE = ROOT / "hsemotion_cli" / "assets" / "default_recipe.json"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
EIGHT = BASIC_EXPRESSIONS
GEOMETRY = "mp-blendshapes"
GEOMETRY_KNOWS = ("ferplus",)  # what scripts/train_geometry.py fits it on
EVENED = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)

Tasks = dict[str, NDArray[np.float64]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=Path, required=True, help="packed faces")
    parser.add_argument("--network", type=Path, action="append", default=[], help="a trained file; repeat for more")
    parser.add_argument("--across", type=Path, action="append", default=[], help="one trained on some of the sources")
    parser.add_argument("--mead", type=Path, help="folder of the MEAD clips")
    parser.add_argument("--no-card", action="store_true", help="print only")
    options = parser.parse_args()

    samples = read(options.samples)
    cards = [registry.card(name) for name in registry.MODELS if registry.MODELS[name].path]
    cards += [registry.add(path) for path in options.network]
    apart = np.flatnonzero(samples.part != "train")
    seen = {GEOMETRY: geometry(samples)} | {card.name: network(card, samples, apart) for card in cards}
    report: dict[str, Any] = {"weights": {}, "figures": {}}
    for name, said in seen.items():
        report["figures"][name] = measure(said, samples)
    report["across"] = {path.stem: across(path, seen[GEOMETRY], samples) for path in options.across}
    if options.across:
        report["evened"] = {
            card.name: evened(card, seen[card.name]["expression"], samples, samples.part == "calibration")
            for card in cards
            if card.name in registry.MODELS
        } | {name: row for one in report["across"].values() for name, row in one.pop("evened").items()}
    report["default"] = json.loads(RECIPE.read_text())  # chosen by choose_recipe.py
    usual = {task: weight for task, weight in report["default"]["blend"].items() if task != "action_units"}
    for one, other in itertools.combinations([*(card.name for card in cards), GEOMETRY], 2):
        pair = f"{one},{other}"
        default = pair == ",".join(report["default"]["models"])
        weights = report["weights"][pair] = usual if default else choose(seen[one], seen[other], samples)
        both = {task: weighted_mean(seen[one][task], seen[other][task], weights[task]) for task in weights}
        report["figures"][pair] = measure(both, samples)
    if options.mead:
        report["mead"] = clips(options.mead, report["weights"])
    text = as_markdown(report)
    print(text)
    if not options.no_card:
        FIGURES.write_text(json.dumps(report, indent=1) + "\n")
        write_between(CARD, BEGIN, END, text)


def write_between(page: Path, begin: str, end: str, text: str) -> None:
    """Replace the part of a Markdown file between two marks."""
    before, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(before + begin + text + end + rest.split(end)[1], encoding="utf-8")


def geometry(samples: Dataset) -> Tasks:
    """The predictions of ``mp-blendshapes`` for every image."""
    scores = GeometryModel(registry.card(GEOMETRY)).read(samples.blendshapes).tasks
    return {task: values.astype(np.float64) for task, values in scores.items() if task != "action_units"}


def network(card: registry.ModelCard, samples: Dataset, rows: NDArray[np.int64]) -> Tasks:
    """The predictions of a trained network for some of the images; nan for the others."""
    found = {}
    for task, values in predicted(card, samples, rows).items():
        if task != "action_units":
            found[task] = np.full((len(samples), values.shape[1]), np.nan)
            found[task][rows] = values
    return found


def predicted(card: registry.ModelCard, samples: Dataset, rows: NDArray[np.int64]) -> Tasks:
    """The predictions of a trained network for some of the images, all tasks."""
    spec = card.network
    assert spec is not None and card.path is not None
    viewer = Augmenter(spec.size, spec.mean, spec.std, luminance=False)
    raw = trainer.infer(model_file.load(card, card.path), viewer, samples, rows)
    return {task: values.astype(np.float64) for task, values in interpret(raw, spec).items()}


def across(path: Path, geometry_said: Tasks, samples: Dataset) -> dict[str, Any]:
    """Figures of a network on each source that it was not trained on, and the best weight of expressions there.

    The weight is chosen on the training and calibration parts of that source, which are new to both models.
    """
    card = registry.add(path)
    known = drawn_from(model_file.read_card(path)[1]["plan"])
    found: dict[str, Any] = {"trained_on": sorted(known), "checked_on": {}, "evened": {}}
    for source in sorted(set(np.unique(samples.source)) - known):
        said = network(card, samples, np.flatnonzero(samples.source == source))
        there = (samples.source == source) & (samples.part != "validation")
        found["evened"] |= {card.name: evened(card, said["expression"], samples, there)}
        row: dict[str, Any] = {"alone": measure(said, samples)[source]}
        if source not in GEOMETRY_KNOWS:
            rows = labelled(samples, (samples.source == source) & (samples.part != "validation"))
            one, other = said["expression"], geometry_said["expression"]
            row["weight"] = expression_weight(one, other, samples, rows)
            row["chosen_on"] = len(rows)
            row["blend"] = measure(said | {"expression": weighted_mean(one, other, row["weight"])}, samples)[source]
        found["checked_on"][source] = row
    return found


def evened(
    card: registry.ModelCard, said: NDArray[np.float64], samples: Dataset, there: NDArray[np.bool_]
) -> dict[str, Any]:
    """Source -> accuracy and mean recall on some of its images, for each exponent of ``EVENED``."""
    assert card.path is not None
    plan = model_file.read_card(card.path)[1]["plan"]
    rare = -np.log(class_shares(samples, samples.rows("train", drawn_from(plan))))
    found = {}
    for source in np.unique(samples.source[there]):
        rows = labelled(samples, there & (samples.source == source))
        truth = samples.expression[rows].argmax(axis=1)
        logits = np.log(np.maximum(said[rows][:, :8], 1e-30))
        figures = []
        for power in EVENED:
            label = (logits + (power - plan.get("evened", 0.0)) * rare).argmax(axis=1)
            recall = metrics.per_class(truth, label, 8).recall[np.unique(truth)]
            figures.append([metrics.accuracy(truth, label), float(recall.mean())])
        found[str(source)] = {"pictures": len(rows), "figures": figures}
    return found


def drawn_from(plan: dict[str, Any]) -> set[str]:
    """Names of the sources that a finished plan trained on."""
    everything = [source["name"] for source in plan["sources"]]
    return {source for stage in plan["stages"] for source in stage["sources"] or everything}


def choose(first: Tasks, second: Tasks, samples: Dataset) -> dict[str, float]:
    """Blend weights of the first of two models, from the calibration parts."""
    rows = labelled(samples, samples.part == "calibration")
    votes = np.flatnonzero((samples.part == "calibration") & ~np.isnan(samples.valence_arousal).any(axis=1))
    return {
        "expression": expression_weight(first["expression"], second["expression"], samples, rows),
        "valence_arousal": choose_weight(
            first["valence_arousal"][votes],
            second["valence_arousal"][votes],
            samples.valence_arousal[votes],
            "valence_arousal",
        ),
    }


def labelled(samples: Dataset, there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Indices of the images whose expression is known and clear."""
    return np.flatnonzero(there & samples.clear & ~np.isnan(samples.expression).any(axis=1))


def expression_weight(
    first: NDArray[np.float64], second: NDArray[np.float64], samples: Dataset, rows: NDArray[np.int64]
) -> float:
    """The blend weight of the first of two models that predicts expressions best."""
    truth = samples.expression[rows].argmax(axis=1)
    return choose_weight(first[rows], second[rows], truth, "expression")


def measure(said: Tasks, samples: Dataset, part: str = "validation") -> dict[str, Any]:
    """Figures on one part of each source."""
    found = {}
    for source in np.unique(samples.source):
        there = (samples.part == part) & (samples.source == source)
        rows = labelled(samples, there)
        truth = samples.expression[rows].argmax(axis=1)
        scores = said["expression"][rows][:, :8]
        label = np.where(np.isnan(scores).any(axis=1), -1, np.nan_to_num(scores, nan=-1).argmax(axis=1))
        # Without a prediction an image counts as wrong: it gets the class after the last one, which no image has.
        label = np.where(label < 0, 8, label)
        each = metrics.per_class(truth, label, 9)
        present = np.unique(truth)
        row: dict[str, Any] = {
            "pictures": len(rows),
            "answered": float((label < 8).mean()),
            "accuracy": metrics.accuracy(truth, label),
            "f1": float(each.f1[:8].mean()),
            "f1_of_present": float(each.f1[present].mean()),
            "classes": {name: round(float(each.f1[k]), 3) for k, name in enumerate(EIGHT)},
        }
        votes = np.flatnonzero(there & ~np.isnan(samples.valence_arousal).any(axis=1))
        known = votes[~np.isnan(said["valence_arousal"][votes]).any(axis=1)]
        if len(known):
            row["ccc"] = metrics.ccc(samples.valence_arousal[known], said["valence_arousal"][known]).tolist()
        found[str(source)] = row
    return found


def clips(folder: Path, weights: dict[str, dict[str, float]]) -> dict[str, dict[str, str]]:
    """Model -> clip -> the expression with the largest mean probability, for the clips named by their emotion."""
    found: dict[str, dict[str, str]] = {}
    single = dict.fromkeys(name for pair in weights for name in pair.split(","))
    alone: dict[str, dict[str, float]] = {name: {} for name in single}
    for pair, blend in (alone | weights).items():
        models = pair.split(",")
        with tempfile.TemporaryDirectory() as out:
            given = [str(card.path) if (card := registry.card(name)).path else name for name in models]
            command = [sys.executable, "-m", "hsemotion_cli", "annotate", "-q", "-o", out, "--model", ",".join(given)]
            if blend:
                command += ["--blend", ",".join(f"{task}={weight}" for task, weight in blend.items())]
            videos = sorted(str(path) for path in folder.glob("M030_*_level*.mp4"))
            subprocess.run([*command, "--faces", "largest", *videos], check=True)
            row = {}
            for video in videos:
                with open(Path(out) / f"{Path(video).stem}.csv", newline="") as file:
                    table = [r for r in csv.DictReader(file) if r["p_neutral"]]
                means = [np.mean([float(r[f"p_{name}"]) for r in table]) for name in EIGHT]
                row[Path(video).stem.split("_")[1]] = EIGHT[int(np.argmax(means))]
        found[pair] = row
    return found


MEAD = {"angry": "anger", "contempt": "contempt", "disgusted": "disgust", "fear": "fear", "happy": "happiness",
        "neutral": "neutral", "sad": "sadness", "surprised": "surprise"}  # fmt: skip


def as_markdown(report: dict[str, Any]) -> str:
    """Tables of everything that was measured."""
    lines = ["| model | set | images | answered | accuracy | macro F1 | CCC valence | CCC arousal |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for model, sets in report["figures"].items():
        for name, row in sets.items():
            ccc = [f"{value:.3f}" for value in row.get("ccc", ())] or ["", ""]
            numbers = f"{row['answered']:.3f} | {row['accuracy']:.3f} | {row['f1']:.3f} | {ccc[0]} | {ccc[1]}"
            lines.append(f"| {model} | {name} | {row['pictures']:,} | {numbers} |")
    lines += ["", "F1 of each class:", "", "| model | set | " + " | ".join(EIGHT) + " |", "|---" * 10 + "|"]
    for model, sets in report["figures"].items():
        for name, row in sets.items():
            lines.append(f"| {model} | {name} | " + " | ".join(f"{row['classes'][c]:.3f}" for c in EIGHT) + " |")
    lines += ["", "Blend weights of the first of two, chosen on the calibration parts:", ""]
    for model, weights in report["weights"].items():
        where = " (chosen by scripts/choose_recipe.py)" if model == ",".join(report["default"]["models"]) else ""
        lines.append(f"- {model}: " + ", ".join(f"{task} {weight:g}" for task, weight in weights.items()) + where)
    if report["across"]:
        lines += ["", "Trained on one source, checked on the validation part of the other:", ""]
        lines += [
            "| trained on | checked on | accuracy, macro F1 | with mp-blendshapes | weight | chosen on |",
            "|---" * 6 + "|",
        ]
        for one in report["across"].values():
            for source, row in one["checked_on"].items():
                cells = [f"{row['alone']['accuracy']:.3f}, {row['alone']['f1']:.3f}", "", "", ""]
                if "weight" in row:
                    cells[1:] = (
                        f"{row['blend']['accuracy']:.3f}, {row['blend']['f1']:.3f}",
                        f"{row['weight']:g}",
                        f"{row['chosen_on']:,}",
                    )
                lines.append(f"| {', '.join(one['trained_on'])} | {source} | " + " | ".join(cells) + " |")
    if "evened" in report:
        sets = {f"{name} on {source}": row for name, one in report["evened"].items() for source, row in one.items()}
        heads = [f"{name} ({row['pictures']:,})" for name, row in sets.items()]
        lines += [
            "",
            "Class-prior correction with each exponent, on images that are new to the network: accuracy, mean recall; "
            "and the mean of all of them:",
            "",
            "| evened | " + " | ".join(heads) + " | mean |",
            "|---" * (len(sets) + 2) + "|",
        ]
        for k, power in enumerate(EVENED):
            figures = [row["figures"][k] for row in sets.values()]
            cells = [f"{accuracy:.3f}, {recall:.3f}" for accuracy, recall in figures]
            lines.append(f"| {power:g} | " + " | ".join(cells) + f" | {np.mean(figures):.3f} |")
    if "mead" in report:
        lines += ["", "Clips of one actor (MEAD), the expression with the largest mean probability:", ""]
        for model, said in report["mead"].items():
            right = sum(MEAD[clip] == label for clip, label in said.items())
            wrong = ", ".join(f"{clip} -> {label}" for clip, label in said.items() if MEAD[clip] != label)
            lines.append(f"- {model}: {right} of {len(said)}" + (f" ({wrong})" if wrong else ""))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
