"""Readings -> the same with the scores of temporal heads: in order, in constant memory, a fixed number of frames late.

A step is an analysed frame, whatever its time; each track of a face has its own state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading, Scores
from ..tasks import FROZEN, TASKS
from .heads import Head, select_inputs
from .temporal import Floats, TemporalPart, TemporalState

Logits = dict[str, Floats]

_SAME_RATE = 0.1
"""Relative difference of frame rates that is not worth a word."""


class _Track:
    """One face: a state for each task, and for how many steps it has not been seen."""

    def __init__(self, parts: Mapping[str, TemporalPart]) -> None:
        self.states = {task: TemporalState(part) for task, part in parts.items()}
        self.unseen = 0

    def step(self, inputs: Mapping[str, Floats] | None) -> Logits:
        self.unseen = 0 if inputs is not None else self.unseen + 1
        return {task: state.step(None if inputs is None else inputs[task]) for task, state in self.states.items()}


def stream(readings: Iterable[Reading], heads: Mapping[str, Head]) -> Iterator[Reading]:
    """Apply temporal heads.

    Args:
        readings: of consecutive analysed frames, with track ids.
        heads: model -> its temporal head; the readings have embeddings, and outputs if the head needs them, of these.
    """
    for model, head in heads.items():
        readings = _stream(readings, model, head)
    yield from readings


def _stream(readings: Iterable[Reading], model: str, head: Head) -> Iterator[Reading]:
    parts = head.temporal_parts
    delay, memory = head.delay, max(part.memory for part in parts.values())
    tracks: dict[int | None, _Track] = {}
    waiting: deque[Reading | None] = deque()
    source = iter(readings)
    missing = 0  # steps after the last frame
    while missing < delay or not missing:
        reading = next(source, None)
        if reading is None:
            missing += 1
            if not delay:
                return
        waiting.append(reading)
        found = _step(tracks, {} if reading is None else _inputs(reading.scores[model], reading, parts), parts)
        for track in [key for key, one in tracks.items() if one.unseen > memory]:
            del tracks[track]  # a new state is the same
        if len(waiting) > delay:
            done = waiting.popleft()
            if done is not None:
                yield _scored(done, model, head, found)


def _step(
    tracks: dict[int | None, _Track],
    seen: Mapping[int | None, Mapping[str, Floats]],
    parts: Mapping[str, TemporalPart],
) -> dict[int | None, Logits]:
    """Track -> logits by task after one more step of all tracks."""
    for key in seen.keys() - tracks.keys():
        tracks[key] = _Track(parts)
    return {key: track.step(seen.get(key)) for key, track in tracks.items()}


def _inputs(scores: Scores, reading: Reading, parts: Mapping[str, TemporalPart]) -> dict[int | None, dict[str, Floats]]:
    """Track -> inputs by task, of the faces that the model could read."""
    assert scores.embeddings is not None  # checked when the head was loaded
    rows = {task: select_inputs(part.source, scores.embeddings, scores.outputs) for task, part in parts.items()}
    return {
        face.track: {task: values[k].astype(np.float64) for task, values in rows.items()}
        for k, face in enumerate(reading.faces)
        if not any(np.isnan(values[k]).any() for values in rows.values())
    }


def _scored(reading: Reading, model: str, head: Head, found: Mapping[int | None, Logits]) -> Reading:
    """A reading with the head's scores in place of the model's own."""
    scores = reading.scores[model]
    assert scores.embeddings is not None
    known: NDArray[np.bool_] = np.asarray(~np.isnan(scores.embeddings).any(axis=1))
    tasks: dict[str, NDArray[np.float32]] = {}
    for task in head.parts:
        tasks[task] = np.full((len(reading.faces), len(TASKS[task])), np.nan, np.float32)
        for k, face in enumerate(reading.faces):
            if known[k] and face.track in found:
                tasks[task][k] = head.row(task, found[face.track][task])
    if "expression" in tasks and "expression" in scores.tasks:
        tasks[FROZEN] = scores.tasks["expression"]
    whole = replace(scores, tasks={**scores.tasks, **tasks})
    return replace(reading, scores={**reading.scores, model: whole})


def rate_note(head: Head, step: float) -> str:
    """A sentence if the analysed frames lie closer or further apart than those that a head learned from, or "".

    Args:
        step: seconds between two analysed frames; 0 if unknown.
    """
    learned = float(head.facts.get("rate") or 0)
    if not step or not learned or abs(step * learned - 1) <= _SAME_RATE:
        return ""
    return (
        f"the temporal head {head.name} learned from {learned:g} frames per second, but {1 / step:g} are analysed "
        "here; what it knows of speeds is off by that factor."
    )
