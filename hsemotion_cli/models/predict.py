"""Sighting -> Reading: every model looks at the faces, in batches that run across frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..domain import Face, Reading, Scores
from ..errors import ModelUnavailable, UsageError
from .frame_skipping import ScheduledSighting
from .heads import Head
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
        heads: heads that the user brings, each on a model of its own.
    """

    backend: str = "auto"
    device: str = "auto"
    precision: str = "fp32"
    threads: int | None = None
    offline: bool = False
    files: Mapping[str, Path] = field(default_factory=dict)
    progress: Callable[[int, int | None], None] | None = None
    heads: tuple[Head, ...] = ()


class FaceModel(Protocol):
    """What every model is: faces in, named scores out, one row for each face, in order.

    What it says of a face must not depend on the other faces of the batch. Several threads may call it at once.

    Attributes:
        card: what is known of it.
        provenance: where its weights came from and what runs it, for the sidecar.
        device: where it computes: "cpu", "cuda" or "cuda:N".
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def device(self) -> str: ...

    @property
    def provenance(self) -> Mapping[str, Any]: ...

    def __call__(self, faces: Sequence[Face]) -> Scores: ...


def load_all(cards: Iterable[ModelCard], running: Running) -> dict[str, FaceModel]:
    """Model name -> its recogniser, for all models of a recipe, each with its head if there is one.

    Raises:
        ModelUnavailable: weights are missing or damaged, or what runs a model is not there.
        UsageError: the models do not run that way, or a head stands on none of them.
    """
    cards = list(cards)
    heads = _heads_by_model(running.heads, [card.name for card in cards])
    if running.device.startswith("cuda") and not any(card.network for card in cards):
        names = ", ".join(card.name for card in cards)
        raise UsageError(f"--device {running.device}: {names} runs on the CPU only; use --device auto.")
    models = {card.name: load(card, running) for card in cards}
    return models | {name: HeadedModel(models[name], head) for name, head in heads.items()}


def load(card: ModelCard, running: Running) -> FaceModel:
    """The recogniser that a card describes.

    Raises:
        ModelUnavailable: its weights are missing or damaged, or what runs it is not there.
        UsageError: the model does not run that way, or hears.
    """
    if card.family == "audio":
        raise UsageError(
            f"--model {card.name}: it hears and sees nothing; use annotate --audio-head, or extract --audio."
        )
    if card.network is None:
        from .blendshapes import GeometryModel

        if card.name in running.files:
            raise UsageError(f"--model {card.name}: its weights are part of the program and take no file.")
        return GeometryModel(card)
    from .network_model import NetworkModel

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


def _heads_by_model(heads: Iterable[Head], names: Sequence[str]) -> dict[str, Head]:
    found: dict[str, Head] = {}
    for head in heads:
        name = head.base.model
        if name not in names:
            raise UsageError(
                f"--head {head.name}: it stands on {name}, and the model is {' and '.join(names)}; give --model {name}."
            )
        if name in found:
            raise UsageError(f"--head {head.name}: {found[name].name} stands on {name} already; give one of them.")
        found[name] = head
    return found


class HeadedModel:
    """A model with a head of the user's: the head's tasks are the head's, the others stay the model's own.

    Args:
        base: whose embeddings and outputs the head reads.
        head: trained on those of the same model.

    Attributes:
        card, device: the model's.
        provenance: the model's, and the head's under "head".

    Raises:
        ModelUnavailable: the model's weights are not those on whose embeddings the head was trained.
        UsageError: its embeddings or outputs are not.
    """

    def __init__(self, base: FaceModel, head: Head) -> None:
        weights = base.provenance.get("sha256")
        if head.base.sha256 is not None and weights != head.base.sha256:
            raise ModelUnavailable(
                f"--head {head.name}: it was trained on {head.base.model} with weights of SHA-256 {head.base.sha256}, "
                f"and these have {weights}; give the file of then, as --model {head.base.model}=FILE."
            )
        nobody = base([])
        found = tuple(0 if values is None else values.shape[1] for values in (nobody.embeddings, nobody.outputs))
        if found != (head.base.embedding_size, head.base.outputs):
            raise UsageError(
                f"--head {head.name}: it reads embeddings of {head.base.embedding_size} numbers and "
                f"{head.base.outputs} outputs, and {head.base.model} gives {found[0]} and {found[1]}."
            )
        self._base, self._head = base, head
        self.card, self.device = base.card, base.device
        self.provenance = {**base.provenance, "head": head.provenance}

    def __repr__(self) -> str:
        return f"HeadedModel({self._base!r}, {self._head!r})"

    def __call__(self, faces: Sequence[Face]) -> Scores:
        """Score faces; what the head says of one does not depend on the others."""
        scores = self._base(faces)
        assert scores.embeddings is not None  # checked above
        return replace(scores, tasks={**scores.tasks, **self._head(scores.embeddings, scores.outputs)})


def grouped(sightings: Iterable[ScheduledSighting], batch_size: int) -> Iterator[list[ScheduledSighting]]:
    """Sightings in groups with about ``batch_size`` faces to look at, which are scored together.

    Args:
        batch_size: changes speed, never values.
    """
    waiting: list[ScheduledSighting] = []
    count = 0
    for one in sightings:
        waiting.append(one)
        count += sum(one.looked_at)
        if count >= batch_size or len(waiting) >= _LONGEST_WAIT:
            yield waiting
            waiting, count = [], 0
    if waiting:
        yield waiting


def predict(group: Sequence[ScheduledSighting], models: Mapping[str, FaceModel]) -> list[Reading]:
    """Score all faces with all models: a reading for each sighting.

    Rows of faces at which networks do not look are nan. Several threads may call it at the same time.
    """
    faces = [face for one in group for face in one.sighting.faces]
    looked = np.array([look for one in group for look in one.looked_at], bool)
    scores = {name: _score(model, faces, looked) for name, model in models.items()}
    start, readings = 0, []
    for one in group:
        sighting = one.sighting
        stop = start + len(sighting.faces)
        own = {name: _rows(of_all, start, stop) for name, of_all in scores.items()}
        readings.append(Reading(sighting.index, sighting.time, sighting.faces, own, sighting.segment))
        start = stop
    return readings


def _score(model: FaceModel, faces: Sequence[Face], looked: NDArray[np.bool_]) -> Scores:
    if looked.all() or model.card.network is None:
        return model(faces)
    return model([face for face, look in zip(faces, looked, strict=True) if look]).spread(looked)


def _rows(scores: Scores, start: int, stop: int) -> Scores:
    tasks = {task: values[start:stop] for task, values in scores.tasks.items()}
    embeddings, outputs = (None if a is None else a[start:stop] for a in (scores.embeddings, scores.outputs))
    return Scores(tasks, embeddings, outputs)
