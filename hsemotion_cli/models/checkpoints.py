"""The authors' weight files -> tensors by name, without executing any code in them.

Reads what torch.save writes (zip archives since torch 1.6, the older stream of pickles before) and
safetensors. Whole pickled modules of any version of timm come out as flat state dicts, because every
module keeps its weights in ``_parameters``, ``_buffers`` and ``_modules``. Neither torch nor the module's classes are
needed or imported.
"""

from __future__ import annotations

import math
import mmap
import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import HsemotionError, ModelUnavailable
from .safe_unpickler import DamagedCheckpoint, Inert, Machine, Storage, TensorRef, UnsafeCheckpoint

Array = NDArray[Any]

MAX_FILE = 1 << 30
"""Bytes; the largest published file has 30 MB."""

MAX_PICKLE = 1 << 26
MAX_RECORDS = 100_000
MAX_MODULES = 20_000
MAX_DEPTH = 64

# Storage class of torch -> type of its numbers in the file, little-endian. numpy has no bfloat16.
KINDS = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}

# The pickles with which the older format of torch.save begins.
_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a weight file.

    Attributes:
        tensors: name -> values, in the order of the file.
        modules: name of a module -> its plain attributes (numbers, text, tuples of numbers), for pickled
            modules only: enough to compare the settings of each layer with ours.
    """

    tensors: dict[str, Array]
    modules: dict[str, dict[str, Any]] = field(default_factory=dict)


def read(path: Path) -> Checkpoint:
    """Read a weight file without executing anything in it.

    Raises:
        UnsafeCheckpoint: it requests code execution, or declares more data than it contains.
        DamagedCheckpoint: it is truncated, altered, or not a weight file.
        ModelUnavailable: it cannot be opened.
    """
    try:
        size = os.path.getsize(path)
        if size > MAX_FILE:
            raise UnsafeCheckpoint(f"it has {size:,} bytes, far more than any network of this program.")
        with open(path, "rb") as file:
            start = file.read(16)
        if start[:4] == b"PK\x03\x04":
            return _read_zip(path)
        if start[8:10] == b'{"':
            return Checkpoint(_read_safetensors(path))
        if start[:1] == b"\x80":
            return _read_stream(path)
        raise DamagedCheckpoint("it is neither a torch.save file nor a safetensors file.")
    except HsemotionError as error:
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror or error}).") from error


def _read_safetensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedCheckpoint(f"its header does not match its content ({error}).") from error


class _Source(Protocol):
    """Returns the bytes of a storage, exactly as many as declared."""

    def __call__(self, storage: Storage) -> bytes: ...


def _bytes_of(storage: Storage) -> int:
    """The number of bytes that a storage must have."""
    if storage.kind not in KINDS:
        raise DamagedCheckpoint(f"it contains numbers of an unknown type ({storage.kind[:40]}).")
    return storage.count * np.dtype(KINDS[storage.kind]).itemsize


def _read_zip(path: Path) -> Checkpoint:
    """The format of torch.save since 1.6: an uncompressed zip archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            prefix = _check_records(archive, os.path.getsize(path))
            names = set(archive.namelist())
            if f"{prefix}byteorder" in names and archive.read(f"{prefix}byteorder") != b"little":
                raise DamagedCheckpoint("its numbers are stored big-endian, which is not supported.")

            def source(storage: Storage) -> bytes:
                name = f"{prefix}data/{storage.key}"
                if name not in names or archive.getinfo(name).file_size != _bytes_of(storage):
                    raise UnsafeCheckpoint(f"storage {storage.key[:40]} does not have the declared length.")
                return archive.read(name)

            return _unfold(Machine().run(archive.read(f"{prefix}data.pkl")), source, os.path.getsize(path))
    # zipfile raises NotImplementedError for unknown methods and RuntimeError for encryption.
    except (zipfile.BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise DamagedCheckpoint(f"its archive is damaged ({error}); download the file again.") from error


def _check_records(archive: zipfile.ZipFile, size: int) -> str:
    """The folder of the archive's records, after checking that they take no more bytes than the file has."""
    records = archive.infolist()
    if len(records) > MAX_RECORDS or len({record.filename for record in records}) != len(records):
        raise UnsafeCheckpoint("its archive has too many records, or two with the same name.")
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise UnsafeCheckpoint("its archive is compressed, which torch.save never does.")
    # The sum also catches overlapping records, another way to make a small archive expand.
    if sum(record.file_size for record in records) > size or any(r.file_size != r.compress_size for r in records):
        raise UnsafeCheckpoint("its archive declares more data than the file contains.")
    pickles = [r for r in records if r.filename.endswith("/data.pkl") and r.filename.count("/") == 1]
    if len(pickles) != 1:
        raise DamagedCheckpoint("its archive was not made by torch.save.")
    if pickles[0].file_size > MAX_PICKLE:
        raise UnsafeCheckpoint(f"its pickle has {pickles[0].file_size:,} bytes, far more than modules need.")
    return pickles[0].filename.removesuffix("data.pkl")


def _read_stream(path: Path) -> Checkpoint:
    """The format of torch.save before 1.6: five pickles, then the storages one after another."""
    size = os.path.getsize(path)
    # A memory map returns no more bytes than there are, however many are requested; a file would first
    # make room for all of them.
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        machine = Machine()
        if machine.run(stream) != _MAGIC or machine.run(stream) != _PROTOCOL:
            raise DamagedCheckpoint("it is a pickle, but was not made by torch.save.")
        machine.run(stream)  # sizes of the writer's integers
        root = machine.run(stream)
        keys = machine.run(stream)
        if stream.tell() > MAX_PICKLE or not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
            raise DamagedCheckpoint("its list of storages is invalid.")
        declared = {ref.storage.key: ref.storage for ref in _references(root)}
        places: dict[str, int] = {}
        position = stream.tell()
        for key in keys:
            if key not in declared:
                raise DamagedCheckpoint(f"storage {key[:40]} does not belong to any of its tensors.")
            count = int.from_bytes(stream[position : position + 8], "little")
            places[key] = position + 8
            position += 8 + _bytes_of(declared[key])
            if count != declared[key].count or position > size:
                raise UnsafeCheckpoint(f"storage {key[:40]} does not have the declared length.")

        def source(storage: Storage) -> bytes:
            if storage.key not in places:
                raise DamagedCheckpoint(f"storage {storage.key[:40]} is missing.")
            return stream[places[storage.key] : places[storage.key] + _bytes_of(storage)]

        return _unfold(root, source, size)


def _children(value: Any) -> Iterator[Any]:
    """The objects that a value of the reader contains directly."""
    if isinstance(value, list | tuple):
        yield from value
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, Inert):
        yield from (value.args, value.state, *value.items.values())


def _references(root: Any) -> Iterator[TensorRef]:
    """Every tensor in a tree; each object is visited once, however often it is referenced."""
    waiting, seen = [root], {id(root)}
    while waiting:
        value = waiting.pop()
        if isinstance(value, TensorRef):
            yield value
        for child in _children(value):
            if isinstance(child, list | tuple | dict | Inert | TensorRef) and id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)


def _unfold(root: Any, source: _Source, size: int) -> Checkpoint:
    """Root of a pickle -> tensors by name.

    Args:
        size: of the file in bytes, which limits the plausible size of the tensors: tensors may share a storage, so
            a small file could declare very many large ones.
    """
    modules: dict[str, dict[str, Any]] = {}
    if isinstance(root, dict):
        inner = next((root[key] for key in ("model_state_dict", "state_dict") if key in root), root)
        if isinstance(inner, Inert):
            root = inner
        elif isinstance(inner, dict):
            references = {name: ref for name, ref in inner.items() if isinstance(ref, TensorRef)}
            return Checkpoint(_values(references, source, size))
    if not isinstance(root, Inert):
        raise DamagedCheckpoint("it contains neither a network nor a dictionary of tensors.")
    references = {}
    for path, state in _walk(root):
        prefix = f"{path}." if path else ""
        kept_out = _words(state.get("_non_persistent_buffers_set"))
        for group in ("_parameters", "_buffers"):
            for name, value in _mapping(state, group).items():
                if value is not None and name not in kept_out:
                    if not isinstance(value, TensorRef):
                        raise DamagedCheckpoint(f"{prefix}{name} is not a plain tensor.")
                    references[f"{prefix}{name}"] = value
        modules[path] = {name: value for name, value in state.items() if _setting(name, value)}
    return Checkpoint(_values(references, source, size), modules)


def _mapping(state: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = state.get(key)
    if not (isinstance(value, dict) and all(isinstance(name, str) for name in value)):
        raise DamagedCheckpoint(f"one of its modules has no {key}.")
    return value


def _words(value: Any) -> frozenset[str]:
    """The members of a pickled set of names."""
    members = value.args[0] if isinstance(value, Inert) and value.args else []
    return frozenset(member for member in members if isinstance(member, str))


def _setting(name: Any, value: Any) -> bool:
    plain = isinstance(value, bool | int | float | str) or (
        isinstance(value, tuple) and all(isinstance(part, int | float) for part in value)
    )
    return plain and isinstance(name, str) and not name.startswith("_")


def _walk(root: Inert) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every module inside a pickled one: its path ("" for the root) and state, in the order of ``state_dict``."""
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    for _ in range(MAX_MODULES):
        if not waiting:
            return
        path, module, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise UnsafeCheckpoint(f"its modules are nested more than {MAX_DEPTH} deep.")
        if not (isinstance(module, Inert) and isinstance(module.state, dict)):
            raise DamagedCheckpoint(f"{path or 'its content'} is not a network.")
        yield path, module.state
        children = _mapping(module.state, "_modules").items()
        prefix = f"{path}." if path else ""
        waiting.extend((f"{prefix}{name}", child, depth + 1) for name, child in reversed(children) if child is not None)
    raise UnsafeCheckpoint(f"it has more than {MAX_MODULES:,} modules.")


def _values(references: Mapping[str, TensorRef], source: _Source, size: int) -> dict[str, Array]:
    """Read the tensors; bfloat16 becomes float32, everything else keeps its type."""
    tensors: dict[str, Array] = {}
    budget = 2 * size
    last: tuple[Storage, Array] | None = None
    for name, ref in references.items():
        if not isinstance(name, str):
            raise DamagedCheckpoint("one of its tensors has a name that is not text.")
        if last is None or last[0] != ref.storage:
            budget -= _bytes_of(ref.storage)
            last = ref.storage, _numbers(ref.storage, source)
        budget -= math.prod(ref.shape) * last[1].itemsize
        if budget < -size:
            raise UnsafeCheckpoint("its tensors together declare far more data than the file contains.")
        # ``safe_unpickler`` has checked that offset, shape and stride stay inside the storage.
        strides = tuple(step * last[1].itemsize for step in ref.stride)
        view = np.lib.stride_tricks.as_strided(last[1][ref.offset :], ref.shape, strides, writeable=False)
        tensors[name] = view.copy()
    if not tensors:
        raise DamagedCheckpoint("it holds no tensors.")
    return tensors


def _numbers(storage: Storage, source: _Source) -> Array:
    length = _bytes_of(storage)
    content = source(storage)
    if len(content) != length:
        raise DamagedCheckpoint(f"storage {storage.key[:40]} is truncated.")
    numbers: Array = np.frombuffer(content, KINDS[storage.kind])
    return (numbers.astype(np.uint32) << 16).view(np.float32) if storage.kind == "BFloat16Storage" else numbers
