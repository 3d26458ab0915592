"""Parameters and speed of every network, torch eager against ONNX Runtime, in one run.

    python scripts/bench_networks.py [--threads N] [--rounds N] [MODEL ...]

Needs torch and timm. The weights are random, which changes no speed; models that share an architecture and size
are measured once. The backends take turns, and the median of the rounds counts, so that a busy machine slows all
of them alike: read the ratios, not the milliseconds. The times are those of the network alone, without resizing.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


def measure(model: str, threads: int, rounds: int, folder: Path) -> str:
    """One line of the table."""
    import published
    import torch

    from hsemotion_cli.networks import engines, onnx_graphs
    from hsemotion_cli.registry import card

    spec = card(model).network
    torch.set_num_threads(threads)
    net = published.network(card(model))
    count = sum(parameter.numel() for parameter in net.parameters())
    onnx_graphs.export(net, spec.size, folder / f"{model}.onnx")
    content = (folder / f"{model}.onnx").read_bytes()
    graph = engines.OnnxEngine(content, ("scores", "embeddings"), threads)
    images = published.batch(8, spec).numpy()

    def eager(batch: np.ndarray) -> None:
        with torch.inference_mode():
            net(torch.from_numpy(batch))

    eager(images)
    difference = np.abs(graph(images)[0] - net(torch.from_numpy(images))[0].detach().numpy()).max()
    times: dict[str, list[float]] = {"torch 1": [], "torch 8": [], "channels 8": [], "onnx 1": [], "onnx 8": []}
    last = engines.TorchEngine(published.network(card(model)), "cpu")
    for k in range(rounds + 1):
        for name, run, size in (
            ("torch 1", eager, 1),
            ("torch 8", eager, 8),
            ("channels 8", last, 8),
            ("onnx 1", graph, 1),
            ("onnx 8", graph, 8),
        ):
            start = time.perf_counter()
            run(images[:size])
            if k:  # the first round warms up
                times[name].append((time.perf_counter() - start) * 1000 / size)
    median = {name: float(np.median(values)) for name, values in times.items()}
    cells = "".join(f"{median[name]:11.1f}" for name in times)
    ratio = median["torch 1"] / median["onnx 1"]
    return f"{spec.architectures[0]:20} {spec.size:4} {count / 1e6:7.3f} {cells} {ratio:9.2f} {difference:9.1e}"


def main() -> None:
    """Print the table."""
    from hsemotion_cli.networks.cards import NETWORKS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    one_of_each = {entry.network.architectures[0]: entry.name for entry in reversed(NETWORKS)}
    print(f"ms per face, {options.threads} threads, median of {options.rounds} rounds; batch of 1 or 8")
    print(
        f"{'architecture':20} {'size':>4} {'M par.':>7} {'torch b1':>11}{'torch b8':>11}{'ch.last b8':>11}"
        f"{'onnx b1':>11}{'onnx b8':>11} {'b1 ratio':>9} {'max diff.':>9}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models or one_of_each.values():
            print(measure(model, options.threads, options.rounds, Path(folder)), flush=True)


if __name__ == "__main__":
    main()
