"""``hsemotion train data``: where training data comes from, and whether what was downloaded can be used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError, UsageError
from .options import Only, OutputOptions

KINDS = ("ferplus", "folder", "plan")


def run(
    output: Annotated[OutputOptions, Only("quiet", "json")],
    kind: Annotated[
        str, typer.Argument(metavar="ferplus|folder|plan", help="Kind of source, or a whole plan.", show_default=False)
    ],
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="What you downloaded, a folder or an .npz, or the plan; without it, where to get the data is printed.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE.npz", help="For ferplus: write the file that plans read.", show_default=False
        ),
    ] = None,
) -> int:
    """Check downloaded training data, and print where to get it and how a plan names it.

    hsemotion train data ferplus

    hsemotion train data ferplus downloads/ -o ferplus_train_val.npz

    hsemotion train data folder faces/

    hsemotion train data plan plans/mobilefacenet.toml
    """
    from . import train_data_check
    from .console import print_json, print_line

    if kind not in KINDS:
        raise UsageError(f"{kind}: choose from {', '.join(KINDS)}.")
    if out is not None and (kind != "ferplus" or path is None or out.suffix != ".npz"):
        raise UsageError("-o: give an .npz file, for ferplus, and the folder of the two downloaded tables before it.")
    facts: dict[str, Any]
    if path is None and kind == "plan":
        raise UsageError("give the plan, PLAN.toml.")
    if path is None:
        facts = {"where": train_data_check.WHERE[kind]}
    elif kind == "ferplus":
        facts = train_data_check.ferplus(path, out)
    else:
        facts = train_data_check.folder(path) if kind == "folder" else train_data_check.plan(path)
    if output.json:
        print_json({"kind": kind, **facts})
    elif not output.quiet:
        for line in train_data_check.lines(facts):
            print_line(line)
    return 0 if all(need["there"] for need in facts.get("needs", [])) else InputError.exit_code
