"""``hsemotion sync``: tables -> which people move together, who leads, and whether that is more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .options import Only, OutputOptions
from .segments import People, Tables

if TYPE_CHECKING:
    from ..analysis.sync_run import SyncReport


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What is compared, and how."""

    panel: ClassVar[str] = "Synchrony"

    measure: Annotated[
        str, typer.Option(metavar="COLUMN[,COLUMN]", help="Columns of the tables to compare.")
    ] = "valence,arousal,AU06_p,AU12_p"  # fmt: skip
    offset: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Compare two tables; added to the times of the second to give those of the first.",
            show_default=False,
        ),
    ] = None  # fmt: skip
    window: Annotated[float, typer.Option(metavar="SECONDS", help="Length of a window.")] = 10.0
    step: Annotated[float, typer.Option(metavar="SECONDS", help="Time between the starts of two windows.")] = 5.0
    max_lag: Annotated[float, typer.Option(metavar="SECONDS", help="Largest lag in either direction.")] = 2.0
    rate: Annotated[float, typer.Option(metavar="HZ", help="Samples per second of the compared curves.")] = 10.0
    surrogates: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Number of shuffles, of windows and of pairs, for effect sizes and p; 0 for none."
        ),
    ] = 200
    min_coverage: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0, max=1, help="Refuse people who are seen in a smaller share of the samples."
        ),
    ] = 0.8
    min_movement: Annotated[
        float,
        typer.Option(
            metavar="SD", min=0, help="Refuse curves with a smaller standard deviation (50 times as much for angles)."
        ),
    ] = 0.02
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed of the shuffles.")] = 0


def run(
    tables: Tables,
    wanted: SyncOptions,
    output: Annotated[OutputOptions, Only("out", "overwrite", "quiet", "json", "log")],
    people: People = None,
) -> int:
    """Compare the people of a video by windowed cross-lagged correlation, against shuffled windows and pairs.

    hsemotion sync results -o synchrony

    hsemotion sync left.csv right.csv --offset 1.2 --measure AU12_p -o synchrony
    """
    import dataclasses

    from ..analysis.outputs import is_result
    from ..analysis.sync_run import FILES, SyncSettings, compare_people, write_sync
    from ..errors import exit_code_of
    from ..formats.ownership import check_outputs
    from ..formats.people import read_people
    from ..runtime.atomic_files import prepare_folder
    from ..runtime.comma_list import comma_list
    from .console import counting, print_json, print_line, say
    from .table_inputs import tables_in

    measures = comma_list(wanted.measure)
    settings = SyncSettings(
        measures, wanted.rate, wanted.window, wanted.step, wanted.max_lag, wanted.surrogates, wanted.min_coverage,
        wanted.min_movement, wanted.seed,
    )  # fmt: skip
    # Two tables keep their order, since the offset belongs to the second.
    found = [table for path in tables for table in tables_in([path])] if wanted.offset is not None else None
    names = read_people(people)
    outputs = [output.out / name for name in FILES]
    check_outputs(outputs, output.overwrite, is_result)
    with counting("sync", "tables", output.quiet or output.json) as progress:
        report = compare_people(found or tables_in(tables), settings, wanted.offset, names, progress)
    prepare_folder(output.out)
    write_sync(output.out, report, settings, wanted.offset)
    for sentence in (*report.notes, *map(str, report.failures)):
        say(sentence)
    if output.json:
        print_json([dataclasses.asdict(row) for row in report.rows])
    elif not output.quiet:
        _show(report)
        for path in outputs:
            print_line(str(path))
    return exit_code_of(report.failures, some_succeeded=True)


def _show(report: SyncReport) -> None:
    from .console import Table, print_table

    shown = Table(title="Synchrony: mean |z| over windows and lags")
    for name in ("recording", "pair", "measure"):
        shown.add_column(name)
    for name in ("synchrony", "effect size", "p", "peak lag s", "leader"):
        shown.add_column(name, justify="right")
    for row in report.rows[:40]:
        pair = f"{row.first} - {row.second}"
        if row.reason:
            shown.add_row(row.recording, pair, row.measure, row.reason)
            continue
        shown.add_row(
            row.recording, pair, row.measure, f"{row.synchrony:.3f}", _shown(row.shuffled_effect, ".2f"),
            _shown(row.shuffled_p, ".3f"), f"{row.peak_lag:+.1f}",
            {"first": row.first, "second": row.second}.get(row.leader, "-"),
        )  # fmt: skip
    print_table(shown)


def _shown(value: float, form: str) -> str:
    """A number, or "-" where it is not known: without surrogates there is no effect and no p."""
    return "-" if math.isnan(value) else format(value, form)
