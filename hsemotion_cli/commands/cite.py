"""``hsemotion cite``: what to cite for results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import ModelOptions, Only, OutputOptions


def run(
    models: Annotated[ModelOptions, Only("model")],
    output: Annotated[OutputOptions, Only("json")],
    tables: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="TABLE",
            help="Tables made by annotate, each with NAME.json beside it; without one, the default models.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Name what to cite: this program, its face detector, and the models of a table or the default ones.

    hsemotion cite results/talk.csv

    hsemotion cite --model enet_b0_8_va_mtl
    """
    from .. import __version__
    from ..errors import UsageError
    from . import citations
    from .console import print_json
    from .settings import chosen_models

    if tables and models.model is not None:
        raise UsageError("--model names models where there is no table; give one or the other.")
    if tables:
        found = citations.of_tables(tables)
    else:
        recipe, _ = chosen_models(models.model, None)
        found = citations.of_models(recipe.models, __version__)
    if output.json:
        print_json([work.to_json() for work in found])
    else:
        citations.show(found)
