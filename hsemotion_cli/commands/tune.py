"""``hsemotion tune``: raw scores and ground truth -> a recipe, and how well it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from .options import Only, OutputOptions, Reworded, TruthOptions

if TYPE_CHECKING:
    from ..abaw.grid_search import TuningResult

_SUFFIXES = (".toml", ".json")


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """What is tried."""

    panel: ClassVar[str] = "Search"

    model: Annotated[
        str | None,
        typer.Option(metavar="NAME[,NAME]", help="Use only these models of the raw scores.", show_default="all"),
    ] = None
    sigmas: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Gaussian widths to try, in the papers' notation.",
            show_default="0.1,1,10,50,100,500,1e3,1e4,1e5, and beyond",
        ),
    ] = None
    deltas: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Neighbouring frames on each side to try.", show_default="1,5,10,50,100, and beyond"
        ),
    ] = None
    seconds: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Also try Gaussians and boxes of these widths, in seconds.", show_default=False
        ),
    ] = None
    weights: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Weights of the first of two models to try.", show_default="0,0.1,...,1"),
    ] = None
    gates: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Also try these gates between a network's own expressions and its head's; usual: 0.5,0.6,...,0.9.",
            show_default=False,
        ),
    ] = None
    thresholds: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...", help="Thresholds of action units to try.", show_default="0.1,0.2,...,0.9, and beyond"
        ),
    ] = None
    one_se: Annotated[
        bool,
        typer.Option(
            "--one-se", help="Choose the simplest settings within one standard error of the best, not the best."
        ),
    ] = False
    folds: Annotated[int, typer.Option(metavar="N", min=2, help="Cross-validation folds, split by recording.")] = 5
    max_gap: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Never smooth across a longer stretch without a face.",
            show_default="0.5; a day for lists of single images",
        ),
    ] = None
    threads: Annotated[int | None, typer.Option(metavar="N", min=1, help="CPU threads.", show_default="all")] = None


@dataclass(frozen=True, slots=True)
class RecipeOptions:
    """What is written."""

    panel: ClassVar[str] = OutputOptions.panel

    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="Recipe to write, RECIPE.toml or .json.", show_default=False),
    ]
    surface: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png|pdf|svg", help="Also plot the score over the grid.", show_default=False),
    ] = None


def run(
    tables: Annotated[
        list[Path],
        typer.Argument(metavar="TABLES", help="Tables made by annotate, or folders of them.", show_default=False),
    ],
    wanted: RecipeOptions,
    truth: Annotated[TruthOptions, Reworded(track={"help": "ABAW track to tune for.", "metavar": "expr|va|au|mtl"})],
    search: SearchOptions,
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json", "log")],
) -> None:
    """Tune smoothing, blend weights and thresholds against ground truth, using saved raw scores; write a recipe.

    hsemotion tune results --truth Aff-Wild2 --track expr -o expr.toml --surface expr.png
    """
    from ..abaw import grid_search, predictions, tuning_data
    from ..abaw.search_space import Grid
    from ..errors import UsageError
    from ..evaluation.ground_truth import read_for
    from . import tune_view
    from .console import counting, print_json, print_line
    from .unread_options import refuse

    _check(wanted, truth)
    grid = Grid.of(
        search.sigmas, search.deltas, search.seconds, search.weights, search.gates, search.thresholds
    )  # fmt: skip
    models = [name.strip() for name in search.model.split(",")] if search.model is not None else []
    _prepare(wanted, output.overwrite)
    if truth.track in ("expr", "va"):
        refuse(["thresholds"], f"action units have thresholds, and the track {truth.track} has none of them")
    if truth.truth.is_file():
        refuse(["part"], f"{truth.truth} is a list, which has no parts")
    known = read_for(truth.truth, truth.track, truth.part)
    data = tuning_data.gather(predictions.find(tables), known, truth.track, models=models, max_gap=search.max_gap)
    if search.weights is not None and len(data.models) < 2:
        raise UsageError(f"--weights {search.weights}: there are raw scores of one model only, {data.models[0]}.")
    with counting("tune", "steps", output.quiet or output.json) as report:
        tuned = grid_search.tune(
            data, grid, folds=search.folds, threads=search.threads, one_se=search.one_se, progress=report
        )
    facts = tune_view.describe(tuned, truth.truth)
    files = _write(tuned, facts, wanted, f"{truth.track}, {tune_view.counted(data)}")
    if output.json:
        recipe = tuned.recipe.to_json()
        print_json({**facts, **tune_view.surfaces(tuned), "recipe": recipe, "files": files}, indent=None)
    elif not output.quiet:
        tune_view.show(tuned)
        for file_name in files.values():
            print_line(file_name)


def _prepare(wanted: RecipeOptions, overwrite: bool) -> None:
    """Check the files to write before the search, and make their folders."""
    from ..formats.ownership import check_outputs
    from ..reporting import plotting
    from ..runtime.atomic_files import prepare_folder

    places = [wanted.out, *([wanted.surface] if wanted.surface else [])]
    check_outputs(places, overwrite)
    for path in places:
        prepare_folder(path.parent)
    if wanted.surface is not None:
        plotting.check_plot_path(wanted.surface)


def _write(tuned: TuningResult, facts: Mapping[str, Any], wanted: RecipeOptions, title: str) -> dict[str, str]:
    """Write the recipe, and the plot if it is wanted; what each file is, and its path."""
    from ..abaw import grid_plots
    from ..runtime.atomic_files import atomic_file
    from . import tune_view

    out, surface = wanted.out, wanted.surface
    with atomic_file(out) as file:
        file.write(tune_view.recipe_text(tuned, facts, out.suffix.lower()).encode())
    if surface is not None:
        grid_plots.draw(tuned, surface, title)
    return {"recipe": str(out)} | ({"surface": str(surface)} if surface else {})


def _check(wanted: RecipeOptions, truth: TruthOptions) -> None:
    """Raise UsageError for an invalid file name, track or part."""
    from ..abaw import challenges, tuning_data
    from ..errors import UsageError
    from ..evaluation.ground_truth import PARTS
    from ..reporting.plotting import SUFFIXES

    out, surface = wanted.out, wanted.surface
    if out.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"-o {out}: a recipe is a .toml or .json file; call it {out.stem or 'recipe'}.toml.")
    if surface is not None and surface.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--surface {surface}: the plot is a .png, .pdf or .svg file.")
    if truth.track not in tuning_data.TRACKS:
        challenges.track(truth.track)
        tracks = ", ".join(tuning_data.TRACKS)
        raise UsageError(f"--track {truth.track}: it has no ground truth to tune against; choose from {tracks}.")
    if truth.part not in PARTS:
        raise UsageError(f"--part {truth.part}: choose from {', '.join(PARTS)}.")
