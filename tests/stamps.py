"""Times at the beginning of the lines on stderr."""

from __future__ import annotations

import re

_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?=\S)", re.M)


def unstamped(text: str) -> str:
    """Lines of stderr without the times that stand before them; a line of ours without one is an error."""
    for line in text.splitlines():
        assert not line.startswith("hsemotion: "), f"no time before {line!r}"
    return _STAMP.sub("", text)
