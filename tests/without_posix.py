"""Take from our modules, and from no others, what Windows does not have.

Once this is imported, which a ``sitecustomize`` does when Python starts, modules of hsemotion_cli see ``os``,
``signal``, ``time``, ``sys`` and ``subprocess`` without the names that only POSIX has, no ``fcntl`` and ``resource``,
no /proc, and processes, replaced and removed files that behave as on Windows. What libraries do underneath stays as it
is.
"""

from __future__ import annotations

import builtins
import os
import pathlib
import subprocess
import sys
import types
from typing import Any

OURS = "hsemotion_cli"
GONE = {
    "os": """pread pwrite fork O_CLOEXEC O_NOFOLLOW O_NONBLOCK getuid geteuid getloadavg sysconf sched_getaffinity
        mkfifo statvfs setsid killpg fchown chown WNOHANG register_at_fork posix_fadvise""",
    "signal": "SIGKILL SIGHUP SIGSTOP SIGCONT SIGUSR1 SIGPIPE SIGALRM pthread_kill setitimer",
    "time": "clock_gettime CLOCK_BOOTTIME CLOCK_MONOTONIC tzset",
}
MISSING = ("fcntl", "resource", "pwd", "grp", "termios")
GROUP = 0x200


class Windows(types.ModuleType):
    """A module without some names, and with some of its own."""

    def __init__(self, real: types.ModuleType, **own: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(_real=real, _gone=GONE.get(real.__name__, "").split(), **own)

    def __getattr__(self, name: str) -> Any:
        if name in self._gone:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on Windows")
        return getattr(self._real, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._real, name, value)


class Popen(subprocess.Popen):
    """Takes what Windows takes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        if options.get("pass_fds") or options.get("preexec_fn"):
            raise ValueError("pass_fds and preexec_fn are not supported on Windows")
        group = options.pop("creationflags", 0) == GROUP
        super().__init__(*arguments, **{**options, "start_new_session": group})

    def send_signal(self, sig: int) -> None:
        raise ValueError(f"Unsupported signal: {sig}")

    def kill(self) -> None:
        super().send_signal(9)  # TerminateProcess


def _kill(process: int, number: int) -> None:
    raise AssertionError(f"os.kill({process}, {number}) ends a process of Windows, whatever the number")


def _refuse_open(*paths: Any) -> None:
    places = {os.path.realpath(path) for path in paths}
    for handle in os.listdir("/proc/self/fd"):
        try:
            if os.path.realpath(f"/proc/self/fd/{handle}") in places:
                raise PermissionError(13, "The process cannot access the file because it is being used", str(paths[0]))
        except FileNotFoundError:
            continue


def _replace(source: Any, target: Any) -> None:
    _refuse_open(source, target)
    os.replace(source, target)


def _unlink(path: Any) -> None:
    _refuse_open(path)
    os.unlink(path)


STAND_INS = {
    "os": Windows(os, name="nt", kill=_kill, replace=_replace, unlink=_unlink, remove=_unlink),
    "sys": Windows(sys, platform="win32"),
    "signal": Windows(__import__("signal")),
    "time": Windows(__import__("time")),
    "subprocess": Windows(subprocess, Popen=Popen, CREATE_NEW_PROCESS_GROUP=GROUP),
}

_import = builtins.__import__
_read_text = pathlib.Path.read_text


def _imported(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    if str((globals or {}).get("__name__", "")).split(".")[0] == OURS:
        if name in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if name in STAND_INS:
            return STAND_INS[name]
    return _import(name, globals, locals, fromlist, level)


def _read(path: pathlib.Path, *arguments: Any, **options: Any) -> str:
    if str(path).startswith(("/proc", "/sys")):
        raise FileNotFoundError(2, "No such file or directory", str(path))
    return _read_text(path, *arguments, **options)


builtins.__import__ = _imported
pathlib.Path.read_text = _read  # type: ignore[method-assign, assignment]
