"""Keep the memory of a process flat and the same from run to run; where the C library is glibc, elsewhere as it is."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -2, -3, -4, -8  # numbers of mallopt(3)

_PICTURE = 32 << 20
"""Bytes of the largest piece that is kept for the next one; the most that glibc takes. A 4K picture has 25 MB."""

_KEPT = 256 << 20
"""Freed bytes at the end of the heap that are kept."""


def settle() -> None:
    """Tell glibc to use the memory of one picture for the next, and not to keep a pool of it for each thread.

    With a pool for each thread the peak of the same run varies by half, with the chance of which thread frees what;
    and a picture that is given back to the system comes back in pages that must be faulted in one by one.
    """
    _set({_ARENA_MAX: 1, _MMAP_THRESHOLD: _PICTURE, _TRIM_THRESHOLD: _KEPT})


def keep_freed_memory() -> None:
    """Tell glibc to give nothing back: for training, which needs the same large pieces again at every step."""
    _set({_MMAP_MAX: 0, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: _KEPT})


def _set(options: dict[int, int]) -> None:
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in options.items():
            mallopt(option, value)
