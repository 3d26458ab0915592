"""``hsemotion sheet``: a table -> a contact sheet of single moments to check by eye; its marks -> an accuracy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Only, OutputOptions


def run(
    table: Annotated[Path, typer.Argument(metavar="TABLE", help="A table of annotate.")],
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json", "log")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="OUT.html", help="Page to write.", show_default="NAME.sheet.html beside the table"
        ),
    ] = None,
    video: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|FOLDER", help="The video that was annotated, or the folder that holds it.",
            show_default="beside the table, or one folder up",
        ),
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(metavar="people.csv", help="Names of face ids: recording, face_id, person.", show_default=False),
    ] = None,
    random: Annotated[
        int, typer.Option(metavar="N", min=0, help="Random moments, which give the accuracy.")
    ] = 50,
    uncertain: Annotated[int, typer.Option(metavar="N", min=0, help="Moments of the highest uncertainty.")] = 20,
    typical: Annotated[
        int, typer.Option(metavar="N", min=0, help="Moments of the highest probability of each expression.")
    ] = 20,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of the random moments.")] = 0,
    marks: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Marks saved by the page: print the accuracy instead of making a page.",
            show_default=False,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Make a page of single moments with their labels, to check by eye; and read its marks.

    hsemotion sheet hsemotion/talk.csv --video talk.mp4

    hsemotion sheet hsemotion/talk.csv --marks sheet-marks.csv
    """
    from ..reporting.sheet_choice import SheetSize
    from . import sheet_run
    from .unread_options import refuse

    if marks is not None:
        options = ("out", "video", "people", "random", "uncertain", "typical", "seed", "overwrite")
        refuse(options, "--marks makes no page")
        sheet_run.print_accuracy(table, marks, output.json)
    else:
        size = SheetSize(random, uncertain, typical, seed)
        sheet_run.make(sheet_run.Request(table, out, video, people, size, output))
