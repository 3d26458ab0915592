"""Structural re-parameterisation: equivalent layers that inference runtimes compute faster.

Only for export: in training, normalising two profiles separately is not the same as normalising them together, and
the zeros that pad a kernel would be trained as well.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architectures import CoordinateAttention, DirectionAttention, MixedDepthwise

if TYPE_CHECKING:
    from .architectures import Network


def reparameterise(network: Network) -> Network:
    """A copy of a network for export, in evaluation mode; only DDAMFN's layers differ.

    DDAMFN has many layers with small feature maps, so much of the time goes into splitting and concatenating them, and
    into converting between the blocked layout of the convolutions and the plain one that other nodes need.
    """
    copied = copy.deepcopy(network).eval()
    for parent in list(copied.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, MixedDepthwise):
                setattr(parent, name, _joined(layer))
            elif isinstance(layer, CoordinateAttention):
                setattr(parent, name, _Coordinate(layer))
            elif isinstance(layer, DirectionAttention):
                setattr(parent, name, _Direction(layer))
    return copied


def _joined(mixed: MixedDepthwise) -> nn.Conv2d:
    """Kernels of several sizes as one convolution of the largest size; smaller kernels are padded with zeros.

    It needs up to twice as many multiplications, but no splitting and concatenation of channels, and no groups of 170
    channels, which do not fill whole vectors.
    """
    convolutions = [layer for layer in mixed.mixed_depthwise_conv if isinstance(layer, nn.Conv2d)]
    size, channels = max(layer.kernel_size[0] for layer in convolutions), sum(mixed.split)
    joined = nn.Conv2d(
        channels, channels, size, convolutions[0].stride[0], padding=size // 2, groups=channels, bias=False
    )
    kernels = [functional.pad(layer.weight, [(size - layer.kernel_size[0]) // 2] * 4) for layer in convolutions]
    joined.weight = nn.Parameter(torch.cat(kernels), requires_grad=False)
    return joined


class _Gates(nn.Module):
    """The part that both coordinate attentions share; row and column profiles are processed separately.

    Both use the same 1 x 1 convolution and normalisation, which act on each position alone.
    """

    def __init__(self, attention: CoordinateAttention | DirectionAttention) -> None:
        super().__init__()
        self.conv1, self.bn1 = attention.conv1, attention.bn1
        self.conv2, self.conv3 = attention.conv2, attention.conv3

    def forward(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Profiles (n, c, h, 1), (n, c, 1, w) -> gate in (0, 1) for each value of the map (n, c, h, w)."""
        rows, columns = (functional.hardswish(self.bn1(self.conv1(profile))) for profile in (rows, columns))
        return self.conv3(columns).sigmoid() * self.conv2(rows).sigmoid()


class _Coordinate(nn.Module):
    """``CoordinateAttention``, with pooling, which supports the blocked layout, and one product of feature maps."""

    def __init__(self, attention: CoordinateAttention) -> None:
        super().__init__()
        self.gates = _Gates(attention)

    def forward(self, x: Tensor) -> Tensor:
        height, width = int(x.shape[2]), int(x.shape[3])  # a graph is for one size
        return x * self.gates(functional.avg_pool2d(x, (1, width)), functional.avg_pool2d(x, (height, 1)))


class _Direction(nn.Module):
    """``DirectionAttention``."""

    def __init__(self, attention: DirectionAttention) -> None:
        super().__init__()
        self.Linear_h, self.Linear_w = attention.Linear_h, attention.Linear_w
        self.gates = _Gates(attention)

    def forward(self, x: Tensor) -> Tensor:
        return self.gates(self.Linear_h(x), self.Linear_w(x))
