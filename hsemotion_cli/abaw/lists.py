"""A list or template of the organisers -> the frames that a track wants predictions for, in the order of the list.

Rows are ``video/00001.jpg``; anything after a comma (example values, or nothing) is ignored. The emotional mimicry
track lists clips, the 3rd edition whole videos.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..evaluation.ground_truth import clip_key
from .challenges import TRACKS, Track

Ints = NDArray[np.int64]

_ENDS, _INSIDE = r"[^/\\\s\x00-\x1f\x7f]", r"[^/\\\x00-\x1f\x7f]"
_NAME = rf"(?!\.{{1,2}}(?:/|$)){_ENDS}(?:{_INSIDE}*{_ENDS})?"
_PICTURE = re.compile(rf"({_NAME})/([0-9]{{1,12}})\.(?:jpe?g|png)", re.IGNORECASE)
_BARE = re.compile(_NAME)
_FORMULA = ("=", "+", "-", "@", "\t")
_FRAMES = 10**12
"""Larger than any frame number."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameList:
    """What a track wants predictions for: n rows in the order of the list.

    Attributes:
        path: of the list.
        track: that it belongs to.
        names: of the images, clips or videos, exactly as listed.
        videos: their videos (clips for emi) in order of first appearance.
        video: (n,) index into ``videos``.
        frame: (n,) number of the image, from 1; 0 in a list of clips or of whole videos.
        line: (n,) line number in the file, from 1.
        whole: whether whole videos are listed instead of images.
        notes: oddities of the file that did not prevent reading it, one clause each.
    """

    path: Path
    track: Track
    names: tuple[str, ...]
    videos: tuple[str, ...]
    video: Ints
    frame: Ints
    line: Ints
    whole: bool
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"FrameList({self.path.name!r}, {self.track.name}: {len(self.names)} rows of {len(self.videos)})"

    def rows(self) -> list[Ints]:
        """Indices of the rows of each video, in the order of ``videos``."""
        order = np.argsort(self.video, kind="stable")
        return np.split(order, np.cumsum(np.bincount(self.video, minlength=len(self.videos)))[:-1])


@dataclass(frozen=True, slots=True)
class TextLines:
    """A text file, line by line.

    Attributes:
        lines: without their line ends.
        bad: number of the first line that is not UTF-8 text, in which case there are no ``lines``; 0 if none.
        has_bom: whether it begins with a byte order mark.
        ends: how many lines end with LF, CR LF and CR.
        odd: number of the first line that does not end with LF alone; 0 if none.
        ended: whether the last line has a line end.
    """

    lines: tuple[str, ...]
    bad: int = 0
    has_bom: bool = False
    ends: tuple[int, int, int] = (0, 0, 0)
    odd: int = 0
    ended: bool = True

    @property
    def line_ends(self) -> str:
        """A clause about the line ends; "" if all are LF."""
        found = [f"{kind} in {count:,}" for kind, count in zip(("LF", "CR LF", "CR"), self.ends, strict=True) if count]
        return f"lines end with {', '.join(found)} of {sum(self.ends):,}" if self.odd else ""


def read_lines(path: Path) -> TextLines:
    """The lines of a text file with any line ends.

    Raises:
        InputError: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    body = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = body.decode()
        bad = text.find("\0")
        bad = text.count("\n", 0, bad) + 1 if bad >= 0 else 0
    except UnicodeDecodeError as error:
        bad = body.count(b"\n", 0, error.start) + 1
    if bad:
        return TextLines((), bad=bad)
    both = text.count("\r\n")
    ends = (text.count("\n") - both, both, text.count("\r") - both)
    odd = text.count("\n", 0, text.index("\r")) + 1 if "\r" in text else 0
    if odd:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    lines = text.split("\n")
    ended = not lines[-1]
    return TextLines(tuple(lines[:-1] if ended else lines), 0, body is not data, ends, odd, ended)


def read(path: Path, track: Track) -> FrameList:
    """Read a list of images, clips (emi) or whole videos, with or without a header.

    A byte order mark, Windows line ends, blank lines and an unusual header are noted.

    Raises:
        InputError: the file cannot be read, is empty or not text, lists nothing, belongs to another track, has a row
            that names no image (or clip), or the same one twice.
    """
    text = read_lines(path)
    if text.bad:
        raise InputError(f"{path}, line {text.bad}: not a text file in UTF-8; expected the list of {_expected(track)}.")
    filled = [k for k, line in enumerate(text.lines) if line.strip(" \t,")]
    if not filled:
        raise InputError(f"{path}: the file is empty; expected a list of {_expected(track)}.")
    first, notes = _below_header(path, text.lines, filled, track)
    if first == len(filled):
        raise InputError(f"{path}: nothing below the header; expected {_expected(track)}.")
    blank = filled[-1] + 1 - len(filled)
    if text.has_bom:
        notes.append("it begins with a byte order mark")
    if text.odd:
        notes.append(f"its {text.line_ends}")
    if blank:
        notes.append(f"{blank:,} of its lines are blank")
    rows = filled[first:]
    return parse(path, track, [text.lines[k] for k in rows], np.array(rows, np.int64) + 1, notes)


def parse(path: Path, track: Track, rows: Sequence[str], line: Ints, notes: Iterable[str] = ()) -> FrameList:
    """Rows of text -> the images, clips or videos that they name; anything after a comma is ignored.

    Args:
        line: (n,) line number of each row in the file.

    Raises:
        InputError: a row names no image (or clip), or one that is already listed.
    """
    names = [row.partition(",")[0] for row in rows]
    formula = next((k for k, name in enumerate(names) if name.startswith(_FORMULA)), None)
    if formula is not None:
        _fail(path, line[formula], f"{quoted(names[formula])} would be a formula in a spreadsheet; rename the video")
    listed = _clips if track.name == "emi" else _videos if _names_videos(rows) else _pictures
    videos, video, frame = listed(path, names, line)
    _check_once(path, names, line, video * _FRAMES + frame)
    whole = listed is _videos
    return FrameList(path, track, tuple(names), videos, video, frame, line, whole, tuple(notes))


def row_format(track: Track) -> str:
    """What a row in a list of a track looks like."""
    return "a clip such as 12660" if track.name == "emi" else "an image such as video/00001.jpg with a number from 1"


def quoted(text: str) -> str:
    """A text in quotes, cut to 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def header_of(line: str) -> Track | None:
    """The track that a header belongs to, if any; case and surrounding spaces are ignored."""
    names = _fields(line)
    for track in TRACKS.values():
        if names == _fields(track.header):
            return track
    return TRACKS["emi"] if names == ["filename"] else None


def per_video_header(line: str) -> Track | None:
    """The track whose per-video files have this header, if any."""
    for track in TRACKS.values():
        if track.per_video and _fields(line) == _fields(track.per_video):
            return track
    return None


def is_image_name(name: str) -> bool:
    """Whether this names an image of a video."""
    return _PICTURE.fullmatch(name) is not None


def _below_header(path: Path, lines: Sequence[str], filled: Sequence[int], track: Track) -> tuple[int, list[str]]:
    """Index into ``filled`` of the first row, and a note if the header is unusual."""
    line = lines[filled[0]]
    own = header_of(line)
    if own is track:
        return 1, []
    if own is not None:
        raise InputError(f"{path}: its header is that of --track {own.name}, not of {track.name}; give the right list.")
    if per_video_header(line) is not None:
        raise InputError(f"{path}: these are annotations of one video; expected a list of {_expected(track)}.")
    name = line.partition(",")[0]
    below = lines[filled[1]].partition(",")[0] if len(filled) > 1 else ""
    if track.name == "emi" or "/" in name or not is_image_name(below):
        return 0, []
    return 1, [f"its header is {quoted(line)}, that of the track is {quoted(track.header)}"]


def _fields(line: str) -> list[str]:
    return [name.strip().lower() for name in line.rstrip(", \t").split(",")]


def _names_videos(rows: Sequence[str]) -> bool:
    """Whether these are names of whole videos: no row has a folder or anything after a comma."""
    return is_image_name(rows[0].partition(",")[0]) is False and not any(
        "/" in row or "\\" in row or row.rstrip(", \t").count(",") for row in rows
    )


def _pictures(path: Path, names: Sequence[str], line: Ints) -> tuple[tuple[str, ...], Ints, Ints]:
    codes: dict[str, int] = {}
    video, frame = [], []
    for k, name in enumerate(names):
        match = _PICTURE.fullmatch(name)
        if match is None or not (number := int(match[2])):
            _fail(path, line[k], f"{quoted(name)} is not {row_format(TRACKS['va'])}")
        video.append(codes.setdefault(match[1], len(codes)))
        frame.append(number)
    return tuple(codes), np.array(video, np.int64), np.array(frame, np.int64)


def _videos(path: Path, names: Sequence[str], line: Ints) -> tuple[tuple[str, ...], Ints, Ints]:
    for k, name in enumerate(names):
        if not _BARE.fullmatch(name) or re.search(r"\.(?:jpe?g|png)$", name, re.IGNORECASE):
            _fail(path, line[k], f"{quoted(name)} is neither {row_format(TRACKS['va'])} nor the name of a video")
    codes = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return tuple(codes), np.array([codes[name] for name in names]), np.zeros(len(names), np.int64)


def _clips(path: Path, names: Sequence[str], line: Ints) -> tuple[tuple[str, ...], Ints, Ints]:
    first: dict[str, int] = {}
    codes = []
    for k, name in enumerate(names):
        if not _BARE.fullmatch(name):
            _fail(path, line[k], f"{quoted(name)} is not {row_format(TRACKS['emi'])}")
        codes.append(first.setdefault(clip_key(name), len(first)))
    return tuple(dict.fromkeys(names)), np.array(codes, np.int64), np.zeros(len(names), np.int64)


def _check_once(path: Path, names: Sequence[str], line: Ints, key: Ints) -> None:
    """Raise InputError for the first row whose key is already taken."""
    order = np.argsort(key, kind="stable")
    again = np.flatnonzero(np.diff(key[order]) == 0)
    if not len(again):
        return
    k = again[order[again + 1].argmin()]
    one, other = order[k], order[k + 1]
    _fail(path, line[other], f"{names[other]} is already in line {line[one]}, as {names[one]}; expected it once")


def _expected(track: Track) -> str:
    if track.name == "emi":
        return f"clips, such as 12660 below the header {track.header}"
    return f"images, such as video/00001.jpg below the header {quoted(track.header)}"


def _fail(path: Path, line: int, what: str) -> NoReturn:
    raise InputError(f"{path}, line {line}: {what}.")
