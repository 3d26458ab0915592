"""What the user named -> the videos to annotate, each with the name of its results."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, UsageError
from . import audio
from .images import IMAGE_SUFFIXES
from .video import VIDEO_SUFFIXES


@dataclass(frozen=True, slots=True)
class Job:
    """One source and the stem of its results."""

    path: Path
    name: str


def find_jobs(paths: Iterable[Path], *, crops: bool = False, sound: bool = False) -> list[Job]:
    """Expand folders and give every source a name of its own.

    A folder of numbered pictures is one source. Any other folder stands for the videos in it; with ``crops`` for the
    folders of numbered pictures in it (as in Aff-Wild2's ``cropped_aligned``), with ``sound`` for the recordings in it
    that may be heard, with pictures or without. A path that does not exist stays: it fails on its own, not the others.

    Raises:
        InputError: a folder with nothing to annotate.
        UsageError: two sources would write the same results.
    """
    expand = _expand_sound if sound else lambda folder: _expand(folder, crops)
    sources = [source for path in paths for source in (expand(path) if path.is_dir() else [path])]
    unique = list(dict.fromkeys(sources))
    stems = Counter(_stem(path) for path in unique)
    # clip.mp4 beside clip.mov: the suffix tells their results apart.
    jobs = [Job(path, _stem(path) if stems[_stem(path)] == 1 else path.name) for path in unique]
    for name, count in Counter(job.name for job in jobs).items():
        if count > 1:
            same = [str(job.path) for job in jobs if job.name == name]
            raise UsageError(
                f"{same[0]} and {same[1]} would both write {name}.*; annotate them into different folders."
            )
    return jobs


def _expand(folder: Path, crops: bool) -> list[Path]:
    entries = sorted(folder.iterdir(), key=_natural)
    if any(_is_numbered_picture(entry) for entry in entries):
        return [folder]
    if crops:
        found = [entry for entry in entries if os.path.isdir(entry) and any(map(_is_numbered_picture, entry.iterdir()))]
    else:
        found = [entry for entry in entries if os.path.isfile(entry) and entry.suffix.lower() in VIDEO_SUFFIXES]
    if not found:
        wanted = "folder of numbered pictures" if crops else "video or numbered picture (00001.jpg, ...)"
        raise InputError(f"{folder}: no {wanted} in this folder.")
    return found


def _expand_sound(folder: Path) -> list[Path]:
    suffixes = VIDEO_SUFFIXES | audio.SUFFIXES
    found = [
        entry
        for entry in sorted(folder.iterdir(), key=_natural)
        if os.path.isfile(entry) and entry.suffix.lower() in suffixes
    ]
    if not found:
        raise InputError(f"{folder}: no video or sound file in this folder.")
    return found


def _is_numbered_picture(path: Path) -> bool:
    return (
        path.suffix.lower() in IMAGE_SUFFIXES and path.stem.isascii() and path.stem.isdigit() and os.path.isfile(path)
    )


def _stem(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def _natural(path: Path) -> list[tuple[int, int | str]]:
    """Sort key by which clip2 comes before clip10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"([0-9]+)", path.name) if part]


def parse_time(text: str | None, option: str) -> float | None:
    """Seconds from "90", "90s", "1:30.5" or "1:02:03"; None stays None.

    Raises:
        UsageError: anything else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)s?", text)
    if not match:
        raise UsageError(f"{option} {text}: write a time as 90, 90s, 1:30.5 or 1:02:03.")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + float(match[3])
