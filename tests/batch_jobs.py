"""Jobs for the workers of ``batch``: they write a word instead of annotating, or go wrong as the file's name says."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hsemotion_cli.batch.messages import Task
from hsemotion_cli.errors import InputError, ModelUnavailable, OutputError
from hsemotion_cli.runtime import atomic_files


class Job:
    def __init__(self, out: Path) -> None:
        self.out = out
        self.settings = {"made by": "a test"}

    def __call__(self, task: Task, report: Callable[..., None]) -> dict[str, Any]:
        kind = Path(task.path).name.partition("-")[0]
        first = not (self.out / f"{task.place}.tried").exists()
        (self.out / f"{task.place}.tried").write_text(str(os.getpid()))
        report("annotate", 1, 1, 2)
        if kind == "crash" or (kind == "once" and first):
            os.kill(os.getpid(), signal.SIGSEGV)
        elif kind == "input":
            raise InputError(f"{task.path}: not a video.")
        elif kind == "output":
            raise OutputError(f"{task.path}: the disk is full.")
        elif kind == "bug":
            raise ValueError("seven")
        elif kind == "memory":
            raise MemoryError
        with atomic_files.atomic_file(self.out / f"{task.place}.txt") as file:
            file.write(b"half of ")
            file.flush()
            if kind == "hang" or (kind == "slow" and first):
                time.sleep(3600)
            file.write(task.place.encode())
        return {"frames": 2, "worker": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES")}


@contextlib.contextmanager
def opened(out: Path, progress: Any) -> Iterator[Job]:
    yield Job(out)


@contextlib.contextmanager
def refused(out: Path, progress: Any) -> Iterator[Job]:
    raise ModelUnavailable("weights.bin is missing; fetch it.")
    yield Job(out)


@contextlib.contextmanager
def only_once(out: Path, progress: Any) -> Iterator[Job]:
    """The first worker starts, and no other ever does."""
    if (out / "started").exists():
        raise ModelUnavailable("weights.bin is gone.")
    (out / "started").touch()
    yield Job(out)


@contextlib.contextmanager
def other_weights(out: Path, progress: Any) -> Iterator[Job]:
    """The second worker would give other results than the first."""
    job = Job(out)
    if (out / "started").exists():
        job.settings = {"made by": "another test"}
    (out / "started").touch()
    yield job
