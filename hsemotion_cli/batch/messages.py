"""Messages between the pool and its workers, and the records of a run. Paths and small numbers only, never images.

A message travels as JSON with its tag (``Ready`` as {"kind": "ready", ...}). Both ends normally run the same version of
this file, but a package may be upgraded while a batch runs, and the machines of a cluster may differ: what cannot be
understood is a ``ProtocolError``, never half a message.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LowCoverage

SETTLED = ("done", "skipped", "failed")


class ProtocolError(Exception):
    """A message that this version does not know, or that is damaged."""


@dataclass(frozen=True, slots=True)
class Task:
    """One source and where its results go.

    Attributes:
        path: of the source; bytes that are not UTF-8 are kept as surrogates, as ``os.fsdecode`` gives them.
        place: of the results below the output folder, without suffix, parts separated by "/"; see ``output_paths``.
    """

    path: str
    place: str

    @property
    def name(self) -> str:
        """The stem of the results."""
        return self.place.rpartition("/")[2]

    def folder(self, out: Path) -> Path:
        """The folder of the results."""
        return out.joinpath(*self.place.split("/")[:-1])


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result.

    Attributes:
        stage: what was being done: "find", "read", "sound", "annotate", "overlay", "export", "write".
        error: name of the exception's class; "Crash" and "Timeout" for a worker that did not live to raise one.
        sentence: what happened and what to try.
        usual: whether it is a fault of the source or the options, which another attempt would only repeat.
    """

    stage: str
    error: str
    sentence: str
    usual: bool = False


# --- to a worker ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """Do this task."""

    path: str
    place: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Interrupt what you are doing, remove temporary files, and end."""


# --- from a worker -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Downloading:
    """Weights are being downloaded.

    Attributes:
        have, total: bytes; the total is None if the server does not send it.
    """

    have: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Ready:
    """The models are loaded.

    Attributes:
        settings: everything that the results of this worker depend on.
    """

    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """The models cannot be loaded; the worker ends.

    Attributes:
        error: name of a class of ``errors``.
        sentence: what happened and what to try.
    """

    error: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Working:
    """How far the task is.

    Attributes:
        stage: as in ``Failure``.
        done, faces: frames and faces so far.
        total: frames in all, or None.
    """

    stage: str
    done: int
    faces: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The task is done.

    Attributes:
        facts: of its ``Outcome``.
    """

    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failed(Failure):
    """The task failed.

    Attributes:
        leaving: whether the worker ends, because its state is unknown or its memory exhausted.
    """

    leaving: bool = False


# --- from a Ray actor, beside what its worker sends ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """Where a worker of a cluster runs; the first message of its actor.

    Attributes:
        node: Ray's name of the machine.
        host: the machine's host name.
        machine: the host name as used in the names of temporary files.
        process: number of the worker process, or 0 if none was started.
    """

    node: str
    host: str
    machine: str
    process: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The worker process is gone.

    Attributes:
        words: how it ended, in a few words.
    """

    words: str


FromWorker = Downloading | Ready | Refused | Working | Finished | Failed
FromActor = FromWorker | Hello | Ended
ToWorker = Assign | Stop
Message = FromActor | ToWorker

_TAGS: dict[str, type[Message]] = {kind.__name__.lower(): kind for kind in typing.get_args(Message)}
_HINTS = {kind: typing.get_type_hints(kind) for kind in _TAGS.values()}


def encode(message: Message) -> bytes:
    """A message as it travels: JSON in ASCII, with its tag."""
    return json.dumps({"kind": type(message).__name__.lower(), **dataclasses.asdict(message)}).encode("ascii")


def decode(data: bytes, expected: types.UnionType) -> Any:
    """A message from what ``encode`` made of it.

    Args:
        expected: the messages that can come, such as ``FromWorker``.

    Raises:
        ProtocolError: it is not JSON, has another tag, or other fields than this version knows.
    """
    try:
        content = json.loads(data)
        kind = _TAGS[content.pop("kind")]
        if not issubclass(kind, expected):
            raise LookupError(kind)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ProtocolError(f"a message that this version does not know ({_excerpt(data)})") from error
    hints = _HINTS[kind]
    if content.keys() != hints.keys() or not all(_fits(value, hints[name]) for name, value in content.items()):
        raise ProtocolError(f"a message with other fields than this version knows ({_excerpt(data)})")
    return kind(**content)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON has the type that a field declares."""
    if isinstance(hint, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if hint is int and isinstance(value, bool):
        return False
    return isinstance(value, typing.get_origin(hint) or hint)


def _excerpt(data: bytes) -> str:
    return data[:60].decode("ascii", "backslashreplace")


# --- records of a run ----------------------------------------------------------------------------------------------


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
    """The result for one input.

    Attributes:
        state: of ``SETTLED``.
        attempts: how often it was tried; 0 where it never was.
        seconds: of all attempts together.
        facts: frames, coverage, faces, problem, number of unreadable photos, low_coverage, decoding; size, mtime_ns and
            sha256 of the source; settings; with exports, their file names and export_problem.
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
        """A sentence if the table covers only a part of the source; else ""."""
        return str(self.facts.get("problem") or "")

    @property
    def low_coverage(self) -> str:
        """A sentence if faces were seen in fewer frames than --min-coverage asks for; else ""."""
        return str(self.facts.get("low_coverage") or "")

    @property
    def export_problem(self) -> str:
        """A sentence if the table could not be exported to all formats; else ""."""
        return str(self.facts.get("export_problem") or "")

    def checked(self, min_coverage: float) -> Outcome:
        """The same, with a note if its coverage is below this share of frames."""
        coverage = self.facts.get("coverage")
        if self.failure is not None or coverage is None or coverage >= min_coverage:
            return self
        note = str(LowCoverage.of(self.task.path, coverage, min_coverage))
        return dataclasses.replace(self, facts={**self.facts, "low_coverage": note})

    @property
    def decoding(self) -> str:
        """Notes about the decoding, if something was chosen, assumed or repaired; else ""."""
        return str(self.facts.get("decoding") or "")

    @property
    def notes(self) -> str:
        """What the user should know about it, in sentences; "" if nothing."""
        return (
            self.failure.sentence
            if self.failure
            else " ".join(filter(None, (self.problem, self.low_coverage, self.export_problem, self.decoding)))
        )

    def manifest(self) -> dict[str, Any]:
        """Its line in the manifest."""
        return {
            "path": self.task.path,
            "output": self.task.place,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "frames": self.facts.get("frames"),
            "coverage": self.facts.get("coverage"),
            "faces": self.facts.get("faces"),
            "attempts": self.attempts,
            "note": self.notes,
            "source": {key: self.facts.get(key) for key in ("size", "mtime_ns", "sha256")},
            "settings": self.facts.get("settings"),
            **({"exports": self.facts["exports"]} if "exports" in self.facts else {}),
        }

    def failures(self) -> list[dict[str, Any]]:
        """Its lines in the list of failures, none if all is well."""
        found = []
        if self.failure is not None:
            found.append((self.failure.stage, self.failure.error, self.failure.sentence))
        if self.failure is None and self.problem:
            found.append(("read", "Unreadable" if self.facts.get("unreadable") else "EndedEarly", self.problem))
        if self.failure is None and self.low_coverage:
            found.append(("annotate", "LowCoverage", self.low_coverage))
        if self.failure is None and self.export_problem:
            found.append(("export", "NotExported", self.export_problem))
        return [
            {"path": self.task.path, "output": self.task.place, "stage": stage, "error": error, "sentence": sentence,
             "attempts": self.attempts}
            for stage, error, sentence in found
        ]  # fmt: skip
