"""What one row of a file of events is, whichever program wrote it, and how its cells are checked."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote, urlsplit

from ..errors import InputError

KINDS = ("label", "exclude", "check")
"""What a row may be: an interval with a label, time to leave out, or a note to look again."""

_LARGEST = 1 << 26  # bytes


@dataclass(frozen=True, slots=True)
class Event:
    """One interval of one recording.

    Attributes:
        recording: file name of a table without extension; "" for every recording.
        onset, offset: seconds on the clock of the table, 0 <= onset <= offset; equal for a point in time.
        label: what happens; "" only where ``kind`` is not "label".
        person: as in the table, or "" for everyone.
        kind: of ``KINDS``.
        tier: name of ELAN's tier or BORIS's behavioural category, "" without one.
        coder: who coded it, "" if the file does not say.
        where: file and row, for messages.
    """

    recording: str
    onset: float
    offset: float
    label: str
    person: str = ""
    kind: str = "label"
    tier: str = ""
    coder: str = ""
    where: str = ""

    @property
    def duration(self) -> float:
        """Seconds from onset to offset."""
        return self.offset - self.onset


def event(where: str, times: tuple[float, float], label: str, **more: str) -> Event:
    """An event whose times are checked.

    Args:
        where: file and row.
        times: onset and offset in seconds.
        more: other attributes of ``Event``.

    Raises:
        InputError: negative or reversed times, or no label.
    """
    onset, offset = times
    if not (math.isfinite(onset) and math.isfinite(offset)):
        raise InputError(f"{where}: onset and offset must be finite numbers of seconds.")
    if onset < 0:
        raise InputError(f"{where}: the onset {onset:g} is negative; times count from the start of the recording.")
    if offset < onset:
        raise InputError(f"{where}: it ends at {offset:g} s, before its onset at {onset:g} s.")
    kind = more.get("kind") or "label"
    if kind not in KINDS:
        raise InputError(f"{where}: kind is {kind!r}; choose from {', '.join(KINDS)}.")
    if not label and kind == "label":
        raise InputError(f"{where}: it has no label.")
    return Event(**{**more, "kind": kind}, onset=onset, offset=offset, label=label, where=where)


def number(where: str, name: str, text: str) -> float:
    """A cell as a number, of seconds mostly; a decimal comma counts as a point.

    Raises:
        InputError: it is no number.
    """
    try:
        return float(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except ValueError:
        raise InputError(f"{where}: {name} is {text[:60]!r}, not a number.") from None


def rows_of(path: Path) -> list[tuple[int, list[str]]]:
    """(line number, cells) of every line of a text table that is not empty, the header among them.

    Raises:
        InputError: it cannot be read.
    """
    text = text_of(path)
    first = text.lstrip("\r\n").partition("\n")[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        return [(reader.line_num, [c.strip() for c in cells]) for cells in reader if any(c.strip() for c in cells)]
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as a table ({error}).") from error


def text_of(path: Path) -> str:
    """The text of a file of events, UTF-8 or UTF-16 by its mark.

    Raises:
        InputError: it cannot be read, or is too large for a coding.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: larger than {_LARGEST:,} bytes, which no file of events is.")
        data = path.read_bytes()
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error.reason}).") from error


def recording_of(path: Path) -> str:
    """The recording that a file without a column ``recording`` belongs to, by its name; "" for every recording.

    ``talk_events.tsv`` and ``talk.events.csv`` belong to talk, ``events.csv`` to every recording.
    """
    name = path.stem
    for end in ("_events", ".events", "-events"):
        name = name.removesuffix(end)
    return "" if name.lower() in ("events", "windows", "coding") else name


def media_recording(media: str) -> str:
    """The recording of a video by its path as another program wrote it, perhaps on Windows, or as a URL."""
    place = unquote(urlsplit(media).path) if "://" in media else media
    return PureWindowsPath(place).stem
