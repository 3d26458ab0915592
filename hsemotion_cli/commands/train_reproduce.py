"""``hsemotion train reproduce``: an experiment of a paper -> features, heads, settings, and the paper's table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ModelUnavailable, OutputError
from ..runtime.terminal import say as terminal_say
from .options import Only, OutputOptions, RunningOptions


def run(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", help="Experiment, plans/papers/NAME.toml.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Option("--data", metavar="FOLDER", help="Root of the data that the plan needs.", show_default=False)
    ],
    running: Annotated[RunningOptions, Only("device", "threads")],
    output: Annotated[OutputOptions, Only("overwrite", "quiet", "json", "log")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Folder of the run.", show_default="runs/NAME"),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[,NAME]",
            help="Only these networks of the plan, and the rows they suffice for.",
            show_default="all",
        ),
    ] = None,
    skip_failed: Annotated[
        bool,
        typer.Option(
            "--skip-failed",
            help="Go on without sources whose features cannot be extracted, list them in the results, and exit with 3.",
        ),
    ] = False,
) -> int:
    """Run an experiment of a paper from images to its table; a stopped run continues where it was.

    Extracts features with each network, trains the heads, searches the settings that the paper searched, scores every
    row of the paper's table, and prints it beside ours. Features that are in FOLDER/features/NETWORK already are used.
    A source that cannot be extracted stops the run after its network, unless --skip-failed is given.

    hsemotion train reproduce plans/papers/abaw7-mtl.toml --data s-Aff-Wild2
    """
    try:
        from ..papers import chain, experiment, results
    except ImportError as error:
        raise ModelUnavailable(f"training needs torch ({error}): pip install 'hsemotion-cli[torch]'.") from error
    from ..formats.ownership import check_outputs
    from ..runtime.atomic_files import prepare_folder
    from . import train_reproduce_run
    from .console import note, print_json

    found = experiment.read(plan)
    if network is not None:
        found = experiment.only(found, [name.strip() for name in network.split(",")])
    folder = out or Path("runs") / found.name
    pages = [folder / "results.md", folder / "results.json"]
    check_outputs(pages, output.overwrite, train_reproduce_run.is_ours)
    prepare_folder(folder)
    quiet = output.quiet or output.json
    places = chain.Places(plan, data, folder)

    def say(sentence: str) -> None:
        if not quiet:
            note(sentence)

    extract = train_reproduce_run.extractor(found.data, running, quiet)
    finetune = train_reproduce_run.finetuner(data, running, quiet)
    lost = chain.extract_all(found, places, extract, finetune, say, skip_failed=skip_failed)
    chain.train_all(found, places, say)
    chain.score_all(found, places, say, lost)
    rows = results.measure(found, places, lost)
    content = train_reproduce_run.write_pages(pages, found, rows, lost)
    if output.json:
        print_json(content, indent=None)
    elif not output.quiet:
        train_reproduce_run.show(found, rows, pages, lost)
    for sentence in results.lost_sentences(lost):
        terminal_say(sentence)
    return OutputError.exit_code if lost else 0
