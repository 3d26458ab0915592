"""``hsemotion annotate``: options -> settings -> every video in turn -> a table on the terminal."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from ..annotate import Annotator, Settings, Summary
from ..cli import say
from ..errors import HsemotionError, LowCoverage, OutputError, exit_code_of
from ..formats.table import parse_formats
from ..inputs import find_jobs, parse_time
from ..outputs import prepare_folder
from ..predict import Running
from ..recipe import Recipe, parse_models
from ..registry import DEFAULT_MODEL
from ..source import Sampling
from ..tracks import parse_faces
from .console import fetching, print_summaries, progress


def run(
    videos: list[Path], out: Path, *, model: str | None, recipe: Path | None, blend: str | None, smooth: str | None,
    max_gap: float | None, interpolate: float | None, thresholds: list[str], formats: str, overlay: bool, faces: str,
    start: str | None, end: str | None, fps: float | None, every: int, crops: bool, image_fps: float,
    min_face: int | None, det_threshold: float, min_coverage: float, batch_size: int, backend: str, device: str,
    precision: str, threads: int | None, offline: bool, quiet: bool, verbose: bool, as_json: bool,
) -> int:  # fmt: skip
    """Annotate every video; returns the exit code.

    Everything that can be checked is checked before the first frame. A video that fails does not stop the others.
    """
    base, given = chosen_models(model, recipe)
    settings = Settings(
        recipe=base.changed(
            blend=blend, smooth=smooth, max_gap=max_gap, interpolate=interpolate, thresholds=thresholds
        ),
        formats=parse_formats(formats),
        overlay=overlay,
        faces=parse_faces(faces),
        sampling=Sampling(parse_time(start, "--start"), parse_time(end, "--end"), fps, every),
        crops=crops,
        image_fps=image_fps,
        min_face=min_face,
        threshold=det_threshold,
        batch_size=batch_size,
        running=Running(backend, device, precision, threads, offline, given, fetching(quiet)),
    )
    jobs = find_jobs(videos, crops=crops)
    prepare_folder(out)
    done: list[Summary] = []
    failures: list[HsemotionError] = []
    with Annotator(settings) as annotator:
        for job in jobs:
            try:
                with progress(job.path.name, quiet or as_json) as report:
                    done.append(annotator.annotate(job.path, out, job.name, report))
            except HsemotionError as error:
                say(str(error))
                failures.append(error)
    for summary in done:
        if summary.problem:
            say(summary.problem)
            failures.append(OutputError(summary.problem))
    if as_json:
        print(json.dumps([dataclasses.asdict(summary) for summary in done], indent=2))
    elif done and not quiet:
        print_summaries(done, verbose=verbose)
    return _exit_code(done, failures, min_coverage)


def chosen_models(model: str | None, recipe: Path | None) -> tuple[Recipe, dict[str, Path]]:
    """The recipe that the options begin with, and the weight files that the user brings.

    Models named beside a recipe take the place of the recipe's own, which then keeps the rest.
    """
    if model is None:
        return Recipe.read(recipe) if recipe else Recipe.of(DEFAULT_MODEL), {}
    names, given = parse_models(model)
    if recipe is None:
        return Recipe.of(*names), given
    return Recipe.from_json({**Recipe.read(recipe).to_json(), "models": list(names)}), given


def _exit_code(done: list[Summary], failures: list[HsemotionError], min_coverage: float) -> int:
    if failures:
        return exit_code_of(failures, some_succeeded=bool(done))
    low = [summary for summary in done if summary.coverage < min_coverage]
    for summary in low:
        seen = f"a face was seen in {summary.coverage:.1%} of its frames"
        say(f"{summary.source}: {seen}, below --min-coverage {min_coverage:g}.")
    return LowCoverage.exit_code if low else 0
