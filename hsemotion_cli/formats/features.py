"""Readings, or sound -> NAME.features.parquet: the embeddings of every face or state, with the keys of the table.

Columns: ``frame``, ``time``, ``face_id`` and, of photos, ``file`` as in the table; ``embedding``, a list of d float16
or float32; ``outputs``, the network's last layer before any soft-max, where the model is a network. Of sound, ``frame``
is the number of a hidden state from 0, ``time`` the middle of what it covers, on the clock of the video, and
``face_id`` 0; such a file says that its ``kind`` is "audio". Rows go to the file in blocks, since an hour of one face
is half a gigabyte. Pages have checksums, so that a damaged number is noticed. What made them is JSON in the file's
metadata, under ``hsemotion``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..domain import Reading
from ..errors import InputError, UsageError

DTYPES = ("float16", "float32")
AUDIO = "audio"
_BLOCK = 1024

Block = tuple[NDArray[np.float64], NDArray[np.floating], NDArray[np.floating] | None]
"""Keys (n, 3), which are frame, time and face_id; embeddings (n, d); outputs (n, k) or None."""


def check_dtype(dtype: str) -> None:
    """Raise UsageError unless ``dtype`` is one of ``DTYPES``."""
    if dtype not in DTYPES:
        raise UsageError(f"--dtype {dtype}: choose from {', '.join(DTYPES)}.")


def write(
    readings: Iterable[Reading],
    model: str,
    dtype: str,
    facts: Mapping[str, Any],
    file: IO[bytes],
    files: Callable[[int], str] | None = None,
) -> int:
    """Write a row for every face that the model could read; returns how many.

    Args:
        model: whose embeddings, a key of each reading's scores.
        dtype: of ``DTYPES``.
        facts: what to keep beside them.
        files: of photos, frame number -> name of the photo, for a column ``file``.

    Raises:
        UsageError: the model gives no embeddings, or there is no such dtype.
    """
    return _write(_blocks(readings, model), model, dtype, facts, file, files)


def write_audio(
    states: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]],
    model: str,
    dtype: str,
    facts: Mapping[str, Any],
    file: IO[bytes],
) -> int:
    """Write a row for every hidden state of a recording; returns how many.

    Args:
        states: (time (n,), embeddings (n, d)) of consecutive states.

    The others are as for ``write``.
    """
    return _write(_numbered(states), model, dtype, {**facts, "kind": AUDIO}, file)


def is_audio(facts: Mapping[str, Any]) -> bool:
    """Whether rows are hidden states of sound and not faces."""
    return facts.get("kind") == AUDIO


def _write(
    blocks: Iterable[Block],
    model: str,
    dtype: str,
    facts: Mapping[str, Any],
    file: IO[bytes],
    files: Callable[[int], str] | None = None,
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_dtype(dtype)
    kind = pa.type_for_alias("halffloat" if dtype == "float16" else "float")
    writer: Any = None
    count = 0
    try:
        for keys, embeddings, outputs in blocks:
            columns = {
                "frame": pa.array(keys[:, 0].astype(np.int64)),
                "time": pa.array(keys[:, 1]),
                "face_id": pa.array(keys[:, 2].astype(np.int64)),
                "embedding": _lists(embeddings.astype(dtype), kind),
            }
            if outputs is not None:
                columns["outputs"] = _lists(outputs, pa.float32())
            if files is not None:
                columns["file"] = pa.array([files(int(number)) for number in keys[:, 0]])
            table = pa.table(columns)
            if writer is None:
                note = {"hsemotion": json.dumps({**facts, "model": model, "dtype": dtype})}
                writer = pq.ParquetWriter(file, table.schema.with_metadata(note), write_page_checksum=True)
            writer.write_table(table.replace_schema_metadata(writer.schema.metadata))
            count += len(keys)
    finally:
        if writer is not None:
            writer.close()
    return count


def read(path: Path) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """The columns of a file as arrays, embeddings as (n, d), and the facts kept beside them.

    Raises:
        InputError: it is missing, or no such file.
    """
    return _read(path, None)


def read_keys(path: Path) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """As ``read``, but the keys only: ``frame``, ``time`` and ``face_id``, which take little memory."""
    return _read(path, ["frame", "time", "face_id"])


def embedding_size(path: Path) -> int:
    """Length of the embeddings in a file that ``read_keys`` accepts."""
    import pyarrow.parquet as pq

    return int(pq.read_schema(path).field("embedding").type.list_size)


def _read(path: Path, wanted: list[str] | None) -> tuple[dict[str, NDArray], dict[str, Any]]:
    """Some columns, or all of them, and the facts."""
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=wanted, page_checksum_verification=True)
        facts = json.loads(table.schema.metadata[b"hsemotion"])
        columns = {}
        for name in table.column_names:
            column = table.column(name).combine_chunks()
            lists = name in ("embedding", "outputs")
            columns[name] = (
                column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
                if lists
                else column.to_numpy(zero_copy_only=False)
            )
        needed = {"frame", "time", "face_id", "embedding"} if wanted is None else set(wanted)
        if not isinstance(facts, dict) or not needed <= columns.keys():
            raise ValueError("a column or what made it is missing")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{path}: not a file of features made by extract, or damaged ({reason}); delete it, and extract it again."
        ) from error
    return columns, facts


def _numbered(states: Iterable[tuple[NDArray[np.floating], NDArray[np.floating]]]) -> Iterable[Block]:
    """States with the keys of a table."""
    count = 0
    for time, embeddings in states:
        keys = np.zeros((len(time), 3))
        keys[:, 0], keys[:, 1] = np.arange(count, count + len(time)), time
        count += len(time)
        yield keys, embeddings, None


def _blocks(readings: Iterable[Reading], model: str) -> Iterable[Block]:
    """Blocks of some ``_BLOCK`` faces, whole frames."""
    keys: list[tuple[int, float, int | None]] = []
    parts: list[tuple[NDArray, NDArray | None]] = []
    for reading in readings:
        scores = reading.scores[model]
        if scores.embeddings is None:
            raise UsageError(f"{model} gives no embeddings; choose another model.")
        known: NDArray[np.bool_] = np.asarray(~np.isnan(scores.embeddings).any(axis=1))
        keys += [(reading.index, reading.time, f.track) for f, k in zip(reading.faces, known, strict=True) if k]
        parts.append((scores.embeddings[known], None if scores.outputs is None else scores.outputs[known]))
        if len(keys) >= _BLOCK:
            yield _joined(keys, parts)
            keys, parts = [], []
    if keys:
        yield _joined(keys, parts)


def _joined(keys: list, parts: list[tuple[NDArray, NDArray | None]]) -> Block:
    outputs = [o for _, o in parts if o is not None]
    return (
        np.array(keys, np.float64),
        np.concatenate([e for e, _ in parts]),
        np.concatenate(outputs) if outputs else None,
    )


def _lists(values: NDArray, kind: Any) -> Any:
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), type=kind), values.shape[1])
