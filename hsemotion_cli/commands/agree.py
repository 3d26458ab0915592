"""``hsemotion agree``: tables and human coding -> how well they agree, beside how well coders agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .options import Only, OutputOptions
from .segments import People, Tables

if TYPE_CHECKING:
    from ..analysis.agree_run import AgreeReport
    from ..analysis.ratings import Rating
    from ..formats.events import Event


_COLUMNS = {
    "kappa": "kappa", "fleiss_kappa": "kappa", "alpha": "alpha", "f1": "f1", "macro_f1": "f1", "event_f1": "event_f1",
    "icc21": "icc", "share_icc21": "icc",
}  # fmt: skip
"""Statistic -> column on the terminal."""


@dataclass(frozen=True, slots=True)
class CodingOptions:
    """What people coded."""

    panel: ClassVar[str] = "Coding"

    coding: Annotated[
        list[str],
        typer.Option(
            metavar="[CODER=]FILE", help="Coding: CSV, BIDS, ELAN or BORIS; ratings of valence and arousal over time; "
            "or a second table. Repeat for more.", show_default=False,
        ),
    ]  # fmt: skip
    map: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=LABEL",
            help="Rename a label of the coding to one of the tables: grin=smile; grin= ignores it.",
            show_default=False,
        ),
    ] = field(default_factory=list)  # fmt: skip
    tier: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Use only these tiers or categories.", show_default="all"),
    ] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AgreementOptions:
    """How it is compared."""

    panel: ClassVar[str] = "Agreement"

    tolerance: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.001, help="Largest difference of the onsets of matching events.")
    ] = 0.5
    margin: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="Leave out frames this close to a coded boundary.")
    ] = 0.0
    bootstrap: Annotated[
        int, typer.Option(metavar="N", min=0, help="Bootstrap resamples of recordings for the intervals; 0 for none.")
    ] = 1000
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed of the bootstrap.")] = 0
    recipe: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Rules of segments that calibrate wrote.", show_default=False),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png|pdf|svg", help="Also plot the confusion matrix of expressions.", show_default=False
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class _Coded:
    """The files of ``--coding``, their events with the coder, their ratings, and what was assumed to read them."""

    files: list[Path]
    events: list[tuple[str, Event]]
    ratings: list[Rating]
    assumed: list[str]


def run(
    tables: Tables,
    coding: CodingOptions,
    wanted: AgreementOptions,
    output: Annotated[OutputOptions, Only("out", "overwrite", "quiet", "json", "log")],
    people: People = None,
) -> int:
    """Compare tables with human coding, frame by frame and event by event, with 95 % intervals over recordings.

    hsemotion agree results --coding ann=ann.csv --coding bob=bob.eaf -o agreement
    """
    import dataclasses

    from ..analysis.agree_run import FILES, AgreeSettings, agreement_of, write_agreement
    from ..analysis.outputs import is_result
    from ..analysis.rules import Rules, read_rules
    from ..errors import exit_code_of
    from ..formats.ownership import check_outputs
    from ..formats.people import read_people
    from ..reporting.plotting import check_plot_path
    from ..runtime.atomic_files import prepare_folder
    from .console import counting, print_json, print_line, say
    from .table_inputs import tables_in
    from .unread_options import refuse

    if wanted.bootstrap == 0:
        refuse(["seed"], "--bootstrap 0 draws nothing")
    coded = _read(coding)
    rules = read_rules(wanted.recipe) if wanted.recipe else Rules()
    settings = AgreeSettings(rules, wanted.tolerance, wanted.margin, wanted.bootstrap, wanted.seed)
    found, names = tables_in(tables), read_people(people)
    outputs = [output.out / name for name in FILES]
    plot = [wanted.plot] if wanted.plot else []
    check_outputs([*outputs, *plot], output.overwrite, is_result)
    for path in plot:
        check_plot_path(path)
    with counting("agree", "tables", output.quiet or output.json) as progress:
        report, sums = agreement_of(found, coded.events, coded.ratings, settings, names, progress)
    report = dataclasses.replace(report, notes=[*coded.assumed, *report.notes])
    prepare_folder(output.out)
    write_agreement(output.out, report, sums, settings, [path.name for path in coded.files])
    if wanted.plot:
        _draw(report, wanted.plot)
    for sentence in (*report.notes, *map(str, report.failures), *_left_out(report)):
        say(sentence)
    if output.json:
        print_json([dataclasses.asdict(one) for one in report.statistics])
    elif not output.quiet:
        _show(report)
        for path in [*outputs, *plot]:
            print_line(str(path))
    return exit_code_of(report.failures, some_succeeded=True)


def _read(coding: CodingOptions) -> _Coded:
    """The files of ``--coding``."""
    from ..analysis.coding import parse_codings, parse_map, read_codings
    from ..analysis.ratings import is_trace, read_ratings
    from ..formats.events import assumption
    from .unread_options import refuse

    files = parse_codings(coding.coding)
    traces = [one for one in files if is_trace(one[1])]
    if len(traces) == len(files):
        refuse(["map", "tier"], "ratings over time and tables have no labels to choose or rename")
    marked = [one for one in files if one not in traces]
    events = read_codings(marked, parse_map(coding.map), coding.tier)
    assumed = [sentence for _, path in marked if (sentence := assumption(path))]
    ratings = [rating for name, path in traces for rating in read_ratings(name or path.stem, path)]
    return _Coded([path for _, path in files], events, ratings, assumed)


def _left_out(report: AgreeReport) -> list[str]:
    if not report.uncoded:
        return []
    names = ", ".join(report.uncoded[:5]) + (" ..." if len(report.uncoded) > 5 else "")
    return [f"without coding, and so left out: {names}."]


def _draw(report: AgreeReport, path: Path) -> None:
    """The confusion matrix of the first coder who coded expressions.

    Raises:
        UsageError: none did.
    """
    from ..errors import UsageError
    from ..reporting import score_plots
    from ..tasks import EXPRESSIONS

    if not report.confusion:
        raise UsageError(f"--plot {path}: no coder coded expressions, so there is no confusion matrix.")
    coder, counts = next(iter(report.confusion.items()))
    kept = [k for k in range(len(EXPRESSIONS)) if any(counts[k]) or any(row[k] for row in counts)]
    table = {"confusion": [[counts[j][k] for k in kept] for j in kept]}
    score_plots.confusion(
        table, [EXPRESSIONS[k] for k in kept], path, f"Frames: {coder} (rows) and the model (columns)"
    )


def _show(report: AgreeReport) -> None:
    from .console import Table, print_table

    count = len(report.recordings)
    shown = Table(title=f"Agreement in {count} recording{'' if count == 1 else 's'}, with 95 % intervals")
    shown.add_column("raters")
    shown.add_column("label")
    for name in ("kappa", "alpha", "F1", "event F1", "ICC(2,1)"):
        shown.add_column(name, justify="right")
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in report.statistics:
        name = _COLUMNS.get(one.name, "")
        if name and one.value == one.value:
            interval = f" ({one.low:.2f} to {one.high:.2f})" if one.low == one.low else ""
            rows.setdefault((one.first, one.second, one.label), {})[name] = f"{one.value:.2f}{interval}"
    for (first, second, label), cells in rows.items():
        raters = second if "+" in second else f"{first} - {second}"
        shown.add_row(raters, label, *(cells.get(name, "-") for name in ("kappa", "alpha", "f1", "event_f1", "icc")))
    print_table(shown)
