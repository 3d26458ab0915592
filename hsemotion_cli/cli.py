"""The command line, assembled: each command stands in a file of its own under ``commands/``, with its options."""

from typing import Annotated

import typer

from . import __version__
from .commands.boundary import EXIT_CODES
from .commands.group import group
from .runtime.terminal import print_line, tolerate_any_character

MODELS = {
    "list": "models:list_models",
    "info": "models:info",
    "add": "models:add",
    "download": "models:download",
    "verify": "models:verify",
    "path": "models:path",
    "remove": "models:remove",
}
TRAIN = {"heads": "train_heads:run", "finetune": "train_finetune:run", "pack": "train_pack:run"}
COMMANDS = {
    "annotate": "annotate:run",
    "batch": "batch:run",
    "smooth": "smooth:run",
    "render": "render:run",
    "extract": "extract:run",
    "bench": "bench:run",
    "models": "",
    "train": "",
    "cite": "cite:run",
    "evaluate": "evaluate:run",
    "tune": "tune:run",
    "submit": "submit:run",
    "schema": "schema:run",
    "doctor": "doctor:run",
}

app = group(
    "Face videos to trustworthy tables of affect. Everything stays on this machine.",
    COMMANDS,
    epilog=EXIT_CODES,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(group("The models, and their weights in the cache.", MODELS), name="models")
app.add_typer(group("Train on your own data.", TRAIN), name="train")


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"hsemotion {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """hsemotion."""


def main() -> None:
    """Entry point of the ``hsemotion`` command."""
    tolerate_any_character()
    app(prog_name="hsemotion")


if __name__ == "__main__":
    main()
