"""Training of the embedded model ``mp-blendshapes`` (see ``models.blendshapes``): labelled blendshapes -> its weights.

The steps: an expression head on class shares (torch), its temperature, class biases and class shift, the published
linear map to valence and arousal, and twelve logistic functions for action units, derived from emotion prototypes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from ..models.blendshapes import FACS, ORDERS
from ..tasks import ACTION_UNITS, BASIC_EXPRESSIONS, BLENDSHAPES
from .blendshape_data import LabelledBlendshapes
from .dataset_readers import AFFECT
from .typical_units import unit_targets

VERSION = "1"

TAU = 0.5
"""Exponent of the class-prior correction of ``expression``: 0 keeps FER+'s class frequencies, 1 makes them equal."""

FULL = 0.95
"""Smallest probability of an action unit whose blendshapes are all at their maximum."""

EXCESS = 1.5
"""Largest ratio of predicted to expected frequency of an action unit."""

Tensors = dict[str, NDArray[np.float32]]
"""Name -> weights, as in the weights file."""


@dataclass(frozen=True, slots=True)
class BlendshapeHeadConfig:
    """How an expression head is trained.

    Attributes:
        hidden: width of the tanh layer; 0 for logistic regression.
        power: images are weighted by their classes' shares to the power ``-power``.
        noise: standard deviation of noise on the standardised blendshapes.
        mirror: swap left and right in half of the images.
        floor: added to each blendshape's standard deviation, so that nearly constant ones are not scaled up.
        muxspace: also train on "muxspace-fit".
        epochs: passes over the images.
        seed: of initial weights, order and noise.
    """

    hidden: int = 32
    power: float = 0.5
    noise: float = 0.1
    mirror: bool = True
    floor: float = 0.02
    muxspace: bool = False
    epochs: int = 30
    seed: int = 0


def train(config: BlendshapeHeadConfig, fer: LabelledBlendshapes, mux: LabelledBlendshapes) -> Tensors:
    """The calibrated expression head, and the map to valence and arousal.

    Args:
        fer: with the parts "fit" and "calibration".
        mux: with the part "muxspace-fit", where the config asks for it.
    """
    fit = fer.rows("fit")
    shapes, shares = fer.shapes[fit], fer.shares[fit]
    if config.muxspace:
        more = mux.rows("muxspace-fit")
        shapes, shares = np.r_[shapes, mux.shapes[more]], np.r_[shares, mux.shares[more]]
    mirror = mirrored() if config.mirror else np.arange(len(BLENDSHAPES))
    mean, scale = shapes.mean(axis=0), shapes.std(axis=0) + config.floor
    mean, scale = (mean + mean[mirror]) / 2, (scale + scale[mirror]) / 2
    inputs, flipped = (shapes - mean) / scale, (shapes[:, mirror] - mean) / scale
    tensors: Tensors = {"input.mean": np.asarray(mean, np.float32), "input.scale": np.asarray(scale, np.float32)}
    tensors |= _fit_layers(config, inputs, flipped, shares)
    tensors["valence_arousal.weight"] = np.array([AFFECT[name] for name in BASIC_EXPRESSIONS], np.float32).T
    return calibrate(tensors, fer)


def _fit_layers(
    config: BlendshapeHeadConfig,
    inputs: NDArray[np.floating],
    flipped: NDArray[np.floating],
    shares: NDArray[np.float64],
) -> Tensors:
    """Weights and biases of the layers, trained on class shares.

    Args:
        inputs, flipped: (n, 52) standardised blendshapes of the images and of their mirror images.
        shares: (n, 8).
    """
    import torch
    from torch import nn

    torch.manual_seed(config.seed)
    torch.set_num_threads(1)  # the order of sums, and so the last digits, must not depend on the machine
    weight = shares @ shares.mean(axis=0) ** -config.power
    x, turned_x, targets, weights = (
        torch.tensor(np.asarray(values, np.float32)) for values in (inputs, flipped, shares, weight / weight.mean())
    )
    hidden = [nn.Linear(52, config.hidden)] if config.hidden else []
    output = nn.Linear(config.hidden or 52, 8)
    head = nn.Sequential(*hidden, *(nn.Tanh() for _ in hidden), output)
    rate, size = 3e-3, 512
    optimiser = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=1e-4)
    steps = config.epochs * -(-len(x) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(config.epochs):
        for rows in torch.randperm(len(x)).split(size):
            turned = torch.rand(len(rows), 1) < 0.5
            batch = torch.where(turned, turned_x[rows], x[rows])
            batch = batch + config.noise * torch.randn_like(batch)
            loss = -(targets[rows] * head(batch).log_softmax(dim=1)).sum(dim=1) * weights[rows]
            optimiser.zero_grad()
            loss.mean().backward()
            optimiser.step()
            schedule.step()
    found: Tensors = {}
    for name, layer in (("output", output), *(("hidden", layer) for layer in hidden)):
        found |= {f"{name}.weight": layer.weight.detach().numpy(), f"{name}.bias": layer.bias.detach().numpy()}
    return found


def calibrate(tensors: Tensors, fer: LabelledBlendshapes) -> Tensors:
    """The head with temperature and class biases fitted to the votes of the calibration part, and its class shift."""
    from scipy.optimize import minimize

    rows = fer.rows("calibration")
    raw, shares = logits(tensors, fer.shapes[rows], calibrated=False), fer.shares[rows]

    def loss(parameters: NDArray[np.float64]) -> float:
        return float(-(shares * log_softmax((raw + parameters[1:]) / np.exp(parameters[0]), axis=1)).sum(axis=1).mean())

    best = minimize(loss, np.zeros(9), method="L-BFGS-B").x
    bias = tensors["output.bias"] + best[1:] - best[1:].mean()
    shift = -TAU * np.log(fer.shares[fer.rows("fit")].mean(axis=0))
    return tensors | {
        "output.bias": bias.astype(np.float32),
        "temperature": np.exp(best[:1]).astype(np.float32),
        "expression.shift": (shift - shift.mean()).astype(np.float32),
    }


def fit_action_units(fer: LabelledBlendshapes) -> Tensors:
    """Weights, biases and thresholds of the twelve logistic functions, from prototypes weighted by the votes.

    Each unit has one slope, on the mean of its blendshapes (left and right of a pair count once; pairs that never move
    are left out). Posed prototypes say little about some units in everyday images, and an unconstrained fit would make
    those constant. So the slope is bounded by the meaning of a blendshape: 1 is "maximum movement" (Apple, ARKit),
    hence p >= ``FULL`` if all of a unit's blendshapes are 1. The rest is the maximum likelihood of the targets.
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

        # The parameters are the logits at 0 and at 1, each bounded on one side by ``full``.
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


def mirrored() -> NDArray[np.int64]:
    """(52,) for each blendshape the index of its mirror image."""

    def other(name: str) -> str:
        return name.replace("Left", "Right") if "Left" in name else name.replace("Right", "Left")

    return np.array([BLENDSHAPES.index(other(name)) for name in BLENDSHAPES])


def mean_of_pairs(names: tuple[str, ...], shapes: NDArray[np.float32]) -> NDArray[np.float64]:
    """(52,) weights with sum 1 that average blendshapes: each pair counts once, motionless pairs not at all."""
    pairs: dict[str, list[int]] = {}
    for name in names:
        pairs.setdefault(name.removesuffix("Left").removesuffix("Right"), []).append(BLENDSHAPES.index(name))
    moving = [columns for columns in pairs.values() if np.quantile(shapes[:, columns], 0.99) > 0.01]
    mean = np.zeros(len(BLENDSHAPES))
    for columns in moving:
        mean[columns] = 1 / (len(columns) * len(moving))
    return mean


def best_threshold(scores: NDArray[np.floating], target: NDArray[np.float64]) -> float:
    """The threshold with the highest expected F1 among those that are not exceeded too often.

    For uninformative scores, the highest F1 is that of "always present". So thresholds count only if the scores exceed
    them at most ``EXCESS`` times as often as the targets expect.
    """
    choices = np.round(np.arange(0.02, 0.96, 0.01), 2)
    allowed = [choice for choice in choices if (scores >= choice).mean() <= EXCESS * target.mean()]
    return float(max(allowed, key=lambda choice: expected_f1(scores >= choice, target)))


def expected_f1(present: NDArray[np.bool_], target: NDArray[np.float64]) -> float:
    """F1 of the positive class when each image is a positive with probability ``target``."""
    return float(2 * target[present].sum() / (present.sum() + target.sum()))


def logits(tensors: Tensors, shapes: NDArray[np.float32], calibrated: bool = True) -> NDArray[np.float64]:
    """(n, 52) blendshapes -> (n, 8) logits, without the class shift.

    Args:
        calibrated: whether they are divided by the temperature.
    """
    x = (shapes.astype(np.float64) - tensors["input.mean"]) / tensors["input.scale"]
    if "hidden.weight" in tensors:
        x = np.tanh(x @ tensors["hidden.weight"].T.astype(np.float64) + tensors["hidden.bias"])
    z = x @ tensors["output.weight"].T.astype(np.float64) + tensors["output.bias"]
    return z / tensors["temperature"] if calibrated else z


def expression(tensors: Tensors, shapes: NDArray[np.float32], tau: float = TAU) -> NDArray[np.float64]:
    """(n, 52) blendshapes -> (n, 8) probabilities, with the class-prior correction of exponent ``tau``."""
    return np.exp(log_softmax(logits(tensors, shapes) + tau / TAU * tensors["expression.shift"], axis=1))


def sigmoid(z: NDArray[np.floating]) -> NDArray[np.floating]:
    """Element-wise 1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


def write(tensors: Tensors, path: Path, made_by: str) -> None:
    """Write the weights file, with the orders that name its numbers; the same numbers give the same bytes."""
    from safetensors.numpy import save

    metadata = {name: ",".join(order) for name, order in ORDERS.items()} | {
        "model": "mp-blendshapes",
        "version": VERSION,
        "trained_on": "FER+ training part (labels: microsoft/FERPlus, MIT)",
        "made_by": made_by,
        "licence": "Apache-2.0",
    }
    whole = save({name: np.ascontiguousarray(value) for name, value in tensors.items()}, metadata)
    # The library writes metadata in random order. A header is 8 bytes of length, then JSON padded with spaces to 8.
    size = int.from_bytes(whole[:8], "little")
    header = json.dumps(json.loads(whole[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    path.write_bytes(len(header).to_bytes(8, "little") + header + whole[8 + size :])
