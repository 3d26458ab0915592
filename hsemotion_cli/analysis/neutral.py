"""A span in which a person shows nothing -> offsets that make it neutral, without any coding."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from ..tasks import EXPRESSIONS, VALENCE_AROUSAL
from .recordings import P_EXPRESSION, Recording, Track, called

NEUTRAL = 0.8
"""Probability of neutral that a face at rest shall have; the other classes share the rest evenly."""

LARGEST = 3.0
"""Size of an offset at most: a factor of 20."""

LEAST_SECONDS = 1.0
"""Of detected face in the span."""


def neutral_offsets(recording: Recording, track: Track, span: tuple[float, float]) -> dict[str, float]:
    """Offsets of log-probabilities, valence and arousal (see ``postprocess.offsets``).

    With the geometric means g_c of the probabilities in the span, scaled to sum 1, and r_c = 0.8 for neutral and an
    equal part of 0.2 for each other class: neutral is raised by log(r / g), and every other class lowered by it, where
    that is not the other way round, at most by ``LARGEST``. Valence and arousal lose their medians in the span.

    Raises:
        InputError: the face was not seen there for ``LEAST_SECONDS``.
    """
    time = recording.time[track.frame]
    rows = track.detected & (time >= span[0]) & (time < span[1])
    seconds = float(recording.length[track.frame][rows].sum())
    if seconds < LEAST_SECONDS - 1e-9:
        raise InputError(
            f"{recording.path}: {called(track.person)} is seen for {seconds:.2f} s from {span[0]:g} to {span[1]:g} s, "
            f"but --neutral needs at least {LEAST_SECONDS:g} s; choose a longer span between {recording.start:g} and "
            f"{recording.end:g} s."
        )
    p = track.matrix(P_EXPRESSION)[rows]
    known = np.asarray(~np.isnan(p).all(axis=0))
    found: dict[str, float] = {}
    if known[0] and known.sum() > 1:
        level = np.exp(np.nanmean(np.log(np.clip(p[:, known], 1e-6, 1)), axis=0))
        wanted = np.full(known.sum(), (1 - NEUTRAL) / (known.sum() - 1))
        wanted[0] = NEUTRAL
        offset = np.log(wanted / (level / level.sum()))
        offset[0], offset[1:] = np.clip(offset[0], 0, LARGEST), np.clip(offset[1:], -LARGEST, 0)
        names = [name for name, there in zip(EXPRESSIONS, known, strict=True) if there]
        found = {name: float(value) for name, value in zip(names, offset, strict=True)}
    for name in VALENCE_AROUSAL:
        values = track.values[name][rows]
        if not np.isnan(values).all():
            found[name] = -float(np.nanmedian(values))
    return {name: round(value, 4) for name, value in found.items() if round(value, 4)}
