"""Parameters and speed of every network on each backend, in one run.

    python scripts/bench_networks.py [--threads N] [--rounds N] [MODEL ...]
    python scripts/bench_networks.py --device cuda --batch 256 --precision fp16 [MODEL ...]

Needs torch and timm. Weights are random, but for the network that is part of the program; that changes no speed. Models
that share an architecture and size are measured once. What is compared takes turns, and the median of the rounds
counts, so that a busy machine slows all of it alike: read the ratios, not the milliseconds.

On the CPU it is the network alone, without resizing, one face at a time: torch eager as the authors' code runs it,
our torch engine, ONNX Runtime with the graph as torch exports it ("plain") and as our engine gives it, and OpenVINO.
The ratios are to "plain". On a GPU it is the torch engine with batches of faces that lie on the device already, and
from crops of 160 x 160 pixels in the CPU's memory. "TFLOP/s" are those that a network gets done, with two for a
multiplication and its addition; above stands what a product of two large matrices gets done there in that precision.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

import published
import torch
from torch.utils.flop_counter import FlopCounterMode

from hsemotion_cli.errors import HsemotionError
from hsemotion_cli.models import architectures, engines, model_file, onnx_graphs, openvino, reparameterise
from hsemotion_cli.models.cards import NETWORKS
from hsemotion_cli.models.gpu_preprocess import GpuPreprocessor
from hsemotion_cli.models.registry import SHIPPED, ModelCard, card


def network(model: ModelCard) -> architectures.Network:
    """With its own weights where it is part of the program, else with random ones."""
    return model_file.load(model, model.path) if model.path else published.network(model)


LEAST = 0.05
"""Seconds that what is measured takes at least, so that one turn of another process does not decide a round."""


def race(runners: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of one run of each runner in each round, in turns; what comes before the first round warms up."""
    repeats = {}
    for name, run in runners.items():
        run()
        start = time.perf_counter()
        run()
        repeats[name] = max(1, round(LEAST / (time.perf_counter() - start)))
    times: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, run in runners.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times


def plain_session(
    net: architectures.Network, size: int, threads: int, folder: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """ONNX Runtime with a network's own layers and no help from us."""
    import onnxruntime

    with mock.patch.object(reparameterise, "reparameterise", lambda network: network):
        onnx_graphs.export(net, size, folder / "plain.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(str(folder / "plain.onnx"), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"input": images})[0]


def on_the_cpu(model: ModelCard, threads: int, rounds: int, folder: Path) -> None:
    """Print one line of the table."""
    spec, net = published.spec(model), network(model)
    image = published.batch(1, spec).numpy()
    plain = plain_session(net, spec.size, threads, folder)
    onnx_graphs.export(net, spec.size, folder / "a.onnx")
    graph = (folder / "a.onnx").read_bytes()
    ours = engines.OnnxEngine(graph, engines.SCORES_AND_EMBEDDINGS, threads)
    last = engines.TorchEngine(network(model), "cpu", threads=threads)

    def eager() -> None:
        with torch.no_grad():
            net(torch.from_numpy(image))

    runners = {
        "eager": eager,
        "torch": lambda: last(image),
        "plain": lambda: plain(image),
        "onnx": lambda: ours(image),
    }
    for name, precision in (("openvino", "fp32"), ("ov bf16", "bf16")):
        try:
            openvino.check(precision)
        except HsemotionError:
            continue
        engine = openvino.OpenVinoEngine(graph, engines.SCORES_AND_EMBEDDINGS, spec.size, precision, threads)
        runners[name] = partial(engine, image)
    times = race(runners, rounds)
    count = sum(parameter.numel() for parameter in net.parameters())
    cells = ""
    for values in times.values():
        ratio = np.median(np.array(times["plain"]) / np.array(values))
        cells += f" | {1000 * np.median(values):.1f} ({ratio:.2f}x)"
    difference = np.abs(ours(image)[0] - plain(image)).max()
    print(f"| {spec.architectures[0]} | {spec.size} | {count / 1e6:.2f}{cells} | {difference:.1e} |", flush=True)


def heading(threads: int) -> None:
    """Print the head of the table for the CPU."""
    names = ["eager", "torch", "plain", "onnx"]
    for name, precision in (("openvino", "fp32"), ("ov bf16", "bf16")):
        try:
            openvino.check(precision)
            names.append(name)
        except HsemotionError as error:
            print(f"without {name}: {error}")
    print(f"ms per face, {threads} threads, and how many times as fast as plain")
    print(
        "| network | input | M par. | " + " | ".join(names) + " | onnx to plain |\n" + "|---" * (4 + len(names)) + "|"
    )


def on_a_gpu(model: ModelCard, device: str, batch: int, precision: str, rounds: int) -> None:
    """Print one line of the table."""
    spec, net = published.spec(model), network(model)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(torch.zeros(1, 3, spec.size, spec.size))
    work = counter.get_total_flops()
    engine, prepare = engines.TorchEngine(net, device, precision), GpuPreprocessor(spec, device)
    crops = list(np.random.default_rng(0).integers(0, 256, (batch, 160, 160, 3), np.uint8))
    there = prepare(crops)
    times = race({"network": lambda: engine(there), "all": lambda: engine(prepare(crops))}, rounds)
    rate = {name: batch / np.median(values) for name, values in times.items()}
    print(
        f"| {spec.architectures[0]} | {spec.size} | {work / 1e9:.2f} | {rate['network']:.0f} | {rate['all']:.0f} "
        f"| {rate['network'] * work / 1e12:.2f} |",
        flush=True,
    )


def limit(device: str, precision: str, rounds: int) -> float:
    """TFLOP/s of a product of two matrices, 8192 x 8192 on a GPU."""
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 8192 if device.startswith("cuda") else 1024
    matrix = torch.randn(size, size, device=device).to(kind)
    times = race({"product": lambda: (matrix @ matrix)[0, 0].item()}, rounds)
    return 2 * size**3 / float(np.median(times["product"])) / 1e12


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda|cuda:N")
    parser.add_argument("--batch", type=int, help="faces at once; the table of a GPU, also for the CPU")
    parser.add_argument("--precision", default="fp32", choices=engines.PRECISIONS, help="on a GPU, or with --batch")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = engines.resolve_device(options.device, "torch")
    one_of_each = {published.spec(entry).architectures[0]: entry.name for entry in reversed(NETWORKS)}
    models = options.models or [*(name.removesuffix(model_file.SUFFIX) for name in SHIPPED), *one_of_each.values()]
    if device == "cpu" and options.batch is None:
        heading(options.threads)
        with tempfile.TemporaryDirectory() as folder:
            for model in models:
                on_the_cpu(card(model), options.threads, options.rounds, Path(folder))
        return
    batch = options.batch or engines.GPU_BATCH
    name = torch.cuda.get_device_name(device) if device != "cpu" else f"the CPU, {options.threads} threads"
    most = limit(device, options.precision, options.rounds)
    print(f"{name}: batches of {batch}, {options.precision}; a product of large matrices: {most:.2f} TFLOP/s")
    print(
        "| network | input | GFLOP per face | faces/s, network | faces/s, with preparing | TFLOP/s |\n"
        + "|---" * 6
        + "|"
    )
    for model in models:
        on_a_gpu(card(model), device, batch, options.precision, options.rounds)


if __name__ == "__main__":
    main()
