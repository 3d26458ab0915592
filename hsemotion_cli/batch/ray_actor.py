"""What runs on the machines of a cluster: a check of the machine first, then one worker process and its messages.

The worker is the process that ``local_engine`` uses, so that everything about a video happens as it does on one
machine; the process of Ray beside it only passes messages on, and loads no library that reads a video.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UsageError
from ..formats import sidecar
from ..runtime import privacy
from ..runtime.atomic_files import machine_name, prepare_folder, remove_leftovers
from .messages import Ended, Failed, Finished, Hello, Ready, Refused, Task, encode
from .worker import WorkerConfig
from .worker_process import WorkerProcess

_TICK = 0.5


@dataclass(frozen=True, slots=True)
class NodeRequirements:
    """What a machine of the cluster must have in common with the driver, on which the command runs.

    Attributes:
        out: the output folder, absolute.
        token: the name of a file in it, which only a machine that shares the folder can see.
        folder: the working folder, for relative paths.
        environment: variables that the workers get as well.
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
        """Make relative paths and variables mean what they mean on the driver."""
        os.environ.update(self.environment)
        with contextlib.suppress(OSError):  # paths may be absolute; where they are not, ``missing`` finds out
            os.chdir(self.folder)


def versions() -> dict[str, str]:
    """Versions of hsemotion, of Python, and of all libraries on this machine that numbers may depend on."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"version": __version__, "python": python, **sidecar.libraries()}


def inspect_node(requirements: NodeRequirements) -> dict[str, Any]:
    """This machine's name ("host"), its ``versions``, and a sentence ("refused") if it cannot take part."""
    refused = ""
    try:
        requirements.check()
    except UsageError as error:
        refused = str(error)
    return {"host": socket.gethostname(), "versions": versions(), "refused": refused}


def missing(folder: str, paths: Sequence[str]) -> dict[str, Any]:
    """This machine's name ("host"), and the sources that it does not see ("paths").

    Args:
        folder: against which relative paths are resolved.
        paths: of the sources.
    """
    lacks = [path for path in paths if not os.path.exists(os.path.join(folder, path))]
    return {"host": socket.gethostname(), "paths": lacks}


def reports_usage() -> bool:
    """Whether a cluster whose head runs here reports its usage to the makers of Ray every hour.

    It does so unless that was switched off: https://docs.ray.io/en/latest/cluster/usage-stats.html.
    """
    # Not from the environment: importing this package has set the variable there, for this process alone.
    if (enabled := privacy.FOUND.get("RAY_USAGE_STATS_ENABLED")) is not None:
        return enabled != "0"
    try:
        place = os.environ.get("RAY_USAGE_STATS_CONFIG_PATH") or os.path.expanduser("~/.ray/config.json")
        return json.loads(Path(place).read_text()).get("usage_stats") is not False
    except (OSError, ValueError, AttributeError):
        return True


class RayActor:
    """One worker of a cluster: a Ray actor with a method that yields messages and one that stops it.

    Messages travel encoded, as they do from a worker process: the machines may have different versions of the package.
    """

    def __init__(self, config: WorkerConfig, requirements: NodeRequirements) -> None:
        self._out, self._began = requirements.out, time.time()
        self._seen: set[Path] = set()
        self._news = threading.Event()
        self._worker: WorkerProcess | None = None
        self._refused = ""
        try:
            requirements.check()
        except UsageError as error:
            self._refused = str(error)
            return
        requirements.enter()
        # Started here, in the main thread: Linux ends a worker with the thread that started it. Its modules come from
        # where this machine has them, not from the folder in which the command was given.
        self._worker = WorkerProcess(config, None, self._news.set)

    def start(self) -> Iterator[bytes]:
        """Messages until the worker is ready, or has ended."""
        import ray

        process = self._worker.process.pid if self._worker else 0
        node = ray.get_runtime_context().get_node_id()
        yield encode(Hello(node, socket.gethostname(), machine_name(), process))
        if self._worker is None:
            yield encode(Refused("UsageError", self._refused))
        else:
            yield from self._messages(self._worker, (Ready, Refused))

    def do(self, path: str, place: str) -> Iterator[bytes]:
        """Messages about one task until it is done, or the worker has ended."""
        assert self._worker is not None, "an actor that refused is given no task"
        task = Task(path, place)
        folder = task.folder(self._out)
        if folder not in self._seen:  # what another batch left here when it was killed
            self._seen.add(folder)
            remove_leftovers(folder, self._began)
        self._worker.begin(task, None)
        yield from self._messages(self._worker, (Finished, Failed))
        if self._worker.ended:
            self._worker.clean(self._out)

    def stop(self, grace: float) -> None:
        """End the worker within that many seconds, and remove its temporary files."""
        if self._worker is not None:
            self._worker.stop(gently=grace > 0)
            self._worker.end(grace)
            self._worker.clean(self._out)
            self._news.set()

    def _messages(self, worker: WorkerProcess, last: tuple[type, ...]) -> Iterator[bytes]:
        """What a worker sends, up to a message of one of the ``last`` kinds or its end."""
        while not worker.ended:
            self._news.wait(_TICK)
            self._news.clear()
            for message in worker.messages():
                yield encode(message)
                if isinstance(message, last):
                    worker.forget_words()
                    return
        yield encode(Ended(worker.last_words()))
