"""The authors' files are read whatever timm wrote them; a hostile or damaged one is refused and runs nothing."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hsemotion_cli.errors import ModelUnavailable
from hsemotion_cli.models import checkpoints, safe_unpickler
from hsemotion_cli.models.safe_unpickler import DamagedCheckpoint, UnsafeCheckpoint


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, method: int = 0) -> Path:
    """A file as torch.save writes it, around any pickle; ``storages`` is key -> bytes."""
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("net/data.pkl", pickled)
        made.writestr("net/byteorder", b"little")
        for key, content in (storages or {}).items():
            made.writestr(f"net/data/{key}", content)
        made.writestr("net/version", b"3\n")
    return path


class Calls:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


# --- what an attack asks for ----------------------------------------------------------------------------------


def attacks(marker: Path) -> dict[str, tuple[bytes, str]]:
    """Name -> a pickle that would create ``marker`` if it were run, and the name that is to be refused."""
    touch = f"touch {marker}"
    write = f"open({str(marker)!r}, 'w').close()"
    text = str(marker).encode()
    return {
        "system": (pickle.dumps(Calls(os.system, touch)), "posix.system|nt.system"),
        "system, protocol 0": (pickle.dumps(Calls(os.system, touch), 0), "posix.system|nt.system"),
        "popen": (pickle.dumps(Calls(subprocess.Popen, ["touch", str(marker)])), "subprocess.Popen"),
        "eval": (pickle.dumps(Calls(eval, write)), "builtins.eval"),
        "exec": (pickle.dumps(Calls(exec, write)), "builtins.exec"),
        "open": (pickle.dumps(Calls(open, str(marker), "w")), r"io.open"),
        "getattr chain": (b"\x80\x02cbuiltins\ngetattr\ncos\nX\x06\x00\x00\x00system\x86R.", "builtins.getattr"),
        "import": (pickle.dumps(Calls(__import__, "os")), "builtins.__import__"),
        "python 2 name": (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
        "dotted name": (b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93\x8c\x01x\x85R.", "torch.os.system"),
        "dunder of a function": (b"\x80\x04\x8c\x05torch\x8c\x10save.__globals__\x93.", "torch.save.__globals__"),
        "INST": (b"(S'touch " + text + b"'\niposix\nsystem\n.", "posix.system"),
        "OBJ": (b"(cposix\nsystem\nS'touch " + text + b"'\no.", "posix.system"),
        "nested pickle": (b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x01x\x85R.", "torch.storage._load_from_bytes"),
        "torch.hub": (b"\x80\x02ctorch.hub\nload\n.", "torch.hub.load"),
        "in a state": (
            pickle.dumps({"model_state_dict": OrderedDict(a=Calls(os.system, touch))}),
            "posix.system|nt.system",
        ),
    }


@pytest.mark.parametrize("name", list(attacks(Path("x"))))
@pytest.mark.parametrize("form", ["zip", "stream"])
def test_an_attack_is_named_refused_and_not_run(name: str, form: str, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    pickled, refused = attacks(marker)[name]
    path = tmp_path / "evil.pt"
    if form == "zip":
        archive(path, pickled)
    else:
        path.write_bytes(
            pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + pickled
        )
    with pytest.raises(UnsafeCheckpoint, match=f"evil.pt: it asks to run ({refused})") as caught:
        checkpoints.read(path)
    assert "nothing was run" in str(caught.value)
    assert caught.value.exit_code == 5
    assert not marker.exists()


def test_the_attacks_would_have_worked_on_pickle_itself(tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    pickle.loads(attacks(marker)["eval"][0])
    assert marker.exists()


def test_an_unknown_class_is_never_imported_or_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "innocent_looking.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = archive(tmp_path / "a.pt", b"\x80\x02cinnocent_looking\nRun\n)R}b.")
    with pytest.raises(DamagedCheckpoint, match=r"_modules|_parameters"):
        checkpoints.read(path)
    assert not (tmp_path / "imported").exists()
    assert "innocent_looking" not in sys.modules


# --- what is too large ----------------------------------------------------------------------------------------


def storage(key: str = "0", count: int = 4) -> bytes:
    """Instructions that leave a storage of float32 on the stack."""
    text = key.encode()
    return (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX" + struct.pack("<I", len(text)) + text
        + b"X\x03\x00\x00\x00cpu" + integer(count) + b"tQ"
    )  # fmt: skip


def integer(value: int) -> bytes:
    encoded = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def tensor(shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0, count: int = 4, key: str = "0") -> bytes:
    """Instructions that leave a tensor on the stack."""
    sizes = b"(" + b"".join(map(integer, shape)) + b"t"
    steps = b"(" + b"".join(map(integer, stride)) + b"t"
    body = b"(" + storage(key, count) + integer(offset) + sizes + steps + b"\x89)tR"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + body


def dictionary(*tensors: bytes) -> bytes:
    items = b"".join(b"X\x02\x00\x00\x00" + b"%02d" % i + made for i, made in enumerate(tensors))
    return b"\x80\x02}(" + items + b"u."


FOUR = {"0": np.arange(4, dtype="<f4").tobytes()}


def test_a_plain_tensor_is_read(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", dictionary(tensor((2, 2), (1, 2))), FOUR)
    np.testing.assert_array_equal(checkpoints.read(path).tensors["00"], [[0, 2], [1, 3]])


@pytest.mark.parametrize(
    "made",
    [
        tensor((1 << 40,), (0,)),
        tensor((1 << 20, 1 << 20), (0, 0)),
        tensor((2,), (4,)),
        tensor((4,), (1,), offset=1),
        tensor((1 << 62, 4), (1, 1)),
        tensor((-1,), (1,)),
        tensor((1,), (-1,)),
        tensor((1,), (1,), offset=-4),
        tensor((1,) * 9, (1,) * 9),
        tensor((4,), (1, 1)),
        tensor((1 << 30,), (1,), count=1 << 30),
    ],
)
def test_a_tensor_that_reaches_outside_its_storage_is_refused(made: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnsafeCheckpoint, match=r"shape|storage"):
        checkpoints.read(archive(tmp_path / "a.pt", dictionary(made), FOUR))


def test_many_tensors_of_one_storage_are_refused(tmp_path: Path) -> None:
    made = [tensor((1 << 16,), (1,), count=1 << 16)] * 99
    path = archive(tmp_path / "a.pt", dictionary(*made), {"0": bytes(1 << 18)})
    with pytest.raises(UnsafeCheckpoint, match="declare far more data than the file contains"):
        checkpoints.read(path)


def test_two_storages_read_in_turns_are_refused(tmp_path: Path) -> None:
    made = [tensor((1,), (1,), count=1 << 16, key=str(i % 2)) for i in range(99)]
    path = archive(tmp_path / "a.pt", dictionary(*made), {"0": bytes(1 << 18), "1": bytes(1 << 18)})
    with pytest.raises(UnsafeCheckpoint, match="declare far more data than the file contains"):
        checkpoints.read(path)


BOMBS = {
    "nested lists": b"\x80\x02" + b"](" * 100_000 + b".",
    "nested tuples": b"\x80\x02)" + b"\x85" * 200_000 + b".",
    "nested tuples as a key": b"\x80\x02})" + b"\x85" * 200_000 + b"Ns.",
    "a memo index of 4 thousand million": b"\x80\x02]r\xff\xff\xff\xff.",
    "doubling lists": b"\x80\x02]" + b"(h\x00h\x00e" * 10 + b".",
    "one list copied for ever": b"\x80\x02ccollections\nOrderedDict\nq\x00](" + b"NN\x86" * 50_000 + b"eq\x010"
    + b"h\x00h\x01\x85R" * 50_000 + b".",
    "declared bytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 42) + b"x.",
    "declared array": b"\x80\x05\x96" + struct.pack("<Q", 1 << 42) + b"x.",
    "declared text": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "declared number": b"\x80\x02\x8b\xff\xff\xff\x7fx.",
    "long decimal number": b"L" + b"9" * 3_000_000 + b"L\n.",
    "without end": b"\x80\x02" + b"N0" * 200_000,
    "extension": b"\x80\x02\x82\x01.",
}  # fmt: skip


@pytest.mark.parametrize("name", list(BOMBS))
@pytest.mark.parametrize("form", ["zip", "stream"])
def test_a_bomb_is_refused_in_little_memory(name: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    if form == "zip":
        archive(path, BOMBS[name])
    else:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + b"}." + BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(ModelUnavailable, match=r"bomb\.pt: "):
            checkpoints.read(path)
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()


def test_a_compressed_archive_is_refused_unread(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", dictionary(tensor((4,), (1,))), {"0": bytes(100_000_000)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeCheckpoint, match="compressed"):
            checkpoints.read(path)
        assert tracemalloc.get_traced_memory()[1] < 10e6
    finally:
        tracemalloc.stop()


def test_an_archive_that_declares_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", dictionary(tensor((4,), (1,))), FOUR)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"net/data/0"))
    content[at + 20 : at + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(content)
    with pytest.raises(UnsafeCheckpoint, match="more data than the file contains"):
        checkpoints.read(path)


def test_two_records_of_one_name_are_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pt", dictionary(tensor((4,), (1,))), FOUR)
    with zipfile.ZipFile(path, "a") as made, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.writestr("net/data.pkl", b"N.")
    with pytest.raises(UnsafeCheckpoint, match="two with the same name"):
        checkpoints.read(path)


def module(children: bytes = b"}") -> bytes:
    """Instructions that leave an empty module with these children on the stack."""
    keys = b"X\x0b\x00\x00\x00_parameters}X\x08\x00\x00\x00_buffers}X\x08\x00\x00\x00_modules" + children
    return b"ctorch.nn\nModule\n)\x81}(" + keys + b"ub"


def test_modules_inside_one_another_are_refused_beyond_any_use(tmp_path: Path) -> None:
    deep = module()
    for _ in range(70):
        deep = module(b"}X\x01\x00\x00\x00a" + deep + b"s")
    with pytest.raises(UnsafeCheckpoint, match="nested more than 64 deep"):
        checkpoints.read(archive(tmp_path / "a.pt", b"\x80\x02" + deep + b"."))


def test_a_module_that_contains_itself_many_times_is_refused(tmp_path: Path) -> None:
    """Twenty levels, each holding the next one thrice: a small file, three thousand million paths."""
    made = module()
    for _ in range(20):
        made = module(b"}(X\x01\x00\x00\x00a" + made + b"q\x07X\x01\x00\x00\x00bh\x07X\x01\x00\x00\x00ch\x07u")
    with pytest.raises(UnsafeCheckpoint, match="more than 20,000 modules"):
        checkpoints.read(archive(tmp_path / "a.pt", b"\x80\x02" + made + b"."))


# --- what is damaged ------------------------------------------------------------------------------------------


def test_what_is_no_checkpoint_is_reported(tmp_path: Path) -> None:
    for content in (
        b"",
        b"GIF89a",
        b"<!DOCTYPE html>",
        b"\x80\x02N.",
        b"PK\x03\x04nonsense",
        b"\x08" + bytes(7) + b'{"x":1',
    ):
        path = tmp_path / "a.pt"
        path.write_bytes(content)
        with pytest.raises(DamagedCheckpoint, match=re.escape(str(path))):
            checkpoints.read(path)
    with pytest.raises(ModelUnavailable, match="cannot be read"):
        checkpoints.read(tmp_path / "nothing.pt")


def test_every_shortening_and_flipped_byte_is_refused_or_harmless(tmp_path: Path) -> None:
    """Of a small file all of them: nothing but our own errors, and with the zip's checksum no wrong number."""
    path = archive(tmp_path / "a.pt", dictionary(tensor((2, 2), (2, 1))), FOUR)
    whole = path.read_bytes()
    expected = checkpoints.read(path).tensors["00"]
    altered = [whole[:end] for end in range(len(whole))]
    altered += [whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :] for i in range(len(whole))]
    read = 0
    for content in altered:
        path.write_bytes(content)
        try:
            tensors = checkpoints.read(path).tensors
        except ModelUnavailable:
            continue
        read += 1
        np.testing.assert_array_equal(next(iter(tensors.values())), expected)
    assert read < 0.4 * len(whole)  # flips in dates, attributes and other fields that say nothing


# --- what is right --------------------------------------------------------------------------------------------

torch = pytest.importorskip("torch", reason="needs torch to write its files")


def saved(content: Any, path: Path, zipped: bool = True) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_of_all_kinds_come_out_as_torch_has_them(zipped: bool, tmp_path: Path) -> None:
    base = torch.arange(24).reshape(2, 3, 4)
    state: dict[str, Any] = {
        str(kind): base.to(kind)
        for kind in (torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.int16, torch.int8)
    }
    state |= {"bool": base > 3, "byte": base.to(torch.uint8), "bf16": base.to(torch.bfloat16) / 7}
    shared = torch.randn(100)
    state |= {
        "view": shared[10:70:3],
        "other": shared[5],
        "transposed": base.float().permute(2, 0, 1),
        "none": torch.empty(0, 3),
    }
    state["parameter"] = torch.nn.Parameter(shared.reshape(10, 10).t())
    found = checkpoints.read(saved(state, tmp_path / "a.pt", zipped)).tensors
    assert list(found) == list(state)
    for name, value in state.items():
        np.testing.assert_array_equal(found[name], value.detach().to(torch.float32 if name == "bf16" else value.dtype))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_whole_module_comes_out_as_its_state_dict(zipped: bool, tmp_path: Path) -> None:
    net = torch.nn.Sequential(
        OrderedDict(
            first=torch.nn.Conv2d(3, 4, 3, bias=False),
            norm=torch.nn.BatchNorm2d(4, eps=1e-3),
            inner=torch.nn.Sequential(torch.nn.PReLU(4), torch.nn.Identity()),
        )
    )
    net.inner.register_buffer("fleeting", torch.ones(2), persistent=False)
    checkpoint = checkpoints.read(saved(net, tmp_path / "a.pt", zipped))
    assert list(checkpoint.tensors) == list(net.state_dict())
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(checkpoint.tensors[name], value)
    assert checkpoint.modules["norm"]["eps"] == 1e-3
    assert checkpoint.modules["first"]["kernel_size"] == (3, 3)


def test_safetensors_are_read(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.arange(3.0)}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(checkpoints.read(tmp_path / "a.safetensors").tensors["a"], [0, 1, 2])


def test_a_training_s_dictionary_gives_its_network_only(tmp_path: Path) -> None:
    net = torch.nn.Linear(2, 3)
    content = {"iter": 3, "model_state_dict": net.state_dict(), "optimizer_state_dict": {"state": {0: torch.ones(9)}}}
    assert list(checkpoints.read(saved(content, tmp_path / "a.pth")).tensors) == ["weight", "bias"]


def test_reading_needs_neither_torch_nor_pickle(tmp_path: Path) -> None:
    path = saved(torch.nn.Linear(2, 3), tmp_path / "a.pt")
    code = (
        "import sys; from pathlib import Path; from hsemotion_cli.models import checkpoints\n"
        f"print(list(checkpoints.read(Path({str(path)!r})).tensors), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "['weight', 'bias'] False", done.stderr


def test_the_limit_of_instructions_is_far_above_what_networks_need(tmp_path: Path) -> None:
    deep = torch.nn.Sequential(*(torch.nn.Conv2d(1, 1, 1) for _ in range(300)))
    path = saved(deep, tmp_path / "a.pt")
    with zipfile.ZipFile(path) as made:
        machine = safe_unpickler.Machine()
        machine.run(io.BytesIO(made.read("a/data.pkl")))
    assert machine.spent * 5 < safe_unpickler.MAX_INSTRUCTIONS
