"""Where the best setting lies at the edge of a grid: extending the grid, and saying what was not searched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ..postprocess.recipe import Smoothing
from .search_space import Grid

DELTAS_BEYOND = (200, 500, 1000)
SIGMAS_BEYOND = (1e6, 1e7)
SECONDS_BELOW = (0.02, 0.05)
SECONDS_BEYOND = (5.0, 10.0)
"""Values that a grid is extended by, one after the other: the papers' steps, continued. There are no others, so that a
score that keeps growing with the width (labels that hardly change) does not extend the grid for ever."""

_NEXT_TO_NOTHING = 0.1
"""A Gaussian with this sigma gives the next frame exp(-10) of the weight of the frame itself."""

_FLAT = 10.0
"""A Gaussian with sigma of this many squared half-widths is within a tenth of a box over the same window."""


@dataclass(frozen=True, slots=True)
class Edge:
    """A chosen value that is the smallest or largest of its list.

    Attributes:
        name: of the attribute of ``Grid``.
        value: that was chosen.
        low: whether it is the smallest.
    """

    name: str
    value: float
    low: bool


def edges(grid: Grid, chosen: Smoothing) -> list[Edge]:
    """The parameters of a filter of the grid that are the first or last of their lists.

    Not an edge: the least smoothing, since none at all is always tried, and a sigma so large that only the window
    matters.
    """
    found = []
    for delta in grid.deltas:
        if chosen == Smoothing.parse(f"abaw:box/{delta}"):
            found += _ends("deltas", delta, grid.deltas)
        for sigma in grid.sigmas:
            if chosen == Smoothing.parse(f"abaw:{sigma!r}/{delta}"):
                flat = sigma >= _FLAT * delta**2
                found += [*_ends("deltas", delta, grid.deltas), *(() if flat else _ends("sigmas", sigma, grid.sigmas))]
    for width in grid.seconds:
        if chosen in (Smoothing("box", width), Smoothing("gaussian", width)):
            found += _ends("seconds", width, grid.seconds)
    nothing = {("deltas", 1), *(("sigmas", sigma) for sigma in grid.sigmas if sigma <= _NEXT_TO_NOTHING)}
    return [edge for edge in found if not (edge.low and (edge.name, edge.value) in nothing)]


def _ends(name: str, value: float, values: tuple[float, ...]) -> list[Edge]:
    if value not in (values[0], values[-1]):
        return []
    return [Edge(name, value, low=value == values[0] and len(values) > 1)]


def extended(grid: Grid, chosen: Iterable[Smoothing], longest: int) -> Grid:
    """The grid with the next value beyond each edge that one of these filters is at; the same grid if there is none.

    Args:
        longest: rows of the longest video; no window reaches further than half of it.
    """
    wider: dict[str, set[float]] = {
        "sigmas": set(grid.sigmas),
        "deltas": set(grid.deltas),
        "seconds": set(grid.seconds),
    }
    for edge in (edge for one in chosen for edge in edges(grid, one) if edge.name in grid.open):
        above = {"sigmas": SIGMAS_BEYOND, "deltas": DELTAS_BEYOND, "seconds": SECONDS_BEYOND}[edge.name]
        below = SECONDS_BELOW[::-1] if edge.name == "seconds" else ()
        steps = [x for x in below if x < edge.value] if edge.low else [x for x in above if x > edge.value]
        if steps and not (edge.name == "deltas" and steps[0] > longest // 2):
            wider[edge.name].add(steps[0])
    changed = {name: tuple(sorted(values)) for name, values in wider.items()}
    return replace(grid, **changed)  # type: ignore[arg-type]


def added(before: Grid, after: Grid) -> dict[str, tuple[float, ...]]:
    """What a grid was extended by: name of the attribute -> values."""
    names = ("sigmas", "deltas", "seconds")
    found = {name: tuple(x for x in getattr(after, name) if x not in getattr(before, name)) for name in names}
    return {name: values for name, values in found.items() if values}
