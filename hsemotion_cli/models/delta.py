"""A file told by another one: what both hold is stored once.

The graph that lies beside a trained file holds the same weights once more. In the package it is kept as what the
trained file does not hold already (``scripts/ship_weights.py``), and put together when it is read:

    8 bytes: length of what follows, little-endian
    JSON: a list of parts, each [begin, length] of bytes of the other file, or the number of bytes that follow from here
    those bytes
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable

_LEAST = 256
"""Bytes from which a part is worth being looked for in the other file."""


def encode(whole: bytes, other: bytes, places: Iterable[tuple[int, int]]) -> bytes:
    """``whole`` as what is in it beside parts of ``other``; ``restored`` gives it back.

    Args:
        places: (begin, end) of the parts of ``other`` that may be in ``whole``.
    """
    found: list[tuple[int, int, int]] = []
    for begin, end in places:
        if end - begin >= _LEAST and (place := whole.find(other[begin:end])) >= 0:
            found.append((place, begin, end - begin))
    parts: list[int | tuple[int, int]] = []
    literal, position = [], 0
    for place, begin, length in sorted(found):
        if place < position:  # two tensors of the same numbers, or one within another
            continue
        if place > position:
            parts.append(place - position)
            literal.append(whole[position:place])
        parts.append((begin, length))
        position = place + length
    parts.append(len(whole) - position)
    head = json.dumps(parts, separators=(",", ":")).encode()
    return b"".join([struct.pack("<Q", len(head)), head, *literal, whole[position:]])


def decode(content: bytes, other: bytes) -> bytes:
    """What ``told`` was given.

    Raises:
        ValueError: ``content`` is not such a file, or not for ``other``.
    """
    if len(content) < 8:
        raise ValueError("it is cut short")
    position = 8 + struct.unpack("<Q", content[:8])[0]
    most = len(content) + len(other)  # each part of the other file is told once
    try:
        parts = json.loads(content[8:position])
        pieces = []
        for part in parts:
            begin, length = part if isinstance(part, list) else (position, part)
            piece = (other if isinstance(part, list) else content)[begin : begin + length]
            if begin < 0 or length != len(piece):
                raise ValueError("a part reaches past an end")
            most -= length
            if most < 0:
                raise ValueError("it tells more than there is")
            pieces.append(piece)
            position += 0 if isinstance(part, list) else length
    except (TypeError, RecursionError) as error:
        raise ValueError(f"its parts are no list of places ({error})") from error
    if position != len(content):
        raise ValueError("there is more in it than it tells")
    return b"".join(pieces)
