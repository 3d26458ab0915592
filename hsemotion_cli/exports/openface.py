"""A table -> the CSV of OpenFace 2 (FeatureExtraction, FaceLandmarkVidMulti), for scripts that were written for it.

Columns and their order are those of OpenFace's page "Output Format". Frames count from 1. ``AUxx_c`` is presence, in
both tables. ``AUxx_r`` is an intensity from 0 to 5; a probability is not one, so these columns are absent unless the
table has intensities. Columns that the table has no values for are absent as well, never filled with zeros.

Angles are radians in the camera's frame (x right, y down, z forward), with rotations by the right-hand rule: pitch is
positive downwards, yaw is positive towards the subject's right, roll towards the subject's left shoulder, and
``gaze_angle_x`` is positive towards the subject's left, ``gaze_angle_y`` downwards.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from .delimited import Cell, write_rows
from .fields import radians_of, rounded, rows_of, value_of
from .source_table import Row, SourceTable, lost

UNITS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26, 28, 45)
"""Action units of OpenFace's ``_c`` columns; ``_r`` has the same without 28."""

_ANGLES = {
    "gaze_angle_x": ("gaze_yaw", -1.0),
    "gaze_angle_y": ("gaze_pitch", -1.0),
    "pose_Rx": ("head_pitch", -1.0),
    "pose_Ry": ("head_yaw", 1.0),
    "pose_Rz": ("head_roll", -1.0),
}
"""OpenFace's column -> ours in degrees, and the sign between them."""

_IDENTITY = ("frame", "time", "face_id", "face_detected", "det_score")


def write(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one table; returns what the format cannot hold, in sentences."""
    fields = _fields(recording)
    write_rows(file, list(fields), rows_of(recording, fields))
    return [*lost(recording, {*_IDENTITY, *_held(recording)}), *_absent(fields)]


def _fields(recording: SourceTable) -> dict[str, Callable[[Row], Cell]]:
    """OpenFace's columns that this table can fill, in OpenFace's order."""
    fields: dict[str, Callable[[Row], Cell]] = {
        "frame": lambda row: row["frame"] + 1,
        "face_id": lambda row: row["face_id"] or 0,
        "timestamp": lambda row: rounded(recording.clock.seconds(row["time"])),
        "confidence": _confidence,
        "success": lambda row: int(row["face_id"] is not None),
    }
    fields |= {name: radians_of(ours, sign) for name, (ours, sign) in _ANGLES.items() if ours in recording.filled}
    for suffix, ours in (("r", "i"), ("c", "c")):
        for unit in UNITS:
            if f"AU{unit:02d}_{ours}" in recording.filled:
                fields[f"AU{unit:02d}_{suffix}"] = value_of(f"AU{unit:02d}_{ours}")
    if "blink" in recording.filled:
        fields["AU45_c"] = value_of("blink")
    return fields


def _confidence(row: Row) -> Cell:
    """The detector's; 0 without a face, and empty where a face was not detected but interpolated or given as a crop."""
    return 0 if row["face_id"] is None else row["det_score"]


def _held(recording: SourceTable) -> set[str]:
    units = {f"AU{unit:02d}_{kind}" for unit in UNITS for kind in "ci"}
    return {*units, "blink", *(ours for ours, _ in _ANGLES.values())}


def _absent(fields: dict[str, Callable[[Row], Cell]]) -> list[str]:
    presence = [f"AU{unit:02d}" for unit in UNITS if f"AU{unit:02d}_c" not in fields]
    sentences = (
        [f"absent, because the table does not have them: presence of {', '.join(presence)}."] if presence else []
    )
    if not any(name.endswith("_r") for name in fields):
        sentences.append("absent: AU intensities (_r); the table has probabilities, which are not intensities.")
    return [*sentences, "absent: landmarks and translations of the head; the table does not have them."]
