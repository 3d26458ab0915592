"""A command's function, whose parameters may be groups of options -> the signature that Typer reads."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import typer

from . import options
from .options import Only, OwnDefaults, Reworded
from .unread_options import GIVEN


@dataclass(frozen=True, slots=True)
class Option:
    """The facts about an option that files of defaults need.

    Attributes:
        name: long name without the hyphens before it.
        parameter: name of the parameter or field.
        shared: whether it belongs to a group of this file, so that several commands have it.
        flag: whether it is true or false.
        many: whether it may be repeated.
        path: whether its values are paths.
        shown_default: its default in words, or as it is.
    """

    name: str
    parameter: str
    shared: bool
    flag: bool
    many: bool
    path: bool
    shown_default: Any


@functools.cache
def option_facts(run: Callable[..., Any]) -> dict[str, Option]:
    """Name -> facts of every option of a command, arguments left out."""
    found = {}
    for name, kind in _groups(run).items():
        grouped = isinstance(kind, _Group)
        shared = grouped and kind.kind.__module__ == options.__name__ and not kind.own_defaults
        own = inspect.signature(run).parameters[name].default
        for parameter in kind.parameters() if grouped else [_parameter(name, kind, own)]:
            option = _fact(parameter, shared)
            if option is not None:
                found[option.name] = option
    return found


def _fact(parameter: inspect.Parameter, shared: bool) -> Option | None:
    """The facts of one parameter; None for an argument."""
    kind, info = get_args(parameter.annotation)
    if not isinstance(info, typer.models.OptionInfo):
        return None
    # Typer keeps the first name of ``typer.Option("--out", "-o")`` where a default would be.
    words = [word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str)]
    long = next((word for word in words if word.startswith("--")), f"--{parameter.name.replace('_', '-')}")
    kinds = [each for each in get_args(kind) or (kind,) if each is not type(None)]
    many = any(get_origin(each) is list for each in (kind, *kinds))
    kinds = [inner for each in (kind, *kinds) for inner in (get_args(each) or (each,))]
    shown = info.show_default if isinstance(info.show_default, str) else parameter.default
    default = None if shown is inspect.Parameter.empty else str(shown) if isinstance(shown, Path) else shown
    return Option(
        long.partition("/")[0].removeprefix("--"), parameter.name, shared, bool in kinds, many, Path in kinds, default
    )


@dataclass(frozen=True, slots=True)
class _Group:
    """A parameter of a command that groups several options."""

    kind: type
    fields: dict[str, Field[Any]]
    reworded: dict[str, dict[str, Any]]
    own_defaults: bool

    def parameters(self) -> Iterator[inspect.Parameter]:
        hints = _hints(self.kind)
        for name, found in self.fields.items():
            own, info = get_args(hints[name])
            info = copy(info)
            for key, value in {"rich_help_panel": self.kind.panel, **self.reworded.get(name, {})}.items():  # type: ignore[attr-defined]
                setattr(info, key, value)
            default = inspect.Parameter.empty if found.default is MISSING else found.default
            if found.default_factory is not MISSING:
                own, default = own | None, None
            yield _parameter(name, Annotated[own, info], default)


def expand(run: Callable[..., Any]) -> Callable[..., Any]:
    """What Typer makes a command of: ``run`` with the options of its groups as parameters of their own.

    Raises:
        ValueError: two options of the same name.
    """

    @functools.wraps(run)
    def command(**given: Any) -> Any:
        return call(run, **given)

    parameters: list[inspect.Parameter] = []
    for name, kind in _groups(run).items():
        if isinstance(kind, _Group):
            parameters += kind.parameters()
        else:
            parameters.append(_parameter(name, kind, inspect.signature(run).parameters[name].default))
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return command


def call(run: Callable[..., Any], **given: Any) -> Any:
    """Call a command with options by their names; those left out have their defaults.

    Raises:
        TypeError: an option that the command does not have, or lacks.
    """
    if GIVEN.get() is None:  # not from the command line
        token = GIVEN.set(_changed(run, given))
        try:
            return call(run, **given)
        finally:
            GIVEN.reset(token)
    arguments: dict[str, Any] = {}
    for name, kind in _groups(run).items():
        if isinstance(kind, _Group):
            own = {key: given.pop(key) for key in kind.fields if key in given}
            # Typer's value of a list that was not given.
            empty = {key for key, value in own.items() if value is None and kind.fields[key].default is MISSING}
            arguments[name] = kind.kind(**{key: value for key, value in own.items() if key not in empty})
        elif name in given:
            arguments[name] = given.pop(name)
    return run(**arguments, **given)


def _changed(run: Callable[..., Any], given: Mapping[str, Any]) -> frozenset[str]:
    """Names of the options that are given with another value than their default."""
    usual = {name: parameter.default for name, parameter in inspect.signature(expand(run)).parameters.items()}
    facts = option_facts(run).values()
    empty: tuple[Any, ...] = (None, [])  # the default of a list is either
    return frozenset(
        option.name
        for option in facts
        if option.parameter in given
        and given[option.parameter] not in (usual[option.parameter], *(empty if option.many else ()))
    )


@functools.cache
def _groups(run: Callable[..., Any]) -> dict[str, Any]:
    """Parameter -> its group, or its annotation."""
    hints = get_type_hints(run, include_extras=True)
    return {name: _group(hints[name]) for name in inspect.signature(run).parameters}


def _group(hint: Any) -> Any:
    kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if not is_dataclass(kind):
        return hint
    assert isinstance(kind, type)
    known = {found.name: found for found in fields(kind)}
    chosen, reworded = tuple(known), dict[str, dict[str, Any]]()
    for mark in marks:
        if isinstance(mark, Only):
            chosen = mark.names
        elif isinstance(mark, Reworded):
            reworded = mark.fields
    return _Group(kind, {name: known[name] for name in chosen}, reworded, OwnDefaults in marks)


@functools.cache
def _hints(group: type) -> dict[str, Any]:
    return get_type_hints(group, include_extras=True)


def _parameter(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
