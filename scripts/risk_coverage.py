"""Prints how the error falls when uncertain rows are dropped: risk-coverage curves.

    python scripts/collect_faces.py ... -o faces.npz
    python scripts/risk_coverage.py faces.npz

For each set of images and task: the mean error of the share of rows with the least uncertainty, from all rows down to a
tenth; the mean uncertainty of all rows; and the area under the curve beside the one that the best order of rows would
have, and the one of rows in any order. Errors are those of ``fit_uncertainty.py``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from collect_faces import load
from fit_uncertainty import errors_of
from numpy.typing import NDArray

from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import blend
from hsemotion_cli.postprocess.uncertainty import uncertainties
from hsemotion_cli.tasks import TASKS, UNCERTAINTIES

COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path, help="made by collect_faces.py")
    faces, recipe = load(parser.parse_args().faces), Recipe.usual()
    blended = {task: blend(faces.timeline, recipe, task) for task in TASKS}
    errors, found = errors_of(faces, blended, recipe), uncertainties(faces.timeline, recipe, blended)
    print("set | task | rows |", " | ".join(f"{share:.0%}" for share in COVERAGES), "| uncertainty | area, best, any")
    plain = faces.variant == "as it is"
    sets = {"FER+ validation": (faces.part == "ferplus validation") & plain}
    sets["FER+ validation, degraded"] = (faces.part == "ferplus validation") & ~plain
    sets |= {name: faces.part == name for name in np.unique(faces.part) if not name.startswith("ferplus")}
    for name, chosen in sets.items():
        for task, column in UNCERTAINTIES.items():
            rows = chosen & ~np.isnan(errors[task])
            if rows.any():
                uncertain, error = found[column][rows], errors[task][rows]
                risks = [risk(error, uncertain, share) for share in COVERAGES]
                areas = [area(error, order) for order in (uncertain, error)]
                print(
                    f"{name} | {task} | {len(error)} |",
                    " | ".join(f"{value:.3f}" for value in risks),
                    f"| {uncertain.mean():.3f} | {areas[0]:.3f}, {areas[1]:.3f}, {error.mean():.3f}",
                )


def risk(error: NDArray[np.float64], uncertain: NDArray[np.float64], share: float) -> float:
    """Mean error of a share of the rows, the least uncertain ones."""
    kept = np.argsort(uncertain, kind="stable")[: max(1, round(share * len(error)))]
    return float(error[kept].mean())


def area(error: NDArray[np.float64], order: NDArray[np.float64]) -> float:
    """Mean of the errors of the first one, two, ... rows in an order."""
    sorted_errors = error[np.argsort(order, kind="stable")]
    return float((np.cumsum(sorted_errors) / np.arange(1, len(error) + 1)).mean())


if __name__ == "__main__":
    main()
