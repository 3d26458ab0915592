"""The cluster that ``--address local`` starts: on this machine alone, and with all its files in one folder.

Left alone, Ray 2.60.0 keeps logs of every session in /tmp/ray, and the head of a cluster asks the metadata services of
three cloud providers where it runs, one of them by a DNS query. It does so to describe the cluster in its usage report,
even when that is off. It asks nobody if its home folder has a ``ray_bootstrap_config.yaml``, in which Ray's cluster
launcher would have written the answer. So the cluster gets a home folder of its own with such a file.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..runtime import resources

_LONGEST = 40
"""Bytes of the folder's name. Ray's sockets add 64, and a socket's name has room for 107 (Linux) or 103 (macOS)."""
_ATTEMPTS = 20
"""To remove the folder, at intervals of a tenth of a second: processes that were killed may still be writing to it."""


class LocalCluster:
    """The folder of a cluster that runs on this machine and ends with the engine.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self) -> None:
        base = tempfile.gettempdir()
        if len(os.fsencode(base)) > _LONGEST - len("/hsemotion-ray-12345678"):
            base = "/tmp"
        self.folder = Path(tempfile.mkdtemp(prefix="hsemotion-ray-", dir=base))
        (self.folder / "ray_bootstrap_config.yaml").write_text("{}\n", encoding="utf-8")

    def options(self) -> dict[str, Any]:
        """Arguments of ``ray.init``."""
        options: dict[str, Any] = {"num_cpus": resources.cores(), "include_dashboard": False}
        options["_temp_dir"] = str(self.folder)
        if sys.platform == "linux":
            # All of 127.0.0.0/8 is this machine. Ray would replace 127.0.0.1 by an address that others can reach.
            options["_node_ip_address"] = "127.0.0.2"
        return options

    @contextlib.contextmanager
    def home(self) -> Iterator[None]:
        """What is started within the block has the folder as its home; workers are given the user's own again."""
        before = os.environ.get("HOME")
        os.environ["HOME"] = str(self.folder)
        try:
            yield
        finally:
            if before is None:
                del os.environ["HOME"]
            else:
                os.environ["HOME"] = before

    def remove(self) -> bool:
        """Remove the folder after the cluster has ended; False if something of it cannot be removed."""
        for _ in range(_ATTEMPTS):
            shutil.rmtree(self.folder, ignore_errors=True)  # whether that worked is what is returned
            if not self.folder.exists():
                return True
            time.sleep(0.1)
        return False
