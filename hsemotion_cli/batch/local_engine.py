"""The engine that uses processes of this machine; one process is one worker."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from .worker import WorkerConfig
from .worker_pool import Fetching, WorkerPool
from .worker_process import WorkerProcess


class LocalEngine(WorkerPool):
    """Worker processes; each loads its models once.

    Args:
        config: given to each worker.
        out, workers, timeout, retries, fetching: as ``WorkerPool``.

    Raises:
        HsemotionError: on entering, whatever the first worker met with when it loaded its models.
    """

    def __init__(
        self, config: WorkerConfig, out: Path, *, workers: int = 1, timeout: float | None = None, retries: int = 1,
        fetching: Fetching | None = None,
    ) -> None:  # fmt: skip
        super().__init__(out, workers=workers, timeout=timeout, retries=retries, fetching=fetching)
        self._config = config
        self._news = threading.Event()

    def __enter__(self) -> LocalEngine:
        try:
            self._start_first()
        except BaseException:
            self._shut_down()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._shut_down()

    def _start_worker(self) -> WorkerProcess:
        return WorkerProcess(self._config, sys.path, self._news.set)

    def _wait(self, seconds: float) -> None:
        self._news.wait(seconds)
        self._news.clear()  # before the messages are read, so that none can come unnoticed
