"""``hsemotion smooth``: raw scores beside a table -> the same table by another recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import NamesByHand, Only, OutputOptions, OwnDefaults, SmoothingOptions


def run(
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="Table made by annotate; NAME.raw.npz and NAME.json must lie beside it."),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Folder for the new table.", show_default=False)
    ],
    smoothing: Annotated[SmoothingOptions, OwnDefaults],
    output: Annotated[OutputOptions, Only("formats", "overwrite", "quiet")],
    people: NamesByHand = None,
) -> None:
    """Rebuild a table from its raw scores with other smoothing, blend, thresholds or names. The video is not needed.

    Settings that are not given stay as they were.
    """
    from .smooth_run import smooth

    smooth(table, out, smoothing, output, people)
