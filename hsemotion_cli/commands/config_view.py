"""Defaults and where they come from, as rows of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import UsageError
from ..runtime import user_folders
from . import catalogue, config_files, defaults
from .console import Table, print_json, print_line, print_table
from .signature import option_facts


@dataclass(frozen=True, slots=True)
class ConfigRow:
    """One default.

    Attributes:
        option: as ``config set`` takes it, or a variable that is none of ours.
        value: of it.
        source: "environment", "project file", "user file" or "built in".
        origin: the variable or the file; "" for what is built in.
        remark: which nearer source overrides it, or what is wrong with it, or "".
    """

    option: str
    value: Any
    source: str
    origin: str
    remark: str = ""


def everything() -> list[ConfigRow]:
    """All defaults that are set, starting with those nearest to the command line.

    Raises:
        UsageError: a file cannot be used.
    """
    rows = [*_variables()]
    for path, source in ((config_files.project_file(), defaults.PROJECT), (user_folders.config_file(), defaults.USER)):
        for table, key, value in config_files.values(config_files.read(path)):
            defaults.check_key(path, table, key)
            option = ".".join((*table, key))
            nearer = next((row.origin for row in rows if row.option == option and not row.remark), "")
            rows.append(ConfigRow(option, value, source, str(path), f"overridden by {nearer}" if nearer else ""))
    return rows


def of_command(words: Sequence[str]) -> list[ConfigRow]:
    """Every option of a command, with the value that it has unless the command line has another.

    Raises:
        UsageError: there is no such command, or a file cannot be used.
    """
    names = tuple(words)
    known = catalogue.functions()
    if names not in known:
        hint = defaults.nearest(" ".join(names), [" ".join(name) for name in known])
        raise UsageError(f"there is no command {' '.join(names)}{hint}")
    settings = defaults.effective(defaults.layers(names, known[names]), ())
    rows = []
    for name, option in option_facts(known[names]).items():
        if setting := settings.get(name):
            rows.append(ConfigRow(name, setting.value, setting.source, setting.origin))
        else:
            rows.append(ConfigRow(name, option.shown_default, "built in", ""))
    return rows


def _variables() -> list[ConfigRow]:
    """Defaults from the environment, and variables that look like one but match no option and have no effect."""
    known = {}
    for names, run in catalogue.functions().items():
        for option in option_facts(run).values():
            alone, *shared = defaults.variables(names, option)
            known[alone] = ".".join((*names, option.name))
            known |= dict.fromkeys(shared, option.name)
    rows = []
    for variable in sorted(name for name in os.environ if name.startswith("HSEMOTION_")):
        if variable in defaults.RESERVED or not os.environ[variable]:
            continue
        hint = defaults.nearest(variable, known)
        remark = "" if variable in known else f"ignored: no option has this name{hint}"
        name = known.get(variable, variable)
        rows.append(ConfigRow(name, os.environ[variable], defaults.ENVIRONMENT, variable, remark))
    return rows


def show(rows: Sequence[ConfigRow], *, as_json: bool) -> None:
    """Print the rows."""
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    if not rows:
        print_line(f"no defaults were set; 'hsemotion config set KEY VALUE' writes {user_folders.config_file()}")
        return
    table = Table()
    for heading in ("option", "value", "from", "where", ""):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(row.option, _text(row.value), row.source, row.origin, row.remark)
    print_table(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else "-" if value is None else str(value)
