"""The engine that uses processes of this machine; one process is one worker."""

from __future__ import annotations

import sys
from multiprocessing.connection import wait
from pathlib import Path

from .worker import WorkerConfig
from .worker_pool import Fetching, WorkerPool
from .worker_process import WorkerProcess


class LocalEngine(WorkerPool):
    """Worker processes; each loads its models once.

    Args:
        setup: what workers are told.
        out, workers, timeout, retries, fetching: as ``WorkerPool``.

    Raises:
        HsemotionError: on entering, whatever the first worker met with when it loaded its models.
    """

    def __init__(
        self, setup: WorkerConfig, out: Path, *, workers: int = 1, timeout: float | None = None, retries: int = 1,
        fetching: Fetching | None = None,
    ) -> None:  # fmt: skip
        super().__init__(out, workers=workers, timeout=timeout, retries=retries, fetching=fetching)
        self._setup = setup

    def __enter__(self) -> LocalEngine:
        try:
            self._first()
        except BaseException:
            self._dismiss()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._dismiss()

    def _hire(self) -> WorkerProcess:
        return WorkerProcess(self._setup, sys.path)

    def _wait(self, seconds: float) -> None:
        wait([worker.connection for worker in self._crew], seconds)
