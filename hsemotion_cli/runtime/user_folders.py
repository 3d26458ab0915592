"""The folders of the user's account that are ours: one for caches, one for settings."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_CACHE = {
    "win32": ("LOCALAPPDATA", "AppData/Local"),
    "darwin": ("", "Library/Caches"),
    "": ("XDG_CACHE_HOME", ".cache"),
}
_CONFIG = {
    "win32": ("APPDATA", "AppData/Roaming"),
    "darwin": ("", "Library/Application Support"),
    "": ("XDG_CONFIG_HOME", ".config"),
}
"""Platform, "" for all others -> the variable that names the folder, and its default below the home folder."""


def home() -> Path:
    """The cache folder: ``HSEMOTION_HOME``, else the platform's place for caches (not created here)."""
    own = os.environ.get("HSEMOTION_HOME")
    return Path(own).expanduser() if own else _platform_folder(_CACHE) / "hsemotion"


def config_file() -> Path:
    """The user's settings: ``HSEMOTION_CONFIG``, else config.toml in the platform's folder for settings."""
    own = os.environ.get("HSEMOTION_CONFIG")
    return Path(own).expanduser() if own else _platform_folder(_CONFIG) / "hsemotion" / "config.toml"


def _platform_folder(places: dict[str, tuple[str, str]]) -> Path:
    variable, default = places.get(sys.platform, places[""])
    return Path(os.environ.get(variable) or Path.home() / default)
