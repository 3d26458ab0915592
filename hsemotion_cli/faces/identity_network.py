"""Face crops -> embeddings that tell people apart: MobileFaceNet in ONNX Runtime, loaded when it is first used.

Embeddings are biometric data. They are made only where people are to be identified, and are not in tables.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..domain import Image
from ..errors import ModelUnavailable
from ..models import onnx_graphs

FILE, SHA256 = "identity.onnx", "adf65b1fdfe6df093ec8cd6378c57956e79a7653c0948d3abba7b20e7c9bd186"
"""The network among the assets (``scripts/convert_identity.py`` makes it), and its hash."""

CROP = "aligned-112"
"""Crop recipe of its input: ArcFace's template at 112 pixels.

``scripts/measure_identity.py`` compares crops: larger or smaller faces, or ones placed higher, are told apart worse.
"""

SIZE = 192
"""Numbers of an embedding."""

_BATCH = 16


def embed(crops: Sequence[Image]) -> NDArray[np.float32]:
    """Embeddings of faces.

    Args:
        crops: n faces, (112, 112, 3) uint8 RGB each, cut out by ``CROP``.

    Returns:
        (n, 192), each of length 1; the scalar product of two is higher for faces of the same person.

    Raises:
        ModelUnavailable: the network is missing from the installation or damaged.
    """
    found = [np.empty((0, SIZE), np.float32)]
    for start in range(0, len(crops), _BATCH):
        images = np.stack(crops[start : start + _BATCH]).transpose(0, 3, 1, 2).astype(np.float32)
        images = (images - np.float32(127.5)) / np.float32(128)
        found += _session().run(None, {"input": np.ascontiguousarray(images)})
    return np.concatenate(found)


@functools.cache
def _session() -> Any:
    try:
        content = files("hsemotion_cli").joinpath("assets", FILE).read_bytes()
    except OSError as error:
        raise ModelUnavailable(f"{FILE} is missing from the installation; reinstall hsemotion.") from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ModelUnavailable(f"{FILE} is damaged; reinstall hsemotion.")
    return onnx_graphs.session(onnx_graphs.with_fast_prelu(content), threads=1)
