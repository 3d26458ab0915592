"""Net2Net: the weights of a MobileFaceNet -> the initial weights of a DDAMFN.

DDAMFN's MixedFeatureNet is a MobileFaceNet with more blocks, kernels of several sizes and attention. So every layer of
the smaller network has a place in the larger one and is copied there. Blocks without a counterpart start as identities,
and channels without one start without effect on the others, as in Net2Net (Chen, Goodfellow and Shlens 2016,
arXiv:1511.05641). Unlike there, the function is not preserved exactly: DDAMFN has no activation after its depthwise
kernels, and its attention gates start around a quarter. Training soon makes up for that.
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
    """A convolution of the smaller network with its normalisation and the slopes of its PReLU, if any."""

    kernel: Tensor
    norm: Any
    slopes: Tensor | None = None

    @property
    def scale(self) -> Tensor:
        """(outputs,) factors of the normalisation."""
        return self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()

    def affine(self) -> tuple[Tensor, Tensor]:
        """A 1 x 1 convolution with its normalisation, as a matrix (outputs, inputs) and a vector (outputs,)."""
        return self.kernel[:, :, 0, 0] * self.scale[:, None], self.norm.bias - self.scale * self.norm.running_mean


@torch.no_grad()
def widen(small: FirstMobileFaceNet, large: DDAMFN) -> None:
    """Copy the weights of the smaller network into the larger one, which keeps its random weights elsewhere.

    Args:
        small: not changed.
        large: changed in place; has the same number of outputs, but may have another input size.
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
    matrix, vector = after[0].affine()  # two linear layers in a row become one
    given: Any = small.fc
    head: Any = large.fc
    head.weight.copy_(given.weight @ matrix)
    head.bias.copy_(given.weight @ vector + given.bias)


def fitted(kernel: Tensor, like: Tensor) -> Tensor:
    """A kernel of the wanted shape; one over the whole last feature map is resampled to another map size.

    The new kernel responds to a map like the given one to that map resampled to its own size. So it is the kernel times
    the transposed matrix of the resampling, which is a gradient.
    """
    if kernel.shape[2:] != like.shape[2:] and kernel.shape[:2] == like.shape[:2]:
        with torch.enable_grad():
            probe = torch.zeros_like(like, requires_grad=True)
            resampled = functional.interpolate(probe, kernel.shape[2:], mode="bilinear", antialias=True)
            kernel = torch.autograd.grad(resampled, probe, kernel)[0]
    return shaped(kernel, like)


def shaped(values: Tensor, like: Tensor) -> Tensor:
    """The values, if they have the wanted shape; else raise ValueError."""
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
    """Three single layers, fifteen blocks of three layers, three single layers."""
    rest = iter(layers)
    for count in (1, 1, 1, *(3,) * 15, 1, 1, 1):
        yield [next(rest) for _ in range(count)]


def _behind(linear: _Layer, block: list[_Layer]) -> list[_Layer]:
    """A block merged with the 1 x 1 convolution without activation before it."""
    matrix, vector = linear.affine()
    up = block[0]
    norm = copy.deepcopy(up.norm)
    norm.running_mean -= up.kernel[:, :, 0, 0] @ vector
    return [_Layer((up.kernel[:, :, 0, 0] @ matrix)[:, :, None, None], norm, up.slopes), *block[1:]]


def _put_row(blocks: Sequence[MixedBlock], given: list[list[_Layer]]) -> None:
    """Copy residual blocks into a longer row, evenly spread; the other blocks start as identities."""
    places = [round(k * len(blocks) / len(given)) for k in range(len(given))]
    for block in blocks:
        block.project.bn.weight.zero_()
    for place, layers in zip(places, given, strict=True):
        _put_block(blocks[place], layers)


def _put_block(block: MixedBlock, layers: list[_Layer]) -> None:
    up, depthwise, down = layers
    inner, given = len(block.conv.conv.weight), len(up.kernel)
    # In the middle of the wider block's channels, where the larger kernels are.
    channels = slice((inner - given) // 2, (inner - given) // 2 + given)
    _put(block.conv, up, channels)
    _put_depthwise(block.conv_dw, depthwise.kernel * depthwise.scale.view(-1, 1, 1, 1), channels.start)
    kernel = torch.zeros(len(down.kernel), inner, 1, 1)
    kernel[:, channels] = down.kernel
    _put(block.project, _Layer(kernel, down.norm))


def _put(target: Any, layer: _Layer, channels: slice | None = None) -> None:
    """Copy a layer into some channels of a larger ``LinearBlock``; its additional inputs start without effect."""
    channels = channels or slice(0, len(layer.kernel))
    target.conv.weight[channels] = 0
    target.conv.weight[channels, : layer.kernel.shape[1]] = layer.kernel
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(target.bn, name)[channels] = getattr(layer.norm, name)
    if layer.slopes is not None:
        target.prelu.weight[channels] = layer.slopes


def _put_depthwise(mixed: MixedDepthwise, kernels: Tensor, start: int) -> None:
    """Copy 3 x 3 kernels into the channels from ``start`` on, surrounded by zeros in larger kernels.

    The smaller network pads strided convolutions at the right and bottom only, so there its kernels are shifted by one
    cell; a kernel of three cells has no room for that.
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
