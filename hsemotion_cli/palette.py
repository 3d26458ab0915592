"""Colours of pages and figures, in one place: a class has the same colour wherever it is drawn.

Okabe and Ito's colours are distinguishable with any kind of colour vision ("Color Universal Design", 2008).
Their black is left out, since it cannot be seen on a dark page; neutral and other are two greys. Heat maps use viridis
(matplotlib's table, CC0), sampled in nine steps, which grows evenly in lightness.
"""

from __future__ import annotations

SKY, ORANGE, GREEN, PURPLE = "#56b4e9", "#e69f00", "#009e73", "#cc79a7"
YELLOW, VERMILION, BLUE = "#f0e442", "#d55e00", "#0072b2"
"""Okabe and Ito's colours by name."""

INK, QUIET = "#222222", "#666666"
"""Text and lines of figures on white, and what is less important."""

EXPRESSION_COLOURS: dict[str, str] = {
    "neutral": "#b4b4b4",
    "anger": VERMILION,
    "disgust": GREEN,
    "fear": PURPLE,
    "happiness": YELLOW,
    "sadness": BLUE,
    "surprise": SKY,
    "contempt": ORANGE,
    "other": "#7a7a7a",
}
"""Expression -> hex colour."""

PERSON_COLOURS: tuple[str, ...] = (SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILION, BLUE)
"""Colours of people, in the order in which overlays give them to face ids; the eighth has the first again."""

HEAT: tuple[str, ...] = (
    "#440154",
    "#472d7b",
    "#3b528b",
    "#2c728e",
    "#21918c",
    "#28ae80",
    "#5ec962",
    "#addc30",
    "#fde725",
)
"""Viridis from 0 to 1 in even steps."""
