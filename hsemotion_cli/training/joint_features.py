"""Features of faces, features of sound, and annotations -> rows to train a joint head on.

Each labelled face gets the hidden state of the sound that is nearest in time. The time of a face is that of its frame:
features of a video have it; numbered crops have the frame rate that the features of the sound name. A face whose video
has no sound, or none near that time, stays, as one without sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.ground_truth import recording
from ..formats import features
from ..media.audio import nearest
from ..models.heads import Base, SoundBase
from ..runtime.row_file import RowFile
from .features import IN_MEMORY, Rows, RowStore, Truth, digest_of, frame_numbers
from .features import gather as gather_faces


@dataclass(frozen=True, slots=True, eq=False)
class JointRows:
    """n labelled faces with the sound of their moments.

    Attributes:
        rows: the faces.
        sound: (n, s) hidden states, zeros where nothing is heard; in a file if they are many.
        heard: (n,) whether there is a state.
    """

    rows: Rows
    sound: NDArray[np.floating] | RowFile
    heard: NDArray[np.bool_]

    @property
    def video(self) -> NDArray[np.str_]:
        """(n,) name of the video of each row."""
        return self.rows.video

    @property
    def frame(self) -> NDArray[np.int64]:
        """(n,) frame number of each row."""
        return self.rows.frame

    def known(self, task: str) -> NDArray[np.int64]:
        """Indices of the rows with a label for a task."""
        return self.rows.known(task)

    def digest(self) -> str:
        """SHA-256 of all rows and their sound."""
        return digest_of([np.frombuffer(self.rows.digest().encode(), np.uint8), self.sound, self.heard])


def gather(
    files: Mapping[str, Path],
    sounds: Mapping[str, Path],
    truths: Mapping[str, Truth],
    *,
    embeddings: bool = True,
    in_memory: int = IN_MEMORY,
) -> tuple[Base, dict[str, JointRows]]:
    """Match features of faces with annotations, and with features of sound.

    Args:
        files: video -> file of its faces.
        sounds: video, or recording of two people -> file of its sound.

    The others are as for ``features.gather``.

    Returns:
        the model of the faces with that of the sound, and part -> its rows.

    Raises:
        InputError: as ``features.gather``; faces where sound should be or the other way round; sound of different
            networks; no row of a part is heard.
    """
    for file in files.values():
        if features.is_audio(features.read_keys(file)[1]):
            raise InputError(f"{file}: features of sound; give them with --sound, and those of faces before it.")
    base, parts = gather_faces(files, truths, embeddings=embeddings, in_memory=in_memory)
    network: SoundBase | None = None
    found = {}
    for part, rows in parts.items():
        store, heard = RowStore(), np.zeros(len(rows.frame), bool)
        for video in dict.fromkeys(rows.video.tolist()):
            own = np.flatnonzero(rows.video == video)
            path = sounds.get(video) or sounds.get(recording(video))
            if path is not None:
                network = _same_network(network, path)
                states, heard[own] = _states(path, files[video], rows.frame[own])
                store.add(np.where(heard[own, None], states, 0).astype(states.dtype))
            else:
                store.add_empty(len(own))
            if store.bytes > in_memory:
                store.to_file()
        if network is None or not heard.any():
            raise InputError(
                f"none of the {part} rows has sound: files of --sound are matched by the name of the video, and their "
                "states by time."
            )
        found[part] = JointRows(rows, store.result(), heard)
    return replace(base, sound=network), found


def _same_network(known: SoundBase | None, path: Path) -> SoundBase:
    """The network that made features of sound, which must be the one of all others."""
    _, facts = features.read_keys(path)
    if not features.is_audio(facts):
        raise InputError(f"{path}: features of faces; --sound is for those that extract --audio writes.")
    weights = facts.get("weights") or {}
    own = SoundBase(str(facts.get("model")), weights.get("sha256"), features.embedding_size(path))
    if known is not None and own != known:
        raise InputError(
            f"{path}: extracted with {own}, but the files before it with {known}; extract all with the same weights."
        )
    return own


def _states(sound: Path, faces: Path, frames: NDArray[np.int64]) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """(n, s) states nearest to some annotated frames, undefined where none is near, and (n,) whether one is."""
    columns, facts = features.read(sound)
    place = nearest(columns["time"], _times(faces, facts, sound, frames))
    return columns["embedding"][np.maximum(place, 0)], place >= 0


def _times(faces: Path, sound_facts: Mapping[str, Any], sound: Path, frames: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n,) seconds of annotated frames on the clock of the video."""
    keys, facts = features.read_keys(faces)
    if (facts.get("source") or {}).get("kind") == "video":
        numbers, first = np.unique(frame_numbers(keys, facts), return_index=True)
        return np.asarray(keys["time"][first][np.searchsorted(numbers, frames)], np.float64)
    video = sound_facts.get("video") or {}
    if not video.get("fps"):
        raise InputError(f"{sound}: the frame rate of its video is unknown; extract it again with --video-fps.")
    return np.asarray((video.get("start") or 0.0) + (frames - 1) / video["fps"])
