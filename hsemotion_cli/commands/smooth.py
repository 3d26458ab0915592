"""``hsemotion smooth``: raw scores beside a table -> the same table by another recipe."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..formats import raw_scores, sidecar
from ..formats.schema import SCHEMA_VERSION
from ..formats.table import parse_formats
from ..pipeline import write_results
from ..postprocess.recipe import Recipe
from ..postprocess.refine import refine
from ..runtime.atomic_files import prepare_folder
from .console import print_line


def run(
    table: Path, out: Path, *, recipe: Path | None, smooth: str | None, blend: str | None, max_gap: float | None,
    interpolate: float | None, thresholds: list[str], formats: str, quiet: bool,
) -> None:  # fmt: skip
    """Write ``out / NAME.*`` anew; what is not given stays as it was."""
    name = table.stem
    wanted = parse_formats(formats)
    beside = table.with_name(f"{name}.json")
    content = sidecar.read(beside)
    timeline = raw_scores.read(table.with_name(f"{name}.raw.npz"))
    before = Recipe.read(recipe) if recipe else sidecar.recipe(content, beside)
    after = before.changed(blend=blend, smooth=smooth, max_gap=max_gap, interpolate=interpolate, thresholds=thresholds)
    try:
        affect = refine(timeline, after)
    except InputError as error:
        raise InputError(f"{table}: {error}") from error
    prepare_folder(out)
    content |= {"schema_version": SCHEMA_VERSION, "recipe": after.to_json()}
    outputs = write_results(affect, timeline, content, out, name, wanted)
    if not quiet:
        for file_name in outputs.values():
            print_line(str(out / file_name))
