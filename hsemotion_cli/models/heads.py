"""Heads: dense layers on the embeddings and outputs of a network, read, written and applied with numpy alone.

A head is a safetensors file of float32 tensors, ``TASK.K.weight`` (out, in) and ``TASK.K.bias`` (out,). Its header has,
under ``hsemotion``, JSON with everything needed to apply them and facts about their training. A Markdown page for
people is beside it. ``training.head_trainer`` makes such files.

A joint head takes a hidden state of the sound as well: its ``base`` names that network under ``sound``, and an input
ends with the state and with 1, or with zeros where nothing is heard (``with_sound``).

A temporal head has layers over time in each part: ``TASK.0`` is the first layer, ``TASK.K.weight`` (h, h, 3) the K-th
block, the last layer follows, and ``TASK.mean`` and ``TASK.scale`` are those of the inputs (``models.temporal``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import ModelUnavailable, UsageError
from ..runtime.atomic_files import write_together
from ..tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, TASKS
from . import temporal
from .temporal import TemporalPart

Floats = NDArray[np.float64]

FORMAT = 1
TEMPORAL_FORMAT = 2
"""Of files with temporal layers, which earlier versions cannot read."""
JOINT_FORMAT = 3
"""Of heads on faces and sound, likewise."""
KINDS = ("unitask", "mtl", "emi")
INPUTS = ("features", "scores", "both")
CLIP_TASK = "emotional_mimicry"
"""The only task about whole clips; its input is ``statistics`` of the clip's faces."""

_COLUMNS = {**TASKS, CLIP_TASK: EMOTIONAL_MIMICRY}


@dataclass(frozen=True, slots=True)
class SoundBase:
    """The network whose hidden states of the sound a joint head uses.

    Attributes:
        model: of ``registry.SOUNDS``.
        sha256: of its weights, or None if unknown.
        size: length of a state.
    """

    model: str
    sha256: str | None
    size: int


@dataclass(frozen=True, slots=True)
class Base:
    """The model whose embeddings and outputs a head uses.

    Attributes:
        model: its name in the registry.
        sha256: of the weight file that the features were made with, or None if unknown.
        crop: how the faces that the head was trained on were cropped: a crop recipe, "given" for the crops of a data
            set, or None if the model needs no image.
        embedding_size: columns of its embeddings.
        outputs: columns of its last layer, before any softmax; 0 if it has none.
        sound: the network for the sound of a joint head, or None.
    """

    model: str
    sha256: str | None
    crop: str | None
    embedding_size: int
    outputs: int
    sound: SoundBase | None = None

    def width(self, source: str) -> int:
        """Number of columns of an input of ``INPUTS``, with those of the sound."""
        sizes = {"features": self.embedding_size, "scores": self.outputs}
        own = sizes[source] if source in sizes else sum(sizes.values())
        return own + (self.sound.size + 1 if self.sound else 0)

    def to_json(self) -> dict[str, Any]:
        """Plain data; without ``sound`` where there is none, as earlier versions wrote it."""
        data = asdict(self)
        if self.sound is None:
            del data["sound"]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Base:
        """The inverse of ``to_json``; raises KeyError or TypeError for anything else."""
        values = {field.name: data[field.name] for field in fields(cls) if field.name != "sound"}
        return cls(**values, sound=SoundBase(**data["sound"]) if data.get("sound") is not None else None)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The layers of one task: dense layers with ReLU between them, and an activation at the end.

    Attributes:
        source: of ``INPUTS``; "both" is embeddings and outputs, concatenated.
        activation: "softmax", "tanh" or "sigmoid".
        classes: names of the outputs, in order.
        layers: weight (out, in) and bias (out,) of each layer; float64 with float32 values.
    """

    source: str
    activation: str
    classes: tuple[str, ...]
    layers: tuple[tuple[Floats, Floats], ...]

    def logits(self, x: Floats) -> Floats:
        """(in,) -> (out,) before the activation."""
        for k, (weight, bias) in enumerate(self.layers):
            x = weight @ (np.maximum(x, 0) if k else x) + bias
        return x


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """A trained head.

    Attributes:
        name: of its file, without the suffix.
        sha256: of its file.
        kind: of ``KINDS``.
        base: the model whose features it uses.
        parts: task -> its layers; the tasks are keys of ``tasks.TASKS``, or only ``CLIP_TASK``.
        facts: about its training and metrics; "thresholds" and "temperature" in it are applied.
    """

    name: str
    sha256: str
    kind: str
    base: Base
    parts: Mapping[str, Part | TemporalPart]
    facts: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"Head({self.name}, {self.kind} on {self.base.model}: {', '.join(self.parts)})"

    @property
    def temporal_parts(self) -> dict[str, TemporalPart]:
        """Task -> its layers, of a temporal head; empty for others."""
        return {task: part for task, part in self.parts.items() if isinstance(part, TemporalPart)}

    @property
    def temporal(self) -> str:
        """Of ``temporal.MODES``, or "" for a head that scores each face by itself."""
        return next((part.mode for part in self.temporal_parts.values()), "")

    @property
    def delay(self) -> int:
        """Frames from a face to its scores, which is how far a head looks ahead."""
        return max((part.delay for part in self.temporal_parts.values()), default=0)

    @property
    def thresholds(self) -> dict[str, float]:
        """Action unit -> probability from which it counts as present; empty for a head without action units."""
        return dict(self.facts.get("thresholds") or {}) if "action_units" in self.parts else {}

    @property
    def temperature(self) -> float:
        """The divisor of expression logits before the softmax."""
        return float(self.facts.get("temperature") or 1.0)

    @property
    def provenance(self) -> dict[str, Any]:
        """Facts for sidecars."""
        return {
            "name": self.name,
            "sha256": self.sha256,
            "kind": self.kind,
            "tasks": list(self.parts),
            "terms": self.facts.get("terms", ""),
            **({"temporal": self.temporal, "look_ahead_frames": self.delay} if self.temporal else {}),
            **({"sound": asdict(self.base.sound)} if self.base.sound else {}),
        }

    def __call__(
        self,
        embeddings: NDArray[np.floating],
        outputs: NDArray[np.floating] | None,
        sound: NDArray[np.floating] | None = None,
    ) -> dict[str, NDArray]:
        """Scores of n faces by task, in the columns of ``tasks.TASKS``; nan for classes that the head lacks.

        Args:
            embeddings: (n, d); rows of nan get scores of nan.
            outputs: (n, k), or None if the base has none.
            sound: (n, s) hidden states for a joint head, rows of nan where nothing is heard; else None.

        Raises:
            ValueError: it is a head for clips, or the columns do not match the base.
        """
        if CLIP_TASK in self.parts:
            raise ValueError(f"{self.name} is a head for clips, not for faces")
        if self.temporal:
            raise ValueError(f"{self.name} is a temporal head, which needs the frames in order; use sequence")
        scores = {task: np.full((len(embeddings), len(TASKS[task])), np.nan, np.float32) for task in self.parts}
        for task, part in self.parts.items():
            rows = self._inputs(part, embeddings, outputs, sound)
            # Row by row: a matrix product may add in another order for another number of rows, and results must not
            # depend on the batch.
            for row in np.flatnonzero(~np.isnan(rows).any(axis=1)):
                scores[task][row] = self.row(task, part.logits(rows[row].astype(np.float64)))
        return scores

    def sequence(
        self, embeddings: NDArray[np.floating], outputs: NDArray[np.floating] | None
    ) -> dict[str, NDArray[np.float32]]:
        """Scores of one face in n consecutive frames by a temporal head, as ``__call__`` gives them.

        Args:
            embeddings: (n, d); rows of nan are frames without the face.
            outputs: (n, k), or None if the base has none.

        Raises:
            ValueError: it is not a temporal head, or the columns do not match the base.
        """
        if not self.temporal:
            raise ValueError(f"{self.name} is not a temporal head")
        found = {}
        for task, part in self.temporal_parts.items():
            rows = self._inputs(part, embeddings, outputs).astype(np.float64)
            seen: NDArray[np.bool_] = np.asarray(~np.isnan(rows).any(axis=1))
            steps = [row if there else None for row, there in zip(rows, seen, strict=True)]
            given = [self.row(task, logits) for logits in temporal.run(part, steps)]
            scores = np.array(given, np.float32).reshape(len(rows), len(TASKS[task]))
            found[task] = np.where(seen[:, None], scores, np.float32(np.nan))
        return found

    def row(self, task: str, logits: Floats) -> NDArray[np.float32]:
        """The columns of a task, nan for classes that the head lacks, from what is before the activation."""
        part = self.parts[task]
        scores = np.full(len(TASKS[task]), np.nan, np.float32)
        scores[[TASKS[task].index(name) for name in part.classes]] = self._activate(part, logits)
        return scores

    def clip(self, embeddings: NDArray[np.floating], outputs: NDArray[np.floating] | None) -> Floats:
        """(6,) intensities in [0, 1] of a clip in the order of ``tasks.EMOTIONAL_MIMICRY``, from all its faces.

        Args:
            embeddings: (n, d), n > 0.
            outputs: (n, k), or None if the base has none.

        Raises:
            ValueError: it is a head for faces, or the columns do not match the base.
        """
        if CLIP_TASK not in self.parts:
            raise ValueError(f"{self.name} is a head for faces, not for clips")
        part = self.parts[CLIP_TASK]
        assert isinstance(part, Part)
        return self._activate(part, part.logits(statistics(self._inputs(part, embeddings, outputs))))

    def _inputs(
        self, part: Part | TemporalPart, embeddings: NDArray, outputs: NDArray | None, sound: NDArray | None = None
    ) -> NDArray:
        widths = {"features": embeddings.shape[1], "scores": 0 if outputs is None else outputs.shape[1]}
        if widths != {"features": self.base.embedding_size, "scores": self.base.outputs}:
            raise ValueError(f"{self.name}: expected {self.base}, got {widths}")
        if (0 if sound is None else sound.shape[1]) != (self.base.sound.size if self.base.sound else 0):
            raise ValueError(f"{self.name}: expected {self.base}, got {'no' if sound is None else 'other'} sound")
        rows = select_inputs(part.source, embeddings, outputs)
        return rows if sound is None else with_sound(rows, sound)

    def _activate(self, part: Part | TemporalPart, z: Floats) -> Floats:
        if part.activation == "softmax":
            powers = np.exp((z - z.max()) / self.temperature)
            return powers / powers.sum()
        # The sigmoid as a shifted tanh, which cannot overflow.
        return np.tanh(z) if part.activation == "tanh" else 0.5 + 0.5 * np.tanh(0.5 * z)


def select_inputs(source: str, embeddings: NDArray, outputs: NDArray | None) -> NDArray:
    """(n, c) the columns of an input of ``INPUTS``."""
    if source == "features" or outputs is None:
        return embeddings
    return outputs if source == "scores" else np.concatenate([embeddings, outputs], axis=1)


def with_sound(rows: NDArray, sound: NDArray) -> NDArray:
    """(n, c) inputs and (n, s) hidden states -> (n, c + s + 1): the state and 1, or zeros where it is nan."""
    heard = ~np.isnan(sound).any(axis=1, keepdims=True)
    return np.concatenate([rows, np.where(heard, sound, 0), heard.astype(rows.dtype)], axis=1)


def statistics(rows: NDArray[np.floating]) -> Floats:
    """(n, c) of the faces of a clip -> (4 c,) mean, standard deviation (over n), minimum, maximum."""
    rows = rows.astype(np.float64)
    return np.concatenate([rows.mean(axis=0), rows.std(axis=0), rows.min(axis=0), rows.max(axis=0)])


def write(head: Head, path: Path, page: str) -> str:
    """Write a head and its page (the same name with ``.md``), both or neither.

    Args:
        head: its name and checksum are ignored; they follow from the file.

    Returns:
        SHA-256 of the file.

    Raises:
        OutputError: one of them cannot be written.
    """
    tensors = {
        f"{task}.{k}.{name}": np.ascontiguousarray(value, np.float32)
        for task, part in head.parts.items()
        for k, layer in enumerate(part.layers)
        for name, value in zip(("weight", "bias"), layer, strict=True)
    }
    for task, part in head.temporal_parts.items():
        tensors |= {f"{task}.{name}": np.ascontiguousarray(getattr(part, name), np.float32) for name in temporal.SCALES}
    wiring = {
        "kind": head.kind,
        "tasks": list(head.parts),
        "classes": {task: list(part.classes) for task, part in head.parts.items()},
        "base": head.base.to_json(),
        "parts": {
            task: {"source": part.source, "activation": part.activation, "layers": len(part.layers), **_timing(part)}
            for task, part in head.parts.items()
        },
    }
    content = {
        "format": _format_of(head),
        "kind": "head",
        "head": wiring,
        "facts": dict(head.facts),
    }
    data = save(tensors, {"hsemotion": json.dumps(content, allow_nan=False)})
    with write_together() as opened:
        with opened(path) as file:
            file.write(data)
        with opened(path.with_suffix(".md")) as file:
            file.write(page.encode(errors="replace"))  # command-line arguments may contain invalid text
    return hashlib.sha256(data).hexdigest()


def _format_of(head: Head) -> int:
    return JOINT_FORMAT if head.base.sound else TEMPORAL_FORMAT if head.temporal else FORMAT


def _timing(part: Part | TemporalPart) -> dict[str, Any]:
    """What the header says about a part's layers over time."""
    return {"temporal": part.mode, "dilations": list(part.dilations)} if isinstance(part, TemporalPart) else {}


def read(path: Path) -> Head:
    """Read a head.

    Raises:
        ModelUnavailable: the file is missing, not a head, of a later format, or damaged.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            content = json.loads((file.metadata() or {}).get("hsemotion", "{}"))
        return _head(path.stem, digest, content, tensors)
    except FileNotFoundError as error:
        raise ModelUnavailable(f"{path}: no such file.") from error
    except OSError as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelUnavailable(f"{path}: not a head made by train heads ({error}).") from error


def _head(name: str, digest: str, content: Mapping[str, Any], tensors: Mapping[str, NDArray]) -> Head:
    """Assemble a head and check that its parts match; raises ValueError, KeyError or TypeError otherwise."""
    if content.get("kind") != "head":
        raise ValueError(f"it is {content['kind']!r}" if "kind" in content else "its header does not describe a head")
    if content["format"] not in (FORMAT, TEMPORAL_FORMAT, JOINT_FORMAT):
        raise ValueError(
            f"its format is {content['format']}, but this version reads {JOINT_FORMAT} at most; update hsemotion"
        )
    wiring, facts = content["head"], dict(content["facts"])
    base = Base.from_json(wiring["base"])
    parts = {task: _part(task, wiring, base, tensors) for task in wiring["tasks"]}
    names = {f"{t}.{k}.{n}" for t, part in parts.items() for k in range(len(part.layers)) for n in ("weight", "bias")}
    names |= {f"{t}.{n}" for t, part in parts.items() if isinstance(part, TemporalPart) for n in temporal.SCALES}
    if set(tensors) != names:
        raise ValueError(f"tensors {sorted(set(tensors) ^ names)} are missing or unexpected")
    if wiring["kind"] not in KINDS or not parts or ((CLIP_TASK in parts) != (wiring["kind"] == "emi")):
        raise ValueError(f"kind {wiring['kind']!r} with {', '.join(parts) or 'no task'}")
    head = Head(name, digest, wiring["kind"], base, parts, facts)
    if content["format"] != _format_of(head):
        raise ValueError(f"its format is {content['format']}, which is not that of its layers")
    if base.sound and (head.temporal or CLIP_TASK in parts):
        raise ValueError("sound in a head over time, or for clips")
    if not 0 < head.temperature < np.inf:
        raise ValueError(f"temperature {head.temperature}")
    for unit, threshold in head.thresholds.items():
        if unit not in ACTION_UNITS or not 0 <= float(threshold) <= 1:
            raise ValueError(f"threshold {unit}={threshold}")
    return head


def _part(task: str, wiring: Mapping[str, Any], base: Base, tensors: Mapping[str, NDArray]) -> Part | TemporalPart:
    entry, classes = wiring["parts"][task], tuple(wiring["classes"][task])
    if not classes or len(set(classes)) != len(classes) or not set(classes) <= set(_COLUMNS[task]):
        raise ValueError(f"classes {', '.join(classes)} for {task}")
    if entry["source"] not in INPUTS or entry["activation"] not in ("softmax", "tanh", "sigmoid"):
        raise ValueError(f"{task} from {entry['source']} by {entry['activation']}")
    if entry.get("temporal"):
        if task == CLIP_TASK:
            raise ValueError(f"{task} with layers over time")
        return temporal.from_tensors(task, entry, classes, base.width(entry["source"]), tensors)
    layers = []
    width = base.width(entry["source"]) * (4 if task == CLIP_TASK else 1)
    for k in range(entry["layers"]):
        weight, bias = tensors[f"{task}.{k}.weight"], tensors[f"{task}.{k}.bias"]
        if weight.ndim != 2 or weight.shape[1] != width or bias.shape != weight.shape[:1]:
            raise ValueError(f"{task}: layer {k} of {weight.shape} and {bias.shape} after {width} columns")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"{task}: a number is not finite")
        layers.append((weight.astype(np.float64), bias.astype(np.float64)))
        width = len(bias)
    if width != len(classes) or not layers:
        raise ValueError(f"{task}: {width} columns for {len(classes)} classes")
    return Part(entry["source"], entry["activation"], classes, tuple(layers))


def per_face(path: Path) -> Head:
    """Read a head for faces, which ``annotate`` can use.

    Raises:
        ModelUnavailable: as ``read``.
        UsageError: it is a head for clips.
    """
    head = read(path)
    if CLIP_TASK in head.parts:
        raise UsageError(f"--head {path}: this head is for whole clips, but annotate needs one for faces.")
    return head
