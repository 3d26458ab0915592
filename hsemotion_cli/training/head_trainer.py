"""The papers' heads on frozen features: layers, losses, and training.

Sources: HSEmotion at the 6th and 7th ABAW challenges (arXiv 2403.11590 and 2407.13184) and its notebooks. Those use
Keras; here the same layers, losses, initial weights and optimiser are torch's. A batch is a random subset of rows, so
the order of frames in time is not used.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

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
from ..models.temporal import TemporalPart
from ..runtime.row_file import RowFile
from ..tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, VALENCE_AROUSAL
from .features import ClipFeatures, Rows
from .head_metrics import task_metrics
from .losses import one_minus_ccc

CLASSES: Mapping[str, tuple[str, ...]] = {
    "expression": AFFWILD2_EXPRESSIONS,
    "valence_arousal": VALENCE_AROUSAL,
    "action_units": ACTION_UNITS,
    CLIP_TASK: EMOTIONAL_MIMICRY,
}

MIMICRY_WEIGHTS = (1.0, 1 / 8, 1 / 4, 1 / 2, 1 / 8, 1 / 8)
"""Loss weights of the correlations of ``EMOTIONAL_MIMICRY``, for the head with a hidden layer."""

_CHUNK = 8192  # rows per inference batch

Report = Callable[[str, int, int, float], None]
"""Called with (task, epoch, epochs, score on validation data, nan without any) after every epoch."""


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """How the layers of one task are wired and trained.

    Attributes:
        source: of ``heads.INPUTS``.
        activation: of the output; of a hidden layer it is relu.
        batch: rows per step.
        epochs: passes over all rows.
        hidden: units of the hidden layer; 0 for none.
        l2: factor of the sum of squared weights (not biases) that is added to the loss, as in Keras.
        rate: learning rate of Adam.
        weighted: whether classes and action units are weighted by their frequency.
        keep: "best", the epoch with the best validation score, or "last".
    """

    source: str
    activation: str
    batch: int
    epochs: int
    hidden: int = 0
    l2: float = 0.0
    rate: float = 1e-3
    weighted: bool = True
    keep: str = "best"


HEAD_CONFIGS: Mapping[str, Mapping[str, HeadConfig]] = {
    "unitask": {
        "expression": HeadConfig("features", "softmax", 256, 10, hidden=128),
        "valence_arousal": HeadConfig("scores", "tanh", 1024, 5, l2=1 / 1024),
        "action_units": HeadConfig("features", "sigmoid", 512, 5, hidden=128),
    },
    # Three nets that share only their input. The papers feed valence and arousal "the last ten values" of it, which
    # are the outputs of a network that has ten.
    "mtl": {
        "expression": HeadConfig("both", "softmax", 512, 10, l2=1 / 512),
        "valence_arousal": HeadConfig("scores", "tanh", 512, 20, l2=1 / 512),
        "action_units": HeadConfig("both", "sigmoid", 512, 10, hidden=128),
    },
    "emi": {CLIP_TASK: HeadConfig("features", "sigmoid", 512, 100, l2=1 / 512)},
}
"""Kind of head -> task -> config, as in the papers."""


def mimicry_with_hidden(config: HeadConfig, hidden: int) -> HeadConfig:
    """The papers' other head for clips: a hidden layer (theirs has 64 units), no L2, fewer epochs, weighted classes."""
    return replace(config, hidden=hidden, l2=0.0, epochs=20)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and labels of one task.

    Attributes:
        values: embeddings, outputs or statistics, of any float type; an input concatenates the columns of all.
        rows: (n,) their rows that have a label.
        labels: (n,) int64 expression classes, or (n, c) float32.
        videos: number of videos or clips that the rows come from.
    """

    values: tuple[NDArray[np.floating] | RowFile, ...]
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
        """(n, width) float32 inputs of some examples, built on demand: all of them may not fit in memory twice."""
        rows = self.rows[which]
        parts = [part[rows].astype(np.float32, copy=False) for part in self.values]
        return torch.from_numpy(np.concatenate(parts, axis=1) if len(parts) > 1 else parts[0])


def examples(rows: Rows, task: str, source: str) -> Examples:
    """The labelled rows of one task.

    Args:
        source: of ``heads.INPUTS``.
    """
    known = rows.known(task)
    values = {"features": (rows.embeddings,), "scores": (rows.outputs,), "both": (rows.embeddings, rows.outputs)}
    return Examples(values[source], known, getattr(rows, task)[known], len(np.unique(rows.video[known])))


def clip_examples(clips: ClipFeatures) -> Examples:
    """All clips; every clip has labels."""
    return Examples((clips.values,), np.arange(len(clips.name)), clips.intensities, len(clips.name))


class HeadLayers(nn.Module):
    """Dense layers with ReLU between them; the output is before its activation.

    Initial weights are Keras's: uniform within sqrt(6 / (in + out)) of zero (Glorot and Bengio 2010), biases zero.
    """

    def __init__(self, width: int, config: HeadConfig, outputs: int, generator: torch.Generator) -> None:
        super().__init__()
        hidden = [nn.Linear(width, config.hidden), nn.ReLU()] if config.hidden else []
        self.net = nn.Sequential(*hidden, nn.Linear(config.hidden or width, outputs))
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
        """Weight and bias of each layer as ``heads.Part`` takes them."""
        return tuple(
            (layer.weight.detach().numpy().astype(np.float64), layer.bias.detach().numpy().astype(np.float64))
            for layer in self.dense
        )


# --- losses -----------------------------------------------------------------------------------------------------

Loss = Callable[[Tensor, Tensor], Tensor]
"""(n, c) outputs before the activation, labels -> a scalar."""


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """(classes,) count of the most frequent class / own count; a class that does not occur counts as 1."""
    counts = np.bincount(labels, minlength=classes)
    return counts.max() / np.maximum(counts, 1)


def unit_weights(labels: NDArray[np.floating]) -> NDArray[np.float64]:
    """(2, c) weights of absence and presence of each unit: N / (2 negatives) and N / (2 positives)."""
    positive = labels.sum(axis=0, dtype=np.float64)
    counts = np.stack([len(labels) - positive, positive])
    return len(labels) / (2 * np.maximum(counts, 1))


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over rows of weight times cross-entropy; divided by the number of rows, not by the weights, as in Keras."""
    return (functional.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


def weighted_bce(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Mean over rows and units of w0^(1 - y) w1^y times binary cross-entropy; weights: as ``unit_weights``."""
    each = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (torch.where(labels > 0.5, weights[1], weights[0]) * each).mean()


def one_minus_pearson(predicted: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """1 - weighted mean of Pearson's correlation over the columns."""
    x, y = predicted - predicted.mean(dim=0), labels - labels.mean(dim=0)
    below = (x.square().mean(dim=0) * y.square().mean(dim=0)).clamp_min(1e-12).sqrt()
    return 1 - (weights * (x * y).mean(dim=0) / below).sum() / weights.sum()


def loss_of(task: str, config: HeadConfig, labels: NDArray) -> Loss:
    """The loss of a task, with weights from the training labels."""
    if task == "expression":
        each = class_weights(labels, len(CLASSES[task])) if config.weighted else np.ones(len(CLASSES[task]))
        classes = torch.tensor(each, dtype=torch.float32)
        return lambda z, y: cross_entropy(z, y, classes)
    if task == "action_units":
        both = unit_weights(labels) if config.weighted else np.ones((2, labels.shape[1]))
        units = torch.tensor(both, dtype=torch.float32)
        return lambda z, y: weighted_bce(z, y, units)
    if task == "valence_arousal":
        return lambda z, y: one_minus_ccc(z.tanh(), y)
    emotions = torch.tensor(MIMICRY_WEIGHTS if config.hidden else (1.0,) * len(MIMICRY_WEIGHTS))
    return lambda z, y: one_minus_pearson(z.sigmoid(), y, emotions)


# --- training ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class FittedHead:
    """The trained layers of one task.

    Attributes:
        part: as heads store them.
        epoch: the epoch whose weights were kept, from 1.
        scores: validation score of each epoch, higher is better; empty without validation data.
        logits: (n, c) float64 of the validation data before the activation; None without any.
    """

    part: Part | TemporalPart
    epoch: int
    scores: list[float]
    logits: NDArray[np.float64] | None


def fit(
    task: str, config: HeadConfig, train: Examples, validation: Examples | None, seed: int, report: Report
) -> FittedHead:
    """Train the layers of one task; keeps the first of the best epochs, or the last one without validation data.

    The best epoch has the highest accuracy for expressions, the highest mean correlation for clips, else the lowest
    loss (L2 included, as in Keras), each over all validation rows. The weights depend only on the task's own config,
    examples and seed, so other tasks that are trained with it change nothing.

    Raises:
        InputError: there is no label to train on, or none to validate with.
        UsageError: the training diverged.
    """
    for part, found in (("training", train), ("validation", validation)):
        if found is not None and not len(found):
            raise InputError(f"{task}: none of the matched {part} rows has a label for it; leave it out with --tasks.")
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {task}".encode()))
    net = HeadLayers(train.width, config, len(CLASSES[task]), generator)
    loss_function = loss_of(task, config, train.labels)
    # Keras's epsilon; torch's default is a tenth of it.
    optimiser = torch.optim.Adam(net.parameters(), lr=config.rate, eps=1e-7)
    labels = torch.from_numpy(train.labels)
    scores: list[float] = []
    best: tuple[int, dict[str, Tensor]] = (0, {})
    with one_thread():
        for epoch in range(1, config.epochs + 1):
            order = torch.randperm(len(train), generator=generator)
            for batch in order.split(config.batch):
                loss = loss_function(net(train.inputs(batch.numpy())), labels[batch]) + config.l2 * net.squares()
                check_finite(loss, task, config)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if validation is not None:
                scores.append(_score(task, config, net, loss_function, validation))
            report(task, epoch, config.epochs, scores[-1] if scores else float("nan"))
            if epoch == 1 or validation is None or config.keep == "last" or scores[-1] > max(scores[:-1]):
                best = epoch, {name: value.clone() for name, value in net.state_dict().items()}
        net.load_state_dict(best[1])
        for weights in net.parameters():
            check_finite(weights, task, config)
        logits = None if validation is None else _logits(net, validation).numpy().astype(np.float64)
    return FittedHead(Part(config.source, config.activation, CLASSES[task], net.arrays()), best[0], scores, logits)


def _score(task: str, config: HeadConfig, net: HeadLayers, loss_function: Loss, validation: Examples) -> float:
    logits, labels = _logits(net, validation), torch.from_numpy(validation.labels)
    check_finite(logits, task, config)
    with torch.no_grad():
        return score_of(task, loss_function, logits, labels, config.l2 * net.squares())


def score_of(task: str, loss_function: Loss, logits: Tensor, labels: Tensor, penalty: Tensor | float = 0.0) -> float:
    """What the best epoch has most of: accuracy of expressions, mean correlation for clips, else the negative loss.

    Args:
        penalty: added to the loss.
    """
    if task == "expression":
        return float((logits.argmax(dim=1) == labels).double().mean())
    if task == CLIP_TASK:
        return float(np.mean(metrics.pearson(labels.numpy(), logits.sigmoid().numpy())))
    return -float(loss_function(logits, labels) + penalty)


def check_finite(values: Tensor, task: str, config: HeadConfig) -> None:
    """Raise UsageError if a number is not finite."""
    if not values.isfinite().all():
        raise UsageError(f"{task}: training diverged at a rate of {config.rate:g}; give a smaller --rate.")


def _logits(net: HeadLayers, data: Examples) -> Tensor:
    with torch.no_grad():
        return torch.cat([net(data.inputs(slice(k, k + _CHUNK))) for k in range(0, len(data), _CHUNK)])


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread: with more, the order of sums and so the last digits would depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- all tasks --------------------------------------------------------------------------------------------------


class Method(NamedTuple):
    """How the tasks of a head are trained.

    Attributes:
        examples: (data, task, source) -> the examples of a task.
        fit: as ``fit``, on such examples.
        facts: what the plan says about it.
    """

    examples: Callable[[Any, str, str], Any]
    fit: Callable[..., FittedHead]
    facts: Mapping[str, Any]


def _examples_of(data: Rows | ClipFeatures, task: str, source: str) -> Examples:
    return clip_examples(data) if isinstance(data, ClipFeatures) else examples(data, task, source)


STATIC = Method(_examples_of, fit, {})
"""Every row by itself."""


def train(
    kind: str, base: Base, data: Mapping[str, Any], configs: Mapping[str, HeadConfig], seed: int, report: Report,
    method: Method = STATIC,
) -> tuple[dict[str, Part | TemporalPart], dict[str, Any]]:  # fmt: skip
    """Train all tasks of a head.

    Args:
        kind: of ``heads.KINDS``.
        base: the network that the features come from.
        data: "train", and optionally "validation" to choose epochs, thresholds and temperature on: ``features.Rows``,
            ``features.ClipFeatures`` or what else the method takes.
        configs: task -> config, for the tasks that the head shall have.

    Returns:
        task -> part, and facts about them: ``rows``, ``epochs``, ``thresholds`` and ``temperature`` (fitted on the
        validation data), metrics on these by task, ``plan`` and its SHA-256. The same plan gives the same weights.

    Raises:
        InputError: as ``fit``, or the base has no outputs and a task needs them.
    """
    parts: dict[str, Part | TemporalPart] = {}
    facts: dict[str, Any] = {"rows": {part: {} for part in data}, "videos": {part: {} for part in data}}
    facts |= {"epochs": {}, "thresholds": {}, "temperature": None, "validation": {}}
    for task, config in configs.items():
        if config.source != "features" and not base.outputs:
            raise InputError(
                f"{task}: this head needs the outputs of a network, and {base.model} has only embeddings; leave it "
                "out with --tasks, give --input features, or extract with another model."
            )
        found = {part: method.examples(rows, task, config.source) for part, rows in data.items()}
        for part, own in found.items():
            facts["rows"][part][task], facts["videos"][part][task] = len(own), own.videos
        validation = found.get("validation")
        fitted = method.fit(task, config, found["train"], validation, seed, report)
        parts[task] = fitted.part
        facts["epochs"][task] = {"kept": fitted.epoch, "of": config.epochs, "scores": fitted.scores}
        if validation is not None and fitted.logits is not None:
            if task == "expression":
                facts["temperature"] = choose_temperature(fitted.logits, np.eye(len(CLASSES[task]))[validation.labels])
            if task == "action_units":
                chosen = choose_thresholds(validation.labels, expit(fitted.logits))
                facts["thresholds"] = dict(zip(ACTION_UNITS, chosen.tolist(), strict=True))
            facts["validation"][task] = task_metrics(task, CLASSES[task], fitted.logits, validation.labels, facts)
    if {"expression", "valence_arousal", "action_units"} <= set(facts["validation"]):
        facts["p_mtl"] = _sum_of_scores(facts["validation"])
    plan = {
        "kind": kind,
        "base": base.to_json(),
        "seed": seed,
        "plans": {task: _plain(config) for task, config in configs.items()},
        "data": {part: rows.digest() for part, rows in data.items()},
        **method.facts,
    }
    digest = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    return parts, {**facts, "plan": plan, "plan_sha256": digest}


def _plain(config: HeadConfig) -> dict[str, Any]:
    """A config as plain data; without keys that earlier versions did not have, where they have the usual value."""
    found = asdict(config)
    for name, usual in (("weighted", True), ("keep", "best")):
        if found[name] == usual:
            del found[name]
    return found


def _sum_of_scores(found: Mapping[str, Mapping[str, Any]]) -> float:
    """The score of the multi-task challenge, from the metrics by task."""
    units, affect = found["action_units"]["classes"], found["valence_arousal"]["classes"]
    return metrics.p_mtl(
        [affect[name]["ccc"] for name in VALENCE_AROUSAL],
        found["expression"]["f1"],
        [units[name]["f1"] for name in ACTION_UNITS],
    )
