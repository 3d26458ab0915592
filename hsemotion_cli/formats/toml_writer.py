"""Plain data -> TOML. The standard library reads TOML but does not write it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def lines(data: Mapping[str, Any], table: str = "") -> list[str]:
    """A mapping as lines of TOML: its plain values first, then its tables; None is left out.

    Args:
        table: name of the table that the mapping is the content of, quoted where necessary; "" for the whole file.
    """
    values, tables = [], []
    for key, value in data.items():
        key = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else string(key)
        name = f"{table}.{key}" if table else key
        if isinstance(value, Mapping):
            tables += ["", f"[{name}]", *lines(value, name)]
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            for item in value:
                tables += ["", f"[[{name}]]", *lines(item, name)]
        elif value is not None:
            values.append(f"{key} = {_literal(value)}")
    return values + tables


def string(text: str, *, ascii_only: bool = False) -> str:
    """A quoted string on one line.

    Args:
        ascii_only: for comments, which must stay readable in any encoding. Not for values: characters beyond U+FFFF
            become JSON's surrogate pairs, which TOML does not accept.
    """
    # JSON's escapes are also TOML's, but TOML requires one for U+007F as well.
    return json.dumps(text, ensure_ascii=ascii_only).replace("\x7f", "\\u007f")


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)  # exact; nan and inf are the same in TOML
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_literal, value))}]"
    return string(str(value))
