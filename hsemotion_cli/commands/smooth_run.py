"""What ``hsemotion smooth`` does: raw scores and a recipe -> a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..analysis.who import identified
from ..errors import InputError
from ..formats import raw_scores, sidecar
from ..formats.output_names import output_names
from ..formats.ownership import check_outputs
from ..formats.people import names_for, read_people
from ..formats.results import write_results
from ..formats.table import parse_formats
from ..pipeline import Analysis, rebuild
from ..postprocess.recipe import Recipe
from ..runtime.atomic_files import prepare_folder
from ..runtime.terminal import say
from .console import print_line
from .defaults import CHOSEN
from .options import OutputOptions, SmoothingOptions
from .settings import changed_recipe


def smooth(
    table: Path, out: Path, smoothing: SmoothingOptions, output: OutputOptions, people: Path | None = None
) -> None:
    """Write a table again, by another recipe.

    Args:
        table: the raw scores and the sidecar are read from beside it.
        people: file of names given by hand, or None.

    Raises:
        InputError: a file is missing or damaged.
        UsageError: the options do not fit the raw scores, or a file of the user's would be replaced.
        OutputError: a result could not be written.
    """
    formats = parse_formats(output.formats)
    check_outputs((out / name for name in output_names(table.stem, formats).values()), output.overwrite)
    beside = table.with_name(f"{table.stem}.json")
    content = sidecar.read(beside)
    timeline = raw_scores.read(table.with_name(f"{table.stem}.raw.npz"))
    if people is not None:
        timeline = identified(timeline, None, names_for(read_people(people), table.stem))
    before = Recipe.read(smoothing.recipe) if smoothing.recipe else sidecar.recipe(content, beside)
    try:
        done, note = rebuild(timeline, content, changed_recipe(before, smoothing))
    except InputError as error:
        raise InputError(f"{table}: {error}") from error
    if note:
        say(f"{table}: {note}")
    _write(done, content, out, table.stem, formats, output.quiet)


def _write(done: Analysis, before: dict[str, Any], out: Path, name: str, formats: tuple[str, ...], quiet: bool) -> None:
    """Write the results and print their paths; the sidecar keeps the options of the earlier run (``before``)."""
    prepare_folder(out)
    if chosen := {**before.get("options", {}), **CHOSEN.get()}:
        done.content["options"] = chosen
    outputs = write_results(done.affect, done.timeline, done.content, out, name, formats)
    for file_name in outputs.values() if not quiet else ():
        print_line(str(out / file_name))
