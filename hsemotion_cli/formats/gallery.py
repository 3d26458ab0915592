"""A gallery: a folder with embeddings of people who have names, to recognise them in other recordings.

Embeddings are biometric data. They are in one file, GALLERY/gallery.npz; nothing else of a person is stored, and
``forget`` removes a person. The file is readable by its owner only.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, UsageError, shortened
from ..faces.identify import Known
from ..runtime.atomic_files import atomic_file, prepare_folder
from .npz import DAMAGE, arrays

FILE = "gallery.npz"

MOST = 32
"""Embeddings that are kept of one person; those of the best images."""


def read_gallery(folder: Path) -> Known:
    """The people of a gallery.

    Raises:
        InputError: there is none in this folder, or it is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{folder}: no gallery here; make one with hsemotion people --enrol.")
    data = arrays(path, ("names", "mean", "weight"), "a gallery")
    mean, weight = data["mean"], data["weight"]
    try:
        names = data["names"].astype(np.uint8).tobytes().decode().split("\0")
    except DAMAGE as error:
        raise InputError(f"{path}: not a gallery, or damaged ({shortened(str(error), 300)}).") from error
    right = (
        mean.dtype == weight.dtype == np.float32 and mean.shape == (len(names), 192) and weight.shape == (len(names),)
    )
    if not right or not np.isfinite(mean).all() or not (weight > 0).all():
        raise InputError(f"{path}: not a gallery, or damaged (its arrays do not fit).")
    return Known(tuple(names), mean, weight)


def write_gallery(folder: Path, known: Known) -> None:
    """Replace a gallery; one without people is deleted.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / FILE
    if not known.name:
        path.unlink(missing_ok=True)
        return
    prepare_folder(folder)
    names = np.frombuffer("\0".join(known.name).encode(), np.uint8)
    with atomic_file(path) as file:
        np.savez(file, names=names, mean=known.mean, weight=known.weight)
    os.chmod(path, 0o600)


def enrolled(known: Known | None, more: Known) -> Known:
    """Both together, of each person the ``MOST`` embeddings of the best images."""
    name = (*(known.name if known else ()), *more.name)
    mean, weight = more.mean, more.weight
    if known:
        mean, weight = np.concatenate([known.mean, mean]), np.concatenate([known.weight, weight])
    kept: list[int] = []
    for person in dict.fromkeys(name):
        own = [k for k, other in enumerate(name) if other == person]
        kept += sorted(own, key=lambda k: -weight[k])[:MOST]
    kept.sort()
    return Known(tuple(name[k] for k in kept), mean[kept], weight[kept])


def forget(folder: Path, people: Sequence[str]) -> list[str]:
    """Delete people from a gallery; "all" stands for everyone.

    Returns:
        the names that were deleted.

    Raises:
        InputError: there is no gallery, or it is damaged and not everyone is to be deleted.
        UsageError: somebody is not in it.
    """
    path = folder / FILE
    if list(people) == ["all"]:
        if not path.is_file():
            raise InputError(f"{folder}: no gallery here.")
        path.unlink()
        return ["all"]
    known = read_gallery(folder)
    for person in people:
        if person not in known.name:
            raise UsageError(f"--forget {person}: not in {path}, which has {', '.join(dict.fromkeys(known.name))}.")
    kept = [k for k, name in enumerate(known.name) if name not in people]
    write_gallery(folder, Known(tuple(known.name[k] for k in kept), known.mean[kept], known.weight[kept]))
    return list(people)
