"""Run a hsemotion command in a process that the kernel kills at its first attempt to open a socket of any kind.

    python sealed.py ARGS...             hsemotion ARGS
    python sealed.py --run CODE ARGS...  Python code, with the arguments in sys.argv[1:]
    python sealed.py --unguarded         imports ONNX Runtime without us, as any program might, and waits

A seccomp filter does it: libraries' native threads and child processes are held to it as well. A name cannot be looked
up either, since that takes a socket to the name server or to a daemon of this machine. Pipes and socket pairs are no
sockets in this sense. With ``held`` in PYTHONPATH the process lives as long as SEALED_SECONDS demand; see there.
"""

from __future__ import annotations

import ctypes
import platform
import struct
import sys

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # as linux/audit.h names them
_IO_URING_SETUP = 425  # everywhere; sockets can be opened through it as well
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _MACHINE = 0, 4  # offsets in the kernel's struct seccomp_data
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER_MODE = 22, 38, 2


def seal() -> None:
    """From here on, socket() ends the process."""
    machine = platform.machine()
    program = [
        (_LOAD, 0, 0, _MACHINE),
        (_IF_EQUAL, 0, 3, _ARCHITECTURE[machine]),  # calls have other numbers in 32-bit programs, so these are killed
        (_LOAD, 0, 0, _NUMBER),
        (_IF_EQUAL, 1, 0, SOCKET_CALL[machine]),
        (_IF_EQUAL, 0, 1, _IO_URING_SETUP),
        (_RETURN, 0, 0, _KILL),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER_MODE, header, 0, 0)):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl failed: errno {ctypes.get_errno()}")


def _unguarded() -> None:
    import onnxruntime  # noqa: F401


def _run(arguments: list[str]) -> None:
    if arguments == ["--unguarded"]:
        _unguarded()
    elif arguments[:1] == ["--run"]:
        sys.argv[1:] = arguments[2:]
        exec(compile(arguments[1], "<sealed>", "exec"), {"__name__": "__main__"})
    else:
        from hsemotion_cli.cli import main

        main()


if __name__ == "__main__":
    seal()
    try:
        _run(sys.argv[1:])
    finally:
        held = sys.modules.get("sitecustomize")
        if held is not None and hasattr(held, "hold"):
            held.hold()
