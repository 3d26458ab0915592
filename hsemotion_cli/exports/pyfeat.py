"""A table -> a Fex CSV of py-feat, with the column names of its version 2 detector.

Action units are probabilities there as here. ``approx_time`` is minutes and seconds, as py-feat writes it, so the exact
times stand in a column ``timestamp`` at the end, which Fex keeps. Frames without a face have a row with empty cells.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from ..tasks import ACTION_UNITS
from .delimited import Cell, write_rows
from .fields import radians_of, rounded, rows_of, value_of
from .source_table import Row, SourceTable, lost

_BOX = {"FaceRectX": "x", "FaceRectY": "y", "FaceRectWidth": "w", "FaceRectHeight": "h", "FaceScore": "det_score"}
_POSE = {"Pitch": "head_pitch", "Roll": "head_roll", "Yaw": "head_yaw"}
_GAZE = {"gaze_pitch": "gaze_pitch", "gaze_yaw": "gaze_yaw"}
_EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", "contempt")


def write(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one table; returns what the format cannot hold, in sentences."""
    fields = _fields(recording)
    write_rows(file, list(fields), rows_of(recording, fields))
    held = {"frame", "time", "face_id", "face_detected", "person", *_BOX.values(), *_POSE.values(), *_GAZE.values()}
    held |= {f"{unit}_p" for unit in ACTION_UNITS} | {f"p_{name}" for name in _EMOTIONS} | {"valence", "arousal"}
    sentences = lost(recording, held)
    if "Pitch" in fields:
        sentences.append("Pitch, Roll, Yaw and gaze are radians.")
    return [*sentences, "absent: landmarks, and the action units that the table does not have."]


def _fields(recording: SourceTable) -> dict[str, Callable[[Row], Cell]]:
    """py-feat's columns that this table can fill, in the order of its detector."""
    fields: dict[str, Callable[[Row], Cell]] = {name: value_of(ours) for name, ours in _BOX.items()}
    fields |= {name: radians_of(ours) for name, ours in _POSE.items() if ours in recording.filled}
    fields |= {unit: value_of(f"{unit}_p") for unit in ACTION_UNITS if f"{unit}_p" in recording.filled}
    fields |= {name: value_of(f"p_{name}") for name in _EMOTIONS if f"p_{name}" in recording.filled}
    fields |= {name: value_of(name) for name in ("valence", "arousal") if name in recording.filled}
    fields |= {name: radians_of(ours) for name, ours in _GAZE.items() if ours in recording.filled}
    clock, source = recording.clock, recording.source or recording.name
    fields["input"] = lambda row: source
    fields["frame"] = value_of("frame")
    fields["approx_time"] = lambda row: _minutes(clock.media(row["time"]))
    fields["Identity"] = lambda row: None if row["face_id"] is None else recording.person(row)
    fields["timestamp"] = lambda row: rounded(clock.seconds(row["time"]))
    return fields


def _minutes(seconds: float) -> str:
    """Minutes and whole seconds: "01:07"."""
    minutes, rest = divmod(max(int(seconds), 0), 60)
    return f"{minutes:02d}:{rest:02d}"
