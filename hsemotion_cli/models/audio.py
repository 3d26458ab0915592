"""Audio as the second model: a head on wav2vec 2.0 or WavLM predicts its tasks over the time of a recording.

All faces of a frame get the same audio scores. They become part of the raw scores, so blending, smoothing and later
stages treat them like those of any other model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelUnavailable, UsageError
from ..media.audio import AudioFile, nearest
from ..tasks import TASKS
from ..timeline import Timeline
from .heads import Head
from .registry import SOUNDS
from .wav2vec import Wav2Vec2


@dataclass(frozen=True, slots=True, eq=False)
class AudioScores:
    """The scores of a recording.

    Attributes:
        model: of ``registry.SOUNDS``.
        time: (n,) centre of each hidden state, in seconds.
        tasks: task -> (n, columns of ``tasks.TASKS``); nan for classes that the head lacks.
    """

    model: str
    time: NDArray[np.float64]
    tasks: Mapping[str, NDArray[np.float32]]

    def added_to(self, timeline: Timeline) -> Timeline:
        """The timeline with audio as an additional model: a row for each face, nan where there is no audio."""
        state = nearest(self.time, timeline.time)[timeline.row]
        found = {}
        for task, values in self.tasks.items():
            found[task] = np.full((len(state), len(TASKS[task])), np.nan, np.float32)
            found[task][state >= 0] = values[state[state >= 0]]
        return replace(timeline, scores={**timeline.scores, self.model: found})


class AudioModel:
    """wav2vec 2.0 or WavLM with a head.

    Args:
        head: trained on hidden states of the same weights.
        model: the network.

    Attributes:
        card: its model card, with the tasks of the head.
        provenance: the network's, and the head's under "head".

    Raises:
        ModelUnavailable: the head was trained on hidden states of other weights.
    """

    def __init__(self, head: Head, model: Wav2Vec2) -> None:
        check_states(f"--audio-head {head.name}", head.base.model, head.base.sha256, head.base.embedding_size, model)
        self.card = replace(SOUNDS[model.kind], tasks=tuple(head.parts))
        self._head, self._model = head, model
        self.provenance: dict[str, Any] = {**model.provenance, "head": head.provenance}

    def __repr__(self) -> str:
        return f"AudioModel({self._head!r} on {self._model!r})"

    def __call__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> AudioScores:
        """Score a whole recording.

        Args:
            progress: called with the hidden states done and all of them.

        Raises:
            InputError: it has no audio that can be decoded.
        """
        sound = AudioFile(path)
        survey = sound.survey()
        total = self._model.count(survey.samples)
        times, found, done = [], [], 0
        for states in self._model.states(sound, survey):
            times.append(states.time)
            found.append(self._head(states.embeddings, None))
            done += len(states.time)
            if progress is not None:
                progress(done, total)
        tasks = {task: np.concatenate([one[task] for one in found]) for task in self._head.parts}
        return AudioScores(self._model.kind, np.concatenate(times), tasks)


def check_states(option: str, kind: str, sha256: str | None, size: int, model: Wav2Vec2) -> None:
    """Raise ModelUnavailable unless states of a network are those that a head was trained on.

    Args:
        option: begins the message.
        kind, sha256, size: network, weights (None if unknown) and length of the states that the head needs.
    """
    weights = model.provenance["sha256"]
    if kind != model.kind or sha256 not in (None, weights) or size != model.size:
        needed = f"{kind} with {size} values per state" + (f" (SHA-256 {sha256})" if sha256 else "")
        raise ModelUnavailable(
            f"{option}: the head was trained with {needed}, but the weights given are {model.kind} with {model.size} "
            f"values per state (SHA-256 {weights}); name the weights that it was trained with in --audio-weights."
        )


def check(head: Head) -> Head:
    """Return the head if it is an audio head.

    Raises:
        UsageError: it is for another model, or a temporal head.
    """
    if head.base.model not in SOUNDS:
        raise UsageError(
            f"--audio-head {head.name}: it is a head for {head.base.model}, not for audio; give it as --head."
        )
    if head.temporal or head.base.sound:
        kind = "temporal" if head.temporal else "joint"
        raise UsageError(f"--audio-head {head.name}: it is a {kind} head, and such heads work only on faces.")
    return head
