"""Features of faces and of audio, and a head for each -> six intensities of every clip in a list.

Late fusion: each intensity is a weighted mean of the two, audio having the larger weight (HSEmotion, ABAW-6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, UsageError
from ..evaluation.ground_truth import clip_key
from ..formats import features
from ..models.heads import CLIP_TASK, Head, read
from ..reporting.wording import few
from ..tasks import EMOTIONAL_MIMICRY
from .lists import FrameList

Floats = NDArray[np.float64]

AUDIO_WEIGHTS = {name: 0.6 if name == "joy" else 0.9 for name in EMOTIONAL_MIMICRY}
"""Weight of the audio in the mean (HSEmotion, ABAW-6); faces have the rest."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipPredictions:
    """The predictions for the clips of a list.

    Attributes:
        values: (n, 6) in [0, 1]; rows in the order of the list, columns in that of ``tasks.EMOTIONAL_MIMICRY``.
        both: number of clips predicted from faces and audio.
        faces, sound: names of the clips predicted from only one of the two.
    """

    values: Floats
    both: int
    faces: tuple[str, ...]
    sound: tuple[str, ...]


def clip_head(path: Path, option: str) -> Head:
    """Read a head for clips.

    Raises:
        ModelUnavailable: it is missing or not a head.
        UsageError: it is a head for faces.
    """
    head = read(path)
    if CLIP_TASK not in head.parts:
        raise UsageError(f"{option} {path}: a head for single faces; give one made by train heads --kind emi.")
    return head


def predict_clips(head: Head, files: Mapping[str, Path], clips: Iterable[str]) -> dict[str, Floats]:
    """``ground_truth.clip_key`` of a clip -> its (6,) intensities, for those of ``clips`` that have features.

    Args:
        head: as ``clip_head`` returns it.
        files: name of a clip -> its file of features; 00012 and 12 are the same clip.

    Raises:
        InputError: two files are of the same clip, a file is damaged, or its features are not from the head's model.
    """
    found: dict[str, Path] = {}
    for name, path in files.items():
        other = found.setdefault(clip_key(name), path)
        if other != path:
            raise InputError(f"{other} and {path} are both of clip {clip_key(name)}; give only one of them.")
    wanted = {clip_key(clip) for clip in clips}
    return {key: _predict_clip(head, path) for key, path in found.items() if key in wanted}


def fuse(
    listed: FrameList,
    faces: Mapping[str, Floats],
    sound: Mapping[str, Floats] | None = None,
    weights: Mapping[str, float] = AUDIO_WEIGHTS,
) -> ClipPredictions:
    """Weighted means for all clips of a list; a clip with only one of the two uses that one alone.

    Args:
        listed: of emi.
        faces, sound: as ``predict_clips`` returns them.
        weights: intensity -> weight of the audio, in [0, 1].

    Raises:
        InputError: a clip has neither.
    """
    sound = sound or {}
    share = np.array([weights[name] for name in EMOTIONAL_MIMICRY])
    keys = [clip_key(name) for name in listed.names]
    lost = [name for name, key in zip(listed.names, keys, strict=True) if key not in faces and key not in sound]
    if lost:
        raise InputError(
            f"{listed.path}: no predictions for {len(lost):,} of its {len(keys):,} clips: {few(lost)}; "
            "each needs features of its faces or, if no face is found in it, of its audio."
        )
    values = np.empty((len(keys), len(share)))
    alone: dict[bool, list[str]] = {True: [], False: []}
    for k, (name, key) in enumerate(zip(listed.names, keys, strict=True)):
        if key in faces and key in sound:
            values[k] = (1 - share) * faces[key] + share * sound[key]
        else:
            values[k] = faces[key] if key in faces else sound[key]
            alone[key in faces].append(name)
    return ClipPredictions(
        values, len(keys) - len(alone[True]) - len(alone[False]), tuple(alone[True]), tuple(alone[False])
    )


def parse_weights(texts: Sequence[str]) -> dict[str, float]:
    """``--audio-weight``: 0.9 for all six, JOY=0.6 for one; others are as in ``AUDIO_WEIGHTS``.

    Raises:
        UsageError: not a number from 0 to 1, or an unknown intensity.
    """
    weights = dict(AUDIO_WEIGHTS)
    for text in sorted(texts, key=lambda text: "=" in text):
        name, equals, number = text.rpartition("=")
        name = name.strip().lower().replace(" ", "_")
        if equals and name not in weights:
            raise UsageError(f"--audio-weight {text}: choose from {', '.join(EMOTIONAL_MIMICRY)}.")
        try:
            weight = float(number)
        except ValueError:
            weight = np.nan
        if not 0 <= weight <= 1:
            raise UsageError(f"--audio-weight {text}: give a number from 0 to 1, or one for an intensity, JOY=0.6.")
        weights |= {name: weight} if equals else dict.fromkeys(weights, weight)
    return weights


def _predict_clip(head: Head, path: Path) -> Floats:
    columns, facts = features.read(path)
    base = head.base
    model, weights = facts.get("model"), (facts.get("weights") or {}).get("sha256")
    if model != base.model:
        raise InputError(
            f"{path}: features of {model}, but {head.name} needs those of {base.model}; extract with that model."
        )
    if base.sha256 is not None and weights != base.sha256:
        raise InputError(
            f"{path}: extracted with weights of SHA-256 {weights}, but {head.name} was trained on those of "
            f"{base.sha256}; extract with --model {base.model}=FILE."
        )
    try:
        values = head.clip(columns["embedding"], columns.get("outputs"))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not what {head.name} was trained on ({error}).") from error
    if not np.isfinite(values).all():
        raise InputError(f"{path}: its features are not all finite; extract it again.")
    return values
