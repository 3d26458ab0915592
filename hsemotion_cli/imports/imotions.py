"""iMotions' CSV export with AFFDEX: one row for each sample of any sensor; only those of the face are read.

Values from 0 to 100 become 0 to 1, and valence -1 to 1. The scores of the expressions go into the columns of
probabilities; they do not sum to 1.

Sources of the names and ranges: a description of exports of iMotions 10 (columns 0 to 49, from "Row" and "Timestamp" to
"Respondent Annotations active") in a public repository of an experiment, and ``DATA_TO_EXTRACT`` of
kauttoj/SalesLab_toolbox (``Saleslab_settings.py``) for exports of older versions.
"""

from __future__ import annotations

from collections.abc import Sequence

from .source import EXPRESSION_WORDS, Field, Reading, Source, Values, flag, pick, scaled
from .text import whole

_EMOTIONS = ("Anger", "Contempt", "Disgust", "Fear", "Joy", "Sadness", "Surprise", "Neutral")
_UNITS = {
    "Inner Brow Raise": "AU01", "Brow Raise": "AU02", "Brow Furrow": "AU04", "Cheek Raise": "AU06",
    "Lid Tighten": "AU07", "Upper Lip Raise": "AU10", "Smile": "AU12", "Lip Corner Depressor": "AU15",
    "Lip Press": "AU24", "Mouth Open": "AU25", "Jaw Drop": "AU26",
}  # fmt: skip
"""AFFDEX's facial expressions -> action units, by its documentation; some have none ("Smirk", "Attention")."""

_ANGLES = ("Pitch", "Yaw", "Roll")
_FACES = ("Number of faces", "NumberOfFaces", "Number Of Faces")
_NAMES = {
    "Timestamp": Field("time", scaled(0.001)),
    "Valence": Field("valence", scaled(0.01)),
    "Blink": Field("blink", flag),
    **{name: Field("_faces", whole) for name in _FACES},
    **{name: Field(f"p_{EXPRESSION_WORDS[name.lower()]}", scaled(0.01)) for name in _EMOTIONS},
    **{name: Field(f"{unit}_p", scaled(0.01)) for name, unit in _UNITS.items()},
}
OTHER_SENSOR = "samples of other sensors"


def _reading(header: Sequence[str], preamble: Sequence[str]) -> Reading:
    notes = ["AFFDEX scores of the expressions stand in the columns of probabilities; they do not sum to 1."]
    refused = {name: "its sign is not documented" for name in _ANGLES if name in header}
    return Reading(pick(header, _NAMES), notes, refused)


def _measured(values: Values) -> bool:
    return any(value is not None for name, value in values.items() if name.startswith(("p_", "AU", "valence")))


def _absent(values: Values) -> str:
    return "" if _measured(values) and values.get("_faces") != 0 else "no face"


def _skipped(values: Values) -> str:
    return "" if _measured(values) or values.get("_faces") == 0 else OTHER_SENSOR


def _is_header(header: Sequence[str]) -> bool:
    return {"Timestamp", "Anger", "Joy", "Disgust", "Fear", "Sadness"} <= set(header)


IMOTIONS = Source("iMotions, AFFDEX", _is_header, _reading, _absent, _skipped)
