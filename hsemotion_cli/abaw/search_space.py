"""The settings that are tried: smoothing filters, among them HSEmotion's grid, and weights of a blend."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..errors import UsageError
from ..evaluation.calibration import WEIGHTS
from ..postprocess.recipe import Smoothing

T = TypeVar("T")

SIGMAS = (0.1, 1.0, 10.0, 50.0, 100.0, 500.0, 1e3, 1e4, 1e5)
"""Of weights exp(-d^2 / sigma), d in frames (HSEmotion, ABAW-7)."""

DELTAS = (1, 5, 10, 50, 100)
"""Rows that a window goes to each side (HSEmotion, ABAW-7)."""

SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Widths for videos of any frame rate: standard deviations of Gaussians, and full widths of boxes."""


@dataclass(frozen=True, slots=True)
class Family:
    """Filters that differ in nothing but how many rows they go to each side, so that one walk smooths by all of them.

    Attributes:
        smoothing: one of them.
        windows: their rows to each side, increasing, as ``smooth.nested`` takes them.
        members: (windows,) where each is among the filters of the grid.
    """

    smoothing: Smoothing
    windows: tuple[float, ...]
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Filters in rows and columns, to print and to draw.

    Attributes:
        title: what they are.
        rows, columns: what each is called.
        down, across: what rows and columns are.
        members: (rows, columns) where each filter is among those of the grid.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    down: str
    across: str
    members: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """What is tried; no smoothing at all always is, first of all.

    Attributes:
        sigmas: of Gaussians as the papers write them, in increasing order.
        deltas: rows to each side, for each of the sigmas, and for boxes; in increasing order.
        seconds: widths in seconds, for Gaussians and for boxes; in increasing order.
        weights: of the first of two models, in [0, 1].
    """

    sigmas: tuple[float, ...] = SIGMAS
    deltas: tuple[int, ...] = DELTAS
    seconds: tuple[float, ...] = ()
    weights: tuple[float, ...] = WEIGHTS

    @classmethod
    def of(
        cls,
        sigmas: str | None = None,
        deltas: str | None = None,
        seconds: str | None = None,
        weights: str | None = None,
    ) -> Grid:
        """Read the words of the command line: numbers with commas between them, or "none"; None is the papers' grid.

        Args:
            seconds: None is none of them; "usual" is ``SECONDS``.

        Raises:
            UsageError: something that is no such number.
        """
        given: dict[str, tuple] = {}
        if sigmas is not None:
            given["sigmas"] = _numbers("--sigmas", sigmas, float, lambda x: 0 < x < math.inf, "numbers above 0")
        if deltas is not None:
            given["deltas"] = _numbers("--deltas", deltas, int, lambda x: 0 < x < 10**6, "whole numbers from 1")
        if seconds is not None and seconds != "usual":
            given["seconds"] = _numbers("--seconds", seconds, float, lambda x: 0 < x < math.inf, "numbers above 0")
        elif seconds is not None:
            given["seconds"] = SECONDS
        if weights is not None:
            given["weights"] = _numbers("--weights", weights, float, lambda x: 0 <= x <= 1, "numbers from 0 to 1")
            if not given["weights"]:
                raise UsageError("--weights none: give at least one; use --model to take the scores of one model only.")
        return cls(**given)

    @property
    def filters(self) -> tuple[Smoothing, ...]:
        """All filters: none, boxes, Gaussians, and those in seconds. Of equally good ones the first is taken."""
        boxes = [Smoothing.parse(f"abaw:box/{delta}") for delta in self.deltas]
        gaussians = [Smoothing.parse(f"abaw:{sigma!r}/{delta}") for sigma in self.sigmas for delta in self.deltas]
        seconds = [Smoothing(kernel, width) for kernel in ("box", "gaussian") for width in self.seconds]
        return (Smoothing(), *boxes, *gaussians, *seconds)

    @property
    def families(self) -> tuple[Family, ...]:
        """All filters, each in one of these; the longest walks first, so that threads end together."""
        filters, each = self.filters, len(self.deltas)
        rows = (each + each * len(self.sigmas)) if each else 0
        nested = [
            Family(filters[first], self.deltas, tuple(range(first, first + each)))
            for first in range(1, 1 + rows, max(each, 1))
        ]
        alone = [Family(filters[k], (math.inf,), (k,)) for k in range(1 + rows, len(filters))]
        return (*reversed(alone), *nested, Family(filters[0], (0,), (0,)))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All filters in rows and columns; no smoothing is a row of each, the same in all columns."""
        filters = len(self.filters)
        found = []
        if self.deltas:
            rows = ("none", "box", *(f"{sigma:g}" for sigma in self.sigmas))
            columns = tuple(map(str, self.deltas))
            members = self._members(1, len(rows) - 1, len(columns))
            found.append(Block("weights exp(-d^2 / sigma)", rows, columns, "sigma", "rows to each side", members))
        if self.seconds:
            columns = tuple(f"{width:g}" for width in self.seconds)
            members = self._members(filters - 2 * len(columns), 2, len(columns))
            found.append(Block("in seconds", ("none", "box", "gaussian"), columns, "kernel", "width (s)", members))
        if not found:
            found.append(Block("no smoothing", ("none",), ("",), "", "", ((0,),)))
        return tuple(found)

    @staticmethod
    def _members(first: int, rows: int, columns: int) -> tuple[tuple[int, ...], ...]:
        lines = [tuple(range(first + row * columns, first + (row + 1) * columns)) for row in range(rows)]
        return ((0,) * columns, *lines)


def _numbers(
    option: str, text: str, kind: Callable[[str], T], allowed: Callable[[T], bool], wanted: str
) -> tuple[T, ...]:
    """Different numbers in increasing order; none for "none"."""
    if text == "none":
        return ()
    try:
        found = {kind(part) for part in text.split(",")}
    except ValueError:
        found = set()
    if not found or not all(map(allowed, found)):
        raise UsageError(f"{option} {text}: give {wanted} with commas between them.")
    return tuple(sorted(found))  # type: ignore[type-var]
