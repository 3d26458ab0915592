"""A heat map of vector shapes: neighbouring cells of one colour become one rectangle, so that files stay small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVELS = 64
"""Colours between 0 and 1; a value is off by half a step at most, 0.8 %, which no eye sees."""


def mosaic(axes: Axes, edges: NDArray[np.float64], values: NDArray[np.float64], cmap: str) -> None:
    """Draw a row for each series, from the top of a reversed axis: row k lies between k and k + 1.

    Args:
        edges: (n + 1,) where columns begin and end, rising.
        values: (rows, n) in [0, 1]; nan is left empty.
    """
    import matplotlib
    from matplotlib.collections import PathCollection
    from matplotlib.path import Path

    shapes: dict[int, list[NDArray[np.float64]]] = {}
    for k, row in enumerate(values):
        for level, first, last in runs(row):
            left, right = edges[first], edges[last]
            corners = np.array([[left, k], [right, k], [right, k + 1], [left, k + 1], [left, k]], np.float64)
            shapes.setdefault(level, []).append(corners)
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    levels = sorted(shapes)
    paths = [Path(np.concatenate(shapes[level]), codes * len(shapes[level])) for level in levels]
    colours = [matplotlib.colormaps[cmap](level / (LEVELS - 1)) for level in levels]
    # Edges of the same colour close the hairlines that viewers leave between shapes that touch.
    drawn = PathCollection(paths, facecolors=colours, edgecolors=colours, linewidths=0.15)
    drawn.set_array(None)
    axes.add_collection(drawn, autolim=False)


def runs(row: NDArray[np.float64]) -> list[tuple[int, int, int]]:
    """(level, first column, column behind the last) of each run of cells with the same level; nan belongs to none."""
    levels = np.where(np.isnan(row), -1, np.rint(np.clip(np.nan_to_num(row), 0, 1) * (LEVELS - 1))).astype(int)
    starts = np.flatnonzero(np.diff(levels, prepend=-2))
    ends = np.append(starts[1:], len(levels))
    return [(int(levels[a]), int(a), int(b)) for a, b in zip(starts, ends, strict=True) if levels[a] >= 0]
