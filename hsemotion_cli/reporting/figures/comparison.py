"""Two tables of one recording: their curves in one panel each, and how far they agree."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...analysis.recordings import called
from ...errors import InputError
from ...evaluation.metrics import ccc
from ...palette import INK, QUIET
from ...tasks import EXPRESSIONS
from .material import Material, labels
from .style import bare, note, page

MEASURES = ("valence", "arousal")
_STYLES = (("#0072b2", "solid", 1.0), ("#d55e00", (0, (4, 1.5)), 1.0))
_CLOSE = 0.02  # seconds by which the times of the same frame may differ
_LEAST_OVERLAP = 0.5
"""Share of the common frames in which the boxes of a face id must overlap by half, to be the same face."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """The rows of one person that both tables have.

    Attributes:
        time: (n,) seconds.
        values: measure -> (n, 2).
        labels: (n, 2) positions in ``tasks.EXPRESSIONS``, -1 for none.
        only: rows of this person that only the first table has, and those that only the second has.
    """

    person: str
    time: np.ndarray
    values: dict[str, np.ndarray]
    labels: np.ndarray
    only: tuple[int, int]


def pairs(first: Material, second: Material) -> list[Pair]:
    """The people of both tables, by name or face id.

    Raises:
        InputError: they have no common frame with the same face.
    """
    one, other = first.recording, second.recording
    found = []
    for track in one.tracks:
        partner = next((each for each in other.tracks if each.person == track.person), None)
        if partner is None:
            continue
        time, there = one.time[track.frame], other.time[partner.frame]
        place = np.clip(np.searchsorted(there, time - _CLOSE), 0, max(len(there) - 1, 0))
        common = np.abs(there[place] - time) <= _CLOSE if len(there) else np.zeros(len(time), bool)
        a, b = np.flatnonzero(common), place[common]
        if not len(a) or _overlap(track.matrix("xywh")[a], partner.matrix("xywh")[b]) < _LEAST_OVERLAP:
            continue
        values = {m: np.column_stack([track.matrix([m])[a, 0], partner.matrix([m])[b, 0]]) for m in MEASURES}
        both = np.column_stack([labels(track)[a], labels(partner)[b]])
        found.append(Pair(track.person, time[a], values, both, (len(time) - len(a), len(there) - len(b))))
    if not found:
        raise InputError(
            f"{one.path} and {other.path}: no frame with the same face in both; give two tables of one video."
        )
    return found


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the rows in which two boxes (x, y, w, h) share half of their union; 1 where no boxes are known."""
    known = ~np.isnan(one).any(axis=1) & ~np.isnan(other).any(axis=1)
    if not known.any():
        return 1.0
    one, other = one[known], other[known]
    low = np.maximum(one[:, :2], other[:, :2])
    high = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    union = one[:, 2:].prod(axis=1) + other[:, 2:].prod(axis=1) - shared
    return float((shared >= 0.5 * union).mean())


def draw(first: Material, second: Material, path: Path, width: float) -> None:
    """Draw valence and arousal of both tables for each person, the expressions of both, and their agreement.

    Raises:
        InputError: see ``pairs``.
        ModelUnavailable, OutputError: as ``style.page``.
    """
    found = pairs(first, second)
    rows = [(pair, measure) for pair in found for measure in MEASURES if _both(pair.values[measure]).any()]
    names = _names(first, second)
    with page(path, width, 24.0 * max(len(rows), 1) + 8.0 * len(found) + 24) as figure:
        heights = [24.0] * len(rows) + [8.0] * len(found)
        grid = figure.subplots(len(heights), 1, squeeze=False, sharex=True, height_ratios=heights)[:, 0]
        for axes, (pair, measure) in zip(grid, rows, strict=False):
            for k, (colour, style, line) in enumerate(_STYLES):
                axes.plot(*_broken(pair.time, pair.values[measure][:, k], first.recording.step), color=colour,
                          linestyle=style, linewidth=line, label=names[k])  # fmt: skip
            axes.axhline(0, color=QUIET, linewidth=0.4, linestyle=(0, (2, 2)))
            axes.set(ylim=(-1.05, 1.05), yticks=[-1, 0, 1], ylabel=f"{measure}{_whose(pair, found)}")
            axes.set_title(agreement(pair.values[measure]), fontsize=6, loc="right", pad=1.5, color=INK)
        for axes, pair in zip(grid[len(rows) :], found, strict=True):
            _differences(axes, pair, f"expression{_whose(pair, found)}", first.recording.step)
        for axes in grid:
            bare(axes, keep="left bottom" if axes is grid[-1] else "left")
            axes.tick_params(axis="x", length=2.5 if axes is grid[-1] else 0)
        grid[-1].set_xlabel("time (s)")
        figure.align_ylabels()
        if rows:
            figure.legend(*grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=1, frameon=False)
        left, right = (sum(pair.only[k] for pair in found) for k in (0, 1))
        note(figure, f"frames of both tables alone; {left:,} rows are in the first one only, {right:,} in the second")


def _both(values: np.ndarray) -> np.ndarray:
    return ~np.isnan(values).any(axis=1)


def agreement(values: np.ndarray) -> str:
    """CCC, mean difference and number of rows, in words.

    Args:
        values: (n, 2) of the first and the second table.
    """
    known = values[_both(values)]
    difference = float((known[:, 1] - known[:, 0]).mean())
    sign = "\u2212" if difference < 0 else "+"
    score = float(ccc(known[:, :1], known[:, 1:])[0])
    return f"CCC {score:.3f}, second \u2212 first {sign}{abs(difference):.3f}, n = {len(known):,}"


def _differences(axes: object, pair: Pair, name: str, step: float) -> None:
    """Ticks where both tables give the same expression (upper row) and where they differ (lower row)."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    known = (pair.labels >= 0).all(axis=1)
    same = known & (pair.labels[:, 0] == pair.labels[:, 1])
    for level, on, colour in ((1, same, "#444444"), (0, known & ~same, "#d55e00")):
        axes.broken_barh([(t, step) for t in pair.time[on].tolist()], (level + 0.15, 0.7), color=colour, linewidth=0)
    share = f"{same.sum() / known.sum():.1%} the same" if known.any() else "unknown"
    axes.set_title(f"{share}, n = {known.sum():,}", fontsize=6, loc="right", pad=1.5, color=INK)
    axes.set(ylim=(0, 2), ylabel=name.replace(" ", "\n", 1) if len(name) > 12 else name)
    axes.set_yticks([0.5, 1.5], ["differs", "same"])
    axes.tick_params(axis="y", length=0)


def confusion(pair: Pair) -> np.ndarray:
    """(9, 9) rows with each pair of expressions, those of the first table down."""
    known = (pair.labels >= 0).all(axis=1)
    size = len(EXPRESSIONS)
    flat = pair.labels[known, 0] * size + pair.labels[known, 1]
    return np.bincount(flat, minlength=size * size).reshape(size, size)


def _broken(time: np.ndarray, values: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """The curve with a nan in each gap, so that no line joins what a gap parts."""
    gap = np.flatnonzero(np.diff(time) > 1.9 * step) + 1
    return np.insert(time, gap, time[gap] - step / 2), np.insert(values, gap, np.nan)


def _whose(pair: Pair, found: list[Pair]) -> str:
    if len(found) == 1:
        return ""
    return f"\n{called(pair.person, 20)}"


def _names(first: Material, second: Material) -> tuple[str, str]:
    """What the curves are called: how the tables were made, with their paths where that is the same."""
    made = first.made, second.made
    if all(made) and made[0] != made[1]:
        return made
    paths = first.recording.path, second.recording.path
    texts = [f"{p.parent.name}/{p.name}" if paths[0].name == paths[1].name else p.name for p in paths]
    return texts[0], texts[1]
