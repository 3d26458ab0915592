"""Tables with curves of the tests' own, as annotate would write them."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hsemotion_cli.formats.schema import NAMES
from hsemotion_cli.postprocess.recipe import Recipe

RATE = 25.0

People = Mapping[int, Mapping[str, ArrayLike]]
"""face id -> column -> a value for each frame; a person has no row where all its values are nan."""


def table(
    path: Path, people: People, frames: int, rate: float = RATE, recipe: Recipe | None = None, sidecar: bool = True,
    first: float = 0.0,
) -> Path:  # fmt: skip
    """Write NAME.csv, and the part of NAME.json that analyses read; columns that are not given are empty."""
    extra = [name for columns in people.values() for name in columns if name not in NAMES]
    names = [*NAMES, *dict.fromkeys(extra)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        for k in range(frames):
            common = {"frame": k, "time": f"{first + k / rate:.6f}"}
            rows = []
            for face, columns in people.items():
                cells = {name: np.asarray(values)[k] for name, values in columns.items()}
                if all(isinstance(v, float) and np.isnan(v) for v in cells.values()):
                    continue
                shown = {n: _cell(v) for n, v in cells.items()}
                rows.append({"face_id": face, "face_detected": 1, "interpolated": 0, **shown})
            for row in rows or [{"face_detected": 0, "interpolated": 0}]:
                writer.writerow({**common, **row})
    if sidecar:
        content = {"recipe": (recipe or Recipe.usual()).to_json(), "outputs": {"csv": path.name}}
        path.with_suffix(".json").write_text(json.dumps(content))
    return path


def _cell(value: object) -> str:
    if isinstance(value, (float, np.floating)):
        return "" if np.isnan(value) else f"{value:.6f}"
    return str(value)


def noise(random: np.random.Generator, frames: int, width: float) -> np.ndarray:
    """(frames,) smooth noise with standard deviation 1; ``width`` is that of its Gaussian kernel in frames."""
    kernel = np.exp(-0.5 * (np.arange(-4 * width, 4 * width + 1) / width) ** 2)
    values = np.convolve(random.normal(size=frames + len(kernel) - 1), kernel, "valid")
    return (values - values.mean()) / values.std()
