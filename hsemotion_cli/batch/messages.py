"""What travels: tasks out, records back. Paths and small numbers only, never pictures or tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SETTLED = ("done", "skipped", "failed")


@dataclass(frozen=True, slots=True)
class Task:
    """One source and the place of its results.

    Attributes:
        path: of the source; bytes that are no UTF-8 are kept as surrogates, as ``os.fsdecode`` gives them.
        place: of the results below the output folder, without suffix, parts separated by "/"; see ``output_paths``.
    """

    path: str
    place: str

    @property
    def name(self) -> str:
        """The stem of the results."""
        return self.place.rpartition("/")[2]

    def folder(self, out: Path) -> Path:
        """Where the results lie."""
        return out.joinpath(*self.place.split("/")[:-1])


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result.

    Attributes:
        stage: what was being done: "find", "read", "sound", "annotate", "overlay", "write".
        error: name of the exception's class; "Crash" and "Timeout" for a worker that did not live to raise one.
        sentence: what happened and what to try.
        usual: a fault of the source or the options, which another attempt would only repeat.
    """

    stage: str
    error: str
    sentence: str
    usual: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a worker is with a video, in frames."""

    task: Task
    stage: str
    done: int
    faces: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one input.

    Attributes:
        state: of ``SETTLED``.
        attempts: how often it was tried; 0 where it never was.
        seconds: of all attempts together.
        facts: frames, coverage, faces, problem, size, mtime_ns and sha256 of the source, settings.
        failure: why it failed; None otherwise.
    """

    task: Task
    state: str
    attempts: int = 0
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def problem(self) -> str:
        """A sentence if there is a table, but not of the whole source; else ""."""
        return str(self.facts.get("problem") or "")

    def manifest(self) -> dict[str, Any]:
        """Its line in the manifest."""
        told = self.failure.sentence if self.failure else self.problem
        return {
            "path": self.task.path,
            "output": self.task.place,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "frames": self.facts.get("frames"),
            "coverage": self.facts.get("coverage"),
            "faces": self.facts.get("faces"),
            "attempts": self.attempts,
            "note": told,
            "source": {key: self.facts.get(key) for key in ("size", "mtime_ns", "sha256")},
            "settings": self.facts.get("settings"),
        }

    def failures(self) -> list[dict[str, Any]]:
        """Its lines in the list of failures: one, or none if all is well."""
        if self.failure is not None:
            stage, error, sentence = self.failure.stage, self.failure.error, self.failure.sentence
        elif self.problem:
            stage, error, sentence = "read", "EndedEarly", self.problem
        else:
            return []
        told = {"stage": stage, "error": error, "sentence": sentence, "attempts": self.attempts}
        return [{"path": self.task.path, "output": self.task.place, **told}]
