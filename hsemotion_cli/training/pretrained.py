"""Initial weights: a trained file, a published checkpoint, or a face-identification network of TensorFlow.js.

All of HSEmotion's networks were pretrained on face identification.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import ModelUnavailable
from ..models import checkpoints, model_file
from ..models.architectures import DDAMFN, FirstMobileFaceNet, Network
from ..models.weights import checksums
from .net2net import fitted, shaped, widen

Images = Callable[[], Tensor]
"""Returns a batch of network inputs, to measure the statistics of its layers."""

_BLOCKS = ((2, 5), (3, 1), (4, 6), (5, 1), (6, 2))
"""Stage -> number of inverted residual blocks in the graph."""


def start_from(network: Network, path: Path, images: Images) -> list[str]:
    """Load weights from a file into a network, where names and shapes match.

    The head is loaded from a trained file with the same number of outputs; otherwise it keeps its random weights. A
    kernel over the whole last feature map is resampled if the file's network has another input size. A DDAMFN can also
    start from a MobileFaceNet (``widen``).

    Args:
        network: changed in place.
        path: ``.json`` of TensorFlow.js with its ``.bin`` beside it, ``.safetensors``, or ``.pth`` of torch.
        images: some tens of training images; only called if the file lacks normalisation statistics.

    Returns:
        the names of the weights that were loaded.

    Raises:
        ModelUnavailable: the file cannot be read, or nothing in it matches.
    """
    if path.suffix.lower() == ".json":
        if not isinstance(network, FirstMobileFaceNet):
            raise ModelUnavailable(f"{path}: only the first MobileFaceNet can start from a TensorFlow.js graph.")
        _from_tensorflow(network, path, images)
        return [name for name in network.state_dict() if not name.startswith("fc.")]
    if isinstance(network, DDAMFN) and (small := _mobilefacenet(path)) is not None:
        if small.outputs != network.outputs:
            raise ModelUnavailable(f"{path}: it has {small.outputs} outputs, and this network {network.outputs}.")
        widen(small, network)
        return sorted(small.state_dict())
    return _from_tensors(network, path)


def origin(path: Path) -> dict[str, Any]:
    """Facts about the initial weights for the model card: file, SHA-256, and for a trained file its own origin.

    Raises:
        ModelUnavailable: the file cannot be read.
    """
    try:
        known: dict[str, Any] = {"file": path.name, "sha256": checksums(path)[0]}
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror}).") from error
    if model_file.describes_itself(path):
        facts = model_file.read_card(path)[1]
        known |= {key: facts[key] for key in ("plan_sha256", "commit", "start") if facts.get(key)}
    return known


def _mobilefacenet(path: Path) -> FirstMobileFaceNet | None:
    """The network of a trained file, if it is a first MobileFaceNet."""
    if not model_file.describes_itself(path):
        return None
    card, _ = model_file.read_card(path)
    if card.network is None or not card.network.architectures[0].startswith("mobilefacenet_first"):
        return None
    found = model_file.load(card, path)
    return found if isinstance(found, FirstMobileFaceNet) else None


def _from_tensors(network: Network, path: Path) -> list[str]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix.lower() in (".pth", ".pt"):
            loaded = {
                name: torch.from_numpy(np.array(values)) for name, values in checkpoints.read(path).tensors.items()
            }
        else:
            loaded = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelUnavailable(f"{path}: cannot be read as safetensors ({error}).") from error
    own = network.body.state_dict()
    usable = {}
    for name, value in loaded.items():
        if name in own and own[name].shape == value.shape:
            usable[name] = value.float()
        elif name in own and value.ndim == own[name].ndim == 4 and value.shape[:2] == own[name].shape[:2]:
            usable[name] = fitted(value.float(), own[name])
    head = {id(parameter) for parameter in network.head.parameters()}
    body = {name for name, parameter in network.body.named_parameters() if id(parameter) not in head}
    if not any(name in body and own[name].ndim > 1 for name in usable):
        raise ModelUnavailable(f"{path}: none of its weights match this network.")
    network.body.load_state_dict(usable, strict=False)
    return sorted(usable)


# --- TensorFlow.js --------------------------------------------------------------------------------------------


def read_tensorflow(path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a TensorFlow.js graph model as float32, by name; they may be stored in half precision.

    Raises:
        ModelUnavailable: the graph or its weights are missing, malformed, or quantised to whole numbers.
    """
    try:
        manifest = json.loads(path.read_text())["weightsManifest"]
        tensors = {}
        for group in manifest:
            data = b"".join((path.parent / name).read_bytes() for name in group["paths"])
            start = 0
            for weight in group["weights"]:
                stored = weight.get("quantization", {}).get("dtype", weight["dtype"])
                dtype = np.dtype({"float32": "<f4", "float16": "<f2", "int32": "<i4"}[stored])
                size = int(np.prod(weight["shape"], dtype=np.int64)) * dtype.itemsize
                values = np.frombuffer(data[start : start + size], dtype)
                tensors[weight["name"]] = values.reshape(weight["shape"]).astype(np.float32)
                start += size
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelUnavailable(f"{path}: not a TensorFlow.js graph with its weights ({error}).") from error
    return tensors


def _from_tensorflow(network: FirstMobileFaceNet, path: Path, images: Images) -> None:
    """Load convolutions, biases and slopes from the graph, which has batch normalisation folded into them.

    Unfolding needs the mean and variance of every convolution's output, which the graph no longer has. They are
    measured on ``images``; scale and bias are then set so that each normalisation only adds the graph's bias, and
    training continues from the network as it was.
    """
    tensors = read_tensorflow(path)
    names = list(_graph_layers())
    convolutions = [module for module in network.features.modules() if isinstance(module, nn.Conv2d)]
    norms = [module for module in network.features.modules() if isinstance(module, nn.BatchNorm2d)]
    slopes = iter([module for module in network.features.modules() if isinstance(module, nn.PReLU)])
    try:
        for layer, convolution in zip(names, convolutions, strict=True):
            depthwise = convolution.groups > 1
            kind = "depthwise_weights" if depthwise else "Conv2D_weights"
            kernel = tensors[f"{layer}/{kind}"].transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            convolution.weight.data = fitted(torch.from_numpy(kernel.copy()), convolution.weight)
            if f"{layer}/mul" in tensors:
                # The graph computes relu(x) + m (x - |x|), a slope of 2 m below zero. It was trained with -2 m: then
                # it identifies faces, but as written hardly better than raw pixels do (see the tests). The converter
                # also merged the ReLU into the depthwise layers, whose slopes would then have no effect.
                slope = next(slopes).weight
                slope.data = shaped(torch.from_numpy(-2 * tensors[f"{layer}/mul"]), slope)
        offsets = [
            shaped(torch.from_numpy(tensors[f"{layer}/{'depthwise' if c.groups > 1 else 'Conv2D'}_bn_offset"]), n.bias)
            for layer, c, n in zip(names, convolutions, norms, strict=True)
        ]
        if next(slopes, None) is not None:
            raise ValueError("it has fewer slopes than the network")
    except (KeyError, ValueError, StopIteration) as error:
        raise ModelUnavailable(f"{path}: not the graph of a MobileFaceNet ({error}).") from error
    _unfold(network, convolutions, norms, offsets, images())


def _graph_layers() -> Any:
    """Names of the graph's convolutions, in the order of ``FirstMobileFaceNet.features``."""
    backbone, tail = "MobileFaceNet/MobileFaceNet", "MobileFaceNet/Logits"
    yield from (f"{backbone}/{name}" for name in ("Conv2d_0", "SeparableConv2d", "Conv"))
    for stage, blocks in _BLOCKS:
        for block in range(blocks):
            for layer in ("Conv", "SeparableConv2d", "Conv_1"):
                yield f"{backbone}/Conv2d_{stage}_InvResBlock_{block}/{layer}"
    yield f"{backbone}/Conv2d_7"
    yield from (f"{tail}/{name}" for name in ("SeparableConv2d", "Conv"))


def _unfold(
    network: Network, convolutions: list[nn.Conv2d], norms: list[nn.BatchNorm2d], offsets: list[Tensor], images: Tensor
) -> None:
    def measure(norm: nn.BatchNorm2d, offset: Tensor) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            variance, mean = torch.var_mean(output, dim=(0, 2, 3), correction=0)
            norm.running_mean, norm.running_var = mean, variance
            norm.weight.data = (variance + norm.eps).sqrt()
            norm.bias.data = mean + offset

        return hook

    hooks = [
        convolution.register_forward_hook(measure(norm, offset))
        for convolution, norm, offset in zip(convolutions, norms, offsets, strict=True)
    ]
    network.eval()
    with torch.no_grad():  # in order: each layer is measured after those before it are set
        network.embed(images)
    for hook in hooks:
        hook.remove()
