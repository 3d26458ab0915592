"""The header of a safetensors file, read and checked without the safetensors package: files may come from anyone."""

from __future__ import annotations

import itertools
import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_HEADER = 1 << 22
"""Largest header in bytes; the largest network here needs 108,000."""

MAX_DEPTH = 32
"""Largest nesting depth of its JSON."""

_BYTES = {"F16": 2, "F32": 4}


def read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header of a safetensors file, the offset of its data, and the size of the file in bytes.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a safetensors file; the message is a clause about it, as below.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER, size - 8):
            raise ValueError("it is not a safetensors file, or only a part of one")
        header = parse_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("it is not a safetensors file: its header is not a table")
    return header, 8 + length, size


def metadata_of(header: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata in a header.

    Raises:
        ValueError: they are not a table.
    """
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError("it is not a safetensors file: its metadata are not a table")
    return metadata


def parse_json(text: str | bytes) -> Any:
    """Strict JSON, from text or UTF-8 bytes.

    Raises:
        ValueError: it is not, or nested too deeply.
    """
    if not isinstance(text, str | bytes):
        raise ValueError("its description is not text")
    try:
        value = json.loads(text.decode("utf-8") if isinstance(text, bytes) else text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is not JSON ({error})") from error
    if _is_deeper(value, MAX_DEPTH):
        raise ValueError(f"its header is nested more than {MAX_DEPTH} deep")
    return value


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether plain data is nested more than ``depth`` deep; code that handles it later may be recursive."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth < 0 or any(_is_deeper(part, depth - 1) for part in inner)


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def check_tensors(table: Mapping[str, Any], size: int) -> None:
    """Check that the tensors are contiguous and fill ``size`` bytes.

    Raises:
        ValueError: they do not.
    """
    ranges = []
    for name, entry in table.items():
        try:
            kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
            if kind not in _BYTES:
                raise ValueError(f"its tensor {name[:80]!r} is of kind {kind!r}; choose F16 or F32")
            if not all(is_integer(n, 0, 1 << 40) for n in (*shape, begin, end)):
                raise ValueError(f"its tensor {name[:80]!r} has an invalid shape or position")
        except (TypeError, KeyError) as error:
            raise ValueError(f"its tensor {name[:80]!r} lacks a kind, shape or position") from error
        if end - begin != math.prod(shape) * _BYTES[kind]:
            raise ValueError(f"its tensor {name[:80]!r} has a length that does not match its shape")
        ranges.append((begin, end))
    ranges.sort()
    if not ranges:
        raise ValueError("it holds no weights")
    if ranges[0][0] != 0 or any(one[1] != other[0] for one, other in itertools.pairwise(ranges)):
        raise ValueError("its tensors are not contiguous")
    if ranges[-1][1] != size:
        raise ValueError(f"it has {size:,} bytes of weights instead of {ranges[-1][1]:,}; copy it again")


def is_integer(value: Any, least: int, most: int) -> bool:
    """Whether a JSON value is an integer in a range."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
