"""The networks as torch modules: a batch of normalised faces in, embeddings and scores out.

Every network here has ``embed`` (n, 3, size, size) -> (n, d) and ``score`` (n, d) -> (n, outputs); calling
it gives both. State-dict names are those of the authors' files, name for name, so their weights load as they
are: DDAMFN as in SainingZhang/DDAMFN ``networks/MixedFeatureNet.py`` and ``networks/DDAM.py`` (Zhang et al.
2023, Electronics 12(17):3595), MobileFaceNet as in EmotiEffLib ``emotiefflib/backbones/mobilefacenet.py``
(after InsightFace arcface_torch), EfficientNet and MobileViTv2 as in timm.

Layers that the authors construct but never apply are constructed here as well, because their files hold
weights for them; none of them is ever called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ModelUnavailable

Pair = tuple[int, int]


class Network(nn.Module):
    """A backbone with a linear head.

    Attributes:
        embedding_size: d, the columns of what ``embed`` returns.
        outputs: the columns of what ``score`` returns.
        mirrored: whether it averages the embeddings of each image and of its mirror image (test-time augmentation);
            since the head is linear, the scores are averaged as well. Takes twice the time.
    """

    embedding_size: int
    outputs: int
    fc: nn.Module
    mirrored = False

    def embed(self, images: Tensor) -> Tensor:
        """(n, 3, size, size) normalised RGB -> (n, d), the input of the last linear layer."""
        raise NotImplementedError

    def score(self, embeddings: Tensor) -> Tensor:
        """(n, d) -> (n, outputs), linear, no activation."""
        raise NotImplementedError

    def attend(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The output of ``embed``, and attention maps, whose similarity training penalises; none for most networks."""
        return self.embed(images), []

    @property
    def head(self) -> nn.Module:
        """The layers behind the embedding."""
        return self.fc

    @property
    def pooling(self) -> list[nn.Module]:
        """The learned layers that reduce the last feature maps to the embedding; none with average pooling."""
        return []

    @property
    def body(self) -> nn.Module:
        """The module whose state-dict names are those of the authors' files."""
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(n, 3, size, size) -> scores (n, outputs) and embeddings (n, d)."""
        embeddings = self.look(images)
        return self.score(embeddings), embeddings

    def look(self, images: Tensor) -> Tensor:
        """(n, 3, size, size) -> (n, d), averaged over mirror images if ``mirrored``."""
        embeddings = self.embed(images)
        return (embeddings + self.embed(images.flip(3))) / 2 if self.mirrored else embeddings


class PReLU(nn.PReLU):
    """PReLU with one slope per channel, with a faster backward pass than torch's.

    torch branches on each value, which branch prediction cannot follow. Here the gradients of the positive and the
    negative side are computed separately with vector operations: the same bits in half the time.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.ndim == 4 and x.device.type == "cpu":
            return _FasterBack.apply(x, self.weight)
        return super().forward(x)


class _FasterBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slopes: Tensor) -> Tensor:
        ctx.save_for_backward(x, slopes)
        return functional.prelu(x, slopes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, slopes = ctx.saved_tensors
        positive = torch.ops.aten.threshold_backward(gradients[0], x, 0)
        negative = gradients[0] - positive
        of_slopes = (negative * x).sum((0, 2, 3))
        return positive.addcmul_(negative, slopes.view(1, -1, 1, 1)), of_slopes


def _convolution(inputs: int, outputs: int, kernel: Pair, stride: int, padding: Pair, groups: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)


# --- DDAMFN ---------------------------------------------------------------------------------------------------


class LinearBlock(nn.Module):
    """Convolution without bias, then batch normalisation; padded, unless it reduces a whole map, row or column."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Pair = (1, 1),
        stride: int = 1,
        groups: int = 1,
        reduces: bool = False,
    ) -> None:
        super().__init__()
        padding = (0, 0) if reduces else (kernel[0] // 2, kernel[1] // 2)
        self.conv = _convolution(inputs, outputs, kernel, stride, padding, groups)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


class ConvBlock(LinearBlock):
    """Convolution without bias, batch normalisation, PReLU with one slope per channel."""

    def __init__(self, inputs: int, outputs: int, kernel: Pair = (1, 1), stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups)
        self.prelu = PReLU(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.prelu(super().forward(x))


class MixedDepthwise(nn.Module):
    """Channels split into parts, each convolved depth-wise with a kernel size of its own, and joined again.

    ``bn`` and ``prelu`` are in the authors' files, but unused in their forward pass, and here too.
    """

    def __init__(self, kernels: Sequence[int], split: Sequence[int], stride: int) -> None:
        super().__init__()
        self.split = list(split)
        self.mixed_depthwise_conv = nn.ModuleList(
            _convolution(n, n, (k, k), stride, (k // 2, k // 2), n) for n, k in zip(split, kernels, strict=True)
        )
        self.bn = nn.BatchNorm2d(sum(split))
        self.prelu = PReLU(sum(split))

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, self.split, dim=1)
        return torch.cat([conv(part) for conv, part in zip(self.mixed_depthwise_conv, parts, strict=True)], dim=1)


def _attention_profiles(module: Any, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """The part that both coordinate attentions share: profiles (n, c, h, 1), (n, c, 1, w) -> gates in (0, 1)."""
    height, width = rows.shape[2], columns.shape[3]
    joint = torch.cat([rows, columns.permute(0, 1, 3, 2)], dim=2)
    joint = functional.hardswish(module.bn1(module.conv1(joint)))
    rows, columns = torch.split(joint, [height, width], dim=2)
    return module.conv2(rows).sigmoid(), module.conv3(columns.permute(0, 1, 3, 2)).sigmoid()


class CoordinateAttention(nn.Module):
    """Hou et al. 2021: gates every row and every column of each channel, from average-pooled profiles."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(8, channels // 32)
        self.conv1 = nn.Conv2d(channels, narrow, 1)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, channels, 1)
        self.conv3 = nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = _attention_profiles(self, x.mean(3, keepdim=True), x.mean(2, keepdim=True))
        return x * columns * rows


class MixedBlock(nn.Module):
    """1 x 1 expansion, mixed depth-wise convolution, coordinate attention, 1 x 1 projection; residual if asked for."""

    def __init__(
        self, inputs: int, outputs: int, kernels: Sequence[int], split: Sequence[int], stride: int, residual: bool
    ) -> None:
        super().__init__()
        inner = sum(split)
        self.residual = residual
        self.conv = ConvBlock(inputs, inner)
        self.conv_dw = MixedDepthwise(kernels, split, stride)
        self.CA = CoordinateAttention(inner)
        self.project = LinearBlock(inner, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.CA(self.conv_dw(self.conv(x))))
        return x + y if self.residual else y


class MixedResidual(nn.Module):
    """A sequence of residual mixed blocks."""

    def __init__(self, channels: int, count: int, kernels: Sequence[int], split: Sequence[int]) -> None:
        super().__init__()
        self.model = nn.Sequential(
            *(MixedBlock(channels, channels, kernels, split, 1, residual=True) for _ in range(count))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


def mixed_feature_net() -> nn.Sequential:
    """MixedFeatureNet without its tail: (n, 3, 112, 112) -> (n, 512, 7, 7); names 0 to 8 as in DDAMNet's files."""
    return nn.Sequential(
        ConvBlock(3, 64, (3, 3), 2),
        ConvBlock(64, 64, (3, 3), 1, groups=64),
        MixedBlock(64, 64, (3, 5, 7), (64, 32, 32), 2, residual=False),
        MixedResidual(64, 9, (3, 5), (96, 32)),
        MixedBlock(64, 128, (3, 5, 7), (128, 64, 64), 2, residual=False),
        MixedResidual(128, 16, (3, 5), (192, 64)),
        MixedBlock(128, 256, (3, 5, 7, 9), (256, 256, 256, 256), 2, residual=False),
        MixedResidual(256, 6, (3, 5, 7), (172, 170, 170)),
        ConvBlock(256, 512),
    )


class DirectionAttention(nn.Module):
    """Attention map (n, c, side, side) in (0, 1), from profiles pooled by learned convolutions along rows and columns.

    ``Linear`` is in the authors' files and never applied.
    """

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        narrow = max(8, channels // 32)
        self.Linear_h = LinearBlock(channels, channels, (1, side), groups=channels, reduces=True)
        self.Linear_w = LinearBlock(channels, channels, (side, 1), groups=channels, reduces=True)
        self.conv1 = nn.Conv2d(channels, narrow, 1)
        self.bn1 = nn.BatchNorm2d(narrow)
        self.conv2 = nn.Conv2d(narrow, channels, 1)
        self.conv3 = nn.Conv2d(narrow, channels, 1)
        self.Linear = LinearBlock(channels, channels, (side, side), groups=channels, reduces=True)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = _attention_profiles(self, self.Linear_h(x), self.Linear_w(x))
        return columns * rows


class DirectionHead(nn.Module):
    """One attention head, named as in the files."""

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.CoordAtt = DirectionAttention(channels, side)

    def forward(self, x: Tensor) -> Tensor:
        return self.CoordAtt(x)


class DDAMFN(Network):
    """Dual-direction attention mixed feature network with two heads.

    ``bn`` is in the authors' files and never applied.

    Args:
        outputs: of the head.
        size: width and height of the input in pixels, a multiple of 16; the authors' files are for 112.
    """

    embedding_size = 512

    def __init__(self, outputs: int, size: int = 112) -> None:
        super().__init__()
        side = size // 16
        self.outputs = outputs
        self.features = mixed_feature_net()
        self.cat_head0 = DirectionHead(512, side)
        self.cat_head1 = DirectionHead(512, side)
        self.Linear = LinearBlock(512, 512, (side, side), groups=512, reduces=True)
        self.fc = nn.Linear(512, outputs)
        self.bn = nn.BatchNorm1d(outputs)

    def embed(self, images: Tensor) -> Tensor:
        return self.attend(images)[0]

    def attend(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        x = self.features(images)
        maps = [self.cat_head0(x), self.cat_head1(x)]
        return self.Linear(x * torch.maximum(*maps)).flatten(1), maps

    @property
    def pooling(self) -> list[nn.Module]:
        return [self.Linear]

    def score(self, embeddings: Tensor) -> Tensor:
        return self.fc(embeddings)


class DeepHeadDDAMFN(DDAMFN):
    """DDAMFN with the classifier of its entry at ABAW-7 (arXiv 2407.12390): a hidden layer that all tasks share.

    There each task has an output layer of its own; here the rows of one layer, which is the same.
    """

    fc: nn.Module

    def __init__(self, outputs: int, size: int = 112) -> None:
        super().__init__(outputs, size)
        del self.bn
        self.fc = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, outputs))


# --- MobileFaceNet --------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """A sequence of layers named ``layers``, as in MobileFaceNet's files."""

    def __init__(self, *layers: nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.residual else self.layers(x)


def _linear(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Layers:
    padding = 1 if kernel == 3 else 0
    return Layers(
        _convolution(inputs, outputs, (kernel, kernel), stride, (padding, padding), groups), nn.BatchNorm2d(outputs)
    )


def _active(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> Layers:
    return Layers(*_linear(inputs, outputs, kernel, stride, groups).layers, PReLU(outputs))


def _depthwise(inputs: int, outputs: int, inner: int, stride: int, residual: bool = False) -> Layers:
    return Layers(
        _active(inputs, inner), _active(inner, inner, 3, stride, inner), _linear(inner, outputs), residual=residual
    )


def _residuals(channels: int, inner: int, count: int) -> Layers:
    return Layers(*(_depthwise(channels, channels, inner, 1, residual=True) for _ in range(count)))


class MobileFaceNet(Network):
    """InsightFace's MobileFaceNet with a linear head ``fc``; faces of 112 x 112 pixels.

    Args:
        outputs: of the head.
        blocks: residual blocks of the four stages; a first stage with one block is a grouped convolution instead.
        scale: channels in units of 64.
    """

    embedding_size = 512

    def __init__(self, outputs: int, blocks: tuple[int, int, int, int] = (1, 4, 6, 2), scale: int = 2) -> None:
        super().__init__()
        self.outputs = outputs
        c, d = 64 * scale, 128 * scale
        first = _active(c, c, 3, 1, groups=64) if blocks[0] == 1 else _residuals(c, 128, blocks[0])
        self.layers = nn.ModuleList(
            [
                _active(3, c, 3, 2),
                first,
                _depthwise(c, c, 128, 2),
                _residuals(c, 128, blocks[1]),
                _depthwise(c, d, 256, 2),
                _residuals(d, 256, blocks[2]),
                _depthwise(d, d, 512, 2),
                _residuals(d, 256, blocks[3]),
            ]
        )
        self.conv_sep = _active(d, 512)
        self.features = Layers(
            _linear(512, 512, 7, 1, groups=512), nn.Flatten(), nn.Linear(512, 512, bias=False), nn.BatchNorm1d(512)
        )
        self.fc = nn.Linear(512, outputs)

    @property
    def pooling(self) -> list[nn.Module]:
        return [self.features]

    def embed(self, images: Tensor) -> Tensor:
        x = images
        for layer in self.layers:
            x = layer(x)
        return self.features(self.conv_sep(x))

    def score(self, embeddings: Tensor) -> Tensor:
        return self.fc(embeddings)


# --- The first MobileFaceNet ------------------------------------------------------------------------------------


class FirstMobileFaceNet(Network):
    """The MobileFaceNet of its paper, as sirius-ai/MobileFaceNet_TF builds it.

    Chen et al. 2018 (arXiv:1804.07573), table 1, up to the depth-wise convolution over the whole last map, and a
    1 x 1 convolution after it, whose 512 outputs are the embedding. Like TensorFlow's "SAME", layers of stride 2
    are padded on the right and at the bottom only: with the usual padding, the last feature maps of weights trained
    that way would be shifted by a whole cell.

    Args:
        outputs: of the head.
        size: width and height of the input in pixels, a multiple of 16.
    """

    embedding_size = 512

    def __init__(self, outputs: int, size: int = 112) -> None:
        super().__init__()
        self.outputs = outputs
        self.features = nn.Sequential(
            *_same(3, 64, 3, 2, 1, PReLU(64)),
            *_same(64, 64, 3, 1, 64, PReLU(64)),
            *_same(64, 64, 1, 1, 1),
            _narrowing(64, 128, 64, 2),
            *(_narrowing(64, 128, 64, 1) for _ in range(4)),
            _narrowing(64, 256, 128, 2),
            *(_narrowing(128, 256, 128, 1) for _ in range(6)),
            _narrowing(128, 512, 128, 2),
            *(_narrowing(128, 256, 128, 1) for _ in range(2)),
            *_same(128, 512, 1, 1, 1, PReLU(512)),
            _convolution(512, 512, (size // 16, size // 16), 1, (0, 0), 512),
            nn.BatchNorm2d(512),
            *_same(512, 512, 1, 1, 1),
            nn.Flatten(),
        )
        self.fc = nn.Linear(512, outputs)

    @property
    def pooling(self) -> list[nn.Module]:
        return [self.features[k] for k in range(-5, 0)]

    def embed(self, images: Tensor) -> Tensor:
        return self.features(images)

    def score(self, embeddings: Tensor) -> Tensor:
        return self.fc(embeddings)


def _same(inputs: int, outputs: int, kernel: int, stride: int, groups: int, *after: nn.Module) -> list[nn.Module]:
    """Convolution and batch normalisation, padded as TensorFlow's "SAME", then the given activation."""
    before = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
    padding = 1 if kernel == 3 and stride == 1 else 0
    convolution = _convolution(inputs, outputs, (kernel, kernel), stride, (padding, padding), groups)
    return [*before, convolution, nn.BatchNorm2d(outputs), *after]


def _narrowing(inputs: int, inner: int, outputs: int, stride: int) -> Layers:
    """1 x 1 expansion, 3 x 3 depth-wise convolution, 1 x 1 projection; residual where the shapes allow it."""
    return Layers(
        *_same(inputs, inner, 1, 1, 1, PReLU(inner)),
        *_same(inner, inner, 3, stride, inner, PReLU(inner)),
        *_same(inner, outputs, 1, 1, 1),
        residual=stride == 1 and inputs == outputs,
    )


# --- timm -----------------------------------------------------------------------------------------------------


def import_timm() -> ModuleType:
    """Import timm, which imports torchvision but does not need its operators.

    Raises:
        ModelUnavailable: timm or torchvision is not installed.
    """
    try:
        mend_torchvision()
        import timm
    except ImportError as error:
        raise ModelUnavailable(f"this network needs timm ({error}): pip install 'hsemotion-cli[torch]'.") from error
    return timm


def mend_torchvision() -> None:
    """Import torchvision, even if its compiled operators do not match the installed torch.

    PyPI has only CUDA-linked wheels of torchvision, whose library does not load with a CPU-only torch. The import then
    fails with "operator torchvision::nms does not exist", because torchvision registers properties of two operators
    that were never defined. Only in that case the two are declared here (not implemented: calling one is still an
    error) and the import is repeated.

    Raises:
        ImportError: torchvision is not installed.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                torch.library.define(
                    f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )


class TimmNetwork(Network):
    """A classifier of timm, by its name in timm, with random weights."""

    def __init__(self, name: str, outputs: int) -> None:
        super().__init__()
        timm = import_timm()
        try:
            self.net = timm.create_model(name, num_classes=outputs, pretrained=False)
        except RuntimeError as error:  # timm's error for an unknown name
            raise ModelUnavailable(f"timm {timm.__version__} has no network {name!r} ({error}).") from error
        self.outputs = outputs
        # Not timm's num_features: some networks have another layer before the classifier.
        self.embedding_size = self.net.get_classifier().in_features

    @property
    def body(self) -> nn.Module:
        return self.net

    @property
    def head(self) -> nn.Module:
        return self.net.get_classifier()

    def embed(self, images: Tensor) -> Tensor:
        return self.net.forward_head(self.net.forward_features(images), pre_logits=True)

    def score(self, embeddings: Tensor) -> Tensor:
        return self.net.get_classifier()(embeddings)


SMALL_SIZES = (48, 64, 80, 96)
"""Input sizes in pixels, besides 112, of the two networks whose last kernel covers a whole feature map."""

ARCHITECTURES: dict[str, Callable[[int], Network]] = {
    "ddamfn": DDAMFN,
    "ddamfn_deep": DeepHeadDDAMFN,
    "mobilefacenet": MobileFaceNet,
    "mobilefacenet_large": lambda outputs: MobileFaceNet(outputs, (2, 8, 12, 4), 4),
    "mobilefacenet_first": FirstMobileFaceNet,
    "tf_efficientnet_b0": lambda outputs: TimmNetwork("tf_efficientnet_b0", outputs),
    "tf_efficientnet_b2": lambda outputs: TimmNetwork("tf_efficientnet_b2", outputs),
    "mobilevitv2_150": lambda outputs: TimmNetwork("mobilevitv2_150", outputs),
    **{f"ddamfn_{size}": partial(DDAMFN, size=size) for size in SMALL_SIZES},
    **{f"ddamfn_deep_{size}": partial(DeepHeadDDAMFN, size=size) for size in SMALL_SIZES},
    **{f"mobilefacenet_first_{size}": partial(FirstMobileFaceNet, size=size) for size in SMALL_SIZES},
}
"""Key of a card's network -> function from the number of outputs to the network with random weights."""

TIMM = "timm:"
"""Prefix for any other classifier of timm, as in "timm:mobilenetv3_large_100"."""

MIRRORED = "+mirror"
"""Suffix of the key of an architecture that is ``mirrored``."""


def known(architecture: str) -> bool:
    """Whether ``build`` accepts the key; whether timm has a network is checked only by timm."""
    architecture = architecture.removesuffix(MIRRORED)
    return architecture in ARCHITECTURES or architecture.startswith(TIMM)


def build(architecture: str, outputs: int) -> Network:
    """The network with random weights, in evaluation mode.

    Args:
        architecture: key of ``ARCHITECTURES``, or ``TIMM`` and a name of timm's; with the suffix ``MIRRORED`` for
            averaging over mirror images.

    Raises:
        KeyError: no such key in ``ARCHITECTURES``.
        ModelUnavailable: it needs timm, which is missing or has no such classifier.
    """
    plain = architecture.removesuffix(MIRRORED)
    if plain.startswith(TIMM):
        network: Network = TimmNetwork(plain.removeprefix(TIMM), outputs)
    else:
        network = ARCHITECTURES[plain](outputs)
    network.mirrored = plain != architecture
    return network.eval()
