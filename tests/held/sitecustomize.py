"""Python processes of a sealed run wait until libraries have had the time to report their usage.

Python imports this module by itself in every process that has this folder in PYTHONPATH, so in workers as well. A
process that has loaded a library of ``NETWORKS`` waits once: before it renames a file, which is how a result is
finished here, or when ``hold`` is called. Libraries' own threads run meanwhile. ONNX Runtime sends its first report
about ten seconds after it was imported.

A process that begins to wait makes the file SEALED_LOG.asleep, and one that has waited adds a line to SEALED_LOG.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

SECONDS = float(os.environ.get("SEALED_SECONDS", "0"))
"""From the last import of such a library to the end of the wait."""
NETWORKS = {"onnxruntime", "openvino", "torch", "mediapipe", "transformers"}

_imported: dict[str, float] = {}
_held = False


def hold() -> None:
    """Wait, if this process has loaded something to wait for, and has not waited before."""
    global _held
    for name in NETWORKS & sys.modules.keys():  # importlib.import_module raises no event
        _imported.setdefault(name, time.monotonic())
    if _held or not _imported:
        return
    _held = True
    open(os.environ["SEALED_LOG"] + ".asleep", "w").close()
    time.sleep(max(0.0, max(_imported.values()) + SECONDS - time.monotonic()))
    now = time.monotonic()
    line = {
        "command": " ".join(sys.orig_argv)[-300:],
        "loaded": {name: round(now - at, 1) for name, at in _imported.items() if name in sys.modules},
        "home": os.path.expanduser("~"),
    }
    with open(os.environ["SEALED_LOG"], "a") as file:
        file.write(json.dumps(line) + "\n")


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "import" and arguments[0] in NETWORKS:
        _imported.setdefault(arguments[0], time.monotonic())
    elif event == "os.rename":
        hold()


if SECONDS:
    sys.addaudithook(_hook)
