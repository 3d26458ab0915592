"""``hsemotion calibrate``: a small coded sample, or a neutral span -> a recipe for this person and this lab."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from .options import Only, OutputOptions
from .segments import People, Tables

if TYPE_CHECKING:
    from ..analysis.calibrate_run import Calibration


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """What is fitted to."""

    panel: ClassVar[str] = "Sample"

    coding: Annotated[
        list[str],
        typer.Option(
            metavar="[CODER=]FILE", help="Human coding: CSV, BIDS, ELAN or BORIS; repeat for more.", show_default=False
        ),
    ] = field(default_factory=list)
    map: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=LABEL",
            help="Rename a label of the coding to one of the tables: grin=smile; grin= ignores it.",
            show_default=False,
        ),
    ] = field(default_factory=list)
    tier: Annotated[
        list[str],
        typer.Option(metavar="NAME", help="Use only these tiers or categories.", show_default="all"),
    ] = field(default_factory=list)
    neutral: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN", help="Instead of a coding: seconds in which the person is neutral, as 0-10.",
            show_default=False,
        ),
    ] = None  # fmt: skip
    person: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Person whose neutral face it is.", show_default="the only person of the table"
        ),
    ] = ""
    keep_all: Annotated[bool, typer.Option("--keep-all", help="Also write parts whose gain is not beyond chance.")] = (
        False
    )
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Random seed of folds and tests.")] = 0


def run(
    tables: Tables,
    wanted: SampleOptions,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE.toml", help="Recipe for annotate, smooth and segments.")
    ] = Path("recipe.toml"),
    people: People = None,
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json", "log")] = OutputOptions(),  # noqa: B008
) -> None:
    """Fit thresholds, class priors, smoothing and segment rules to a coded sample; test the gain on held-out people.

    hsemotion calibrate results --coding coding.csv -o recipe.toml

    hsemotion calibrate results/ann.csv --neutral 0-10 -o ann.toml
    """
    from ..analysis.calibrate_run import write_recipe
    from ..errors import UsageError
    from ..formats.ownership import check_outputs
    from ..runtime.atomic_files import prepare_folder
    from .console import print_json, print_line, say
    from .unread_options import refuse

    if out.suffix.lower() != ".toml":
        raise UsageError(f"-o {out}: recipes are TOML files; give a name that ends in .toml.")
    if bool(wanted.coding) == (wanted.neutral is not None):
        raise UsageError("give either a coding with --coding, or a neutral span with --neutral.")
    if wanted.neutral is None:
        refuse(["person"], "it is for --neutral")
    else:
        refuse(["map", "tier", "keep-all", "seed"], "it is for --coding")
    check_outputs([out], output.overwrite)
    done = _fitted(tables, wanted, people, output)
    prepare_folder(out.parent)
    facts = {"codings": [Path(text.rpartition("=")[2]).name for text in wanted.coding], "neutral": wanted.neutral}
    write_recipe(done, out, {**facts, "seed": wanted.seed, "labels": list(done.coded)})
    for sentence in done.notes:
        say(sentence)
    if output.json:
        print_json(_as_json(done, out))
    elif not output.quiet:
        _show(done)
        print_line(str(out))


def _fitted(tables: list[Path], wanted: SampleOptions, people: Path | None, output: OutputOptions) -> Calibration:
    from ..analysis.calibrate_run import calibrate, calibrate_neutral
    from ..analysis.coding import parse_codings, parse_map, read_codings
    from ..analysis.windows import parse_span
    from ..errors import UsageError
    from ..formats.events import assumption
    from ..formats.people import read_people
    from .console import counting, say
    from .table_inputs import tables_in

    found, names = tables_in(tables), read_people(people)
    if wanted.neutral is not None:
        span = parse_span("--neutral", wanted.neutral)
        if span is None:
            raise UsageError(f"--neutral {wanted.neutral}: give a span of seconds, as 0-10.")
        if len(found) != 1:
            raise UsageError(
                f"--neutral {wanted.neutral}: give one table, not {len(found)}; the span is in its seconds."
            )
        return calibrate_neutral(found[0], span, wanted.person, names)
    codings = parse_codings(wanted.coding)
    events = read_codings(codings, parse_map(wanted.map), wanted.tier)
    for sentence in filter(None, (assumption(path) for _, path in codings)):
        say(sentence)
    with counting("calibrate", "folds", output.quiet or output.json) as progress:
        return calibrate(found, events, names, wanted.keep_all, wanted.seed, progress)


def _as_json(done: Calibration, out: Path) -> dict[str, object]:
    import dataclasses

    gains = [{**dataclasses.asdict(gain), "beyond_chance": gain.beyond_chance} for gain in done.gains]
    return {"kept": list(done.kept), "by": done.by, "gain": gains, "recipe": done.recipe.to_json(), "output": str(out)}


def _show(done: Calibration) -> None:
    from .console import Table, print_line, print_table

    if done.gains:
        shown = Table(title=f"Score on held-out {'people' if done.by == 'person' else 'recordings'}")
        shown.add_column("part")
        for name in ("default", "calibrated", "gain, 95 % interval", "p", "beyond chance"):
            shown.add_column(name, justify="right")
        for gain in done.gains:
            shown.add_row(
                gain.part, f"{gain.before:.3f}", f"{gain.after:.3f}",
                f"{gain.after - gain.before:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})", f"{gain.p:.3f}",
                "yes" if gain.beyond_chance else "no",
            )  # fmt: skip
        print_table(shown)
    print_line(f"in the recipe: {', '.join(done.kept) or 'the defaults, since no part gained beyond chance'}.")
