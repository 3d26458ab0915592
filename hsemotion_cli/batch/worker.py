"""The worker process: loads a job once, does one task after another, and ends when its parent process ends.

It reads from its standard input a pickled ``WorkerConfig``, then messages (``Assign``, ``Stop``), and writes messages
to its standard output: ``Ready`` or ``Refused`` once, ``Downloading`` and ``Working`` at most a few times a second,
``Finished`` or ``Failed`` for each task. What anything else prints goes to standard error.
"""

from __future__ import annotations

import _thread
import contextlib
import ctypes
import importlib
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

from ..errors import HsemotionError, InputError, ModelUnavailable, OutputError, UsageError
from ..runtime import malloc
from ..runtime.terminal import say
from . import pipe
from .messages import (
    Assign,
    Downloading,
    Failed,
    Finished,
    FromWorker,
    ProtocolError,
    Ready,
    Refused,
    Stop,
    Task,
    ToWorker,
    Working,
    decode,
    encode,
)

_EVERY = 0.5  # seconds between two messages about progress
_PR_SET_PDEATHSIG = 1
_USUAL = (InputError, UsageError, ModelUnavailable)

Send = Callable[[FromWorker], None]


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What a worker is given first.

    Attributes:
        opener: "module:function". The function is called with ``job`` and a function that takes the progress of
            downloads, and gives a context manager, which gives a job: something with ``settings`` (plain data) that
            is called with a task and a function that takes progress, and returns facts (plain data).
        job: whatever the opener understands; it must survive pickling.
        threads: of numerical libraries, which read it in their environment.
    """

    opener: str
    job: Any
    threads: int


def environment(threads: int) -> dict[str, str]:
    """The environment of a worker, in which numerical libraries find their number of threads when they load."""
    names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
    return {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in names}}


def main() -> None:
    """Entry point; the last argument is the number of the parent process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the parent runs in the background
    commands, answers = _own_pipes()
    _die_with(int(sys.argv[-1]))
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    lock = threading.Lock()

    def send(message: FromWorker) -> None:
        with lock:
            pipe.write(answers, encode(message))

    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError, ConnectionResetError):
        pipe.write_start(answers)
        first = pipe.read(commands)
        if first is None:
            return
        config: WorkerConfig = pickle.loads(first)
        threading.Thread(target=_listen, args=(commands, tasks), daemon=True).start()
        _work(config, tasks, send)


def _own_pipes() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output for messages alone: libraries read from nothing, and print to standard error."""
    commands, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, answers


def _die_with(parent: int) -> None:
    """Have Linux end this process with its parent, and first of all where memory runs out.

    On other systems the closed pipe ends it, as soon as no native code holds the interpreter.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write("500")
    if os.getppid() != parent:
        os._exit(1)


def _listen(commands: IO[bytes], tasks: queue.SimpleQueue[Task]) -> None:
    """Receive messages; when the parent has closed the pipe or died there is nothing left to do."""
    try:
        while (data := pipe.read(commands)) is not None:
            message = decode(data, ToWorker)
            if isinstance(message, Assign):
                tasks.put(Task(message.path, message.place))
            elif isinstance(message, Stop):
                _interrupt_main()
    except (ProtocolError, OSError) as error:
        say(f"the parent process sent {error}")
        os._exit(2)
    os._exit(0)


def _interrupt_main() -> None:
    """Raise KeyboardInterrupt in the main thread, also in the middle of a system call where there are signals."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _work(config: WorkerConfig, tasks: queue.SimpleQueue[Task], send: Send) -> None:
    malloc.settle()
    with contextlib.ExitStack() as stack:
        try:
            module, _, name = config.opener.partition(":")
            opener = getattr(importlib.import_module(module), name)
            downloading = _throttled(lambda have, total: send(Downloading(have, total)))
            opened = stack.enter_context(opener(config.job, downloading))
        except HsemotionError as error:
            send(Refused(type(error).__name__, str(error)))
            return
        send(Ready(opened.settings))
        while _do(opened, tasks.get(), send):
            pass


def _do(job: Any, task: Task, send: Send) -> bool:
    """Do one task; returns whether the worker is fit for another."""
    stage = "read"

    def report(now: str, done: int, faces: int, total: int | None) -> None:
        nonlocal stage
        working(now, done, faces, total, at_once=now != stage)
        stage = now

    working = _throttled(lambda now, done, faces, total: send(Working(now, done, faces, total)))
    try:
        facts = job(task, report)
    except HsemotionError as error:
        where = "write" if isinstance(error, OutputError) and stage != "overlay" else stage
        send(Failed(where, type(error).__name__, str(error), usual=isinstance(error, _USUAL)))
        return True
    except MemoryError:
        sentence = f"{task.path}: there is not enough memory for it; try fewer --workers."
        send(Failed(stage, "MemoryError", sentence, leaving=True))
        return False
    except Exception as error:
        # The state of this process is unknown now; another attempt is for a fresh one.
        name = type(error).__name__
        send(Failed(stage, name, f"{task.path}: a bug: {name}: {error}.", leaving=True))
        return False
    send(Finished(facts))
    return True


def _throttled(function: Callable[..., None]) -> Callable[..., None]:
    """The function, called at most every half second unless ``at_once`` is set."""
    last = -_EVERY

    def call(*arguments: Any, at_once: bool = False) -> None:
        nonlocal last
        if at_once or time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            function(*arguments)

    return call
