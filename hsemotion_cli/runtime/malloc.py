"""Settings of glibc's allocator that keep a process's memory flat and equal from run to run; no effect elsewhere."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8  # numbers of mallopt(3)

_IMAGE = 32 << 20
"""Bytes of the largest block that is kept for reuse, the maximum that glibc allows. A 4K image has 25 MB."""

_KEPT = 256 << 20
"""Freed bytes at the end of the heap that are kept."""


def settle() -> None:
    """Have glibc reuse the memory of one image for the next, from one pool for all threads.

    With a pool for each thread the peak of the same run varies by half, depending on which thread frees what. Memory of
    an image that was returned to the system would have to be faulted in again, page by page.
    """
    _set({_ARENA_MAX: 1, _MMAP_THRESHOLD: _IMAGE, _TRIM_THRESHOLD: _KEPT})


def keep_freed_memory() -> None:
    """Have glibc return nothing to the system: training needs the same large blocks again at every step."""
    _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: _KEPT})


def _set(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
