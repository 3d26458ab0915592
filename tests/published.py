"""Weight files in exactly the layouts that the authors publish, with random weights, for tests and scripts.

Whole modules pickled under the class names of their own libraries, dictionaries of DDAMFN, and graphs as
EmotiEffLib's ``convert_pt_to_onnx.py`` writes them (one output, opset 11).
"""

from __future__ import annotations

import contextlib
import copy
import functools
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import torch
from torch import nn

from hsemotion_cli.domain import Image
from hsemotion_cli.models import architectures
from hsemotion_cli.models.cards import NetworkSpec
from hsemotion_cli.models.network_model import prepare
from hsemotion_cli.models.registry import ModelCard, card


def faces(count: int, seed: int = 0) -> list[Image]:
    """Synthetic images with detail at all scales, of many sizes and proportions."""
    rng = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        height, width = rng.integers(30, 500, 2)
        layers = [
            cv2.resize(rng.normal(size=(k, k, 3)), (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
            for k in (3, 12, 60)
        ]
        picture = 50 * layers[0] + 30 * layers[1] + 20 * layers[2]
        picture = rng.uniform(60, 190, 3) + rng.uniform(0.2, 2) * picture
        pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
    return pictures


def spec(model: ModelCard | str) -> NetworkSpec:
    """How a model is fed, which is a network."""
    found = (card(model) if isinstance(model, str) else model).network
    assert found is not None, model
    return found


def batch(count: int, spec: NetworkSpec, seed: int = 0) -> torch.Tensor:
    """The same as a network is given them: (count, 3, size, size), normalised."""
    return torch.from_numpy(prepare(faces(count, seed), spec, "pil-bilinear"))


def network(model: ModelCard, seed: int = 0) -> architectures.Network:
    """The first architecture of a card with random weights whose outputs tell images apart.

    Its normalisations get the statistics of some images, as in training; otherwise signals would fade from layer
    to layer and the outputs be nearly constant, and a test that compares them would see nothing.
    """
    return copy.deepcopy(_network(model.name, seed))


@functools.lru_cache
def _network(name: str, seed: int) -> architectures.Network:
    fed = spec(name)
    torch.manual_seed(seed)
    net = architectures.build(fed.architectures[0], fed.outputs)
    images = batch(24 if fed.size >= 224 else 12, fed, seed)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.7, 1.3)
            nn.init.normal_(layer.bias, std=0.1)
        elif isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, 0.1, 0.4)
    normalisations = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    before = [layer.momentum for layer in normalisations]
    for layer in normalisations:
        layer.momentum = 1.0
    with torch.no_grad():
        # Where the network takes any size, a smaller one serves for the statistics and is much quicker.
        net.train()(images if fed.size < 224 else nn.functional.interpolate(images, (128, 128), mode="area"))
    for layer, momentum in zip(normalisations, before, strict=True):
        layer.momentum = momentum
        assert layer.running_var is not None
        layer.running_var *= 1.1  # a margin, so that other images than these do not set it off
    _spread_outputs(net.eval(), images, fed)
    return net


def _spread_outputs(net: architectures.Network, images: torch.Tensor, spec: NetworkSpec) -> None:
    """Scale the head so that logits vary by about 2 between images, valence and arousal by 0.4."""
    head = [layer for layer in net.modules() if isinstance(layer, nn.Linear) and layer.out_features == net.outputs][-1]
    with torch.no_grad():
        nn.init.normal_(head.weight)
        scores = net(images)[0]
        scale = torch.tensor([2.0] * len(spec.classes) + [0.4, 0.4])[: spec.outputs] / scores.std(0)
        head.weight *= scale[:, None]
        head.bias.copy_((head.bias - scores.mean(0)) * scale)


@contextlib.contextmanager
def known_as(**modules: Mapping[str, type]) -> Iterator[None]:
    """While it lasts, classes can be pickled (and found) under other modules' names."""
    before = {}
    for name, classes in modules.items():
        before[name] = sys.modules.get(name)
        sys.modules[name] = ModuleType(name)
        for own, cls in classes.items():
            setattr(sys.modules[name], own, cls)
    names = {cls: (cls.__module__, cls.__qualname__) for group in modules.values() for cls in group.values()}
    for name, classes in modules.items():
        for own, cls in classes.items():
            cls.__module__, cls.__qualname__ = name, own
    try:
        yield
    finally:
        for cls, (home, own) in names.items():
            cls.__module__, cls.__qualname__ = home, own
        for name, module in before.items():
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module


def whole_module(net: architectures.Network, model: ModelCard) -> nn.Module:
    """A network as its authors' training left it: single-task heads are a Sequential, MobileFaceNet is wrapped."""
    if isinstance(net, architectures.MobileFaceNet):
        backbone = architectures.Network()
        backbone.layers, backbone.conv_sep, backbone.features = net.layers, net.conv_sep, net.features
        return nn.Sequential(OrderedDict(backbone=backbone, fc=net.fc)).eval()
    body = net.body
    if not spec(model).valence_arousal and isinstance(classifier := getattr(body, "classifier", None), nn.Module):
        body.classifier = nn.Sequential(classifier)
    return body


def save_module(net: architectures.Network, model: ModelCard, path: Path, zipped: bool = True) -> None:
    """Write a ``.pt`` file."""
    names = {"MobileFaceNet": architectures.Network, "ConvBlock": architectures.Layers}
    with known_as(mobilefacenet=names), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the old format warns that it cannot find source code
        torch.save(whole_module(net, model), path, _use_new_zipfile_serialization=zipped)


def save_dictionary(net: architectures.Network, path: Path) -> None:
    """Write a ``.pth`` file as DDAMFN's training does."""
    optimiser = torch.optim.Adam(net.parameters())
    content = {"iter": 7, "model_state_dict": net.state_dict(), "optimizer_state_dict": optimiser.state_dict()}
    torch.save(content, path)


class _ScoresOnly(nn.Module):
    def __init__(self, net: architectures.Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.net(images)[0]


def save_graph(net: architectures.Network, model: ModelCard, path: Path, opset: int = 11) -> None:
    """Write an ``.onnx`` file as EmotiEffLib publishes them."""
    size = spec(model).size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _ScoresOnly(net).eval(),
            (torch.zeros(1, 3, size, size),),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch_size"}, "output": {0: "batch_size"}},
        )


def save(net: architectures.Network, model: ModelCard, path: Path) -> None:
    """Write the kind of file that the suffix asks for."""
    if path.suffix == ".onnx":
        save_graph(net, model, path)
    elif path.suffix == ".pth":
        save_dictionary(net, path)
    else:
        save_module(net, model, path)
