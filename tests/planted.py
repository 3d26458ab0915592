"""A synthetic s-Aff-Wild2 with features of three networks: the same labels, planted under more and more noise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import challenge
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hsemotion_cli.evaluation.ground_truth import Annotations
from hsemotion_cli.tasks import EXPRESSIONS

NETWORKS = {"ddamfn-mtl": ("ddamfnet_8_mtl", 1.2), "enet-mtl": ("enet_b0_8_va_mtl", 2.0), "mbf": ("mbf_va_mtl", 4.0)}
"""Network -> its model, and the noise of its features: the less, the better its row has to be."""


def write_features(path: Path, labels: Annotations, model: str, noise: float, seed: int) -> None:
    """Features as extract writes them, in which the labels are planted under noise."""
    random = np.random.default_rng(seed)
    n = len(labels.frames)
    signal = np.column_stack(
        [np.eye(8)[labels.expression] * 2, labels.valence_arousal * 2, labels.action_units * 2 - 1]
    )
    # Large, because the published epochs are few steps on so few frames.
    embedding = (10 * (signal + random.normal(0, noise, signal.shape))).astype(np.float16)
    affect = labels.valence_arousal + random.normal(0, noise / 2, (n, 2))
    outputs = np.column_stack([random.normal(0, 1, (n, 8)), affect]).astype(np.float32)

    def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=kind), values.shape[1])

    table = pa.table({
        "frame": pa.array(labels.frames), "time": pa.array(labels.frames / 25.0), "face_id": pa.array(np.zeros(n, int)),
        "embedding": lists(embedding, pa.float16()), "outputs": lists(outputs, pa.float32()),
    })  # fmt: skip
    facts = {
        "model": model, "dtype": "float16", "source": {"kind": "images", "name": labels.video}, "given_crops": True,
        "weights": {"sha256": "0" * 64}, "crop": "face-112", "classes": list(EXPRESSIONS[:8]),
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({"hsemotion": json.dumps(facts)}), path)


def plant(
    root: Path,
    seed: int,
    noise: Mapping[str, float] | None = None,
    *,
    videos: int = 10,
    frames: int = 500,
    hold: int = 12,
) -> challenge.Challenge:
    """Lists in ``root / "data"``, and features of all networks in ``root / "run"``, where a run finds them.

    Args:
        noise: network -> the noise of its features; those of ``NETWORKS`` if None.

    The others are as for ``challenge.make_mtl``.
    """
    made = challenge.make_mtl(
        root / "data", videos=videos, frames=frames, validation=3, hold=hold, masked=0.1, paint=None, seed=seed
    )
    (root / "data" / "cropped_aligned").mkdir()
    for k, (name, labels) in enumerate(made.beneath.items()):
        (root / "data" / "cropped_aligned" / name).mkdir()
        for j, (network, (model, usual)) in enumerate(NETWORKS.items()):
            path = root / "run" / "features" / network / f"{name}.features.parquet"
            own = usual if noise is None else noise[network]
            write_features(path, labels, model, own, 97 * k + j + 10_000 * seed)
    return made
