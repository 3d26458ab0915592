"""The CSV of OpenFace 2, and of OpenFace 1 and 0, which have no ``face_id`` and spaces in their header.

Presence (``AUxx_c``) and detection are taken over. Intensities (``AUxx_r``, 0 to 5) are no probabilities. The box of a
face is the smallest around its 68 landmarks. For the signs of angles see ``exports.openface``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .source import Field, Reading, Source, Values, flag, pick, scaled, unit_fields
from .text import number, whole

_TIMES = {"frame", "timestamp", "confidence", "success"}
_DEGREES = math.degrees(1)
_LANDMARKS = 68

_NAMES = {
    "frame": Field("frame", lambda cell: _frame(cell)),
    "timestamp": Field("time"),
    "face_id": Field("face_id", whole),
    "confidence": Field("det_score"),
    "success": Field("_success", flag),
    "gaze_angle_x": Field("gaze_yaw", scaled(-_DEGREES)),
    "gaze_angle_y": Field("gaze_pitch", scaled(-_DEGREES)),
    "pose_Rx": Field("head_pitch", scaled(-_DEGREES)),
    "pose_Ry": Field("head_yaw", scaled(_DEGREES)),
    "pose_Rz": Field("head_roll", scaled(-_DEGREES)),
    "AU45_c": Field("blink", flag),
    **unit_fields("AU{:02d}_c", "{}_c", flag),
    **unit_fields("AU{:02d}_r", "{}_i", number),
    **{f"{axis}_{k}": Field(f"_{axis}{k}") for axis in "xy" for k in range(_LANDMARKS)},
}


def _frame(cell: str) -> int | None:
    """Frames count from 1 there; images are all frame 0."""
    value = whole(cell)
    return None if value is None else max(value - 1, 0)


def _reading(header: Sequence[str], preamble: Sequence[str]) -> Reading:
    fields = pick(header, _NAMES)
    boxed = {f"{axis}_{k}" for axis in "xy" for k in range(_LANDMARKS)} <= set(header)
    why = "intensities from 0 to 5, which are no probabilities"
    held = _held(fields)
    refused = {name: why for name in header if name.startswith("AU") and name.endswith("_r") and "AU12_i" not in held}
    return Reading(fields, refused=refused, finish=_add_box if boxed else lambda values: None)


def _held(fields: dict[int, Field]) -> set[str]:
    return {each.column for each in fields.values()}


def _add_box(values: Values) -> None:
    """The smallest box around the landmarks, in pixels."""
    across = [x for k in range(_LANDMARKS) if (x := values.get(f"_x{k}")) is not None]
    down = [y for k in range(_LANDMARKS) if (y := values.get(f"_y{k}")) is not None]
    if across and down:
        left, top = min(across), min(down)
        values |= {"x": left, "y": top, "w": max(across) - left, "h": max(down) - top}


def _absent(values: Values) -> str:
    return "" if values.get("_success") else "success is 0"


def _is_2(header: Sequence[str]) -> bool:
    return set(header) >= _TIMES and "face_id" in header


def _is_1(header: Sequence[str]) -> bool:
    return set(header) >= _TIMES and "face_id" not in header


OPENFACE = Source("OpenFace 2", _is_2, _reading, _absent)
OPENFACE_1 = Source("OpenFace 1", _is_1, _reading, _absent)
