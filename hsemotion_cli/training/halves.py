"""The lower part of one face under the upper part of another, so that a network reads brows beside any mouth.

Stills are taken at the height of an expression. In video people talk, and a mouth that says "cheese" in anger is not a
smile; a network that has seen stills only takes it for one. Here mouths come under eyes that they do not belong to, and
the label follows the half that tells the expression better.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..tasks import ACTION_UNITS, BASIC_EXPRESSIONS

_UPPER, _LOWER = (
    dict(zip(BASIC_EXPRESSIONS, strengths, strict=True))
    for strengths in (
        (0.25, 0.8, 0.35, 0.8, 0.2, 0.7, 0.5, 0.1),
        (0.2, 0.2, 0.6, 0.2, 0.7, 0.3, 0.5, 0.4),
    )
)
"""How well either half of a face tells an expression; only their ratios count.

Anger, fear and sadness are told from the upper half, happiness and disgust from the lower one, surprise from either
(Calder, Young, Keane and Dean 2000, doi:10.1037/0096-1523.26.2.527). The paper gives the order; the numbers are ours.
Contempt is one corner of the mouth.
"""

UPPER_UNITS = ("AU01", "AU02", "AU04", "AU06", "AU07")
"""Action units of brows, lids and cheeks; the others are below the split."""

_SPLIT = (0.55, 0.65)
"""Where a crop ``face-N`` is split, as shares of its height: between nose tip (0.54) and mouth (0.73)."""

_EDGE = 0.04
"""Half the height over which one face goes over into the other."""


def composed(
    images: Tensor, labels: dict[str, Tensor], classes: Sequence[str], chance: float, rng: np.random.Generator
) -> tuple[Tensor, dict[str, Tensor]]:
    """Some of a batch's faces with the lower part of another face of the batch.

    Expression, valence and arousal are those of both faces, in shares that say how well each half tells its face's
    expression; without expressions the shares are even. Action units are those of the half in which they are. The
    other face is made as bright as the first where they meet. A label that one of the two lacks, the whole lacks.

    Args:
        images: (n, 3, size, size), crops ``face-N``, in any linear scale.
        labels: task -> (n, columns), nan where unlabelled.
        classes: names of the columns of "expression".
        chance: for each picture.

    Returns:
        new images and labels; the same objects where nothing was changed.
    """
    count, size = len(images), images.shape[2]
    chosen = np.flatnonzero(rng.random(count) < chance)
    partners, splits = rng.permutation(count)[chosen], rng.uniform(*_SPLIT, len(chosen))
    if not len(chosen):
        return images, labels
    rows = torch.arange(size).view(1, 1, size, 1) + 0.5
    split = torch.from_numpy(splits.astype(np.float32)).view(-1, 1, 1, 1) * size
    lower = ((rows - split) / (2 * _EDGE * size) + 0.5).clamp(0, 1)
    own, other = images[chosen], images[partners]
    seam = lower * (1 - lower)
    lighter = ((own - other) * seam).sum((1, 2, 3), keepdim=True) / (3 * size * seam.sum((1, 2, 3), keepdim=True))
    images = images.clone()
    images[chosen] = own * (1 - lower) + (other + lighter) * lower
    share = _shares(labels, classes, chosen, partners)
    whose = torch.tensor([[float(unit in UPPER_UNITS) for unit in ACTION_UNITS]])
    found = {}
    for task, values in labels.items():
        weights = whose if task == "action_units" else share
        found[task] = values.clone()
        found[task][chosen] = weights * values[chosen] + (1 - weights) * values[partners]
    return images, found


def _shares(labels: dict[str, Tensor], classes: Sequence[str], chosen: np.ndarray, partners: np.ndarray) -> Tensor:
    """(n, 1): how much of the label is that of the upper face."""
    if "expression" not in labels:
        return torch.full((len(chosen), 1), 0.5)
    upper, lower = (torch.tensor([strength.get(name, 0.3) for name in classes]) for strength in (_UPPER, _LOWER))
    above = (labels["expression"][chosen] * upper).sum(1, keepdim=True)
    below = (labels["expression"][partners] * lower).sum(1, keepdim=True)
    return above / (above + below)
