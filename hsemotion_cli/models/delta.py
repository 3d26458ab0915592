"""Delta encoding of one file against another: content that both share is stored once.

The ONNX graph of a trained file repeats its weights. The package therefore stores only what the trained file lacks
(``scripts/ship_weights.py``), and the graph is restored when it is read. The format:

    8 bytes: length of the JSON, little-endian
    JSON: a list of parts, each [begin, length] of bytes of the other file, or the number of bytes that follow from here
    those bytes
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable

_LEAST = 256
"""Smallest part, in bytes, that is searched for in the other file."""


def encode(whole: bytes, other: bytes, places: Iterable[tuple[int, int]]) -> bytes:
    """Encode ``whole`` as references to parts of ``other`` and the remaining bytes; ``decode`` restores it.

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
        if place < position:  # overlaps the part before: equal tensors, or one inside another
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
    """Restore a file from what ``encode`` returned.

    Raises:
        ValueError: ``content`` is not such a file, or not for ``other``.
    """
    if len(content) < 8:
        raise ValueError("it is truncated")
    position = 8 + struct.unpack("<Q", content[:8])[0]
    most = len(content) + len(other)  # each part of the other file is referred to once
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
                raise ValueError("its parts are longer than both files")
            pieces.append(piece)
            position += 0 if isinstance(part, list) else length
    except (TypeError, RecursionError) as error:
        raise ValueError(f"its list of parts is invalid ({error})") from error
    if position != len(content):
        raise ValueError("it has bytes that no part accounts for")
    return b"".join(pieces)
