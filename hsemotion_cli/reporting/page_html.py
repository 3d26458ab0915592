"""Facts and tiles -> one HTML file that needs nothing else: no network, no other file but the video beside it.

The page's own code lies in ``page/``; it is put into every page. Its security policy allows this code by its checksum,
and no connection at all. Text of others reaches it as JSON, and the code only ever writes it as text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from .. import __version__
from ..runtime.file_marks import PAGE_MARK

SCRIPTS = (
    "theme.js", "decode.js", "tracks.js", "state.js", "draw.js", "people.js", "marks.js", "player.js", "strips.js",
    "panels.js", "events.js", "main.js",
)  # fmt: skip
"""The page's code, in the order in which it is joined."""


def page(title: str, facts: Mapping[str, Any], tiles: Mapping[str, str]) -> Iterator[str]:
    """The page of one recording, piece by piece.

    Args:
        facts: what ``page/main.js`` and its neighbours read.
        tiles: id -> base64 text.
    """
    yield from _head(title, _asset("page.css"), script := _joined(SCRIPTS))
    yield _body("page.html")
    yield _data("facts", "application/json", as_json(facts))
    for name, text in tiles.items():
        yield _data(f"tile-{name}", "application/octet-stream", text)
    yield f'<script type="module">{script}</script>\n</body>\n</html>\n{PAGE_MARK}\n'


def index(title: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """The page of a folder, which lists the recordings and their people."""
    yield from _plain("index", title, facts)


def sheet(title: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """The contact sheet of a recording."""
    yield from _plain("sheet", title, facts)


def _plain(name: str, title: str, facts: Mapping[str, Any]) -> Iterator[str]:
    """A page without tiles, whose own style, body and code are ``page/NAME.*``."""
    script = _joined(("theme.js", "state.js", f"{name}.js"))
    yield from _head(title, _asset("page.css") + _asset(f"{name}.css"), script)
    yield _body(f"{name}.html")
    yield _data("facts", "application/json", as_json(facts))
    yield f'<script type="module">{script}</script>\n</body>\n</html>\n{PAGE_MARK}\n'


def _body(name: str) -> str:
    """The body of a page, in which ``{theme}`` stands for the choice of dark and light that all pages share."""
    return _asset(name).replace("{theme}", _asset("theme.html").strip())


def as_json(value: Any) -> str:
    """JSON that may stand in a script element: no character in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _head(title: str, style: str, script: str) -> Iterator[str]:
    policy = (
        "default-src 'none'; connect-src 'none'; base-uri 'none'; form-action 'none'; "
        f"script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; media-src 'self' file: blob:"
    )
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    yield '<meta name="referrer" content="no-referrer">\n'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    yield f'<meta name="generator" content="hsemotion {__version__}">\n<title>{_escaped(title)}</title>\n'
    yield f"<style>{style}</style>\n</head>\n"


def _escaped(text: str) -> str:
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(mark, entity)
    return text.encode("utf-8", "replace").decode()


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _data(name: str, kind: str, content: str) -> str:
    return f'<script type="{kind}" id="{name}">{content}</script>\n'


def _asset(name: str) -> str:
    return (resources.files(__package__) / "page" / name).read_text(encoding="utf-8")


def _joined(names: tuple[str, ...]) -> str:
    return "\n" + "\n".join(_asset(name) for name in names)
