"""Faces -> Scores from MediaPipe's 52 blendshapes alone: the built-in model, which needs only numpy.

Three small models, with their weights in one safetensors file made by ``scripts/train_geometry.py``:

* expression: standardised blendshapes, one hidden tanh layer, temperature, softmax. Trained on FER+ and calibrated
  to the share of raters who chose each expression; then shifted so that rare classes are predicted more often.
* valence and arousal: a linear map of those shares before the shift, clipped to [-1, 1].
* action units: for each of the twelve a logistic function, p = sigmoid(w . b + c) with w >= 0, of only those
  blendshapes that show it by FACS (``FACS``). No FACS-coded images were available: w, c and the thresholds are a
  calibration derived from emotion prototypes, **not validated against human FACS coders**
  (docs/models/mp-blendshapes.md).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ..domain import Face, Scores
from ..errors import ModelUnavailable
from ..tasks import ACTION_UNITS, BASIC_EXPRESSIONS, BLENDSHAPES, EXPRESSIONS, VALENCE_AROUSAL
from .devices import CPU
from .registry import ModelCard

FACS: dict[str, tuple[str, ...]] = {
    "AU01": ("browInnerUp",),
    "AU02": ("browOuterUpLeft", "browOuterUpRight"),
    "AU04": ("browDownLeft", "browDownRight"),
    # MediaPipe's cheekSquint stays near zero on every face; a raised cheek narrows the eye, which eyeSquint shows.
    "AU06": ("cheekSquintLeft", "cheekSquintRight", "eyeSquintLeft", "eyeSquintRight"),
    "AU07": ("eyeSquintLeft", "eyeSquintRight"),
    # noseSneer is AU09, whose muscle (levator labii superioris alaeque nasi) raises the upper lip as well.
    "AU10": ("mouthUpperUpLeft", "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight"),
    "AU12": ("mouthSmileLeft", "mouthSmileRight"),
    "AU15": ("mouthFrownLeft", "mouthFrownRight"),
    # ARKit has no blendshape for a lip tightener alone: tightened lips get thinner, as in AU24 and AU28.
    "AU23": ("mouthPressLeft", "mouthPressRight", "mouthRollLower", "mouthRollUpper"),
    "AU24": ("mouthPressLeft", "mouthPressRight"),
    "AU25": ("jawOpen", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"),
    "AU26": ("jawOpen",),
}
"""Action unit -> the blendshapes that show it.

Sources: P. Ekman, W. V. Friesen, J. C. Hager, Facial Action Coding System, 2nd ed. 2002 (which muscle is which unit);
Apple, ARKit ``ARFaceAnchor.BlendShapeLocation`` (what each blendshape moves; MediaPipe's carry the same names);
M. Ozel, "ARKit to FACS: Blendshape Cheat Sheet", melindaozel.com (which blendshape is which unit).
"""

ORDERS: dict[str, tuple[str, ...]] = {
    "blendshapes": BLENDSHAPES,
    "expressions": BASIC_EXPRESSIONS,
    "action_units": ACTION_UNITS,
    "valence_arousal": VALENCE_AROUSAL,
}
"""Lists in the metadata of a weights file, comma-separated, and the order that each must have."""


class GeometryModel:
    """Predicts expression, valence and arousal, and action units from blendshapes.

    Args:
        card: its ``file`` is one of the package's assets and matches ``sha256`` if that is set.

    Attributes:
        card: as given.
        provenance: name and SHA-256 of the weights file.
        device: "cpu".
        au_thresholds: action unit -> probability in (0, 1) from which it counts as present.
        metadata: of the weights file (version, training, orders).

    Raises:
        ModelUnavailable: the file is missing, differs from the card's checksum, or does not match this version.
    """

    device = CPU

    def __init__(self, card: ModelCard) -> None:
        self.card = card
        self.provenance = {"file": card.file, "sha256": card.sha256}
        self._weights, self.metadata = _read(card)
        self.au_thresholds = {
            unit: float(p) for unit, p in zip(ACTION_UNITS, self._weights["action_units.threshold"], strict=True)
        }

    def __call__(self, faces: Sequence[Face]) -> Scores:
        """Score n faces by their blendshapes; a row of nan for a face without any.

        Returns:
            Scores with expression (n, 9), the last column nan since no such class was trained, valence_arousal
            (n, 2), action_units (n, 12) and the blendshapes themselves (n, 52) as embeddings.
        """
        nothing = np.full(len(BLENDSHAPES), np.nan, np.float32)
        rows = [nothing if face.blendshapes is None else face.blendshapes for face in faces]
        return self.read(np.array(rows, np.float32).reshape(-1, len(BLENDSHAPES)))

    def read(self, shapes: NDArray[np.float32]) -> Scores:
        """The same for (n, 52) blendshapes; a row with any nan gives a row of nan."""
        expression = np.full((len(shapes), len(EXPRESSIONS)), np.nan, np.float32)
        affect = np.full((len(shapes), len(VALENCE_AROUSAL)), np.nan, np.float32)
        units = np.full((len(shapes), len(ACTION_UNITS)), np.nan, np.float32)
        # Row by row: a matrix product may sum in a different order for a different number of rows, and results
        # must not depend on the batch.
        for row in np.flatnonzero(~np.isnan(shapes).any(axis=1)):
            basic, affect[row], units[row] = self._read_one(shapes[row].astype(np.float64))
            expression[row, : len(BASIC_EXPRESSIONS)] = basic
        tasks = {"expression": expression, "valence_arousal": affect, "action_units": units}
        return Scores(tasks, shapes)

    def _read_one(self, shapes: NDArray[np.float64]) -> tuple[NDArray, NDArray, NDArray]:
        """(52,) blendshapes -> (8,) expression, (2,) valence and arousal, (12,) action units, all float64."""
        w = self._weights
        hidden = np.tanh(w["hidden.weight"] @ ((shapes - w["input.mean"]) / w["input.scale"]) + w["hidden.bias"])
        logits = (w["output.weight"] @ hidden + w["output.bias"]) / w["temperature"]
        affect = np.clip(w["valence_arousal.weight"] @ _softmax(logits), -1, 1)
        units = 1 / (1 + np.exp(-(w["action_units.weight"] @ shapes + w["action_units.bias"])))
        return _softmax(logits + w["expression.shift"]), affect, units


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """(8,) -> (8,) in [0, 1] that sum to 1."""
    scores = np.exp(logits - logits.max())
    return scores / scores.sum()


def _read(card: ModelCard) -> tuple[dict[str, NDArray[np.float64]], dict[str, str]]:
    """The checked tensors, as float64, and the metadata of a card's weights file."""
    resource = files("hsemotion_cli").joinpath("assets", str(card.file))
    if card.file is None or not resource.is_file():
        raise ModelUnavailable(f"{card.name}: {card.file} is missing from the installation; reinstall hsemotion.")
    with as_file(resource) as path:
        if card.sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != card.sha256:
            raise ModelUnavailable(f"{card.name}: {card.file} has the wrong checksum; reinstall hsemotion.")
        try:
            with safe_open(path, framework="numpy") as file:
                weights = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
                metadata = dict(file.metadata() or {})
        except SafetensorError as error:
            raise ModelUnavailable(f"{card.name}: {card.file} cannot be read ({error}); reinstall hsemotion.") from None
    fault = _fault(weights, metadata)
    if fault:
        raise ModelUnavailable(f"{card.name}: {card.file} does not match this version ({fault}); reinstall hsemotion.")
    return weights, metadata


def _fault(weights: dict[str, NDArray[np.float64]], metadata: dict[str, str]) -> str | None:
    """The problem with the contents of a weights file, or None."""
    hidden = len(weights.get("hidden.bias", ()))
    shapes: dict[str, tuple[int, ...]] = {
        "input.mean": (52,),
        "input.scale": (52,),
        "hidden.weight": (hidden, 52),
        "hidden.bias": (hidden,),
        "output.weight": (8, hidden),
        "output.bias": (8,),
        "temperature": (1,),
        "expression.shift": (8,),
        "valence_arousal.weight": (2, 8),
        "action_units.weight": (12, 52),
        "action_units.bias": (12,),
        "action_units.threshold": (12,),
    }
    for name, order in ORDERS.items():
        if metadata.get(name) != ",".join(order):
            return f"its order of {name.replace('_', ' ')} differs"
    found = {name: value.shape for name, value in weights.items()}
    if found != shapes:
        return f"tensors {found} instead of {shapes}"
    if not all(np.isfinite(value).all() for value in weights.values()):
        return "a number is not finite"
    allowed = np.array([[shape in FACS[unit] for shape in BLENDSHAPES] for unit in ACTION_UNITS])
    units = weights["action_units.weight"]
    if (units < 0).any() or (units[~allowed] != 0).any():
        return "an action unit has a weight for a blendshape that does not show it by FACS"
    return None
