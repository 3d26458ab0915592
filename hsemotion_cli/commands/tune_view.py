"""The results of tuning as plain data, as a recipe file, and as tables on a terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..abaw import grid_edges, grid_plots
from ..abaw.objectives import LOWER, OBJECTIVES, UPPER
from ..abaw.tuning_data import TuningData
from ..abaw.tuning_result import TaskOutcome, TuningResult
from ..formats import toml_writer
from ..postprocess.recipe import Recipe
from ..tasks import TASKS
from .console import Table, print_line, print_table

_GRID = {"sigmas": "sigma", "deltas": "rows to each side", "seconds": "width in seconds"}
"""What the lists of a grid are called; the options have the names of the lists."""


def describe(tuned: TuningResult, truth: Path) -> dict[str, Any]:
    """The choices, the data and the scores, as plain data."""
    data = tuned.data
    tasks = {}
    for task, outcome in tuned.tasks.items():
        frames, filled = data.frames(task)
        tasks[task] = {
            "measure": OBJECTIVES[task].name,
            "frames": frames,
            "filled": filled,
            **outcome.written.to_json(),
            "written": "default" if outcome.keeps_default else "best of the grid",
            "best_of_grid": outcome.choice.to_json(),
            "default": outcome.default.to_json(),
            "untuned": outcome.untuned,
            "as_default": outcome.as_default,
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
        "default": data.default_name,
        "rule": "one standard error" if tuned.one_se else "best score",
        "grid_extended_by": {name: list(values) for name, values in _extension(tuned).items()},
        "at_the_edge": edge_notes(tuned),
        "tuned_on": data.tuned_on,
        "score": tuned.total,
        "tasks": tasks,
    }


def _extension(tuned: TuningResult) -> dict[str, tuple[float, ...]]:
    return grid_edges.added(tuned.first_grid, tuned.grid)


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
    lines += [_comment(tuned, task, outcome) for task, outcome in tuned.tasks.items()]
    if others := [task for task in TASKS if task not in tuned.tasks]:
        lines.append(f"Not tuned, and as with {tuned.data.default_name}: {', '.join(others)}.")
    lines += edge_notes(tuned)
    if tuned.data.sparse:
        lines.append("max_gap is this long because these are lists of single images, not videos.")
    return lines


def _comment(tuned: TuningResult, task: str, outcome: TaskOutcome) -> str:
    """The scores of one task, and what the recipe has for it."""
    frames, filled = tuned.data.frames(task)
    default = tuned.data.default_name
    crossed = "no cross-validation, as there is one recording only"
    if outcome.cross_validated is not None:
        crossed = f"{outcome.cross_validated:.4f} cross-validated in {len(outcome.folds)} folds"
    kept = f"That is worse than {default}, which is kept." if outcome.keeps_default else "They are in this recipe."
    return (
        f"{task}: {OBJECTIVES[task].name} of {frames:,} frames ({filled:,} without a face): {outcome.untuned:.4f} "
        f"untuned (even blend, thresholds of 0.5), {outcome.as_default:.4f} with {default}, {outcome.tuned:.4f} with "
        f"the best settings of the grid on the same frames, {crossed}. {kept}"
    )


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
    for name in ("frames", "even blend, 0.5", tuned.data.default_name, "cross-validated", "in-sample"):
        table.add_column(name, justify="right")
    for task, outcome in tuned.tasks.items():
        table.add_row(
            task,
            OBJECTIVES[task].name,
            str(outcome.choice.smoothing),
            *([f"{outcome.choice.weight:g}" if len(outcome.weights) > 1 else "-"] if two else []),
            f"{tuned.data.frames(task)[0]:,}",
            *map(_number, (outcome.untuned, outcome.as_default, outcome.cross_validated, outcome.tuned)),
        )
    if len(tuned.tasks) > 1:
        total = tuned.total
        shown = (total[name] for name in ("untuned", "as_default", "cross_validated", "in_sample"))
        table.add_row("together", "sum", *([""] * (3 if two else 2)), *map(_number, shown))
    print_table(table)


def _choices(task: str, outcome: TaskOutcome) -> list[str]:
    """Whether the default is kept, thresholds, and how often the folds chose each setting."""
    lines = []
    if outcome.keeps_default:
        lines.append(
            f"{task}: the default is kept, {outcome.default.smoothing}"
            + (f" with weight {outcome.default.weight:g}" if len(outcome.weights) > 1 else "")
            + f": it scores {outcome.as_default:.4f}, and the best settings of the grid "
            + (
                f"{outcome.tuned:.4f} on the same recording."
                if outcome.cross_validated is None
                else f"{outcome.cross_validated:.4f} on recordings that they were not chosen on."
            )
        )
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


def edge_notes(tuned: TuningResult) -> list[str]:
    """Where the best settings are at an edge of what was tried, and what was tried in addition because of that."""
    found = [
        f"The best setting was at the edge of the grid, so the grid was extended: {_GRID[name]} "
        f"{', '.join(f'{value:g}' for value in values)}."
        for name, values in _extension(tuned).items()
    ]
    for task, outcome in tuned.tasks.items():
        for edge in grid_edges.edges(tuned.grid, outcome.choice.smoothing):
            end = "smallest" if edge.low else "largest"
            found.append(
                f"{task}: {_GRID[edge.name]} {edge.value:g} is the {end} that was tried; what lies beyond is unknown "
                f"(--{edge.name})."
            )
        found += _threshold_notes(tuned, task, outcome)
    return found


def _threshold_notes(tuned: TuningResult, task: str, outcome: TaskOutcome) -> list[str]:
    """Thresholds outside of the grid, and at the edge of all that was tried."""
    low, high = tuned.grid.thresholds[0], tuned.grid.thresholds[-1]
    chosen, found = outcome.choice.thresholds, []
    if outside := [f"{unit} {value:g}" for unit, value in chosen.items() if not low <= value <= high]:
        found.append(
            f"{task}: thresholds at the edge of the grid ({low:g} to {high:g}) were searched further: "
            f"{', '.join(outside)}."
        )
    ends = (LOWER[0], UPPER[-1]) if "thresholds" in tuned.grid.open else (low, high)
    if at_end := [f"{unit} {value:g}" for unit, value in chosen.items() if value in ends]:
        found.append(f"{task}: these thresholds are the smallest or largest that were tried: {', '.join(at_end)}.")
    return found


def _notes(tuned: TuningResult) -> list[str]:
    """Notes on how far these numbers can be trusted."""
    data, found = tuned.data, edge_notes(tuned)
    if data.default_name == "the tables' recipe":
        found.append("the tables' recipe is the one in their sidecars; it is not annotate's default.")
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
