"""Measures networks on labelled sets of other domains, which are there to choose by and never to train on.

    python scripts/measure_domains.py ../shared/data/dev/* --faces domains.npz --mead ../shared/data/videos/mead

Each set is a folder with images and a ``labels.csv`` of one expression for each image. The sets are searched for faces
once, and packed into the file of ``--faces``. For the default's network, or each trained file named by ``--network``,
alone and blended with ``mp-blendshapes`` as in the default recipe, it prints accuracy, macro F1 and mean recall

- as predicted, among the classes that the set has (``moodme``, which has rare classes only: among all eight), and
- with the prior of the training classes divided out, as far as the finished network still has it,

the expected calibration error, and the confusion matrices of the sets named by ``--confusion``. A network that was
trained on a set is refused there. ``-o`` writes the tables into the part between the marks of a Markdown file.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
from measure_models import GEOMETRY, clips, drawn_from, geometry, predicted, write_between
from measure_models import MEAD as CLIPS
from numpy.typing import NDArray

from hsemotion_cli.errors import UsageError
from hsemotion_cli.evaluation import metrics
from hsemotion_cli.models import model_file, registry
from hsemotion_cli.models.cards import ModelCard
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import weighted_mean
from hsemotion_cli.tasks import BASIC_EXPRESSIONS
from hsemotion_cli.training import dataset, dataset_readers
from hsemotion_cli.training.config import DatasetSource, StageConfig, TrainingConfig
from hsemotion_cli.training.dataset import Dataset

ALL_CLASSES = ("moodme",)
BEGIN, END = "<!-- domains: begin -->\n", "<!-- domains: end -->\n"
BINS = 15

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+", help="folders with images and labels.csv")
    parser.add_argument("--faces", type=Path, required=True, help="packed faces of the sets; made if it is missing")
    parser.add_argument("--network", type=Path, action="append", default=[], help="a trained file; repeat for more")
    parser.add_argument("--confusion", default="taiwan,moodme", help="sets whose confusion matrix is printed")
    parser.add_argument("--mead", type=Path, help="folder of the MEAD clips; measured for the default only")
    parser.add_argument("-o", "--output", type=Path, help="a Markdown file with the marks")
    options = parser.parse_args()
    faces = packed(options.faces, options.sets)
    cards = [card_of(path) for path in options.network] or [registry.card(Recipe.usual().models[0])]
    lines = ["| model | set | images | accuracy, macro F1, mean recall | prior divided out | ECE |", "|---" * 6 + "|"]
    matrices: list[str] = []
    for card in cards:
        refuse_known(card, faces)
        for name, scores in answers(card, faces).items():
            for source in np.unique(faces.source):
                lines.append(row_of(name, str(source), scores, prior(card), faces))
                if str(source) in options.confusion.split(","):
                    matrices += ["", f"{name} on {source}; rows are labels, columns predictions:", ""]
                    matrices += confusion(scores, faces, str(source))
    lines += matrices
    if options.mead:
        lines += ["", *clip_lines(options.mead)]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.output:
        write_between(options.output, BEGIN, END, text)


def packed(path: Path, folders: list[Path], units: str = "blendshapes") -> Dataset:
    """The faces of all sets, from the packed file; it is made first if it is missing, with action units from there."""
    if not path.exists():
        sources = tuple(
            DatasetSource("folder", folder, name=folder.name, held_out=0.0, calibration=0.0, units=units)
            for folder in folders
        )
        config = TrainingConfig(name="domains", architecture="mobilefacenet", sources=sources, stages=(StageConfig(1),))
        dataset.write(path, dataset_readers.gather(config))
    faces = dataset.read(path)
    if other := {folder.name for folder in folders} ^ set(faces.source.tolist()):
        raise UsageError(f"{path}: made from other sets ({', '.join(sorted(other))}); name another file.")
    return faces


def card_of(path: Path) -> ModelCard:
    """The card of a trained file, which may have the name of a model of the program."""
    return dataclasses.replace(model_file.read_card(path)[0], path=path)


def refuse_known(card: ModelCard, faces: Dataset) -> None:
    """Refuse a network that was trained on one of the sets, by the names of its plan's sources and their folders.

    Raises:
        UsageError: it was.
    """
    assert card.path is not None
    plan = model_file.read_card(card.path)[1]["plan"]
    known = drawn_from(plan) | {Path(source["path"]).name for source in plan["sources"]}
    if both := known & set(faces.source.tolist()):
        raise UsageError(f"{card.path}: trained on {', '.join(sorted(both))}; these sets say nothing about it.")


def answers(card: ModelCard, faces: Dataset) -> dict[str, Floats]:
    """Name -> (n, 8) probabilities: of the network, and of its blend with ``mp-blendshapes``."""
    alone = predicted(card, faces, np.arange(len(faces)))["expression"][:, :8]
    usual = Recipe.usual()
    both = weighted_mean(alone, geometry(faces)["expression"][:, :8], usual.blend["expression"])
    return {card.name: alone, f"{card.name},{GEOMETRY}": both}


def prior(card: ModelCard) -> Floats:
    """(8,) added to log-probabilities to divide out what is left of the training classes' prior; 0 if not recorded."""
    assert card.path is not None
    facts = model_file.read_card(card.path)[1]
    if (shares := facts.get("class_shares")) is None:
        return np.zeros(8)
    plan = facts["plan"]
    refit = plan.get("refit", {})
    done = plan["evened"] + (refit["class_power"] if refit.get("weight_decay") else 0.0)
    return (done - 1) * np.log(np.array([shares[name] for name in BASIC_EXPRESSIONS]))


def chosen(scores: Floats, truth: NDArray[np.int64], source: str) -> NDArray[np.int64]:
    """(n,) the class of the highest score, among those of the set."""
    if source in ALL_CLASSES:
        return scores.argmax(axis=1)
    present = np.isin(np.arange(8), truth)
    return np.where(present, scores, -np.inf).argmax(axis=1)


def row_of(name: str, source: str, scores: Floats, shift: Floats, faces: Dataset) -> str:
    """One row of the table."""
    rows = np.flatnonzero(faces.source == source)
    truth = faces.expression[rows].argmax(axis=1)
    logits = np.log(np.maximum(scores[rows], 1e-30))
    cells = [figures(truth, chosen(logits, truth, source))]
    cells.append(figures(truth, chosen(logits + shift, truth, source)) if shift.any() else "")
    cells.append(f"{calibration_error(scores[rows], truth):.3f}")
    return f"| {name} | {source} | {len(rows):,} | " + " | ".join(cells) + " |"


def figures(truth: NDArray[np.int64], label: NDArray[np.int64]) -> str:
    """Accuracy, macro F1 and mean recall over the classes that are there."""
    each, present = metrics.per_class(truth, label, 8), np.unique(truth)
    return f"{metrics.accuracy(truth, label):.3f}, {each.f1[present].mean():.3f}, {each.recall[present].mean():.3f}"


def calibration_error(scores: Floats, truth: NDArray[np.int64]) -> float:
    """The expected calibration error over all eight classes, in bins of equal width (Guo et al. 2017)."""
    label, top = scores.argmax(axis=1), scores.max(axis=1)
    which = np.minimum((top * BINS).astype(int), BINS - 1)
    gaps = [abs((label == truth)[which == k].mean() - top[which == k].mean()) * (which == k).mean() for k in set(which)]
    return float(sum(gaps))


def confusion(scores: Floats, faces: Dataset, source: str) -> list[str]:
    """A table of counts."""
    rows = np.flatnonzero(faces.source == source)
    truth = faces.expression[rows].argmax(axis=1)
    table = metrics.confusion(truth, chosen(scores[rows], truth, source), 8)
    lines = ["| | " + " | ".join(BASIC_EXPRESSIONS) + " |", "|---" * 9 + "|"]
    return lines + [f"| {BASIC_EXPRESSIONS[k]} | " + " | ".join(map(str, table[k])) + " |" for k in np.unique(truth)]


def clip_lines(folder: Path) -> list[str]:
    """What the default predicts for the clips that are named by their emotion."""
    usual = Recipe.usual()
    pair = ",".join(usual.models)
    found = clips(folder, {pair: {task: weight for task, weight in usual.blend.items() if task != "action_units"}})[
        pair
    ]
    right = sum(CLIPS[clip] == label for clip, label in found.items())
    wrong = ", ".join(f"{clip} -> {label}" for clip, label in found.items() if CLIPS[clip] != label)
    return [f"Clips of one actor (MEAD), by the largest mean probability: {right} of {len(found)} ({wrong})."]


if __name__ == "__main__":
    try:
        main()
    except UsageError as error:
        sys.exit(str(error))
