"""Every command, and the function in its file; in the order of the help."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from .signature import option_facts

MODELS = {
    "list": "models:list_models",
    "info": "models:info",
    "add": "models:add",
    "download": "models:download",
    "verify": "models:verify",
    "path": "models:path",
    "remove": "models:remove",
}
TRAIN = {
    "heads": "train_heads:run",
    "finetune": "train_finetune:run",
    "pack": "train_pack:run",
    "data": "train_data:run",
    "reproduce": "train_reproduce:run",
}
CONFIG = {"show": "config:show", "set": "config:set_value", "unset": "config:unset", "path": "config:path"}
COMMANDS = {
    "annotate": "annotate:run",
    "batch": "batch:run",
    "live": "live:run",
    "smooth": "smooth:run",
    "render": "render:run",
    "segments": "segments:run",
    "summary": "summary:run",
    "export": "export:run",
    "import": "import_tables:run",
    "report": "report:run",
    "sheet": "sheet:run",
    "people": "people:run",
    "plot": "plot:run",
    "sync": "sync:run",
    "agree": "agree:run",
    "calibrate": "calibrate:run",
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
    "config": "",
}
"""Command -> FILE:FUNCTION under ``commands/``; "" for a group, whose own commands are in ``GROUPS``."""

GROUPS = {"models": MODELS, "train": TRAIN, "config": CONFIG}


def function(where: str) -> Callable[..., Any]:
    """The function that "FILE:FUNCTION" names; only now its file is read."""
    file, _, name = where.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(f"{__package__}.{file}"), name)
    return found


@functools.cache
def functions() -> Mapping[tuple[str, ...], Callable[..., Any]]:
    """Names of each command and of the group around it -> its function; those of ``config`` take no defaults."""
    found: dict[tuple[str, ...], Callable[..., Any]] = {}
    for name, where in COMMANDS.items():
        inner = {(name, sub): place for sub, place in GROUPS[name].items()} if not where else {(name,): where}
        if name != "config":
            found |= {names: function(place) for names, place in inner.items()}
    return found


@functools.cache
def keys() -> Mapping[tuple[str, ...], frozenset[str]]:
    """Table of a file of defaults -> the options that it may hold; () is the top, for options that are shared."""
    found = {names: frozenset(option_facts(run)) for names, run in functions().items()}
    shared = {name for run in functions().values() for name, option in option_facts(run).items() if option.shared}
    return {(): frozenset(shared), **found}
