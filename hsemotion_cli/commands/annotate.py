"""``hsemotion annotate``: options -> settings -> every video in turn -> a table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import (
    FaceOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    RunningOptions,
    SmoothingOptions,
    Videos,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..errors import HsemotionError
    from ..pipeline import Summary


def run(
    videos: Videos,
    input: InputOptions,
    faces: FaceOptions,
    models: ModelOptions,
    smoothing: SmoothingOptions,
    output: OutputOptions,
    running: RunningOptions,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Also print the time of each stage and every path written.",
            rich_help_panel=OutputOptions.panel,
        ),
    ] = False,
) -> int:  # fmt: skip
    """Annotate videos: for each a table, raw scores and a description, and an overlay if asked for.

    hsemotion annotate talk.mp4 --overlay

    hsemotion annotate lab/ -o results --smooth gaussian:0.2 --format csv,parquet

    hsemotion annotate cropped_aligned/video45_1 --crops
    """
    from ..runtime import malloc

    malloc.settle()
    import dataclasses

    from ..errors import HsemotionError, OutputError
    from ..formats.output_names import output_names
    from ..formats.ownership import check_outputs
    from ..media.discovery import discover
    from ..pipeline import Annotator
    from ..runtime.atomic_files import prepare_folder
    from .annotate_view import print_summaries
    from .console import print_json, progress, say, say_passed_over
    from .settings import chosen_settings

    # Everything that can be checked is checked before the first frame. A video that fails does not stop the others.
    settings = chosen_settings(input, faces, models, smoothing, output, running)
    found = discover(videos, crops=input.crops)
    if not output.quiet:
        say_passed_over(found.passed_over, found.notes)
    names = (n for job in found.jobs for n in output_names(job.name, settings.formats, settings.overlay).values())
    check_outputs((output.out / name for name in names), output.overwrite)
    prepare_folder(output.out)
    done: list[Summary] = []
    failures: list[HsemotionError] = []
    with Annotator(settings) as annotator:
        for job in found.jobs:
            try:
                with progress(job.path.name, output.quiet or output.json) as report:
                    done.append(annotator.annotate(job.path, output.out, job.name, report))
            except HsemotionError as error:
                say(str(error))
                failures.append(error)
    for summary in done:
        if summary.problem:
            say(summary.problem)
            failures.append(OutputError(summary.problem))
    if output.json:
        left = [{"source": path, "passed_over": reason} for path, reason in found.passed_over]
        print_json([*(dataclasses.asdict(summary) for summary in done), *left])
    elif done and not output.quiet:
        print_summaries(done, verbose=verbose)
    return _exit_code(done, failures, output.min_coverage)


def _exit_code(done: Sequence[Summary], failures: Sequence[HsemotionError], min_coverage: float) -> int:
    from ..errors import LowCoverage, exit_code_of
    from ..runtime.terminal import say

    if failures:
        return exit_code_of(failures, some_succeeded=bool(done))
    low = [summary for summary in done if summary.coverage < min_coverage]
    for summary in low:
        say(str(LowCoverage.of(summary.source, summary.coverage, min_coverage)))
    return LowCoverage.exit_code if low else 0
