"""``hsemotion segments``: tables -> intervals of expressions, action units, smiles and absences."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .options import Only, OutputOptions

if TYPE_CHECKING:
    from ..analysis.rules import Rules
    from ..analysis.segment_run import SegmentReport

Tables = Annotated[
    list[Path],
    typer.Argument(metavar="TABLES", help="Tables made by annotate, or folders of them.", show_default=False),
]
People = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="people.csv: which face ids of which recordings are which person.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class SegmentOptions:
    """When a curve counts as an episode."""

    panel: ClassVar[str] = "Rules"

    kinds: Annotated[
        str,
        typer.Option(
            metavar="NAME[,NAME]",
            help="expression, quadrant, action_unit, smile, blink, gaze_away, no_face; several with commas.",
        ),
    ] = "all"
    onset: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE", help="Evidence from which a segment of a kind or label begins, as expression=0.6.",
            show_default=False,
        ),
    ] = field(default_factory=list)  # fmt: skip
    offset: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=VALUE", help="Evidence below which it ends, as AU12=0.1.", show_default=False,
        ),
    ] = field(default_factory=list)  # fmt: skip
    min_duration: Annotated[
        list[str],
        typer.Option(
            metavar="SECONDS", help="Shortest segment; NAME=SECONDS for a kind or label.", show_default="0.5"
        ),
    ] = field(default_factory=list)  # fmt: skip
    merge_gap: Annotated[
        list[str],
        typer.Option(
            metavar="SECONDS", help="Longest gap that is closed; NAME=SECONDS for one kind.", show_default="0.25"
        ),
    ] = field(default_factory=list)  # fmt: skip
    max_missing: Annotated[
        list[str],
        typer.Option(
            metavar="SHARE", help="Largest share of a segment without evidence; NAME=SHARE for one kind.",
            show_default="0.2",
        ),
    ] = field(default_factory=list)  # fmt: skip
    smooth: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:WIDTH", help="Filter for tables that are not smoothed; none for no filter.",
            show_default="gaussian:0.2",
        ),
    ] = None  # fmt: skip
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules and thresholds that calibrate wrote.", show_default=False),
    ] = None


def run(
    tables: Tables,
    wanted: SegmentOptions,
    output: Annotated[OutputOptions, Only("out", "overwrite", "quiet", "json", "log")],
    people: People = None,
) -> int:
    """Turn tables into intervals: expressions, quadrants, action units, smiles, blinks, averted gaze and absences.

    hsemotion segments results -o findings

    hsemotion segments results -o findings --kinds expression,smile --min-duration 1
    """
    from ..analysis.outputs import is_result
    from ..analysis.segment_run import FILES, write_segments
    from ..errors import exit_code_of
    from ..formats.ownership import check_outputs
    from ..formats.people import read_people
    from ..runtime.atomic_files import prepare_folder
    from .console import counting, print_json, print_line, say
    from .table_inputs import tables_in

    rules = chosen_rules(wanted)
    found, names = tables_in(tables), read_people(people)
    outputs = [output.out / name for name in FILES]
    check_outputs(outputs, output.overwrite, is_result)
    prepare_folder(output.out)
    with counting("segments", "tables", output.quiet or output.json) as progress:
        report = write_segments(found, rules, output.out, names, progress)
    for sentence in (*report.notes, *map(str, report.failures)):
        say(sentence)
    if output.json:
        print_json(
            {
                "recordings": report.recordings, "people": report.people, "outputs": [str(path) for path in outputs],
                "segments": [
                    {"kind": kind, "label": label, "count": count, "seconds": report.seconds[kind, label]}
                    for (kind, label), count in report.count.items()
                ],
            }
        )  # fmt: skip
    elif not output.quiet:
        _show(report)
        for path in outputs:
            print_line(str(path))
    return exit_code_of(report.failures, some_succeeded=True)


def chosen_rules(wanted: SegmentOptions) -> Rules:
    """The rules that the options ask for.

    Raises:
        UsageError: one of them makes no rule.
    """
    from dataclasses import replace

    from ..analysis.rules import Rules, parse_kinds, read_rules
    from ..postprocess.recipe import Smoothing

    rules = read_rules(wanted.recipe) if wanted.recipe else Rules()
    rules = replace(rules, kinds=parse_kinds(wanted.kinds))
    if wanted.smooth is not None:
        rules = replace(rules, smoothing=Smoothing.parse(wanted.smooth), filters={})
    names = ("onset", "offset", "min_duration", "merge_gap", "max_missing")
    return rules.changed(**{name: getattr(wanted, name) for name in names})


def _show(report: SegmentReport) -> None:
    from .console import Table, print_table

    tables = "table" if report.recordings == 1 else "tables"
    people = "person" if report.people == 1 else "people"
    shown = Table(title=f"Segments of {report.recordings} {tables}, {report.people} {people}")
    for name in ("kind", "label"):
        shown.add_column(name)
    for name in ("count", "seconds", "mean s"):
        shown.add_column(name, justify="right")
    for (kind, label), count in sorted(report.count.items()):
        seconds = report.seconds[kind, label]
        shown.add_row(kind, label, str(count), f"{seconds:.2f}", f"{seconds / count:.2f}")
    print_table(shown)
