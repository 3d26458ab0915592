"""Typer's command and group: files of commands are read when they are needed, and a slip gets a suggestion."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from ..errors import UsageError
from ..runtime.terminal import say
from . import catalogue, defaults
from .boundary import boundary
from .signature import expand, option_facts
from .unread_options import GIVEN

_CHOSEN = "hsemotion.chosen"
"""Key in a context's meta: what ``defaults.chosen`` gives."""

_GIVEN = "hsemotion.given"
"""Key in a context's meta: names of the options on the command line."""


def _without_types(parameters: list[Any]) -> list[Any]:
    """Flags and arguments without the types that some versions of Typer add: ``--overlay <bool>``, ``<list[Path]>``."""
    for parameter in parameters:
        if getattr(parameter, "is_flag", False) and parameter.metavar is None:
            parameter.metavar = ""
        if parameter.param_type_name == "argument":
            parameter.display_type_rich = lambda ctx: None
    return parameters


class Command(TyperCommand):
    """A command that takes defaults from the environment and files, and suggests the nearest for an unknown option.

    Attributes:
        run: the function in the command's file; None for a command without defaults.
    """

    run: ClassVar[Callable[..., Any] | None] = None

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """``[OPTIONS] VIDEO...``: brackets around what may be left out, dots after what may be repeated."""
        pieces = [self.options_metavar] if self.options_metavar else []
        for parameter in self.get_params(ctx):
            if parameter.param_type_name == "argument":
                name = parameter.metavar or parameter.name.upper()
                name = f"{name}..." if parameter.nargs != 1 else name
                pieces.append(name if parameter.required else f"[{name}]")
        return pieces

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        settings: dict[str, defaults.Setting] = {}
        try:
            if self.run is not None and not ctx.resilient_parsing and not set(ctx.help_option_names) & set(args):
                settings = self._settings(ctx, args)
            return super().parse_args(ctx, args)
        except UsageError as error:
            say(str(error))
            raise typer.Exit(error.exit_code) from error
        except Exception as error:
            self._explain(ctx, error, settings)
            raise

    def invoke(self, ctx: Any) -> Any:
        token = defaults.CHOSEN.set(ctx.meta.get(_CHOSEN, {}))
        given = GIVEN.set(ctx.meta.get(_GIVEN, frozenset()))
        try:
            return super().invoke(ctx)
        finally:
            GIVEN.reset(given)
            defaults.CHOSEN.reset(token)

    def _settings(self, ctx: Any, args: list[str]) -> dict[str, defaults.Setting]:
        """Give the context the defaults of environment and files that count beside these arguments."""
        run = type(self).run
        assert run is not None
        facts = option_facts(run)
        layers = defaults.layers(ctx.command_path.split()[1:], run)
        words, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        given = [name for name, option in facts.items() if words.get(option.parameter) is not None]
        settings = defaults.effective(layers, given)
        ctx.default_map = {facts[name].parameter: setting.value for name, setting in settings.items()}
        ctx.meta[_GIVEN] = frozenset(given)
        ctx.meta[_CHOSEN] = defaults.chosen(facts, {name: words[facts[name].parameter] for name in given}, settings)
        if settings and not words.get("quiet"):
            say(defaults.announce(settings))
        return settings

    def _explain(self, ctx: Any, error: Exception, settings: Mapping[str, defaults.Setting]) -> None:
        """Add to Typer's message the nearest option, or where a value that cannot be used comes from."""
        name = getattr(error, "option_name", None)
        # An unknown option, whatever its class is called in this version of Typer.
        if isinstance(name, str) and hasattr(error, "possibilities") and hasattr(error, "message"):
            known = [option for found in self.get_params(ctx) for option in (*found.opts, *found.secondary_opts)]
            nearest = difflib.get_close_matches(name, known, n=1)
            error.possibilities = None
            error.message = f"No such option: {name}." + (f" Did you mean {nearest[0]}?" if nearest else "")
        parameter = getattr(getattr(error, "param", None), "name", None)
        for setting in settings.values():
            if parameter == setting.parameter and hasattr(error, "message"):
                error.message = f"{error.message} It comes from {setting.origin}."


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
    """The Typer command defined in a file."""
    run = catalogue.function(where)
    kind = type("Command", (Command,), {"run": staticmethod(run) if not where.startswith("config:") else None})
    alone = typer.Typer(add_completion=False)
    alone.command(name, cls=kind)(boundary(expand(run)))
    return typer.main.get_command(alone)


def parameter_of(names: Sequence[str], parameter: str) -> tuple[Any, Any]:
    """One parameter of a command as Typer's, and a context to check values in."""
    where = catalogue.GROUPS[names[0]][names[1]] if len(names) > 1 else catalogue.COMMANDS[names[0]]
    command = load(names[-1], where)
    context = command.context_class(command, info_name=names[-1])
    return next(found for found in command.params if found.name == parameter), context


def group(help: str, files: Mapping[str, str], **settings: Any) -> typer.Typer:
    """A Typer app with the commands of ``files`` (see ``Group``)."""
    return typer.Typer(help=help, cls=type("Group", (Group,), {"files": files}), no_args_is_help=True, **settings)
