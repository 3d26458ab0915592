"""OpenVINO as what runs a graph: for CPUs on which it is the faster, and for bfloat16 on those that have it."""

from __future__ import annotations

import threading
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelUnavailable, UsageError
from ..runtime import resources

Floats = NDArray[np.float32]

_HINTS = {"fp32": "f32", "bf16": "bf16"}

PRECISIONS = tuple(_HINTS)
"""Those that it computes in here."""


class OpenVinoEngine:
    """A graph in OpenVINO, on the CPU; one of them may serve many threads.

    It computes in float32 unless bfloat16 is asked for: left alone, it takes bfloat16 wherever the CPU has it, and
    results would depend on the machine. A face gets the same bits whatever comes with it.

    Args:
        model: a serialised ONNX model.
        outputs: names of the scores and of the embeddings.
        size: width and height of the input in pixels.
        threads: that compute one face; as many faces at once as have room on the CPU, for as many callers. None is
            all of them for one face.

    Raises:
        ModelUnavailable: OpenVINO is not installed, or cannot use the model.
    """

    backend = "openvino"
    device = "cpu"
    batch = 1

    def __init__(
        self, model: bytes, outputs: tuple[str, str], size: int, precision: str = "fp32", threads: int | None = None
    ) -> None:
        core = import_openvino().Core()
        cores = resources.cores()
        streams = max(1, cores // threads) if threads else 1
        options = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            # One call keeps one stream busy, so that N threads that call it at once use N, as in ONNX Runtime.
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads if threads else cores,
        }
        try:
            graph = core.read_model(model)
            graph.reshape([self.batch, 3, size, size])
            self._compiled = core.compile_model(graph, "CPU", options)
            self._outputs = [self._compiled.output(name) for name in outputs]
        except RuntimeError as error:  # its exceptions have no other parent
            reason = " ".join(str(error).split())
            raise ModelUnavailable(f"OpenVINO cannot use it ({reason[-200:]}); use --backend onnx.") from error
        self._own = threading.local()

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        request, rows = self._own.request, []
        for k in range(len(images)):
            request.infer([np.ascontiguousarray(images[k : k + 1])])
            # What it returns lies in its own memory and is overwritten by the next face.
            rows.append([request.get_tensor(output).data.astype(np.float32) for output in self._outputs])
        scores, embeddings = zip(*rows, strict=True)
        return np.concatenate(scores), np.concatenate(embeddings)


def import_openvino() -> ModuleType:
    """OpenVINO without the package by which it reports usage over the network.

    Raises:
        ModelUnavailable: it is not installed.
    """
    # Its reporter, openvino_telemetry, cannot be imported: see runtime.privacy.
    try:
        import openvino
    except ImportError as error:
        raise ModelUnavailable(
            f"--backend openvino needs OpenVINO ({error}): pip install 'hsemotion-cli[openvino]'."
        ) from error
    return openvino


def check(precision: str) -> None:
    """Make sure that OpenVINO is here and computes in a precision.

    Raises:
        UsageError: it never does.
        ModelUnavailable: it is not installed, or not on this CPU.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: the openvino backend computes in {' or '.join(PRECISIONS)}.")
    core = import_openvino().Core()
    # Where the CPU has none it would be emulated, or float32 be taken without a word.
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelUnavailable("--precision bf16: this CPU has no bfloat16 (AVX512_BF16 or AMX); leave it out.")
