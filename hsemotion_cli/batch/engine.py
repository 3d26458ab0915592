"""What does the work, seen from outside: tasks in, outcomes out.

``local_engine`` uses this machine, ``ray_engine`` a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .messages import Outcome, Progress, Task

Report = Callable[[Progress | None], None]
"""Called with progress as it comes, and with None at least every second or so while everything is still running."""


class Engine(Protocol):
    """Does tasks somewhere, in any order; use it as a context manager.

    Attributes:
        workers: most workers at the same time.
        settings: everything that results depend on, as plain data, from the first worker; set when it is entered.
    """

    workers: int
    settings: dict[str, Any]

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: object) -> None:
        """Stop at once what is still running, and leave nothing half-written behind."""

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[Outcome]:
        """Begin tasks in their order; yields "done" or "failed" for each once, retries included, as they end."""
        ...
