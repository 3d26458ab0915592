"""The checks of ``hsemotion doctor``. Each does the thing itself; none only reads a version."""

from __future__ import annotations

import hashlib
import importlib
import shlex
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from importlib.metadata import distributions
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, NoReturn

from ..errors import HsemotionError
from ..runtime import privacy
from .console import Table, Text, print_json, print_table

_SYSTEM_LIBRARIES = "on a bare Debian or Ubuntu: apt-get install libegl1 libgles2 libglib2.0-0"


def run(*, as_json: bool) -> int:
    """Run every check; returns 0 if none failed, else 1."""
    results = [_outcome(name, check) for name, check in CHECKS.items()]
    if as_json:
        print_json([{"check": n, "ok": ok, "says": says} for n, ok, says in results])
    else:
        table = Table()
        for column in ("check", "", "says"):
            table.add_column(column, overflow="fold")
        for name, ok, says in results:
            table.add_row(name, Text("ok", "green") if ok else Text("FAILS", "red"), says)
        print_table(table)
    return 0 if all(ok for _, ok, _ in results) else 1


def _outcome(name: str, check: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, check()
    except Exception as error:  # whatever it is, it is the diagnosis
        says = str(error) if isinstance(error, HsemotionError) else f"{type(error).__name__}: {error}"
        return name, False, says


def _fail(says: str) -> NoReturn:
    raise HsemotionError(says)


def _python() -> str:
    return sys.version.split()[0]


def _libraries() -> str:
    names = ("numpy", "scipy", "av", "cv2", "mediapipe", "onnxruntime", "pandas", "pyarrow", "PIL", "safetensors")
    return ", ".join(f"{name} {importlib.import_module(name).__version__}" for name in names)


def _one_opencv() -> str:
    # Two of them overwrite each other's files, and pip does not notice.
    found = sorted({d.name.lower() for d in distributions() if d.name.lower().startswith("opencv")})
    if len(found) != 1:
        _fail(f"{len(found)} OpenCV distributions ({', '.join(found)}): uninstall all, reinstall one of them.")
    return found[0]


def _no_reporting() -> str:
    import mediapipe

    parts = tuple(int(part) for part in mediapipe.__version__.split(".")[:3])
    if parts >= (0, 10, 34):
        _fail(f"mediapipe {mediapipe.__version__} reports usage over the network: pip install 'mediapipe<0.10.32'.")
    silenced = ", ".join(switch.library for switch in privacy.SWITCHES)
    return f"mediapipe {mediapipe.__version__} opens no connection; usage reports of {silenced} are off"


def _usage_data() -> str:
    folders = privacy.leftovers()
    if not folders:
        return "ONNX Runtime has left none in your home folder"
    names = " ".join(shlex.quote(str(folder)) for folder in folders)
    return (
        "ONNX Runtime, run by an earlier revision of hsemotion or by another program, has left a device id and a "
        f"database of usage events; to delete them: rm -r {names}"
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
    from ..faces import mediapipe_onnx
    from ..faces.mediapipe_detector import BUNDLE, BUNDLE_SHA256
    from ..models import model_file
    from ..models.registry import ASSETS, MODELS, SHIPPED

    wanted = (
        {BUNDLE: BUNDLE_SHA256}
        | mediapipe_onnx.NETWORKS
        | {c.file: c.sha256 for c in MODELS.values() if c.file and c.sha256}
    )
    for name, sha256 in wanted.items():
        data = files("hsemotion_cli").joinpath("assets", name).read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            _fail(f"{name} is damaged: reinstall hsemotion.")
    for name in SHIPPED:
        model_file.verify(ASSETS / name)
        if model_file.graph(ASSETS / name) is None:
            _fail(f"the graph of {name} is missing or damaged: reinstall hsemotion.")
    return f"{len(wanted) + 2 * len(SHIPPED)} files match their SHA-256"


def _torch() -> str:
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError:
        return "not installed; needed only for GPUs, training and converting checkpoints"
    from ..models.architectures import import_timm

    timm = import_timm()
    cuda = "available" if torch.cuda.is_available() else "not available"
    return f"torch {torch.__version__}, timm {timm.__version__}, CUDA {cuda}"


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
    """Two seconds of a portrait that slowly moves: 320 x 240, 25 frames/s, H.264."""
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
