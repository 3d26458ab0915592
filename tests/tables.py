"""Tables whose content is known, written without a video: exact times, gaps, two people, names that need care."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hsemotion_cli.formats.schema import COLUMNS, names_with
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS

RECIPE = {"models": ["mp-blendshapes"]}


def face(frame: int, time: float, face_id: int = 0, **more: Any) -> dict[str, Any]:
    """A row with a face: a smile that comes and goes within two seconds."""
    smile = round(0.5 - 0.5 * math.cos(math.pi * time), 6)
    row: dict[str, Any] = {
        "frame": frame, "time": round(time, 6), "face_id": face_id, "face_detected": 1, "interpolated": 0,
        "det_score": 0.9876, "x": 10.5 + face_id, "y": 20.25, "w": 100.0, "h": 120.0,
        "expression": "happiness" if smile > 0.5 else "neutral", "expression_score": max(smile, round(1 - smile, 6)),
    }  # fmt: skip
    row |= {f"p_{name}": 0.0 for name in EXPRESSIONS[:-1]}
    row |= {"p_happiness": smile, "p_neutral": round(1 - smile, 6), "valence": smile, "arousal": round(smile - 0.5, 6)}
    row |= {f"{unit}_p": round(smile * 0.9, 6) for unit in ACTION_UNITS}
    row |= {f"{unit}_c": int(smile * 0.9 >= 0.5) for unit in ACTION_UNITS}
    return row | more


def nobody(frame: int, time: float) -> dict[str, Any]:
    """A row of a frame without a face."""
    return {"frame": frame, "time": round(time, 6), "face_detected": 0, "interpolated": 0}


def write_table(
    path: Path, rows: Iterable[Mapping[str, Any]], *, start: float | None = 0.0, source: str = "", sidecar: bool = True
) -> Path:
    """Write rows as a CSV table, and the sidecar beside it."""
    rows = list(rows)
    names = names_with({name for row in rows for name in row})
    decimals = {column.name: column.decimals for column in COLUMNS if column.type == "number"}
    lines = [",".join(names)]
    for row in rows:
        lines.append(",".join(cell(row.get(name), decimals.get(name)) for name in names))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if sidecar:
        content = {
            "schema_version": 2,
            "tool": {"name": "hsemotion"},
            "source": {"name": source or f"{path.stem}.mp4", "start": start, "notes": []},
            "recipe": RECIPE,
        }
        path.with_suffix(".json").write_text(json.dumps(content))
    return path


def cell(value: Any, decimals: int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return f"{value:.{decimals}f}" if decimals is not None else str(value)


def times_of(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    return [row["time"] for row in rows]
