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
    from ..errors import UsageError
    from ..formats import gallery as galleries
    from ..formats.ownership import check_outputs
    from ..formats.people import read_people
    from .console import print_line, progress
    from .people_run import enrol as enrol_people
    from .people_run import linked, tracks_of, write_people

    if forget:
        if gallery is None or sources or enrol or out is not None:
            raise UsageError("--forget deletes people from a gallery: give it with --gallery and nothing else.")
        for name in galleries.forget(gallery, forget):
            print_line(f"{gallery}: forgot {'everyone' if name == 'all' else name}.")
        return
    if not sources or (out is None and not enrol):
        raise UsageError("people: give tables or videos, and -o people.csv or --enrol; or --forget.")
    if enrol and (gallery is None or people is None):
        raise UsageError("--enrol: give --gallery FOLDER to enrol in, and --people FILE with the names.")
    if gallery is not None and not enrol:
        galleries.read_gallery(gallery)  # before the first frame
    if out is not None:
        check_outputs([out], output.overwrite)
    names = read_people(people) if people else []
    with progress("people", output.quiet) as report:
        recordings = tracks_of(sources, videos, names, lambda name, done, total: report(name, done, 0, total))
    if enrol and gallery is not None:
        for name in enrol_people(recordings, gallery):
            print_line(f"{gallery}: enrolled {name}.")
    if out is not None:
        found = linked(recordings, gallery)
        write_people(out, found)
        persons = {str(person) for who in found.values() for person in who.person} - {""}
        ids = sum(len(who.face_id) for who in found.values())
        if not output.quiet:
            print_line(f"{out}: {len(persons)} people in {ids} face ids of {len(found)} recordings.")
