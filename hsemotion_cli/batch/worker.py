"""The other process: loads a job once, does one task after another, and ends when the process that wants it ends.

Both ends of a socket speak like this. To the worker: ``Setup`` (pickled), then tasks (JSON). From the worker (JSON):
"ready" once, or "refused"; "fetching" and "progress" at most a few times a second; "done" or "failed" for each task.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from ..errors import HsemotionError, InputError, ModelUnavailable, OutputError, UsageError
from ..runtime import malloc
from .messages import Task

_EVERY = 0.5  # seconds between two messages about progress
_PR_SET_PDEATHSIG = 1
_USUAL = (InputError, UsageError, ModelUnavailable)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is told first.

    Attributes:
        opener: "module:function". The function is called with ``order`` and a function that takes the progress of
            downloads, and gives a context manager, which gives a job: something with ``settings`` (plain data) that
            is called with a task and a function that takes progress, and returns facts (plain data).
        order: whatever the opener understands; it must survive pickling.
        threads: of numerical libraries, which read it in their environment.
    """

    opener: str
    order: Any
    threads: int


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker: numerical libraries that read it when they are loaded keep to so many threads."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    return {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in names}}


def main() -> None:
    """Entry point: the arguments are the number of the socket, and the number of the process that wants the worker."""
    handle, parent = map(int, sys.argv[-2:])
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the parent runs in the background
    connection = Connection(handle)
    _die_with(parent)
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, ConnectionResetError, EOFError):
        setup: WorkerConfig = pickle.loads(connection.recv_bytes())
        threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
        _work(setup, connection, tasks)


def _die_with(parent: int) -> None:
    """Have the system end this process with its parent, and let it be the first to go when memory runs out."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    if os.getppid() != parent:
        os._exit(1)


def _listen(connection: Connection, tasks: queue.SimpleQueue[Task]) -> None:
    """Take in tasks; when the other end is closed, by a wish or a death, nothing is left to be done."""
    while True:
        try:
            tasks.put(Task(**json.loads(connection.recv_bytes())))
        except (EOFError, OSError):
            os._exit(0)


def _work(setup: WorkerConfig, connection: Connection, tasks: queue.SimpleQueue[Task]) -> None:
    def send(kind: str, **content: Any) -> None:
        connection.send_bytes(json.dumps({"kind": kind, **content}).encode())

    malloc.settle()
    with contextlib.ExitStack() as stack:
        try:
            module, _, name = setup.opener.partition(":")
            opener = getattr(importlib.import_module(module), name)
            fetching = _seldom(lambda have, total: send("fetching", have=have, total=total))
            job = stack.enter_context(opener(setup.order, fetching))
        except HsemotionError as error:
            send("refused", error=type(error).__name__, sentence=str(error))
            return
        send("ready", settings=job.settings)
        while _do(job, tasks.get(), send):
            pass


def _do(job: Any, task: Task, send: Callable[..., None]) -> bool:
    """One task; returns whether the worker is fit for another."""
    stage = "read"

    def report(now: str, done: int, faces: int, total: int | None) -> None:
        nonlocal stage
        told(now, done, faces, total, at_once=now != stage)
        stage = now

    told = _seldom(lambda now, done, faces, total: send("progress", stage=now, done=done, faces=faces, total=total))
    try:
        facts = job(task, report)
    except HsemotionError as error:
        where = "write" if isinstance(error, OutputError) and stage != "overlay" else stage
        _failed(send, where, error, str(error), usual=isinstance(error, _USUAL))
        return True
    except MemoryError as error:
        sentence = f"{task.path}: there is not enough memory for it; try fewer --workers."
        _failed(send, stage, error, sentence, leaving=True)
        return False
    except Exception as error:
        # Nobody knows what state this one is in; another attempt is for a fresh process.
        _failed(send, stage, error, f"{task.path}: a bug: {type(error).__name__}: {error}.", leaving=True)
        return False
    send("done", facts=facts)
    return True


def _failed(
    send: Callable[..., None],
    stage: str,
    error: Exception,
    sentence: str,
    *,
    usual: bool = False,
    leaving: bool = False,
) -> None:
    send("failed", stage=stage, error=type(error).__name__, sentence=sentence, usual=usual, leaving=leaving)


def _seldom(function: Callable[..., None]) -> Callable[..., None]:
    """The function, but called at most every half second unless it must be ``at_once``."""
    last = -_EVERY

    def call(*arguments: Any, at_once: bool = False) -> None:
        nonlocal last
        if at_once or time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            function(*arguments)

    return call
