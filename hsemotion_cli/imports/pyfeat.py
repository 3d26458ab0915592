"""A Fex CSV of py-feat, versions 0.3 to 2.1. Action units and emotions are probabilities.

Head pose and gaze are left out, because their unit differs between versions of py-feat. Its ``approx_time`` has whole
seconds, so times need ``--fps``, unless a column ``timestamp`` has them.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..runtime.whole_numbers import whole_number
from .source import EXPRESSION_WORDS, Field, Reading, Source, Values, pick, unit_fields
from .text import missing, number, whole

_EMOTIONS_2 = ("Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
"""Emotions of ``Detectorv2``: ``EMOTION_NAMES`` of py-feat 2.1.5 (``feat/multitask/__init__.py``)."""

_NAMES = {
    "frame": Field("frame", whole),
    "timestamp": Field("time"),
    "approx_time": Field("_approx", lambda cell: _seconds(cell)),
    "FaceRectX": Field("x"),
    "FaceRectY": Field("y"),
    "FaceRectWidth": Field("w"),
    "FaceRectHeight": Field("h"),
    "FaceScore": Field("det_score"),
    "valence": Field("valence"),
    "arousal": Field("arousal"),
    "Identity": Field("person", lambda cell: None if missing(cell) else cell.strip()),
    **unit_fields("AU{:02d}", "{}_p", number),
    **{name: Field(f"p_{ours}") for name, ours in EXPRESSION_WORDS.items() if name == ours},
    **{name: Field(f"p_{EXPRESSION_WORDS[name.lower()]}") for name in _EMOTIONS_2},
}
_ANGLES = ("Pitch", "Roll", "Yaw", "gaze_pitch", "gaze_yaw")  # gaze_angle has no counterpart anyway


def _seconds(cell: str) -> float | None:
    """ "01:07" is 67 seconds."""
    if missing(cell):
        return None
    total = 0.0
    for part in cell.strip().split(":"):
        total = total * 60 + float(part)
    return total


def _reading(header: Sequence[str], preamble: Sequence[str]) -> Reading:
    refused = {name: "its unit differs between versions of py-feat" for name in _ANGLES if name in header}
    identities: dict[str, int] = {}

    def finish(values: Values) -> None:
        name = values.get("person")
        if name is None:
            return
        number = whole_number(name.removeprefix("face ").removeprefix("Person_"))
        if number is None:
            values["face_id"] = identities.setdefault(name, len(identities))
        else:  # no name, but a number
            values["face_id"], values["person"] = number, None

    return Reading(pick(header, _NAMES), refused=refused, finish=finish)


def _absent(values: Values) -> str:
    return "" if values.get("x") is not None else "no box"


def _is_header(header: Sequence[str]) -> bool:
    return {"FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "frame"} <= set(header)


PYFEAT = Source("py-feat", _is_header, _reading, _absent)
