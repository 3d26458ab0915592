"""Arguments and lists (files, folders, patterns) -> tasks, in the same order every time."""

from __future__ import annotations

import glob
import os
import re
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import HsemotionError, InputError, UsageError
from ..media.discovery import (
    MEDIA_SUFFIXES,
    NO_CROP,
    FolderContents,
    classify,
    holds_media,
    look_into,
    mixed_note,
    no_source,
    unfit,
)
from ..media.file_type import IMAGE, IMAGE_SUFFIXES
from ..media.names import natural
from . import output_paths
from .messages import Task
from .output_paths import SourceIdentity, safe

_LARGEST_LIST = 1 << 28  # bytes


@dataclass(frozen=True, slots=True)
class Search:
    """How folders are searched.

    Attributes:
        out: the output folder, whose results are not inputs.
        recursive: also in folders below folders.
        suffixes: count only files that are called so, lower case with the dot; None counts every video and image.
        crops: look for folders of images instead.
    """

    out: Path
    recursive: bool = True
    suffixes: frozenset[str] | None = None
    crops: bool = False


@dataclass(frozen=True, slots=True)
class Discovery:
    """The result of a search.

    Attributes:
        tasks: each source once, in order.
        ignored: path and reason of each file that looks like a source but is not one.
        faults: path and error of each input that was named but cannot be used.
        notes: sentences about how folders were understood.
    """

    tasks: list[Task]
    ignored: list[tuple[str, str]]
    faults: list[tuple[str, HsemotionError]]
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Found:
    spots: list[SourceIdentity] = field(default_factory=list)
    ignored: list[tuple[str, str]] = field(default_factory=list)
    faults: list[tuple[str, HsemotionError]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def parse_suffixes(text: str | None) -> frozenset[str] | None:
    """Read ``--extensions mp4,mov``; None means every video and image with any extension.

    Raises:
        UsageError: nothing in it, or no suffix.
    """
    if text is None:
        return None
    names = [part.strip().removeprefix("*").removeprefix(".").lower() for part in text.split(",")]
    if not all(re.fullmatch(r"\w+", name) for name in names):
        raise UsageError(f"--extensions {text}: write them as mp4,mov.")
    return frozenset(f".{name}" for name in names)


def find(inputs: Sequence[str], lists: Sequence[Path], search: Search) -> Discovery:
    """Everything that the arguments and the lists name.

    An argument is a file, a folder, a pattern (where no file has that very name), ``@LIST``, or ``-`` for a list on
    standard input. The lines of a list are files and folders, and nothing else.

    Raises:
        UsageError: a list cannot be read.
    """
    found = _Found()
    for text in map(_with_slashes, inputs):
        if text == "-":
            _add_list(read_list(sys.stdin.buffer.read(_LARGEST_LIST)), search, found)
        elif text.startswith("@"):
            _add_list(_list_file(Path(text[1:])), search, found)
        elif not os.path.lexists(text) and glob.has_magic(text):
            _add_pattern(text, search, found)
        else:
            _add(text, (), search, found)
    for path in lists:
        _add_list(_list_file(path), search, found)
    unique: dict[str, SourceIdentity] = {}
    for spot in found.spots:
        if unique.setdefault(os.path.abspath(spot.path), spot) is not spot:
            found.ignored.append((spot.path, "named twice"))
    spots = list(unique.values())
    tasks = [Task(spot.path, place) for spot, place in zip(spots, output_paths.assign_outputs(spots), strict=True)]
    return Discovery(tasks, found.ignored, found.faults, found.notes)


def read_list(data: bytes) -> list[str]:
    """The paths in a list: one a line, or separated by NUL if there is any; empty lines mean nothing.

    Byte order marks of UTF-8 and UTF-16, and carriage returns before line feeds, are what Windows leaves in such
    files. Spaces belong to names.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    parts = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    return [os.fsdecode(part) for part in parts if part]


def _list_file(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return read_list(file.read(_LARGEST_LIST))
    except OSError as error:
        raise UsageError(f"{path}: the list cannot be read ({error.strerror}).") from error


def _add_list(lines: Iterable[str], search: Search, found: _Found) -> None:
    for line in map(_with_slashes, lines):
        _add(line, safe(line), search, found)


def _with_slashes(path: str) -> str:
    """A path with "/" between its parts, which Windows takes as well as its own."""
    return path.replace(os.sep, "/")


def _add_pattern(text: str, search: Search, found: _Found) -> None:
    matches = sorted(glob.glob(text, recursive=True), key=natural)
    fixed = text[: re.search(r"[*?[]", text).start()].rpartition("/")[0]  # type: ignore[union-attr]
    before = len(found.spots) + len(found.faults)
    # "**" names folders as well as what is in them; one is searched only where nothing in it is named.
    above = {folder for path in matches for folder in _parents(path)}
    for path in matches:
        behind = safe(path[len(fixed) :])[1 if path[len(fixed) :].startswith("/") else 0 :]
        if os.path.isdir(path):
            if path.rstrip("/") not in above and not _is_out(path, search):
                _walk(path, behind, search, found)
        else:
            _add_match(path, behind, os.path.splitext(text)[1].lower() in IMAGE_SUFFIXES, search, found)
    if before == len(found.spots) + len(found.faults):
        found.faults.append((text, InputError(f"{text}: no file or folder matches this pattern.")))


def _add_match(path: str, behind: tuple[str, ...], images: bool, search: Search, found: _Found) -> None:
    """A file that a pattern found; images count one by one only where the pattern asks for them (``*.jpg``)."""
    kind, reason = "", unfit(Path(path))
    if not reason:
        kind, reason = classify(Path(path), search.suffixes)
    elif os.path.splitext(path)[1].lower() not in MEDIA_SUFFIXES:
        return
    if kind == IMAGE and not images:
        reason = "an image; name its folder, or end the pattern as *.jpg"
    if reason:
        found.ignored.append((path, reason))
    elif kind:
        found.spots.append(SourceIdentity(path, behind, safe(path)))


def _parents(path: str) -> Iterator[str]:
    while (above := os.path.dirname(path.rstrip("/"))) not in ("", "/", path):  # "C:" is its own on Windows
        yield (path := above)


def _add(path: str, short: tuple[str, ...], search: Search, found: _Found) -> None:
    """A file or folder that was named.

    Args:
        short: the parts with which its short places begin.
    """
    if os.path.isdir(path):
        before = len(found.spots) + len(found.faults)
        _walk(path, short, search, found)
        if before == len(found.spots) + len(found.faults):
            found.faults.append((path, no_source(path, search.crops)))
        return
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        found.faults.append((path, InputError(f"{path}: cannot be used ({reason}).")))
        return
    full = safe(path) or ("_",)
    if not stat.S_ISREG(mode):
        # Opening a pipe or a device might wait forever.
        found.faults.append((path, InputError(f"{path}: neither a file nor a folder.")))
    else:
        found.spots.append(SourceIdentity(path, short or full[-1:], full))


def _walk(root: str, short: tuple[str, ...], search: Search, found: _Found) -> None:
    """Everything below a folder; links to folders are followed, but never in a circle."""
    waiting: list[tuple[str, tuple[str, ...], tuple[tuple[int, int], ...]]] = [(root, (), ())]
    named = safe(root)
    while waiting:
        folder, parts, above = waiting.pop()
        try:
            status = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: natural(entry.name))
        except OSError as error:
            found.faults.append((folder, InputError(f"{folder}: this folder cannot be read ({error.strerror}).")))
            continue
        here = (status.st_dev, status.st_ino)
        if here in above:
            found.ignored.append((folder, "a link back to a folder above it"))
            continue
        contents = look_into([Path(entry.path) for entry in entries if not _is_folder(entry)], search.suffixes)
        found.ignored += [(os.path.join(folder, os.path.basename(path)), why) for path, why in contents.passed_over]
        _add_folder(folder, parts, (root, short, named), contents, search, found)
        below = [e for e in entries if _is_folder(e) and not e.name.startswith(".") and not _is_out(e.path, search)]
        if not search.recursive and not search.crops:
            found.ignored += [
                (e.path, "a folder in a folder; --no-recursive") for e in below if holds_media(Path(e.path))
            ]
        if search.recursive or (search.crops and not parts):
            waiting += [(e.path, (*parts, *safe(e.name)), (*above, here)) for e in reversed(below)]


def _add_folder(
    folder: str,
    parts: tuple[str, ...],
    above: tuple[str, tuple[str, ...], tuple[str, ...]],
    contents: FolderContents,
    search: Search,
    found: _Found,
) -> None:
    """The sources in one folder: each video, and all its images together.

    Args:
        parts: of its path below the folder that was named.
        above: the folder that was named, with the beginning of its short and of its full places.
    """
    root, short, named = above
    if contents.numbered or contents.photos:
        name = parts or (os.path.basename(os.path.realpath(root)) or "_",)
        found.spots.append(
            SourceIdentity(folder, (*short, *parts) or safe(name[-1]), (*named, *parts) or name, folder=True)
        )
    if search.crops:
        found.ignored += [(os.path.join(folder, video.name), NO_CROP) for video in contents.videos]
        return
    for video in contents.videos:
        inside = (*parts, *safe(video.name))
        found.spots.append(SourceIdentity(os.path.join(folder, video.name), (*short, *inside), (*named, *inside)))
    if note := mixed_note(folder, contents):
        found.notes.append(note)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a circular link, or a folder without permission
        return False


def _is_out(path: str, search: Search) -> bool:
    try:
        return os.path.samefile(path, search.out)
    except OSError:
        return False
