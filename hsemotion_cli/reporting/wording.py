"""Small pieces of English that messages and pages share."""

from __future__ import annotations

from collections.abc import Iterable


def listed(words: Iterable[str]) -> str:
    """ "a", "a and b", or "a, b and c"; with a comma before the last if one of them contains "and" itself.

    Args:
        words: at least one.
    """
    *first, last = words
    comma = "," if any(" and " in word for word in (*first, last)) else ""
    return f"{', '.join(first)}{comma} and {last}" if first else last


def few(names: Iterable[str], count: int = 5) -> str:
    """The first ``count`` names and how many more there are: "a, b and 3 more"; "" for none."""
    found = list(names)
    return ", ".join(found[:count]) + (f" and {len(found) - count:,} more" if len(found) > count else "")
