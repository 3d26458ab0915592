"""Train the network that tells faces from false alarms, ``hsemotion_cli/assets/face_classifier.onnx``.

    python scripts/collect_candidates.py ... -o candidates.npz
    python scripts/train_face_classifier.py candidates.npz

Needs torch and onnx; takes some minutes on one core. Every epoch sees a part of the faces and twice as many false
alarms: the hardest for the network so far, and others. The weights are stored in half precision and computed with in
single precision. ``fit_verification.py`` then fits the weights by which the detector uses the network's output.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import tempfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from collect_candidates import MARGIN, STORED
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from hsemotion_cli.faces.face_classifier import CLASSIFIER, SIZE, normalised

OUT = Path(__file__).resolve().parent.parent / "hsemotion_cli" / "assets" / CLASSIFIER

FACES, MINED = 12_000, 50_000
"""Faces in an epoch, and false alarms among which the hardest are looked for."""

SHIFT, GROWTH, TURN = 0.06, 0.12, 0.15
"""How far a candidate is moved (in sides of the crop), enlarged, and turned (radians) while training: standard
deviations, about those of BlazeFace's boxes around small faces."""


class Classifier(nn.Module):
    """(n, 1, 48, 48) -> (n, 1) logits; 55,000 weights, 2.5 million multiplications."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolved(1, 16, stride=2),
            *_convolved(16, 32, stride=2),
            *_convolved(32, 40),
            nn.MaxPool2d(2),
            *_convolved(40, 64),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(64 * 9, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
        )

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        return self.layers(seen)


def _convolved(given: int, made: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(given, made, 3, stride, padding=1, bias=False)
    return [convolution, nn.BatchNorm2d(made), nn.ReLU()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", type=Path, nargs="+")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, default=OUT)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    torch.manual_seed(options.seed)
    rng = np.random.default_rng(options.seed)
    parts = [np.load(path) for path in options.candidates]
    crops = np.concatenate([part["crops"] for part in parts])
    truth = np.concatenate([part["truth"] for part in parts])
    tested = rng.random(len(truth)) < 0.05  # to watch the training by, nothing more: scenes are shared
    print(f"{len(truth)} candidates, {truth.sum()} faces", flush=True)
    network = train(crops, truth, np.flatnonzero(~tested), options.epochs, rng)
    with torch.no_grad():
        report(predicted(network, crops[tested]), truth[tested])
    write(network, options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes, "
          f"SHA-256 {hashlib.sha256(options.out.read_bytes()).hexdigest()}")  # fmt: skip


def train(
    crops: NDArray[np.uint8],
    truth: NDArray[np.bool_],
    used: NDArray[np.int64],
    epochs: int,
    rng: np.random.Generator,
) -> Classifier:
    """Fit to the candidates ``used``: faces and hard false alarms."""
    network = Classifier()
    faces, others = used[truth[used]], used[~truth[used]]
    count = min(FACES, len(faces))
    batch = 128
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    steps = epochs * (3 * count // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps + 1)
    for epoch in range(epochs):
        chosen = rng.permutation(others)[: 2 * count]
        if epoch:
            among = rng.permutation(others)[:MINED]
            with torch.no_grad():
                scores = predicted(network, crops[among])
            chosen = np.concatenate([among[np.argsort(-scores)[:count]], chosen[:count]])
        picked = rng.permutation(faces)[:count]
        order = rng.permutation(np.concatenate([picked, chosen]))
        network.train()
        losses = []
        for k in range(0, len(order) - batch + 1, batch):
            rows = order[k : k + batch]
            seen = torch.from_numpy(np.stack([varied(crops[row], rng) for row in rows]))
            target = torch.from_numpy(truth[rows].astype(np.float32))
            # Slightly smoothed: a crop that shows a third of a hidden face is not a face for sure.
            loss = functional.binary_cross_entropy_with_logits(network(seen)[:, 0], 0.98 * target + 0.01)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}", flush=True)
    return network.eval()


def varied(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.float32]:
    """(1, 48, 48): a stored crop a little moved, enlarged, turned, mirrored, blurred, noisy, covered."""
    angle, scale = rng.normal(0, TURN), math.exp(rng.normal(0, GROWTH))
    cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
    mirror = -1 if rng.random() < 0.5 else 1
    matrix = np.array([[cos * mirror, -sin, 0.0], [sin * mirror, cos, 0.0]])
    shift = rng.normal(0, SHIFT * SIZE, 2) + (STORED - 1) / 2
    matrix[:, 2] = shift - matrix[:, :2] @ np.full(2, (SIZE - 1) / 2)
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(crop, matrix, (SIZE, SIZE), flags=how, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    if rng.random() < 0.25:
        seen = np.asarray(cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.4, 1.6)), np.float32)
    if rng.random() < 0.3:
        power = math.exp(rng.normal(0, 0.4))
        seen = (255 * np.power(np.clip(seen, 0, 255) / 255, power)).astype(np.float32)
    if rng.random() < 0.25:  # light from one side
        ramp = np.linspace(-1, 1, SIZE, dtype=np.float32) * rng.uniform(-0.5, 0.5)
        seen = seen * (1 + (ramp if rng.random() < 0.5 else ramp[:, None]))
    if rng.random() < 0.25:
        seen = seen + np.asarray(rng.normal(0, rng.uniform(1, 12), seen.shape), np.float32)
    if rng.random() < 0.15:
        left, top = rng.integers(0, SIZE, 2)
        seen[top : top + rng.integers(4, 18), left : left + rng.integers(4, 18)] = rng.uniform(0, 255)
    return normalised(np.clip(seen, 0, 255).astype(np.uint8)[None])


def predicted(network: Classifier, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n,) logits of stored crops as they are."""
    network.eval()
    edge = (STORED - SIZE) // 2
    inner = crops[:, edge : edge + SIZE, edge : edge + SIZE]
    parts = [normalised(inner[k : k + 512])[:, None] for k in range(0, len(inner), 512)]
    return np.concatenate([network(torch.from_numpy(part)).numpy()[:, 0] for part in parts])


def report(scores: NDArray[np.float32], truth: NDArray[np.bool_]) -> None:
    for limit in (-2, 0, 2, 4):
        print(f"logit {limit}: {np.mean(scores[truth] >= limit):.4f} of the faces, "
              f"{np.mean(scores[~truth] >= limit):.4f} of the false alarms")  # fmt: skip


def write(network: Classifier, path: Path) -> None:
    """As ONNX, the normalisation folded into the convolutions, and the weights in half precision."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        axes = {"input": {0: "n"}, "logit": {0: "n"}}
        torch.onnx.export(
            network, (torch.zeros(2, 1, SIZE, SIZE),), str(whole), input_names=["input"], output_names=["logit"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
        model = onnx.load(str(whole))
    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < 256:
            continue
        graph.initializer.remove(tensor)
        graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), tensor.name + "_half"))
        casts.append(helper.make_node("Cast", [tensor.name + "_half"], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del model.metadata_props[:]
    model.doc_string = graph.doc_string = ""
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


assert STORED == MARGIN * SIZE

if __name__ == "__main__":
    main()
