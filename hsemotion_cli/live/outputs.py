"""Rows of a frame -> other programs and a growing file, while the source goes on."""

from __future__ import annotations

import io
import json
import math
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from ..errors import OutputError, UsageError
from ..formats import table
from ..media.live_source import Stamp
from ..postprocess.refine import Affect
from ..runtime.atomic_files import name_failed_file
from ..runtime.whole_numbers import whole_number

Row = dict[str, Any]
"""Column -> value; None for an empty cell."""


class Output(Protocol):
    """What takes the rows of each frame as soon as they are there.

    Attributes:
        description: for the sidecar.
    """

    @property
    def description(self) -> str: ...

    def send(self, rows: Sequence[Row], affect: Affect, stamp: Stamp) -> None:
        """Hand on the rows of one frame; one without a face if nobody is seen.

        Args:
            affect: the same as arrays, not rounded.
            stamp: when the frame arrived.

        Raises:
            OutputError: they cannot be handed on.
        """
        ...

    def close(self) -> None:
        """Finish; a second call does nothing."""
        ...


def rows_of(affect: Affect) -> list[Row]:
    """The rows of one frame, rounded as in the table."""
    return [
        dict(zip(block, values, strict=True))
        for block in table.blocks(affect)
        for values in zip(*block.values(), strict=True)
    ]


class JsonLines:
    """One JSON object a row, as in a table in JSON Lines.

    Args:
        stream: in bytes; each frame is flushed.
        name: for messages.
        owned: close it at the end.
    """

    def __init__(self, stream: IO[bytes], name: str, owned: bool) -> None:
        self._stream, self._name, self._owned = stream, Path(name), owned
        self.description = f"JSON Lines to {'a file' if owned else 'stdout'}"

    def send(self, rows: Sequence[Row], affect: Affect, stamp: Stamp) -> None:
        """See ``Output.send``.

        Raises:
            BrokenPipeError: the reader has gone.
        """
        lines = b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)
        try:
            self._stream.write(lines)
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"{self._name}: could not be written ({error.strerror or error}).") from error

    def close(self) -> None:
        """See ``Output.close``."""
        if self._owned:
            self._stream.close()


class Datagrams:
    """One UDP datagram a row, JSON as in a table in JSON Lines, to a program of this machine.

    Args:
        address: see ``parse_address``.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self.description = f"UDP to {address[0]}, port {address[1]}"

    def send(self, rows: Sequence[Row], affect: Affect, stamp: Stamp) -> None:
        """See ``Output.send``; nobody needs to listen."""
        for row in rows:
            try:
                self._socket.sendto(json.dumps(row, allow_nan=False).encode(), self._address)
            except OSError as error:
                raise OutputError(
                    f"--udp {self._address[0]}:{self._address[1]}: a row could not be sent ({error.strerror or error})."
                ) from error

    def close(self) -> None:
        """See ``Output.close``."""
        self._socket.close()


_LOOPBACK = ("127.", "localhost", "::1")


def parse_address(text: str) -> tuple[str, int]:
    """``--udp``: "127.0.0.1:PORT"; only addresses of this machine, since faces stay on it.

    Raises:
        UsageError: anything else.
    """
    host, colon, port_text = text.rpartition(":")
    host, port = host.removeprefix("[").removesuffix("]"), whole_number(port_text)
    if not colon or not host.startswith(_LOOPBACK) or port is None or not 0 < port < 65536:
        raise UsageError(
            f"--udp {text}: give an address of this machine and a port, as 127.0.0.1:5005; for other machines there is "
            "--lsl."
        )
    return ("127.0.0.1" if host == "localhost" else host), port


class GrowingTable:
    """NAME.live.csv: the rows as they were handed on, there as soon as they are.

    It is what remains if the machine fails; a session that ends properly has NAME.csv as well, made of the whole.

    Args:
        path: is replaced.

    Raises:
        OutputError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.description = path.name
        self._header = False
        with name_failed_file(path):
            path.unlink(missing_ok=True)  # a link would be written through
            self._file = path.open("xb", buffering=0)

    def send(self, rows: Sequence[Row], affect: Affect, stamp: Stamp) -> None:
        """See ``Output.send``."""
        text = io.BytesIO()
        table.write_csv(affect, text)
        header, _, lines = text.getvalue().partition(b"\n")
        with name_failed_file(self.path):
            self._file.write(lines if self._header else header + b"\n" + lines)
        self._header = True

    def close(self) -> None:
        """See ``Output.close``."""
        self._file.close()


def finite(value: float | None) -> float:
    """A number for a stream that has no empty cells: nan for none."""
    return math.nan if value is None else float(value)
