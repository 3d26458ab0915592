"""A real headless Chromium for the tests of pages, and a record of a page's console messages and requests."""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which drives the browser")
    program = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if program is None:
        pytest.skip("needs chromium, in which the pages are opened (apt-get install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=list(_ARGUMENTS))
        yield browser
        browser.close()


class Opened:
    """A page that is open.

    Attributes:
        page: Playwright's.
        complaints: errors and warnings of its console, and exceptions.
        requests: addresses that it asked for, itself included.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def open(self, path: Path) -> Opened:
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready]", timeout=20_000)
        return self

    def text(self, selector: str) -> str:
        return str(self.page.inner_text(selector)).strip()

    def frame(self) -> int:
        """The frame number that the page shows beside the time; -1 where none was analysed."""
        word = self.text("#now").rpartition(" ")[2]
        return int(word) if word.isdigit() else -1

    def seek(self, share: float) -> None:
        """Click on the first strip, at a share of its width."""
        box = self.page.locator("#persons canvas").first.bounding_box()
        self.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)

    def download(self, button: str) -> str:
        with self.page.expect_download() as waiting:
            self.page.click(button)
        return Path(waiting.value.path()).read_text(encoding="utf-8")

    def picture(self, selector: str) -> np.ndarray:
        """What is on the screen where an element is: (height, width, 3) RGB."""
        return np.asarray(Image.open(io.BytesIO(self.page.locator(selector).screenshot())).convert("RGB"))

    def strips(self) -> list[np.ndarray]:
        """The pixels of all strips, RGBA, as they are drawn."""
        script = '() => [...document.querySelectorAll("#persons canvas")].map((strip) => strip.toDataURL())'
        files = (base64.b64decode(address.partition(",")[2]) for address in self.page.evaluate(script))
        return [np.asarray(Image.open(io.BytesIO(file)).convert("RGBA")) for file in files]


@contextmanager
def opened(browser: Any, path: Path, **given: Any) -> Iterator[Opened]:
    """Open a page in a context of its own, and close it again; ``given`` is for the context, as a viewport."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **given})
    try:
        yield Opened(context.new_page()).open(path)
    finally:
        context.close()
