"""The results of tuning as plain data, as a recipe file, and as tables on a terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..abaw import grid_plots
from ..abaw.grid_search import TaskOutcome, TuningResult
from ..abaw.objectives import OBJECTIVES
from ..abaw.tuning_data import TuningData
from ..formats import toml_writer
from ..postprocess.recipe import Recipe
from .console import Table, print_line, print_table

_SUFFIXES = (".toml", ".json")


def describe(tuned: TuningResult, truth: Path) -> dict[str, Any]:
    """The choices, the data and the scores, as plain data."""
    data, (untuned, best, crossed) = tuned.data, tuned.total
    tasks = {}
    for task, outcome in tuned.tasks.items():
        frames, filled = data.frames(task)
        tasks[task] = {
            "measure": OBJECTIVES[task].name,
            "frames": frames,
            "filled": filled,
            **outcome.choice.to_json(),
            "untuned": outcome.untuned,
            "in_sample": outcome.tuned,
            "cross_validated": outcome.cross_validated,
            "folds": [fold.to_json() for fold in outcome.folds],
        }
    return {
        "tool": {"name": "hsemotion", "version": __version__},
        "track": data.track,
        "truth": truth.resolve().name,
        "models": list(data.models),
        "videos": len(data.videos),
        "recordings": data.recordings,
        "nobody_seen": list(data.without_faces),
        "without_table": data.without_table,
        "score": {"untuned": untuned, "in_sample": best, "cross_validated": crossed},
        "tasks": tasks,
    }


def recipe_text(tuned: TuningResult, facts: Mapping[str, Any], suffix: str) -> str:
    """The recipe as a file that ``Recipe.read`` reads, with comments on its origin."""
    if suffix == ".json":
        return json.dumps({"tuned": facts, "recipe": tuned.recipe.to_json()}, indent=2) + "\n"
    return "\n".join([*(f"# {line}" for line in _comments(tuned, facts)), *_toml(tuned.recipe)]) + "\n"


def _comments(tuned: TuningResult, facts: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Chosen by hsemotion tune {__version__} for the track {tuned.data.track}, against the ground truth of "
        f"{toml_writer.string(facts['truth'], ascii_only=True)}: {counted(tuned.data)}."
    ]
    for task, outcome in tuned.tasks.items():
        frames, filled = tuned.data.frames(task)
        crossed = "no cross-validation, as there is one recording only"
        if outcome.cross_validated is not None:
            crossed = f"{outcome.cross_validated:.4f} cross-validated in {len(outcome.folds)} folds"
        lines.append(
            f"{task}: {OBJECTIVES[task].name} of {frames:,} frames ({filled:,} without a face): {outcome.untuned:.4f} "
            f"untuned, {outcome.tuned:.4f} with these settings on the same frames, {crossed}."
        )
    if tuned.data.sparse:
        lines.append("max_gap is this long because these are lists of single images, not videos.")
    return lines


def _toml(recipe: Recipe) -> list[str]:
    return toml_writer.lines({key: value for key, value in recipe.to_json().items() if value != {}})


def surfaces(tuned: TuningResult) -> dict[str, Any]:
    found = {}
    for task, outcome in tuned.tasks.items():
        rows = zip(tuned.grid.filters, outcome.surface.tolist(), strict=True)
        settings = [{"smoothing": str(filter_), "scores": scores} for filter_, scores in rows]
        found[task] = {"weights": list(outcome.weights), "settings": settings}
    return {"surface": found}


def counted(data: TuningData) -> str:
    """Videos in words."""
    videos = f"{len(data.videos)} video{'s' if len(data.videos) > 1 else ''}"
    return videos if data.recordings == len(data.videos) else f"{videos} of {data.recordings} recordings"


# --- printing -------------------------------------------------------------------------------------------------


def show(tuned: TuningResult) -> None:
    _print_scores(tuned)
    for task, outcome in tuned.tasks.items():
        for line in _choices(task, outcome):
            print_line(line)
    for task, outcome in tuned.tasks.items():
        _print_surface(tuned, task, outcome)
    for note in _notes(tuned):
        print_line(note)


def _print_scores(tuned: TuningResult) -> None:
    """A line for each task: the choice, and its scores."""
    two = any(len(outcome.weights) > 1 for outcome in tuned.tasks.values())
    table = Table()
    for name in ("task", "score", "smoothing"):
        table.add_column(name)
    if two:
        table.add_column(f"weight of {tuned.data.models[0]}", justify="right")
    for name in ("frames", "untuned", "cross-validated", "in-sample"):
        table.add_column(name, justify="right")
    for task, outcome in tuned.tasks.items():
        table.add_row(
            task,
            OBJECTIVES[task].name,
            str(outcome.choice.smoothing),
            *([f"{outcome.choice.weight:g}" if len(outcome.weights) > 1 else "-"] if two else []),
            f"{tuned.data.frames(task)[0]:,}",
            *map(_number, (outcome.untuned, outcome.cross_validated, outcome.tuned)),
        )
    if len(tuned.tasks) > 1:
        untuned, best, crossed = tuned.total
        table.add_row("together", "sum", *([""] * (3 if two else 2)), *map(_number, (untuned, crossed, best)))
    print_table(table)


def _choices(task: str, outcome: TaskOutcome) -> list[str]:
    """Thresholds, and how often the folds chose each setting."""
    lines = []
    if outcome.choice.thresholds:
        levels = ", ".join(f"{unit} {value:g}" for unit, value in outcome.choice.thresholds.items())
        lines.append(f"thresholds: {levels}")
    if outcome.choice.gate is not None:
        lines.append(f"gate: the network's own expression counts where it is surer than {outcome.choice.gate:g}")
    if outcome.folds:
        chosen = outcome.fold_choices()
        shown = [f"{name} {_frequencies(chosen[name])}" for name in ("smoothing", "weight", "gate") if name in chosen]
        if outcome.choice.thresholds:
            same = sum(len(chosen[unit]) == 1 for unit in outcome.choice.thresholds)
            shown.append(f"{same} of {len(outcome.choice.thresholds)} thresholds the same in all")
        lines.append(f"{task}, chosen in {len(outcome.folds)} folds: {'; '.join(shown)}")
    return lines


def _frequencies(found: Counter[str]) -> str:
    return ", ".join(f"{name} ({count} x)" for name, count in found.most_common())


def _print_surface(tuned: TuningResult, task: str, outcome: TaskOutcome) -> None:
    """Scores of all filters at the chosen weight, and of all weights with the chosen filter."""
    at = f", weight {outcome.choice.weight:g}" if len(outcome.weights) > 1 else ""
    for panel in grid_plots.panels(tuned.grid, outcome):
        block = panel.block
        table = Table(title=f"{task}: {block.title}{at}", title_justify="left")
        table.add_column(f"{block.down} \\ {block.across}" if block.down else "")
        for name in block.columns:
            table.add_column(name, justify="right")
        for name, scores, best in zip(block.rows, panel.scores, panel.best, strict=True):
            cells = [f"{score:.4f}{'*' if chosen else ' '}" for score, chosen in zip(scores, best, strict=True)]
            table.add_row(name, *cells)
        print_table(table)
    if len(outcome.weights) > 1:
        scores = zip(outcome.weights, grid_plots.over_weights(tuned.grid, outcome), strict=True)
        shown = ", ".join(f"{weight:g} {score:.4f}" for weight, score in scores)
        print_line(f"{task}, weights with {outcome.choice.smoothing}: {shown}")


def _notes(tuned: TuningResult) -> list[str]:
    """Notes on how far these numbers can be trusted."""
    data, found = tuned.data, []
    if any(outcome.cross_validated is None for outcome in tuned.tasks.values()):
        found.append(
            "no cross-validation is possible with one recording: the in-sample score flatters what was chosen by it."
        )
    if data.sparse:
        found.append(f"these are lists of single images: max_gap is {data.max_gap:g} s, so smoothing crosses all gaps.")
    if data.without_faces:
        found.append(f"left out, as no face was scored: {', '.join(data.without_faces)}.")
    if data.without_table:
        found.append(f"annotated videos without a table, which do not count here: {data.without_table}.")
    return found


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
