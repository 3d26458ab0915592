"""Draw docs/architecture.svg: the way of one frame through the modules, and what uses the results.

    python scripts/draw_architecture.py

Every box names a module or folder of hsemotion_cli; a test checks that they exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

OUT = Path(__file__).parent.parent / "docs" / "architecture.svg"
WIDTH, HEIGHT = 1000, 530
BLUE, GREEN, GREY, INK = "#dbeafe", "#dcfce7", "#f1f5f9", "#1e293b"


@dataclass(frozen=True, slots=True)
class Box:
    """One module.

    Attributes:
        x, y: upper left corner in pixels.
        name: module or folder of hsemotion_cli.
        text: what it does; lines are separated by newlines.
        fill: colour.
        width, height: in pixels.
    """

    x: int
    y: int
    name: str
    text: str
    fill: str = BLUE
    width: int = 184
    height: int = 78

    def at(self, side: str) -> tuple[int, int]:
        """Middle of a side: "left", "right", "top" or "bottom"."""
        across = {"left": 0, "right": self.width}.get(side, self.width // 2)
        down = {"top": 0, "bottom": self.height}.get(side, self.height // 2)
        return self.x + across, self.y + down


BOXES = {
    box.name: box
    for box in (
        Box(30, 110, "media/video.py", "decodes the video\nor reads images"),
        Box(280, 110, "faces/detector.py", "finds faces, landmarks,\ncuts out crops"),
        Box(530, 110, "faces/tracking.py", "gives each person\none id"),
        Box(780, 110, "models/predict.py", "runs the models\non all faces"),
        Box(780, 280, "timeline.py", "gathers all frames\ninto columns", GREEN),
        Box(530, 280, "postprocess/refine.py", "blends, smooths,\napplies thresholds", GREEN),
        Box(280, 280, "formats/", "table, sidecar,\nraw scores", GREEN),
        Box(30, 280, "overlay/video.py", "draws the table\non the video", GREEN),
        Box(30, 445, "commands/", "the command line", GREY, 145, 60),
        Box(187, 445, "api.py", "the same in Python", GREY, 145, 60),
        Box(344, 445, "batch/", "many videos at once", GREY, 145, 60),
        Box(501, 445, "bench/", "speed", GREY, 125, 60),
        Box(638, 445, "abaw/", "evaluate, tune, submit", GREY, 165, 60),
        Box(815, 445, "training/", "networks and heads", GREY, 149, 60),
    )
}

ARROWS = (
    ("media/video.py", "right", "faces/detector.py", "left", "Frame"),
    ("faces/detector.py", "right", "faces/tracking.py", "left", "Sighting"),
    ("faces/tracking.py", "right", "models/predict.py", "left", "Sighting"),
    ("models/predict.py", "bottom", "timeline.py", "top", "Reading"),
    ("timeline.py", "left", "postprocess/refine.py", "right", "Timeline"),
    ("postprocess/refine.py", "left", "formats/", "right", "Affect"),
    ("formats/", "left", "overlay/video.py", "right", "rows"),
    ("media/video.py", "bottom", "overlay/video.py", "top", "frames, again"),
)
"""From a side of one box to a side of another, and what is passed on."""


def main() -> None:
    """Write the drawing."""
    OUT.write_text(drawing(), encoding="utf-8")


def drawing() -> str:
    """The SVG."""
    font = "font-family='ui-sans-serif, Helvetica, Arial, sans-serif'"
    lines = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' {font} fill='{INK}'>",
        "<title>The way of one frame: media, faces, models, timeline, postprocess, formats, overlay</title>",
        "<defs><marker id='tip' viewBox='0 0 10 10' refX='9' refY='5' markerWidth='8' markerHeight='8' orient='auto'>"
        f"<path d='M0 0L10 5L0 10z' fill='{INK}'/></marker></defs>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' rx='12' fill='white'/>",
        "<rect x='15' y='20' width='970' height='360' rx='12' fill='none' stroke='#94a3b8' stroke-dasharray='6 4'/>",
        label(30, 48, "pipeline.py", 17, bold=True),
        label(30, 72, "wires the stages together for one video", 14),
        label(280, 96, "one item per frame; stages run concurrently", 14),
        label(280, 266, "one video, column by column", 14),
        label(30, 425, "built on it:", 14),
    ]
    lines += [arrow(*each) for each in ARROWS]
    lines += [shape(box) for box in BOXES.values()]
    return "\n".join([*lines, "</svg>", ""])


def shape(box: Box) -> str:
    """A box with its name and text."""
    parts = [
        f"<rect x='{box.x}' y='{box.y}' width='{box.width}' height='{box.height}' rx='8' fill='{box.fill}' "
        f"stroke='{INK}'/>",
        label(box.x + 12, box.y + 26, box.name, 15, bold=True),
        *(label(box.x + 12, box.y + 47 + 18 * k, text, 13) for k, text in enumerate(box.text.split("\n"))),
    ]
    return "".join(parts)


def arrow(source: str, leaves: str, target: str, enters: str, text: str) -> str:
    """A straight arrow with what it passes on."""
    (x1, y1), (x2, y2) = BOXES[source].at(leaves), BOXES[target].at(enters)
    line = f"<path d='M{x1} {y1}L{x2} {y2}' stroke='{INK}' stroke-width='1.6' marker-end='url(#tip)'/>"
    if x1 == x2:
        return line + label(x1 + 8, (y1 + y2) // 2 + 5, text, 13, italic=True)
    return line + label((x1 + x2) // 2, y1 - 8, text, 13, italic=True, middle=True)


def label(
    x: int, y: int, text: str, size: int, *, bold: bool = False, italic: bool = False, middle: bool = False
) -> str:
    """A line of text whose baseline begins, or has its middle, at a place."""
    style = (" font-weight='600'" if bold else "") + (" font-style='italic'" if italic else "")
    anchor = " text-anchor='middle'" if middle else ""
    return f"<text x='{x}' y='{y}' font-size='{size}'{style}{anchor}>{escape(text)}</text>"


if __name__ == "__main__":
    main()
