"""Run a hsemotion command in a process that the kernel kills at its first attempt to open an internet socket.

``python sealed.py ARGS...`` is ``hsemotion ARGS...``; ``python sealed.py --try-the-seal`` opens a socket on purpose.
A seccomp filter does it, so native threads of libraries are held to it as well.
"""

from __future__ import annotations

import ctypes
import platform
import socket
import struct
import sys

SOCKET_CALL = {"x86_64": 41, "aarch64": 198}
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NUMBER, _FIRST_ARGUMENT = 0, 16  # offsets in the kernel's struct seccomp_data
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER_MODE = 22, 38, 2


def seal() -> None:
    """From here on, socket(AF_INET or AF_INET6, ...) ends the process."""
    program = [
        (_LOAD, 0, 0, _NUMBER),
        (_IF_EQUAL, 0, 4, SOCKET_CALL[platform.machine()]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_IF_EQUAL, 1, 0, socket.AF_INET),
        (_IF_EQUAL, 0, 1, socket.AF_INET6),
        (_RETURN, 0, 0, _KILL),
        (_RETURN, 0, 0, _ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (_PR_SET_SECCOMP, _FILTER_MODE, header, 0, 0)):
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl failed: errno {ctypes.get_errno()}")


if __name__ == "__main__":
    seal()
    if sys.argv[1:] == ["--try-the-seal"]:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sys.exit("the seal does not hold")
    from hsemotion_cli.cli import main

    main()
