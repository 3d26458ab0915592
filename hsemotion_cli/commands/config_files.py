"""The files that hold a user's or a project's defaults: where they are, what is in them, and changing one value."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError

PROJECT = "hsemotion.toml"
"""Name of the project's file, in the folder that a command runs in."""

_LARGEST = 1 << 20  # bytes


def project_file() -> Path:
    """The project's file. Only the current folder counts: a folder further up may belong to someone else."""
    return Path.cwd() / PROJECT


def read(path: Path) -> dict[str, Any]:
    """The content of a file; empty if there is no file.

    Raises:
        UsageError: it cannot be read, or is not TOML.
    """
    try:
        if not path.exists():
            return {}
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path}: larger than {_LARGEST:,} bytes, which no file of defaults is.")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML ({error}); repair it, or delete it to start again.") from error


def values(content: Mapping[str, Any], table: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """(table, key, value) of every entry of a file; keys are written like options, with hyphens."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from values(value, (*table, key))
        else:
            yield table, key.replace("_", "-"), value


def changed(text: str, table: Sequence[str], key: str, value: Any) -> str:
    """The text of a file with one value set, or removed if None; everything else stays, including comments.

    Args:
        table: names of the table and those around it; none for the top of the file.
        key: with hyphens; in the file it may have underscores.

    Raises:
        UsageError: the file writes it in a way that this cannot change.
    """
    from ..formats import toml_writer

    # Only line ends of TOML: str.splitlines would also cut a value at U+0085 and the like.
    lines = re.split(r"\r?\n", text.removesuffix("\n")) if text else []
    begin, end = _section(lines, table)
    own = [k for k in range(begin, end) if _key(lines[k]) == key]
    line = None if value is None else toml_writer.lines({key: value})[0]
    if own:
        lines[own[0] : own[0] + 1] = [] if line is None else [line]
    elif line is not None and begin < 0:
        lines += [*([""] if lines else []), f"[{'.'.join(table)}]", line]
    elif line is not None:
        at = max((k + 1 for k in range(begin, end) if _key(lines[k])), default=begin)
        apart = at < len(lines) and lines[at].strip() != ""  # the next table's heading would follow at once
        lines[at:at] = [line, ""] if apart else [line]
    after = "\n".join(lines) + "\n" if lines else ""
    _check(text, after, tuple(table), key, value)
    return after


def _check(before: str, after: str, table: tuple[str, ...], key: str, value: Any) -> None:
    """Raise UsageError unless one value has changed and nothing else."""
    expected = {(t, k): v for t, k, v in values(tomllib.loads(before))}
    expected.pop((table, key), None)
    if value is not None:
        expected[table, key] = value
    try:
        found = {(t, k): v for t, k, v in values(tomllib.loads(after))}
    except tomllib.TOMLDecodeError:
        found = {}
    if found != expected:
        raise UsageError(f"{'.'.join((*table, key))} is written in a way that cannot be changed here; edit the file.")


def _section(lines: Sequence[str], table: Sequence[str]) -> tuple[int, int]:
    """First and one past the last line of a table's values; (-1, -1) if there is no such table."""
    headers = [(k, _header(line)) for k, line in enumerate(lines)]
    heads = [(k, names) for k, names in headers if names is not None]
    ends = [k for k, _ in heads] + [len(lines)]
    if not table:
        return 0, ends[0]
    for (k, names), end in zip(heads, ends[1:], strict=True):
        if names == tuple(table):
            return k + 1, end
    return -1, -1


def _header(line: str) -> tuple[str, ...] | None:
    """Names of the table that a line opens."""
    match = re.fullmatch(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?", line)
    return tuple(part.strip().strip("\"'") for part in match[1].split(".")) if match else None


def _key(line: str) -> str | None:
    match = re.match(r"\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*=", line)
    return match[1].replace("_", "-") if match else None
