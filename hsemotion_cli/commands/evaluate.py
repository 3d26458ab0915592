"""``hsemotion evaluate``: tables and ground truth -> the scores of a track of the ABAW challenges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from .options import Only, OutputOptions, OwnDefaults, SmoothingOptions, TruthOptions


@dataclass(frozen=True, slots=True)
class ScoringOptions:
    """How predictions are made of raw scores, and what counts."""

    panel: ClassVar[str] = "Scoring"

    mean: Annotated[
        str,
        typer.Option(
            metavar="arithmetic|geometric|harmonic", help="Mean of two basic expressions' probabilities, for ce."
        ),
    ] = "arithmetic"
    other: Annotated[
        str, typer.Option(metavar="contempt|none", help='Class used as "Other" for models without one.')
    ] = "contempt"
    seen_only: Annotated[bool, typer.Option("--seen-only", help="Leave out frames without a detected face.")] = False
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave out annotated videos that have no table or no face.")
    ] = False
    bootstrap: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Bootstrap resamples (by recording) for confidence intervals; 0 for none."
        ),
    ] = 1000
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed of the bootstrap.")] = 0
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png|pdf|svg", help="Also plot the result.", show_default=False)
    ] = None


def run(
    tables: Annotated[
        list[Path],
        typer.Argument(
            metavar="TABLES",
            help="Tables, or folders of them, also without raw scores; or one submission file (the only kind for emi).",
            show_default=False,
        ),
    ],
    truth: TruthOptions,
    scoring: ScoringOptions,
    smoothing: Annotated[SmoothingOptions, Only("recipe", "threshold"), OwnDefaults],
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json")],
) -> None:
    """Score tables against a challenge's ground truth, with 95 % confidence intervals over recordings.

    hsemotion evaluate results --truth Aff-Wild2 --track expr

    hsemotion evaluate submission.txt --truth validation_set_annotations.txt --track mtl
    """
    from ..abaw.aligned import EvaluationSettings
    from ..abaw.challenges import track as track_of
    from ..abaw.evaluation import evaluate
    from ..errors import UsageError
    from ..formats.ownership import check_outputs
    from ..postprocess.recipe import Recipe
    from ..reporting.plotting import SUFFIXES
    from . import evaluate_view
    from .console import counting, print_json, print_line

    _refuse(truth, scoring)
    asked = EvaluationSettings(
        track_of(truth.track), truth.part, Recipe.read(smoothing.recipe) if smoothing.recipe else None,
        tuple(smoothing.threshold), scoring.mean, scoring.other, scoring.seen_only, scoring.partial,
        scoring.bootstrap, scoring.seed,
    )  # fmt: skip
    plot = scoring.plot
    if plot is not None and (plot.suffix not in SUFFIXES or not plot.parent.is_dir()):
        raise UsageError(f"--plot {plot}: give the name of a .png, .pdf or .svg file in a folder that is there.")
    check_outputs([plot] if plot else [], output.overwrite)
    with counting("evaluate", "videos", output.quiet or output.json) as progress:
        report = evaluate(tables, truth.truth, asked, progress)
    if output.json:
        print_json(report.to_json(), indent=None)
    elif not output.quiet:
        evaluate_view.show(report)
    if plot is not None:
        from ..abaw import report_plots

        report_plots.draw(report, plot)
        if not (output.quiet or output.json):
            print_line(str(plot))


def _refuse(truth: TruthOptions, scoring: ScoringOptions) -> None:
    """Raise UsageError for options that have no effect beside the others."""
    from .unread_options import refuse

    if truth.truth.is_file():
        refuse(["part"], f"{truth.truth} is a list, which has no parts")
    if scoring.bootstrap == 0:
        refuse(["seed"], "--bootstrap 0 draws nothing")
