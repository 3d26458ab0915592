"""A figure of matplotlib that becomes a PNG, PDF or SVG file: whole or not at all, without a display, the same
everywhere."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelUnavailable, UsageError
from ..palette import INK
from ..runtime.atomic_files import atomic_file
from ..runtime.file_marks import TOOL
from ..runtime.user_folders import home

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SUFFIXES = (".pdf", ".svg", ".png")
"""Files that a figure can become."""

STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # it comes with matplotlib, so that every machine draws the same
    "axes.edgecolor": INK,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "pdf.fonttype": 42,  # whole TrueType fonts, which journals ask for
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hsemotion",  # the same names of parts in every run
}
"""Settings of matplotlib that all figures share."""


def vector_bar(figure: Any, drawn: Any, axes: Any, label: str, **given: Any) -> Any:
    """A colour bar of vector shapes; matplotlib's own is an image in PDF and SVG files."""
    bar = figure.colorbar(drawn, ax=axes, label=label, **given)
    bar.solids.set_rasterized(False)
    bar.solids.set_edgecolor("face")  # closes hairlines between the steps
    return bar


def check_plot_path(path: Path) -> None:
    """Check, before hours of work, that a plot can be drawn.

    Raises:
        UsageError: its suffix is none of ``SUFFIXES``.
        ModelUnavailable: matplotlib is missing.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: figures are PDF, SVG or PNG files; give a name that ends in .pdf, .svg or .png.")
    try:
        _import_matplotlib()
    except ImportError as error:
        raise ModelUnavailable(
            f"{path}: drawing needs matplotlib ({error}): pip install 'hsemotion-cli[plot]'."
        ) from error


@contextlib.contextmanager
def result_figure(path: Path, size: tuple[float, float], dpi: int, margin: float = 0.12) -> Iterator[Figure]:
    """A figure for a screen or a page to draw on; what is on it when the block ends becomes the file.

    Args:
        path: its suffix is one of ``SUFFIXES``.
        size: width and height in inches.
        dpi: pixels per inch of PNG files.
        margin: inches to the left and right of each panel.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    with save_figure(path, size, {}, dpi) as figure:
        figure.set_layout_engine("constrained", w_pad=margin, h_pad=0.1)
        yield figure


@contextlib.contextmanager
def save_figure(path: Path, size: tuple[float, float], settings: Mapping[str, Any], dpi: int = 300) -> Iterator[Figure]:
    """A figure for print to draw on; what is on it when the block ends becomes the file. It carries no date.

    Args:
        path: its suffix is ``.pdf``, ``.svg`` or ``.png``.
        size: width and height in inches.
        settings: of matplotlib, over ``STYLE`` and its own defaults.
        dpi: pixels per inch of PNG files, and of images in the others.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    check_plot_path(path)
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    kind = path.suffix.lower().lstrip(".")
    drawn = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the settings of this machine are
        for name, value in {**STYLE, **settings}.items():
            matplotlib.rcParams[name] = value  # type: ignore[index]
        figure = Figure(size, dpi=dpi)
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(drawn, format=kind, metadata=_METADATA[kind])
    with atomic_file(path) as file:
        file.write(drawn.getvalue())


_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": TOOL},
    "pdf": {"Creator": TOOL, "CreationDate": None},
    "svg": {"Creator": TOOL, "Date": None},
}
"""Kind of file -> what it carries: the mark by which a later run knows it as ours."""


def _import_matplotlib() -> None:
    """Import matplotlib with its font cache in our cache folder, so that it creates no folder elsewhere.

    It asks for its folders once, when it is imported and when it looks for fonts. A program that wants its own
    ``matplotlibrc`` imports it earlier, or sets ``MPLCONFIGDIR``; then nothing is changed.
    """
    if "matplotlib" in sys.modules or os.environ.get("MPLCONFIGDIR"):
        import matplotlib

        return
    os.environ["MPLCONFIGDIR"] = str(home() / "matplotlib")
    try:
        import matplotlib

        matplotlib.get_configdir()
        matplotlib.get_cachedir()
    finally:
        del os.environ["MPLCONFIGDIR"]
