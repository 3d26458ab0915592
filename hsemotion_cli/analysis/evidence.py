"""What stands for each label of a person, frame by frame: the curves that segments are found in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..postprocess.offsets import shifted
from ..postprocess.recipe import Smoothing
from ..postprocess.smoothing import smooth_run
from ..tasks import ACTION_UNITS, EXPRESSIONS, VALENCE_AROUSAL
from .intervals import hysteresis
from .recordings import P_EXPRESSION, P_UNIT, Floats, Recording, Track
from .rules import QUADRANTS, Rule, Rules

GAZE = ("gaze_pitch", "gaze_yaw")
BLINK = "blink"

COLUMNS = (*P_EXPRESSION, *VALENCE_AROUSAL, *P_UNIT, BLINK, *GAZE)
"""Of a table, those that evidence is made of; tables of earlier versions lack some."""


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The curve of one label of one person, over n frames.

    Attributes:
        person, kind, label: as in ``segments.Segment``.
        rule: by which segments are found in it.
        frame: (n,) positions in the recording's frames.
        row: (n,) rows of the table, or None where there are none.
        value: (n,) evidence, nan where there is none.
        detected: (n,) whether the face was detected in the frame (for no_face: whether the frame was analysed).
        on: (n,) whether the label is there, where the curve alone does not decide it; None where it does.
    """

    person: str
    kind: str
    label: str
    rule: Rule
    frame: NDArray[np.int64]
    row: NDArray[np.int64] | None
    value: Floats
    detected: NDArray[np.bool_]
    on: NDArray[np.bool_] | None = None


def columns(rules: Rules) -> tuple[str, ...]:
    """The columns of a table that the wanted kinds need."""
    of_kind = {
        "expression": P_EXPRESSION,
        "quadrant": VALENCE_AROUSAL,
        "action_unit": (*P_UNIT, *map(_presence, P_UNIT)),
        "smile": ("AU06_p", "AU12_p", "AU06_c", "AU12_c"),
        "blink": (BLINK,),
        "gaze_away": GAZE,
        "no_face": (),
    }
    return tuple(dict.fromkeys(name for kind in rules.kinds for name in of_kind[kind]))


def evidence(recording: Recording, rules: Rules) -> Iterator[Evidence]:
    """The curves of a recording, by person, kind and label; labels that its table says nothing about are left out."""
    for track in recording.tracks:
        for kind in rules.kinds:
            for curve in _CURVES[kind](recording, track, rules):
                if not np.isnan(curve.value).all():
                    yield curve
    if not recording.tracks and "no_face" in rules.kinds:
        yield _absence(recording, "", np.ones(len(recording.time)), rules)


def scores(recording: Recording, track: Track, names: Sequence[str], task: str, rules: Rules) -> Floats:
    """(n, names) scores of a track, with the offsets of the rules unless its table has some, and smoothed.

    Args:
        names: columns of the table; all of the task if it is one that offsets apply to.
        task: of ``tasks.TASKS``.
    """
    values = track.matrix(names)
    if rules.offsets and not (recording.recipe is not None and recording.recipe.offsets):
        values = shifted(values, task, rules.offsets)
    return smoothed(recording, track, values, task, rules.filters.get(task, rules.smoothing))


def smoothed(recording: Recording, track: Track, values: Floats, task: str, smoothing: Smoothing) -> Floats:
    """(n, c) values of a track, smoothed unless its table is; with the same filter and gap rule as ``smooth``.

    Only frames with a detected face count; interpolated rows are then interpolated again from the result.

    Args:
        task: of ``tasks.TASKS``, whose filter in the table's recipe decides whether it is smoothed already.
    """
    done = recording.recipe is not None and task in recording.recipe.smoothing
    if done or smoothing.kernel == "none" or not len(values):
        return values
    result = values.copy()
    time = recording.time[track.frame]
    gap = recording.recipe.max_gap if recording.recipe is not None else 0.5
    seen = np.flatnonzero(track.detected)
    position = track.frame.astype(np.float64) if smoothing.unit == "frames" else time
    distance = np.diff(time[seen])
    # A nanosecond allows for the rounding of time stamps, as in postprocess.smoothing.
    breaks = np.flatnonzero((distance > gap + recording.step + 1e-9) | (distance < 0)) + 1
    for rows in np.split(seen, breaks):
        if len(rows):
            result[rows] = smooth_run(position[rows], values[rows], smoothing)
    between = np.flatnonzero(~track.detected)
    if len(between) and len(seen):
        for k in range(values.shape[1]):
            result[between, k] = np.interp(time[between], time[seen], result[seen, k])
    return result


def _presence(name: str) -> str:
    """ "AU12_c" for "AU12_p"."""
    return f"{name[:-1]}c"


def _unit_values(recording: Recording, track: Track, rules: Rules, names: tuple[str, ...]) -> Floats:
    """Probabilities of action units; presence, 0 or 1, of those for which an imported table has nothing else."""
    values = track.matrix(names)
    for k, name in enumerate(names):
        if np.isnan(values[:, k]).all():
            values[:, k] = track.matrix((_presence(name),))[:, 0]
    return smoothed(recording, track, values, "action_units", rules.filters.get("action_units", rules.smoothing))


def _curve(track: Track, kind: str, label: str, rule: Rule, value: Floats) -> Evidence:
    return Evidence(track.person, kind, label, rule, track.frame, track.row, value, track.detected)


def _expressions(recording: Recording, track: Track, rules: Rules) -> Iterator[Evidence]:
    """The probability of each class; a class ends where another one begins."""
    values = scores(recording, track, P_EXPRESSION, "expression", rules)
    time, length = recording.time[track.frame], recording.length[track.frame]
    curves, on = [], []
    for k, name in enumerate(EXPRESSIONS):
        curve = _curve(track, "expression", name, rules.of("expression", name, recording.recipe), values[:, k])
        curves.append(curve)
        on.append(hysteresis(time, length, curve.value, curve.rule))
    # Below half of the probability two classes may be on at once; the more probable one counts, the first of equals.
    best = np.where(np.stack(on, axis=1), values, -np.inf).argmax(axis=1)
    yield from (replace(curve, on=on[k] & (best == k)) for k, curve in enumerate(curves))


def _quadrants(recording: Recording, track: Track, rules: Rules) -> Iterator[Evidence]:
    """How far valence and arousal both are on the quadrant's side of their axes."""
    values = scores(recording, track, VALENCE_AROUSAL, "valence_arousal", rules)
    for name, signs in QUADRANTS.items():
        rule = rules.of("quadrant", name, recording.recipe)
        yield _curve(track, "quadrant", name, rule, (values * np.array(signs)).min(axis=1))


def _units(recording: Recording, track: Track, rules: Rules) -> Iterator[Evidence]:
    values = _unit_values(recording, track, rules, P_UNIT)
    for k, name in enumerate(ACTION_UNITS):
        yield _curve(track, "action_unit", name, rules.of("action_unit", name, recording.recipe), values[:, k])


def _smiles(recording: Recording, track: Track, rules: Rules) -> Iterator[Evidence]:
    """smile: AU12 is there. duchenne: AU06 and AU12 are, and the lower of their probabilities is the evidence."""
    values = _unit_values(recording, track, rules, ("AU06_p", "AU12_p"))
    time, length = recording.time[track.frame], recording.length[track.frame]
    on = [
        hysteresis(time, length, values[:, k], rules.of("action_unit", unit, recording.recipe))
        for k, unit in enumerate(("AU06", "AU12"))
    ]
    for name, value, present in (("smile", values[:, 1], on[1]), ("duchenne", values.min(axis=1), on[0] & on[1])):
        yield replace(_curve(track, "smile", name, rules.of("smile", name, recording.recipe), value), on=present)


def _blinks(recording: Recording, track: Track, rules: Rules) -> Iterator[Evidence]:
    yield _curve(track, "blink", "blink", rules.of("blink", "blink", recording.recipe), track.matrix((BLINK,))[:, 0])


def _gaze(recording: Recording, track: Track, rules: Rules) -> Iterator[Evidence]:
    """Degrees between the gaze and the camera: arccos(cos pitch cos yaw)."""
    pitch, yaw = np.radians(track.matrix(GAZE)).T
    angle = np.degrees(np.arccos(np.clip(np.cos(pitch) * np.cos(yaw), -1, 1)))
    yield _curve(track, "gaze_away", "gaze_away", rules.of("gaze_away", "gaze_away", recording.recipe), angle)


def _absences(recording: Recording, track: Track, rules: Rules) -> Iterator[Evidence]:
    """1 in the analysed frames without a row of the person, else 0."""
    away = np.ones(len(recording.time))
    away[track.frame] = 0.0
    yield _absence(recording, track.person, away, rules)


def _absence(recording: Recording, person: str, away: Floats, rules: Rules) -> Evidence:
    frames, known = np.arange(len(away)), np.ones(len(away), bool)
    rule = rules.of("no_face", "no_face", recording.recipe)
    return Evidence(person, "no_face", "no_face", rule, frames, None, away, known)


_CURVES = {
    "expression": _expressions,
    "quadrant": _quadrants,
    "action_unit": _units,
    "smile": _smiles,
    "blink": _blinks,
    "gaze_away": _gaze,
    "no_face": _absences,
}
