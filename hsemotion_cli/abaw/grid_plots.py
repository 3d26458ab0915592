"""The score surface of a grid search, as tables for printing and as a plot. Matplotlib is imported when plotting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..palette import BLUE, QUIET, VERMILION
from ..reporting import plotting
from .objectives import OBJECTIVES, Floats
from .search_space import Block, Grid
from .tuning_result import TaskOutcome, TuningResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

DPI = 100


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """The scores of the filters of one block at the chosen weight.

    Attributes:
        block: the filters.
        scores: (rows, columns).
        best: (rows, columns) bool, True for the chosen filter; nowhere if it is in another block.
    """

    block: Block
    scores: Floats
    best: NDArray[np.bool_]


def panels(grid: Grid, outcome: TaskOutcome) -> list[Panel]:
    """The score surface of one task, block by block."""
    scores = outcome.surface[:, outcome.weights.index(outcome.choice.weight)]
    chosen = grid.filters.index(outcome.choice.smoothing)
    found = []
    for block in grid.blocks:
        members = np.array(block.members)
        found.append(Panel(block, scores[members], members == chosen))
    return found


def over_weights(grid: Grid, outcome: TaskOutcome) -> Floats:
    """(weights,) scores with the chosen filter."""
    return outcome.surface[grid.filters.index(outcome.choice.smoothing)]


def draw(tuned: TuningResult, path: Path, title: str) -> None:
    """Plot the scores of all filters at the chosen weight, and those of all weights with the chosen filter.

    Args:
        path: the file to write atomically.
        title: above the plot.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    blocks = tuned.grid.blocks
    weights = any(len(one.weights) > 1 for one in tuned.tasks.values())
    widths = [0.7 * len(block.columns) + 1.8 for block in blocks] + ([4.2] if weights else [])
    tallest = max(len(block.rows) for block in blocks)
    size = max(sum(widths), 6.5), len(tuned.tasks) * max(0.34 * tallest + 1.2, 3.0) + 0.6
    with plotting.result_figure(path, size, DPI, margin=0.1) as figure:
        figure.suptitle(title, fontsize=13)
        grid_of_axes = figure.subplots(len(tuned.tasks), len(widths), squeeze=False, width_ratios=widths)
        for line, (task, outcome) in zip(grid_of_axes, tuned.tasks.items(), strict=True):
            label = f"{task.replace('_', ' ')}: {OBJECTIVES[task].name}"
            low, high = float(outcome.surface.min()), float(outcome.surface.max())
            for axes, panel in zip(line, panels(tuned.grid, outcome), strict=False):
                _heat(axes, panel, low, high)
                at = f", weight {outcome.choice.weight:g}" if len(outcome.weights) > 1 else ""
                axes.set_title(f"{label}\n{panel.block.title}{at}", fontsize=10)
            if weights:
                _curve(line[-1], tuned, outcome)


def _heat(axes: Axes, panel: Panel, low: float, high: float) -> None:
    """A heat map with a cell for each filter and its score; the chosen one is framed."""
    rows, columns = (np.arange(count + 1) - 0.5 for count in panel.scores.shape)
    axes.pcolormesh(columns, rows, panel.scores, cmap="cividis", vmin=low, vmax=max(high, low + 1e-9))
    axes.set_ylim(rows[-1], rows[0])
    for i, j in np.ndindex(*panel.scores.shape):
        score = panel.scores[i, j]
        dark = score < (low + high) / 2
        axes.text(j, i, f"{score:.3f}", ha="center", va="center", fontsize=8, color="white" if dark else "black")
    # No smoothing is the same in all columns and gets one frame around all of them.
    for i, j in np.argwhere(panel.best)[: 1 if panel.best[0].any() else None]:
        length = panel.best[0].sum() if not i else 1
        for colour, width in (("white", 5.0), (VERMILION, 2.5)):  # seen on every ground, and in grey
            axes.add_patch(_frame(j, i, length, colour, width))
    axes.set_xticks(range(len(panel.block.columns)), panel.block.columns)
    axes.set_yticks(range(len(panel.block.rows)), panel.block.rows)
    axes.set_xlabel(panel.block.across)
    axes.set_ylabel(panel.block.down)
    axes.tick_params(length=0, labelsize=9)
    for edge in axes.spines.values():
        edge.set_visible(False)


def _frame(column: int, row: int, length: int, colour: str, width: float) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((column - 0.48, row - 0.46), length - 0.04, 0.92, fill=False, edgecolor=colour, linewidth=width)


def _curve(axes: Axes, tuned: TuningResult, outcome: TaskOutcome) -> None:
    """The score as a function of the first model's weight."""
    if len(outcome.weights) < 2:
        axes.axis("off")
        return
    scores = over_weights(tuned.grid, outcome)
    axes.plot(outcome.weights, scores, "-o", color=BLUE, markersize=4, linewidth=1.6)
    best = outcome.weights.index(outcome.choice.weight)
    axes.plot(
        outcome.weights[best], scores[best], "o", color=VERMILION, markersize=9, fillstyle="none", markeredgewidth=2
    )
    axes.set_title(f"with {outcome.choice.smoothing}", fontsize=10)
    axes.set_xlabel(f"weight of {tuned.data.models[0]}")
    axes.set_ylabel("score")
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=9, colors=QUIET)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
