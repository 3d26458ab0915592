"""Fit the weights of ``hsemotion_cli/faces/verification.py`` on scenes with known faces, and check them on others.

    python scripts/fit_verification.py --train scenes1 --check scenes2 scenes3

Scenes are made by ``compose_scenes.py``, or hold a hand-drawn ``faces.json``. Prints the weights to put into the
module, and for each check set how often a probability is right. Candidates are those of the whole image and all tiles.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from measure_detection import matches
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from hsemotion_cli.faces import face_classifier, verification
from hsemotion_cli.faces.blazeface_detector import BlazeFaceDetector
from hsemotion_cli.faces.detector import _REJECTED, FaceDetector, _each_once, _surface
from hsemotion_cli.media.images import read_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, nargs="+", required=True)
    parser.add_argument("--check", type=Path, nargs="+", required=True)
    options = parser.parse_args()
    for name, finder in (("with landmarks", FaceDetector()), ("without landmarks", BlazeFaceDetector())):
        with finder:
            train = [gathered(finder, folder) for folder in options.train]
            rows, truth = (np.concatenate(parts) for parts in zip(*train, strict=True))
            model = LogisticRegression(C=1.0, max_iter=5000).fit(rows, truth)
            weights = [*model.coef_[0], model.intercept_[0]]
            print(f"{name}: {', '.join(f'{w:.3f}' for w in weights)} from {len(rows)} candidates, {truth.sum()} faces")
            for folder in options.check:
                rows, truth = gathered(finder, folder)
                report(folder.name, model.predict_proba(rows)[:, 1], truth)


def gathered(finder: FaceDetector, folder: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(n, 5) what is known about each candidate that is not rejected, and whether it is a face."""
    rows, truth = [], []
    for scene, faces in json.loads((folder / "faces.json").read_text()).items():
        image = read_image(folder / scene)
        assert image is not None
        candidates = _each_once(finder.candidates(image) + finder._in_tiles(image))
        for candidate, logit in zip(candidates, face_classifier.logits(image, candidates), strict=True):
            if logit < _REJECTED:
                continue
            looked, evidence = finder.evidence(image, candidate, logit)
            if looked is None or evidence is None:
                continue
            rows.append(verification.values(evidence))
            # The box that the table would show: a closer look may find a face beside the candidate.
            box = finder.map.box(looked.best.marks) if looked.shape is None else _surface(looked.shape[0])
            truth.append(any(matches(box, face["box"]) for face in faces))
    return np.array(rows), np.array(truth)


def report(name: str, probability: NDArray[np.float64], truth: NDArray[np.bool_]) -> None:
    print(f"  {name}: {len(truth)} candidates, {truth.sum()} faces")
    for low in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97):
        high = {0.9: 0.97, 0.97: 1.01, 0.0: 0.1, 0.1: 0.3}.get(low, low + 0.2)
        there = (probability >= low) & (probability < high)
        if there.any():
            print(f"    {low:.2f} to {min(high, 1):.2f}: right {truth[there].mean():.3f} of {there.sum()}, "
                  f"expected {probability[there].mean():.3f}")  # fmt: skip


if __name__ == "__main__":
    main()
