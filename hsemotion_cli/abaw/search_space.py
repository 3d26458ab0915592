"""The search space of tuning: smoothing filters, HSEmotion's grid among them, and blend weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..errors import UsageError
from ..evaluation.calibration import THRESHOLDS, WEIGHTS
from ..postprocess.recipe import Smoothing

T = TypeVar("T")

SIGMAS = (0.1, 1.0, 10.0, 50.0, 100.0, 500.0, 1e3, 1e4, 1e5)
"""Sigmas of the filters exp(-d^2 / sigma), d in frames (HSEmotion, ABAW-7)."""

DELTAS = (1, 5, 10, 50, 100)
"""Half-widths of the filter windows, in rows (HSEmotion, ABAW-7)."""

SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Widths for videos of any frame rate: standard deviations of Gaussians, and full widths of boxes."""

GATES = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Gates of expressions, around those of HSEmotion at the 8th challenge (0.7 and 0.8)."""


@dataclass(frozen=True, slots=True)
class Family:
    """Filters that differ only in the half-width of their window, so that one pass computes all of them.

    Attributes:
        smoothing: one of them.
        windows: their half-widths in rows, increasing, as ``smoothing.nested`` takes them.
        members: (windows,) index of each among the filters of the grid.
    """

    smoothing: Smoothing
    windows: tuple[float, ...]
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A table of filters, for printing and plotting.

    Attributes:
        title: of the table.
        rows, columns: labels of rows and columns.
        down, across: the parameters of rows and columns.
        members: (rows, columns) index of each filter among those of the grid.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    down: str
    across: str
    members: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """The settings to try; no smoothing always comes first.

    Attributes:
        sigmas: of Gaussians in the papers' notation, increasing.
        deltas: half-widths in rows, for each of the sigmas and for boxes, increasing.
        seconds: widths in seconds, for Gaussians and for boxes, increasing.
        weights: of the first of two models, in [0, 1].
        gates: of expressions, increasing, beside none; see ``postprocess.gate``.
        thresholds: of action units, in (0, 1), increasing.
        both: see ``objectives.ActionUnitF1``.
        open: names of the attributes above that may be extended where the best value is the last one; not those that
            the user gave.
    """

    sigmas: tuple[float, ...] = SIGMAS
    deltas: tuple[int, ...] = DELTAS
    seconds: tuple[float, ...] = ()
    weights: tuple[float, ...] = WEIGHTS
    gates: tuple[float, ...] = ()
    thresholds: tuple[float, ...] = THRESHOLDS
    both: bool = False
    open: frozenset[str] = field(default=frozenset(), compare=False)

    @classmethod
    def of(
        cls,
        sigmas: str | None = None,
        deltas: str | None = None,
        seconds: str | None = None,
        weights: str | None = None,
        gates: str | None = None,
        thresholds: str | None = None,
    ) -> Grid:
        """Parse command-line values: comma-separated numbers, or "none"; None means the papers' grid, which is open.

        Args:
            seconds: None means none; "usual" is ``SECONDS``.
            gates: None means none; "usual" is ``GATES``.

        Raises:
            UsageError: a value that is not a number in range.
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
        if gates is not None:
            usual = gates == "usual"
            limits = "numbers from 0.5, below 1"
            given["gates"] = GATES if usual else _numbers("--gates", gates, float, lambda x: 0.5 <= x < 1, limits)
        if thresholds is not None:
            given["thresholds"] = _numbers(
                "--thresholds", thresholds, float, lambda x: 0 < x < 1, "numbers between 0 and 1"
            )
            if not given["thresholds"]:
                raise UsageError("--thresholds none: give at least one.")
        own = {"sigmas": sigmas, "deltas": deltas, "thresholds": thresholds, "seconds": seconds}
        free = {name for name, text in own.items() if text == ("usual" if name == "seconds" else None)}
        return replace(cls(open=frozenset(free)), **given)  # type: ignore[arg-type]

    @property
    def filters(self) -> tuple[Smoothing, ...]:
        """All filters: none, boxes, Gaussians, and those in seconds. Ties go to the first."""
        boxes = [Smoothing.parse(f"abaw:box/{delta}") for delta in self.deltas]
        gaussians = [Smoothing.parse(f"abaw:{sigma!r}/{delta}") for sigma in self.sigmas for delta in self.deltas]
        seconds = [Smoothing(kernel, width) for kernel in ("box", "gaussian") for width in self.seconds]
        return (Smoothing(), *boxes, *gaussians, *seconds)

    @property
    def families(self) -> tuple[Family, ...]:
        """All filters, each in exactly one family; the slowest families first, so that threads finish together."""
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
        """All filters as tables; each has a row for no smoothing, which is the same in all columns."""
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
    """Distinct numbers in increasing order; empty for "none"."""
    if text == "none":
        return ()
    try:
        found = {kind(part) for part in text.split(",")}
    except ValueError:
        found = set()
    if not found or not all(map(allowed, found)):
        raise UsageError(f"{option} {text}: give {wanted}, separated by commas.")
    return tuple(sorted(found))  # type: ignore[type-var]
