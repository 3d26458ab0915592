"""The CSV of LibreFace: detection and intensity of action units, and the name of the expression."""

from __future__ import annotations

from collections.abc import Sequence

from .source import Field, Reading, Source, Values, flag, pick, scaled, unit_fields, word
from .text import number, whole

_NAMES = {
    "frame_idx": Field("frame", whole),
    "frame_time_in_ms": Field("time", scaled(0.001)),
    "face_detection_score": Field("det_score"),
    "facial_expression": Field("expression", word),
    **unit_fields("au_{}", "{}_c", flag),
    **unit_fields("au_{}_intensity", "{}_i", number),
}


def _reading(header: Sequence[str], preamble: Sequence[str]) -> Reading:
    fields = pick(header, _NAMES)
    held = {each.column for each in fields.values()}
    why = "intensities, which are no probabilities"
    refused = {name: why for name in header if name.endswith("_intensity") and "AU12_i" not in held}
    refused |= {name: "its sign is not documented" for name in ("pitch", "yaw", "roll") if name in header}
    return Reading(fields, refused=refused)


def _absent(values: Values) -> str:
    measured = any(value is not None for name, value in values.items() if name.startswith(("AU", "expression")))
    return "" if measured else "nothing measured"


LIBREFACE = Source("LibreFace", lambda header: {"frame_idx", "frame_time_in_ms"} <= set(header), _reading, _absent)
