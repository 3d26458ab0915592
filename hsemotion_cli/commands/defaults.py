"""The source of an option's value: command line, environment, project file, user file, or built in.

A value in a file stands at the top for an option that several commands share (``min-face = 40``), or in the table of a
command for that command alone (``[batch]``, ``[train.heads]``), which counts before the top of the same file. In the
environment the same is ``HSEMOTION_MIN_FACE`` and ``HSEMOTION_BATCH_RETRIES``. The command line comes first, then the
environment, then the project's file, then the user's.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import UsageError
from ..runtime import user_folders
from . import config_files
from .signature import Option, option_facts

COMMAND_LINE, ENVIRONMENT, PROJECT, USER = "command line", "environment", "project file", "user file"

RESERVED = ("HSEMOTION_HOME", "HSEMOTION_OFFLINE", "HSEMOTION_DEBUG", "HSEMOTION_CONFIG")
"""Variables that are no options; the second works at a lower level, for the Python interface as well."""

_PRINTED = {"out", "log", "quiet", "json", "verbose", "overwrite", "min-coverage", "report"}
_MACHINE = {
    "threads", "batch-size", "offline", "workers", "memory", "engine", "address", "gpus-per-worker",
}  # fmt: skip
_PROGRESS_OF_BATCH = {
    "recursive", "extensions", "list", "shard", "timeout", "retries", "fail-fast", "dry-run",
}  # fmt: skip
_LIVE = {"camera", "seconds", "window", "name", "jsonl", "udp", "lsl"}
"""An address of a stream may hold a password."""
_UNRECORDED = _PRINTED | _MACHINE | _PROGRESS_OF_BATCH | _LIVE
"""Options that change nothing in a table, so that no sidecar records them."""

_MAY_BE_PATHS = {"model", "weights", "audio-weights"}

_GIVE_WAY = {
    "model": ("recipe", "head"),
    "blend": ("recipe", "model", "head"),
    "smooth": ("recipe",),
    "max-gap": ("recipe",),
    "interpolate": ("recipe",),
    "threshold": ("recipe",),
    "gate": ("recipe",),
}
"""Option -> those that make its default senseless, where they are nearer to the command: ``--recipe r.toml`` on the
command line brings its own models and smoothing, and they count before a default model of the user."""


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of an option, and where it comes from.

    Attributes:
        option: long name without the hyphens before it.
        parameter: name of its parameter.
        value: as TOML has it, or a text from the environment.
        source: ``ENVIRONMENT``, ``PROJECT`` or ``USER``.
        origin: the variable or the file.
    """

    option: str
    parameter: str
    value: Any
    source: str
    origin: str


CHOSEN: ContextVar[Mapping[str, Any]] = ContextVar("chosen options", default=MappingProxyType({}))
"""Option -> {"value", "from"} of the command that runs, but for built-in defaults; a sidecar has it."""


def layers(command: Sequence[str], run: Callable[..., Any]) -> list[dict[str, Setting]]:
    """Settings of a command by option, the nearest layer first.

    Args:
        command: names of the command and the groups around it: ("batch",), ("train", "heads").
        run: the function in the command's file.

    Raises:
        UsageError: a file that cannot be used, or a value that its option cannot have.
    """
    facts = option_facts(run)
    found = [_from_environment(command, facts)]
    for path, source in ((config_files.project_file(), PROJECT), (user_folders.config_file(), USER)):
        found.append(_from_file(path, source, command, facts))
    return found


def effective(found: Iterable[Mapping[str, Setting]], given: Iterable[str]) -> dict[str, Setting]:
    """The settings that count where the command line has the options ``given``."""
    nearer, settings = set(given), dict[str, Setting]()
    for layer in found:
        own = {
            option: setting
            for option, setting in layer.items()
            if option not in nearer and not nearer.intersection(_GIVE_WAY.get(option, ()))
        }
        settings |= own
        nearer |= own.keys()
    return settings


def _from_environment(command: Sequence[str], facts: Mapping[str, Option]) -> dict[str, Setting]:
    found = {}
    for name, option in facts.items():
        for variable in variables(command, option):
            if (text := os.environ.get(variable)) and variable not in RESERVED:
                value: Any = text.split(",") if option.many else text
                found[name] = Setting(name, option.parameter, value, ENVIRONMENT, variable)
                break
    return found


def variables(command: Sequence[str], option: Option) -> list[str]:
    """Environment variables of an option, the one of the command alone first."""
    word = option.name.replace("-", "_").upper()
    alone = "_".join(["HSEMOTION", *command, word]).replace("-", "_").upper()
    return [alone, *([f"HSEMOTION_{word}"] if option.shared else [])]


def _from_file(path: Path, source: str, command: Sequence[str], facts: Mapping[str, Option]) -> dict[str, Setting]:
    top, own = {}, {}
    for table, key, value in config_files.values(config_files.read(path)):
        check_key(path, table, key)
        if table == tuple(command):
            own[key] = value
        elif not table:
            top[key] = value
    found = {}
    for name, option in facts.items():
        value = own.get(name, top.get(name) if option.shared else None)
        if value is not None:
            found[name] = Setting(name, option.parameter, usable(path, source, option, value), source, str(path))
    return found


def check_key(path: Path, table: tuple[str, ...], key: str) -> None:
    """Raise UsageError for a key that the table of a command, or the top of a file, does not have."""
    from .catalogue import keys

    known = keys()
    if table not in known:
        hint = nearest(".".join(table), [".".join(name) for name in known if name])
        raise UsageError(f"{path}: there is no command {'.'.join(table)}{hint}")
    if key in known[table]:
        return
    having = [".".join((*names, key)) for names, options in known.items() if names and key in options]
    if having and not table:
        raise UsageError(f"{path}: {key} is an option of single commands; write {' or '.join(having)}.")
    where = f"option of {' '.join(table)}" if table else "option"
    raise UsageError(f"{path}: {key} is not an {where}{nearest(key, known[table])}")


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about a name that there is not."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else "."


def usable(path: Path, source: str, option: Option, value: Any) -> Any:
    """A value from a file as its option takes it; paths are relative to the file.

    Raises:
        UsageError: it is of another type; or a path in a project's file that leads out of the project, which would
            let a folder from anywhere have files written elsewhere.
    """
    wanted = (bool,) if option.flag else (str, int, float)
    texts = value if option.many and isinstance(value, list) else [value]
    if not all(isinstance(text, wanted) and isinstance(text, bool) == option.flag for text in texts):
        kind = "true or false" if option.flag else "a list of texts" if option.many else "a text or a number"
        raise UsageError(f"{path}: {option.name} = {value!r}: give {kind}.")
    if option.path:
        places = [path.parent / Path(str(text)).expanduser() for text in texts]
        if source == PROJECT and not all(_inside(path.parent, place) for place in places):
            raise UsageError(f"{path}: {option.name} = {value!r} leads out of the project's folder; give it elsewhere.")
        texts = [str(place) for place in places]
    return list(texts) if option.many else texts[0]


def _inside(folder: Path, place: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


def chosen(facts: Mapping[str, Option], given: Mapping[str, Any], settings: Mapping[str, Setting]) -> dict[str, Any]:
    """What a sidecar records: option -> value and source. Of paths it has the last part only, not this machine's.

    Args:
        given: options of the command line with their values.
    """
    found = {name: (value, COMMAND_LINE) for name, value in given.items()}
    found |= {name: (setting.value, setting.source) for name, setting in settings.items()}
    return {
        name: {"value": _plain(facts[name], value), "from": source}
        for name, (value, source) in sorted(found.items())
        if name not in _UNRECORDED
    }


def _plain(option: Option, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(option, each) for each in value]
    if option.path:
        return Path(value).name
    # NAME=FILE,NAME=FILE of --model, or a folder of weights.
    return re.sub(r"[^,=]*[/\\\\]", "", value) if option.name in _MAY_BE_PATHS and isinstance(value, str) else value


def announce(settings: Mapping[str, Setting]) -> str:
    """The sentence about defaults that a command uses, "" if there are none."""
    by_origin: dict[str, list[str]] = {}
    for setting in settings.values():
        by_origin.setdefault(setting.origin, []).append(f"{setting.option} {_shown(setting.value)}")
    parts = [f"{origin}: {', '.join(sorted(words))}" for origin, words in by_origin.items()]
    return f"defaults from {'; '.join(parts)}." if parts else ""


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
