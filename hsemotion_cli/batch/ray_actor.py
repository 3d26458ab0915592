"""What runs on the machines of a cluster: a look around first, then one worker process and what it says.

The worker is the process that ``local`` uses, so that everything about a video happens as it does on one machine; the
process of Ray beside it only passes messages on, and loads no library that reads a video.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UsageError
from ..formats import sidecar
from ..runtime.atomic_files import machine_name, prepare_folder, remove_leftovers
from .messages import Task
from .worker import WorkerConfig
from .worker_process import WorkerProcess

_TICK = 0.5


@dataclass(frozen=True, slots=True)
class NodeRequirements:
    """What a machine of the cluster must have in common with the one that commands.

    Attributes:
        out: the output folder, absolute.
        token: the name of a file in it, which only a machine that shares the folder can see.
        folder: the working folder, for relative paths.
        environment: variables that the workers shall have as well.
    """

    out: Path
    token: str
    folder: str
    environment: Mapping[str, str]

    def check(self) -> None:
        """Raises UsageError if this machine does not share the output folder, or may not write there."""
        if not (self.out / self.token).is_file():
            raise UsageError(
                f"-o {self.out}: {socket.gethostname()} does not see the folder that the other machines see; mount a "
                "shared one at the same place everywhere."
            )
        try:
            prepare_folder(self.out)
        except UsageError as error:
            raise UsageError(f"on {socket.gethostname()}: {error}") from error

    def enter(self) -> None:
        """Make relative paths and variables mean what they mean on the commanding machine."""
        os.environ.update(self.environment)
        with contextlib.suppress(OSError):  # paths may well be absolute; where they are not, ``missing`` tells
            os.chdir(self.folder)


def versions() -> dict[str, str]:
    """Of hsemotion, of Python, and of all libraries here that numbers may depend on."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"version": __version__, "python": python, **sidecar.libraries()}


def inspect_node(surroundings: NodeRequirements) -> dict[str, Any]:
    """What a machine says of itself: its name, ``versions``, and a sentence ("refused") if it cannot take part."""
    refused = ""
    try:
        surroundings.check()
    except UsageError as error:
        refused = str(error)
    return {"host": socket.gethostname(), "versions": versions(), "refused": refused}


def missing(folder: str, paths: Sequence[str]) -> dict[str, Any]:
    """This machine's name and, of some sources, the "paths" that it does not see.

    Args:
        folder: where relative ones begin.
    """
    lacks = [path for path in paths if not os.path.exists(os.path.join(folder, path))]
    return {"host": socket.gethostname(), "paths": lacks}


def reports_usage() -> bool:
    """Whether a cluster whose head runs here tells its makers, every hour, how it is used.

    So it does unless somebody has said no: https://docs.ray.io/en/latest/cluster/usage-stats.html.
    """
    if (said := os.environ.get("RAY_USAGE_STATS_ENABLED")) is not None:
        return said != "0"
    try:
        place = os.environ.get("RAY_USAGE_STATS_CONFIG_PATH") or os.path.expanduser("~/.ray/config.json")
        return json.loads(Path(place).read_text()).get("usage_stats") is not False
    except (OSError, ValueError, AttributeError):
        return True


class RayActor:
    """One worker of a cluster; a Ray actor of which one method gives messages while another may stop it.

    Its messages are those of ``worker``, and two more: "hello" first, and "ended" when the worker's process is gone.
    """

    def __init__(self, setup: WorkerConfig, surroundings: NodeRequirements) -> None:
        self._out, self._began = surroundings.out, time.time()
        self._seen: set[Path] = set()
        self._worker: WorkerProcess | None = None
        self._refused = ""
        try:
            surroundings.check()
        except UsageError as error:
            self._refused = str(error)
            return
        surroundings.enter()
        # Made here, in the main thread: a worker ends with the thread that made it. Its modules come from where this
        # machine has them, not from the folder in which the command was given.
        self._worker = WorkerProcess(setup, None)

    def start(self) -> Iterator[dict[str, Any]]:
        """Messages until the worker is ready, or has ended."""
        import ray

        process = self._worker.process.pid if self._worker else 0
        names = {"node": ray.get_runtime_context().get_node_id(), "host": socket.gethostname()}
        yield {"kind": "hello", **names, "machine": machine_name(), "process": process}
        if self._worker is None:
            yield {"kind": "refused", "error": "UsageError", "sentence": self._refused}
        else:
            yield from _said(self._worker, "ready", "refused")

    def do(self, path: str, place: str) -> Iterator[dict[str, Any]]:
        """Messages about one task until it is done, or the worker has ended."""
        assert self._worker is not None, "a station that refused is given no task"
        task = Task(path, place)
        folder = task.folder(self._out)
        if folder not in self._seen:  # what another batch left here when it was killed
            self._seen.add(folder)
            remove_leftovers(folder, self._began)
        self._worker.begin(task, None)
        yield from _said(self._worker, "done", "failed")
        if self._worker.ended:
            self._worker.clean(self._out)

    def stop(self, grace: float) -> None:
        """End the worker within so many seconds, and remove what it has begun."""
        if self._worker is not None:
            self._worker.stop(gently=grace > 0)
            self._worker.end(grace)
            self._worker.clean(self._out)


def _said(worker: WorkerProcess, *last: str) -> Iterator[dict[str, Any]]:
    """What a worker says, up to one of the ``last`` kinds or its end."""
    while not worker.ended:
        with contextlib.suppress(OSError, ValueError):  # closed by ``stop`` in the meantime
            wait([worker.connection], _TICK)
        for message in worker.messages():
            yield message
            if message["kind"] in last:
                worker.forget_words()
                return
    yield {"kind": "ended", "words": worker.last_words()}
