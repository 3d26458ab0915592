"""``hsemotion people``: tables or videos -> people.csv, across recordings; a gallery of people, and its deletion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Only, OutputOptions


def run(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TABLES|VIDEOS", help="Tables of annotate, videos, or folders of either."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.csv", help="people.csv to write.", show_default=False)
    ] = None,
    people: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Names given by hand so far, which always count; with --enrol those to enrol.",
            show_default=False,
        ),
    ] = None,
    videos: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where the videos of the tables are.", show_default="beside them, or one folder up"
        ),
    ] = None,
    gallery: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Gallery to recognise people from, or to enrol in.", show_default=False),
    ] = None,
    enrol: Annotated[
        bool, typer.Option("--enrol", help="Store embeddings of the people in --people in --gallery (biometric).")
    ] = False,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|all", help="Delete a person from --gallery; repeat for more.", show_default=False
        ),
    ] = None,
    output: Annotated[OutputOptions, Only("overwrite", "quiet")] = OutputOptions(),  # noqa: B008 (frozen)
) -> None:  # fmt: skip
    """Find out which face ids are the same person, across recordings, and write people.csv.

    Embeddings of faces are biometric data. They are kept only where --enrol asks for it, in the gallery.

    hsemotion people results -o people.csv

    hsemotion people results --people people.csv --gallery team --enrol

    hsemotion people --gallery team --forget Ann
    """
    from .people_run import Request
    from .people_run import run as run_people

    run_people(Request(tuple(sources or ()), out, people, videos, gallery, enrol, tuple(forget or ()), output))
