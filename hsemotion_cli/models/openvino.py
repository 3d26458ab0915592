"""OpenVINO engine: faster than ONNX Runtime on some CPUs, and able to compute in bfloat16."""

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
"""Precisions that this engine supports."""


class OpenVinoEngine:
    """A graph in OpenVINO, on the CPU; several threads may call it at once.

    It computes in float32 unless bfloat16 is requested: OpenVINO's default is bfloat16 on CPUs that have it, so results
    would depend on the machine. The scores of a face do not depend on the other faces, bit for bit.

    Args:
        model: a serialised ONNX model.
        outputs: names of the scores and of the embeddings.
        size: width and height of the input in pixels.
        threads: per face; as many faces are computed at once as the cores allow. None uses all cores for one face.

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
            # Each call uses one stream, so N calling threads use N streams, as in ONNX Runtime.
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams * threads if threads else cores,
        }
        try:
            graph = core.read_model(model)
            graph.reshape([self.batch, 3, size, size])
            self._compiled = core.compile_model(graph, "CPU", options)
            self._outputs = [self._compiled.output(name) for name in outputs]
        except RuntimeError as error:  # OpenVINO's exceptions have no other base class
            reason = " ".join(str(error).split())
            raise ModelUnavailable(f"OpenVINO cannot use it ({reason[-200:]}); use --backend onnx.") from error
        self._own = threading.local()

    def __call__(self, images: Floats) -> tuple[Floats, Floats]:
        if not hasattr(self._own, "request"):
            self._own.request = self._compiled.create_infer_request()
        request, rows = self._own.request, []
        for k in range(len(images)):
            request.infer([np.ascontiguousarray(images[k : k + 1])])
            # The returned arrays are views of OpenVINO's memory, overwritten by the next face.
            rows.append([request.get_tensor(output).data.astype(np.float32) for output in self._outputs])
        scores, embeddings = zip(*rows, strict=True)
        return np.concatenate(scores), np.concatenate(embeddings)


def import_openvino() -> ModuleType:
    """Import OpenVINO without its package for usage reports.

    Raises:
        ModelUnavailable: it is not installed.
    """
    # openvino_telemetry, which sends the reports, is blocked: see runtime.privacy.
    try:
        import openvino
    except ImportError as error:
        raise ModelUnavailable(
            f"--backend openvino needs OpenVINO ({error}): pip install 'hsemotion-cli[openvino]'."
        ) from error
    return openvino


def check(precision: str) -> None:
    """Check that OpenVINO is installed and supports a precision.

    Raises:
        UsageError: the precision is not supported.
        ModelUnavailable: OpenVINO is not installed, or this CPU does not support the precision.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision {precision}: the openvino backend computes in {' or '.join(PRECISIONS)}.")
    core = import_openvino().Core()
    # On other CPUs it would be emulated, or silently replaced by float32.
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelUnavailable("--precision bf16: this CPU has no bfloat16 (AVX512_BF16 or AMX); leave it out.")
