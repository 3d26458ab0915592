"""``hsemotion import``: the files of other programs -> tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Only, OutputOptions


def run(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE", help="Files of other programs, or folders of them.", show_default=False),
    ],
    output: Annotated[OutputOptions, Only("out", "formats", "overwrite", "quiet", "json", "log")],
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="NAME",
            help="openface, openface1, pyfeat, libreface, facereader, imotions, or csv with --map.",
            show_default="by the content of each file",
        ),
    ] = "",
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map", metavar="FILE", help="TOML: columns of a table -> those of the file.", show_default=False
        ),
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Frame rate, for files without times.", show_default="the times of the file"),
    ] = None,
) -> int:
    """Make tables from files of OpenFace, py-feat, LibreFace, FaceReader, iMotions, or any text file with columns."""
    from .import_run import import_files

    return import_files(files, source, map_file, fps, output)
