"""Lists on the command line: "a, b" -> ("a", "b")."""

from __future__ import annotations


def comma_list(text: str) -> tuple[str, ...]:
    """The parts between commas, stripped, in order; empty parts and repetitions are left out."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
