"""``hsemotion train pack``: a plan -> its labelled faces in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from .options import Only, OutputOptions
from .train_finetune import Plan, Workers


def run(
    plan: Plan,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="File to write, FILE.npz.", show_default=False)
    ],
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "log")],
    workers: Workers = None,
) -> None:
    """Pack a plan's labelled faces into one file, to train on a machine without the data sets."""
    from ..formats.ownership import check_outputs
    from ..runtime.atomic_files import prepare_folder
    from ..training import config, dataset
    from . import train_finetune_run
    from .console import print_line

    todo = config.read(plan)
    if out.suffix != ".npz":
        raise UsageError(f"-o {out}: packed samples are an .npz file; call it {out.stem or 'samples'}.npz.")
    check_outputs([out], output.overwrite, dataset.is_packed)
    prepare_folder(out.parent)
    found = train_finetune_run.gathered(todo, workers, output.quiet)
    dataset.write(out, found)
    if not output.quiet:
        print_line(f"{out}: {len(found):,} images, {out.stat().st_size / 1e6:.1f} MB")
