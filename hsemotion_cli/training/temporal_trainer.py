"""Training of temporal heads: windows of each face's frames, and the layers of ``models.temporal`` in torch.

Embeddings that are too many for memory lie in a file, and windows are read from it as they are needed.

A window has a number of steps that count, and around them those that the layers can see. Steps without a face, and
those before the first and after the last one, are zeros with a mask of 0, as when the head is applied.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError
from ..models.heads import Head
from ..models.onnx_graphs import export_module
from ..models.temporal import DILATIONS, TAPS, TemporalPart
from ..runtime.row_file import RowFile
from .head_trainer import (
    CLASSES,
    FittedHead,
    HeadConfig,
    Method,
    Report,
    check_finite,
    loss_of,
    one_thread,
    score_of,
)
from .sequences import Sequences

WINDOW = 64
"""Steps of a window that count; batches of rows are rounded to whole windows."""

_BLOCK = 4096  # rows of which moments are taken together

HIDDEN = 64
EPOCHS = 20


def temporal_config(config: HeadConfig) -> HeadConfig:
    """A paper's config of a static head as that of a temporal one: its input and loss, and sizes of our choice."""
    return replace(config, hidden=HIDDEN, l2=0.0, epochs=EPOCHS, batch=16 * WINDOW)


@dataclass(frozen=True, slots=True, eq=False)
class SequenceExamples:
    """Inputs and labels of one task, sequence by sequence.

    Attributes:
        values: embeddings, outputs, or both; all rows, in a file if they are many.
        places: of each sequence, (T,) rows of its steps, -1 without a face.
        known: (rows,) whether a row has a label.
        every: labels of all rows, as ``features.Rows`` has them.
        videos: number of videos with labels.
    """

    values: tuple[NDArray[np.floating] | RowFile, ...]
    places: tuple[NDArray[np.int64], ...]
    known: NDArray[np.bool_]
    every: NDArray
    videos: int

    def __len__(self) -> int:
        return int(self.known.sum())

    @property
    def width(self) -> int:
        """Columns of an input."""
        return sum(part.shape[1] for part in self.values)

    @property
    def order(self) -> NDArray[np.int64]:
        """The labelled rows in the order of the sequences."""
        rows = np.concatenate([place[place >= 0] for place in self.places])
        return np.asarray(rows[self.known[rows]])

    @property
    def labels(self) -> NDArray:
        """Labels of the labelled rows, in the order of the sequences."""
        return np.asarray(self.every[self.order])

    def inputs(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(n, T) rows, -1 without a face -> (n, T, width) float32 values, zero where there is none, and (n, T) mask."""
        seen = rows >= 0
        parts = [part[np.maximum(rows, 0)].astype(np.float32) for part in self.values]
        return torch.from_numpy(np.concatenate(parts, axis=2) * seen[..., None]), torch.from_numpy(
            seen.astype(np.float32)
        )


def sequence_examples(data: Sequences, task: str, source: str) -> SequenceExamples:
    """The sequences of one task.

    Args:
        source: of ``heads.INPUTS``.
    """
    rows = data.rows
    values = {"features": (rows.embeddings,), "scores": (rows.outputs,), "both": (rows.embeddings, rows.outputs)}
    known = np.zeros(len(rows.frame), bool)
    known[rows.known(task)] = True
    every = rows.expression if task == "expression" else getattr(rows, task)
    return SequenceExamples(values[source], data.places, known, every, len(np.unique(rows.video[known])))


class TemporalLayers(nn.Module):
    """The layers of ``models.temporal.TemporalPart``; the output is before its activation.

    Args:
        mean, scale: (c,) of the input columns.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self, mode: str, mean: Tensor, scale: Tensor, hidden: int, outputs: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.mode = mode
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.first = nn.Conv1d(len(mean) + 1, hidden, 1)
        self.blocks = nn.ModuleList(nn.Conv1d(hidden, hidden, TAPS, dilation=each) for each in DILATIONS)
        self.last = nn.Conv1d(hidden, outputs, 1)
        for layer in (self.first, *self.blocks, self.last):
            assert isinstance(layer, nn.Conv1d) and layer.bias is not None
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, values: Tensor, seen: Tensor) -> Tensor:
        """(n, T, c) values, (n, T) mask -> (n, T - memory, outputs): those steps whose neighbours are all given."""
        mask = seen.unsqueeze(2)
        h = torch.cat([(values - self.mean) / self.scale * mask, mask], dim=2).transpose(1, 2)
        h = self.first(h).relu()
        for block in self.blocks:
            assert isinstance(block, nn.Conv1d)
            reach = block.dilation[0]
            kept = h[..., 2 * reach :] if self.mode == "causal" else h[..., reach:-reach]
            h = kept + block(h).relu()
        return self.last(h).transpose(1, 2)

    def part(self, config: HeadConfig, classes: tuple[str, ...]) -> TemporalPart:
        """As heads store it."""

        def arrays(layer: nn.Module, flat: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            assert isinstance(layer, nn.Conv1d) and layer.bias is not None
            weight = layer.weight.detach().numpy().astype(np.float64)
            return weight[:, :, 0] if flat else weight, layer.bias.detach().numpy().astype(np.float64)

        return TemporalPart(
            config.source, config.activation, classes, self.mode, DILATIONS,
            self.mean.numpy().astype(np.float64), self.scale.numpy().astype(np.float64),
            arrays(self.first, True), tuple(arrays(block, False) for block in self.blocks), arrays(self.last, True),
        )  # fmt: skip


def around(mode: str) -> tuple[int, int]:
    """Steps before and after a window that the layers see."""
    reach = sum(DILATIONS)
    return (2 * reach, 0) if mode == "causal" else (reach, reach)


def _window(places: NDArray[np.int64], start: int, length: int, mode: str) -> NDArray[np.int64]:
    """Rows of a window and its surroundings; -1 outside the sequence."""
    before, after = around(mode)
    at = np.arange(start - before, start + length + after)
    inside = (at >= 0) & (at < len(places))
    return np.where(inside, places[np.clip(at, 0, len(places) - 1)], -1)


def _fit(
    mode: str, task: str, config: HeadConfig, train: SequenceExamples, validation: SequenceExamples | None, seed: int,
    report: Report,
) -> FittedHead:  # fmt: skip
    """As ``head_trainer.fit``, on windows."""
    for part, found in (("training", train), ("validation", validation)):
        if found is not None and not len(found):
            raise InputError(f"{task}: none of the matched {part} rows has a label for it; leave it out with --tasks.")
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {task} {mode}".encode()))
    net = TemporalLayers(mode, *moments(train), config.hidden, len(CLASSES[task]), generator)
    loss_function = loss_of(task, config, train.labels)
    optimiser = torch.optim.Adam(net.parameters(), lr=config.rate, eps=1e-7)
    scores: list[float] = []
    best: tuple[int, dict[str, Tensor]] = (0, {})
    with one_thread():
        for epoch in range(1, config.epochs + 1):
            for batch in _batches(train, max(config.batch // WINDOW, 1), generator):
                rows = np.stack([_window(train.places[k], start, WINDOW, mode) for k, start in batch])
                logits, labels = _labelled(net, train, rows, mode)
                if not len(labels):
                    continue
                loss = loss_function(logits, labels)
                check_finite(loss, task, config)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
            if validation is not None:
                found_logits = _logits(net, validation, mode)
                check_finite(found_logits, task, config)
                scores.append(score_of(task, loss_function, found_logits, torch.from_numpy(validation.labels)))
            report(task, epoch, config.epochs, scores[-1] if scores else float("nan"))
            if epoch == 1 or validation is None or scores[-1] > max(scores[:-1]):
                best = epoch, {name: value.clone() for name, value in net.state_dict().items()}
        net.load_state_dict(best[1])
        for weights in net.parameters():
            check_finite(weights, task, config)
        logits_now = None if validation is None else _logits(net, validation, mode).numpy().astype(np.float64)
    return FittedHead(net.part(config, CLASSES[task]), best[0], scores, logits_now)


def moments(train: SequenceExamples) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each input column over all faces, the latter 1 for a constant column.

    Row by row in blocks, so that neither memory nor where the rows lie has a part in it.
    """
    means = np.concatenate([_mean(part, lambda rows: rows) for part in train.values])
    ends = np.cumsum([part.shape[1] for part in train.values])[:-1]
    squares = [
        _mean(part, lambda rows, mean=mean: (rows - mean) ** 2)  # type: ignore[misc]
        for part, mean in zip(train.values, np.split(means, ends), strict=True)
    ]
    spread = np.sqrt(np.concatenate(squares))
    spread[spread < 1e-6] = 1.0
    return torch.tensor(means, dtype=torch.float32), torch.tensor(spread, dtype=torch.float32)


def _mean(part: NDArray[np.floating] | RowFile, of: Callable[[NDArray], NDArray]) -> NDArray[np.float64]:
    """(c,) mean over all rows of what ``of`` makes of them, in float64."""
    total = np.zeros(part.shape[1])
    for start in range(0, len(part), _BLOCK):
        rows = part[np.arange(start, min(start + _BLOCK, len(part)))].astype(np.float64)
        total = np.add.reduce(np.concatenate([total[None], of(rows)]), axis=0)
    return total / len(part)


def _batches(train: SequenceExamples, size: int, generator: torch.Generator) -> list[list[tuple[int, int]]]:
    """(sequence, first step) of windows that cover every sequence, in a random order from a random first step."""
    windows = []
    for k, places in enumerate(train.places):
        offset = int(torch.randint(WINDOW, (1,), generator=generator))
        windows += [(k, start) for start in range(-offset, len(places), WINDOW)]
    order = torch.randperm(len(windows), generator=generator).tolist()
    mixed = [windows[k] for k in order]
    return [mixed[k : k + size] for k in range(0, len(mixed), size)]


def _labelled(net: TemporalLayers, data: SequenceExamples, rows: NDArray[np.int64], mode: str) -> tuple[Tensor, Tensor]:
    """Logits and labels of the labelled steps of some windows."""
    before, _ = around(mode)
    middle = rows[:, before : before + rows.shape[1] - sum(around(mode))]
    wanted = (middle >= 0) & data.known[np.maximum(middle, 0)]
    logits = net(*data.inputs(rows))[torch.from_numpy(wanted)]
    return logits, torch.from_numpy(data.every[middle[wanted]])


def _logits(net: TemporalLayers, data: SequenceExamples, mode: str) -> Tensor:
    """Logits of all labelled steps, sequence by sequence."""
    with torch.no_grad():
        parts = [
            _labelled(net, data, _window(places, start, min(1024, len(places) - start), mode)[None], mode)[0]
            for places in data.places
            for start in range(0, len(places), 1024)
        ]
    return torch.cat(parts)


def method(mode: str) -> Method:
    """How a temporal head's tasks are trained.

    Args:
        mode: of ``temporal.MODES``.
    """

    def fit(
        task: str, config: HeadConfig, train: SequenceExamples, validation: SequenceExamples | None, seed: int,
        report: Report,
    ) -> FittedHead:  # fmt: skip
        return _fit(mode, task, config, train, validation, seed, report)

    facts = {"temporal": mode, "dilations": list(DILATIONS), "window": WINDOW}
    return Method(sequence_examples, fit, facts)


class _Graph(nn.Module):
    """All tasks of a head, with their activations, from the network's features."""

    def __init__(self, head: Head) -> None:
        super().__init__()
        self.parts, self.temperature = head.temporal_parts, head.temperature
        self.nets = nn.ModuleDict({task: _layers(part) for task, part in self.parts.items()})

    def forward(self, embeddings: Tensor, outputs: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
        whole = {"features": embeddings, "scores": outputs, "both": torch.cat([embeddings, outputs], dim=2)}
        found = []
        for task, part in self.parts.items():
            z = self.nets[task](whole[part.source], seen)
            found.append(
                (z / self.temperature).softmax(dim=2)
                if part.activation == "softmax"
                else z.tanh()
                if part.activation == "tanh"
                else z.sigmoid()
            )
        return tuple(found)


def _layers(part: TemporalPart) -> TemporalLayers:
    """The torch layers of a stored part."""
    mean, scale = (torch.tensor(values, dtype=torch.float32) for values in (part.mean, part.scale))
    net = TemporalLayers(part.mode, mean, scale, len(part.first[1]), len(part.classes), torch.Generator())
    state: Mapping[str, NDArray] = {
        "first.weight": part.first[0][:, :, None], "first.bias": part.first[1],
        "last.weight": part.last[0][:, :, None], "last.bias": part.last[1],
        **{f"blocks.{k}.weight": weight for k, (weight, _) in enumerate(part.blocks)},
        **{f"blocks.{k}.bias": bias for k, (_, bias) in enumerate(part.blocks)},
    }  # fmt: skip
    net.load_state_dict({**net.state_dict(), **{k: torch.tensor(v, dtype=torch.float32) for k, v in state.items()}})
    return net


def export(head: Head, target: Path) -> None:
    """Write a temporal head as an ONNX graph for whole sequences.

    Inputs: ``embeddings`` (n, T, d), ``outputs`` (n, T, k), and ``seen`` (n, T), 1 for steps with the face, else 0.
    Outputs: for each task (n, T - memory, classes), after the activation. For all steps of a video, put ``around``
    steps of 0 before and after it, as ``facts["onnx"]`` of the head says.

    Raises:
        ModelUnavailable: torch cannot export it.
    """
    base, steps = head.base, 1 + sum(around(head.temporal))
    examples = (torch.zeros(1, steps, base.embedding_size), torch.zeros(1, steps, base.outputs), torch.zeros(1, steps))
    axes = {0: "faces", 1: "steps"}
    names = ["embeddings", "outputs", "seen"]
    export_module(_Graph(head).eval(), examples, target, names, list(head.parts), axes)
