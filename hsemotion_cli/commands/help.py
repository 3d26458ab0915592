"""Typer's command and group, with help and suggestions as we want them."""

import difflib
from typing import Any

from typer.core import TyperCommand, TyperGroup


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
            if isinstance(name, str) and hasattr(error, "possibilities"):  # an unknown option, by whatever class
                known = [option for found in self.get_params(ctx) for option in (*found.opts, *found.secondary_opts)]
                nearest = difflib.get_close_matches(name, known, n=1)
                error.possibilities = None
                error.message = f"No such option: {name}." + (f" Did you mean {nearest[0]}?" if nearest else "")  # type: ignore[attr-defined]
            raise


class Group(TyperGroup):
    """A group of commands; it suggests the nearest command for an unknown one, as Typer does by itself."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))
