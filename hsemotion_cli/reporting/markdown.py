"""Names and words of others -> Markdown in which they mean nothing but themselves."""

from __future__ import annotations

import re
from typing import Any

from ..runtime.file_marks import PAGE_MARK


def flat(value: Any) -> str:
    """Text on one line, without what a terminal or a reader could take for a command."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(value)).split())


def text(value: Any) -> str:
    r"""Text that Markdown shows as it is, also in a table; a_b keeps its plain underscore, a | becomes \|."""
    return re.sub(r"([\\|`*~<>\[\]]|(?<!\S)#|#(?!\S)|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;))", r"\\\1", flat(value))


def code(value: Any) -> str:
    """Text as code; grave accents would end it, and become apostrophes."""
    return "`" + flat(value).replace("`", "'") + "`"


def signed(page: str) -> str:
    """A page with the mark by which a later run knows it as ours, and may replace it."""
    return f"{page.rstrip()}\n\n{PAGE_MARK}\n"
