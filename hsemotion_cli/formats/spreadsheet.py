"""Text that a spreadsheet would compute when it opens a table."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a formula begins with."""


def quoted(text: str) -> str:
    """The text, with an apostrophe before what would be a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text
