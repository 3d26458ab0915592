"""Typer's command and group: files of commands are read when they are needed, and a slip gets a suggestion."""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from .boundary import boundary
from .options import expand


def _without_types(parameters: list[Any]) -> list[Any]:
    """Flags are shown as ``--overlay``, where some versions of Typer write ``--overlay <bool>``."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
    return parameters


class Command(TyperCommand):
    """A command that suggests the nearest option for an unknown one."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            name = getattr(error, "option_name", None)
            # An unknown option, whatever its class is called in this version of Typer.
            if isinstance(name, str) and hasattr(error, "possibilities") and hasattr(error, "message"):
                known = [option for found in self.get_params(ctx) for option in (*found.opts, *found.secondary_opts)]
                nearest = difflib.get_close_matches(name, known, n=1)
                error.possibilities = None
                error.message = f"No such option: {name}." + (f" Did you mean {nearest[0]}?" if nearest else "")
            raise


class Group(TyperGroup):
    """A group whose commands are read from their files when they are asked for.

    Attributes:
        files: name of a command -> "FILE:FUNCTION" under ``commands/``, or "" for a group of its own, in the order of
            the help.
    """

    files: ClassVar[Mapping[str, str]] = {}
    _command_first = False

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        own = dict(self.commands)
        self.commands: dict[str, Any] = {name: own.get(name) for name in self.files}

    def get_params(self, ctx: Any) -> list[Any]:
        return [] if self._command_first else _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Where a command comes first, no option of the group was given. Typer would convert their defaults
        # nevertheless, and load pydantic for it, which takes a fifth of the time of --help.
        self._command_first = bool(args) and not args[0].startswith("-")
        try:
            return super().parse_args(ctx, args)
        finally:
            self._command_first = False

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.files and self.commands[cmd_name] is None:
            self.commands[cmd_name] = load(cmd_name, self.files[cmd_name])
        return super().get_command(ctx, cmd_name)


def load(name: str, where: str) -> Any:
    """The command that stands in a file, as Typer's."""
    file, _, function = where.partition(":")
    run = getattr(importlib.import_module(f"{__package__}.{file}"), function)
    alone = typer.Typer(add_completion=False)
    alone.command(name, cls=Command)(boundary(expand(run)))
    return typer.main.get_command(alone)


def group(help: str, files: Mapping[str, str], **settings: Any) -> typer.Typer:
    """A Typer app with the commands of ``files`` (see ``Group``)."""
    return typer.Typer(help=help, cls=type("Group", (Group,), {"files": files}), no_args_is_help=True, **settings)
