"""Live without sockets: the kernel ends the process at its first attempt to open one (``sealed``)."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sealed
from test_live import table

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in sealed.SOCKET_CALL, reason="seccomp is Linux's"
)


def sealed_live(clip: Path, out: Path, *more: str) -> subprocess.CompletedProcess[bytes]:
    command = [Path(__file__).with_name("sealed.py"), "live", "--camera", clip, "-o", out, "--name", "s", *more]
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, timeout=120, check=False)


def test_live_opens_no_socket_unless_it_is_asked_to(smile: Path, tmp_path: Path) -> None:
    done = sealed_live(smile, tmp_path, "--window", "none", "--record", "--jsonl", str(tmp_path / "rows.jsonl"))
    assert done.returncode == 0, done.stderr.decode()
    assert table(tmp_path / "s.csv")
    asked = sealed_live(smile, tmp_path / "asked", "--window", "none", "--udp", "127.0.0.1:9")
    assert asked.returncode == -signal.SIGSYS  # so the seal would have noticed one
