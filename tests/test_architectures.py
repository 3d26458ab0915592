"""Our DDAMFN and MobileFaceNet: size, names, and values against a recomputation that shares no code with them."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from known import known

pytest.importorskip("torch", reason="the networks need torch")
import torch

if importlib.util.find_spec("timm") is None:  # importing it here would fail beside a torch for the CPU only
    pytest.skip("the networks need timm", allow_module_level=True)

import published
from torch.nn import functional as F

from hsemotion_cli.models import architectures
from hsemotion_cli.models.registry import MODELS, card

pytestmark = pytest.mark.slow

State = Mapping[str, torch.Tensor]


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("outputs", "expected"), [(7, 4_187_421), (8, 4_187_936), (10, 4_188_966)])
def test_ddamfn_stores_as_many_parameters_as_the_original(outputs: int, expected: int) -> None:
    assert parameters(architectures.build("ddamfn", outputs)) == expected


def test_the_parts_of_ddamfn_have_the_sizes_of_the_layer_table() -> None:
    net: Any = architectures.build("ddamfn", 8)
    stages = [1_920, 768, 23_576, 200_664, 63_512, 1_237_376, 542_304, 1_833_024, 132_608]
    assert [parameters(stage) for stage in net.features] == stages
    assert parameters(net.cat_head0) == parameters(net.cat_head1) == 60_976
    assert parameters(net.Linear) == 26_112


@pytest.mark.parametrize(("name", "expected"), [("mobilefacenet", 2_059_520), ("mobilefacenet_large", 6_314_880)])
def test_mobilefacenet_has_as_many_parameters_as_the_original(name: str, expected: int) -> None:
    net = architectures.build(name, 10)
    assert parameters(net) - parameters(net.fc) == expected


def test_names_are_those_of_the_original_files() -> None:
    names = list(architectures.build("ddamfn", 8).state_dict())
    assert names[:6] == [
        "features.0.conv.weight",
        "features.0.bn.weight",
        "features.0.bn.bias",
        "features.0.bn.running_mean",
        "features.0.bn.running_var",
        "features.0.bn.num_batches_tracked",
    ]
    for name in (
        "features.0.prelu.weight",
        "features.2.conv_dw.mixed_depthwise_conv.2.weight",
        "features.3.model.8.conv_dw.prelu.weight",
        "features.5.model.15.CA.conv3.bias",
        "features.6.project.bn.running_var",
        "cat_head1.CoordAtt.Linear_w.conv.weight",
        "cat_head0.CoordAtt.Linear.bn.weight",
        "Linear.conv.weight",
        "fc.bias",
        "bn.weight",
    ):
        assert name in names
    names = list(architectures.build("mobilefacenet", 10).state_dict())
    for name in (
        "layers.0.layers.0.weight",
        "layers.1.layers.2.weight",
        "layers.5.layers.5.layers.2.layers.1.running_mean",
        "conv_sep.layers.0.weight",
        "features.layers.0.layers.0.weight",
        "features.layers.2.weight",
        "features.layers.3.bias",
        "fc.weight",
    ):
        assert name in names


class Recomputed:
    """DDAMFN from its state dict and the layer table of the paper, written without torch.nn modules."""

    def __init__(self, state: State) -> None:
        self.state = state

    def bn(self, x: torch.Tensor, at: str) -> torch.Tensor:
        s = self.state
        scale = s[f"{at}.weight"] / (s[f"{at}.running_var"] + 1e-5).sqrt()
        return (x - s[f"{at}.running_mean"][None, :, None, None]) * scale[None, :, None, None] + s[f"{at}.bias"][
            None, :, None, None
        ]

    def linear_block(
        self, x: torch.Tensor, at: str, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> torch.Tensor:
        return self.bn(F.conv2d(x, self.state[f"{at}.conv.weight"], None, stride, padding, 1, groups), f"{at}.bn")

    def conv_block(self, x: torch.Tensor, at: str, stride: int = 1, padding: int = 0, groups: int = 1) -> torch.Tensor:
        x = self.linear_block(x, at, stride, padding, groups)
        return torch.where(x >= 0, x, x * self.state[f"{at}.prelu.weight"][None, :, None, None])

    def gates(self, joint: torch.Tensor, split: int, at: str) -> tuple[torch.Tensor, torch.Tensor]:
        def pointwise(x: torch.Tensor, name: str) -> torch.Tensor:
            weight, bias = self.state[f"{at}.{name}.weight"][:, :, 0, 0], self.state[f"{at}.{name}.bias"]
            return torch.einsum("oc,nchw->nohw", weight, x) + bias[None, :, None, None]

        joint = self.bn(pointwise(joint, "conv1"), f"{at}.bn1")
        joint = joint * torch.clamp(joint + 3, 0, 6) / 6
        rows = torch.sigmoid(pointwise(joint[:, :, :split], "conv2"))
        columns = torch.sigmoid(pointwise(joint[:, :, split:], "conv3")).transpose(2, 3)
        return rows, columns

    def mixed(self, x: torch.Tensor, at: str, split: tuple[int, ...], stride: int, residual: bool) -> torch.Tensor:
        y = self.conv_block(x, f"{at}.conv")
        parts, start = [], 0
        for i, (count, kernel) in enumerate(zip(split, (3, 5, 7, 9), strict=False)):
            weight = self.state[f"{at}.conv_dw.mixed_depthwise_conv.{i}.weight"]
            parts.append(F.conv2d(y[:, start : start + count], weight, None, stride, kernel // 2, 1, count))
            start += count
        y = torch.cat(parts, 1)
        profiles = torch.cat([y.mean(3, keepdim=True), y.mean(2, keepdim=True).transpose(2, 3)], 2)
        rows, columns = self.gates(profiles, y.shape[2], f"{at}.CA")
        y = self.linear_block(y * rows * columns, f"{at}.project")
        return x + y if residual else y

    def shapes_and_scores(self, x: torch.Tensor) -> tuple[list[tuple[int, ...]], torch.Tensor, torch.Tensor]:
        shapes = []

        def seen(y: torch.Tensor) -> torch.Tensor:
            shapes.append(tuple(y.shape[1:]))
            return y

        x = seen(self.conv_block(x, "features.0", 2, 1))
        x = seen(self.conv_block(x, "features.1", 1, 1, 64))
        x = seen(self.mixed(x, "features.2", (64, 32, 32), 2, False))
        for stage, count, split, after in (
            (3, 9, (96, 32), (128, 64, 64)),
            (5, 16, (192, 64), (256, 256, 256, 256)),
            (7, 6, (172, 170, 170), None),
        ):
            for block in range(count):
                x = self.mixed(x, f"features.{stage}.model.{block}", split, 1, True)
            seen(x)
            if after:
                x = seen(self.mixed(x, f"features.{stage + 1}", after, 2, False))
        x = seen(self.conv_block(x, "features.8"))
        maps = []
        for head in ("cat_head0", "cat_head1"):
            at = f"{head}.CoordAtt"
            rows = self.linear_block(x, f"{at}.Linear_h", groups=512)
            columns = self.linear_block(x, f"{at}.Linear_w", groups=512).transpose(2, 3)
            rows, columns = self.gates(torch.cat([rows, columns], 2), 7, at)
            maps.append(rows * columns)
        x = x * torch.stack(maps).amax(0)
        embeddings = self.linear_block(x, "Linear", groups=512)[:, :, 0, 0]
        return shapes, embeddings @ self.state["fc.weight"].T + self.state["fc.bias"], embeddings


def test_ddamfn_computes_what_an_independent_recomputation_gives() -> None:
    spec = published.spec(card("ddamfnet_8_mtl"))
    net = published.network(card("ddamfnet_8_mtl"))
    images = published.batch(3, spec, 9)
    with torch.inference_mode():
        scores, embeddings = net(images)
        shapes, expected, features = Recomputed(net.state_dict()).shapes_and_scores(images)
    assert shapes == [
        (64, 56, 56),
        (64, 56, 56),
        (64, 28, 28),
        (64, 28, 28),
        (128, 14, 14),
        (128, 14, 14),
        (256, 7, 7),
        (256, 7, 7),
        (512, 7, 7),
    ]
    np.testing.assert_allclose(embeddings, features, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-4)
    assert scores.std(0).min() > 0.1, "a test that sees nothing: the outputs hardly vary"


def test_layers_that_the_originals_never_apply_are_never_applied() -> None:
    net = published.network(card("ddamfnet_8"))
    images = published.batch(2, published.spec(card("ddamfnet_8")))
    with torch.inference_mode():
        before = net(images)[0]
        unused = [
            value
            for name, value in net.named_parameters()
            if ".conv_dw.bn" in name or ".conv_dw.prelu" in name or "CoordAtt.Linear." in name or name[:3] == "bn."
        ]
        for value in unused:
            value.fill_(float("nan"))
        after = net(images)[0]
    assert sum(value.numel() for value in unused) == 29_184 + 2 * 26_112 + 2 * 8
    assert torch.equal(before, after)


def test_every_architecture_has_the_embedding_and_the_outputs_of_its_card() -> None:
    done = set()
    for model in MODELS.values():
        for architecture in model.network.architectures if model.network else ():
            if architecture in done:
                continue
            done.add(architecture)
            spec = published.spec(model)
            net = architectures.build(architecture, spec.outputs)
            with torch.inference_mode():
                scores, embeddings = net(torch.zeros(1, 3, spec.size, spec.size))
            assert scores.shape == (1, spec.outputs)
            assert embeddings.shape == (1, spec.embedding_size) == (1, net.embedding_size)
    sizes = {f"_{size}" for size in architectures.SMALL_SIZES}
    # The first MobileFaceNet is there to be trained, and other sizes of a network are that network.
    unpublished = {name for name in architectures.ARCHITECTURES if name[-3:] in sizes} | {
        "mobilefacenet_first",
        "ddamfn_deep",
    }
    assert done >= set(architectures.ARCHITECTURES) - unpublished


def test_the_score_is_the_network_s_own_output() -> None:
    net: Any = published.network(card("mobilevit_va_mtl"))
    images = published.batch(2, published.spec(card("mobilevit_va_mtl")))
    with torch.inference_mode():
        assert torch.equal(net(images)[0], net.net(images))


def test_timm_imports_beside_any_torchvision_in_a_fresh_process() -> None:
    code = (
        "from hsemotion_cli.models.architectures import import_timm\n"
        "import_timm(); t = import_timm()\n"
        "import torchvision, torch\n"
        "print(t.create_model('tf_efficientnet_b0', num_classes=8).num_features)\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "1280"), done.stderr


def test_a_mirrored_network_predicts_the_mean_of_both_sides() -> None:
    torch.manual_seed(0)
    plain, both = (
        architectures.build("mobilefacenet_first_48", 5),
        architectures.build("mobilefacenet_first_48+mirror", 5),
    )
    both.load_state_dict(plain.state_dict())
    images = torch.randn(3, 3, 48, 48)
    with torch.no_grad():
        (scores, embeddings), (mirror_scores, mirror_embeddings) = plain(images), plain(images.flip(3))
        found = both(images)
        other_side = both(images.flip(3))
    assert not torch.allclose(scores, mirror_scores, rtol=1e-3)
    torch.testing.assert_close(found[0], (scores + mirror_scores) / 2)
    torch.testing.assert_close(found[1], (embeddings + mirror_embeddings) / 2)
    torch.testing.assert_close(other_side, found)
    assert architectures.known("mobilefacenet_first_48+mirror") and not architectures.known("nonesuch+mirror")
    with pytest.raises(KeyError):
        architectures.build("nonesuch+mirror", 5)


def test_the_faster_way_back_through_prelu_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 6, 5, 7)
    x[0, 0, 0, :3] = torch.tensor([0.0, -0.0, 1e-30])
    found = []
    for training in (False, True):
        layer = architectures.PReLU(6)
        layer.weight.data = torch.tensor([0.25, -0.5, 0.0, 1.0, 2.0, 0.1])
        layer.train(training)
        given = x.clone().requires_grad_()
        said = layer(given)
        assert ("FasterBack" in type(said.grad_fn).__name__) == training
        said.backward(torch.arange(said.numel(), dtype=torch.float32).view_as(said) / 100)
        found.append((said.detach(), known(given.grad), known(layer.weight.grad)))
    for plain, faster in zip(*found, strict=True):
        torch.testing.assert_close(faster, plain, rtol=1e-6, atol=1e-6)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
