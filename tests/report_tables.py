"""Tables whose content is known, and clips that show their own frame number, for the pages made from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import clips
import numpy as np

from hsemotion_cli.formats.schema import NAMES
from hsemotion_cli.tasks import ACTION_UNITS, BASIC_EXPRESSIONS

BITS = 8  # of a frame number in an image


def face(face_id: int, number: int, **given: Any) -> dict[str, Any]:
    """A row of a face with values that depend on id and frame number alone."""
    random = np.random.default_rng((face_id, number))
    shares = random.dirichlet(np.full(len(BASIC_EXPRESSIONS), 0.4))
    best = int(shares.argmax())
    row: dict[str, Any] = {"face_id": face_id, "face_detected": 1, "interpolated": 0, "det_score": 0.9}
    row |= {"x": 10 + 40 * (face_id % 3), "y": 12, "w": 30, "h": 40}
    row |= {f"p_{name}": round(float(p), 6) for name, p in zip(BASIC_EXPRESSIONS, shares, strict=True)}
    row |= {"expression": BASIC_EXPRESSIONS[best], "expression_score": round(float(shares[best]), 6)}
    row |= {"valence": round(float(random.uniform(-1, 1)), 6), "arousal": round(float(random.uniform(-1, 1)), 6)}
    for unit in ACTION_UNITS:
        p = round(float(random.uniform()), 6)
        row |= {f"{unit}_p": p, f"{unit}_c": int(p >= 0.5)}
    return {**row, **given}


def write_table(path: Path, frames: Sequence[tuple[int, float, Sequence[Mapping[str, Any]]]]) -> Path:
    """A CSV table of (frame, time, rows of its faces); a frame without rows has one with empty cells."""
    lines = [",".join(NAMES)]
    for number, time, faces in frames:
        for row in faces or [{"face_detected": 0, "interpolated": 0}]:
            cells = {"frame": number, "time": time, **row}
            lines.append(",".join(str(cells.get(name, "")) for name in NAMES))
    path.write_text("\n".join(lines) + "\n")
    return path


def write_sidecar(path: Path, **source: Any) -> None:
    """The sidecar of a table that is not smoothed; ``source`` as in real ones."""
    recipe = {"models": ["mp-blendshapes"], "smoothing": {}, "max_gap": 0.5, "interpolate": 0.0, "thresholds": {}}
    path.write_text(json.dumps({"tool": {"name": "hsemotion"}, "recipe": {**recipe, "blend": {}}, "source": source}))


def numbered(number: int, width: int = 320, height: int = 180) -> np.ndarray:
    """An image that shows its number as black and white bars, lowest bit on the left, as high as the image."""
    bits = [(number >> k) & 1 for k in range(BITS)]
    bars = np.repeat(np.array(bits, np.uint8) * 220 + 16, width // BITS)
    return np.ascontiguousarray(np.broadcast_to(bars[None, :, None], (height, width, 3)))


def number_in(image: np.ndarray) -> int:
    """The number that an image of ``numbered`` shows, at any size."""
    grey = image[..., :3].mean(axis=2)
    middle = grey[int(0.85 * len(grey)) : int(0.95 * len(grey))].mean(axis=0)
    places = ((np.arange(BITS) + 0.5) * len(middle) / BITS).astype(int)
    return int(sum((middle[place] > 128) << k for k, place in enumerate(places)))


def varying_times(count: int, start: float = 0.0) -> list[float]:
    """Time stamps whose distances vary from 20 to 120 ms."""
    steps = np.random.default_rng(4).integers(20, 120, count - 1) / 1000
    return [round(float(t), 6) for t in start + np.concatenate([[0.0], np.cumsum(steps)])]


def numbered_clip(path: Path, times: Sequence[float], **given: Any) -> Path:
    """A clip whose frames show their numbers at these times."""
    clips.write(path, [numbered(k) for k in range(len(times))], times, **given)
    return path
