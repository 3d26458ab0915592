"""Training losses: one per task, over the rows that have a label for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, shares: Tensor, weights: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy with class shares as targets (one-hot rows are ordinary labels).

    Args:
        logits: (n, c).
        shares: (n, c), rows with sum 1; rows of nan are left out.
        weights: (c,) class weights, as in the class-weighted loss of HSEmotion (max / own count).
        smoothing: share of the targets that is spread evenly over the classes.

    Returns:
        a scalar; 0 if no row has a label.
    """
    known = ~shares.isnan().any(dim=1)
    if not known.any():
        return logits.sum() * 0
    targets = shares[known] * (1 - smoothing) + smoothing / shares.shape[1]
    if weights is not None:
        targets = targets * weights
    # Divided by the sum of the weights, like torch's weighted cross-entropy.
    return -(targets * logits[known].log_softmax(dim=1)).sum() / targets.sum()


def one_minus_ccc(prediction: Tensor, truth: Tensor) -> Tensor:
    """1 - mean concordance correlation coefficient over the columns (Lin 1989), with population moments.

    Args:
        prediction, truth: (n, k); rows with a nan in ``truth`` are left out.

    Returns:
        a scalar in [0, 2]; 0 if fewer than two rows have a label.
    """
    known = ~truth.isnan().any(dim=1)
    if known.sum() < 2:
        return prediction.sum() * 0
    x, y = prediction[known], truth[known]
    dx, dy = x - x.mean(dim=0), y - y.mean(dim=0)
    numerator = 2 * (dx * dy).mean(dim=0)
    denominator = dx.square().mean(dim=0) + dy.square().mean(dim=0) + (x.mean(dim=0) - y.mean(dim=0)).square()
    return 1 - (numerator / (denominator + 1e-8)).mean()


def binary_cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean binary cross-entropy over the known labels.

    Args:
        logits: (n, k).
        truth: (n, k) in [0, 1]; nan is left out.
        weights: (2, k) of absence and of presence, HSEmotion's w0^(1 - y) w1^y.
    """
    known = ~truth.isnan()
    if not known.any():
        return logits.sum() * 0
    y = torch.where(known, truth, torch.zeros_like(truth))
    loss = functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
    if weights is not None:
        loss = loss * weights[0] ** (1 - y) * weights[1] ** y
    return loss[known].mean()


def attention_similarity(maps: Sequence[Tensor]) -> Tensor:
    """Similarity of DDAMFN's attention maps: number of pairs / (sum of their mean squared differences + epsilon).

    From Zhang et al. 2023 (SainingZhang/DDAMFN, training scripts), where it is added with weight 0.1.
    """
    pairs = [(one, other) for k, one in enumerate(maps) for other in maps[k + 1 :]]
    total = torch.stack([functional.mse_loss(one, other) for one, other in pairs]).sum()
    return len(pairs) / (total + torch.finfo(total.dtype).eps)
