"""A training run as data: what is trained on what, how, and for how long. TOML in, a checked ``Plan`` out."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import InputError, UsageError, shortened
from ..models.cards import HALF, IMAGENET
from ..models.model_file import NAME
from ..tasks import EXPRESSIONS, TASKS
from .augment import Augmentation

KINDS = ("ferplus", "folder", "affwild2", "packed")
SCOPES = ("all", "head", "head and pooling")
TARGETS = ("shares", "majority")
OPTIMISERS = ("adamw", "adam", "sgd")
PRECISIONS = ("fp32", "bf16", "fp16")
UNITS = ("labels", "blendshapes")
KEPT = ("last", "best")
NORMALISATIONS = {"half": HALF, "imagenet": IMAGENET}

_KINDS = {str: "text", Path: "text", bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """Where labelled faces come from.

    Attributes:
        kind: "ferplus" (the npz with images and votes), "folder" (pictures and a labels.csv), "affwild2" (a tree of
            Aff-Wild2 or s-Aff-Wild2 with its crops) or "packed" (a file of ``train pack``).
        path: the file or folder; relative paths are relative to the plan.
        name: by which stages call it; its kind if it is not given.
        weight: how often its pictures are drawn, 1 being once an epoch before the classes are balanced.
        units: where action units come from: "labels", or "blendshapes", what ``mp-blendshapes`` sees in the picture.
        crops: folder of the crops inside an Aff-Wild2 tree.
        held_out: share of the people (pictures, where people are not known) of a source without a validation part
            of its own that is kept for validation.
        calibration: share of its training part that is kept for fitting thresholds and temperature.
        terms: the terms of its data, for the model's card.
    """

    kind: str
    path: Path
    name: str = ""
    weight: float = 1.0
    units: str = "labels"
    crops: str = "cropped_aligned"
    held_out: float = 0.1
    calibration: float = 0.05
    terms: str = "not stated"


@dataclass(frozen=True, slots=True)
class StageConfig:
    """A part of the run with one schedule: the rate rises in the first twentieth and then falls along a cosine.

    Attributes:
        epochs: passes; each is as many pictures as its sources' weights add up to.
        rate: highest learning rate.
        batch: pictures in a step.
        scope: what is trained: "all", "head", or "head and pooling" (DDAMFN's GDConv as well).
        sources: names of the sources that are drawn from; all where none is named.
        balance: pictures are drawn by their class's share to the minus this power; 0 as they come, 1 all classes alike.
    """

    epochs: float
    rate: float = 1e-3
    batch: int = 64
    scope: str = "all"
    sources: tuple[str, ...] = ()
    balance: float = 0.0


@dataclass(frozen=True, slots=True)
class LossConfig:
    """How the tasks are weighed, and what each loss is.

    Attributes:
        expression, valence_arousal, action_units: weights of the tasks; 0 trains a network without the task.
        attention: weight of DDAMFN's attention loss; no effect on other networks.
        targets: "shares" (soft labels) or "majority" (the class with the largest share).
        class_power: classes weigh with their share to the minus this power; 1 is HSEmotion's max / own count.
        smoothing: share of the targets that is spread evenly.
        balance_units: weigh presence and absence of each action unit alike, as HSEmotion does.
    """

    expression: float = 1.0
    valence_arousal: float = 1.0
    action_units: float = 1.0
    attention: float = 0.1
    targets: str = "shares"
    class_power: float = 0.0
    smoothing: float = 0.0
    balance_units: bool = True


@dataclass(frozen=True, slots=True)
class OptimiserConfig:
    """What moves the weights.

    Attributes:
        kind: "adamw", "adam" or "sgd" (momentum 0.9).
        weight_decay: of kernels only, never of offsets, slopes and normalisation.
        sam: radius of sharpness-aware minimisation (Foret et al. 2021), HSEmotion's 0.05; 0 does without.
        clip: largest norm of the gradient; 0 does not clip.
    """

    kind: str = "adamw"
    weight_decay: float = 0.02
    sam: float = 0.0
    clip: float = 5.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A training run.

    Attributes:
        name: of the model, as it will be given to ``--model``.
        architecture: key of ``networks.architectures.ARCHITECTURES``, or ``timm:NAME``.
        size: pixels of the input.
        classes: expressions, in the order of the outputs.
        sources, stages, loss, optimiser, augmentation: see there.
        start: weights to start from, or none.
        start_share: share of those weights in what is kept, which is a mean of before and after: what one has learned
            too much of its pictures the other has not (Wortsman et al. 2022, arXiv:2109.01903). 0 keeps what was
            trained; the log is of that in any case.
        normalisation: "half" or "imagenet".
        luminance: the network sees brightness only; folded into its first layer, so that it takes colour pictures.
        dropout: before the last layer.
        evened: the finished network's probability of each expression is divided by the share of its class among the
            training pictures to this power, and all are scaled to 1 again: rare expressions are named more often. 0
            leaves them as they are.
        average: decay of the moving average of the weights that is measured and kept; 0 keeps the weights themselves.
        keep: "last", or "best": the epoch with the best sum of scores on the calibration part (validation without one).
        precision: on CUDA.
        seed: of everything random in the run.
        split: the same for which pictures and people are held out: plans that go on from one another must share it, or
            one would be measured on what another was trained on.
        checkpoint: minutes between checkpoints.
        paper_name, licence, citation: for the card.
    """

    name: str
    architecture: str
    sources: tuple[DatasetSource, ...]
    stages: tuple[StageConfig, ...]
    size: int = 112
    classes: tuple[str, ...] = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt")
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    augmentation: Augmentation = field(default_factory=Augmentation)
    start: Path | None = None
    start_share: float = 0.0
    normalisation: str = "half"
    luminance: bool = False
    dropout: float = 0.0
    evened: float = 0.0
    average: float = 0.999
    keep: str = "last"
    precision: str = "fp32"
    seed: int = 0
    split: int = 1
    checkpoint: float = 5.0
    paper_name: str = ""
    licence: str = "not stated"
    citation: str = ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are trained, in the order of ``tasks.TASKS``."""
        return tuple(task for task in TASKS if getattr(self.loss, task) > 0)

    @property
    def columns(self) -> dict[str, int]:
        """Task -> its columns of the last layer, in their order."""
        return {task: len(self.classes if task == "expression" else TASKS[task]) for task in self.tasks}

    @property
    def outputs(self) -> int:
        """Columns of the last layer."""
        return sum(self.columns.values())

    def drawn_from(self, stage: StageConfig) -> tuple[str, ...]:
        """Names of the sources that a stage draws from."""
        return stage.sources or tuple(source.name for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Plain data; of paths only the last part, since a card must not tell where somebody keeps things."""
        return json.loads(json.dumps(asdict(self), default=lambda path: path.name))

    def digest(self) -> str:
        """SHA-256 of everything that can change the result: the plan without where its files are."""
        data = self.to_json()
        data.pop("checkpoint")
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read(path: Path) -> TrainingConfig:
    """A plan from a TOML file.

    Raises:
        InputError: it cannot be read.
        UsageError: it is no plan; the message names the file and the key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:  # also a number of more digits than Python reads
        raise UsageError(f"{path}: not TOML ({error}).") from error
    try:
        for one, several in (("source", "sources"), ("stage", "stages")):
            if one in data and several in data:
                raise UsageError(f"it has both {one} and {several}: call all of them [[{one}]].")
            if one in data:
                data[several] = data.pop(one)
        config = _beside(_record(TrainingConfig, data), path.parent)
        check(config)
    except UsageError as error:
        raise UsageError(f"{path}: {shortened(str(error))}") from error
    return config


def check(config: TrainingConfig) -> None:
    """Raise UsageError for what makes no sense, before anything is trained."""
    choices = [
        ("normalisation", config.normalisation, tuple(NORMALISATIONS)),
        ("keep", config.keep, KEPT),
        ("precision", config.precision, PRECISIONS),
        ("loss.targets", config.loss.targets, TARGETS),
        ("optimiser.kind", config.optimiser.kind, OPTIMISERS),
        *((f"sources[{k}].kind", source.kind, KINDS) for k, source in enumerate(config.sources)),
        *((f"sources[{k}].units", source.units, UNITS) for k, source in enumerate(config.sources)),
        *((f"stages[{k}].scope", stage.scope, SCOPES) for k, stage in enumerate(config.stages)),
    ]
    for key, value, allowed in choices:
        if value not in allowed:
            raise UsageError(f"{key} = {value!r}: choose from {', '.join(allowed)}.")
    _check_numbers(config)
    if not NAME.fullmatch(config.name):
        raise UsageError(f"name = {config.name!r}: give up to 64 letters, digits, - and _.")
    if not config.sources or not config.stages:
        raise UsageError("a plan needs at least one [[source]] and one [[stage]].")
    if config.start_share and config.start is None:
        raise UsageError(f"start_share = {config.start_share}: there is no start to have a share.")
    if not config.tasks:
        raise UsageError("loss: every task has weight 0, so there is nothing to train.")
    for name in config.classes:
        if name not in EXPRESSIONS or config.classes.count(name) > 1:
            raise UsageError(f"classes: {name!r} is there twice, or is none of {', '.join(EXPRESSIONS)}.")
    if len(config.classes) < 2:
        raise UsageError(f"classes = {list(config.classes)}: give at least two.")
    names = [source.name for source in config.sources]
    if len(set(names)) != len(names):
        raise UsageError(f"two sources are called {max(names, key=names.count)!r}: give each a name of its own.")
    for stage in config.stages:
        for name in stage.sources:
            if name not in names:
                raise UsageError(f"a stage draws from {name!r}, which is no source: there are {', '.join(names)}.")


def _check_numbers(config: TrainingConfig) -> None:
    """Raise UsageError for a number that is out of its range."""
    shares = {key: getattr(config, key) for key in ("dropout", "average", "start_share")}
    shares["loss.smoothing"] = config.loss.smoothing
    positive: dict[str, float] = {"size": config.size, "checkpoint": config.checkpoint}
    weights = {f"loss.{key}": getattr(config.loss, key) for key in (*TASKS, "attention", "class_power")}
    weights |= {f"optimiser.{key}": getattr(config.optimiser, key) for key in ("weight_decay", "sam", "clip")}
    for k, source in enumerate(config.sources):
        shares |= {f"sources[{k}].held_out": source.held_out, f"sources[{k}].calibration": source.calibration}
        weights[f"sources[{k}].weight"] = source.weight
    for k, stage in enumerate(config.stages):
        positive |= {f"stages[{k}].{key}": getattr(stage, key) for key in ("epochs", "rate", "batch")}
        weights[f"stages[{k}].balance"] = stage.balance
    varied, chances = asdict(config.augmentation), ("flip", "other_crop", "resolution", "erase", "jpeg")
    positive["augmentation.least"] = varied.pop("least")
    weights |= {f"augmentation.{key}": value for key, value in varied.items() if key not in chances}
    for key, value in shares.items():
        if not 0 <= value < 1:
            raise UsageError(f"{key} = {value}: give 0 or more and less than 1.")
    for key in chances:
        if not 0 <= varied[key] <= 1:
            raise UsageError(f"augmentation.{key} = {varied[key]}: give a probability from 0 to 1.")
    if not 0 <= config.evened <= 1:
        raise UsageError(f"evened = {config.evened}: give a power from 0 to 1.")
    for key, value in positive.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{key} = {value}: it must be above 0.")
    for key, value in weights.items():
        if not 0 <= value < math.inf:
            raise UsageError(f"{key} = {value}: give 0 or more.")
    for k, stage in enumerate(config.stages):
        if stage.batch < 2:
            raise UsageError(f"stages[{k}].batch = {stage.batch}: give 2 or more, layers are normalised over a batch.")
    for name, number in (("seed", config.seed), ("split", config.split)):
        if not 0 <= number < 1 << 32:
            raise UsageError(f"{name} = {number}: give a whole number from 0 to {(1 << 32) - 1}.")


def _beside(config: TrainingConfig, folder: Path) -> TrainingConfig:
    """Paths relative to the plan's folder, and a name for every source."""

    def placed(path: Path) -> Path:
        # Absolute, so that the last part is a name also where the plan says "." or "..".
        return Path(os.path.abspath(folder / os.path.expanduser(path)))

    sources = tuple(replace(s, path=placed(s.path), name=s.name or s.kind) for s in config.sources)
    return replace(config, sources=sources, start=placed(config.start) if config.start else None)


def _record(kind: type, data: Any, where: str = "") -> Any:
    """A dataclass from plain data, every key known and every value of its type."""
    if not isinstance(data, Mapping):
        raise UsageError(f"{where.rstrip('.')} = {data!r}: expected a table of keys and values.")
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}
    for key in data:
        if key not in known:
            raise UsageError(f"unknown key {where}{key}: choose from {', '.join(known)}.")
    missing = [
        name for name, f in known.items() if name not in data and f.default is MISSING and f.default_factory is MISSING
    ]
    if missing:
        raise UsageError(f"{where}{missing[0]} is missing.")
    return kind(**{key: _value(hints[key], value, f"{where}{key}") for key, value in data.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        return _value(typing.get_args(hint)[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where} = {value!r}: expected a list.")
        return tuple(_value(typing.get_args(hint)[0], item, f"{where}[{k}]") for k, item in enumerate(value))
    if is_dataclass(hint):
        return _record(typing.cast(type, hint), value, f"{where}.")
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UsageError(f"{where} = {value!r}: expected {_KINDS[hint]}.")
    return value
