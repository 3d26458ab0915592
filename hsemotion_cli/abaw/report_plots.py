"""A report of ``evaluate`` -> one plot: confusion matrix, densities of valence and arousal, F1 of action units.

It needs matplotlib, which is imported when plotting, but no display.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..reporting import plotting, score_plots
from ..runtime.atomic_files import atomic_file
from ..runtime.file_marks import TOOL
from .aligned import CLIPS
from .evaluation import Report
from .scores import ClassScores, RegressionScores, Score, TaskScores, UnitScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NUMBERS_SIZE = (1080, 560)
"""Pixels of the plot of valence and arousal, width and height."""

BARS_SIZE = (1080, 640)
"""Pixels of a bar chart."""

_COLOUR, _ACCENT, _GREY = "#5AA5D0", "#D55E00", "#777777"
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
        path: the PNG file to write atomically.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    if len(report.tasks) == 1:
        for task, found in report.tasks.items():
            _draw(report, task, found, path)
        return
    from PIL import Image, PngImagePlugin

    with tempfile.TemporaryDirectory() as folder:
        panels = []
        for task, found in report.tasks.items():
            _draw(report, task, found, part := Path(folder) / f"{task}.png")
            with Image.open(part) as image:
                panels.append(image.convert("RGB"))
    size = max(panel.width for panel in panels), sum(panel.height for panel in panels)
    stack, top = Image.new("RGB", size, "white"), 0
    for panel in panels:
        stack.paste(panel, (0, top))
        top += panel.height
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Software", TOOL)
    with atomic_file(path) as file:
        stack.save(file, "PNG", pnginfo=notes)


def _draw(report: Report, task: str, found: TaskScores, path: Path) -> None:
    count = report.frames[task].scored if task in report.frames else report.clips
    title = f"{_TITLES[task]} of {count:,} {'frames' if task in report.frames else 'clips'}"
    if isinstance(found, ClassScores):
        figures = {"confusion": found.confusion, "accuracy": found.accuracy.value}
        names = [name.replace("_", " ") for name in found.classes]
        score_plots.confusion(figures, names, path, f"{title}: macro F1 {_score_text(found.score)}")
    elif isinstance(found, UnitScores):
        rows = {name: row.f1 for name, row in found.units.items()}
        half = {name: row.half.value for name, row in found.units.items() if row.half is not None}
        _bars(rows, half, "F1", f"{title}: mean F1 {_score_text(found.score)}", path)
    elif found.density is None:
        columns = {name.replace("_", " "): score for name, score in found.columns.items()}
        _bars(columns, {}, "Pearson's r", f"{title}: mean r {_score_text(found.score)}", path)
    else:
        _densities(found, f"{title}: mean CCC {_score_text(found.score)}", path)


def _bars(rows: Mapping[str, Score], half: Mapping[str, float], label: str, title: str, path: Path) -> None:
    """A bar for each score with its interval, and a mark for the score at the threshold 0.5."""
    values = [score.value for score in rows.values()]
    positions = list(range(len(rows)))
    with plotting.png_figure(path, score_plots.inches(BARS_SIZE), score_plots.DPI) as figure:
        figure.suptitle(title, fontsize=14, parse_math=False)
        axes = figure.subplots()
        axes.bar(positions, values, 0.7, color=_COLOUR)
        tops = [max(score.value, score.high or 0, half.get(name, 0)) for name, score in rows.items()]
        known = [(k, score) for k, score in zip(positions, rows.values(), strict=True) if score.low is not None]
        if known:
            ends = [(score.low, score.high) for _, score in known]
            lows, highs = zip(*ends, strict=True)
            axes.vlines([k for k, _ in known], lows, highs, color="#222222", linewidth=1.6, label="95 % interval")
        if half:
            axes.plot(
                positions, [half[name] for name in rows], linestyle="none", marker="_", markersize=26,
                markeredgewidth=2.5, color=_ACCENT, label="at threshold 0.5",
            )  # fmt: skip
        for k, value, top in zip(positions, values, tops, strict=True):
            axes.text(k, max(top, 0) + 0.015, f"{value:z.3f}", ha="center", va="bottom", fontsize=9, color="#222222")
        axes.set_xticks(positions, list(rows), parse_math=False)
        axes.set_ylabel(label)
        axes.set_ylim(min([0, *values, *(score.low or 0 for score in rows.values())]), max(1, *tops) + 0.06)
        axes.axhline(0, color=_GREY, linewidth=0.8)
        _finish_panel(axes)
        if known or half:
            figure.legend(loc="outside lower center", ncols=2, frameon=False)


def _densities(found: RegressionScores, title: str, path: Path) -> None:
    """Joint histograms of ground truth and prediction, for each column."""
    from matplotlib.colors import LogNorm

    assert found.density is not None
    top = max(int(found.density.max()), 2)
    with plotting.png_figure(path, score_plots.inches(NUMBERS_SIZE), score_plots.DPI) as figure:
        figure.suptitle(title, fontsize=14, parse_math=False)
        panels = figure.subplots(1, len(found.columns))
        for axes, counts, (name, score) in zip(panels, found.density, found.columns.items(), strict=True):
            shown = counts.T.astype(float)
            shown[shown == 0] = float("nan")
            image = axes.imshow(
                shown, origin="lower", extent=(-1, 1, -1, 1), cmap="Blues", norm=LogNorm(0.5, top), aspect="equal"
            )
            axes.plot([-1, 1], [-1, 1], color=_ACCENT, linewidth=1.2, linestyle=(0, (4, 3)))
            axes.set_title(f"{name}: CCC {_score_text(score)}", fontsize=11)
            axes.set_xlabel("ground truth")
            axes.set_ylabel("prediction")
            axes.set_xticks([-1, -0.5, 0, 0.5, 1])
            axes.set_yticks([-1, -0.5, 0, 0.5, 1])
            axes.grid(color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
        bar = figure.colorbar(image, ax=list(panels), shrink=0.7, aspect=30, format=lambda count, _: f"{count:,.10g}")
        bar.set_label("frames per bin")
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
