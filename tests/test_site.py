"""The documentation site: it builds without a warning and without the network, and loads nothing from other hosts."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from pages import DOCS, ROOT

pytest.importorskip("zensical", reason="needs the extra [docs]")

LOADING = {
    "audio": ("src",),
    "embed": ("src",),
    "iframe": ("src",),
    "img": ("src", "srcset"),
    "input": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src", "srcset"),
    "use": ("href",),
    "video": ("src", "poster"),
}
"""Elements for which a browser loads something, and the attributes that name it; links (<a>) load nothing."""

POLICY = "default-src 'self' data: blob: 'unsafe-inline'"
SEALED = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")


class Page(HTMLParser):
    """What a page loads, links to, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.classes: set[str] = set()
        self.components: set[str] = set()
        self.policy = ""
        self.loaded_before_policy = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one element does."""
        given = {name: value or "" for name, value in attrs}
        if given.get("http-equiv", "").lower() == "content-security-policy":
            self.policy, self.loaded_before_policy = given.get("content", ""), len(self.loaded)
        if tag != "link" or given.get("rel") not in ("prev", "next", "canonical"):
            self.loaded += [given[name] for name in LOADING.get(tag, ()) if name in given]
        self.loaded += re.findall(r"url\(([^)]*)\)", given.get("style", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        self.anchors |= {given["id"]} if "id" in given else set()
        self.classes |= set(given.get("class", "").split())
        self.components |= {given["data-md-component"]} if "data-md-component" in given else set()


def is_foreign(address: str) -> bool:
    """Whether it names a host."""
    return bool(urlsplit(address).netloc)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. On Linux the build is ended at its first attempt to open an internet socket."""
    project = tmp_path_factory.mktemp("project")
    shutil.copy(ROOT / "mkdocs.yml", project)
    for name in ("docs", "docs_theme"):
        shutil.copytree(ROOT / name, project / name)
    seal = f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r}); import sealed; sealed.seal()\n" if SEALED else ""
    program = f"{seal}from zensical.main import cli\ncli(['build', '--strict'])"
    done = subprocess.run([sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "No issues found" in said and not re.search("warning|error", said, re.IGNORECASE), said
    return project / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Path -> page, of all pages."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_is_built(pages: dict[Path, Page], site: Path) -> None:
    for source in DOCS.rglob("*.md"):
        name = source.relative_to(DOCS).with_suffix("")
        folder = name.parent if name.name == "index" else name
        assert site / folder / "index.html" in pages


def test_no_page_loads_anything_from_another_host(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert page.loaded, path
        assert [address for address in page.loaded if is_foreign(address)] == [], path
        # The policy makes browsers refuse the rest, before anything is loaded.
        assert page.policy == POLICY and page.loaded_before_policy == 0, path
        # What makes the theme's own scripts ask other hosts.
        assert not page.classes & {"mermaid", "glightbox", "pyodide"}, path
        assert "source" not in page.components, path


def test_no_style_sheet_loads_anything_from_another_host(site: Path) -> None:
    sheets = [*site.rglob("*.css")]
    assert sheets
    for sheet in sheets:
        text = sheet.read_text(encoding="utf-8")
        assert [
            a for a in re.findall(r"""url\(["']?([^"')]+)|@import\s+["']([^"']+)""", text) if is_foreign("".join(a))
        ] == []


def test_links_between_pages_lead_somewhere(pages: dict[Path, Page], site: Path) -> None:
    count = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            assert target.is_relative_to(site) and target.is_file(), f"{path}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path}: {link}"
            count += 1
    assert count > 100
