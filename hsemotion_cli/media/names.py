"""File names: their natural order, and the numbers of numbered images."""

from __future__ import annotations

import os
import re

from .file_type import IMAGE_SUFFIXES

_DIGITS = re.compile(r"([0-9]{1,4000})")  # Python refuses to read a number of more than 4300 digits
_MOST_DIGITS = 12  # of the number of an image


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key by which clip2 comes before clip10; two different names never compare as equal."""
    parts = [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in _DIGITS.split(name) if part]
    return parts, name


def number_of(name: str) -> int | None:
    """The number of a numbered image: "00001.jpg" is 1; None for any other name."""
    stem, suffix = os.path.splitext(name)
    numbered = suffix.lower() in IMAGE_SUFFIXES and re.fullmatch(rf"[0-9]{{1,{_MOST_DIGITS}}}", stem)
    return int(stem) if numbered else None
