"""One worker process of this machine, seen from the process that commands it.

Started afresh and not forked, with a session of its own, so that Ctrl-C reaches only the process that commands it. A
decoder that hangs cannot be interrupted and one that crashes takes its process along: both cost one worker, which is
replaced, and one attempt at one video.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

from ..runtime.atomic_files import remove_leftovers
from .messages import Task
from .worker import WorkerConfig, environment
from .worker_pool import GRACE, PooledWorker


class WorkerProcess(PooledWorker):
    """A process that runs ``worker``.

    Args:
        setup: what it is told first.
        path: where it looks for modules; None for where its interpreter does.
    """

    def __init__(self, setup: WorkerConfig, path: list[str] | None) -> None:
        super().__init__()
        self.connection, theirs = Pipe()
        # What libraries print would spoil the terminal; its last line may say why a worker died.
        self._words = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (it lives as long as the process)
        self._last: list[str] = []
        verbose = bool(os.environ.get("HSEMOTION_DEBUG"))
        before = "" if path is None else f"import sys; sys.path[:] = {path!a}; "
        code = f"{before}from {__package__}.worker import main; main()"
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=None if verbose else self._words,
                stderr=None if verbose else self._words,
                env=environment(setup.threads),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._send(pickle.dumps(setup))

    def send(self, task: Task) -> None:
        self._send(json.dumps({"path": task.path, "place": task.place}).encode())

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # it died; reading tells
            self.connection.send_bytes(data)

    def messages(self) -> Iterator[dict[str, Any]]:
        try:
            while not self.ended and self.connection.poll():
                yield json.loads(self.connection.recv_bytes())
        except (EOFError, OSError):
            self.ended = True

    def stop(self, *, gently: bool) -> None:
        if gently and not self.ended:
            self.process.send_signal(signal.SIGINT)
        elif not self.connection.closed:
            self.connection.close()
        self.ended = True

    def end(self, grace: float) -> None:
        self.ended = True
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self._words.closed:
            self._words.seek(max(self._words.seek(0, os.SEEK_END) - 2000, 0))
            self._last = self._words.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            self._words.close()
        self.connection.close()

    def last_words(self) -> str:
        self.end(GRACE)
        code = self.process.returncode
        if code == -signal.SIGKILL:
            return KILLED
        if code < 0:
            return f"its worker crashed ({_signal(-code)}) over it; the file may be damaged"
        return ": ".join([f"its worker ended by itself (exit code {code})", *(line[:300] for line in self._last)])

    def forget_words(self) -> None:
        if not self._words.closed:
            self._words.truncate(0)

    def clean(self, out: Path) -> None:
        if self.folder is not None:
            remove_leftovers(out.joinpath(self.folder), float("inf"), {self.process.pid})


KILLED = "its worker was killed, perhaps because memory ran out; try fewer --workers"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
