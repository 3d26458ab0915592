"""Joint heads: each face's embeddings and the hidden state of the sound that is nearest in time are one input.

The sound is heard before the first frame; its states wait in a file, so a long recording needs no more memory than a
short one. A recording without sound has no states, and its faces are scored with the input that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading
from ..errors import InputError
from ..media.audio import AudioFile, Nearest
from ..runtime.row_file import RowFile
from .audio import check_states
from .ensemble import average
from .heads import Head
from .predict import kept_of
from .wav2vec import Wav2Vec2


class Hearing:
    """The hidden states of one recording's sound.

    Args:
        size: length of a state.

    Attributes:
        note: why nothing is heard, as a sentence; "" if there is sound.
    """

    def __init__(self, size: int) -> None:
        self.note = ""
        self._states = RowFile(size, np.dtype(np.float32))
        self._times: list[NDArray[np.float64]] = []
        self._nearest: Nearest | None = None

    def add(self, time: NDArray[np.float64], states: NDArray[np.float32]) -> None:
        """Add states (n, size) at times (n,)."""
        self._times.append(time)
        self._states.append(states)
        self._nearest = None

    def at(self, time: float) -> NDArray[np.float32]:
        """(size,) the state nearest to a time in seconds; nan where none is near (``media.audio.REACH``)."""
        if self._nearest is None:
            self._nearest = Nearest(np.concatenate([np.empty(0), *self._times]))
        place = self._nearest(np.array([time]))
        silent = np.full(self._states.shape[1], np.nan, np.float32)
        return silent if place[0] < 0 else np.asarray(self._states[place][0], np.float32)


class Listener:
    """Hears recordings for joint heads.

    Args:
        heads: all of them.
        model: the network for the sound.

    Attributes:
        provenance: the network's.

    Raises:
        ModelUnavailable: a head was trained on states of other weights.
    """

    def __init__(self, heads: Sequence[Head], model: Wav2Vec2) -> None:
        for head in heads:
            base = head.base.sound
            assert base is not None
            check_states(f"--head {head.name}", base.model, base.sha256, base.size, model)
        self._model = model
        self.provenance: dict[str, Any] = dict(model.provenance)

    def __call__(self, path: Path, progress: Callable[[int, int], None] | None = None) -> Hearing:
        """Hear a whole recording; one without sound that can be used is silent, and the note says why.

        Args:
            progress: called with the hidden states done and all of them.
        """
        hearing, done = Hearing(self._model.size), 0
        try:
            sound = AudioFile(path)
            survey = sound.survey()
            total = self._model.count(survey.samples)
            for states in self._model.states(sound, survey):
                hearing.add(states.time, states.embeddings)
                done += len(states.time)
                if progress is not None:
                    progress(done, total)
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ").removesuffix(".")
            silent = Hearing(self._model.size)
            silent.note = f"without sound ({reason}): the joint head predicted from the faces alone."
            return silent
        return hearing


def scored(reading: Reading, heads: Mapping[str, Sequence[Head]], hearing: Hearing) -> Reading:
    """A reading with the scores of joint heads in place of the models' own.

    Args:
        heads: model -> its joint head, or the members of an ensemble.
    """
    found = dict(reading.scores)
    state = hearing.at(reading.time)
    for model, members in heads.items():
        scores = found[model]
        assert scores.embeddings is not None  # checked when the head was loaded
        sound = np.tile(state, (len(reading.faces), 1))
        tasks = average(members, scores.embeddings, scores.outputs, sound)
        found[model] = replace(scores, tasks={**scores.tasks, **tasks, **kept_of(scores, tasks)})
    return replace(reading, scores=found)
