"""Extracted features and heads -> raw scores and sidecars, as ``annotate`` would write them, without decoding again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats import features, raw_scores, sidecar
from ..models.heads import Head
from ..postprocess.recipe import Recipe
from ..runtime.atomic_files import write_together
from ..tasks import ACTION_UNITS, EXPRESSIONS, TASKS
from ..timeline import Timeline

_LAYOUTS: Mapping[int, tuple[str, ...]] = {
    0: (),
    2: ("valence_arousal",),
    12: ("action_units",),
    14: ("valence_arousal", "action_units"),
}
"""Columns of a network's output behind its expressions -> the tasks that they are of, in order."""

Member = tuple[str, Path, Head | None]
"""Name, file of features, and head; None for the outputs of the network itself."""


def write(video: str, members: Sequence[Member], folder: Path) -> Path:
    """Write ``VIDEO.raw.npz`` and ``VIDEO.json`` with the scores of one or two members; returns the first.

    Raises:
        InputError: the members' features are not of the same faces, or have no outputs where they are needed.
    """
    first: tuple[dict[str, NDArray], dict[str, Any]] | None = None
    scores: dict[str, Mapping[str, NDArray]] = {}
    for name, path, head in members:
        columns, facts = features.read(path)
        order = np.lexsort((columns["face_id"], columns["frame"]))
        columns = {key: values[order] for key, values in columns.items()}
        if first is None:
            first = columns, facts
        elif any(not np.array_equal(columns[key], first[0][key]) for key in ("frame", "face_id")):
            raise InputError(
                f"{members[0][1]} and {path} are not of the same faces; extract both from the same images."
            )
        scores[name] = _scores(path, columns, facts, head)
    if first is None:
        raise ValueError("no member")
    columns, facts = first
    recipe = Recipe(
        tuple(scores),
        dict.fromkeys(TASKS, 0.5) if len(scores) == 2 else {},
        thresholds=dict.fromkeys(ACTION_UNITS, 0.5),
    )
    kind = str((facts.get("source") or {}).get("kind", "images"))
    content = {"source": {"name": video, "kind": kind, "width": 1}, "recipe": recipe.to_json()}
    with write_together() as opened:
        with opened(folder / f"{video}.raw.npz") as file:
            raw_scores.write(_timeline(columns, scores), file)
        with opened(folder / f"{video}.json") as file:
            sidecar.write(content, file)
    return folder / f"{video}.raw.npz"


def _scores(
    path: Path, columns: Mapping[str, NDArray], facts: Mapping[str, Any], head: Head | None
) -> Mapping[str, NDArray]:
    outputs = columns.get("outputs")
    if head is not None:
        try:
            return head(columns["embedding"].astype(np.float32), outputs)
        except ValueError as error:
            raise InputError(f"{path}: not what {head.name} was trained on ({error}).") from error
    classes = list(facts.get("classes") or [])
    rest = -1 if outputs is None else outputs.shape[1] - len(classes)
    if outputs is None or rest not in _LAYOUTS or not outputs.shape[1]:
        raise InputError(f"{path}: the network's own scores are not in it, or not of a known kind; extract it again.")
    z = outputs.astype(np.float64)
    found: dict[str, NDArray] = {}
    if classes:
        powers = np.exp(z[:, : len(classes)] - z[:, : len(classes)].max(axis=1, keepdims=True))
        expression = np.full((len(z), len(EXPRESSIONS)), np.nan, np.float32)
        expression[:, [EXPRESSIONS.index(name) for name in classes]] = powers / powers.sum(axis=1, keepdims=True)
        found["expression"] = expression
    start = len(classes)
    for task in _LAYOUTS[rest]:
        own = z[:, start : start + len(TASKS[task])]
        start += len(TASKS[task])
        values = np.clip(own, -1, 1) if task == "valence_arousal" else 0.5 + 0.5 * np.tanh(0.5 * own)
        found[task] = values.astype(np.float32)
    return found


def _timeline(columns: Mapping[str, NDArray], scores: Mapping[str, Mapping[str, NDArray]]) -> Timeline:
    index, first, row = np.unique(columns["frame"].astype(np.int64), return_index=True, return_inverse=True)
    faces = len(row)
    return Timeline(
        index,
        columns["time"].astype(np.float64)[first],
        row.astype(np.int64),
        columns["face_id"].astype(np.int64),
        np.full(faces, np.nan, np.float32),
        np.tile(np.array([0, 0, 1, 1], np.float32), (faces, 1)),
        scores,
    )
