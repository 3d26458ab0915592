"""A table -> a Fex CSV of py-feat, with the column names that ``feat.utils.io.read_feat`` (py-feat 2.1) looks up.

``read_feat`` takes a file with valence and arousal for one of ``Detectorv2``, whose emotions are called Neutral, Happy,
Sad, ..., and any other for one of ``Detectorv1``, whose emotions are called neutral, happiness, sadness, ...; so the
names depend on whether the table has valence and arousal. Source: ``EMOTION_COLUMNS_V2``, ``FEAT_EMOTION_COLUMNS`` and
the other lists of columns in py-feat 2.1.5 (``feat/multitask/__init__.py``, ``feat/utils/__init__.py``).

Action units are probabilities there as here. Angles are radians; up, the subject's right, and tilted to the subject's
right are positive there as here. ``approx_time`` is minutes and seconds, as py-feat writes it, so the exact times stand
in a column ``timestamp`` at the end, which Fex keeps. Frames without a face have a row with empty cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import IO

from ..tasks import ACTION_UNITS
from .delimited import Cell, write_rows
from .fields import radians_of, rounded, rows_of, value_of
from .source_table import Row, SourceTable, lost

_BOX = {"FaceRectX": "x", "FaceRectY": "y", "FaceRectWidth": "w", "FaceRectHeight": "h", "FaceScore": "det_score"}
_POSE = {"Pitch": "head_pitch", "Roll": "head_roll", "Yaw": "head_yaw"}
_TRANSLATION = ("X", "Y", "Z")  # of the head: ``Fex.poses`` fails without them
_GAZE = {"gaze_pitch": "gaze_pitch", "gaze_yaw": "gaze_yaw"}
_EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")
"""Names and order of version 1, with contempt at the end, which py-feat does not have."""

_EMOTIONS_2 = {
    "Neutral": "neutral", "Happy": "happiness", "Sad": "sadness", "Surprise": "surprise", "Fear": "fear",
    "Disgust": "disgust", "Anger": "anger", "Contempt": "contempt",
}  # fmt: skip
"""Version 2 -> ours, in its order."""


def write(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one table; returns what the format cannot hold, in sentences."""
    fields = _fields(recording)
    write_rows(file, list(fields), rows_of(recording, fields))
    held = {"frame", "time", "face_id", "face_detected", "person", *_BOX.values(), *_POSE.values(), *_GAZE.values()}
    held |= {f"{unit}_p" for unit in ACTION_UNITS} | {f"p_{name}" for name in _EMOTIONS} | {"valence", "arousal"}
    sentences = lost(recording, held)
    if "Pitch" in fields:
        sentences.append("Pitch, Roll, Yaw and gaze are radians; gaze counts from the camera; X, Y and Z are empty.")
    return [*sentences, "absent: landmarks, and the action units that the table does not have."]


def _fields(recording: SourceTable) -> dict[str, Callable[[Row], Cell]]:
    """py-feat's columns that this table can fill, in the order of its detector."""
    fields: dict[str, Callable[[Row], Cell]] = {name: value_of(ours) for name, ours in _BOX.items()}
    fields |= {name: radians_of(ours) for name, ours in _POSE.items() if ours in recording.filled}
    if set(_POSE) <= fields.keys():
        fields |= dict.fromkeys(_TRANSLATION, lambda row: None)
    fields |= {unit: value_of(f"{unit}_p") for unit in ACTION_UNITS if f"{unit}_p" in recording.filled}
    emotions = _EMOTIONS_2 if {"valence", "arousal"} <= recording.filled else {name: name for name in _EMOTIONS}
    fields |= {name: value_of(f"p_{ours}") for name, ours in emotions.items() if f"p_{ours}" in recording.filled}
    fields |= {name: value_of(name) for name in ("valence", "arousal") if name in recording.filled}
    fields |= {name: radians_of(ours) for name, ours in _GAZE.items() if ours in recording.filled}
    if set(_GAZE) <= fields.keys():
        fields["gaze_angle"] = _gaze_angle
    clock, source = recording.clock, recording.source or recording.name
    fields["input"] = lambda row: source
    fields["frame"] = value_of("frame")
    fields["approx_time"] = lambda row: _minutes(clock.media(row["time"]))
    fields["Identity"] = lambda row: None if row["face_id"] is None else recording.person(row)
    fields["timestamp"] = lambda row: rounded(clock.seconds(row["time"]))
    return fields


def _gaze_angle(row: Row) -> Cell:
    """Angle between the line of sight and the direction to the camera, in radians."""
    if row["gaze_pitch"] is None or row["gaze_yaw"] is None:
        return None
    pitch, yaw = math.radians(row["gaze_pitch"]), math.radians(row["gaze_yaw"])
    return rounded(math.acos(min(max(math.cos(pitch) * math.cos(yaw), -1.0), 1.0)))


def _minutes(seconds: float) -> str:
    """Minutes and whole seconds: "01:07"."""
    minutes, rest = divmod(max(int(seconds), 0), 60)
    return f"{minutes:02d}:{rest:02d}"
