"""The same networks in ONNX Runtime in other words: what each form of a graph gains.

    python scripts/bench_graphs.py [--threads N] [--rounds N] [MODEL ...]

Needs torch, timm and the onnx package. Forms take turns, one face at a time; the ratio is to the graph as torch exports
it. "difference" is the largest of a raw score from that graph. Forms change one thing and leave the rest as it was, but
for those after "and": there each line adds to "PReLU as here" and the lines between.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import hsemotion_cli  # noqa: F401  (first: it turns off usage reports before onnxruntime is imported)

# isort: split
import bench_networks
import onnx
import onnxruntime
import published
from onnx import helper, numpy_helper

from hsemotion_cli.models import architectures, engines, onnx_graphs, reparameterise
from hsemotion_cli.models.registry import card

MODELS = ("mt-mobilefacenet", "mbf_va_mtl", "ddamfn_affectnet8", "enet_b0_8_va_mtl")

Run = Callable[[np.ndarray], Sequence[np.ndarray]]
Nodes = list[onnx.NodeProto]


def session(graph: bytes, threads: int, fixed: bool = False, without: Sequence[str] = ()) -> Run:
    """ONNX Runtime, with a fixed number of faces or without some of its own optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if fixed:
        options.add_free_dimension_override_by_name("faces", 1)
    made = onnxruntime.InferenceSession(
        graph, options, providers=["CPUExecutionProvider"], disabled_optimizers=list(without)
    )
    return lambda images: made.run(None, {"input": images})


def shares(graph: bytes, image: np.ndarray, threads: int) -> str:
    """Which operators a graph spends its time in, as ONNX Runtime's profiler has it over 30 faces."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    with tempfile.TemporaryDirectory() as folder:
        options.enable_profiling, options.profile_file_prefix = True, f"{folder}/profile"
        made = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(30):
            made.run(None, {"input": image})
        events = json.loads(Path(made.end_profiling()).read_text())
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"]
    total = sum(spent.values())
    return ", ".join(f"{kind} {value / total:.0%}" for kind, value in spent.most_common(5))


def with_prelu(graph: bytes, form: Callable[[str, str, np.ndarray, str, Callable[..., str]], Nodes]) -> bytes:
    """Every PRelu in other words: ``form`` is given x, slope, its values, y and a function that makes constants."""
    model = onnx.load_from_string(graph)
    slopes = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: Nodes = []
    for node in model.graph.node:
        if node.op_type != "PRelu":
            nodes.append(node)
            continue

        def constant(values: np.ndarray, y: str = node.output[0]) -> str:
            name = f"{y}/{len(model.graph.initializer)}"
            model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), name))
            return name

        x, slope = node.input
        nodes += form(x, slope, slopes[slope], node.output[0], constant)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model.SerializeToString()


def chosen(x: str, slope: str, _: np.ndarray, y: str, constant: Callable[..., str]) -> Nodes:
    """Where(x > 0, x, slope x)."""
    return [
        helper.make_node("Mul", [x, slope], [f"{y}/m"]),
        helper.make_node("Greater", [x, constant(np.zeros(()))], [f"{y}/g"]),
        helper.make_node("Where", [f"{y}/g", x, f"{y}/m"], [y]),
    ]


def larger(x: str, slope: str, _: np.ndarray, y: str, constant: Callable[..., str]) -> Nodes:
    """Max(x, slope x), right for slopes up to 1."""
    return [helper.make_node("Mul", [x, slope], [f"{y}/m"]), helper.make_node("Max", [x, f"{y}/m"], [y])]


def plainly(x: str, slope: str, _: np.ndarray, y: str, constant: Callable[..., str]) -> Nodes:
    """Relu(x) - slope Relu(-x), each node by itself."""
    return [
        helper.make_node("Relu", [x], [f"{y}/r"]),
        helper.make_node("Neg", [x], [f"{y}/n"]),
        helper.make_node("Relu", [f"{y}/n"], [f"{y}/q"]),
        helper.make_node("Mul", [f"{y}/q", slope], [f"{y}/m"]),
        helper.make_node("Sub", [f"{y}/r", f"{y}/m"], [y]),
    ]


def twice(x: str, _: str, slopes: np.ndarray, y: str, constant: Callable[..., str]) -> Nodes:
    """x + (1 - slope) Relu(-x), by depth-wise 1 x 1 convolutions."""
    shape = (slopes.size, 1, 1, 1)
    minus, rest = constant(np.full(shape, -1)), constant(1 - slopes.reshape(shape))
    return [
        helper.make_node("Conv", [x, minus], [f"{y}/n"], group=slopes.size),
        helper.make_node("Relu", [f"{y}/n"], [f"{y}/q"]),
        helper.make_node("Conv", [f"{y}/q", rest], [f"{y}/m"], group=slopes.size),
        helper.make_node("Add", [f"{y}/m", x], [y]),
    ]


@contextlib.contextmanager
def leaner(*kinds: str) -> Iterator[None]:
    """While it lasts, networks are exported with these layers replaced only."""
    others = {"MixedDepthwise", "CoordinateAttention", "DirectionAttention"} - set(kinds)
    with contextlib.ExitStack() as stack:
        for kind in others:
            stack.enter_context(mock.patch.object(reparameterise, kind, type("Nothing", (), {})))
        yield


def forms(net: architectures.Network, size: int, threads: int, folder: Path) -> Iterator[tuple[str, Run]]:
    """Name and runner of each form that makes a difference for a network."""

    def exported(*kinds: str) -> bytes:
        with leaner(*kinds):
            onnx_graphs.export(net, size, folder / "a.onnx")
        return (folder / "a.onnx").read_bytes()

    plain, attention = exported(), ("CoordinateAttention", "DirectionAttention")
    kinds = {node.op_type for node in onnx.load_from_string(plain).graph.node}
    yield "as torch exports it", session(plain, threads)
    yield "number of faces fixed", session(plain, threads, fixed=True)
    if "Sigmoid" in kinds and "PRelu" not in kinds:
        yield "without QuickGeluFusion", session(plain, threads, without=["QuickGeluFusion"])
    if "PRelu" in kinds:
        for form in (chosen, larger, plainly, twice):
            yield f"PReLU as {str(form.__doc__).rstrip('.')}", session(with_prelu(plain, form), threads)
        fast = onnx_graphs.with_fast_prelu(plain)
        yield "PReLU as here", session(fast, threads)
        yield "PReLU as here, no blocked layout", session(fast, threads, without=["NchwcTransformer"])
        yield "and number of faces fixed", session(fast, threads, fixed=True)
    if any(isinstance(layer, architectures.MixedDepthwise) for layer in net.modules()):
        for name, layers in (
            ("kernels joined", ("MixedDepthwise",)),
            ("attention apart", ("MixedDepthwise", *attention)),
        ):
            graph = onnx_graphs.with_fast_prelu(exported(*layers))
            yield f"and {name}", session(graph, threads, fixed=True)
    everything = exported("MixedDepthwise", *attention)
    engine = engines.OnnxEngine(everything, engines.SCORES_AND_EMBEDDINGS, threads)
    yield "our engine", engine


def main() -> None:
    """Print one table for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", default=MODELS)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    for name in options.models:
        model = card(name)
        image = published.batch(1, published.spec(model)).numpy()
        net = bench_networks.network(model)
        with tempfile.TemporaryDirectory() as folder:
            onnx_graphs.export(net, published.spec(model).size, Path(folder) / "lean.onnx")
            with leaner():
                onnx_graphs.export(net, published.spec(model).size, Path(folder) / "plain.onnx")
            before = (Path(folder) / "plain.onnx").read_bytes()
            after = onnx_graphs.with_fast_prelu((Path(folder) / "lean.onnx").read_bytes())
            runs = dict(forms(net, published.spec(model).size, options.threads, Path(folder)))
        first = next(iter(runs))
        reference = runs[first](image)[0]
        times = bench_networks.race({key: partial(run, image) for key, run in runs.items()}, options.rounds)
        print(f"\n{name}, {options.threads} threads")
        print(f"time before: {shares(before, image, options.threads)}")
        print(f"time now: {shares(after, image, options.threads)}")
        print("\n| form | ms | ratio | difference |\n|---|---|---|---|")
        for key, run in runs.items():
            ratio = np.median(np.array(times[first]) / np.array(times[key]))
            difference = np.abs(run(image)[0] - reference).max()
            print(f"| {key} | {1000 * np.median(times[key]):.2f} | {ratio:.2f} | {difference:.0e} |", flush=True)


if __name__ == "__main__":
    main()
