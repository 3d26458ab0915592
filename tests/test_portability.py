"""What runs without the names that only POSIX has; ``without_posix`` takes them away in processes of their own."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import clips
import psutil
import pytest
from typer.testing import CliRunner

from hsemotion_cli.batch import jsonl
from hsemotion_cli.cli import app
from hsemotion_cli.runtime import atomic_files, file_lock, processes, resources

HERE = Path(__file__).parent
PATIENCE = 300.0
"""Seconds after which a test gives up waiting; none of them measures speed."""

HSEMOTION = [sys.executable, "-m", "hsemotion_cli"]


@pytest.fixture(scope="module")
def on_windows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that finds nothing which Windows lacks."""
    start = tmp_path_factory.mktemp("start")
    (start / "sitecustomize.py").write_text("import without_posix\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (start, HERE.parent, HERE)))}


def script(environment: dict[str, str], text: str, *arguments: object) -> str:
    command = [sys.executable, "-c", text, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.linux
def test_the_names_are_really_gone(on_windows: dict[str, str]) -> None:
    text = """
import hsemotion_cli.batch.worker as worker, hsemotion_cli.runtime.processes as processes, os, signal
assert not hasattr(worker.os, "pread") and hasattr(os, "pread")
assert not hasattr(worker.signal, "SIGKILL") and hasattr(signal, "SIGKILL")
assert processes.sys.platform == "win32" and worker.os.name == "nt"
try:
    exec("import fcntl", {"__name__": "hsemotion_cli"})
except ImportError:
    print("gone")
"""
    assert script(on_windows, text) == "gone\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    for k in range(3):
        clips.write(folder / f"{k}.mp4", [clips.portrait(shift=3 * k + 2 * j) for j in range(6)])
    return folder


@pytest.mark.linux
@pytest.mark.slow
def test_the_commands_give_the_same_bytes(study: Path, on_windows: dict[str, str], tmp_path: Path) -> None:
    quick = ["--model", "mp-blendshapes", "--every", "2", "-q"]

    def commands(out: Path) -> list[list[str]]:
        return [
            ["batch", str(study), "-o", str(out), "--workers", "2", *quick],
            ["batch", str(study), "-o", str(out), "--workers", "2", *quick],
            ["annotate", str(study / "0.mp4"), "-o", str(out / "one"), "--overlay", *quick],
            ["smooth", str(out / "one" / "0.csv"), "-o", str(out / "one"), "--smooth", "box:1", "-q"],
        ]

    for arguments in commands(tmp_path / "here"):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    for arguments in commands(tmp_path / "windows"):
        done = subprocess.run([*HSEMOTION, *arguments], env=on_windows, capture_output=True, text=True)
        assert done.returncode == 0, (arguments, done.stderr)
    found = [
        {
            str(path.relative_to(tmp_path / name)): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file() and path.suffix not in (".json", ".jsonl", ".owner")
        }
        for name in ("here", "windows")
    ]
    assert found[0] == found[1]
    assert sum(name.endswith(".csv") for name in found[0]) == 4
    states = [record["state"] for record in jsonl.read(tmp_path / "windows" / "manifest.jsonl")]
    assert states == ["skipped"] * 3


FAULTS = """
import json, sys
from pathlib import Path
from hsemotion_cli.batch.local_engine import LocalEngine
from hsemotion_cli.batch.messages import Task
from hsemotion_cli.batch.worker import WorkerConfig
out = Path(sys.argv[1])
names = ["good-1", "crash-1", "once-1", "hang-1", "bug-1", "good-2"]
with LocalEngine(WorkerConfig("batch_jobs:opened", out, 1), out, workers=2, timeout=3, retries=1) as engine:
    outcomes = list(engine.run([Task(name, name) for name in names], lambda _: None))
print(json.dumps({o.task.place: [o.state, o.attempts, o.failure and o.failure.error] for o in outcomes}))
with LocalEngine(WorkerConfig("batch_jobs:opened", out, 1), out, workers=2) as engine:
    next(engine.run([Task(name, name) for name in ("good-3", "hang-2", "hang-3")], lambda _: None))
"""


@pytest.mark.linux
@pytest.mark.slow
def test_workers_crash_hang_and_are_stopped_as_on_linux(on_windows: dict[str, str], tmp_path: Path) -> None:
    assert json.loads(script(on_windows, FAULTS, tmp_path)) == {
        "good-1": ["done", 1, None],
        "crash-1": ["failed", 2, "Crash"],
        "once-1": ["done", 2, None],
        "hang-1": ["failed", 2, "Timeout"],
        "bug-1": ["failed", 2, "ValueError"],
        "good-2": ["done", 1, None],
    }
    assert list(tmp_path.rglob(".*.part")) == []
    assert {path.stem for path in tmp_path.glob("*.txt")} == {"good-1", "good-2", "good-3", "once-1"}
    assert all(ended(int(path.read_text())) for path in tmp_path.glob("*.tried")), "no worker is left"


def ended(process: int) -> bool:
    try:
        return psutil.Process(process).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.linux
def test_a_worker_ends_when_its_parent_is_gone(on_windows: dict[str, str], tmp_path: Path) -> None:
    text = FAULTS.replace("timeout=3", "timeout=None").replace('"crash-1", "once-1", ', "").partition("print(")[0]
    process = subprocess.Popen([sys.executable, "-c", text, str(tmp_path)], env=on_windows)
    wait_until(lambda: list(tmp_path.rglob(".hang-1*.part")))
    process.kill()
    process.wait()
    worker = int((tmp_path / "hang-1.tried").read_text())
    wait_until(lambda: ended(worker))


HOLD = """
import sys
from pathlib import Path
from hsemotion_cli.batch.locks import hold_lock
from hsemotion_cli.batch.shards import Shard
with hold_lock(Path(sys.argv[1]), Shard()) as locked:
    print(locked, flush=True)
    sys.stdin.read()
"""


@pytest.mark.linux
def test_two_batches_in_one_folder(study: Path, on_windows: dict[str, str], tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=on_windows, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"True\n"
    command = [*HSEMOTION, "batch", str(study), "-o", str(tmp_path), "--model", "mp-blendshapes", "-q"]
    done = subprocess.run(command, env=on_windows, capture_output=True, text=True)
    assert done.returncode == 2
    assert f"process {holder.pid} on " in done.stderr and "writes there already" in done.stderr
    holder.kill()
    holder.communicate()
    with file_lock.hold(tmp_path / ".hsemotion-batch.lock", wait=False) as locked:
        assert locked, "the system gives it back"


# --- piece by piece, in this process ---------------------------------------------------------------------------------


@pytest.mark.posix
def test_a_link_is_refused_without_o_nofollow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "link").symlink_to("precious")
    monkeypatch.delattr(atomic_files.os, "O_NOFOLLOW")
    with pytest.raises(OSError) as raised:
        atomic_files.open_unfollowed(tmp_path / "link")
    assert raised.value.errno == errno.ELOOP
    os.close(atomic_files.open_unfollowed(tmp_path / "new"))


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither Linux nor its /proc."""

    def read(path: Path, *arguments: Any, **options: Any) -> str:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(processes, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.posix
def test_which_processes_live(elsewhere: None) -> None:
    now = time.time()
    assert processes.lives(os.getpid(), now)
    assert not processes.lives(os.getpid(), 0), "it began later, so it is another one"
    assert not processes.lives(2**22 + 5, now)
    assert processes.lives(10**30, now) in (True, False)
    with subprocess.Popen(["true"]) as dead:
        wait_until(lambda: psutil.Process(dead.pid).status() == psutil.STATUS_ZOMBIE)
        assert not processes.lives(dead.pid, time.time() + 1)


def test_a_process_that_may_not_be_looked_at_lives(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(process: int) -> None:
        raise psutil.AccessDenied(process)

    monkeypatch.setattr(psutil, "Process", denied)
    assert processes.lives(1, time.time())


@pytest.mark.linux
def test_linux_and_psutil_agree() -> None:
    linux, other = processes._started_linux(os.getpid()), processes._started(os.getpid())
    assert linux is not None and other is not None and abs(linux - other) < 5
    assert processes._started_linux(2**22 + 5) is processes._started(2**22 + 5) is None


@pytest.mark.posix
def test_memory(elsewhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (resources.free_memory() or 0) > 0
    assert processes.peak_memory() > 10**7
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=77)))
    assert processes.peak_memory() == 77


@pytest.mark.posix
def test_locks_wait_fail_or_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import filelock

    path = tmp_path / "a.lock"
    with file_lock.hold(path), pytest.raises(file_lock.Busy), file_lock.hold(path, wait=False):
        pass
    with file_lock.hold(path, wait=False):
        pass
    (tmp_path / "link").symlink_to("a.lock")
    with pytest.raises(OSError), file_lock.hold(tmp_path / "link"):
        pass
    for error in (OSError(errno.ENOLCK, "No locks available"), NotImplementedError("no flock")):

        def fail(*_: object, error: Exception = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(filelock.FileLock, "acquire", fail)
        with file_lock.hold(path) as found:
            assert found is False
