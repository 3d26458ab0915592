"""Renew what the README shows of the default models: the image, the excerpt of a table, and the figures.

Run it when the default models or the overlay change:

    python scripts/make_readme.py

The image and the excerpt come from annotating a sample clip, the figures from docs/models/embedded.json, which
scripts/measure_models.py writes. ``--figures-only`` leaves out the annotating.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av

ROOT = Path(__file__).parent.parent
CLIP = ROOT / "sample_videos" / "langer_pexels.mp4"
SECOND = 14.0
"""Time in the clip of the frame that the image shows: a smile, seen from the front."""

COLUMNS = ("frame", "time", "face_id", "x", "y", "expression", "p_happiness", "valence", "arousal", "AU12_p", "AU12_c")
FRAMES = (60, 180, 240, 360)
"""Columns and frames of the excerpt."""


def main() -> None:
    """Renew all parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--figures-only", action="store_true", help="renew the figures, which takes no time")
    options = parser.parse_args()
    readme = ROOT / "README.md"
    text = with_figures(readme.read_text(encoding="utf-8"))
    if not options.figures_only:
        with tempfile.TemporaryDirectory() as folder:
            command = [
                sys.executable,
                "-m",
                "hsemotion_cli",
                "annotate",
                str(CLIP),
                "-o",
                folder,
                "--overlay",
                "--quiet",
            ]
            subprocess.run(command, check=True, cwd=ROOT)
            text = between(text, "excerpt", excerpt(Path(folder) / f"{CLIP.stem}.csv"))
            save_frame(Path(folder) / f"{CLIP.stem}.overlay.mp4", ROOT / "docs" / "overlay.jpg")
    readme.write_text(text, encoding="utf-8")


def with_figures(readme: str) -> str:
    """The README with the figures of docs/models/embedded.json."""
    content = json.loads((ROOT / "docs" / "models" / "embedded.json").read_text(encoding="utf-8"))
    return between(readme, "figures", figures(content))


def figures(content: dict[str, Any]) -> list[str]:
    """A table of what the default models reach on images that they were not trained on."""
    default = content["figures"][",".join(content["default"]["models"])]
    rows = [("ferplus, validation part", default["ferplus"]), ("muxspace, other people", default["muxspace"])]
    for run in content["across"].values():
        for source, found in run["checked_on"].items():
            rows.append((f"{source}, by a network trained on no image of it", found.get("blend", found["alone"])))
    lines = ["| 8 expressions | images | accuracy | macro F1 | CCC valence, arousal |", "|---|--:|--:|--:|--:|"]
    for name, found in rows:
        concordance = ", ".join(f"{value:.3f}" for value in found.get("ccc", ()))
        cells = (name, f"{found['pictures']:,}", f"{found['accuracy']:.3f}", f"{found['f1']:.3f}", concordance)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def excerpt(path: Path) -> list[str]:
    """Some rows and columns of a table as a Markdown table."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = {int(row["frame"]): row for row in csv.DictReader(file)}
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
    return lines + [f"| {' | '.join(shown(rows[frame][name]) for name in COLUMNS)} |" for frame in FRAMES]


def shown(value: str) -> str:
    """A cell with at most three decimals."""
    whole, point, decimals = value.partition(".")
    return f"{float(value):.3f}" if point and len(decimals) > 3 else whole + point + decimals


def save_frame(overlay: Path, out: Path) -> None:
    """Keep one frame of an overlay video, which has the times of its clip."""
    with av.open(str(overlay)) as container:
        frame = next(frame for frame in container.decode(video=0) if frame.time is not None and frame.time >= SECOND)
        frame.to_image().save(out, quality=90)


def between(text: str, name: str, lines: list[str]) -> str:
    """The text with other lines between ``<!-- name: begin -->`` and ``<!-- name: end -->``.

    Raises:
        ValueError: the markers are missing.
    """
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, found, rest = text.partition(begin)
    _, also, after = rest.partition(end)
    if not (found and also):
        raise ValueError(f"the page lacks {begin.strip()} or {end}")
    return "".join([before, begin, *(f"{line}\n" for line in lines), end, after])


if __name__ == "__main__":
    main()
