"""The last layer for expressions and action units, fitted again on the finished embeddings with even classes.

Networks learn good embeddings from images as they are distributed, but a last layer that is best with even classes
(Kang et al. 2020, arXiv:1910.09217). It is a logistic regression: multinomial for expressions, one per action unit.
Both are convex, so the result does not depend on a seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..models.architectures import Network
from .config import RefitConfig

_ITERATIONS = 400


def fit_last_layer(
    embeddings: NDArray[np.floating],
    shares: NDArray[np.floating],
    weights: NDArray[np.floating],
    refit: RefitConfig,
) -> tuple[Tensor, Tensor]:
    """Minimise the weighted cross-entropy plus the decay times the squared weights, of standardised embeddings.

    Args:
        embeddings: (n, d).
        shares: (n, c), rows with sum 1.
        weights: (n,) how much each image counts, before its classes are weighted.
        refit: powers and decay.

    Returns:
        (c, d) weights and (c,) biases for embeddings as they are, float64.
    """
    y = torch.from_numpy(shares.astype(np.float64) * class_weighted(shares, weights, refit)[:, None])

    def cross_entropy(z: Tensor) -> Tensor:
        return -(y * torch.log_softmax(z, dim=1)).sum()

    return _minimised(cross_entropy, embeddings, shares.shape[1], refit.weight_decay)


def fit_action_units(
    embeddings: NDArray[np.floating],
    units: NDArray[np.floating],
    weights: NDArray[np.floating],
    refit: RefitConfig,
) -> tuple[Tensor, Tensor]:
    """As ``fit_last_layer``, with the sum of the binary cross-entropies of (n, 12) probabilities of action units.

    Args:
        weights: (n,) how much each image counts; those of ``class_weighted``.
    """
    y, w = torch.from_numpy(units.astype(np.float64)), torch.from_numpy(weights / weights.sum())[:, None]

    def binary_cross_entropy(z: Tensor) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(z, y, w, reduction="sum")

    return _minimised(binary_cross_entropy, embeddings, units.shape[1], refit.weight_decay)


def class_weighted(
    shares: NDArray[np.floating], weights: NDArray[np.floating], refit: RefitConfig
) -> NDArray[np.float64]:
    """(n,) weights of images with (n, c) shares after the classes are weighted; their sum is 1.

    An image without an expression label (a row of nan) counts like a labelled one on average.
    """
    known = ~np.isnan(shares).any(axis=1)
    counts = np.maximum(shares[known].sum(axis=0, dtype=np.float64), 1.0)
    factors = shares[known] @ (counts / counts.sum()) ** -refit.class_power
    importance = np.array(weights, np.float64)
    importance[known] *= factors * (weights[known].sum() / (weights[known] * factors).sum())
    return importance / importance.sum()


def _minimised(
    loss_of: Callable[[Tensor], Tensor], embeddings: NDArray[np.floating], outputs: int, decay: float
) -> tuple[Tensor, Tensor]:
    """The linear layer of standardised embeddings with the least loss, rewritten for embeddings as they are."""
    mean, deviation = embeddings.mean(axis=0, dtype=np.float64), embeddings.std(axis=0, dtype=np.float64) + 1e-3
    x = torch.from_numpy((embeddings - mean) / deviation)
    layer = nn.Linear(x.shape[1], outputs, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = loss_of(layer(x)) + decay * layer.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        scaled = layer.weight / torch.from_numpy(deviation)
        return scaled, layer.bias - scaled @ torch.from_numpy(mean)


def last_linear(network: Network) -> nn.Linear:
    """The last linear layer of a network's head; its first rows are the expressions."""
    return [module for module in network.head.modules() if isinstance(module, nn.Linear)][-1]
