"""A submission -> everything that is wrong with it, or the numbers in it.

Organisers silently discard files with missing or malformed rows, so everything is checked: the header, every name and
its position, every field.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.ground_truth import clip_key
from ..runtime.whole_numbers import whole_number
from .challenges import UNIT_NAMES, Track
from .lists import FrameList, TextLines, header_of, is_image_name, parse, per_video_header, quoted, read_lines

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ODD_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_END = re.compile(r"([0-9]+)(\.[^.]*)$")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a submission.

    Attributes:
        line: number of the line, from 1; for missing rows, where they should be.
        reason: a sentence without its full stop.
        warning: whether the file can be submitted nevertheless.
    """

    line: int
    reason: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    whole: bool
    placeholder: str | None = None

    @property
    def expected(self) -> str:
        if self.whole:
            return "0 or 1" if self.high == 1 else f"a whole number from {self.low} to {self.high}"
        return f"a number from {self.low} to {self.high}"


_FIELDS = {
    "expression": (_Field("the expression", 0, 7, True, "-1"),),
    "compound": (_Field("the expression", 0, 6, True, "-1"),),
    "valence_arousal": (_Field("valence", -1, 1, False, "-5"), _Field("arousal", -1, 1, False, "-5")),
    "action_units": tuple(_Field(name, 0, 1, True, "-1") for name in UNIT_NAMES.split(",")),
}


def validate(path: Path, listed: FrameList) -> list[Problem]:
    """Everything that is wrong with a submission, by line; a valid one has at most warnings.

    Args:
        listed: the organisers' list or template, which determines the rows and their order.

    Raises:
        InputError: the file cannot be read, or the list names whole videos.
    """
    if listed.whole:
        raise InputError(f"{listed.path}: it lists videos, not images; give the list of all rows to compare with.")
    text = read_lines(path)
    if text.bad:
        return [Problem(text.bad, "not UTF-8 text: this is another kind of file, or a damaged one")]
    if not text.lines:
        return [Problem(1, "the file is empty")]
    problem, first = _header(text.lines[0], listed.track)
    found = [problem] if problem is not None else []
    if first < 0:
        return found
    rows = text.lines[first:]
    names = [row.partition(",")[0] for row in rows]
    found += _text_problems(text)
    found += _field_problems(rows, names, first + 1, listed.track, text.ended)
    found += _name_problems(rows, names, first + 1, listed)
    return sorted(found, key=lambda problem: problem.line)


def read(path: Path, track: Track) -> tuple[FrameList, NDArray[np.float64]]:
    """The rows of a submission, and (n, c) the fields of each after its name.

    Windows line ends and a byte order mark are accepted, as they change no number.

    Raises:
        InputError: anything else is wrong with it; the message names the first such line.
    """
    text = read_lines(path)
    if text.bad or not text.lines:
        raise InputError(f"{path}: not a submission; expected text that begins with {track.header}.")
    problem, first = _header(text.lines[0], track)
    rows = text.lines[max(first, 0) :]
    names = [row.partition(",")[0] for row in rows]
    if problem is None:
        problem = next(iter(_field_problems(rows, names, first + 1, track, text.ended)), None)
    if problem is not None:
        raise InputError(f"{path}, line {problem.line}: {problem.reason}.")
    if not rows:
        raise InputError(f"{path}: nothing below the header.")
    listed = parse(path, track, rows, np.arange(len(rows)) + first + 1)
    numbers = ",".join(row[len(name) + 1 :] for row, name in zip(rows, names, strict=True)).split(",")
    return listed, np.fromiter(map(float, numbers), np.float64, len(numbers)).reshape(len(rows), -1)


def fields_of(track: Track) -> tuple[_Field, ...]:
    """The fields of a row after its name."""
    if track.name == "emi":
        return tuple(_Field(name, 0, 1, False) for name in track.header.split(",")[1:])
    return tuple(field for task in track.tasks for field in _FIELDS[task])


def _header(line: str, track: Track) -> tuple[Problem | None, int]:
    """A problem with the first line, if any, and the number of header lines; -1 if checking cannot go on."""
    if line == track.header:
        return None, 1
    other = header_of(line)
    if other is not None and other is not track:
        return Problem(1, f"the header is that of --track {other.name}: this file is for another track"), -1
    if per_video_header(line) is not None:
        return Problem(1, "the header is that of a per-video file; expected one file for all videos"), -1
    expected = f"expected exactly {track.header}"
    name, comma, _ = line.partition(",")
    if is_image_name(name) or (track.name == "emi" and comma and whole_number(name) is not None):
        return Problem(1, f"no header; {expected}"), 0
    return Problem(1, f"the header is {quoted(line)}; {expected}"), 1


def _text_problems(text: TextLines) -> list[Problem]:
    found = []
    if text.has_bom:
        found.append(Problem(1, "the file begins with a byte order mark, which becomes part of the header"))
    if text.odd:
        found.append(Problem(text.odd, f"{text.line_ends}; expected LF alone"))
    if not text.ended:
        found.append(
            Problem(len(text.lines), "the last line has no line end, as if the file had been cut off", warning=True)
        )
    return found


def _field_problems(rows: Sequence[str], names: Sequence[str], first: int, track: Track, ended: bool) -> list[Problem]:
    tails = [row[len(name) :] for row, name in zip(rows, names, strict=True)]
    fields = fields_of(track)
    # Most rows share their fields with another one; each distinct text is checked once.
    wrong = {tail: reason for tail in set(tails) if (reason := _row_problem(tail, fields))}
    found = []
    for k, tail in enumerate(tails) if wrong else ():
        reason = wrong.get(tail, "")
        if not reason:
            continue
        if not rows[k].strip():
            reason = "an empty line"
        elif k == len(rows) - 1 and not ended:
            reason += "; the file ends in the middle of this row"
        found.append(Problem(first + k, reason))
    return found


def _row_problem(tail: str, fields: Sequence[_Field]) -> str:
    """What is wrong with the fields of a row, each preceded by its comma; "" if nothing."""
    texts = tail.split(",")[1:]
    if len(texts) != len(fields):
        found = f"found {len(texts) + 1} fields, expected {len(fields) + 1}"
        if len(fields) == 1 and len(texts) == fields[0].high + 1 and all(map(_NUMBER.fullmatch, texts)):
            return f"{found}: these are probabilities, expected only the class number"
        return found
    for text, field in zip(texts, fields, strict=True):
        if not _is_valid(text, field):
            return _field_problem(text, field)
    return ""


def _is_valid(text: str, field: _Field) -> bool:
    if field.whole:
        return len(text) == 1 and "0" <= text <= "9" and int(text) <= field.high
    return _NUMBER.fullmatch(text) is not None and field.low <= float(text) <= field.high


def _field_problem(text: str, field: _Field) -> str:
    if not text.strip():
        return f"{field.name} is missing"
    if text != text.strip():
        return f"there is a space next to {field.name}; expected only commas"
    message = f"{field.name} is {quoted(text)}, expected {field.expected}"
    if _ODD_NUMBER.fullmatch(text):
        return f"{message}: every frame needs a prediction"
    if not _NUMBER.fullmatch(text):
        return message
    if field.placeholder is not None and float(text) == float(field.placeholder):
        return f"{message}: {field.placeholder} marks frames without annotation, but every frame needs a prediction"
    if field.whole and 0 < float(text) < 1:
        return f"{message}: a probability, not a label"
    return message


def _name_problems(rows: Sequence[str], names: Sequence[str], first: int, listed: FrameList) -> list[Problem]:
    if tuple(names) == listed.names:
        return []
    place = {name: k for k, name in enumerate(listed.names)}
    similar: dict[str, int] = {}
    found: list[Problem] = []
    lines: dict[int, int] = {}  # index in the list -> line
    for line, (row, name) in enumerate(zip(rows, names, strict=True), first):
        k = place.get(name)
        if k is None:
            if not row.strip():
                continue
            similar = similar or {_normalised(known): k for known, k in reversed(place.items())}
            k = similar.get(_normalised(name))
            if k is None:
                found.append(Problem(line, f"{quoted(name)} is not in the list"))
                continue
            reason = f"{quoted(name)} is {listed.names[k]!r} in the list: {_difference(name, listed.names[k])}"
            found.append(Problem(line, reason))
        if k in lines:
            found.append(Problem(line, f"{quoted(name)} is already in line {lines[k]}"))
        else:
            lines[k] = line
    return found + _out_of_order(lines, listed) + _missing(lines, listed, first, first + len(rows))


def _normalised(name: str) -> str:
    """A name without what is easily wrong: case, surrounding spaces, leading zeros of its number."""
    plain = name.strip().lower()
    return (
        _END.sub(lambda match: f"{match[1].lstrip('0') or '0'}{match[2]}", plain) if "/" in plain else clip_key(plain)
    )


def _difference(name: str, listed: str) -> str:
    if name.strip() == listed.strip():
        return "a space next to it"
    return "upper and lower case differ" if name.lower() == listed.lower() else "the leading zeros of its number differ"


def _out_of_order(lines: dict[int, int], listed: FrameList) -> list[Problem]:
    """At most one problem, at the first row that is out of the list's order."""
    places = np.fromiter(lines, np.int64, len(lines))
    wrong = np.flatnonzero(places != np.sort(places))
    if not len(wrong):
        return []
    here, expected = int(places[wrong[0]]), int(np.sort(places)[wrong[0]])
    return [
        Problem(
            lines[here],
            f"{listed.names[here]} is where {listed.names[expected]} belongs; {len(wrong):,} rows are not in the "
            "list's order",
        )
    ]


def _missing(lines: dict[int, int], listed: FrameList, first: int, end: int) -> list[Problem]:
    """A problem for each run of rows of the list that are missing."""
    present = np.zeros(len(listed.names), bool)
    present[list(lines)] = True
    lost = np.flatnonzero(~present)
    if not len(lost):
        return []
    found = []
    for stretch in np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1):
        a, b = int(stretch[0]), int(stretch[-1])
        line = lines[a - 1] + 1 if a else first
        names = listed.names[a] if a == b else f"{len(stretch):,} rows from {listed.names[a]} to {listed.names[b]}"
        where = "after the end" if line == end else "here"
        found.append(Problem(line, f"{names} missing {where}"))
    return found
