"""Files are written completely or not at all, and files that belong together are written together."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest
from known import noting

from hsemotion_cli.errors import OutputError, UsageError
from hsemotion_cli.runtime import atomic_files, write_errors


def test_files_that_belong_together_appear_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(atomic_files.os, "fsync", noting(done, "sync", sync))
    monkeypatch.setattr(atomic_files.os, "replace", noting(done, "move", move))
    with atomic_files.write_together() as opened:
        for name in ("a", "b"):
            with opened(tmp_path / name) as file:
                file.write(name.encode())
            assert not (tmp_path / name).exists()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "a", "b": "b"}
    assert done == ["sync", "sync", "move", "move"], "on the disk before they get their names"


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_none_appears_when_one_fails(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a").write_text("older")
    expected = OutputError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as raised, atomic_files.write_together() as opened:
        with opened(tmp_path / "a") as file:
            file.write(b"newer")
        with opened(tmp_path / "b") as file:
            file.write(b"half")
            raise error
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "older"}
    if isinstance(error, OSError):
        assert str(tmp_path / "b") in str(raised.value)


def test_a_name_of_any_length_has_a_temporary_one(tmp_path: Path) -> None:
    long = tmp_path / ("ü" * 120 + ".csv")  # 244 bytes, near the limit of most file systems
    with atomic_files.atomic_file(long) as file:
        file.write(b"x")
    assert long.read_bytes() == b"x"


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full: free some space"),
        (errno.EDQUOT, "your disk quota is used up"),
        (errno.EFBIG, "allows no larger file"),
        (errno.EROFS, "mounted read-only"),
        (errno.EACCES, "you have no permission"),
        (errno.ENAMETOOLONG, "rename the input"),
        (errno.EILSEQ, "does not allow these characters"),
        (errno.EISDIR, "a folder has this name"),
        (errno.ELOOP, "remove the link"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "reports a fault"),
        (errno.ESTALE, "run it again"),
        (errno.ECHILD, "choose another place"),
    ],
)
def test_each_error_has_advice_that_fits_it(tmp_path: Path, number: int, says: str) -> None:
    with pytest.raises(OutputError) as raised, atomic_files.name_failed_file(tmp_path / "a.csv"):
        raise OSError(number, os.strerror(number))
    sentence = str(raised.value)
    assert sentence.startswith(f"{tmp_path / 'a.csv'}: could not be written ({os.strerror(number)}); ")
    assert says in sentence and sentence.endswith(".")
    assert ("free some space" in sentence) == (number == errno.ENOSPC), "space is no help against anything else"


@pytest.mark.parametrize(
    ("code", "says"),
    [(5, "or it is write-protected"), (32, "close that program"), (123, "may not allow"), (206, "shorter path")],
)
def test_windows_says_more_than_its_errno(code: int, says: str) -> None:
    class WindowsError(OSError):
        winerror = code

    assert says in write_errors.advice(WindowsError(errno.ENOENT, "The system cannot find the file"))
    assert write_errors.is_bad_name(WindowsError(errno.ENOENT, "x")) == (code in (123, 206))


def test_a_folder_is_made_and_tried(tmp_path: Path) -> None:
    atomic_files.prepare_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="nothing can be written there"):
        atomic_files.prepare_folder(tmp_path / "file" / "b")


def leftover(folder: Path, process: int) -> Path:
    path = atomic_files.temporary(folder / "talk.csv")
    path = path.with_name(path.name.replace(f".{os.getpid()}.part", f".{process}.part"))
    path.write_text("half")
    return path


@pytest.mark.linux
def test_a_leftover_of_an_unreaped_process_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as dead:
        status = Path(f"/proc/{dead.pid}/status")
        while "State:\tZ" not in status.read_text():
            time.sleep(0.01)
        leftover(tmp_path, dead.pid)
        assert atomic_files.remove_leftovers(tmp_path, time.time() + 1) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.posix
def test_a_number_that_another_process_has_now_keeps_no_leftover(tmp_path: Path) -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        path = leftover(tmp_path, other.pid)
        assert atomic_files.remove_leftovers(tmp_path, time.time() + 1) == 0, "it may be its own"
        os.utime(path, (0, 0))  # long before that process began
        assert atomic_files.remove_leftovers(tmp_path, time.time() + 1) == 1
    finally:
        other.kill()
        other.wait()
