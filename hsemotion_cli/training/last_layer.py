"""The last layer for expressions, fitted again on the finished embeddings with classes weighed more evenly.

Networks learn good embeddings from images as they are distributed, but a last layer that is best with even classes
(Kang et al. 2020, arXiv:1910.09217). It is a multinomial logistic regression: convex, so its result does not depend on
a seed.
"""

from __future__ import annotations

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
        weights: (n,) how much each image counts, before its classes are weighed.
        refit: powers and decay.

    Returns:
        (c, d) weights and (c,) biases for embeddings as they are, float64.
    """
    counts = np.maximum(shares.sum(axis=0, dtype=np.float64), 1.0)
    importance = weights * (shares @ (counts / counts.sum()) ** -refit.class_power)
    mean, deviation = embeddings.mean(axis=0, dtype=np.float64), embeddings.std(axis=0, dtype=np.float64) + 1e-3
    x = torch.from_numpy((embeddings - mean) / deviation)
    y = torch.from_numpy(shares.astype(np.float64) * (importance / importance.sum())[:, None])
    layer = nn.Linear(x.shape[1], y.shape[1], dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = -(y * torch.log_softmax(layer(x), dim=1)).sum() + refit.weight_decay * layer.weight.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        scaled = layer.weight / torch.from_numpy(deviation)
        return scaled, layer.bias - scaled @ torch.from_numpy(mean)


def last_linear(network: Network) -> nn.Linear:
    """The last linear layer of a network's head; its first rows are the expressions."""
    return [module for module in network.head.modules() if isinstance(module, nn.Linear)][-1]
