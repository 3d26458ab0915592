"""A table and its sidecar -> the video that the table was made from, and how it was decoded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..media.source import DecodeOptions
from . import sidecar
from .table import WRITERS

SUFFIXES = tuple(f".{kind}" for kind in WRITERS)
"""Of tables, the preferred one first where a folder has several of the same recording."""


def read_sidecar(table: Path) -> dict[str, Any]:
    """The sidecar beside a table, {} if there is none."""
    beside = table.with_name(f"{table.stem}.json")
    return sidecar.read(beside) if beside.exists() else {}


def is_described(table: Path) -> bool:
    """Whether the sidecar beside a file is there, can be read, and names the file as a table of its own."""
    beside = table.with_name(f"{table.stem}.json")
    try:
        return beside.is_file() and table.name in sidecar.read(beside).get("outputs", {}).values()
    except InputError:
        return False


def source_name(meta: Mapping[str, Any]) -> str:
    """Name of the video by a sidecar, "" if it is not known; that of an imported table is a file of another program."""
    source = meta.get("source") or {}
    return "" if source.get("kind") == "imported" else str(source.get("name") or "")


def decoding_of(meta: Mapping[str, Any]) -> DecodeOptions:
    """How the source of a table was decoded, from its sidecar."""
    known = {k: v for k, v in meta.get("decoding", {}).items() if k in DecodeOptions.__dataclass_fields__}
    known["region"] = None  # boxes are in pixels of the whole image
    clock = str(meta.get("source", {}).get("clock", ""))
    if clock.startswith("file numbers / "):
        known["image_fps"] = float(clock.removeprefix("file numbers / "))
    return DecodeOptions(**known)


def find_video(table: Path, meta: Mapping[str, Any], video: Path | None) -> Path | None:
    """The video of a table: the one that is named, or one of its source's name in the folder that is named, beside the
    table, or one folder up.

    Raises:
        InputError: a video is named that does not exist.
    """
    if video is not None and not video.exists():
        raise InputError(f"{video}: no such video.")
    name = source_name(meta)
    if video is not None and (not video.is_dir() or not name or video.name == name):
        return video
    folders = [video] if video is not None else [table.parent, table.parent.parent]
    if not name or Path(name).name != name:
        return None
    return next((folder / name for folder in folders if (folder / name).exists()), None)
