"""Resources of this machine: processor cores and free memory, also inside a container or a cluster job."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

_CONTROL = Path("/sys/fs/cgroup")
USUAL_MEMORY = 0.8
"""GB that a worker may take: 0.6 as measured with the usual models, and some for large images."""


def cores() -> int:
    """Cores that this process may use, at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _control("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period):
        count = min(count, max(int(quota) // int(period), 1))
    return max(count, 1)


def free_memory() -> float | None:
    """GB available without swapping; None if unknown."""
    found = []
    try:
        match = re.search(r"^MemAvailable:\s+([0-9]+) kB", Path("/proc/meminfo").read_text(), re.M)
        found += [int(match[1]) * 1024] if match else []
    except OSError:
        with contextlib.suppress(ImportError):  # a Linux that hides /proc
            import psutil

            found.append(int(psutil.virtual_memory().available))
    limit, used = _control("memory.max"), _control("memory.current")
    if limit.isdigit() and used.isdigit():
        found.append(int(limit) - int(used))
    return min(found) / 1e9 if found else None


def usual_workers(memory: float) -> int:
    """How many workers of this many GB fit: at most one for each core, and nine tenths of the free memory in all."""
    free = free_memory()
    return max(1, cores() if free is None else min(cores(), int(0.9 * free / memory)))


def _control(name: str) -> str:
    try:
        return (_CONTROL / name).read_text().strip()
    except OSError:
        return ""
