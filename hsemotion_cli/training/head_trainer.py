"""The papers' heads on frozen features: how each is wired, what it is trained to make small, and the training.

Sources: HSEmotion at the 6th and 7th ABAW challenges (arXiv 2403.11590 and 2407.13184) and its notebooks. Those are
Keras; here the same layers, losses, starting weights and optimiser are torch's. A batch is a random part of the rows,
so every number below is one of rows, and no order in time is used.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn
from torch.nn import functional

from ..errors import InputError, UsageError
from ..evaluation import metrics
from ..evaluation.calibration import choose_temperature, choose_thresholds
from ..evaluation.ground_truth import AFFWILD2_EXPRESSIONS
from ..models.heads import CLIP_TASK, Base, Part
from ..tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, VALENCE_AROUSAL
from .features import ClipFeatures, Rows
from .head_card import figures
from .losses import one_minus_ccc

CLASSES: Mapping[str, tuple[str, ...]] = {
    "expression": AFFWILD2_EXPRESSIONS,
    "valence_arousal": VALENCE_AROUSAL,
    "action_units": ACTION_UNITS,
    CLIP_TASK: EMOTIONAL_MIMICRY,
}

MIMICRY_WEIGHTS = (1.0, 1 / 8, 1 / 4, 1 / 2, 1 / 8, 1 / 8)
"""What the correlation of each of ``EMOTIONAL_MIMICRY`` counts in the loss of the net with a hidden layer."""

_CHUNK = 8192  # rows that are looked at together where nothing is learned

Report = Callable[[str, int, int, float], None]
"""Called with (task, epoch, epochs, score on validation data, nan without any) after every epoch."""


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """How the layers of one task are wired and trained.

    Attributes:
        source: of ``heads.INPUTS``.
        activation: of the output; of a hidden layer it is relu.
        batch: rows per step.
        epochs: times that every row is looked at.
        hidden: units of the one hidden layer; 0 for none.
        l2: added to the loss is l2 times the sum of all squared weights (not biases), as Keras does it.
        rate: learning rate of Adam.
    """

    source: str
    activation: str
    batch: int
    epochs: int
    hidden: int = 0
    l2: float = 0.0
    rate: float = 1e-3


HEAD_CONFIGS: Mapping[str, Mapping[str, HeadConfig]] = {
    "unitask": {
        "expression": HeadConfig("features", "softmax", 256, 10, hidden=128),
        "valence_arousal": HeadConfig("scores", "tanh", 1024, 5, l2=1 / 1024),
        "action_units": HeadConfig("features", "sigmoid", 512, 5, hidden=128),
    },
    # Three nets that share nothing but their input. The papers give valence and arousal "the last ten values" of
    # it, which are the outputs of a network that has ten.
    "mtl": {
        "expression": HeadConfig("both", "softmax", 512, 10, l2=1 / 512),
        "valence_arousal": HeadConfig("scores", "tanh", 512, 20, l2=1 / 512),
        "action_units": HeadConfig("both", "sigmoid", 512, 10, hidden=128),
    },
    "emi": {CLIP_TASK: HeadConfig("features", "sigmoid", 512, 100, l2=1 / 512)},
}
"""Kind of head -> task -> plan, as in the papers."""


def mimicry_with_hidden(plan: HeadConfig, hidden: int) -> HeadConfig:
    """The papers' other net for clips: a hidden layer (theirs has 64 units), no L2, fewer epochs, weighted classes."""
    return replace(plan, hidden=hidden, l2=0.0, epochs=20)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and labels of one task.

    Attributes:
        values: embeddings, outputs or statistics, whatever float; the columns of one row come from all of them.
        rows: (n,) rows of them that have a label.
        labels: (n,) int64 classes of expressions, else (n, c) float32.
        videos: how many videos or clips they are from.
    """

    values: tuple[NDArray[np.floating], ...]
    rows: NDArray[np.int64]
    labels: NDArray
    videos: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def width(self) -> int:
        """Columns of an input."""
        return sum(part.shape[1] for part in self.values)

    def inputs(self, which: NDArray[np.int64] | slice) -> Tensor:
        """(n, width) float32 of some examples; made when needed, since all of them may not fit in memory twice."""
        rows = self.rows[which]
        parts = [part[rows].astype(np.float32, copy=False) for part in self.values]
        return torch.from_numpy(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0])


def examples(rows: Rows, task: str, source: str) -> Examples:
    """What there is of one task."""
    known = rows.known(task)
    values = {"features": (rows.embeddings,), "scores": (rows.outputs,), "both": (rows.embeddings, rows.outputs)}
    return Examples(values[source], known, getattr(rows, task)[known], len(np.unique(rows.video[known])))


def clip_examples(clips: ClipFeatures) -> Examples:
    """The same of clips."""
    return Examples((clips.values,), np.arange(len(clips.name)), clips.intensities, len(clips.name))


class HeadLayers(nn.Module):
    """Dense layers with relu between them; what comes out has not met its activation yet.

    Starting weights are Keras's: uniform within sqrt(6 / (in + out)) of zero (Glorot and Bengio 2010), biases zero.
    """

    def __init__(self, width: int, plan: HeadConfig, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        hidden = [nn.Linear(width, plan.hidden), nn.ReLU()] if plan.hidden else []
        self.net = nn.Sequential(*hidden, nn.Linear(plan.hidden or width, outputs))
        for layer in self.dense:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    @property
    def dense(self) -> list[nn.Linear]:
        """The dense layers, first to last."""
        return [layer for layer in self.net if isinstance(layer, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def squares(self) -> Tensor:
        """Sum of all squared weights."""
        return torch.stack([layer.weight.square().sum() for layer in self.dense]).sum()

    def arrays(self) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
        """Weight and bias of each layer as ``heads.Part`` wants them."""
        return tuple(
            (layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy().astype(np.float64))
            for layer in self.dense
        )


# --- what is made small -----------------------------------------------------------------------------------------

Loss = Callable[[Tensor, Tensor], Tensor]
"""(n, c) outputs before the activation, labels -> a scalar."""


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(classes,) count of the commonest class / own count; a class that does not occur weighs as if it did once."""
    counts = np.bincount(labels, minlength=classes)
    return counts.max() / np.maximum(counts, 1)


def unit_weights(labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2, c) weights of absence and presence of each unit: N / (2 negatives) and N / (2 positives)."""
    positive = labels.sum(axis=0, dtype=np.float64)
    counts = np.stack([len(labels) - positive, positive])
    return len(labels) / (2 * np.maximum(counts, 1))


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over the rows of weight times cross-entropy: as in Keras, divided by the rows and not by the weights."""
    return (functional.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


def weighted_bce(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over rows and units of w0^(1 - y) w1^y times binary cross-entropy; weights: as ``unit_weights``."""
    each = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (torch.where(labels > 0.5, weights[1], weights[0]) * each).mean()


def one_minus_pearson(said: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """1 - weighted mean over the columns of Pearson's correlation."""
    x, y = said - said.mean(dim=0), labels - labels.mean(dim=0)
    below = (x.square().mean(dim=0) * y.square().mean(dim=0)).clamp_min(1e-12).sqrt()
    return 1 - (weights * (x * y).mean(dim=0) / below).sum() / weights.sum()


def loss_of(task: str, plan: HeadConfig, labels: NDArray) -> Loss:
    """The loss of a task, with weights from the training labels."""
    if task == "expression":
        classes = torch.tensor(class_weights(labels, len(CLASSES[task])), dtype=torch.float32)
        return lambda z, y: cross_entropy(z, y, classes)
    if task == "action_units":
        units = torch.tensor(unit_weights(labels), dtype=torch.float32)
        return lambda z, y: weighted_bce(z, y, units)
    if task == "valence_arousal":
        return lambda z, y: one_minus_ccc(z.tanh(), y)
    emotions = torch.tensor(MIMICRY_WEIGHTS if plan.hidden else (1.0,) * len(MIMICRY_WEIGHTS))
    return lambda z, y: one_minus_pearson(z.sigmoid(), y, emotions)


# --- training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """A trained net.

    Attributes:
        part: to be applied.
        epoch: the one whose weights it has, from 1.
        scores: of each epoch on validation data, higher is better; empty without any.
        logits: (n, c) float64 of the validation data before the activation; None without any.
    """

    part: Part
    epoch: int
    scores: list[float]
    logits: NDArray[np.float64] | None


def fit(
    task: str, plan: HeadConfig, train: Examples, validation: Examples | None, seed: int, report: Report
) -> FittedHead:
    """Train one net; with validation data the first of its best epochs is kept, without them the last epoch.

    Best is by accuracy for expressions, by mean correlation for clips, else by the loss (with its L2, as Keras counts
    it), each over all validation rows together. The net of a task depends on nothing but its own plan, examples and
    seed: the same numbers come out whatever else is trained, in whatever order.

    Raises:
        InputError: there is no label to train on, or none to validate with.
        UsageError: the weights grew beyond all bounds.
    """
    for part, found in (("training", train), ("validation", validation)):
        if found is not None and not len(found):
            raise InputError(f"{task}: none of the matched {part} rows has a label for it; leave it out with --tasks.")
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {task}".encode()))
    net = HeadLayers(train.width, plan, len(CLASSES[task]), generator)
    loss_function = loss_of(task, plan, train.labels)
    # Keras's small number below the fraction; torch's own is a tenth of it.
    optimiser = torch.optim.Adam(net.parameters(), lr=plan.rate, eps=1e-7)
    labels = torch.from_numpy(train.labels)
    scores: list[float] = []
    best: tuple[int, dict[str, Tensor]] = (0, {})
    with _one_thread():
        for epoch in range(1, plan.epochs + 1):
            order = torch.randperm(len(train), generator=generator)
            for batch in order.split(plan.batch):
                loss = loss_function(net(train.inputs(batch.numpy())), labels[batch]) + plan.l2 * net.squares()
                _check_finite(loss, task, plan)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if validation is not None:
                scores.append(_score(task, plan, net, loss_function, validation))
            report(task, epoch, plan.epochs, scores[-1] if scores else float("nan"))
            if epoch == 1 or validation is None or scores[-1] > max(scores[:-1]):
                best = epoch, {name: value.clone() for name, value in net.state_dict().items()}
        net.load_state_dict(best[1])
        for weights in net.parameters():
            _check_finite(weights, task, plan)
        logits = None if validation is None else _logits(net, validation).numpy().astype(np.float64)
    return FittedHead(Part(plan.source, plan.activation, CLASSES[task], net.arrays()), best[0], scores, logits)


def _score(task: str, plan: HeadConfig, net: HeadLayers, loss_function: Loss, validation: Examples) -> float:
    logits, labels = _logits(net, validation), torch.from_numpy(validation.labels)
    _check_finite(logits, task, plan)
    if task == "expression":
        return float((logits.argmax(dim=1) == labels).double().mean())
    if task == CLIP_TASK:
        return float(np.mean(metrics.pearson(validation.labels, logits.sigmoid().numpy())))
    with torch.no_grad():
        return -float(loss_function(logits, labels) + plan.l2 * net.squares())


def _check_finite(values: Tensor, task: str, plan: HeadConfig) -> None:
    if not values.isfinite().all():
        raise UsageError(f"{task}: training at a rate of {plan.rate:g} ran away; give a smaller --rate.")


def _logits(net: HeadLayers, data: Examples) -> Tensor:
    with torch.no_grad():
        return torch.cat([net(data.inputs(slice(k, k + _CHUNK))) for k in range(0, len(data), _CHUNK)])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in another order would give other last digits, and the number of cores is the machine's."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- all together -----------------------------------------------------------------------------------------------


def train(
    kind: str, base: Base, data: Mapping[str, Rows] | Mapping[str, ClipFeatures], plans: Mapping[str, HeadConfig],
    seed: int, report: Report,
) -> tuple[dict[str, Part], dict[str, Any]]:  # fmt: skip
    """Train the nets of a head.

    Args:
        kind: of ``heads.KINDS``.
        base: what the features were made by.
        data: "train", and "validation" where an epoch, thresholds and a temperature are to be chosen.
        plans: task -> plan, of those tasks that the head shall have.

    Returns:
        task -> net, and what is known of them: ``rows``, ``epochs``, ``thresholds`` and ``temperature`` (fitted on
        the validation data), figures on these by task, ``plan`` and its SHA-256. The same plan gives the same nets.

    Raises:
        InputError: as ``fit``, or the base has no outputs and a task needs them.
    """
    parts: dict[str, Part] = {}
    facts: dict[str, Any] = {"rows": {part: {} for part in data}, "videos": {part: {} for part in data}}
    facts |= {"epochs": {}, "thresholds": {}, "temperature": None, "validation": {}}
    for task, plan in plans.items():
        if plan.source != "features" and not base.outputs:
            raise InputError(
                f"{task}: its net reads the outputs of a network, and {base.model} has none beside its embeddings; "
                "leave it out with --tasks, or extract with another model."
            )
        found = {
            part: clip_examples(rows) if isinstance(rows, ClipFeatures) else examples(rows, task, plan.source)
            for part, rows in data.items()
        }
        for part, own in found.items():
            facts["rows"][part][task], facts["videos"][part][task] = len(own), own.videos
        validation = found.get("validation")
        fitted = fit(task, plan, found["train"], validation, seed, report)
        parts[task] = fitted.part
        facts["epochs"][task] = {"kept": fitted.epoch, "of": plan.epochs, "scores": fitted.scores}
        if validation is not None and fitted.logits is not None:
            if task == "expression":
                facts["temperature"] = choose_temperature(fitted.logits, np.eye(len(CLASSES[task]))[validation.labels])
            if task == "action_units":
                chosen_ones = choose_thresholds(validation.labels, expit(fitted.logits))
                facts["thresholds"] = dict(zip(ACTION_UNITS, chosen_ones.tolist(), strict=True))
            facts["validation"][task] = figures(task, CLASSES[task], fitted.logits, validation.labels, facts)
    if {"expression", "valence_arousal", "action_units"} <= set(facts["validation"]):
        facts["p_mtl"] = _sum_of_scores(facts["validation"])
    plan_of_all = {
        "kind": kind,
        "base": asdict(base),
        "seed": seed,
        "plans": {task: asdict(plan) for task, plan in plans.items()},
        "data": {part: rows.digest() for part, rows in data.items()},
    }
    digest = hashlib.sha256(json.dumps(plan_of_all, sort_keys=True).encode()).hexdigest()
    return parts, {**facts, "plan": plan_of_all, "plan_sha256": digest}


def _sum_of_scores(found: Mapping[str, Mapping[str, Any]]) -> float:
    """The score of the multi-task challenge, from figures by task."""
    units, affect = found["action_units"]["classes"], found["valence_arousal"]["classes"]
    return metrics.p_mtl(
        [affect[name]["ccc"] for name in VALENCE_AROUSAL],
        found["expression"]["f1"],
        [units[name]["f1"] for name in ACTION_UNITS],
    )
