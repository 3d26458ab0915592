"""What the user named -> the sources to annotate, each with the name of its results, and what is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, UsageError
from . import audio
from .file_type import (
    ANIMATION,
    IMAGE,
    IMAGE_SUFFIXES,
    NO_MEDIA,
    RAW_SUFFIXES,
    SOUND,
    VIDEO,
    FileType,
    file_type,
    holds_text,
)
from .names import natural, number_of
from .video import VIDEO_SUFFIXES

MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES | RAW_SUFFIXES | {".gif"}
"""Names of files that people take for videos or images; one that is passed over is listed with the reason."""

_ALSO_CODE = frozenset([".ts", ".mts"])  # MPEG transport streams, and the source code of TypeScript

NO_CROP = "a video; --crops takes images of faces"
"""Why a video is passed over with --crops."""

PassedOver = list[tuple[str, str]]
"""(path, reason) of what looks like a source and is none."""


@dataclass(frozen=True, slots=True)
class Job:
    """One source and the stem of its results."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class Jobs:
    """One source to annotate.

    Attributes:
        jobs: in the order of the arguments, and in the natural order of names within a folder.
        passed_over: what looks like a source and is none.
        notes: sentences about how folders were understood.
    """

    jobs: list[Job]
    passed_over: PassedOver
    notes: list[str]


@dataclass(slots=True)
class FolderContents:
    """The media files of a folder, each list in the natural order of names.

    Attributes:
        numbered: numbered images (00001.jpg, ...); if there are any, the folder is one source and nothing else counts.
        videos: also animated images.
        photos: all other still images, which are one source together.
        passed_over: what looks like a source and is none.
    """

    numbered: list[Path] = field(default_factory=list)
    videos: list[Path] = field(default_factory=list)
    photos: list[Path] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=list)


def discover(paths: Iterable[Path], *, crops: bool = False, sound: bool = False) -> Jobs:
    """Expand folders, and give every source a unique name.

    A folder of numbered images is one source. Any other folder is replaced by its videos and its photos, which
    are one source together; with ``crops`` for its photos and for the folders of images in it (as in Aff-Wild2's
    ``cropped_aligned``), with ``sound`` for the recordings in it, with images or without. A path that does not exist
    stays: it fails on its own, not the others.

    Raises:
        InputError: a folder with nothing to annotate.
        UsageError: two sources would write the same results.
    """
    found = Jobs([], [], [])
    sources: list[Path] = []
    for path in paths:
        if not path.is_dir():
            sources.append(path)
        elif sound:
            sources += _expand_sound(path)
        else:
            sources += _expand(path, crops, found)
    unique = list(dict.fromkeys(sources))
    stems = Counter(_stem(path) for path in unique)
    # clip.mp4 and clip.mov: the suffix distinguishes their results.
    found.jobs.extend(Job(path, _stem(path) if stems[_stem(path)] == 1 else path.name) for path in unique)
    for name, count in Counter(job.name for job in found.jobs).items():
        if count > 1:
            same = [str(job.path) for job in found.jobs if job.name == name]
            raise UsageError(
                f"{same[0]} and {same[1]} would both write {name}.*; annotate them into different folders."
            )
    return found


def find_jobs(paths: Iterable[Path], *, crops: bool = False, sound: bool = False) -> list[Job]:
    """The jobs of ``discover``."""
    return discover(paths, crops=crops, sound=sound).jobs


def look_into(files: Sequence[Path], suffixes: frozenset[str] | None = None) -> FolderContents:
    """Sort the files of one folder by what they are.

    A name that is usual for videos is believed; of every other file the first bytes are read.

    Args:
        files: in the folder, without subfolders.
        suffixes: count only files that are called so (lower case, with the dot); None counts all media.
    """
    found = FolderContents()
    files = sorted(files, key=lambda path: natural(path.name))
    numbered = [path for path in files if number_of(path.name) is not None]
    found.numbered = numbered if any(path.is_file() for path in numbered) else []
    numbers = set(found.numbered)
    for path in files:
        if path in numbers:
            continue
        if reason := unfit(path):
            if path.suffix.lower() in MEDIA_SUFFIXES:
                found.passed_over.append((str(path), reason))
            continue
        kind, reason = classify(path, suffixes)
        if reason:
            found.passed_over.append((str(path), reason))
        elif kind and numbers:
            found.passed_over.append((str(path), "beside numbered images"))
        elif kind:
            (found.photos if kind == IMAGE else found.videos).append(path)
    return found


def unfit(path: Path) -> str:
    """Why a file of a folder is no source, whatever it holds, or ""."""
    if path.name.startswith("."):
        return "hidden"  # such as the ._ files that macOS leaves on other systems' disks
    if not path.is_file():
        return "a broken link" if path.is_symlink() else "no regular file"
    beside = path.with_name(path.name.removesuffix(".overlay.mp4") + ".json")
    if path.name.endswith(".overlay.mp4") and beside.is_file():
        return "an overlay, the result of another video"
    return ""


def classify(path: Path, suffixes: frozenset[str] | None = None) -> tuple[str, str]:
    """What a file is: (``VIDEO`` or ``IMAGE``, ""), ("", reason) for media that is no source, ("", "") for no media.

    Args:
        suffixes: as for ``look_into``.
    """
    suffix = path.suffix.lower()
    if suffixes is not None and suffix not in suffixes:
        return "", "not one of --extensions" if suffix in MEDIA_SUFFIXES else ""
    try:
        if suffix in VIDEO_SUFFIXES:
            return (VIDEO, "") if suffix not in _ALSO_CODE or not holds_text(path) else ("", "")
        return _by_content(file_type(path), suffix)
    except OSError:  # opening it again says what is wrong
        return (IMAGE if suffix in IMAGE_SUFFIXES else VIDEO, "") if suffix in MEDIA_SUFFIXES else ("", "")


def _by_content(found: FileType | None, suffix: str) -> tuple[str, str]:
    if found is None:
        if suffix in IMAGE_SUFFIXES:
            return IMAGE, ""  # a damaged photo is reported, not overlooked
        return "", "neither an image nor a video by its content" if suffix in MEDIA_SUFFIXES else ""
    if found.kind in (VIDEO, ANIMATION):
        return VIDEO, ""
    if found.kind == IMAGE:
        return IMAGE, ""
    if found.kind == SOUND:
        return "", f"{found.name}: sound without images"
    return "", "" if found.problem == NO_MEDIA and suffix not in MEDIA_SUFFIXES else found.problem


def mixed_note(folder: str, contents: FolderContents) -> str:
    """A sentence about a folder of videos and photos, or ""."""
    if not contents.videos or not contents.photos:
        return ""
    return (
        f"{folder}: holds videos ({len(contents.videos)}) and photos ({len(contents.photos)}); "
        "each video gets a table, and the photos get one together, named after the folder."
    )


def no_source(folder: str, crops: bool) -> InputError:
    """The error for a folder with nothing to annotate."""
    wanted = "image and no folder of images" if crops else "video or image"
    return InputError(f"{folder}: no {wanted} in this folder.")


def _expand(folder: Path, crops: bool, found: Jobs) -> list[Path]:
    entries = sorted(folder.iterdir(), key=lambda entry: natural(entry.name))
    folders = [entry for entry in entries if os.path.isdir(entry) and not entry.name.startswith(".")]
    contents = look_into([entry for entry in entries if not os.path.isdir(entry)])
    found.passed_over.extend(contents.passed_over)
    if contents.numbered:
        return [folder]
    photos = [folder] if contents.photos else []
    if crops:
        found.passed_over.extend((str(video), NO_CROP) for video in contents.videos)
        sources = photos + [each for each in folders if holds_media(each, IMAGE_SUFFIXES)]
    else:
        inside = [each for each in folders if holds_media(each)]
        found.passed_over.extend((str(each), "a folder in a folder, which only batch searches") for each in inside)
        if note := mixed_note(str(folder), contents):
            found.notes.append(note)
        sources = contents.videos + photos
    if not sources:
        reasons = "; ".join(f"{os.path.basename(path)}: {reason}" for path, reason in found.passed_over[:3])
        error = no_source(str(folder), crops)
        raise InputError(f"{str(error)[:-1]} ({reasons}).") if reasons else error
    return sources


def holds_media(folder: Path, suffixes: frozenset[str] = MEDIA_SUFFIXES) -> bool:
    """Whether the name of a file in a folder ends as one of those; False for a folder that may not be read."""
    try:
        return any(entry.suffix.lower() in suffixes and entry.is_file() for entry in folder.iterdir())
    except OSError:
        return False


def _expand_sound(folder: Path) -> list[Path]:
    suffixes = VIDEO_SUFFIXES | audio.SUFFIXES
    found = [
        entry
        for entry in sorted(folder.iterdir(), key=lambda entry: natural(entry.name))
        if os.path.isfile(entry) and entry.suffix.lower() in suffixes
    ]
    if not found:
        raise InputError(f"{folder}: no video or sound file in this folder.")
    return found


def _stem(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def parse_time(text: str | None, option: str) -> float | None:
    """Seconds from "90", "90s", "1:30.5" or "1:02:03"; None stays None.

    Raises:
        UsageError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:(?:([0-9]{1,9}):)?([0-9]{1,9}):)?([0-9]{1,9}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})s?", text)
    if not match:
        raise UsageError(f"{option} {text}: write a time as 90, 90s, 1:30.5 or 1:02:03.")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3])
