"""Small tools for tests: what must be there, programs to compare with, and functions that note their calls."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest

T = TypeVar("T")


def program(name: str) -> str:
    """The path of a program that tests compare with, FFmpeg's or one that a package installed beside Python's; without
    it the test is skipped."""
    found = shutil.which(name) or shutil.which(name, path=Path(sys.executable).parent)
    if found is None:
        pytest.skip(f"needs {name}")
    return found


def known(value: T | None) -> T:
    """The value, which is not None."""
    assert value is not None
    return value


class Stamped(Protocol):
    """A packet, frame or stream of PyAV: something with a time in ticks."""

    @property
    def pts(self) -> int | None:
        """Ticks."""

    @property
    def time_base(self) -> Any:
        """Seconds of a tick."""


def stamp(of: Stamped) -> float:
    """The time stamp in seconds."""
    return float(known(of.pts) * known(of.time_base))


def noting(notes: list[Any], note: Any, function: Callable[..., T]) -> Callable[..., T]:
    """The same function, which adds a note to a list each time that it is called."""

    def noted(*arguments: Any, **options: Any) -> T:
        notes.append(note)
        return function(*arguments, **options)

    return noted
