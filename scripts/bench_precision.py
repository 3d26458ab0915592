"""What less than float32 gains and costs: int8 in ONNX Runtime, bfloat16 in OpenVINO, on the faces of real videos.

    python scripts/bench_precision.py --calibrate VIDEO ... --measure VIDEO ... [--model MODEL] [--threads N]

Needs torch and timm, the onnx package and OpenVINO. int8 is ONNX Runtime's static quantisation (QDQ): uint8 maps by
their smallest and largest values on the faces of the videos to calibrate with, int8 weights, one scale per channel.
What is measured takes turns, one face at a time; ratios are to ONNX Runtime in float32. The deviations are those from
it, on the faces of the videos to measure with: the share of faces with the same expression, the mean and the largest
difference of the probability of an expression, and of valence and arousal. A network that is not part of the program
has random weights (as ``tests/published.py`` makes them), whose deviations are larger than a trained one's: read only
its ratios.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import hsemotion_cli  # noqa: F401  (first: it turns off usage reports before onnxruntime is imported)

# isort: split
import bench_networks
import onnxruntime
import published
from onnxruntime import quantization

from hsemotion_cli.domain import Image
from hsemotion_cli.errors import HsemotionError
from hsemotion_cli.faces.detector import FaceDetector, detect_faces
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import open_source
from hsemotion_cli.models import engines, onnx_graphs, openvino
from hsemotion_cli.models.cards import NetworkSpec
from hsemotion_cli.models.network_model import interpret, prepare
from hsemotion_cli.models.registry import ModelCard, card

Engine = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def faces(paths: Sequence[Path], model: ModelCard, every: int) -> np.ndarray:
    """The face crops of every n-th frame, as the network receives them."""
    found: list[Image] = []
    assert model.crop is not None, model.name
    with FaceDetector() as finder:
        for path in paths:
            for frame in open_source(path).frames(Sampling(every=every)):
                sighting = detect_faces(frame, finder, [model.crop])
                found += [face.crops[model.crop] for face in sighting.faces]
    return prepare(found, published.spec(model), published.spec(model).resize["torch"])


class Calibration(quantization.CalibrationDataReader):
    """Faces, one after another."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        image = next(self.images, None)
        return None if image is None else {"input": image[None]}


def quantised(graph: bytes, images: np.ndarray, folder: Path) -> bytes:
    """A graph in int8; it is brought into the form in which it is run before, so that no PRelu is left alone."""
    fast, small = folder / "fast.onnx", folder / "int8.onnx"
    fast.write_bytes(onnx_graphs.with_fast_prelu(graph))
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "simple.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_free_dimension_override_by_name("faces", 1)
    onnxruntime.InferenceSession(str(fast), options, providers=["CPUExecutionProvider"])
    logging.disable(logging.WARNING)  # it advises the pre-processing that has just been done
    quantization.quantize_static(
        folder / "simple.onnx", small, Calibration(images), quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QUInt8, weight_type=quantization.QuantType.QInt8, per_channel=True,
    )  # fmt: skip
    return small.read_bytes()


def deviations(engine: Engine, reference: Engine, images: np.ndarray, spec: NetworkSpec) -> str:
    """The cells of a line of the table."""
    ours, theirs = (interpret(each(images)[0], spec) for each in (engine, reference))
    one, other = (np.nan_to_num(scores["expression"]) for scores in (ours, theirs))
    cells = [f"{(one.argmax(1) == other.argmax(1)).mean():.1%}"]
    for task in ("expression", "valence_arousal"):
        if task in ours:
            difference = np.abs(ours[task] - theirs[task])
            cells.append(f"{np.nanmean(difference):.4f}, {np.nanmax(difference):.3f}")
    return " | ".join(cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calibrate", type=Path, nargs="+", required=True, metavar="VIDEO")
    parser.add_argument("--measure", type=Path, nargs="+", required=True, metavar="VIDEO")
    parser.add_argument("--model", default="mt-mobilefacenet")
    parser.add_argument("--every", type=int, default=5, help="of how many frames one is taken")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    model = card(options.model)
    spec = published.spec(model)
    known, new = (faces(paths, model, options.every) for paths in (options.calibrate, options.measure))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        onnx_graphs.export(bench_networks.network(model), spec.size, folder / "a.onnx")
        graph = (folder / "a.onnx").read_bytes()
        outputs, threads = engines.SCORES_AND_EMBEDDINGS, options.threads
        reference = engines.OnnxEngine(graph, outputs, threads)
        runners: dict[str, Engine] = {
            "ONNX Runtime fp32": reference,
            "ONNX Runtime int8": engines.OnnxEngine(quantised(graph, known, folder), outputs, threads),
            "OpenVINO fp32": openvino.OpenVinoEngine(graph, outputs, spec.size, "fp32", threads),
        }
    try:
        openvino.check("bf16")
        runners["OpenVINO bf16"] = openvino.OpenVinoEngine(graph, outputs, spec.size, "bf16", threads)
    except HsemotionError as error:
        print(error)
    image = new[:1]
    calls = {name: lambda engine=engine: engine(image) for name, engine in runners.items()}
    times = bench_networks.race(calls, options.rounds)
    print(f"{model.name}: {len(known)} faces to calibrate with, {len(new)} to measure with, {threads} threads")
    print("| | ratio | same expression | probabilities: mean, largest | valence and arousal |\n|---|---|---|---|---|")
    for name, engine in runners.items():
        ratio = np.median(np.array(times["ONNX Runtime fp32"]) / np.array(times[name]))
        print(f"| {name} | {ratio:.2f} | {deviations(engine, reference, new, spec)} |")


if __name__ == "__main__":
    main()
