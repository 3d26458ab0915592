"""``hsemotion config``: the defaults of a user and of a project."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError
from .options import Only, OutputOptions

if TYPE_CHECKING:
    from .signature import Option

Key = Annotated[
    str,
    typer.Argument(
        metavar="KEY", help="An option such as min-face, or one of a command such as batch.retries.", show_default=False
    ),
]
Project = Annotated[
    bool, typer.Option("--project", help="The project's file, hsemotion.toml in this folder, not the user's.")
]


def show(
    output: Annotated[OutputOptions, Only("json")],
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Show every option of this command with its value; without one, all defaults that were set.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show the defaults that were set, and where: environment, project file, user file.

    hsemotion config show

    hsemotion config show train heads
    """
    from . import config_view

    rows = config_view.of_command(command) if command else config_view.everything()
    config_view.show(rows, as_json=output.json)


def set_value(
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="As on the command line; true or false for a flag.")],
    project: Project = False,
) -> None:
    """Set a default in the user's file, or the project's.

    hsemotion config set min-face 40

    hsemotion config set batch.retries 3 --project
    """
    from ..runtime import user_folders
    from . import config_files
    from .console import print_line

    path = config_files.project_file() if project else user_folders.config_file()
    table, option, command = _option(path, key)
    _write(path, table, option.name, _converted(path, option, command, value, project))
    print_line(f"{key} = {value} in {path}")


def unset(key: Key, project: Project = False) -> None:
    """Remove a default from the user's file, or the project's."""
    from ..runtime import user_folders
    from . import config_files
    from .console import print_line

    path = config_files.project_file() if project else user_folders.config_file()
    *names, name = key.replace("_", "-").split(".")
    if (tuple(names), name) not in {(t, k) for t, k, _ in config_files.values(config_files.read(path))}:
        raise UsageError(f"{path} has no {key}.")
    _write(path, tuple(names), name, None)
    print_line(f"{key} removed from {path}")


def path(project: Project = False) -> None:
    """Print the path of the user's defaults file, or of the project's with --project."""
    from ..runtime import user_folders
    from . import config_files
    from .console import print_line

    print_line(str(config_files.project_file() if project else user_folders.config_file()))


def _option(path: Path, key: str) -> tuple[tuple[str, ...], Option, tuple[str, ...]]:
    """Split the name of a default into its table, its option and a command with that option.

    Raises:
        UsageError: there is no such option.
    """
    from . import catalogue, defaults
    from .signature import option_facts

    *names, name = key.replace("_", "-").split(".")
    table = tuple(names)
    defaults.check_key(path, table, name)
    having = ((command, option_facts(run).get(name)) for command, run in catalogue.functions().items())
    found = ((table, option, command) for command, option in having if option and (command == table or not table))
    return next(one for one in found if table or one[1].shared)


def _converted(path: Path, option: Option, command: tuple[str, ...], text: str, project: bool) -> Any:
    """Check a value as the command line would, and return it as the file stores it.

    Raises:
        UsageError: the command line would refuse it.
    """
    from . import defaults
    from .group import parameter_of

    parameter, context = parameter_of(command, option.parameter)
    given: Any = text.split(",") if option.many else text
    try:
        value = parameter.process_value(context, _flag(text) if option.flag else given)
    except typer.BadParameter as error:
        raise UsageError(f"{option.name} {text}: {error.message}") from error
    if option.path:  # given relative to the current folder, read relative to the file
        places = [each if project else each.expanduser().absolute() for each in (value if option.many else [value])]
        value = list(map(str, places)) if option.many else str(places[0])
    defaults.usable(path, defaults.PROJECT if project else defaults.USER, option, value)
    return value


def _flag(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise UsageError(f"{text}: give true or false.")
    return word in ("true", "1", "yes", "on")


def _write(path: Path, table: tuple[str, ...], key: str, value: Any) -> None:
    """Change one value of a file; creates the file if necessary."""
    from ..runtime.atomic_files import atomic_file, prepare_folder
    from . import config_files

    config_files.read(path)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        after = config_files.changed(text, table, key, value)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    prepare_folder(path.parent)
    with atomic_file(path) as file:
        file.write(after.encode())
