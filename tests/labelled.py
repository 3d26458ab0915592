"""Makes small sets of labelled images in memory, whose labels and images are known."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from hsemotion_cli.training.dataset import Dataset, pack


def make(pictures: Sequence[np.ndarray], classes: int = 8, **columns: object) -> Dataset:
    """Samples of grey or RGB images; what is not given is unlabelled, unseen, and of the training part.

    Args:
        columns: as in ``Samples``; a text stands for all rows.
    """
    count = len(pictures)
    encoded, offsets = pack([png(picture) for picture in pictures])
    found: dict[str, np.ndarray] = {
        "points": np.full((count, 5, 2), np.nan, np.float32),
        "boxes": np.full((count, 4), np.nan, np.float32),
        "blendshapes": np.full((count, 52), np.nan, np.float32),
        "expression": np.full((count, classes), np.nan, np.float32),
        "valence_arousal": np.full((count, 2), np.nan, np.float32),
        "action_units": np.full((count, 12), np.nan, np.float32),
        "clear": np.ones(count, bool),
    }
    texts = {"source": "made", "subject": "", "part": "train"} | {k: v for k, v in columns.items() if type(v) is str}
    found |= {name: np.full(count, text) for name, text in texts.items()}
    for name, values in columns.items():
        if type(values) is not str:
            kind = {"clear": bool, "source": str, "subject": str, "part": str}.get(name, np.float32)
            found[name] = np.asarray(values, kind)
    return Dataset(encoded, offsets, **found)


def png(picture: np.ndarray) -> bytes:
    """A lossless file of a grey or RGB image."""
    stored = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", stored)[1].tobytes()


def onehot(classes: np.ndarray, count: int = 8) -> np.ndarray:
    """(n, count) shares of labels; nan for the label -1."""
    shares = np.eye(count, dtype=np.float32)[np.maximum(classes, 0)]
    shares[np.asarray(classes) < 0] = np.nan
    return shares
