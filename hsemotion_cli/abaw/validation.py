"""A file to be submitted -> all that is wrong with it, or the numbers in it.

Organisers count a file with missing or odd rows as no submission, without a word; so everything is checked here: the
header, every name and its place, every field.
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
from .challenges import UNIT_NAMES, Track
from .lists import FrameList, TextLines, header_of, is_picture, parse, per_video_header, read_lines, shortened

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_ODD_NUMBER = re.compile(r"[+-]?(?:nan|inf|infinity)", re.IGNORECASE)
_END = re.compile(r"([0-9]+)(\.[^.]*)$")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong.

    Attributes:
        line: where, from 1; for rows that are missing, where they should be.
        reason: what, a sentence without its stop.
        warning: whether the file can be submitted all the same.
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
    """All that is wrong with a file to be submitted, by line; nothing but warnings if it is good.

    Args:
        listed: the organisers' list or template, which says which rows there must be, in which order.

    Raises:
        InputError: the file cannot be read, or the list is one of whole videos.
    """
    if listed.whole:
        raise InputError(f"{listed.path}: it names videos, not pictures; give the list of all rows to compare with.")
    text = read_lines(path)
    if text.bad:
        return [Problem(text.bad, "not text in UTF-8: this is another kind of file, or a damaged one")]
    if not text.lines:
        return [Problem(1, "the file is empty")]
    problem, first = _header(text.lines[0], listed.track)
    found = [problem] if problem is not None else []
    if first < 0:
        return found
    rows = text.lines[first:]
    names = [row.partition(",")[0] for row in rows]
    found += _of_the_text(text)
    found += _of_the_fields(rows, names, first + 1, listed.track, text.ended)
    found += _of_the_names(rows, names, first + 1, listed)
    return sorted(found, key=lambda problem: problem.line)


def read(path: Path, track: Track) -> tuple[FrameList, NDArray[np.float64]]:
    """The rows of a file to be submitted, and (n, c) the fields of each behind its name.

    Line ends of Windows and a byte order mark, which make no number wrong, are let pass.

    Raises:
        InputError: anything else is wrong with it; the first such line is named.
    """
    text = read_lines(path)
    if text.bad or not text.lines:
        raise InputError(f"{path}: not a file to be submitted; expected text that begins with {track.header}.")
    problem, first = _header(text.lines[0], track)
    rows = text.lines[max(first, 0) :]
    names = [row.partition(",")[0] for row in rows]
    if problem is None:
        problem = next(iter(_of_the_fields(rows, names, first + 1, track, text.ended)), None)
    if problem is not None:
        raise InputError(f"{path}, line {problem.line}: {problem.reason}.")
    if not rows:
        raise InputError(f"{path}: there is nothing below the header.")
    listed = parse(path, track, rows, np.arange(len(rows)) + first + 1)
    numbers = ",".join(row[len(name) + 1 :] for row, name in zip(rows, names, strict=True)).split(",")
    return listed, np.fromiter(map(float, numbers), np.float64, len(numbers)).reshape(len(rows), -1)


def fields_of(track: Track) -> tuple[_Field, ...]:
    """What is behind the name in a row."""
    if track.name == "emi":
        return tuple(_Field(name, 0, 1, False) for name in track.header.split(",")[1:])
    return tuple(field for task in track.tasks for field in _FIELDS[task])


def _header(line: str, track: Track) -> tuple[Problem | None, int]:
    """What is wrong with the first line, and how many lines stand above the rows; -1 if it makes no sense to go on."""
    if line == track.header:
        return None, 1
    other = header_of(line)
    if other is not None and other is not track:
        return Problem(1, f"the header is that of --track {other.name}: this is the file of another track"), -1
    if per_video_header(line) is not None:
        return Problem(1, "the header is that of a file for one video; expected one file for all videos"), -1
    expected = f"expected exactly {track.header}"
    name, comma, _ = line.partition(",")
    if is_picture(name) or (track.name == "emi" and comma and name.isdigit()):
        return Problem(1, f"there is no header; {expected}"), 0
    return Problem(1, f"the header is {shortened(line)}; {expected}"), 1


def _of_the_text(text: TextLines) -> list[Problem]:
    found = []
    if text.marked:
        found.append(Problem(1, "the file begins with a byte order mark, which becomes part of the header"))
    if text.odd:
        found.append(Problem(text.odd, f"{text.ends_said}; expected LF alone"))
    if not text.ended:
        found.append(
            Problem(len(text.lines), "the last line has no end, as if the file had been cut off", warning=True)
        )
    return found


def _of_the_fields(rows: Sequence[str], names: Sequence[str], first: int, track: Track, ended: bool) -> list[Problem]:
    tails = [row[len(name) :] for row, name in zip(rows, names, strict=True)]
    fields = fields_of(track)
    # Most rows have the fields of another one; each kind is looked at once.
    wrong = {tail: reason for tail in set(tails) if (reason := _complaint(tail, fields))}
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


def _complaint(tail: str, fields: Sequence[_Field]) -> str:
    """What is wrong with the fields of a row, each with its comma before it; "" for nothing."""
    texts = tail.split(",")[1:]
    if len(texts) != len(fields):
        found = f"found {len(texts) + 1} fields, expected {len(fields) + 1}"
        if len(fields) == 1 and len(texts) == fields[0].high + 1 and all(map(_NUMBER.fullmatch, texts)):
            return f"{found}: these are probabilities, expected the number of the class alone"
        return found
    for text, field in zip(texts, fields, strict=True):
        if not _fits(text, field):
            return _misfit(text, field)
    return ""


def _fits(text: str, field: _Field) -> bool:
    if field.whole:
        return len(text) == 1 and "0" <= text <= "9" and int(text) <= field.high
    return _NUMBER.fullmatch(text) is not None and field.low <= float(text) <= field.high


def _misfit(text: str, field: _Field) -> str:
    if not text.strip():
        return f"{field.name} is missing"
    if text != text.strip():
        return f"there is a space beside {field.name}; expected commas alone"
    said = f"{field.name} is {shortened(text)}, expected {field.expected}"
    if _ODD_NUMBER.fullmatch(text):
        return f"{said}: no frame may be left without an answer"
    if not _NUMBER.fullmatch(text):
        return said
    if field.placeholder is not None and float(text) == float(field.placeholder):
        return f"{said}: {field.placeholder} marks frames without annotation, and no frame may be left out"
    if field.whole and 0 < float(text) < 1:
        return f"{said}: a probability is no answer"
    return said


def _of_the_names(rows: Sequence[str], names: Sequence[str], first: int, listed: FrameList) -> list[Problem]:
    if tuple(names) == listed.names:
        return []
    place = {name: k for k, name in enumerate(listed.names)}
    alike: dict[str, int] = {}
    found: list[Problem] = []
    at: dict[int, int] = {}  # place in the list -> line
    for line, (row, name) in enumerate(zip(rows, names, strict=True), first):
        k = place.get(name)
        if k is None:
            if not row.strip():
                continue
            alike = alike or {_alike(known): k for known, k in reversed(place.items())}
            k = alike.get(_alike(name))
            if k is None:
                found.append(Problem(line, f"{shortened(name)} is not in the list"))
                continue
            reason = f"{shortened(name)} is {listed.names[k]!r} in the list: {_difference(name, listed.names[k])}"
            found.append(Problem(line, reason))
        if k in at:
            found.append(Problem(line, f"{shortened(name)} is there already in line {at[k]}"))
        else:
            at[k] = line
    return found + _out_of_order(at, listed) + _missing(at, listed, first, first + len(rows))


def _alike(name: str) -> str:
    """A name without what is easily got wrong: capitals, spaces at its ends, zeros before its number."""
    plain = name.strip().lower()
    return _END.sub(lambda match: f"{int(match[1])}{match[2]}", plain) if "/" in plain else clip_key(plain)


def _difference(name: str, listed: str) -> str:
    if name.strip() == listed.strip():
        return "a space beside it"
    return "capitals differ" if name.lower() == listed.lower() else "the zeros before its number differ"


def _out_of_order(at: dict[int, int], listed: FrameList) -> list[Problem]:
    """One problem, at the first row that is not where the list has it among those that are there."""
    places = np.fromiter(at, np.int64, len(at))
    wrong = np.flatnonzero(places != np.sort(places))
    if not len(wrong):
        return []
    here, expected = int(places[wrong[0]]), int(np.sort(places)[wrong[0]])
    return [
        Problem(
            at[here],
            f"{listed.names[here]} stands where {listed.names[expected]} belongs; {len(wrong):,} rows are not in the "
            "list's order",
        )
    ]


def _missing(at: dict[int, int], listed: FrameList, first: int, end: int) -> list[Problem]:
    """A problem for each stretch of the list that is not there."""
    there = np.zeros(len(listed.names), bool)
    there[list(at)] = True
    lost = np.flatnonzero(~there)
    if not len(lost):
        return []
    found = []
    for stretch in np.split(lost, np.flatnonzero(np.diff(lost) > 1) + 1):
        a, b = int(stretch[0]), int(stretch[-1])
        line = at[a - 1] + 1 if a else first
        names = listed.names[a] if a == b else f"{len(stretch):,} rows from {listed.names[a]} to {listed.names[b]}"
        where = "after the end" if line == end else "here"
        found.append(Problem(line, f"{names} missing {where}"))
    return found
