"""``hsemotion annotate``: options -> settings -> every video in turn -> a table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    FaceOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    Reworded,
    RunningOptions,
    SmoothingOptions,
    Videos,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..analysis.video_summary import VideoSummary
    from ..errors import HsemotionError
    from ..media.discovery import Job, Jobs
    from ..pipeline import Annotator, Settings


FORMAT_HELP = "Table formats: csv, parquet, jsonl; also those of hsemotion export; several with commas."


def run(
    videos: Videos,
    input: InputOptions,
    faces: FaceOptions,
    models: ModelOptions,
    smoothing: SmoothingOptions,
    output: Annotated[OutputOptions, Reworded(formats={"help": FORMAT_HELP})],
    running: RunningOptions,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", "-v", help="Also print the time of each stage and every path written.",
            rich_help_panel=OutputOptions.panel,
        ),
    ] = False,
) -> int:  # fmt: skip
    """Annotate videos: writes a table, raw scores and a description for each, and an overlay on request.

    hsemotion annotate talk.mp4 --overlay

    hsemotion annotate lab/ -o results --smooth gaussian:0.2 --format csv,parquet

    hsemotion annotate cropped_aligned/video45_1 --crops
    """
    from ..runtime import malloc

    malloc.settle()
    from ..media.discovery import discover
    from ..pipeline import Annotator
    from ..runtime.atomic_files import prepare_folder
    from .console import say_passed_over
    from .export_run import export_annotated, split_targets
    from .settings import chosen_settings

    # Everything that can be checked is checked before the first frame. A video that fails does not stop the others.
    output, targets = split_targets(output)
    settings = chosen_settings(input, faces, models, smoothing, output, running)
    found = discover(videos, crops=input.crops)
    if not output.quiet:
        say_passed_over(found.passed_over, found.notes)
    _check(found, settings, targets, output)
    prepare_folder(output.out)
    with Annotator(settings) as annotator:
        results = [_annotated(annotator, job, output) for job in found.jobs]
    done = [result for result in results if not isinstance(result, Exception)]
    failures = [result for result in results if isinstance(result, Exception)]
    unreported = _reported(done, output) if output.report else []
    unexported = export_annotated(done, targets, settings.formats[0], output) if targets and done else []
    problems = _problems(done)
    _print(found, results, output, verbose)
    return _exit_code(done, [*failures, *problems, *unreported, *unexported], output.min_coverage)


def _check(found: Jobs, settings: Settings, targets: Sequence[str], output: OutputOptions) -> None:
    """Raise UsageError for options without effect, and where a file of the user's would be replaced.

    Args:
        targets: formats of other programs to export to.
    """
    from ..formats.output_names import output_names
    from ..formats.ownership import check_outputs
    from .export_run import check_targets
    from .unread_options import refuse_for_sources

    refuse_for_sources((job.path for job in found.jobs), crops=settings.crops)
    kinds = (settings.formats, settings.overlay, output.report)
    names = (name for job in found.jobs for name in output_names(job.name, *kinds).values())
    check_outputs((output.out / name for name in names), output.overwrite)
    check_targets([job.name for job in found.jobs], targets, output)


def _print(found: Jobs, results: Sequence[VideoSummary | HsemotionError], output: OutputOptions, verbose: bool) -> None:
    """Print the results: JSON with ``--json``, else a table of the videos that succeeded."""
    from .annotate_view import print_summaries
    from .console import print_json

    done = [result for result in results if not isinstance(result, Exception)]
    if output.json:
        left = [{"source": path, "passed_over": reason} for path, reason in found.passed_over]
        print_json([*map(_entry, found.jobs, results), *left])
    elif done and not output.quiet:
        print_summaries(done, verbose=verbose)


def _annotated(annotator: Annotator, job: Job, output: OutputOptions) -> VideoSummary | HsemotionError:
    """Annotate one video: returns its summary, or the error, which is printed at once."""
    from ..errors import HsemotionError
    from .console import progress, say

    try:
        with progress(job.path.name, output.quiet or output.json) as report:
            return annotator.annotate(job.path, output.out, job.name, report)
    except HsemotionError as error:
        say(str(error))
        return error


def _reported(done: Sequence[VideoSummary], output: OutputOptions) -> list[HsemotionError]:
    """Make the page of each annotated video; returns the errors, which are printed at once."""
    from ..errors import HsemotionError
    from ..reporting.report_table import NoTimeError
    from .console import say
    from .report_run import write_page_of

    failures: list[HsemotionError] = []
    for summary in done:
        try:
            summary.outputs["report"] = str(write_page_of(summary, output.quiet or output.json))
        except NoTimeError as error:
            say(str(error))  # no fault: the table itself is whole
        except HsemotionError as error:
            say(str(error))
            failures.append(error)
    return failures


def _problems(done: Sequence[VideoSummary]) -> list[HsemotionError]:
    """Print an error for each video that could not be read to its end, and return them."""
    from ..errors import OutputError
    from .console import say

    for summary in done:
        if summary.problem:
            say(summary.problem)
    return [OutputError(summary.problem) for summary in done if summary.problem]


def _entry(job: Job, result: VideoSummary | HsemotionError) -> dict[str, Any]:
    """The entry of one video in ``--json``; a failed one has the same keys, with the reason and no other values."""
    import dataclasses

    from ..analysis.video_summary import VideoSummary

    if isinstance(result, VideoSummary):
        return {**dataclasses.asdict(result), "state": "done", "error": None}
    empty = {field.name: None for field in dataclasses.fields(VideoSummary)}
    reason = {"problem": str(result), "state": "failed", "error": type(result).__name__}
    return {**empty, "source": str(job.path), **reason}


def _exit_code(done: Sequence[VideoSummary], failures: Sequence[HsemotionError], min_coverage: float) -> int:
    from ..errors import LowCoverage, exit_code_of
    from ..runtime.terminal import say

    if failures:
        return exit_code_of(failures, some_succeeded=bool(done))
    low = [summary for summary in done if summary.coverage < min_coverage]
    for summary in low:
        say(str(LowCoverage.of(summary.source, summary.coverage, min_coverage)))
    return LowCoverage.exit_code if low else 0
