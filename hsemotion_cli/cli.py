"""The command line, assembled: every command stands in its own file under ``commands/``, with its options.

Nothing heavy is imported here or at the top of those files, so that --help answers at once.
"""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import __version__
from .commands import (
    annotate,
    batch,
    bench,
    doctor,
    evaluate,
    extract,
    models,
    render,
    schema,
    smooth,
    submit,
    train_finetune,
    train_heads,
    train_pack,
    tune,
)
from .commands.boundary import EXIT_CODES, boundary
from .commands.help import Command, Group
from .commands.options import expand


def _group(help: str, **more: Any) -> typer.Typer:
    return typer.Typer(help=help, cls=Group, no_args_is_help=True, **more)


def _add(group: typer.Typer, **commands: Callable[..., int | None]) -> None:
    for name, run in commands.items():
        group.command(name, cls=Command)(boundary(expand(run)))


app = _group(
    "Face videos to trustworthy tables of affect. Everything stays on this machine.",
    epilog=EXIT_CODES,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"hsemotion {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """hsemotion."""


_add(
    app, annotate=annotate.run, batch=batch.run, smooth=smooth.run, render=render.run, extract=extract.run,
    bench=bench.run,
)  # fmt: skip
_models = _group("The models, and their weights in the cache.")
app.add_typer(_models, name="models")
_add(
    _models, list=models.list_models, info=models.info, add=models.add, download=models.download,
    verify=models.verify, path=models.path, remove=models.remove,
)  # fmt: skip
_train = _group("Train on your own data.")
app.add_typer(_train, name="train")
_add(_train, heads=train_heads.run, finetune=train_finetune.run, pack=train_pack.run)
_add(app, evaluate=evaluate.run, tune=tune.run, submit=submit.run, schema=schema.run, doctor=doctor.run)


def main() -> None:
    """Entry point of the ``hsemotion`` command."""
    app(prog_name="hsemotion")


if __name__ == "__main__":
    main()
