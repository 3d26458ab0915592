"""Freed memory is reused, instead of being returned to the system and requested again page by page."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from hsemotion_cli.runtime import malloc
how, megabytes = sys.argv[1], int(sys.argv[2])
if how != "plain":
    getattr(malloc, how)()
for k in range(30):
    if k == 10:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(megabytes << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, megabytes: int) -> int:
    """Page faults while twenty arrays of this many megabytes are allocated and freed."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, how, str(megabytes)],
        capture_output=True, text=True, check=True, env={**os.environ, "NUMPY_MADVISE_HUGEPAGE": "0"},
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told anything")
def test_the_memory_of_one_image_serves_the_next() -> None:
    pages = (25 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert faults("settle", 25) < pages
    assert faults("settle", 60) > 10 * pages  # what is larger than any image is given back


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told anything")
def test_training_keeps_what_it_has() -> None:
    pages = (100 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert faults("plain", 100) > 10 * pages
    assert faults("keep_freed_memory", 100) < pages
