"""The one folder in the user's cache that is ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def home() -> Path:
    """The cache directory: ``HSEMOTION_HOME``, else the platform's place for caches (not created here)."""
    if own := os.environ.get("HSEMOTION_HOME"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "hsemotion"
