"""The checks of ``hsemotion doctor``. Each exercises the real thing instead of reading a version."""

from __future__ import annotations

import hashlib
import importlib
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import distributions, packages_distributions, version
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..errors import HsemotionError, OutputError
from ..runtime import privacy
from .console import Table, Text, print_json, print_table

_OPENCV = "opencv-python-headless"
_COLOURS = {"ok": "green", "warning": "yellow", "FAILS": "red"}
_SYSTEM_LIBRARIES = "on a bare Debian or Ubuntu: apt-get install libegl1 libgles2 libglib2.0-0"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found.

    Attributes:
        check: its name.
        state: "ok"; "warning" for what works, or is not needed, but may surprise; "FAILS".
        says: versions and the like, or what is wrong and how to fix it.
    """

    check: str
    state: Literal["ok", "warning", "FAILS"]
    says: str


class _Warning(Exception):
    """Raised by a check for a finding that does not prevent hsemotion from running."""


def run(*, as_json: bool) -> int:
    """Run every check; returns 0 if none failed, else 3."""
    results = [_result(name, check) for name, check in CHECKS.items()]
    if as_json:
        print_json([{"check": r.check, "ok": r.state != "FAILS", "state": r.state, "says": r.says} for r in results])
    else:
        table = Table()
        for column in ("check", "", "result"):
            table.add_column(column, overflow="fold")
        for result in results:
            table.add_row(result.check, Text(result.state, _COLOURS[result.state]), result.says)
        print_table(table)
    return OutputError.exit_code if any(result.state == "FAILS" for result in results) else 0


def _result(name: str, check: Callable[[], str]) -> CheckResult:
    try:
        return CheckResult(name, "ok", check())
    except _Warning as warning:
        return CheckResult(name, "warning", str(warning))
    except Exception as error:  # any error is the diagnosis
        says = str(error) if isinstance(error, HsemotionError) else f"{type(error).__name__}: {error}"
        return CheckResult(name, "FAILS", says)


def _fail(says: str) -> NoReturn:
    raise HsemotionError(says)


def _python() -> str:
    return sys.version.split()[0]


def _libraries() -> str:
    names = ("numpy", "scipy", "av", "cv2", "mediapipe", "onnxruntime", "pandas", "pyarrow", "PIL", "safetensors")
    return ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in names)


def _one_opencv() -> str:
    """The one distribution that provides ``cv2``; two would overwrite each other's files, which pip does not notice."""
    owners = sorted({_normal(name) for name in packages_distributions().get("cv2", [])})
    if not owners:
        _fail("no OpenCV is installed: pip install opencv-python-headless.")
    if len(owners) == 1:
        return f"{owners[0]} {version(owners[0])}"
    names = " and ".join(f"{name} {version(name)}" for name in owners)
    others = [name for name in owners if name != _OPENCV]
    needed = "".join(f"; {name} came with {', '.join(found)}" for name in others if (found := _that_need(name)))
    raise _Warning(
        f"{names} overwrite each other's files, and cv2 {importlib.import_module('cv2').__version__} is what is left"
        f"{needed}. It works if 'end to end' is ok; to have only one: pip uninstall -y {' '.join(owners)}, then "
        f"pip install {_OPENCV}."
    )


def _that_need(name: str) -> list[str]:
    """Installed distributions that require another one by its name."""
    found = set()
    for distribution in distributions():
        for requirement in distribution.requires or ():
            wanted = re.match(r"[A-Za-z0-9._-]+", requirement)
            if wanted and _normal(wanted[0]) == name and "extra ==" not in requirement:
                found.add(_normal(distribution.name))
    return sorted(found)


def _normal(name: str) -> str:
    """A distribution's name as package registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _no_reporting() -> str:
    import mediapipe

    parts = tuple(int(part) for part in mediapipe.__version__.split(".")[:3])
    if parts >= (0, 10, 34):
        _fail(f"mediapipe {mediapipe.__version__} reports usage over the network: pip install 'mediapipe<0.10.32'.")
    silenced = ", ".join(switch.library for switch in privacy.SWITCHES)
    return f"mediapipe {mediapipe.__version__} opens no connection; usage reports of {silenced} are off"


def _usage_data() -> str:
    found = privacy.leftovers()
    if not found:
        return "no leftovers of ONNX Runtime's usage reports"
    return (
        "ONNX Runtime, run by an earlier revision of hsemotion or by another program, has left a device id and usage "
        f"events; to delete them: rm -r {' '.join(shlex.quote(str(path)) for path in found)}"
    )


def _codecs() -> str:
    missing = [f"{name} decoder" for name in ("h264", "hevc", "vp9", "aac") if not _has(name, "r")]
    missing += [f"{name} encoder" for name in ("libx264", "aac") if not _has(name, "w")]
    if missing:
        _fail(f"PyAV lacks {', '.join(missing)}: install the av wheel from PyPI.")
    return "H.264, HEVC, VP9, AAC; overlays by libx264"


def _has(codec: str, mode: Literal["r", "w"]) -> bool:
    import av

    try:
        av.Codec(codec, mode)
    except ValueError:  # what PyAV raises for a codec that it was built without
        return False
    return True


def _models() -> str:
    from ..faces import face_classifier, mediapipe_onnx
    from ..faces.mediapipe_detector import BUNDLE, BUNDLE_SHA256
    from ..models import graph_file, model_file
    from ..models.registry import ASSETS, MODELS, SHIPPED

    wanted = (
        {BUNDLE: BUNDLE_SHA256}
        | mediapipe_onnx.NETWORKS
        | face_classifier.NETWORKS
        | {c.file: c.sha256 for c in MODELS.values() if c.file and c.sha256}
    )
    for name, sha256 in wanted.items():
        data = files("hsemotion_cli").joinpath("assets", name).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            _fail(f"{name} is damaged: reinstall hsemotion.")
    for name in SHIPPED:
        model_file.verify(ASSETS / name)
        if graph_file.read_graph(ASSETS / name) is None:
            _fail(f"the graph of {name} is missing or damaged: reinstall hsemotion.")
    return f"{len(wanted) + 2 * len(SHIPPED)} files match their SHA-256"


def _torch() -> str:
    """Versions of torch, torchvision and timm; each package that fails to import is reported."""
    if find_spec("torch") is None:
        return "not installed; needed only for GPUs, training and converting checkpoints"
    from ..models.architectures import mend_torchvision

    found: dict[str, str] = {}
    for name in ("torch", "torchvision", "timm"):
        if find_spec(name) is None:
            raise _Warning(
                f"{', '.join(f'{k} {v}' for k, v in found.items())} without {name}, which checkpoints and training "
                "need: pip install 'hsemotion-cli[torch]'. Annotating works without."
            )
        try:
            if name == "torchvision":
                mend_torchvision()
            found[name] = importlib.import_module(name).__version__
        except Exception as error:  # a library that does not load raises OSError, ImportError, RuntimeError ...
            raise _Warning(
                f"{name} is installed but does not import ({type(error).__name__}: {error}); reinstall it, "
                "or uninstall it if you need neither GPUs, training nor checkpoints. Annotating works without."
            ) from error
    cuda = "available" if importlib.import_module("torch").cuda.is_available() else "not available"
    return f"{', '.join(f'{k} {v}' for k, v in found.items())}; CUDA {cuda}"


def _end_to_end() -> str:
    from ..media.video import VideoFile
    from ..pipeline import Annotator, Settings
    from ..postprocess.recipe import Recipe

    with tempfile.TemporaryDirectory(prefix="hsemotion-doctor-") as folder:
        clip = Path(folder) / "clip.mp4"
        _draw_clip(clip)
        settings = Settings(recipe=Recipe.usual(), overlay=True)
        try:
            with Annotator(settings) as annotator:
                summary = annotator.annotate(clip, Path(folder), "clip")
        except OSError as error:
            _fail(f"{error}; {_SYSTEM_LIBRARIES}")
        frames = sum(1 for _ in VideoFile(Path(summary.outputs["overlay"])).frames())
    if summary.rows != 50 or summary.coverage != 1.0 or summary.faces != 1 or frames != 50:
        _fail(
            f"the two-second clip gave {summary.rows} rows, {summary.faces} faces, coverage {summary.coverage:.0%} and "
            f"{frames} overlay frames instead of 50, 1, 100% and 50."
        )
    return f"50 frames, one face in each, overlay decoded again; {50 / summary.elapsed:.0f} frames/s"


def _draw_clip(path: Path) -> None:
    """Two seconds of a slowly moving portrait: 320 x 240, 25 frames/s, H.264."""
    import av
    import cv2
    import numpy as np

    from ..media.images import read_image

    with as_file(files("hsemotion_cli").joinpath("assets", "doctor_face.jpg")) as face:
        portrait = read_image(face)
    if portrait is None:
        _fail("the portrait for this check is damaged: reinstall hsemotion.")
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for k in range(50):
            shift = np.array([[0.9, 0, 30 + k], [0, 0.9, 5]])
            picture = np.asarray(cv2.warpAffine(portrait, shift, (320, 240), borderValue=(90, 100, 110)), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


CHECKS: dict[str, Callable[[], str]] = {
    "Python": _python,
    "libraries": _libraries,
    "one OpenCV": _one_opencv,
    "privacy": _no_reporting,
    "usage data": _usage_data,
    "codecs": _codecs,
    "model files": _models,
    "torch (optional)": _torch,
    "end to end": _end_to_end,
}
