"""Keep the memory of a process flat and the same from run to run."""

from __future__ import annotations

import ctypes
import sys

_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # numbers of mallopt(3)


def settle() -> None:
    """Tell glibc to give freed pictures back to the system, and not to keep a pool of them for each thread.

    Without it the peak of the same run varies by half, with the chance of which thread frees what. Where the C
    library is another one, nothing is done.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, 1)
        mallopt(_MMAP_THRESHOLD, 1 << 20)
