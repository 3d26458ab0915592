"""Usage reports of the libraries below us are switched off before any of them is imported.

The package calls ``disable_reporting`` when it is imported, so that this holds for every command, script, worker
process, Ray actor and user of the Python API. Child processes inherit the variables. The call is on the way to
``--help`` as well, so nothing outside the standard library is imported here.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Switch:
    """An environment variable that turns off the usage reports of a library.

    Attributes:
        library: the module that reads it.
        variable: its name.
        off: the value that the library documents for "no reports".
        also_off: other values, in lower case, that the library takes for the same.
        read_at_import: the library reports on its own as soon as it is imported, so that the variable is too late
            afterwards. The others read it when they are about to report.
    """

    library: str
    variable: str
    off: str
    also_off: frozenset[str] = frozenset()
    read_at_import: bool = False


_TRUE = frozenset({"1", "true", "yes", "on"})

SWITCHES = (
    # onnxruntime/Privacy.md: "Set ORT_DISABLE_TELEMETRY=1 before ONNX Runtime initializes."
    Switch("onnxruntime", "ORT_DISABLE_TELEMETRY", "1", _TRUE, read_at_import=True),
    # huggingface_hub/constants.py. The native hf_xet reads the same variable. It reports along with downloads.
    Switch("huggingface_hub", "HF_HUB_DISABLE_TELEMETRY", "1", _TRUE),
    # ray/_common/usage/usage_lib.py takes "0" and "1" and raises ValueError for anything else.
    Switch("ray", "RAY_USAGE_STATS_ENABLED", "0"),
)

BLOCKED = ("openvino_telemetry",)
"""Modules that exist only to report. Libraries import them if they are there, and do without if they are not."""

FOUND = {switch.variable: os.environ[switch.variable] for switch in SWITCHES if switch.variable in os.environ}
"""The values that the variables had before ``disable_reporting`` set them; one that was not set is missing."""

_SESSION = re.compile(rb"\d{10,16}\n[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n?")
_reported: set[str] = set()


def disable_reporting() -> None:
    """Set every switch, block every module of ``BLOCKED``, and log a warning where that changes or misses something.

    A variable that the user has set to another value is overwritten: hsemotion promises that no usage report leaves
    the machine. The warning goes to the logger of this module, once in a process; without any logging configuration
    Python prints it to stderr. Child processes find the variables as they should be, and log nothing.
    """
    for switch in SWITCHES:
        before = os.environ.get(switch.variable)
        os.environ[switch.variable] = switch.off
        if before is not None and before.strip().lower() in {switch.off, *switch.also_off}:
            continue
        if before:
            _warn(
                switch.variable,
                f"{switch.variable}={before!r} is replaced by {switch.off}: hsemotion turns off the usage reports of "
                f"{switch.library}.",
            )
        if switch.read_at_import and switch.library in sys.modules:
            _warn(
                switch.library,
                f"{switch.library} was imported before hsemotion and may report its usage over the network from this "
                f"process: import hsemotion_cli first, or set {switch.variable}={switch.off} before you start Python.",
            )
    for name in BLOCKED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def leftovers() -> list[Path]:
    """Where ONNX Runtime has kept a device id and usage events: folders in caches, and files ``.ses``.

    Only what exists is returned, sorted. Other programs that use ONNX Runtime leave the same. Nothing of it is needed.
    Source: onnxruntime/core/platform/posix/device_id.cc, and what 1.32.0 wrote on Linux.
    """
    caches = {Path.home() / ".cache", Path.home() / "Library" / "Application Support"}
    if own := os.environ.get("XDG_CACHE_HOME"):
        caches.add(Path(own))
    folders = (cache / "Microsoft" / "DeveloperTools" / ".onnxruntime" for cache in caches)
    sessions = (Path(folder, ".ses") for folder in {"/tmp", os.environ.get("TMPDIR") or "/tmp"})
    return sorted([*filter(Path.is_dir, folders), *filter(_is_session, sessions)])


def _is_session(path: Path) -> bool:
    """Whether a file holds a time in milliseconds and an identifier in two lines, as ONNX Runtime writes it."""
    try:
        return path.stat().st_size < 100 and _SESSION.fullmatch(path.read_bytes()) is not None
    except OSError:  # it is not there, or it belongs to somebody else, who can delete it
        return False


def _warn(key: str, sentence: str) -> None:
    if key in _reported:
        return
    _reported.add(key)
    import logging  # only here: it is not free, and there is rarely anything to say

    logging.getLogger(__name__).warning("hsemotion: %s", sentence)
