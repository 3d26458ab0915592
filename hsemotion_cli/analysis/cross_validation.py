"""What a calibration gains on people, or recordings, that it was not fitted to, and whether that is beyond chance."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.resampling import interval, resample
from .calibration import Choice, Coded, Sample, counts, fit, score
from .recordings import Floats

FOLDS = 10
"""At most; with more groups, several stay together."""

BEYOND_CHANCE = 0.05
"""Largest p of a gain that counts."""

_EXACT = 12
"""Groups up to which every exchange is tried; with more, random ones are."""


@dataclass(frozen=True, slots=True)
class Gain:
    """Of one part, on held-out groups.

    Attributes:
        part: of ``calibration.PARTS``.
        before: score with the defaults.
        after: score with what was fitted to the other groups.
        low, high: 95 % interval of the gain by bootstrap over groups.
        p: share of exchanges of before and after within groups that gain at least as much (one-sided).
        groups: number of people or recordings.
    """

    part: str
    before: float
    after: float
    low: float
    high: float
    p: float
    groups: int

    @property
    def beyond_chance(self) -> bool:
        """Whether the gain is above 0 and p at most ``BEYOND_CHANCE``."""
        return self.after > self.before and self.p <= BEYOND_CHANCE


def cross_validate(
    samples: Sequence[Sample], coded: Coded, seed: int = 0, draws: int = 1000,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[Gain]:  # fmt: skip
    """The gain of each part; none with fewer than two groups.

    Args:
        seed: of folds, bootstrap and exchanges.
        draws: bootstrap resamples, and exchanges where there are too many to try all.
    """
    names = sorted({sample.group for sample in samples})
    if len(names) < 2:
        return []
    order = np.random.default_rng(seed).permutation(len(names))
    folds = [{names[k] for k in part} for part in np.array_split(order, min(FOLDS, len(names)))]
    before: dict[str, dict[str, Floats]] = {}
    after: dict[str, dict[str, Floats]] = {}
    for done, fold in enumerate(folds, 1):
        fitted = fit([sample for sample in samples if sample.group not in fold], coded)
        for name in sorted(fold):
            own = [sample for sample in samples if sample.group == name]
            before[name], after[name] = counts(own, coded, Choice()), counts(own, coded, fitted)
        if progress:
            progress(done, len(folds), "held out")
    return [_gain(part, names, before, after, seed, draws) for part in before[names[0]]]


def _gain(
    part: str, names: Sequence[str], before: Mapping[str, Mapping[str, Floats]],
    after: Mapping[str, Mapping[str, Floats]], seed: int, draws: int,
) -> Gain:  # fmt: skip
    pair = np.stack([[before[name][part], after[name][part]] for name in names])  # (groups, 2, ...)
    total = pair.sum(axis=0)
    observed = score(part, total[1]) - score(part, total[0])
    drawn = [np.tensordot(weights, pair, axes=1) for weights in resample(names, draws, seed)]
    gains = np.array([score(part, both[1]) - score(part, both[0]) for both in drawn])
    low, high = interval(gains)
    return Gain(
        part,
        score(part, total[0]),
        score(part, total[1]),
        float(low),
        float(high),
        _p(part, pair, observed, seed, draws),
        len(names),
    )


def _p(part: str, pair: Floats, observed: float, seed: int, draws: int) -> float:
    """One-sided p of an exchange test: within each group, before and after are as likely to be either."""
    groups = len(pair)
    if groups <= _EXACT:
        exchanges = np.array(list(itertools.product((0, 1), repeat=groups)))
    else:
        random = np.random.default_rng(seed).integers(0, 2, (draws, groups))
        exchanges = np.concatenate([np.zeros((1, groups), np.int64), random])
    at = np.arange(groups)
    higher = 0
    for exchange in exchanges:
        one, other = pair[at, exchange].sum(axis=0), pair[at, 1 - exchange].sum(axis=0)
        higher += score(part, other) - score(part, one) >= observed - 1e-12
    return higher / len(exchanges)
