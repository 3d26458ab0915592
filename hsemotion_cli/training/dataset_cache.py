"""A packed copy of a run's dataset beside its checkpoint, so that resuming does not search for faces again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from .. import __version__
from . import dataset
from .config import DatasetSource, TrainingConfig
from .dataset import Dataset

_IRRELEVANT = {"path", "weight", "terms"}
"""Fields of a source that do not change its samples; its path counts resolved, with the files it leads to."""


def load_or_build(config: TrainingConfig, folder: Path, build: Callable[[], Dataset]) -> Dataset:
    """The dataset of a config: read from ``folder`` if it was packed there before, else built and packed now.

    Raises:
        InputError: the packed file is damaged.
        OutputError: it cannot be written.
    """
    packed = folder / f"samples-{cache_key(config)}.npz"
    if not packed.exists():
        dataset.write(packed, build())
    return dataset.read(packed)


def cache_key(config: TrainingConfig) -> str:
    """12 hexadecimal digits that change with everything that ``dataset_readers.gather`` makes the samples from.

    These are the classes, the split, all settings of the sources that matter, and the names, sizes and modification
    times of their files; also this program's version, since another one may read or crop the same files differently.
    """
    described = {
        "version": __version__,
        "classes": config.classes,
        "split": config.split,
        "sources": [_described(source) for source in config.sources],
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:12]


def _described(source: DatasetSource) -> dict[str, Any]:
    settings = {field.name: getattr(source, field.name) for field in fields(source) if field.name not in _IRRELEVANT}
    if not source.left_out:
        del settings["left_out"]  # samples that an earlier version packed stay valid
    path = source.path.resolve()
    state = hashlib.sha256(json.dumps(sorted(_files(path))).encode()).hexdigest()
    return settings | {"path": str(path), "files": state}


def _files(path: Path) -> Iterator[tuple[str, int, int]]:
    """Path, size in bytes and modification time (ns) of a file, or of all files in a folder and those it links to."""
    if not path.is_dir():
        yield _state(str(path))
    visited: set[str] = set()
    for folder, subfolders, names in os.walk(path, followlinks=True):
        here = os.path.realpath(folder)
        if here in visited:  # a link to a folder above it
            subfolders.clear()
            continue
        visited.add(here)
        for name in names:
            yield _state(os.path.join(folder, name))


def _state(path: str) -> tuple[str, int, int]:
    if not os.path.exists(path):  # a link that leads nowhere, or a source that ``build`` will report as missing
        return path, -1, -1
    status = os.stat(path)
    return path, status.st_size, status.st_mtime_ns
