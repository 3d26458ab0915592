"""Sighting -> Reading: every model looks at every face, in batches that run across frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from .domain import Face, Reading, Scores, Sighting
from .errors import UsageError
from .registry import ModelCard

_LONGEST_WAIT = 256
"""Frames held back at most while a batch fills, so that memory stays flat when faces are rare."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs networks, and where; models that are no networks have no choice and refuse what they cannot do.

    Attributes:
        backend: "auto", "onnx" or "torch".
        device: "auto", "cpu", "cuda" or "cuda:N"; never replaced by another without a word.
        precision: "fp32", "bf16" or "fp16".
        threads: CPU threads of a network; None leaves it to the backend.
        offline: never fetch weights.
        files: model -> weight file that the user brings.
        progress: is told how far a download is, in bytes there and bytes in all.
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    offline: bool = False
    files: Mapping[str, Path] = field(default_factory=dict)
    progress: Callable[[int, int | None], None] | None = None


class Recogniser(Protocol):
    """What every model is: faces in, named scores out, one row for each face, in order.

    What it says of a face must not depend on the other faces of the batch.

    Attributes:
        card: what is known of it.
        provenance: where its weights came from and what runs it, for the sidecar.
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def provenance(self) -> Mapping[str, Any]: ...

    def __call__(self, faces: Sequence[Face]) -> Scores: ...


def load_all(cards: Iterable[ModelCard], running: Running) -> dict[str, Recogniser]:
    """Model name -> its recogniser, for all models of a recipe.

    Raises:
        ModelUnavailable: weights are missing or damaged, or what runs a model is not there.
        UsageError: the models do not run that way.
    """
    cards = list(cards)
    if running.device.startswith("cuda") and not any(card.network for card in cards):
        names = ", ".join(card.name for card in cards)
        raise UsageError(f"--device {running.device}: {names} runs on the CPU only; use --device auto.")
    return {card.name: load(card, running) for card in cards}


def load(card: ModelCard, running: Running) -> Recogniser:
    """The recogniser that a card describes.

    Raises:
        ModelUnavailable: its weights are missing or damaged, or what runs it is not there.
        UsageError: the model does not run that way.
    """
    if card.network is None:
        from .geometry import GeometryModel

        if card.name in running.files:
            raise UsageError(f"--model {card.name}: its weights are part of the program and take no file.")
        return GeometryModel(card)
    from .networks.model import NetworkModel

    return NetworkModel(
        card,
        backend=running.backend,
        device=running.device,
        offline=running.offline,
        path=running.files.get(card.name),
        precision=running.precision,
        threads=running.threads,
        progress=running.progress,
    )


def recognise(
    sightings: Iterable[Sighting], models: Mapping[str, Recogniser], batch_size: int = 8
) -> Iterator[Reading]:
    """Score all faces with all models; one reading out for each sighting in, in the same order.

    Args:
        batch_size: faces that are scored together; it changes speed, never values.
    """
    waiting: list[Sighting] = []
    count = 0
    for sighting in sightings:
        waiting.append(sighting)
        count += len(sighting.faces)
        if count >= batch_size or len(waiting) >= _LONGEST_WAIT:
            yield from _read(waiting, models)
            waiting, count = [], 0
    yield from _read(waiting, models)


def _read(sightings: list[Sighting], models: Mapping[str, Recogniser]) -> Iterator[Reading]:
    faces = [face for sighting in sightings for face in sighting.faces]
    scores = {name: model(faces) for name, model in models.items()}
    start = 0
    for sighting in sightings:
        stop = start + len(sighting.faces)
        own = {name: _rows(of_all, start, stop) for name, of_all in scores.items()}
        yield Reading(sighting.index, sighting.time, sighting.faces, own)
        start = stop


def _rows(scores: Scores, start: int, stop: int) -> Scores:
    tasks = {task: values[start:stop] for task, values in scores.tasks.items()}
    embeddings, outputs = (None if a is None else a[start:stop] for a in (scores.embeddings, scores.outputs))
    return Scores(tasks, embeddings, outputs)
