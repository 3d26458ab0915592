"""Run a command with a network of its own, in which it can reach itself only, and report what it sends and leaves.

    python contained.py REPORT.json KEEP[:KEEP...] COMMAND...

The command gets namespaces of its own. All its traffic goes over the loopback interface: packets to itself arrive,
IPv4 packets to anybody else, and questions to a name server wherever it is, are noted. There is no way out by IPv6, so
that whoever tries it goes on to IPv4. /tmp, /var/tmp, /dev/shm and /run are
empty folders, but for the paths KEEP. The report has "code" (exit code of the command), "sent" (receivers that are not
this machine, and name servers), "lost" (packets that were not looked at) and "files" (what lies in these folders
afterwards, without KEEP). Needs root, or a kernel that gives user namespaces to everybody; else the exit code is 77.
"""

from __future__ import annotations

import contextlib
import ctypes
import ipaddress
import json
import os
import socket
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

PRIVATE = ("/tmp", "/var/tmp", "/dev/shm", "/run")
CANNOT = 77
_NEW_MOUNTS, _NEW_USER, _NEW_NETWORK = 0x20000, 0x10000000, 0x40000000
_BIND, _RECURSIVE, _SILENT_PRIVATE = 0x1000, 0x4000, 1 << 18
_SET_FLAGS, _ADD_ROUTE, _INTERFACE_UP, _ROUTE_UP = 0x8914, 0x890B, 0x1, 0x1
_EVERYTHING, _OUTGOING, _PACKET, _STATISTICS, _FORCE_BUFFER = 3, 4, 263, 6, 33
_DOMAIN = 53

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str | None, flags: int = 0, options: str | None = None) -> None:
    given = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _call("mount", *given, ctypes.c_ulong(flags), None if options is None else options.encode())


def enter(keep: list[str]) -> None:
    """Leave the machine's network and its folders for temporary files."""
    user, group = os.getuid(), os.getgid()
    if user != 0:
        _call("unshare", _NEW_USER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _call("unshare", _NEW_MOUNTS | _NEW_NETWORK)
    _mount("none", "/", None, _RECURSIVE | _SILENT_PRIVATE)
    opened = [(path, os.open(path, os.O_PATH)) for path in keep]
    for folder in filter(os.path.isdir, PRIVATE):
        _mount("tmpfs", folder, "tmpfs", 0, "mode=1777")
        for path, handle in opened:
            if Path(path).is_relative_to(folder):
                os.makedirs(path, exist_ok=True)
                _mount(f"/proc/self/fd/{handle}", path, None, _BIND | _RECURSIVE)
    for _, handle in opened:
        os.close(handle)
    _route_all_to_loopback()


def _route_all_to_loopback() -> None:
    import fcntl  # not on Windows, where this module can still be imported

    name = ctypes.create_string_buffer(b"lo", 16)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH14x", b"lo", _INTERFACE_UP))
        nowhere = struct.pack("HxxI8x", socket.AF_INET, 0)
        # struct rtentry: the destination and its mask are 0.0.0.0, so this is the default route
        route = struct.pack("L16s16s16sHhLBB6xhPLLH", 0, nowhere, nowhere, nowhere, _ROUTE_UP, 0, 0, 0, 0, 0,
                            ctypes.addressof(name), 0, 0, 0)  # fmt: skip
        fcntl.ioctl(control, _ADD_ROUTE, route)


class Watch:
    """What goes over the loopback interface to other machines, or asks for a name."""

    def __init__(self) -> None:
        self._packets = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_EVERYTHING))
        with contextlib.suppress(
            PermissionError
        ):  # root only; ``lost`` counts what did not fit into the default buffer
            self._packets.setsockopt(socket.SOL_SOCKET, _FORCE_BUFFER, 1 << 26)
        self.sent: Counter[str] = Counter()

    def look(self, seconds: float) -> None:
        """Wait for packets at most so long, and look at all that are there."""
        self._packets.settimeout(seconds)
        try:
            while True:
                data, (_, _, kind, *_) = self._packets.recvfrom(80)
                if kind == _OUTGOING:
                    self._note(data)
                self._packets.settimeout(0)
        except (TimeoutError, BlockingIOError):
            return

    def _note(self, data: bytes) -> None:
        if data[0] >> 4 == 4:
            receiver, protocol, rest = ipaddress.ip_address(data[16:20]), data[9], data[4 * (data[0] & 15) :]
        else:
            receiver, protocol, rest = ipaddress.ip_address(data[24:40]), data[6], data[40:]
        port = struct.unpack("!H", rest[2:4])[0] if protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP) else 0
        if not receiver.is_loopback or port == _DOMAIN:
            self.sent[f"{receiver} port {port}"] += 1

    def lost(self) -> int:
        """Packets for which there was no room."""
        return int(struct.unpack("II", self._packets.getsockopt(_PACKET, _STATISTICS, 8))[1])


def left(keep: list[str]) -> list[str]:
    """Files and folders below ``PRIVATE`` that are not below ``keep``, nor on the way there."""
    kept = {Path(path) for path in keep}
    ways = {parent for path in kept for parent in path.parents}
    found = []
    for top in filter(os.path.isdir, PRIVATE):
        for folder, folders, names in os.walk(top):
            here = [Path(folder, name) for name in (*folders, *names)]
            folders[:] = [name for name in folders if Path(folder, name) not in kept]
            found += [str(path) for path in here if path not in kept and path not in ways]
    return sorted(found)


def main(report: str, keep: list[str], command: list[str]) -> int:
    """Run the command; returns its exit code."""
    try:
        enter(keep)
        watch = Watch()
    except OSError as error:
        print(f"no namespaces here: {error}", file=sys.stderr)
        return CANNOT
    process = subprocess.Popen(command)
    while process.poll() is None:
        watch.look(0.2)
    watch.look(0.2)
    facts = {"code": process.returncode, "sent": watch.sent, "lost": watch.lost(), "files": left(keep)}
    Path(report).write_text(json.dumps(facts))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2].split(":"), sys.argv[3:]))
