"""What does the work, seen from outside: tasks in, outcomes out.

``local`` has the one that uses this machine, ``cluster`` the one that uses many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from .messages import Outcome, Progress, Task

Report = Callable[[Progress | None], None]
"""Told of progress as it comes, and at least every second or so that all is still running (None)."""


class Engine(Protocol):
    """Does tasks somewhere, in any order; use it as a context manager.

    Attributes:
        workers: at most so many at once.
        settings: all that results depend on, as plain data, from the first worker; there as soon as it is entered.
    """

    workers: int
    settings: dict[str, Any]

    def __enter__(self) -> Engine: ...

    def __exit__(self, *error: object) -> None:
        """Stop at once what is still running, and leave nothing half-written behind."""

    def run(self, tasks: Sequence[Task], report: Report) -> Iterator[Outcome]:
        """Begin tasks in their order; yields "done" or "failed" for each once, retries included, as they end."""
        ...
