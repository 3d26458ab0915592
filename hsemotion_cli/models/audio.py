"""Audio as the second model: a head on wav2vec 2.0 predicts expressions over the time of a recording.

All faces of a frame get the same audio scores. They become part of the raw scores, so blending, smoothing and later
stages treat them like those of any other model.
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
    """The expression scores of a recording.

    Attributes:
        time: (n,) centre of each hidden state, in seconds.
        expression: (n, 9) probabilities in the order of ``tasks.EXPRESSIONS``; nan for classes that the head lacks.
    """

    time: NDArray[np.float64]
    expression: NDArray[np.float32]

    def added_to(self, timeline: Timeline) -> Timeline:
        """The timeline with audio as an additional model: a row for each face, nan where there is no audio."""
        state = nearest(self.time, timeline.time)[timeline.row]
        scores = np.full((len(state), len(EXPRESSIONS)), np.nan, np.float32)
        scores[state >= 0] = self.expression[state[state >= 0]]
        return replace(timeline, scores={**timeline.scores, SOUND.name: {TASK: scores}})


class AudioModel:
    """wav2vec 2.0 with a head.

    Args:
        head: trained on hidden states of the same weights.
        model: the network.

    Attributes:
        card: its model card.
        provenance: the network's, and the head's under "head".

    Raises:
        ModelUnavailable: the head was trained on hidden states of other weights.
    """

    card = SOUND

    def __init__(self, head: Head, model: Wav2Vec2) -> None:
        weights = model.provenance["sha256"]
        if head.base.sha256 not in (None, weights) or head.base.embedding_size != model.size:
            raise ModelUnavailable(
                f"--audio-head {head.name}: it was trained on states of {head.base.embedding_size} numbers, from "
                f"weights of SHA-256 {head.base.sha256}, but these have {model.size} and {weights}; give the former "
                "with --audio-weights."
            )
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
            found.append(self._head(states.embeddings, None)[TASK].astype(np.float32))
            done += len(states.time)
            if progress is not None:
                progress(done, total)
        return AudioScores(np.concatenate(times), np.concatenate(found))


def check(head: Head) -> Head:
    """Return the head if it is an audio head for expressions.

    Raises:
        UsageError: it is for another model, or does not predict expressions.
    """
    if head.base.model != SOUND.name:
        raise UsageError(
            f"--audio-head {head.name}: it is a head for {head.base.model}, not for audio; give it as --head."
        )
    if head.temporal:
        raise UsageError(f"--audio-head {head.name}: it is a temporal head, which is for faces.")
    if TASK not in head.parts:
        raise UsageError(f"--audio-head {head.name}: it predicts {', '.join(head.parts)}, not expressions.")
    return head
