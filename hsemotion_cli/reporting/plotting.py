"""A figure of matplotlib that becomes a PNG file: whole or not at all, without a display, the same everywhere."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

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
            f"{path}: drawing needs matplotlib ({error}): pip install 'hsemotion-cli[train]'."
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
