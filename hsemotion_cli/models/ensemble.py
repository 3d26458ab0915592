"""Several heads on one network: their mean, and how much they disagree.

Heads that were trained alike except for the seed differ where the training data say little, so their disagreement is a
sign of uncertainty (Lakshminarayanan, Pritzel and Blundell 2017, arXiv:1612.01474).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..tasks import DISAGREEMENT, SCORES, TASKS
from .heads import Head

Scores32 = NDArray[np.float32]


def check_members(members: Sequence[Head]) -> None:
    """Raise UsageError unless heads of one network can be averaged: the same tasks, classes and weights beneath."""
    first = members[0]
    for other in members[1:]:
        if other.sha256 == first.sha256:
            raise UsageError(f"--head {other.name}: it is the same head as {first.name}; members need other seeds.")
        classes = {task: part.classes for task, part in first.parts.items()}
        if classes != {task: part.classes for task, part in other.parts.items()} or other.base != first.base:
            raise UsageError(
                f"--head {other.name}: {first.name} is a head for {first.base.model}, too, and heads that are averaged "
                "need the same tasks and classes on the same weights."
            )
    if len(members) > 1 and any(member.temporal for member in members):
        raise UsageError(f"--head {first.name}: temporal heads of one network cannot be averaged; give one of them.")


def average(
    members: Sequence[Head], embeddings: NDArray, outputs: NDArray | None, sound: NDArray | None = None
) -> dict[str, Scores32]:
    """Scores of faces by several heads: their mean by task, and ``tasks.DISAGREEMENT``; those of one head as they are.

    Args:
        embeddings, outputs, sound: as a head takes them.
    """
    given = [member(embeddings, outputs, sound) for member in members]
    if len(given) == 1:
        return given[0]
    found = {
        task: np.mean([one[task].astype(np.float64) for one in given], axis=0).astype(np.float32) for task in given[0]
    }
    apart = np.full((len(embeddings), len(SCORES[DISAGREEMENT])), np.nan, np.float32)
    for task in found:
        apart[:, list(TASKS).index(task)] = np.mean(
            [distance(task, one[task], other[task]) for one, other in combinations(given, 2)], axis=0
        )
    return {**found, DISAGREEMENT: apart}


def distance(task: str, one: NDArray[np.floating], other: NDArray[np.floating]) -> NDArray[np.float64]:
    """(n,) how far apart two scores of a task are; nan where one of them is missing.

    Half the sum of the absolute differences of the expressions, the distance in the plane, the mean absolute difference
    of the units. Classes that one of them lacks do not count.
    """
    difference = np.abs(one.astype(np.float64) - other)
    unknown, known = np.isnan(difference).all(axis=1), np.nan_to_num(difference)
    if task == "expression":
        value = known.sum(axis=1) / 2
    elif task == "valence_arousal":
        value = np.hypot(known[:, 0], known[:, 1])
    else:
        value = known.sum(axis=1) / len(TASKS[task])
    return np.where(unknown, np.nan, value)
