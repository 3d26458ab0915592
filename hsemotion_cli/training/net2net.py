"""A MobileFaceNet's weights -> a DDAMFN to go on training from.

DDAMFN's MixedFeatureNet is a MobileFaceNet with more blocks, kernels of several sizes and attention. So every layer of
the smaller network has its place in the larger one, where it is put; blocks that have no counterpart begin as if they
were not there, and channels that have none begin without an effect on those that have (Chen, Goodfellow and Shlens
2016, arXiv:1511.05641, do the same with networks that compute exactly what they did before). Here they do not: DDAMFN
has no activation behind its depth-wise kernels, and its attention begins with gates around a quarter. Training mends
that soon.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..models.architectures import DDAMFN, FirstMobileFaceNet, MixedBlock, MixedDepthwise


@dataclass(slots=True)
class _Layer:
    """A convolution of the smaller network with its normalisation and, where it has one, its activation."""

    kernel: Tensor
    norm: Any
    slopes: Tensor | None = None

    @property
    def scale(self) -> Tensor:
        """(outputs,) by which the normalisation multiplies."""
        return self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()

    def affine(self) -> tuple[Tensor, Tensor]:
        """A 1 x 1 convolution with its normalisation as matrix (outputs, inputs) and vector (outputs,)."""
        return self.kernel[:, :, 0, 0] * self.scale[:, None], self.norm.bias - self.scale * self.norm.running_mean


@torch.no_grad()
def widen(small: FirstMobileFaceNet, large: DDAMFN) -> None:
    """Put the weights of one into the other, which keeps its random ones where there is nothing to put.

    Args:
        small: ready to infer or not; it is not changed.
        large: changed in place; has as many outputs, and may be for pictures of another size.
    """
    stem, between, first, *blocks, last, over_map, after = _grouped(_layers(small))
    features: Any = large.features
    _put(features[0], stem[0])
    _put(features[1], between[0])
    _put_block(features[2], _behind(first[0], blocks[0]))
    rest = iter(blocks[1:])
    for row, count in ((3, 4), (5, 6), (7, 2)):
        _put_row(features[row].model, [next(rest) for _ in range(count)])
        if row < 7:
            _put_block(features[row + 1], next(rest))
    _put(features[8], last[0])
    _put(large.Linear, _Layer(fitted(over_map[0].kernel, large.Linear.conv.weight), over_map[0].norm))
    matrix, vector = after[0].affine()  # a linear layer before the last one is part of it
    given: Any = small.fc
    head: Any = large.fc
    head.weight.copy_(given.weight @ matrix)
    head.bias.copy_(given.weight @ vector + given.bias)


def fitted(kernel: Tensor, like: Tensor) -> Tensor:
    """A kernel of the wanted shape; one over the whole last map is resampled to another size of map.

    It then answers to a map as the given one would to that map resampled to its own size, so it is its product with
    the transposed matrix of that resampling, which is the gradient.
    """
    if kernel.shape[2:] != like.shape[2:] and kernel.shape[:2] == like.shape[:2]:
        with torch.enable_grad():
            probe = torch.zeros_like(like, requires_grad=True)
            resampled = functional.interpolate(probe, kernel.shape[2:], mode="bilinear", antialias=True)
            kernel = torch.autograd.grad(resampled, probe, kernel)[0]
    return shaped(kernel, like)


def shaped(values: Tensor, like: Tensor) -> Tensor:
    """The first, which must have the shape of the second; raises ValueError."""
    if values.shape != like.shape:
        raise ValueError(f"a weight of shape {tuple(values.shape)} where {tuple(like.shape)} is expected")
    return values


def _layers(network: FirstMobileFaceNet) -> list[_Layer]:
    found: list[_Layer] = []
    kernel = torch.empty(0)
    for module in network.features.modules():
        if isinstance(module, nn.Conv2d):
            kernel = module.weight
        elif isinstance(module, nn.BatchNorm2d):
            found.append(_Layer(kernel, module))
        elif isinstance(module, nn.PReLU):
            found[-1].slopes = module.weight
    return found


def _grouped(layers: Sequence[_Layer]) -> Iterator[list[_Layer]]:
    """Three single layers, the fifteen blocks of three, three single layers."""
    rest = iter(layers)
    for count in (1, 1, 1, *(3,) * 15, 1, 1, 1):
        yield [next(rest) for _ in range(count)]


def _behind(linear: _Layer, block: list[_Layer]) -> list[_Layer]:
    """A block that also does what the 1 x 1 convolution without activation before it does."""
    matrix, vector = linear.affine()
    up = block[0]
    norm = copy.deepcopy(up.norm)
    norm.running_mean -= up.kernel[:, :, 0, 0] @ vector
    return [_Layer((up.kernel[:, :, 0, 0] @ matrix)[:, :, None, None], norm, up.slopes), *block[1:]]


def _put_row(blocks: Sequence[MixedBlock], given: list[list[_Layer]]) -> None:
    """Residual blocks, spread over a row of more of them; the others add nothing yet."""
    places = [round(k * len(blocks) / len(given)) for k in range(len(given))]
    for block in blocks:
        block.project.bn.weight.zero_()
    for place, layers in zip(places, given, strict=True):
        _put_block(blocks[place], layers)


def _put_block(block: MixedBlock, layers: list[_Layer]) -> None:
    up, depthwise, down = layers
    inner, given = len(block.conv.conv.weight), len(up.kernel)
    # In the middle of the wider ones, where the larger kernels are.
    channels = slice((inner - given) // 2, (inner - given) // 2 + given)
    _put(block.conv, up, channels)
    _put_depthwise(block.conv_dw, depthwise.kernel * depthwise.scale.view(-1, 1, 1, 1), channels.start)
    kernel = torch.zeros(len(down.kernel), inner, 1, 1)
    kernel[:, channels] = down.kernel
    _put(block.project, _Layer(kernel, down.norm))


def _put(target: Any, layer: _Layer, channels: slice | None = None) -> None:
    """A layer into some channels of a larger ``LinearBlock``; inputs that it does not have begin without effect."""
    channels = channels or slice(0, len(layer.kernel))
    target.conv.weight[channels] = 0
    target.conv.weight[channels, : layer.kernel.shape[1]] = layer.kernel
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(target.bn, name)[channels] = getattr(layer.norm, name)
    if layer.slopes is not None:
        target.prelu.weight[channels] = layer.slopes


def _put_depthwise(mixed: MixedDepthwise, kernels: Tensor, start: int) -> None:
    """3 x 3 kernels into the channels from ``start`` on, with zeros around them where the kernels are larger.

    The smaller network pads its steps of two at the right and at the bottom only, so there its kernels lie one cell
    further on; a kernel of three cells has no room for that.
    """
    begin = 0
    convolutions: Any = mixed.mixed_depthwise_conv
    for convolution, count in zip(convolutions, mixed.split, strict=True):
        weight = convolution.weight
        for channel in range(max(begin, start), min(begin + count, start + len(kernels))):
            size = weight.shape[-1]
            edge = (size - 3) // 2 + (convolution.stride[0] == 2 and size > 3)
            weight[channel - begin] = 0
            weight[channel - begin, 0, edge : edge + 3, edge : edge + 3] = kernels[channel - start, 0]
        begin += count
