"""Image and box of a face -> its look: a coarse colour image of face and hair, by which tracks are told apart.

A look is kept in memory while a face is followed, about a second, and nowhere else. It changes with the light, the
direction of the head and the expression, so it does not identify anybody.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image

Look = NDArray[np.float32]
"""(n, 3): mean RGB in [0, 255] of cells of a grid on a face; nan for cells outside the image."""

_COLUMNS, _ROWS = 8, 11
_LEFT, _TOP, _ACROSS, _DOWN = -1 / 30, -0.275, 16 / 15, 1.375  # of the grid, in widths and heights of the face's box

_FLAT = 12.0
"""Levels of 255 that are added to the contrast, so that noise in a dark image does not count as a look."""

_VISIBLE = 0.6
"""Share of the cells that are compared, those that are most alike: a hand may be before the others."""

_SEEN = 0.4
"""Share of the cells that are seen at least where something is before most of a face."""

_LEAST = 0.4
"""Share of the cells that must lie in the image."""


def _cells() -> NDArray[np.bool_]:
    """(_ROWS, _COLUMNS): the cells in an ellipse around face and hair; in the corners is what is behind."""
    rows, columns = np.mgrid[:_ROWS, :_COLUMNS] + 0.5
    x, y = _LEFT + columns * _ACROSS / _COLUMNS, _TOP + rows * _DOWN / _ROWS
    inside: NDArray[np.bool_] = np.hypot((x - 0.5) / 0.45, (y - 0.4) / 0.7) <= 1
    return inside


_CELLS = _cells()


def look(image: Image, box: tuple[float, float, float, float]) -> Look | None:
    """The look of the face in ``box`` (x, y, width, height in pixels of ``image``); None if most is outside."""
    x, y, width, height = box
    left, top = x + _LEFT * width, y + _TOP * height
    columns = _inside(left, _ACROSS * width / _COLUMNS, _COLUMNS, image.shape[1])
    rows = _inside(top, _DOWN * height / _ROWS, _ROWS, image.shape[0])
    if columns.stop <= columns.start or rows.stop <= rows.start:
        return None
    across = _pixels(left, _ACROSS * width / _COLUMNS, columns, image.shape[1])
    down = _pixels(top, _DOWN * height / _ROWS, rows, image.shape[0])
    part = image[down, across]
    # Pixels are skipped first: exact enough, and the time does not grow with the face.
    step = max(1, min(part.shape[1] // (4 * _COLUMNS), part.shape[0] // (4 * _ROWS)))
    size = (columns.stop - columns.start, rows.stop - rows.start)
    found = np.full((_ROWS, _COLUMNS, 3), np.nan, np.float32)
    found[rows, columns] = cv2.resize(part[::step, ::step], size, interpolation=cv2.INTER_AREA)
    values = found[_CELLS]
    return values if np.isnan(values[:, 0]).mean() <= 1 - _LEAST else None


class Difference(NamedTuple):
    """How much two looks differ, whatever the light, in standard deviations; 0 for the same.

    Attributes:
        whole: mean over all cells.
        alike: mean over the cells that are most alike: small where something is before a part of the face.
    """

    whole: float
    alike: float


UNKNOWN = Difference(0.0, 0.0)
"""Where looks cannot be compared, they are no reason for anything."""


def difference(one: Look, other: Look) -> Difference:
    """Compare two looks.

    Brightness, cast and contrast are fitted on all cells, and then on the cells that differ least, in two rounds, as in
    least trimmed squares. Where too few cells are known in both, it is ``UNKNOWN``.
    """
    known = ~(np.isnan(one[:, 0]) | np.isnan(other[:, 0]))
    if not known.all():
        one, other = one[known], other[known]
    count = round(_VISIBLE * len(one))
    if count < _LEAST * len(known):
        return UNKNOWN
    apart = np.abs(_standard(one, one) - _standard(other, other)).mean(axis=1)
    whole = float(apart.mean())
    for _ in range(2):
        alike = np.argpartition(apart, count - 1)[:count]
        apart = np.abs(_standard(one, one[alike]) - _standard(other, other[alike])).mean(axis=1)
    return Difference(whole, float(np.partition(apart, count - 1)[:count].mean()))


def difference_of_part(one: Look, other: Look) -> float:
    """How much the ``_SEEN`` most alike cells of two looks differ: 0 where too few are known in both."""
    known = ~(np.isnan(one[:, 0]) | np.isnan(other[:, 0]))
    count = round(_SEEN * int(known.sum()))
    if count < _LEAST * _SEEN * len(known):
        return 0.0
    one, other = one[known], other[known]
    apart = np.abs(_standard(one, one) - _standard(other, other)).mean(axis=1)
    for _ in range(3):
        alike = np.argpartition(apart, count - 1)[:count]
        apart = np.abs(_standard(one, one[alike]) - _standard(other, other[alike])).mean(axis=1)
    return float(np.partition(apart, count - 1)[:count].mean())


def _standard(values: Look, fitted: Look) -> Look:
    """Values less the mean of each colour and over the contrast of those that the fit is made on."""
    mean = fitted.mean(axis=0)
    from_mean = fitted - mean
    contrast = math.sqrt(float(np.vdot(from_mean, from_mean)) / from_mean.size) + _FLAT
    return (values - mean) / np.float32(contrast)


def mixed(one: Look, other: Look, share: float) -> Look:
    """``one`` with a ``share`` of ``other``; where one of them is unknown, the other."""
    values = one + np.float32(share) * (other - one)
    if not np.isnan(values).any():
        return values
    return np.where(np.isnan(one), other, np.where(np.isnan(other), one, values))


def _inside(start: float, cell: float, count: int, length: int) -> slice:
    """The cells whose middle lies in [0, length)."""
    first = max(math.ceil(-start / cell - 0.5), 0)
    last = min(math.ceil((length - start) / cell - 0.5), count)
    return slice(first, max(last, first))


def _pixels(start: float, cell: float, cells: slice, length: int) -> slice:
    """The pixels of some cells that lie in the image, one at least."""
    first = min(max(round(start + cell * cells.start), 0), length - 1)
    return slice(first, max(min(round(start + cell * cells.stop), length), first + 1))
