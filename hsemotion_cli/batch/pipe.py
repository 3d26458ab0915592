"""Messages on a pipe: each has its length in front, and a mark stands before the first.

Pipes between a process and its standard streams exist on every system, unlike sockets that a child inherits.
"""

from __future__ import annotations

from typing import IO

from .messages import ProtocolError

START = b"\0hsemotion worker\n"
"""Everything before it was printed by something else while the process started."""

_MOST_NOISE = 1 << 20
_LARGEST = 1 << 30  # bytes; heads travel with the settings


def write_start(stream: IO[bytes]) -> None:
    """Write the mark that stands before the first message."""
    stream.write(START)
    stream.flush()


def skip_to_start(stream: IO[bytes]) -> bool:
    """Read past the mark; returns whether it came before the end.

    Raises:
        ProtocolError: there is far too much before it.
    """
    seen = bytearray()
    while not seen.endswith(START):
        byte = stream.read(1)
        if not byte:
            return False
        seen += byte
        if len(seen) > _MOST_NOISE:
            raise ProtocolError(f"something else than messages ({bytes(seen[:60])!r})")
    return True


def write(stream: IO[bytes], data: bytes) -> None:
    """Write one message, and return when the system has taken it.

    Raises:
        OSError: the other end is closed.
        ValueError: this end is closed.
    """
    stream.write(len(data).to_bytes(4) + data)
    stream.flush()


def read(stream: IO[bytes]) -> bytes | None:
    """The next message, as soon as it is whole; None at the end.

    Raises:
        ProtocolError: the end comes in the middle of a message, or the length is not one.
    """
    head = stream.read(4)
    if not head:
        return None
    size = int.from_bytes(head)
    if len(head) < 4 or size > _LARGEST:
        raise ProtocolError(f"a message without a length ({head!r})")
    data = stream.read(size)
    if len(data) < size:
        raise ProtocolError(f"a message that is cut off after {len(data)} of {size} bytes")
    return data
