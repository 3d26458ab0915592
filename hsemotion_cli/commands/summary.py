"""``hsemotion summary``: tables and windows -> a row of statistics for each person and window."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .options import Only, OutputOptions
from .segments import People, Tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..analysis.summary import SummarySettings
    from ..formats.events import Event


@dataclass(frozen=True, slots=True)
class WindowOptions:
    """What is summarised, over which time."""

    panel: ClassVar[str] = "Summary"

    events: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="Windows: CSV, BIDS events.tsv, ELAN or BORIS; repeat for more.",
            show_default="whole recordings",
        ),
    ] = field(default_factory=list)  # fmt: skip
    by: Annotated[
        str | None,
        typer.Option(
            metavar="KEY[,KEY]", help="Average rows that agree in these: recording, person, window, group.",
            show_default="every window",
        ),
    ] = None  # fmt: skip
    measures: Annotated[
        str | None,
        typer.Option(metavar="COLUMN[,COLUMN]", help="Columns to summarise.", show_default="all"),
    ] = None
    form: Annotated[str, typer.Option(metavar="wide|long", help="A row per window, or a row per value.")] = "wide"
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN|EVENT|median", help="Each person's own baseline: 0-10 (seconds), a label of the events, or "
            "the median of the recording.", show_default=False,
        ),
    ] = None  # fmt: skip
    correct: Annotated[str, typer.Option(metavar="difference|z|ratio", help="How values relate to the baseline.")] = (
        "difference"
    )
    window_coverage: Annotated[
        float,
        typer.Option(metavar="SHARE", min=0, max=1, help="Leave cells empty where a face covers less of a window."),
    ] = 0.5
    min_seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Leave cells empty where a face is seen for less.")
    ] = 1.0
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules of segments that calibrate wrote.", show_default=False),
    ] = None


def run(
    tables: Tables,
    wanted: WindowOptions,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.csv", help="The result; FILE.json has every parameter.")
    ] = Path("summary.csv"),
    people: People = None,
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json", "log")] = OutputOptions(),  # noqa: B008
) -> int:
    """Summarise tables: a row of statistics for each recording, person and window, ready for R.

    hsemotion summary results -o summary.csv

    hsemotion summary results --events events.csv --baseline rest --correct z -o summary.csv
    """
    from ..analysis.outputs import is_result
    from ..analysis.summary_run import FORMS, parse_by, write_summary
    from ..errors import UsageError, exit_code_of
    from ..formats.events import assumption, read_events
    from ..formats.ownership import check_outputs
    from ..formats.people import read_people
    from ..runtime.atomic_files import prepare_folder
    from .console import counting, print_json, print_line, say
    from .table_inputs import tables_in
    from .unread_options import refuse

    if out.suffix.lower() != ".csv":
        raise UsageError(f"-o {out}: summaries are CSV files; give a name that ends in .csv.")
    if wanted.form not in FORMS:
        raise UsageError(f"--form {wanted.form}: choose from {', '.join(FORMS)}.")
    by = parse_by(wanted.by) if wanted.by is not None else None
    events = [one for path in wanted.events for one in read_events(path)] if wanted.events else None
    for sentence in filter(None, map(assumption, wanted.events)):
        say(sentence)
    if wanted.baseline is None:
        refuse(["correct"], "it is for --baseline")
    settings = _settings(wanted, events or ())
    found, names = tables_in(tables), read_people(people)
    check_outputs([out, out.with_suffix(".json")], output.overwrite, is_result)
    prepare_folder(out.parent)
    with counting("summary", "tables", output.quiet or output.json) as progress:
        report = write_summary(found, events, settings, out, wanted.form, by, names, progress)
    for sentence in (*report.notes, *map(str, report.failures)):
        say(sentence)
    if output.json:
        counts = {"recordings": report.recordings, "rows": report.rows, "empty": report.empty}
        print_json({**counts, "output": str(out)})
    elif not output.quiet:
        if report.empty:
            print_line(f"{report.empty} windows have too little coverage; the column reason says why.")
        print_line(str(out))
        print_line(str(out.with_suffix(".json")))
    return exit_code_of(report.failures, some_succeeded=True)


def _settings(wanted: WindowOptions, events: Sequence[Event]) -> SummarySettings:
    from dataclasses import replace

    from ..analysis.baseline import Baseline
    from ..analysis.rules import Rules, read_rules
    from ..analysis.summary import KINDS, MEASURES, SummarySettings
    from ..errors import UsageError
    from ..formats.schema import COLUMNS
    from ..runtime.comma_list import comma_list

    rules = replace(read_rules(wanted.recipe) if wanted.recipe else Rules(), kinds=KINDS)
    measures = MEASURES
    if wanted.measures is not None:
        measures = comma_list(wanted.measures)
        numbers = {column.name for column in COLUMNS if column.type != "text"} - {"frame", "time", "face_id"}
        if unknown := [name for name in measures if name not in numbers]:
            raise UsageError(f"--measures {wanted.measures}: {unknown[0]!r} is not a column of numbers of a table.")
    labels = [event.label for event in events if event.kind == "label"]
    baseline = Baseline.parse(wanted.baseline, wanted.correct, labels) if wanted.baseline else None
    return SummarySettings(measures, rules, wanted.window_coverage, wanted.min_seconds, baseline)
