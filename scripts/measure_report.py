"""Measure the page of a long recording: size, time to the first paint and to all curves, drag rate, memory.

    python scripts/measure_report.py --minutes 60 --people 4 --rate 30

The table is made up: 30 series for each person (nine expressions, valence, arousal, twelve action units, head pose,
box) that wander as unsmoothed scores do. Needs playwright and chromium.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.signal import lfilter

from hsemotion_cli.formats.schema import COLUMNS
from hsemotion_cli.reporting.report_page import PageOptions, write_page
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS

DRAG = """async () => {
    const brush = document.querySelector("#brush"), box = document.querySelector("#overview").getBoundingClientRect();
    const at = (type, x) => brush.dispatchEvent(new PointerEvent(type,
        { pointerId: 1, clientX: box.left + x * box.width, clientY: box.top + 10, bubbles: true, button: 0 }));
    brush.setPointerCapture = () => {};
    at("pointerdown", 0.3);
    const times = [];
    for (let k = 0; k < 120; k++) {
        at("pointermove", 0.3 + 0.4 * k / 120);
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        times.push(performance.now());
    }
    at("pointerup", 0.7);
    const steps = times.slice(1).map((time, k) => time - times[k]).sort((a, b) => a - b);
    const worst = steps[Math.floor(0.95 * steps.length)];
    return { mean: 1000 * steps.length / (times.at(-1) - times[0]), worst: 1000 / worst };
}"""


def wander(random: np.random.Generator, rows: int, columns: int) -> NDArray[np.float64]:
    """(rows, columns) slow drift with noise from frame to frame."""
    slow = lfilter([1.0], [1.0, -0.99], random.normal(0, 0.12, (rows, columns)), axis=0)
    return slow + random.normal(0, 0.15, (rows, columns))


def table(path: Path, minutes: float, people: int, rate: float) -> int:
    """Write the table as Parquet; returns the number of values in it."""
    random, frames = np.random.default_rng(0), round(minutes * 60 * rate)
    number = np.repeat(np.arange(frames), people)
    rows = len(number)
    columns: dict[str, Any] = {"frame": number, "time": number / rate, "face_id": np.tile(np.arange(people), frames)}
    columns |= {
        "face_detected": np.ones(rows, int),
        "interpolated": np.zeros(rows, int),
        "det_score": np.full(rows, 0.9),
    }
    scores = np.exp(2 * wander(random, rows, len(EXPRESSIONS)))
    scores /= scores.sum(axis=1, keepdims=True)
    names = np.array(EXPRESSIONS)
    columns |= {f"p_{name}": scores[:, k] for k, name in enumerate(EXPRESSIONS)}
    columns |= {"expression": names[scores.argmax(axis=1)], "expression_score": scores.max(axis=1)}
    affect = np.tanh(wander(random, rows, 2))
    columns |= {"valence": affect[:, 0], "arousal": affect[:, 1]}
    units = 1 / (1 + np.exp(-2 * wander(random, rows, len(ACTION_UNITS))))
    columns |= {f"{unit}_p": units[:, k] for k, unit in enumerate(ACTION_UNITS)}
    columns |= {f"{unit}_c": (units[:, k] > 0.5).astype(int) for k, unit in enumerate(ACTION_UNITS)}
    pose = 8 * wander(random, rows, 7)
    columns |= {name: pose[:, k] for k, name in enumerate(("head_pitch", "head_yaw", "head_roll"))}
    columns |= {side: 300 + pose[:, 3 + k] for k, side in enumerate("xywh")}
    kinds = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
    arrays = {
        column.name: pa.array(np.round(columns[column.name], 6) if column.type == "number" else columns[column.name])
        if column.name in columns
        else pa.nulls(rows, kinds[column.type])
        for column in COLUMNS
    }
    pq.write_table(pa.table(arrays), path)
    return rows * 30


def measure(page: Path, program: str) -> None:
    """Open a page and print what it takes."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(viewport={"width": 1440, "height": 900})
        began = time.monotonic()
        view.goto(page.as_uri(), wait_until="commit")
        view.wait_for_selector("html[data-ready]", timeout=120_000)
        whole = time.monotonic() - began
        paint = view.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
        view.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        print(f"first paint {paint / 1000:.2f} s, all curves read after {whole:.2f} s")
        for name, share in (("a quarter of the recording", 0.25), ("one minute", 1 / 60)):
            narrow(view, share)
            found = view.evaluate(DRAG)
            print(f"dragging {name}: {found['mean']:.0f} frames/s, 19 of 20 faster than {found['worst']:.0f} frames/s")
        heap = view.evaluate("() => performance.memory.usedJSHeapSize")
        print(f"memory of the page's script {heap / 1e6:.0f} MB")
        browser.close()


def narrow(view: Any, share: float) -> None:
    """Show a share of the recording around its middle, by dragging over the overview."""
    view.click("#zoom-all")
    box = view.locator("#overview").bounding_box()
    begin, end = (box["x"] + box["width"] * (0.3 + side * share / 2) for side in (-1, 1))
    view.mouse.move(begin, box["y"] + 10)
    view.mouse.down()
    view.mouse.move(max(end, begin + 5), box["y"] + 10, steps=3)
    view.mouse.up()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--people", type=int, default=4)
    parser.add_argument("--rate", type=float, default=30)
    parser.add_argument("--keep", type=Path, help="keep table and page in this folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        values = table(folder / "long.parquet", chosen.minutes, chosen.people, chosen.rate)
        began = time.monotonic()
        made = write_page(folder / "long.parquet", folder / "long.html", PageOptions())
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{chosen.minutes:g} min, {chosen.people} people, {chosen.rate:g} Hz: {values / 1e6:.1f} million values")
        print(f"page {made.size / 1e6:.2f} MB, made in {time.monotonic() - began:.1f} s with {memory:.0f} MB")
        if program := shutil.which("chromium"):
            measure((folder / "long.html").resolve(), program)


if __name__ == "__main__":
    main()
