"""``hsemotion smooth``: raw scores beside a table -> the same table by another recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..annotate import write_results
from ..formats import archive, sidecar
from ..formats.table import parse_formats
from ..outputs import prepare_folder
from ..recipe import Recipe, Smoothing, parse_threshold
from ..refine import refine
from ..tasks import TASKS
from .console import stdout


def run(
    table: Path, out: Path, *, smooth: str | None, blend: float | None, max_gap: float | None,
    interpolate: float | None, thresholds: list[str], formats: str, quiet: bool,
) -> None:  # fmt: skip
    """Write ``out / NAME.*`` anew; what is not given stays as it was."""
    name = table.stem
    wanted = parse_formats(formats)
    content = sidecar.read(table.with_name(f"{name}.json"))
    timeline = archive.read(table.with_name(f"{name}.raw.npz"))
    recipe = _changed(Recipe.from_json(content["recipe"]), smooth, blend, max_gap, interpolate, thresholds)
    affect = refine(timeline, recipe)
    prepare_folder(out)
    outputs = write_results(affect, timeline, {**content, "recipe": recipe.to_json()}, out, name, wanted)
    if not quiet:
        for file_name in outputs.values():
            stdout().print(str(out / file_name), highlight=False, soft_wrap=True, markup=False)


def _changed(
    recipe: Recipe,
    smooth: str | None,
    blend: float | None,
    max_gap: float | None,
    interpolate: float | None,
    thresholds: list[str],
) -> Recipe:
    if smooth is not None:
        filter_ = Smoothing.parse(smooth)
        recipe = replace(recipe, smoothing={} if filter_.kernel == "none" else dict.fromkeys(TASKS, filter_))
    if blend is not None:
        recipe = replace(recipe, blend=dict.fromkeys(TASKS, blend))
    return replace(
        recipe,
        max_gap=recipe.max_gap if max_gap is None else max_gap,
        interpolate=recipe.interpolate if interpolate is None else interpolate,
        thresholds={**recipe.thresholds, **dict(map(parse_threshold, thresholds))},
    )
