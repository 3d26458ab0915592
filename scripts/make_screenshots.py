"""Make docs/report.jpg, the page of the sample video at the peak of an expression, and docs/sheet.jpg, its sheet.

    python scripts/make_screenshots.py

With --folder FOLDER also others: dark, on a phone, at a gap, with two people, printed. Needs playwright and chromium.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from typer.testing import CliRunner

from hsemotion_cli.cli import app

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_videos"
WIDE = (1440, 850)
PEAK = 14.2  # seconds into the sample video, where she smiles


def run(*arguments: object) -> None:
    """One command of hsemotion; raises RuntimeError with its output if it fails."""
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    if done.exit_code:
        raise RuntimeError(done.output)


def shoot(
    browser: Any,
    page: Path,
    seconds: float,
    size: tuple[int, int] = WIDE,
    scheme: str = "light",
    keys: Sequence[str] = (),
) -> Image.Image:
    """What a browser shows of a page after a click at a time, and after keys."""
    view = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    view.goto(page.resolve().as_uri())
    view.wait_for_selector("html[data-ready]")
    lane = view.locator("#lane").bounding_box()
    first, last = (float(view.get_attribute("#lane", f"aria-value{end}")) for end in ("min", "max"))
    strip = view.locator("#persons canvas").first
    strip.scroll_into_view_if_needed()
    at = strip.bounding_box()
    view.mouse.click(lane["x"] + (seconds - first) / (last - first) * lane["width"], at["y"] + at["height"] / 2)
    for key in keys:
        view.keyboard.press(key)
    view.wait_for_timeout(1500)
    view.mouse.move(5, 5)
    image = Image.open(io.BytesIO(view.screenshot()))
    view.close()
    return image.convert("RGB")


def shoot_sheet(browser: Any, page: Path, size: tuple[int, int] = (1200, 640)) -> Image.Image:
    """What a browser shows of a contact sheet after the first images were marked."""
    view = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme="light")
    view.goto(page.resolve().as_uri())
    view.wait_for_selector("html[data-ready]")
    view.locator(".card").first.focus()
    for key in "rruw":
        view.keyboard.press(key)
    view.evaluate("scrollTo(0, 0)")
    view.wait_for_timeout(500)
    image = Image.open(io.BytesIO(view.screenshot()))
    view.close()
    return image.convert("RGB")


def pages(folder: Path) -> None:
    """Annotate the sample videos and make their pages."""
    run("annotate", SAMPLES / "langer_pexels.mp4", SAMPLES / "two_faces.mp4", "-o", folder, "--smooth", "gaussian:0.2",
        "--report", "--quiet")  # fmt: skip
    run("sheet", folder / "langer_pexels.csv", "--video", SAMPLES / "langer_pexels.mp4", "--quiet")


def main() -> None:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="also write other screenshots here")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        pages(folder)
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        shoot(browser, folder / "langer_pexels.html", PEAK).save(
            ROOT / "docs" / "report.jpg", quality=84, optimize=True, progressive=True
        )
        shoot_sheet(browser, folder / "langer_pexels.sheet.html").save(
            ROOT / "docs" / "sheet.jpg", quality=84, optimize=True, progressive=True
        )
        if chosen.folder:
            chosen.folder.mkdir(parents=True, exist_ok=True)
            talk, two = folder / "langer_pexels.html", folder / "two_faces.html"
            shoot(browser, talk, PEAK).save(chosen.folder / "light.png")
            shoot(browser, talk, PEAK, scheme="dark").save(chosen.folder / "dark.png")
            shoot(browser, talk, PEAK, (390, 844)).save(chosen.folder / "phone.png")
            shoot(browser, two, 3.0).save(chosen.folder / "two-people.png")
            sheet = shoot_sheet(browser, folder / "langer_pexels.sheet.html", (390, 844))
            sheet.save(chosen.folder / "sheet-phone.png")
        browser.close()


if __name__ == "__main__":
    main()
