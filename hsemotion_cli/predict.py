"""Sighting -> Reading: every model looks at every face, in batches that run across frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from .domain import Face, Reading, Scores, Sighting
from .errors import UsageError
from .registry import ModelCard

_LONGEST_WAIT = 256
"""Frames held back at most while a batch fills, so that memory stays flat when faces are rare."""


class Recogniser(Protocol):
    """What every model is: faces in, named scores out, one row for each face, in order.

    What it says of a face must not depend on the other faces of the batch.
    """

    card: ModelCard

    def __call__(self, faces: Sequence[Face]) -> Scores: ...


def load(card: ModelCard, device: str = "auto") -> Recogniser:
    """The recogniser that a card describes.

    Args:
        device: "auto", "cpu" or "cuda"; never replaced by another without a word.

    Raises:
        ModelUnavailable: its weights are missing or damaged.
        UsageError: the model does not run on that device.
    """
    if card.family == "geometry":
        if device == "cuda":
            raise UsageError(f"--device cuda: {card.name} runs on the CPU only; use --device auto.")
        from .geometry import GeometryModel

        return GeometryModel(card)
    raise NotImplementedError(f"no recogniser runs models of the family {card.family!r}")


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
    embeddings = None if scores.embeddings is None else scores.embeddings[start:stop]
    return Scores({task: values[start:stop] for task, values in scores.tasks.items()}, embeddings)
