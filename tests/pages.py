"""The pages of the documentation, and the code blocks in them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.rglob("*.md")))
"""What the site and the front page consist of."""

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>[^\n]*?) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code.

    Attributes:
        page: the page that it is on.
        language: word after the fence.
        mark: content of an HTML comment in the line before it, such as "not run: needs a cluster"; or "".
        text: the code.
    """

    page: Path
    language: str
    mark: str
    text: str

    @property
    def runs(self) -> bool:
        """Whether a test can run it: not on commands.md, which repeats ``--help``, nor on cards written by training."""
        return not self.mark and self.page.name != "commands.md" and not self.page.name.startswith("mt-")

    @property
    def lines(self) -> list[str]:
        """Commands of a shell block: continued lines joined, comments and empty lines left out."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")]


def blocks(language: str) -> list[Block]:
    """All blocks in a language, page by page."""
    found = []
    for page in PAGES:
        for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
            if match["language"] == language:
                found.append(Block(page, language, match["mark"] or "", match["text"]))
    return found


def hsemotion_commands(line: str) -> list[list[str]]:
    """The arguments of each ``hsemotion`` in a shell line."""
    found: list[list[str]] = []
    inside = False
    for word in shlex.split(line, comments=True):
        if word == "hsemotion":
            found.append([])
            inside = True
        elif word in ("|", "&&", ">", "&"):
            inside = False
        elif inside:
            found[-1].append(word)
    return found


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    plain = re.sub(r"`|\*|!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """The anchors of a page."""
    without_code = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", without_code, re.MULTILINE)}
