"""Metrics of the embedded model ``mp-blendshapes``, and of the configs that were compared when it was chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation import metrics
from ..tasks import ACTION_UNITS, BASIC_EXPRESSIONS, BLENDSHAPES, VALENCE_AROUSAL
from .blendshape_data import LabelledBlendshapes
from .blendshape_head import (
    TAU,
    VERSION,
    BlendshapeHeadConfig,
    Tensors,
    expected_f1,
    expression,
    sigmoid,
    train,
    unit_targets,
)

CANDIDATES: dict[str, BlendshapeHeadConfig] = {
    "32 hidden (kept)": BlendshapeHeadConfig(),
    "logistic regression": BlendshapeHeadConfig(hidden=0),
    "64 hidden": BlendshapeHeadConfig(hidden=64),
    "128 hidden": BlendshapeHeadConfig(hidden=128),
    "no noise": BlendshapeHeadConfig(noise=0.0),
    "no mirroring": BlendshapeHeadConfig(mirror=False),
    "no class weights": BlendshapeHeadConfig(power=0.0),
    "full class weights": BlendshapeHeadConfig(power=1.0),
    "with muxspace": BlendshapeHeadConfig(muxspace=True),
}

TAUS = (0.0, 0.3, 0.5, 0.7, 1.0)
"""Exponents of the class-prior correction that the kept config is compared at."""

Clips = dict[str, NDArray[np.float32]]
"""Emotion in a clip's name -> (frames, 52) blendshapes."""


def measure(tensors: Tensors, fer: LabelledBlendshapes, mux: LabelledBlendshapes, clips: Clips) -> dict[str, Any]:
    """Every figure of the model card, from the weights as they are stored."""
    clear, asked = fer.rows("validation", clear=True), (fer.part == "validation") & fer.clear
    usable, truth = fer.rows("validation"), fer.shares.argmax(axis=1)
    scores, unshifted = expression(tensors, fer.shapes), expression(tensors, fer.shapes, tau=0)
    result = classification(truth[clear], scores[clear].argmax(axis=1))
    result["accuracy_counting_unfound_as_wrong"] = round(result["accuracy"] * result["pictures"] / int(asked.sum()), 3)
    plain = classification(truth[clear], unshifted[clear].argmax(axis=1))
    affect = tensors["valence_arousal.weight"].T
    ccc = metrics.ccc(fer.shares[usable] @ affect, np.clip(unshifted[usable] @ affect, -1, 1))
    predicted = expression(tensors, mux.shapes[mux.found]).argmax(axis=1)
    labels = clip_labels(tensors, clips)
    found = {part: round(float(fer.found[fer.part == part].mean()), 3) for part in np.unique(fer.part)}
    return {
        "version": VERSION,
        "tau": TAU,
        "temperature": round(float(tensors["temperature"][0]), 3),
        "faces_found": found | {"muxspace": round(float(mux.found.mean()), 3)},
        "pictures_fitted": int(fer.rows("fit").sum()),
        "pictures_for_calibration": int(fer.rows("calibration").sum()),
        "validation": result,
        "validation_unshifted": {key: plain[key] for key in ("accuracy", "macro_f1", "mean_recall")},
        "calibration_error": _calibration_errors(tensors, fer, scores, unshifted),
        "affect_ccc": {name: round(float(ccc[k]), 3) for k, name in enumerate(VALENCE_AROUSAL)},
        "muxspace": classification(mux.shares[mux.found].argmax(axis=1), predicted),
        "mead": {"right": clips_right(labels), "clips": labels},
        "action_units": measure_units(tensors, fer.shapes[usable], unit_targets(fer.shares[usable])),
    }


def _calibration_errors(
    tensors: Tensors, fer: LabelledBlendshapes, scores: NDArray[np.float64], unshifted: NDArray[np.float64]
) -> dict[str, float]:
    """Calibration errors on the validation part, with and without the class shift.

    Args:
        scores, unshifted: (n, 8) probabilities of all images.
    """
    clear, usable = fer.rows("validation", clear=True), fer.rows("validation")
    votes = fer.shares[usable]
    reweighted = votes * np.exp(tensors["expression.shift"])
    weight = reweighted.sum(axis=1)
    majority = np.eye(len(BASIC_EXPRESSIONS))[fer.shares.argmax(axis=1)[clear]]
    found = {
        "unshifted_against_votes": calibration_error(unshifted[usable], votes),
        "shifted_against_votes_reweighted": calibration_error(scores[usable], reweighted / weight[:, None], weight),
        "shifted_against_votes": calibration_error(scores[usable], votes),
        "shifted_against_majority": calibration_error(scores[clear], majority),
    }
    return {name: round(value, 3) for name, value in found.items()}


def calibration_error(
    scores: NDArray[np.floating], truth: NDArray[np.floating], weight: NDArray[np.floating] | None = None
) -> float:
    """Expected calibration error of the most likely class in 15 bins; ``truth`` (n, 8) is votes or one-hot."""
    weight = np.ones(len(scores)) if weight is None else weight
    top, best = scores.max(axis=1), scores.argmax(axis=1)
    gap, bins = top - truth[np.arange(len(truth)), best], np.minimum((top * 15).astype(int), 14)
    return float(sum(abs((weight * gap)[bins == k].sum()) for k in range(15)) / weight.sum())


def classification(truth: NDArray[np.int64], prediction: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracy, macro F1 and mean recall over the classes that occur, metrics per class and the confusion matrix."""
    each = metrics.per_class(truth, prediction, len(BASIC_EXPRESSIONS))
    occurs = each.support > 0
    classes = {
        name: {
            "pictures": int(each.support[k]),
            "precision": round(float(each.precision[k]), 3),
            "recall": round(float(each.recall[k]), 3),
            "f1": round(float(each.f1[k]), 3),
        }
        for k, name in enumerate(BASIC_EXPRESSIONS)
    }
    return {
        "pictures": len(truth),
        "accuracy": round(metrics.accuracy(truth, prediction), 3),
        "macro_f1": round(float(each.f1[occurs].mean()), 3),
        "mean_recall": round(float(each.recall[occurs].mean()), 3),
        "chance_accuracy": round(float(each.support.max() / len(truth)), 3),
        "classes": classes,
        "confusion": metrics.confusion(truth, prediction, len(BASIC_EXPRESSIONS)).tolist(),
    }


def clip_labels(tensors: Tensors, clips: Clips, tau: float = TAU) -> dict[str, str]:
    """Emotion in a clip's name -> the expression with the highest mean probability over its frames."""
    means = {name: expression(tensors, shapes, tau).mean(axis=0) for name, shapes in clips.items()}
    return {name: BASIC_EXPRESSIONS[int(mean.argmax())] for name, mean in means.items()}


def clips_right(labels: dict[str, str]) -> int:
    """The number of clip labels that match the expression in the clip's name."""
    return sum(label[:3] == name[:3] for name, label in labels.items())


def measure_units(tensors: Tensors, shapes: NDArray[np.float32], targets: NDArray[np.float64]) -> dict[str, Any]:
    """Per unit: threshold, expected F1, the F1 of always predicting it, and the weights that are not zero."""
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


def compare(fer: LabelledBlendshapes, mux: LabelledBlendshapes, clips: Clips) -> list[dict[str, Any]]:
    """Metrics of each candidate config at ``TAU``, and of the kept one at each of ``TAUS``.

    The choice was made on FER+'s calibration part and on the people of muxspace that no candidate was trained on.
    """
    table = []
    for name, config in CANDIDATES.items():
        tensors = train(config, fer, mux)
        for tau in TAUS if config == BlendshapeHeadConfig() else (TAU,):
            row: dict[str, Any] = {"recipe": name, "tau": tau}
            for source, images, part in (
                ("calibration", fer, "calibration"),
                ("muxspace", mux, "muxspace"),
                ("validation", fer, "validation"),
            ):
                rows = images.rows(part, clear=True)
                predicted = expression(tensors, images.shapes[rows], tau).argmax(axis=1)
                figures = classification(images.shares[rows].argmax(axis=1), predicted)
                row[source] = {key: figures[key] for key in ("accuracy", "macro_f1", "mean_recall")}
            row["mead_right"] = clips_right(clip_labels(tensors, clips, tau))
            table.append(row)
    return table
