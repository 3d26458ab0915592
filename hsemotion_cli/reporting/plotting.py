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

from ..errors import ModelUnavailable
from ..runtime.atomic_files import atomic_file
from ..runtime.file_marks import TOOL
from ..runtime.user_folders import home

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def check_plot_path(path: Path) -> None:
    """Check, before hours of work, that a plot can be drawn.

    Raises:
        ModelUnavailable: matplotlib is missing.
    """
    try:
        _import_matplotlib()
    except ImportError as error:
        raise ModelUnavailable(
            f"{path}: drawing needs matplotlib ({error}): pip install 'hsemotion-cli[plot]'."
        ) from error


@contextlib.contextmanager
def png_figure(path: Path, size: tuple[float, float], dpi: int, margin: float = 0.12) -> Iterator[Figure]:
    """A figure to draw on; what is on it when the block ends becomes the file.

    Args:
        size: width and height in inches.
        margin: inches to the left and right of each panel.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    check_plot_path(path)
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawn = io.BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the settings of this machine are
        figure = Figure(size, dpi=dpi)
        figure.set_layout_engine("constrained", w_pad=margin, h_pad=0.1)
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(drawn, format="png", metadata={"Software": TOOL})
    with atomic_file(path) as file:
        file.write(drawn.getvalue())


@contextlib.contextmanager
def save_figure(path: Path, size: tuple[float, float], settings: Mapping[str, Any], dpi: int = 300) -> Iterator[Figure]:
    """A figure for print to draw on; what is on it when the block ends becomes the file. It carries no date.

    Args:
        path: its suffix is ``.pdf``, ``.svg`` or ``.png``.
        size: width and height in inches.
        settings: of matplotlib, over its own defaults.
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
        matplotlib.rcdefaults()
        for name, value in settings.items():
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
