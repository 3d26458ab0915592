"""Measures action units on rendered faces of people that nothing was trained on, where each unit is known.

    python scripts/measure_units.py rendered --faces units.npz

The folder is made by ``render_faces.py``; only its validation part is used: people of their own. It is searched for
faces once, and packed into the file of ``--faces``. For the default's network, or each trained file named by
``--network``, alone and blended with ``mp-blendshapes`` as in the default recipe, and for ``mp-blendshapes`` alone, it
prints for each unit the area under the ROC curve, and F1 at the recipe's thresholds. A unit counts as shown where its
label is 0.5 or more. Images without a face are left out and counted. ``-o`` writes the table into the part between the
marks of a Markdown file.

These are drawings: they show whether a model tells a unit from the shape of somebody's face, and whether a change of
the training helps with that. How it does on photos is another question.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from choose_recipe import auc, scored
from measure_domains import card_of, packed
from measure_models import GEOMETRY, predicted, write_between
from numpy.typing import NDArray

from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.models import registry
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import weighted_mean
from hsemotion_cli.tasks import ACTION_UNITS
from hsemotion_cli.training.dataset import Dataset

BEGIN, END = "<!-- units: begin -->\n", "<!-- units: end -->\n"

Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="made by render_faces.py")
    parser.add_argument("--faces", type=Path, required=True, help="packed faces of the folder; made if it is missing")
    parser.add_argument("--network", type=Path, action="append", default=[], help="a trained file; repeat for more")
    parser.add_argument("-o", "--output", type=Path, help="a Markdown file with the marks")
    options = parser.parse_args()
    faces, missed = held_out(options.faces, options.folder)
    usual = Recipe.usual()
    scores = {GEOMETRY: scored(usual.models[0], faces)[1]["action_units"]}
    for card in [card_of(path) for path in options.network] or [registry.card(usual.models[0])]:
        alone = predicted(card, faces, np.arange(len(faces)))["action_units"]
        scores[card.name] = alone
        scores[f"{card.name},{GEOMETRY}"] = weighted_mean(alone, scores[GEOMETRY], usual.blend["action_units"])
    text = table(scores, faces.action_units >= 0.5, np.array([usual.thresholds[unit] for unit in ACTION_UNITS]))
    people = len(np.unique(faces.subject))
    text = f"{len(faces):,} rendered faces of {people} people; no face was found in {missed} more.\n\n{text}"
    print(text)
    if options.output:
        write_between(options.output, BEGIN, END, text)


def held_out(path: Path, folder: Path) -> tuple[Dataset, int]:
    """The validation part of a folder, from the packed file, which is made first if it is missing.

    Returns:
        the images in which a face was found, and how many there are without.

    Raises:
        UsageError: there is no such part, or the packed file was made from another folder.
    """
    faces = packed(path, [folder], units="labels")
    rows = np.flatnonzero((faces.part == "validation") & ~np.isnan(faces.action_units).any(axis=1))
    if not len(rows):
        raise UsageError(f"{path}: no image of a validation part with action units; was it made by render_faces.py?")
    found = rows[~np.isnan(faces.blendshapes[rows]).any(axis=1)]
    return faces.subset(found), len(rows) - len(found)


def table(scores: dict[str, Floats], shown: NDArray[np.bool_], thresholds: Floats) -> str:
    """Areas, then F1 of each model by unit; the last column is the mean of the units."""
    lines = [f"| | {' | '.join(ACTION_UNITS)} | mean |", "|---" * (len(ACTION_UNITS) + 2) + "|"]
    lines.append(row("share that shows it", shown.mean(axis=0), 2))
    for name, values in scores.items():
        lines.append(row(f"{name}, area", np.array([auc(values[:, k], shown[:, k]) for k in range(shown.shape[1])])))
    for name, values in scores.items():
        on = values >= thresholds
        both, either = (on & shown).sum(axis=0), on.sum(axis=0) + shown.sum(axis=0)
        lines.append(row(f"{name}, F1", 2 * both / np.maximum(either, 1)))
    return "\n".join(lines) + "\n"


def row(name: str, values: Floats, digits: int = 3) -> str:
    """One row of the table, with the mean of its values."""
    return f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in [*values, np.mean(values)]) + " |"


if __name__ == "__main__":
    try:
        main()
    except (InputError, UsageError) as error:
        sys.exit(str(error))
