"""What ``hsemotion sheet`` does: make the page of a table, or count the marks that it saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..formats.ownership import check_outputs
from ..formats.people import read_people
from ..formats.sheet_marks import MARKS, read_sheet_marks
from ..reporting.sheet_accuracy import SheetAccuracy, accuracy_of, marks_of_table
from ..reporting.sheet_choice import SheetSize
from ..reporting.sheet_page import write_sheet
from ..runtime.atomic_files import prepare_folder
from .console import Table, print_json, print_line, print_table, print_text, progress, say
from .options import OutputOptions


@dataclass(frozen=True, slots=True)
class Request:
    """The options of ``hsemotion sheet`` for a page."""

    table: Path
    out: Path | None
    video: Path | None
    people: Path | None
    size: SheetSize
    output: OutputOptions


def make(request: Request) -> None:
    """Make the page.

    Raises:
        InputError: the table, its video or the names cannot be used.
        UsageError: the name of the page is no HTML file's.
        OutputError: the page could not be written.
    """
    table, output = request.table, request.output
    out = request.out or table.with_name(f"{table.stem}.sheet.html")
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"-o {out}: pages are HTML files; give a name that ends in .html.")
    people = tuple(read_people(request.people))
    check_outputs([out], output.overwrite)
    prepare_folder(out.parent)
    with progress(table.name, output.quiet or output.json) as report:
        made = write_sheet(
            table, out, request.video, request.size, people, lambda stage, done: report(stage, done, 0, None)
        )
    if output.json:
        print_json({"page": str(made.path), "images": made.counts, "candidates": made.candidates})
    if output.quiet or output.json:
        return
    for remark in made.remarks:
        say(remark)
    print_line(str(made.path))
    counts = ", ".join(f"{count} {kind}" for kind, count in made.counts.items())
    print_text(
        f"{counts}; the random ones were drawn from {made.candidates} moments, seed {request.size.seed}. Mark them in "
        f"a browser, then: hsemotion sheet {table} --marks sheet-marks.csv"
    )


def print_accuracy(table: Path, marks: Path, as_json: bool) -> None:
    """Print what the marks of a sheet say about its table.

    Raises:
        InputError: the marks or the table cannot be used, or do not belong together.
    """
    found = accuracy_of(marks_of_table(table, read_sheet_marks(marks)))
    if as_json:
        print_json(
            {
                "counts": found.counts, "accuracy": found.accuracy, "low": found.low, "high": found.high,
                "confusions": [
                    {"label": label, "correct": right, "count": n} for (label, right), n in found.confusions.items()
                ],
            }
        )  # fmt: skip
        return
    lines = Table("group", *MARKS)
    for group, counts in found.counts.items():
        lines.add_row(group, *(str(counts[mark]) for mark in MARKS))
    print_table(lines)
    print_text(_sentence(found))
    if found.confusions:
        wrong = ", ".join(f"{label} instead of {right} {count}" for (label, right), count in found.confusions.items())
        print_text(f"Wrong labels: {wrong}.")


def _sentence(found: SheetAccuracy) -> str:
    counts = found.counts["random"]
    decided = counts["right"] + counts["wrong"]
    if found.accuracy is None:
        return "No random moment is marked right or wrong, so there is no accuracy: only those are a fair sample."
    unsure = f" {counts['unsure']} unsure ones are left out." if counts["unsure"] else ""
    return (
        f"Accuracy in this recording: {found.accuracy:.1%}, 95 % interval {found.low:.1%} to {found.high:.1%} "
        f"(Wilson), from {decided} random moments.{unsure} The other groups were selected, so they do not count."
    )
