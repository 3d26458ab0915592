"""Whether processes of this machine live, and how much memory this one has used, on every system.

Linux has both in /proc (proc(5)), which needs no library; psutil knows where the other systems have it.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from pathlib import Path


def lives(process: int, then: float) -> bool:
    """Whether a process that lived at a time (seconds since 1970) still does; its number may be another's by now.

    A zombie counts as dead: in a container whose first process does not reap its children, it stays a zombie.
    If the system does not report it, the process counts as alive.
    """
    started = _started_linux(process) if sys.platform.startswith("linux") else _started(process)
    return started is not None and started <= then + 1


def _started_linux(process: int) -> float | None:
    """When a living process started, in seconds since 1970, or -inf where that is unknown; None if it is dead."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # Fields 3 and on of proc(5), behind a name in parentheses that may hold anything: the state, and as the 22nd
        # the ticks from boot to its start.
        fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
        return None if fields[0] in "ZX" else time.time() - age
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):  # somebody else's, or no number that a process could have
        pass
    return float("-inf")


def _started(process: int) -> float | None:
    """The same on other systems. ``os.kill`` would end a process of Windows."""
    import psutil

    try:
        found = psutil.Process(process)
        if found.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return float(found.create_time())
    except psutil.NoSuchProcess:
        return None
    except (psutil.Error, OverflowError, ValueError):
        return float("-inf")


def peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes."""
    # The record of ``getrusage`` begins with what the parent had when it made this process; this one does not.
    with contextlib.suppress(OSError):
        found = re.search(r"^VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text(), re.M)
        if found:
            return int(found[1]) * 1024
    try:
        import resource
    except ImportError:
        import psutil

        return int(psutil.Process().memory_info().peak_wset)  # Windows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes there, kilobytes elsewhere
