"""One worker process of this machine, seen from its parent process.

It is spawned, not forked, in its own session, so that Ctrl-C reaches only the parent. A decoder that
hangs cannot be interrupted and one that crashes takes its process along: both cost one worker, which is replaced, and
one attempt at one video.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from ..runtime.atomic_files import remove_leftovers
from . import pipe
from .messages import Assign, FromWorker, Message, ProtocolError, Stop, Task, ToWorker, decode, encode
from .worker import WorkerConfig, environment
from .worker_pool import GRACE, PooledWorker

_NTSTATUS = 0xC0000000
"""Exit codes from here on are exceptions of Windows, such as 0xC0000005, an access violation."""


class WorkerProcess(PooledWorker):
    """A process that runs ``worker``.

    Args:
        config: the first thing that it is sent.
        path: where it looks for modules; None for where its interpreter does.
        on_news: called, from another thread, whenever ``messages`` has something new.
    """

    def __init__(self, config: WorkerConfig, path: list[str] | None, on_news: Callable[[], object]) -> None:
        super().__init__()
        # What libraries print would spoil the terminal; its last line may say why a worker died.
        self._printed = tempfile.TemporaryFile("a+b")  # noqa: SIM115 (it lives as long as the process)
        self._last: list[str] = []
        self._misunderstood = ""
        verbose = bool(os.environ.get("HSEMOTION_DEBUG"))
        before = "" if path is None else f"import sys; sys.path[:] = {path!a}; "
        code = f"{before}from {__package__}.worker import main; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if verbose else self._printed,
            env=environment(config.threads),
            start_new_session=True,  # ignored on Windows, which has the flag instead
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._commands: IO[bytes] = self.process.stdin
        self._inbox: queue.SimpleQueue[bytes | ProtocolError | None] = queue.SimpleQueue()
        reader = threading.Thread(
            target=_receive, args=(self.process.stdout, self._inbox, on_news), name="hsemotion-worker", daemon=True
        )
        reader.start()
        self._write(pickle.dumps(config))

    def send(self, task: Task) -> None:
        self._send(Assign(task.path, task.place))

    def _send(self, message: ToWorker) -> None:
        self._write(encode(message))

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError, ValueError):  # it died; ``messages`` notices
            pipe.write(self._commands, data)

    def messages(self) -> Iterator[Message]:
        while not self.ended and not self._inbox.empty():
            data = self._inbox.get()
            if data is None:
                self.ended = True
            elif isinstance(data, ProtocolError):
                self.misunderstand(data)
            else:
                try:
                    message = decode(data, FromWorker)
                except ProtocolError as error:
                    self.misunderstand(error)
                else:
                    yield message

    def misunderstand(self, error: ProtocolError) -> None:
        """Give up on a worker that does not speak as this version does."""
        self._misunderstood = self._misunderstood or MISUNDERSTOOD.format(error)
        self.ended = True

    def stop(self, *, gently: bool) -> None:
        if gently and not self.ended:
            self._send(Stop())
        else:
            self._close()
        self.ended = True

    def _close(self) -> None:
        with contextlib.suppress(OSError):  # it died with something unread
            self._commands.close()

    def end(self, grace: float) -> None:
        self.ended = True
        try:
            self.process.wait(0 if self._misunderstood else grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not self._printed.closed:
            self._printed.seek(max(self._printed.seek(0, os.SEEK_END) - 2000, 0))
            self._last = self._printed.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            self._printed.close()
        self._close()

    def last_words(self) -> str:
        self.end(GRACE)
        code = self.process.returncode
        if self._misunderstood:
            return self._misunderstood
        if code == -_KILL:
            return KILLED
        if code < 0 or code >= _NTSTATUS:
            return (
                f"its worker crashed ({_signal(-code) if code < 0 else f'{code:#x}'}) over it; the file may be damaged"
            )
        return ": ".join([f"its worker ended by itself (exit code {code})", *(line[:300] for line in self._last)])

    def forget_words(self) -> None:
        if not self._printed.closed:
            self._printed.truncate(0)

    def clean(self, out: Path) -> None:
        if self.folder is not None:
            remove_leftovers(out.joinpath(self.folder), float("inf"), {self.process.pid})


_KILL = getattr(signal, "SIGKILL", 9)
KILLED = "its worker was killed, perhaps because memory ran out; try fewer --workers"
MISUNDERSTOOD = (
    "its worker sent {}; if hsemotion was upgraded meanwhile, start the batch again, and with Ray install the same "
    "version on every machine"
)


def _receive(
    answers: IO[bytes], inbox: queue.SimpleQueue[bytes | ProtocolError | None], on_news: Callable[[], object]
) -> None:
    """Pass on what a worker sends, and last of all None: it has closed its end, or died."""
    with answers:
        try:
            if pipe.skip_to_start(answers):
                while (data := pipe.read(answers)) is not None:
                    inbox.put(data)
                    on_news()
        except ProtocolError as error:
            inbox.put(error)
    inbox.put(None)
    on_news()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
