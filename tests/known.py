"""Small tools for tests: what must be there, programs to compare with, and functions that note their calls."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import pytest

T = TypeVar("T")


def program(name: str) -> str:
    """The path of a program of FFmpeg, which tests compare with; without it the test is skipped."""
    found = shutil.which(name)
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
