"""The files that a run resumes from, and its log: checkpoint, best weights, CSV. Each is written atomically."""

from __future__ import annotations

import contextlib
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, UsageError
from ..runtime import file_lock
from ..runtime.atomic_files import atomic_file, name_failed_file
from .config import TrainingConfig
from .dataset import Dataset

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
LOG = "log.csv"
_LOG_START = b"stage,epoch,step,rate,"
_LOCK = ".hsemotion-train.lock"


@contextlib.contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep other training runs out of a folder: two would overwrite each other's checkpoints.

    Raises:
        UsageError: another run is training there.
        OutputError: the lock's file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            with name_failed_file(folder / _LOCK):
                stack.enter_context(file_lock.hold(folder / _LOCK, wait=False))
        except file_lock.Busy:
            raise UsageError(
                f"{folder}: another run is training there already; wait for it, or choose another folder with -o."
            ) from None
        yield


def read_checkpoint(path: Path, config: TrainingConfig, dataset: Dataset) -> dict[str, Any] | None:
    """The state of an earlier run, or None if no such file.

    Raises:
        InputError: it cannot be read, lacks a part, or belongs to another config or other samples.
    """
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        # Earlier versions noted only the number of samples.
        same = state["plan"] == config.digest() and state["samples"] in (dataset.digest(), len(dataset))
        state["origin"], state["start"]  # missing in checkpoints of the first versions
    except Exception as error:  # torch raises many kinds for a file that it cannot read
        raise InputError(f"{path}: the checkpoint cannot be read ({error}); delete it to start over.") from error
    if not same:
        raise InputError(
            f"{path}: this checkpoint belongs to another plan or other samples; use another folder, or delete it to "
            "start over."
        )
    return state


def is_ours(path: Path) -> bool:
    """Whether a checkpoint, the best weights beside one, or a log was written by a training run.

    Raises:
        OSError and whatever else torch raises for a file that it cannot read, as ``ValueError``.
    """
    if path.suffix == ".csv":
        with path.open("rb") as file:
            return file.readline(1000).startswith(_LOG_START)
    if path.suffix != ".pt":
        return False
    try:
        state = torch.load(path.with_name(CHECKPOINT), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds
        raise ValueError(str(error)) from error
    return isinstance(state, dict) and {"plan", "samples", "step", "network"} <= state.keys()


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain data as ``torch.load(..., weights_only=True)`` reads them.

    Raises:
        OutputError: the file cannot be written.
    """
    content = io.BytesIO()
    torch.save(state, content)  # to memory first: torch's own errors do not say that the disk is full
    with atomic_file(path) as file:
        file.write(content.getbuffer())


def write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a CSV file with a row for each epoch; its columns are the keys of all rows in order of appearance.

    Raises:
        OutputError: the file cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())
