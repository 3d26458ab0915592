"""Text -> whole number, without the traps of ``str.isdigit`` and ``int``.

``str.isdigit`` accepts "²", which ``int`` refuses; ``\\d`` and ``int`` accept the digits of every script; and ``int``
refuses more than 4300 digits. All three raise ValueError where a clear message should stand.
"""

from __future__ import annotations

import re

DIGITS = "[0-9]{1,18}"
"""Pattern of a whole number that ``int`` always reads, and that fits into 64 bits."""

_WHOLE = re.compile(DIGITS)


def whole_number(text: str) -> int | None:
    """The value of at most 18 ASCII digits; None for any other text."""
    return int(text) if _WHOLE.fullmatch(text) else None
