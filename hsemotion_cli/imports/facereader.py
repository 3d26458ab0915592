"""FaceReader's text exports: the detailed log, a row for each frame, and the state log, a row for each change.

Intensities of the expressions, 0 to 1, go into the columns of probabilities; they do not sum to 1. ``FIT_FAILED`` and
``FIND_FAILED`` are frames without a face. Arousal counts from 0 to 1 there and from -1 to 1 here, so it is left out.

Sources of the names and values: logs of FaceReader 6.1 in d-bohn/facereadeR (``inst/extdata``), and logs of a later
version with their state logs in mmu-research-cloud-platform/facereaderconverter (``tests/testthat/testdata``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..tasks import ACTION_UNITS
from .source import EXPRESSION_WORDS, Convert, Field, Reading, Source, Values, pick, word
from .text import missing, number

FAILURES = ("FIT_FAILED", "FIND_FAILED")
_TIME = "Video Time"
_STATE = ("Dominant Expression", "Emotion")
"""What state logs call their column of expressions; the second is the word of older versions."""

_END = "END"
"""In the last row of a state log: when the video ends."""

_STATES = ("Neutral", "Happy", "Sad", "Angry", "Surprised", "Scared", "Disgusted", "Contempt")
_UNIT = re.compile(r"Action Unit 0*([0-9]+)\b.*")
_ANGLES = {
    "X - Head Orientation": "head_pitch",
    "Y - Head Orientation": "head_yaw",
    "Z - Head Orientation": "head_roll",
}


def _failed(convert: Convert) -> Convert:
    """Nothing where FaceReader found no face or could not fit its model."""
    return lambda cell: None if cell.strip() in FAILURES else convert(cell)


def _time(cell: str) -> float | None:
    """ "00:01:02.345" is 62.345 seconds."""
    if missing(cell):
        return None
    total = 0.0
    for part in cell.strip().replace(",", ".").split(":"):
        total = total * 60 + float(part)
    return total


def _presence(cell: str) -> int | None:
    """An action unit in FaceReader's classes: NotActive, or A to E."""
    text = cell.strip()
    if text in ("NotActive", "Not Active"):
        return 0
    if text in ("A", "B", "C", "D", "E"):
        return 1
    value = number(cell)
    return None if value is None else int(value > 0)


def _reading(header: Sequence[str], preamble: Sequence[str]) -> Reading:
    names = {_TIME: Field("time", _time), "Neutral": Field("_failure", str.strip)}
    names |= {state: Field(f"p_{EXPRESSION_WORDS[state.lower()]}", _failed(number)) for state in _STATES[1:]}
    names["Valence"] = Field("valence", _failed(number))
    for name in header:
        match = _UNIT.fullmatch(name)
        if match and f"AU{int(match[1]):02d}" in ACTION_UNITS:
            names[name] = Field(f"AU{int(match[1]):02d}_c", _failed(_presence))
    refused = {"Arousal": "its scale is 0 to 1"} if "Arousal" in header else {}
    refused |= {name: "its sign is not documented" for name in _ANGLES if name in header}
    notes = ["intensities of the expressions stand in the columns of probabilities; they do not sum to 1."]
    return Reading(pick(header, names), notes, refused, _add_neutral)


def _add_neutral(values: Values) -> None:
    values["p_neutral"] = number(values["_failure"])


def _absent(values: Values) -> str:
    cell = values["_failure"]
    return cell if cell in FAILURES else "no values" if missing(cell) else ""


def _state(cell: str) -> str | None:
    """The expression of a state, ``_END``, or None."""
    return _END if cell.strip() == _END else word(cell)


def _state_reading(header: Sequence[str], preamble: Sequence[str]) -> Reading:
    column = next(name for name in _STATE if name in header)
    names = {_TIME: Field("time", _time), column: Field("expression", _state)}
    note = "a row stands for a change of state, which lasts until the next row."
    return Reading(pick(header, names), [note])


def _is_detailed(header: Sequence[str]) -> bool:
    return _TIME in header and {"Neutral", "Happy", "Sad", "Angry"} <= set(header)


def _is_state(header: Sequence[str]) -> bool:
    return _TIME in header and any(name in header for name in _STATE)


FACEREADER = Source("FaceReader, detailed log", _is_detailed, _reading, _absent)
FACEREADER_STATE = Source(
    "FaceReader, state log",
    _is_state,
    _state_reading,
    lambda values: "" if values["expression"] else "Unknown",
    lambda values: "the end of the video" if values["expression"] == _END else "",
)
