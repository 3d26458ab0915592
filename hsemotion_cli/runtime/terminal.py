"""What is printed without Rich: one-line messages on stderr, and text made safe for a terminal."""

from __future__ import annotations

import sys


def say(sentence: str) -> None:
    """One line on stderr, whatever a file's name or content may have put into it."""
    print(f"hsemotion: {printable(sentence)}", file=sys.stderr, flush=True)


def printable(text: str) -> str:
    r"""A text that no terminal takes for a command: what is no plain character is written as \n, \x1b, \u202e ...

    Bytes that are no UTF-8 come out as \xNN.
    """
    return "".join(
        c if c.isprintable() else f"\\x{ord(c) - 0xDC00:02x}" if 0xDC80 <= ord(c) <= 0xDCFF else _escaped(c)
        for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
