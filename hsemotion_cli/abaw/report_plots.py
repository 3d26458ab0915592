"""A report of ``evaluate`` -> one plot: confusion matrix, densities of valence and arousal, F1 of action units.

It needs matplotlib, which is imported when plotting, but no display.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..palette import INK, QUIET, SKY, VERMILION
from ..reporting import plotting, score_plots
from .aligned import CLIPS
from .evaluation import Report
from .scores import ClassScores, RegressionScores, Score, TaskScores, UnitScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS_SIZE = (1080, 560)
"""Pixels of the plot of valence and arousal, width and height."""

BARS_SIZE = (1080, 640)
"""Pixels of a bar chart."""

_TITLES = {
    "expression": "Expressions",
    "compound": "Compound expressions",
    "valence_arousal": "Valence and arousal",
    "action_units": "Action units",
    CLIPS: "Emotional mimicry",
}


def draw(report: Report, path: Path) -> None:
    """Plot each task of a report, one below the other.

    Args:
        path: the file to write atomically.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    sizes = {task: _size(found) for task, found in report.tasks.items()}
    whole = max(width for width, _ in sizes.values()), sum(height for _, height in sizes.values())
    with plotting.result_figure(path, score_plots.inches(whole), score_plots.DPI) as figure:
        heights = [height for _, height in sizes.values()]
        parts: list[Any] = [figure]
        if len(sizes) > 1:
            parts = list(figure.subfigures(len(sizes), 1, squeeze=False, height_ratios=heights)[:, 0])
        for part, (task, found) in zip(parts, report.tasks.items(), strict=True):
            _draw(part, report, task, found)


def _size(found: TaskScores) -> tuple[int, int]:
    """Pixels of the plot of one task, width and height."""
    if isinstance(found, ClassScores):
        return score_plots.CONFUSION_SIZE
    return NUMBERS_SIZE if not isinstance(found, UnitScores) and found.density is not None else BARS_SIZE


def _draw(figure: Any, report: Report, task: str, found: TaskScores) -> None:
    count = report.frames[task].scored if task in report.frames else report.clips
    title = f"{_TITLES[task]} of {count:,} {'frames' if task in report.frames else 'clips'}"
    if isinstance(found, ClassScores):
        figures = {"confusion": found.confusion, "accuracy": found.accuracy.value}
        names = [name.replace("_", " ") for name in found.classes]
        score_plots.draw_confusion(figure, figures, names, f"{title}: macro F1 {_score_text(found.score)}")
    elif isinstance(found, UnitScores):
        rows = {name: row.f1 for name, row in found.units.items()}
        half = {name: row.half.value for name, row in found.units.items() if row.half is not None}
        _bars(figure, rows, half, "F1", f"{title}: mean F1 {_score_text(found.score)}")
    elif found.density is None:
        columns = {name.replace("_", " "): score for name, score in found.columns.items()}
        _bars(figure, columns, {}, "Pearson's r", f"{title}: mean r {_score_text(found.score)}")
    else:
        _densities(figure, found, f"{title}: mean CCC {_score_text(found.score)}")


def _bars(figure: Any, rows: Mapping[str, Score], half: Mapping[str, float], label: str, title: str) -> None:
    """A bar for each score with its interval, and a mark for the score at the threshold 0.5."""
    values = [score.value for score in rows.values()]
    positions = list(range(len(rows)))
    figure.suptitle(title, fontsize=14)
    axes = figure.subplots()
    axes.bar(positions, values, 0.7, color=SKY)
    tops = [max(score.value, score.high or 0, half.get(name, 0)) for name, score in rows.items()]
    known = [(k, score) for k, score in zip(positions, rows.values(), strict=True) if score.low is not None]
    if known:
        ends = [(score.low, score.high) for _, score in known]
        lows, highs = zip(*ends, strict=True)
        axes.vlines([k for k, _ in known], lows, highs, color=INK, linewidth=1.6, label="95 % interval")
    if half:
        axes.plot(
            positions, [half[name] for name in rows], linestyle="none", marker="_", markersize=26,
            markeredgewidth=2.5, color=VERMILION, label="at threshold 0.5",
        )  # fmt: skip
    for k, value, top in zip(positions, values, tops, strict=True):
        axes.text(k, max(top, 0) + 0.015, f"{value:z.3f}", ha="center", va="bottom", fontsize=9, color=INK)
    axes.set_xticks(positions, list(rows))
    axes.set_ylabel(label)
    axes.set_ylim(min([0, *values, *(score.low or 0 for score in rows.values())]), max(1, *tops) + 0.06)
    axes.axhline(0, color=QUIET, linewidth=0.8)
    _finish_panel(axes)
    if known or half:
        figure.legend(loc="outside lower center", ncols=2, frameon=False)


def _densities(figure: Any, found: RegressionScores, title: str) -> None:
    """Joint histograms of ground truth and prediction, for each column."""
    from matplotlib.colors import LogNorm

    assert found.density is not None
    top = max(int(found.density.max()), 2)
    figure.suptitle(title, fontsize=14)
    panels = figure.subplots(1, len(found.columns))
    for axes, counts, (name, score) in zip(panels, found.density, found.columns.items(), strict=True):
        shown = counts.T.astype(float)
        shown[shown == 0] = float("nan")
        edges = np.linspace(-1, 1, len(shown) + 1)
        image = axes.pcolormesh(edges, edges, np.ma.masked_invalid(shown), cmap="Blues", norm=LogNorm(0.5, top))
        axes.set_aspect("equal")
        axes.plot([-1, 1], [-1, 1], color=VERMILION, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_title(f"{name}: CCC {_score_text(score)}", fontsize=11)
        axes.set_xlabel("ground truth")
        axes.set_ylabel("prediction")
        axes.set_xticks([-1, -0.5, 0, 0.5, 1])
        axes.set_yticks([-1, -0.5, 0, 0.5, 1])
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    bar = plotting.vector_bar(
        figure, image, list(panels), "frames per bin", shrink=0.7, aspect=30, format=lambda count, _: f"{count:,.10g}"
    )
    bar.outline.set_visible(False)


def _finish_panel(axes: Axes) -> None:
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="x", length=0)
    for edge in ("top", "right", "bottom"):
        axes.spines[edge].set_visible(False)


def _score_text(score: Score) -> str:
    ends = "" if score.low is None or score.high is None else f" ({score.low:z.3f} to {score.high:z.3f})"
    return f"{score.value:z.3f}{ends}"
