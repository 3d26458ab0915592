"""Plots of scores: learning curves of a training run and confusion matrices, as PNG, PDF or SVG files.

They need matplotlib, which is imported when the first plot is drawn, but no display.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..palette import BLUE, GREEN, INK, ORANGE, PURPLE, QUIET, SKY, VERMILION
from . import plotting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 120
CURVES_SIZE = (1200, 1080)
"""Pixels of the learning curves, width and height."""

CONFUSION_SIZE = (1080, 960)
"""Pixels of a confusion matrix."""

_PARTS = ("calibration", "validation")
_NOT_LOSSES = ("stage", "epoch", "step", "rate", "seconds")
"""Columns of a log that are neither losses nor metrics."""

# A task has the same hue in all panels, and a marker, by which it is known in grey as well.
_STYLES: Mapping[str, tuple[str, str, str]] = {
    "loss": ("total", INK, "o"),
    "expression": ("expression", BLUE, "s"),
    "valence_arousal": ("valence, arousal", VERMILION, "^"),
    "action_units": ("action units", GREEN, "D"),
    "attention": ("attention", PURPLE, "v"),
    "accuracy": ("accuracy", SKY, "o"),
    "f1": ("macro F1", BLUE, "s"),
    "ccc_valence": ("CCC valence", VERMILION, "^"),
    "ccc_arousal": ("CCC arousal", ORANGE, "v"),
    "au_f1": ("action unit F1", GREEN, "D"),
    "rate": ("learning rate", QUIET, "o"),
}
"""Column -> its label, colour and marker."""

_LOG_FROM = 100.0
"""Ratio of the largest to the smallest loss above which the losses get a logarithmic axis."""


def curves(log: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Plot losses, metrics and learning rate over the steps of a run.

    Args:
        log: rows as ``trainer.Trainer`` logs them; values that are empty, missing or not finite leave gaps.
        path: the file to write atomically, of ``CURVES_SIZE`` pixels.
        title: above the plot.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    steps = [_number(row.get("step")) for row in log]
    names = list(dict.fromkeys(key for row in log for key in row))
    columns = {name: [_number(row.get(name)) for row in log] for name in names}
    parts = [part for part in _PARTS if any(name.startswith(f"{part}_") for name in names)]
    with plotting.result_figure(path, inches(CURVES_SIZE), DPI) as figure:
        figure.suptitle(textwrap.fill(title, 70), fontsize=14)
        losses, metrics, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.1))
        for name in names:
            part, _, rest = name.partition("_")
            if part in _PARTS:
                style, addition = ("--", f" ({part})") if parts.index(part) else ("-", "")
                _line(metrics, steps, columns[name], rest, style, addition)
            elif name not in _NOT_LOSSES:
                _line(losses, steps, columns[name], name, "-", "")
        _line(rate, steps, columns.get("rate", []), "rate", "-", "")
        losses.set_ylabel("training loss")
        metrics.set_ylabel(f"metrics, {parts[0]} part" if parts else "metrics")
        rate.set_ylabel("learning rate")
        rate.set_xlabel("step")
        _scale(losses, rate, max((step for step in steps if math.isfinite(step)), default=0))
        for panel in (losses, metrics, rate):
            _finish_panel(panel, legend=panel is not rate)
        _mark_stages([losses, metrics, rate], _stages(log))
        figure.align_ylabels()


def confusion(figures: Mapping[str, Any], classes: Sequence[str], path: Path, title: str) -> None:
    """Plot a confusion matrix as counts and as shares of each row.

    Args:
        figures: with "confusion", the counts (rows are the ground truth), as ``figures.expression`` returns them; or
            the figures of all tasks, of which "expression" is used.
        classes: names of the rows and columns.
        path: the file to write atomically, of ``CONFUSION_SIZE`` pixels.
        title: above the plot.

    Raises:
        ValueError: there is no matrix, or its size is not the number of classes.
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    with plotting.result_figure(path, inches(CONFUSION_SIZE), DPI) as figure:
        draw_confusion(figure, figures, classes, title)


def draw_confusion(figure: Any, figures: Mapping[str, Any], classes: Sequence[str], title: str) -> None:
    """Draw the same on a figure or a part of one. Raises ValueError likewise."""
    found = figures.get("expression", figures)
    counts = [[int(count) for count in row] for row in found.get("confusion", ())]
    if not counts or {len(counts), *map(len, counts)} != {len(classes)}:
        raise ValueError(f"{title}: no confusion matrix of {len(classes)} x {len(classes)} counts")
    known = [(text, _number(found.get(key))) for key, text in (("accuracy", "accuracy"), ("f1", "macro F1"))]
    below = ", ".join(f"{text} {value:.3f}" for text, value in known if math.isfinite(value))
    totals = [sum(row) for row in counts]
    shares = [[n / total if total else math.nan for n in row] for row, total in zip(counts, totals, strict=True)]
    figure.suptitle(textwrap.fill(title, 64), fontsize=14)
    axes = figure.subplots()
    edges = np.arange(len(classes) + 1) - 0.5
    image = axes.pcolormesh(edges, edges, np.ma.masked_invalid(shares), cmap="Blues", vmin=0, vmax=1)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.set_facecolor("#eeeeee")  # rows of classes that do not occur
    if below:
        axes.set_title(below, fontsize=11, color=QUIET)
    _write_cells(axes, counts, shares)
    places, rows = range(len(classes)), [f"{name} ({n:,})" for name, n in zip(classes, totals, strict=True)]
    axes.set_xticks(places, classes, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(places, rows)
    axes.set_xlabel("prediction")
    axes.set_ylabel("ground truth (images)")
    axes.tick_params(length=0, labelsize=min(max(100 / len(classes), 6), 11))
    for edge in axes.spines.values():
        edge.set_visible(False)
    bar = plotting.vector_bar(
        figure, image, axes, "share of the row", shrink=0.6, aspect=30, format=lambda share, _: f"{100 * share:.0f} %"
    )
    bar.outline.set_visible(False)


# --- drawing --------------------------------------------------------------------------------------------------


def inches(pixels: tuple[int, int]) -> tuple[float, float]:
    """Width and height in inches at ``DPI``."""
    return pixels[0] / DPI, pixels[1] / DPI


def _write_cells(axes: Axes, counts: list[list[int]], shares: list[list[float]]) -> None:
    """Each cell's count and share; classes that do not occur have no shares."""
    longest = max(len(f"{count:,}") for row in counts for count in row)
    size = min(max(min(100, 620 / longest) / len(counts), 4), 13)  # so that the longest count fits its cell
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = shares[i][j]
            percent = "" if math.isnan(share) else f"\n{100 * share:.0f} %"
            colour = "white" if share > 0.65 else INK
            axes.text(j, i, f"{count:,}{percent}", ha="center", va="center", fontsize=size, color=colour)


def _line(axes: Axes, steps: list[float], values: list[float], name: str, style: str, addition: str) -> None:
    """One curve, labelled with its last value; nothing if no value is finite."""
    known = [value for value in values if math.isfinite(value)]
    if known:
        label, colour, marker = _STYLES.get(name, (name.replace("_", " "), QUIET, "x"))
        size = 5 if len(values) <= 40 else 2
        axes.plot(
            steps, values, style, color=colour, marker=marker, markersize=size, linewidth=1.6,
            label=f"{label}{addition}: {known[-1]:z.3f}",
        )  # fmt: skip


def _scale(losses: Axes, rate: Axes, end: float) -> None:
    """Axes from the start of the run to its end and from 0 up; losses of very different sizes on a log axis."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    losses.set_xlim(-0.01 * (end or 1), 1.02 * (end or 1))
    rate.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)))
    rate.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    rate.yaxis.set_major_locator(MaxNLocator(3, steps=(1, 2, 5, 10)))
    rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for panel in (losses, rate):
        values = np.array([line.get_ydata() for line in panel.lines], float)
        values = values[np.isfinite(values)]
        if panel is losses and values.size and values.max() > _LOG_FROM * values.min() > 0:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_minor_formatter(lambda value, _: "")
        elif values.size and values.min() >= 0:
            panel.set_ylim(0, 1.08 * values.max() or 1)


def _finish_panel(axes: Axes, *, legend: bool) -> None:
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    if not axes.lines:
        axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=QUIET)
        axes.set_yticks([])
    elif legend:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, title="last value",
            alignment="left",
        )  # fmt: skip


def _stages(log: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """First and last logged step of each stage."""
    ends: dict[float, float] = {}
    for row in log:
        step = _number(row.get("step"))
        if math.isfinite(step):
            ends[np.nan_to_num(_number(row.get("stage")))] = step
    return list(zip([0.0, *ends.values()], ends.values(), strict=False))


def _mark_stages(panels: list[Axes], stages: list[tuple[float, float]]) -> None:
    """A thin line between two stages, and the stages' numbers above all panels."""
    if len(stages) < 2:
        return
    for _, end in stages[:-1]:
        for axes in panels:
            axes.axvline(end, color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.5)
    top, length = panels[0], stages[-1][1] or 1
    for number, (begin, end) in enumerate(stages, 1):
        share = (end - begin) / length
        text = f"stage {number}" if share > 0.1 else str(number) if share > 0.015 else ""
        place = ((begin + end) / 2, 1.02)
        top.text(*place, text, transform=top.get_xaxis_transform(), ha="center", va="bottom", fontsize=9, color=QUIET)


def _number(value: Any) -> float:
    """A number as logged or as read from a CSV file; nan for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
