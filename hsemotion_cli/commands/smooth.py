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
    from ..analysis.who import identified
    from ..errors import InputError
    from ..formats import raw_scores, sidecar
    from ..formats.output_names import output_names
    from ..formats.ownership import check_outputs
    from ..formats.people import names_for, read_people
    from ..formats.results import write_results
    from ..formats.table import parse_formats
    from ..pipeline import rebuild
    from ..postprocess.recipe import Recipe
    from ..runtime.atomic_files import prepare_folder
    from ..runtime.terminal import say
    from .console import print_line
    from .defaults import CHOSEN

    name = table.stem
    wanted = parse_formats(output.formats)
    beside = table.with_name(f"{name}.json")
    check_outputs((out / each for each in output_names(name, wanted).values()), output.overwrite)
    content = sidecar.read(beside)
    timeline = raw_scores.read(table.with_name(f"{name}.raw.npz"))
    if people is not None:
        timeline = identified(timeline, None, names_for(read_people(people), name))
    before = Recipe.read(smoothing.recipe) if smoothing.recipe else sidecar.recipe(content, beside)
    after = before.changed(
        blend=smoothing.blend,
        smooth=smoothing.smooth,
        max_gap=smoothing.max_gap,
        interpolate=smoothing.interpolate,
        thresholds=smoothing.threshold,
        gate=smoothing.gate,
    )
    try:
        done, note = rebuild(timeline, content, after)
    except InputError as error:
        raise InputError(f"{table}: {error}") from error
    prepare_folder(out)
    if chosen := {**content.get("options", {}), **CHOSEN.get()}:
        done.content["options"] = chosen
    if note:
        say(f"{table}: {note}")
    outputs = write_results(done.affect, timeline, done.content, out, name, wanted)
    if not output.quiet:
        for file_name in outputs.values():
            print_line(str(out / file_name))
