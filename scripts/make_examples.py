"""Writes the tables of the worked examples in the documentation again, after the default models have changed.

    python scripts/make_examples.py

It runs the commands of docs/segments.md, summary.md, sync.md, agree.md and calibrate.md on the sample videos and
replaces what stands between each pair of markers. tests/test_findings_examples.py computes the same numbers in another
way. Sentences around the tables are not touched: read them again.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("segments.md", "summary.md", "sync.md", "agree.md", "calibrate.md")
COMMANDS = re.compile(r"<!-- not run: [^\n]*test_findings_examples.py runs it -->\n```sh\n(.*?)```", re.DOTALL)
FILES = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", re.DOTALL)
SUMMARY = ("coverage", "valence_mean", "valence_sd", "p_happiness_p95", "valence_latency", "happiness_share",
           "happiness_count", "happiness_first")  # fmt: skip

Rows = list[dict[str, str]]


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        shutil.copytree(ROOT / "sample_videos", folder / "sample_videos")
        for video in ("langer_pexels", "two_faces"):
            _run(folder, ["annotate", f"sample_videos/{video}.mp4", "-o", "results", "-q"])
        for page in PAGES:
            text = (ROOT / "docs" / page).read_text(encoding="utf-8")
            for name, content in FILES.findall(text):
                (folder / name).write_text(content, encoding="utf-8")
            for line in "".join(COMMANDS.findall(text)).replace("\\\n", " ").splitlines():
                if line and not line.startswith("hsemotion annotate"):
                    _run(folder, shlex.split(line)[1:])
        _replace("segments.md", "segments", _segments(folder))
        _replace("segments.md", "smiles", _smiles(folder))
        _replace("summary.md", "summary", _summary(folder))
        _replace("sync.md", "sync", _sync(folder))
        _replace("agree.md", "agree", _agree(folder))
        _replace("calibrate.md", "neutral", _neutral(folder))


def _run(folder: Path, words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "hsemotion_cli", *words], cwd=folder, check=True)


def _read(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _replace(page: str, name: str, rows: Iterable[Iterable[str]]) -> None:
    """Put rows below the two header lines of the table between the markers of a page."""
    path = ROOT / "docs" / page
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name}: begin -->\n")
    table, end, after = rest.partition(f"<!-- {name}: end -->")
    header = table.splitlines()[:2]
    lines = [*header, *(f"| {' | '.join(row)} |" for row in rows)]
    path.write_text(before + begin + "\n".join(lines) + "\n" + end + after, encoding="utf-8")


def _short(value: str | float, digits: int = 2) -> str:
    return "" if value == "" else f"{float(value):.{digits}f}"


def _segments(folder: Path) -> Iterable[list[str]]:
    for row in _read(folder / "findings" / "segments.csv"):
        if row["recording"] == "langer_pexels":
            numbers = ("onset", "peak", "offset", "duration", "mean", "maximum")
            yield [row["kind"], row["label"], *(_short(row[name]) for name in numbers)]


def _smiles(folder: Path) -> Iterable[list[str]]:
    table = _read(folder / "results" / "langer_pexels.csv")
    lips, cheeks = (np.array([row[name] == "1" for row in table]) for name in ("AU12_c", "AU06_c"))
    shares = {
        "`AU12_c` is 1": lips,
        "`AU12_c` and `AU06_c` are 1": lips & cheeks,
        "`expression` is happiness": np.array([row["expression"] == "happiness" for row in table]),
    }
    return [[name, f"{100 * found.mean():.1f} %"] for name, found in shares.items()]


def _summary(folder: Path) -> Iterable[list[str]]:
    for row, z in zip(_read(folder / "summary.csv"), _read(folder / "z.csv"), strict=True):
        yield [row["window"], *(_short(row[name]) for name in SUMMARY), _short(z["valence_mean"])]


def _sync(folder: Path) -> Iterable[list[str]]:
    for row in _read(folder / "synchrony" / "sync.csv"):
        lags = [_short(row["synchrony"], 3), _short(row["peak_lag"], 1), _short(row["peak_z"], 3)]
        agreed = [_short(row["ccc"], 3), _short(row["ccc_lag"], 1), _short(row["ccc_peak"], 3)]
        yield [row["measure"], row["windows"], *lags, *agreed, _short(row["shuffled_p"], 3)]


def _agree(folder: Path) -> Iterable[list[str]]:
    found = {
        (row["first"], row["second"], row["statistic"]): row["value"]
        for row in _read(folder / "agreement" / "agree.csv")
        if row["label"] == "smile"
    }
    for first, second in (("ann", "model"), ("bob", "model"), ("ann", "bob")):
        names = ("kappa", "alpha", "f1", "event_f1", "onset_error")
        yield [f"{first} - {second}", *(_short(found[first, second, name]) for name in names)]


def _neutral(folder: Path) -> Iterable[list[str]]:
    tables = [_read(folder / name / "langer_pexels.csv") for name in ("results", "corrected")]

    def between(table: Rows, name: str) -> list[float]:
        return [float(row[name]) for row in table if 6 <= float(row["time"]) < 9]

    neutral = [float(np.mean(between(table, "p_neutral"))) for table in tables]
    valence = [float(np.median(between(table, "valence"))) + 0.0 for table in tables]
    happy = [float(np.mean([row["expression"] == "happiness" for row in table])) for table in tables]
    yield ["mean p_neutral, 6 to 9 s", *map(_short, neutral)]
    yield ["median valence, 6 to 9 s", *map(_short, valence)]
    yield ["share of frames with happiness", *map(_short, happy)]


if __name__ == "__main__":
    main()
