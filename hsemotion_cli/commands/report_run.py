"""What ``hsemotion report`` does: which tables, which videos, which pages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import HsemotionError, InputError, OutputError, UsageError, exit_code_of
from ..formats.events import assumption, read_events
from ..formats.output_names import output_names
from ..formats.ownership import check_outputs
from ..formats.people import read_people
from ..formats.table import WRITERS
from ..reporting.folder_page import FolderEntry, find_tables, read_manifest, write_index
from ..reporting.report_page import PageOptions, PageReport, write_page
from ..reporting.report_table import NoTimeError
from ..runtime.atomic_files import prepare_folder
from .console import note, print_line, progress, say

if TYPE_CHECKING:
    from ..analysis.video_summary import VideoSummary


@dataclass(frozen=True, slots=True)
class Request:
    """The options of ``hsemotion report``."""

    input: Path
    out: Path | None = None
    video: Path | None = None
    embed: bool = False
    people: Path | None = None
    marks: Path | None = None
    events: Path | None = None
    images: bool = True
    overwrite: bool = False
    quiet: bool = False


def run(request: Request) -> int:
    """Make the page of a table or a video, or the pages and the index of a folder; returns the exit code.

    Raises:
        InputError: the input, or a file that belongs to it, cannot be used.
        UsageError: options that do not fit the input.
        OutputError: a page could not be written.
    """
    options = _options(request)
    if request.input.is_dir() and find_tables(request.input):
        if request.video is not None and request.video.is_file():
            raise UsageError(
                f"--video {request.video}: {request.input} is a folder of tables; give that of their videos."
            )
        return _folder(request, options)
    table, options = _table(request, options)
    out = request.out or table.with_suffix(".html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {out}: pages are HTML files; give a name that ends in .html.")
    check_outputs([out], request.overwrite)
    prepare_folder(out.parent)
    made = _page(table, out, options, request.quiet)
    if not request.quiet:
        print_line(str(made.path))
    return 0


def _options(request: Request) -> PageOptions:
    people = tuple(read_people(request.people))
    if not request.quiet:
        for sentence in filter(None, map(assumption, filter(None, (request.marks, request.events)))):
            note(sentence)
    return PageOptions(
        request.video, request.embed, people, _spans(request.marks), _spans(request.events), request.images
    )


def _spans(path: Path | None) -> tuple[dict[str, Any], ...]:
    """The events of a file as the page reads them."""
    names = ("recording", "person", "onset", "offset", "kind", "label")
    return tuple({name: getattr(one, name) for name in names} for one in (read_events(path) if path else ()))


def _page(table: Path, out: Path, options: PageOptions, quiet: bool) -> PageReport:
    with progress(table.name, quiet) as report:
        made = write_page(table, out, options, lambda stage, done: report(stage, done, 0, None))
    if not quiet:
        for remark in made.remarks:
            say(remark)
    return made


def _table(request: Request, options: PageOptions) -> tuple[Path, PageOptions]:
    """The table of the input: itself, or that of a video, which is annotated unless its table is there."""
    if request.input.suffix.lower().lstrip(".") in WRITERS:
        return request.input, options
    if request.video is not None:
        raise UsageError(f"--video is for tables; {request.input} is the video itself.")
    path = request.input
    if not path.exists():
        raise InputError(f"{path}: no such table, video or folder.")
    folder = request.out.parent if request.out else Path("hsemotion")
    places = [place / f"{path.stem}.{kind}" for place in (path.parent, folder) for kind in WRITERS]
    table = next((place for place in places if place.is_file()), None)
    if table is None:
        table = _annotated(path, folder, request)
    elif not request.quiet:
        note(f"{path}: its table is there already: {table}")
    return table, replace(options, video=path)


def _annotated(path: Path, folder: Path, request: Request) -> Path:
    """Annotate a video with the usual settings; returns its table."""
    from ..media.discovery import discover
    from ..pipeline import Annotator
    from .options import FaceOptions, InputOptions, ModelOptions, OutputOptions, RunningOptions, SmoothingOptions
    from .settings import chosen_settings

    settings = chosen_settings(
        InputOptions(), FaceOptions(), ModelOptions(), SmoothingOptions(), OutputOptions(quiet=request.quiet),
        RunningOptions(),
    )  # fmt: skip
    jobs = discover([path]).jobs
    if len(jobs) != 1:
        raise InputError(
            f"{path}: holds {len(jobs)} recordings; annotate the folder, then make a report of the results."
        )
    names = output_names(path.stem, settings.formats).values()
    check_outputs((folder / name for name in names), request.overwrite)
    with Annotator(settings) as annotator, progress(path.name, request.quiet) as report:
        annotator.annotate(path, folder, path.stem, report)
    return folder / f"{path.stem}.{settings.formats[0]}"


def write_page_of(summary: VideoSummary, quiet: bool) -> Path:
    """Write the page of a video that was annotated just now, beside its table; returns its path.

    Raises:
        NoTimeError: it holds photos.
        InputError: its video cannot be read any more.
        OutputError: the page could not be written.
    """
    table = next(Path(summary.outputs[kind]) for kind in WRITERS if kind in summary.outputs)
    return _page(table, table.with_suffix(".html"), PageOptions(Path(summary.source)), quiet).path


def _folder(request: Request, options: PageOptions) -> int:
    """A page for each table of a folder, and the index; a table that cannot be used does not stop the others."""
    if request.out is not None and request.out.suffix.lower() in (".html", ".htm"):
        raise UsageError(f"-o {request.out}: a folder of tables becomes a folder of pages; give its name.")
    made, failures = write_folder(
        request.input, request.out or request.input, options, request.overwrite, request.quiet
    )
    return exit_code_of(failures, some_succeeded=bool(made)) if failures else 0


def write_folder(
    folder: Path, out: Path, options: PageOptions, overwrite: bool, quiet: bool
) -> tuple[list[FolderEntry], list[HsemotionError]]:
    """The pages of all tables below a folder, and ``index.html``.

    Returns:
        the recordings, and the errors of tables that cannot be used, which are printed at once.
    """
    tables, manifest = find_tables(folder), read_manifest(folder)
    places = {table: out / table.relative_to(folder).with_suffix(".html") for table in tables}
    check_outputs([*places.values(), out / "index.html"], overwrite)
    made: list[FolderEntry] = []
    failures: list[HsemotionError] = []
    passed_over: list[str] = []
    for table, place in places.items():
        depth = len(place.relative_to(out).parts) - 1
        video = options.video or manifest.source_of(table)
        chosen = replace(options, video=video, index="../" * depth + "index.html")
        try:
            prepare_folder(place.parent)
            made.append(FolderEntry.of(_page(table, place, chosen, quiet), place.relative_to(out)))
        except NoTimeError as error:
            passed_over.append(str(error))
        except (InputError, OutputError) as error:
            say(str(error))
            failures.append(error)
    write_index(out / "index.html", folder.resolve().name, made, manifest, [*map(str, failures), *passed_over])
    if not quiet:
        for sentence in passed_over:
            note(sentence)
        print_line(str(out / "index.html"))
    return made, failures
