"""Lines on the terminal, and in a log file: nothing in them can take the terminal over or fail on a character."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import OutputError

_logs: list[IO[bytes]] = []
"""Open log files; ``logging_to`` adds one."""


def say(sentence: str) -> None:
    """Print one message on stderr and in the log; names and contents of files in it are made harmless."""
    note(f"hsemotion: {sentence}")


def note(line: str, *, shown: bool = True) -> None:
    """One line of progress on stderr and in the log, with the time in the log and wherever stderr is no terminal.

    Args:
        shown: whether it is for stderr as well; the log has every line.
    """
    line = printable(line)
    stamped = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}"
    if shown:
        print(line if sys.stderr.isatty() else stamped, file=sys.stderr, flush=True)
    for log in list(_logs):
        try:
            log.write(f"{stamped}\n".encode())  # printable text has no surrogates
        except OSError as error:  # results matter more than the log: report it once and continue
            _logs.remove(log)
            say(f"--log {log.name}: cannot be written any more ({error.strerror or error}); it ends here.")


def print_line(text: str) -> None:
    """One line of a result on stdout, a path mostly: neither coloured nor broken."""
    print(printable(text))


def print_raw(text: str) -> None:
    """Text on stdout that is data already, such as JSON."""
    print(text)


def logged() -> bool:
    """Whether there is a log file that wants lines of progress also where a terminal shows a bar."""
    return bool(_logs)


@contextlib.contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Append every message and every line of progress to a file, as UTF-8; None for no log.

    Raises:
        OutputError: it cannot be written.
    """
    if path is None:
        yield
        return
    try:
        log = path.open("ab", buffering=0)  # a line is there at once, and nothing is left to be written
    except OSError as error:
        raise OutputError(
            f"--log {path}: cannot be written ({error.strerror or error}); choose another file."
        ) from error
    with log:
        _logs.append(log)
        try:
            yield
        finally:
            if log in _logs:
                _logs.remove(log)


def tolerate_any_character() -> None:
    r"""Let stdout and stderr write \xNN or \uNNNN for what their encoding lacks, as on a console of cp1252."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    r"""Text that no terminal takes for a command: any character that is not printable becomes \n, \x1b, \u202e ...

    Bytes that are not UTF-8 become \xNN.
    """
    return "".join(
        c if c.isprintable() else f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else _escaped(c)
        for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
