"""Output paths: where the results of each source go, below the output folder, each in its own place, in every run.

The place of a source is its output path without suffix. There is a short one and a full one. The short place of a file
in a folder is its path in that folder; of a file that matches a pattern, the part of its path after the pattern's
fixed beginning; of a file named by itself, its name; of a line in a list, the line. The full place is the whole path as
it was written. In both, "/" at the beginning becomes ``_abs`` and ".." becomes ``_up``; a folder with such a name gets
one more underscore in front.

Places are tried in this order until no two sources share one: short without the suffix, short with it, both with one
more folder of the path in front, full with the suffix, full with a checksum of the absolute path. Places that differ
only by case or by the encoding of accents count as equal, because some file systems do not distinguish them.
"""

from __future__ import annotations

import hashlib
import ntpath
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

_WORDS = re.compile(r"_+(abs|up)", re.IGNORECASE)
_OWN = re.compile(r"(manifest|failures)(\.[0-9]+of[0-9]+)?", re.IGNORECASE)
"""Stems of the .jsonl files that a batch writes into the output folder."""

WINDOWS = os.name == "nt"
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{k}" for port in ("COM", "LPT") for k in range(1, 10))}
"""Names that Windows keeps for devices, with any suffix (Microsoft: Naming Files, Paths, and Namespaces)."""

_LONGEST = 236  # bytes; with the longest suffix (.overlay.mp4) still within the 255 of most file systems
_CUT = re.compile(r"-[0-9a-f]{16}$")
_FULL, _LAST = 4, 5


@dataclass(frozen=True, slots=True)
class SourceIdentity:
    """A source whose output path is to be chosen.

    Attributes:
        path: as it was written or found.
        short, full: parts of its two places, suffix included, at least one part each.
        folder: whether it is a folder, whose name has no suffix.
    """

    path: str
    short: tuple[str, ...]
    full: tuple[str, ...]
    folder: bool = False

    def at(self, level: int) -> str:
        """The place at a level from 0 to 5, in the order of the module's docstring."""
        parts = self.short if level < 2 else self.full if level >= _FULL else self.full[-len(self.short) - 1 :]
        name = parts[-1]
        if level in (0, 2) and not self.folder:
            name = os.path.splitext(name)[0]
        if level == _LAST:
            name = f"{name}-{_checksum(os.path.abspath(self.path))}"
        return "/".join(map(_fitted, (*parts[:-1], name)))


def safe(path: str, windows: bool = WINDOWS) -> tuple[str, ...]:
    r"""The parts of a path, made harmless: joined to a folder they never lead out of it.

    Args:
        windows: read it as Windows does, where C:\a\b becomes _abs, C, a, b, and change names that are not allowed
            there.
    """
    parts = ["_abs"] if path.startswith("/") or (windows and ntpath.isabs(path)) else []
    if windows:
        drive, rest = ntpath.splitdrive(path)
        path = f"{drive.removesuffix(':')}/{rest}".replace("\\", "/")
    for part in path.split("/"):
        if part == "..":
            parts.append("_up")
        elif part not in ("", "."):
            name = _windows_name(part) if windows else part
            parts.append(f"_{name}" if _WORDS.fullmatch(name) else name)
    return tuple(parts)


def _windows_name(part: str) -> str:
    """A name that Windows allows: no device, none of its special characters, no dot or space at the end."""
    name = _FORBIDDEN.sub("_", part)
    name = name[:-1] + "_" if name.endswith((".", " ")) else name
    return f"_{name}" if name.partition(".")[0].rstrip().upper() in _DEVICES else name


def assign_outputs(spots: Sequence[SourceIdentity]) -> list[str]:
    """A place for each source, in the order of the sources, all different."""
    levels = [1 if _OWN.fullmatch(spot.at(0)) else 0 for spot in spots]
    while True:
        places = [spot.at(level) for spot, level in zip(spots, levels, strict=True)]
        keys = [_key(place) for place in places]
        crowded = {key for key, count in Counter(keys).items() if count > 1}
        movable = [k for k, key in enumerate(keys) if key in crowded and levels[k] < _LAST]
        if not movable:
            return places
        for k in movable:
            levels[k] += 1


def check_inside(out: Path, folder: Path, names: Iterable[str]) -> None:
    """Raise UsageError if a link leads one of the results out of the output folder."""
    top = os.path.realpath(out)
    for path in (folder, *(folder / name for name in names)):
        found = os.path.realpath(path)
        if not _lies_in(top, found):
            raise UsageError(f"{path}: a link leads out of the output folder, to {found}; remove it.")


def _lies_in(top: str, path: str) -> bool:
    try:
        return os.path.commonpath([top, path]) == top
    except ValueError:  # another drive of Windows
        return False


def was_shortened(place: str) -> bool:
    """Whether a part of a place was cut because no file system takes its name."""
    return any(len(os.fsencode(part)) > _LONGEST - 4 and _CUT.search(part) for part in place.split("/"))


def _key(place: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", place).casefold())


def _fitted(part: str) -> str:
    """A part of a path that any file system accepts: a longer one is cut, and a checksum keeps it unique."""
    if len(os.fsencode(part)) <= _LONGEST:
        return part
    kept = part
    while len(os.fsencode(kept)) > _LONGEST - 17:
        kept = kept[:-1]
    return f"{kept}-{_checksum(part)}"


def _checksum(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
