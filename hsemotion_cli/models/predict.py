"""Sighting -> Reading: every model scores the faces, in batches across frames."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..domain import Face, Reading, Scores
from ..errors import ModelUnavailable, UsageError
from ..tasks import FROZEN
from .ensemble import average, check_members
from .frame_skipping import ScheduledSighting
from .heads import Head
from .registry import ModelCard

_LONGEST_WAIT = 256
"""Largest number of frames that wait for a batch to fill, which bounds memory when faces are rare."""


@dataclass(frozen=True, slots=True)
class InferenceOptions:
    """How networks are run; other models refuse options that do not apply to them.

    Attributes:
        backend: "auto", "onnx", "openvino" or "torch".
        device: "auto", "cpu", "cuda" or "cuda:N"; never silently replaced by another.
        precision: "fp32", "bf16" or "fp16".
        threads: CPU threads of a network; None leaves it to the backend.
        offline: never fetch weights.
        files: model -> the user's own weight file.
        progress: called with the bytes downloaded and all bytes of a download.
        heads: the user's heads, each for a different model.
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
    """The interface of all models: faces in, named scores out, one row per face, in order.

    The scores of a face must not depend on the other faces of the batch. Several threads may call it at once.

    Attributes:
        card: its model card.
        provenance: origin of its weights, backend and device, for the sidecar.
        device: where it computes: "cpu", "cuda" or "cuda:N".
    """

    @property
    def card(self) -> ModelCard: ...

    @property
    def device(self) -> str: ...

    @property
    def provenance(self) -> Mapping[str, Any]: ...

    def __call__(self, faces: Sequence[Face]) -> Scores: ...


def load_all(cards: Iterable[ModelCard], running: InferenceOptions) -> dict[str, FaceModel]:
    """Model name -> the loaded model, for all models of a recipe, each with its head if there is one.

    Raises:
        ModelUnavailable: weights are missing or damaged, or a package is missing.
        UsageError: an option does not apply to the models, or a head belongs to none of them.
    """
    cards = list(cards)
    heads = _match_heads(running.heads, [card.name for card in cards])
    if running.device.startswith("cuda") and not any(card.network for card in cards):
        names = ", ".join(card.name for card in cards)
        raise UsageError(f"--device {running.device}: {names} runs on the CPU only; use --device auto.")
    models = {card.name: load(card, running) for card in cards}
    return models | {name: HeadedModel(models[name], *members) for name, members in heads.items()}


def load(card: ModelCard, running: InferenceOptions) -> FaceModel:
    """Load the model of a card.

    Raises:
        ModelUnavailable: its weights are missing or damaged, or a package is missing.
        UsageError: an option does not apply to the model, or it is an audio model.
    """
    if card.family == "audio":
        raise UsageError(f"--model {card.name}: this is an audio model; use annotate --audio-head, or extract --audio.")
    if card.family == "encoder":
        return _encoder(card, running)
    if card.network is None:
        from .blendshapes import GeometryModel

        if card.name in running.files:
            raise UsageError(
                f"--model {card.name}: its weights are part of the program and cannot be replaced by a file."
            )
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


def _encoder(card: ModelCard, running: InferenceOptions) -> FaceModel:
    """An encoder of timm, which only torch runs, in float32."""
    from .encoders import Encoder

    if running.backend not in ("auto", "torch") or running.precision != "fp32":
        raise UsageError(
            f"--model {card.name}: networks of timm run in torch and float32; leave out --backend and --precision."
        )
    return Encoder(card, running.device, running.offline, running.files.get(card.name), running.threads)


def _match_heads(heads: Iterable[Head], names: Sequence[str]) -> dict[str, list[Head]]:
    """Model -> its head, or the heads whose mean counts."""
    found: dict[str, list[Head]] = {}
    for head in heads:
        name = head.base.model
        if name not in names:
            raise UsageError(
                f"--head {head.name}: it is a head for {name}, but the model is {' and '.join(names)}; give --model "
                f"{name}."
            )
        found.setdefault(name, []).append(head)
    for members in found.values():
        check_members(members)
    return found


def kept_of(scores: Scores, replaced: Collection[str]) -> dict[str, NDArray[np.float32]]:
    """The model's own expressions, where a head replaces them: a recipe's gate may prefer them."""
    return {FROZEN: scores.tasks["expression"]} if "expression" in scores.tasks.keys() & set(replaced) else {}


class HeadedModel:
    """A model with a user's head, or the mean of several: the head predicts its tasks, the model all others.

    Args:
        base: the model whose embeddings and outputs the head uses.
        head: trained on features of the same model.
        others: more members of an ensemble; see ``ensemble.check_members``.

    Attributes:
        card, device: the model's.
        provenance: the model's, and the head's under "head", or those of an ensemble under "heads".

    Raises:
        ModelUnavailable: the head was trained on features of other weights.
        UsageError: the embeddings or outputs have other sizes, or the heads cannot be averaged.
    """

    def __init__(self, base: FaceModel, head: Head, *others: Head) -> None:
        check_members([head, *others])
        weights = base.provenance.get("sha256")
        if head.base.sha256 is not None and weights != head.base.sha256:
            raise ModelUnavailable(
                f"--head {head.name}: it was trained on {head.base.model} with weights of SHA-256 {head.base.sha256}, "
                f"but these have {weights}; give that weight file, as --model {head.base.model}=FILE."
            )
        empty = base([])
        found = tuple(0 if values is None else values.shape[1] for values in (empty.embeddings, empty.outputs))
        if found != (head.base.embedding_size, head.base.outputs):
            raise UsageError(
                f"--head {head.name}: it needs embeddings of {head.base.embedding_size} numbers and "
                f"{head.base.outputs} outputs, but {head.base.model} has {found[0]} and {found[1]}."
            )
        self._base, self._head, self._members = base, head, (head, *others)
        self.card, self.device = base.card, base.device
        own = {"heads": [each.provenance for each in self._members]} if others else {"head": head.provenance}
        self.provenance = {**base.provenance, **own}

    def __repr__(self) -> str:
        return f"HeadedModel({self._base!r}, {', '.join(map(repr, self._members))})"

    def __call__(self, faces: Sequence[Face]) -> Scores:
        """Score faces, each independently of the others.

        Temporal heads are left to ``temporal_stream``, joint ones to ``joint``.
        """
        scores = self._base(faces)
        assert scores.embeddings is not None  # checked above
        if self._head.temporal or self._head.base.sound:
            return scores
        found = average(self._members, scores.embeddings, scores.outputs)
        return replace(scores, tasks={**scores.tasks, **found, **kept_of(scores, found)})


def grouped(sightings: Iterable[ScheduledSighting], batch_size: int) -> Iterator[list[ScheduledSighting]]:
    """Group sightings into batches of about ``batch_size`` faces to score.

    Args:
        batch_size: affects speed, never values.
    """
    waiting: list[ScheduledSighting] = []
    count = 0
    for scheduled in sightings:
        waiting.append(scheduled)
        count += sum(scheduled.scored)
        if count >= batch_size or len(waiting) >= _LONGEST_WAIT:
            yield waiting
            waiting, count = [], 0
    if waiting:
        yield waiting


def predict(group: Sequence[ScheduledSighting], models: Mapping[str, FaceModel]) -> list[Reading]:
    """Score all faces with all models: a reading for each sighting.

    Rows of faces that networks skip are nan. Several threads may call it at the same time.
    """
    faces = [face for scheduled in group for face in scheduled.sighting.faces]
    selected = np.array([chosen for scheduled in group for chosen in scheduled.scored], bool)
    scores = {name: _score(model, faces, selected) for name, model in models.items()}
    start, readings = 0, []
    for scheduled in group:
        sighting = scheduled.sighting
        stop = start + len(sighting.faces)
        own = {name: _rows(all_scores, start, stop) for name, all_scores in scores.items()}
        readings.append(Reading(sighting.index, sighting.time, sighting.faces, own, sighting.segment))
        start = stop
    return readings


def _score(model: FaceModel, faces: Sequence[Face], selected: NDArray[np.bool_]) -> Scores:
    if selected.all() or model.card.network is None:
        return model(faces)
    return model([face for face, chosen in zip(faces, selected, strict=True) if chosen]).spread(selected)


def _rows(scores: Scores, start: int, stop: int) -> Scores:
    tasks = {task: values[start:stop] for task, values in scores.tasks.items()}
    embeddings, outputs = (None if a is None else a[start:stop] for a in (scores.embeddings, scores.outputs))
    return Scores(tasks, embeddings, outputs)
