"""Assembles the command line: each command has its own file under ``commands/``, with its options."""

from typing import Annotated

import typer

from . import __version__
from .commands import catalogue
from .commands.boundary import EXIT_CODES
from .commands.group import group
from .runtime.terminal import print_line, tolerate_any_character

app = group(
    "Face videos to trustworthy tables of affect. Everything stays on this machine.",
    catalogue.COMMANDS,
    epilog=EXIT_CODES,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(group("The models, and their weights in the cache.", catalogue.MODELS), name="models")
app.add_typer(group("Train on your own data.", catalogue.TRAIN), name="train")
app.add_typer(group("Defaults of your own, and of a project.", catalogue.CONFIG), name="config")


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
