"""Embeddings of tracks -> people: agglomerative clustering with average linkage.

Two tracks that are seen in one frame are never one person. The two groups that are most alike are merged, again and
again, while they are alike enough. The similarity of two groups is the weighted mean of that of their tracks, which is
the scalar product of the groups' weighted means; so no matrix of all pairs is kept. Merging never makes a third group
more similar than it was, hence all pairs of groups that are each other's most similar one can be merged at once, with
the same result as one after another. The order in which tracks are given does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

THRESHOLD = 0.5
"""Similarity from which two groups are one person (``scripts/measure_identity.py`` shows what other values do)."""

_ROWS = 512  # of similarities that are computed at once


def link(
    means: NDArray[np.float32],
    weights: NDArray[np.floating],
    apart: NDArray[np.int64],
    names: Sequence[str] | None = None,
    threshold: float = THRESHOLD,
) -> NDArray[np.int64]:
    """Group tracks by person.

    Args:
        means: (n, d) embeddings of length 1.
        weights: (n,) above 0.
        apart: (m, 2) numbers of tracks that are not the same person.
        names: of the tracks whose person is known, "" for the others: tracks of one name are one person, tracks of two
            names are not.
        threshold: least similarity, in [-1, 1].

    Returns:
        (n,) number of each track's person; people are numbered in the order of their first tracks.
    """
    group = _named(names or [""] * len(means))
    total = means * np.asarray(weights, np.float64)[:, None]
    groups = _Groups(total, np.asarray(weights, np.float64), np.array(names or [""] * len(means)), apart).merged(group)
    _, group = np.unique(group, return_inverse=True)
    while len(groups.weight):
        merged = _merged(groups, threshold)
        if (merged == np.arange(len(merged))).all():
            break
        groups = groups.merged(merged)
        group = np.unique(merged, return_inverse=True)[1][group]
    return _in_order(group)


class _Groups:
    """Groups of tracks at one stage.

    Args:
        total: (k, d) sums of weighted embeddings.
        weight: (k,) sums of weights.
        name: (k,) "" where it is not known.
        apart: (m, 2) pairs that stay apart.
    """

    def __init__(
        self, total: NDArray[np.float64], weight: NDArray[np.float64], name: NDArray[np.str_], apart: NDArray[np.int64]
    ) -> None:
        self.total, self.weight, self.name = total, weight, name
        both = np.concatenate([apart, apart[:, ::-1]])
        self.apart = both[np.lexsort((both[:, 1], both[:, 0]))]
        self.mean = (total / weight[:, None]).astype(np.float32)

    def merged(self, into: NDArray[np.int64]) -> _Groups:
        """The groups of the next stage: ``into`` (k,) has the same number for those that become one."""
        order = np.argsort(into, kind="stable")
        first = np.flatnonzero(np.diff(into[order], prepend=-1))
        if not len(first):
            return self
        number = np.empty(len(into), np.int64)
        number[order] = np.cumsum(np.diff(into[order], prepend=-1) != 0) - 1
        name = np.zeros(len(first), self.name.dtype)
        known = self.name != ""
        name[number[known]] = self.name[known]
        pairs = np.unique(number[self.apart[self.apart[:, 0] < self.apart[:, 1]]], axis=0)
        total = np.add.reduceat(self.total[order], first, axis=0)
        return _Groups(total, np.add.reduceat(self.weight[order], first), name, pairs)


def _merged(groups: _Groups, threshold: float) -> NDArray[np.int64]:
    """(k,) for each group the smallest number of those that it becomes one with."""
    count, named = len(groups.mean), np.flatnonzero(groups.name != "")
    best = np.full(count, -1, np.int64)
    for start in range(0, count, _ROWS):
        rows = slice(start, min(start + _ROWS, count))
        similar = groups.mean[rows] @ groups.mean.T
        similar[np.arange(rows.stop - start), np.arange(start, rows.stop)] = -np.inf
        first, last = np.searchsorted(groups.apart[:, 0], (start, rows.stop))
        similar[groups.apart[first:last, 0] - start, groups.apart[first:last, 1]] = -np.inf
        for k in named[(named >= start) & (named < rows.stop)]:
            similar[k - start, named] = -np.inf  # one group for each name
        nearest = similar.argmax(axis=1)
        enough = similar[np.arange(len(nearest)), nearest] >= threshold
        best[rows] = np.where(enough, nearest, -1)
    own = np.arange(count)
    mutual = (best >= 0) & (best[best] == own)
    if not mutual.any() and (best >= 0).any():  # equal similarities that rounding put into a circle
        first = int(np.flatnonzero(best >= 0)[0])
        best[best[first]], mutual[[first, best[first]]] = first, True
    return np.where(mutual, np.minimum(own, best), own)


def _named(names: Sequence[str]) -> NDArray[np.int64]:
    """(n,) first numbering: tracks of one name together, every other one by itself."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(name, k) if name else k for k, name in enumerate(names)], np.int64)


def _in_order(group: NDArray[np.int64]) -> NDArray[np.int64]:
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[number]


def similarities(
    means: NDArray[np.float32], weights: NDArray[np.floating], group: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How well each track fits its person, and the person that it is most similar to besides.

    Returns:
        (n,) similarity with the mean of the person's other tracks, nan where there are none; (n,) highest similarity
        with the mean of another person, nan where there is none. Both in [-1, 1].
    """
    count = int(group.max(initial=-1)) + 1
    total = np.zeros((count, means.shape[1]), np.float64)
    weighted = means * np.asarray(weights, np.float64)[:, None]
    np.add.at(total, group, weighted)
    others = total[group] - weighted
    length = np.linalg.norm(others, axis=1)
    alone = np.bincount(group, minlength=count)[group] == 1
    with np.errstate(invalid="ignore", divide="ignore"):
        own = np.where(alone, np.nan, (others * means).sum(axis=1) / length)
    second = np.full(len(means), np.nan)
    centres = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    if count > 1:
        for start in range(0, len(means), _ROWS):
            rows = slice(start, min(start + _ROWS, len(means)))
            found = means[rows] @ centres.T
            found[np.arange(rows.stop - start), group[rows]] = -np.inf
            second[rows] = found.max(axis=1)
    return own, second


def seen_together(row: NDArray[np.int64], face_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """(m, 2) pairs of ids that occur in one frame, the smaller first; rows sorted by frame."""
    found, step = [np.empty((0, 2), np.int64)], 1
    while (same := row[step:] == row[:-step]).any():
        pairs = np.column_stack([face_id[:-step], face_id[step:]])[same]
        found.append(np.unique(np.sort(pairs, axis=1), axis=0))
        step += 1
    return np.unique(np.concatenate(found), axis=0)
