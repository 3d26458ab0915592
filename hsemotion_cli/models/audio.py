"""Sound as the second model: a head on wav2vec 2.0 tells the expressions of a recording, face by face in time.

What it says of a frame is said of every face in it. Its scores lie among the raw ones, so that blending, smoothing and
all that comes after need not know where they are from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelUnavailable, UsageError
from ..media.audio import AudioFile, nearest
from ..tasks import EXPRESSIONS
from ..timeline import Timeline
from .heads import Head
from .registry import SOUND
from .wav2vec import Wav2Vec2

TASK = "expression"


@dataclass(frozen=True, slots=True, eq=False)
class AudioScores:
    """What was heard in a recording.

    Attributes:
        time: (n,) seconds of the middle of each hidden state.
        expression: (n, 9) probabilities in the order of ``tasks.EXPRESSIONS``; nan for a class that the head lacks.
    """

    time: NDArray[np.float64]
    expression: NDArray[np.float32]

    def beside(self, timeline: Timeline) -> Timeline:
        """The timeline with what was heard as one more model: a row for each face, nan where there is no sound."""
        state = nearest(self.time, timeline.time)[timeline.row]
        scores = np.full((len(state), len(EXPRESSIONS)), np.nan, np.float32)
        scores[state >= 0] = self.expression[state[state >= 0]]
        return replace(timeline, scores={**timeline.scores, SOUND.name: {TASK: scores}})


class AudioModel:
    """wav2vec 2.0 with a head on it.

    Args:
        head: trained on the states of the same weights.
        model: their network.

    Attributes:
        card: what is known of it.
        provenance: the network's, and the head's under "head".

    Raises:
        ModelUnavailable: the weights are not those on whose states the head was trained.
    """

    card = SOUND

    def __init__(self, head: Head, model: Wav2Vec2) -> None:
        weights = model.provenance["sha256"]
        if head.base.sha256 not in (None, weights) or head.base.embedding_size != model.size:
            raise ModelUnavailable(
                f"--audio-head {head.name}: it was trained on states of {head.base.embedding_size} numbers, from "
                f"weights of SHA-256 {head.base.sha256}, and these have {model.size} and {weights}; give those with "
                "--audio-weights."
            )
        self._head, self._model = head, model
        self.provenance: dict[str, Any] = {**model.provenance, "head": head.provenance}

    def __repr__(self) -> str:
        return f"Listener({self._head!r} on {self._model!r})"

    def __call__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> AudioScores:
        """Listen to all of a recording.

        Args:
            progress: is told how many states are done, and how many there are.

        Raises:
            InputError: it has no sound that can be decoded.
        """
        sound = AudioFile(path)
        survey = sound.survey()
        total = self._model.count(survey.samples)
        times, found, done = [], [], 0
        for states in self._model.states(sound, survey):
            times.append(states.time)
            found.append(self._head(states.embeddings, None)[TASK].astype(np.float32))
            done += len(states.time)
            if progress is not None:
                progress(done, total)
        return AudioScores(np.concatenate(times), np.concatenate(found))


def check(head: Head) -> Head:
    """The head, if it may listen.

    Raises:
        UsageError: it stands on another model, or tells no expressions.
    """
    if head.base.model != SOUND.name:
        raise UsageError(f"--audio-head {head.name}: it stands on {head.base.model}, not on sound; give it as --head.")
    if TASK not in head.parts:
        raise UsageError(f"--audio-head {head.name}: it tells {', '.join(head.parts)} and no expression.")
    return head
