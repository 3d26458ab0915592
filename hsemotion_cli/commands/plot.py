"""``hsemotion plot``: tables -> a figure for print."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .options import Only, OutputOptions
from .segments import People, Tables

if TYPE_CHECKING:
    from ..reporting.figures.material import Material

KINDS = ("timeline", "circumplex", "shares", "cooccurrence", "comparison")


@dataclass(frozen=True, slots=True)
class FigureOptions:
    """What is drawn."""

    panel: ClassVar[str] = "Figure"

    kind: Annotated[
        str,
        typer.Option(metavar="NAME", help="timeline, circumplex, shares, cooccurrence or comparison (of two tables)."),
    ] = "timeline"
    strips: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]", help="Of a timeline: expression, valence, arousal, action_units, coverage.",
            show_default="all",
        ),
    ] = None  # fmt: skip
    person: Annotated[
        list[str], typer.Option(metavar="NAME|ID", help="Draw this person; repeat for more.", show_default="all")
    ] = field(default_factory=list)
    span: Annotated[
        str | None, typer.Option(metavar="START-END", help="Seconds to draw, as 12.5-30.", show_default="all")
    ] = None
    events: Annotated[
        list[Path],
        typer.Option(
            metavar="FILE", help="Events to shade, or to group by: CSV, BIDS events.tsv, ELAN or BORIS.",
            show_default=False,
        ),
    ] = field(default_factory=list)  # fmt: skip
    by: Annotated[str, typer.Option(metavar="KEY", help="Of shares: recording, person or event.")] = "recording"
    width: Annotated[
        str, typer.Option(metavar="LENGTH", help="Width: 85mm (one column), 174mm (two), or in cm or in.")
    ] = "85mm"


def run(
    tables: Tables,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FIG.pdf|svg|png", help="Figure to write.", show_default=False)
    ],
    wanted: FigureOptions,
    people: People = None,
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "log")] = OutputOptions(),  # noqa: B008
) -> None:
    """Draw a figure for a paper: vector text, readable in grey, missing data shown as missing.

    hsemotion plot hsemotion/talk.csv -o talk.pdf --width 174mm

    hsemotion plot results --kind shares --by person --people people.csv -o shares.svg
    """
    from ..errors import UsageError
    from ..formats.events import check_recordings, read_events
    from ..formats.ownership import check_outputs
    from ..formats.people import read_people
    from ..reporting.figures.material import read_material
    from ..reporting.figures.style import millimetres
    from ..reporting.plotting import SUFFIXES, check_plot_path
    from ..runtime.atomic_files import prepare_folder
    from .console import print_line, say
    from .table_inputs import tables_in

    if wanted.kind not in KINDS:
        raise UsageError(f"--kind {wanted.kind}: choose from {', '.join(KINDS)}.")
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {out}: figures are PDF, SVG or PNG files; give a name that ends in .pdf, .svg or .png.")
    width, span = millimetres(wanted.width), _span(wanted.span)
    # Two tables of one recording have the same name, so for a comparison they are taken as they are given.
    found = list(tables) if wanted.kind == "comparison" else tables_in(tables)
    _check_count(wanted, len(found))
    check_outputs([out], output.overwrite)
    check_plot_path(out)
    events = [one for path in wanted.events for one in read_events(path)]
    check_recordings(events, [table.stem for table in found])
    names = read_people(people)
    materials = [read_material(table, wanted.person, span, events, names) for table in found]
    prepare_folder(out.parent)
    _draw(wanted, materials, out, width)
    if not output.quiet:
        for remark in dict.fromkeys(remark for material in materials for remark in material.recording.notes):
            say(remark)
        print_line(str(out))


def _span(text: str | None) -> tuple[float, float] | None:
    from ..analysis.windows import parse_span
    from ..errors import UsageError

    if text is None:
        return None
    span = parse_span("--span", text)
    if span is None:
        raise UsageError(f"--span {text}: give two rising numbers of seconds, as 12.5-30.")
    return span


def _check_count(wanted: FigureOptions, tables: int) -> None:
    """Options and tables that do not fit the kind of figure."""
    from ..errors import UsageError
    from ..reporting.figures.shares import GROUPINGS

    needed = {"timeline": 1, "circumplex": 1, "comparison": 2}.get(wanted.kind)
    if needed and tables != needed:
        raise UsageError(
            f"--kind {wanted.kind} draws {'one table' if needed == 1 else 'two tables'}; {tables} were given."
        )
    if wanted.by not in GROUPINGS:
        raise UsageError(f"--by {wanted.by}: choose from {', '.join(GROUPINGS)}.")
    if wanted.by != "recording" and wanted.kind != "shares":
        raise UsageError(f"--by {wanted.by} belongs to --kind shares.")
    if wanted.by == "event" and not wanted.events:
        raise UsageError("--by event: give the events with --events.")
    if wanted.strips is not None and wanted.kind != "timeline":
        raise UsageError("--strips belongs to --kind timeline.")
    if wanted.events and not (wanted.kind == "timeline" or (wanted.kind == "shares" and wanted.by == "event")):
        raise UsageError("--events belongs to --kind timeline, and to --kind shares with --by event.")


def _draw(wanted: FigureOptions, materials: list[Material], out: Path, width: float) -> None:
    from ..reporting.figures import circumplex, comparison, cooccurrence, shares, timeline

    if wanted.kind == "timeline":
        strips = timeline.STRIPS if wanted.strips is None else timeline.parse_strips(wanted.strips)
        timeline.draw(materials[0], out, width, strips)
    elif wanted.kind == "circumplex":
        circumplex.draw(materials[0], out, width)
    elif wanted.kind == "shares":
        shares.draw(materials, out, width, wanted.by)
    elif wanted.kind == "cooccurrence":
        cooccurrence.draw(materials, out, width)
    else:
        comparison.draw(materials[0], materials[1], out, width)
