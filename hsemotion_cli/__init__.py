"""hsemotion: face videos to trustworthy tables of affect.

A frame travels through the folders in this order:

    media (video, images) -> faces (detector, crops, tracking) -> models (predict) -> timeline
    timeline -> postprocess (refine, smoothing) -> formats (table, raw_scores, sidecar) -> overlay (video)

``pipeline`` wires them together for one video; ``batch`` runs it over a collection. A published network comes through
``models``: cards -> weights -> checkpoints (safe_unpickler) -> conversion (architectures) -> engines (onnx_graphs,
reparameterise) -> network_model. ``cli`` and ``commands`` are the command line.

Importing the package turns off the usage reports of the libraries below it; see ``runtime.privacy``. The names of the
Python interface (``api``) are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .runtime import privacy

if TYPE_CHECKING:
    from .annotation import Annotation, load
    from .api import Session, annotate, annotate_image, annotate_stream, rows
    from .errors import (
        HsemotionError,
        HsemotionWarning,
        InputError,
        LowCoverage,
        ModelUnavailable,
        OutputError,
        UsageError,
    )

__all__ = [
    "Annotation",
    "HsemotionError",
    "HsemotionWarning",
    "InputError",
    "LowCoverage",
    "ModelUnavailable",
    "OutputError",
    "Session",
    "UsageError",
    "__version__",
    "annotate",
    "annotate_image",
    "annotate_stream",
    "load",
    "rows",
]

__version__ = "0.1.0"

privacy.disable_reporting()  # here, because it must happen before any of the libraries is imported

_HOMES = {
    "annotation": ("Annotation", "load"),
    "api": ("Session", "annotate", "annotate_image", "annotate_stream", "rows"),
    "errors": (
        "HsemotionError",
        "HsemotionWarning",
        "InputError",
        "LowCoverage",
        "ModelUnavailable",
        "OutputError",
        "UsageError",
    ),
}
"""Module -> what it gives to the Python interface."""


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
