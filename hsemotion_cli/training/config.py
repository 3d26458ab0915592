"""A training run as data: a TOML file, which users call a plan -> a checked ``TrainingConfig``."""

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
from ..models.card_json import NAME
from ..models.cards import HALF, IMAGENET
from ..tasks import EXPRESSIONS, TASKS
from .augment import Augmentation

KINDS = ("ferplus", "folder", "affwild2", "packed")
SCOPES = ("all", "head", "head and pooling")
TARGETS = ("shares", "majority")
SCHEDULES = ("cosine", "constant")
OPTIMISERS = ("adamw", "adam", "sgd")
PRECISIONS = ("fp32", "bf16", "fp16")
UNITS = ("labels", "blendshapes", "blendshapes and expression")
KEPT = ("last", "best")
NORMALISATIONS = {"half": HALF, "imagenet": IMAGENET}

_KINDS = {str: "text", Path: "text", bool: "true or false", int: "a whole number", float: "a number"}


@dataclass(frozen=True, slots=True)
class DatasetSource:
    """A source of labelled faces.

    Attributes:
        kind: "ferplus" (the npz with images and votes), "folder" (images and a labels.csv), "affwild2" (a tree of
            Aff-Wild2 or s-Aff-Wild2 with its crops) or "packed" (a file of ``train pack``).
        path: the file or folder; relative paths are relative to the plan.
        name: that stages refer to; by default its kind.
        weight: how often its images are drawn; 1 is once per epoch, before class balancing.
        units: where action units come from: "labels"; "blendshapes", the predictions of ``mp-blendshapes``; or
            "blendshapes and expression", those predictions combined with the labelled expression
            (``unit_labels.label_units``).
        crops: folder of the crops inside an Aff-Wild2 tree.
        held_out: share of its people (or images, if people are unknown) that is held out for validation, unless the
            source has a validation part of its own.
        calibration: share of its training part that is held out for fitting thresholds and temperature.
        terms: terms of use of its data, for the model card.
        given_crops: use the images as they are, without searching a face in them to align it again.
        complete: of Aff-Wild2, leave out images that lack a label for any of the three tasks.
        left_out: labels of a folder's table whose images are left out; any other that is not a class is an error.
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
    given_crops: bool = False
    complete: bool = False
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StageConfig:
    """A part of the run with its own schedule.

    Attributes:
        epochs: passes; an epoch has as many images as its sources have, each times its source's weight.
        rate: highest learning rate.
        batch: images per step.
        scope: what is trained: "all", "head", or "head and pooling" (with DDAMFN's GDConv).
        sources: names of the sources to draw from; all if empty.
        balance: images are drawn in proportion to their class's share to the power ``-balance``; 0 draws them as they
            are distributed, 1 all classes equally.
        schedule: of the rate: "cosine" with warm-up in the first twentieth, or "constant".
    """

    epochs: float
    rate: float = 1e-3
    batch: int = 64
    scope: str = "all"
    sources: tuple[str, ...] = ()
    balance: float = 0.0
    schedule: str = "cosine"


@dataclass(frozen=True, slots=True)
class LossConfig:
    """The losses and their weights.

    Attributes:
        expression, valence_arousal, action_units: weights of the tasks; 0 trains a network without the task.
        attention: weight of DDAMFN's attention loss; no effect on other networks.
        targets: "shares" (soft labels) or "majority" (the class with the largest share).
        class_power: classes are weighted by share to the power ``-class_power``; 1 is HSEmotion's max / own count.
        smoothing: label smoothing, the share of the targets that is spread evenly.
        balance_units: give presence and absence of each action unit equal total weight, as HSEmotion does.
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
    """The optimiser.

    Attributes:
        kind: "adamw", "adam" or "sgd" (momentum 0.9).
        weight_decay: of kernels only, not of biases, slopes and normalisation.
        sam: radius of sharpness-aware minimisation (Foret et al. 2021), 0.05 in HSEmotion; 0 turns it off.
        clip: largest norm of the gradient; 0 turns clipping off.
    """

    kind: str = "adamw"
    weight_decay: float = 0.02
    sam: float = 0.0
    clip: float = 5.0


@dataclass(frozen=True, slots=True)
class RefitConfig:
    """Fitting the last layer for expressions and action units again at the end, on the final embeddings of the training
    images; valence and arousal stay as trained.

    Attributes:
        weight_decay: factor of the squared weights in its loss; 0 keeps the last layer as it was trained.
        class_power: an image counts in proportion to its class's share to the power ``-class_power``; 1 gives all
            classes equal weight.
    """

    weight_decay: float = 0.0
    class_power: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """A training run.

    Attributes:
        name: of the model, as later given to ``--model``.
        architecture: key of ``architectures.ARCHITECTURES``, or ``timm:NAME``.
        size: width and height of the input, in pixels.
        classes: expressions, in the order of the outputs.
        sources, stages, loss, optimiser, augmentation, refit: see there.
        start: initial weights; by default random.
        start_share: the final weights are a mean of the trained and the initial ones with this share of the latter,
            which undoes some overfitting (Wortsman et al. 2022, arXiv:2109.01903). 0 keeps the trained weights; the log
            is about those in any case.
        normalisation: "half" or "imagenet".
        luminance: the network uses brightness only; folded into its first layer, so that it accepts RGB images.
        dropout: before the last layer.
        evened: exponent of the class-prior correction: the finished network's probability of each expression is
            divided by its class's share of the training images to this power and renormalised, so that rare
            expressions are predicted more often. 0 turns it off.
        average: decay of the moving average of weights that is evaluated and kept; 0 keeps the weights themselves.
        keep: "last", or "best": the epoch with the best sum of scores on the calibration part (or validation part, if
            there is no other).
        precision: on CUDA.
        seed: of all randomness in training.
        split: seed of the split into training, calibration and validation. Plans that continue each other must share
            it, or one would be evaluated on images that another was trained on.
        checkpoint: minutes between checkpoints.
        chosen_on: names of data sets by which anything in the plan was chosen, for the model card. None of them may be
            a source.
        paper_name, licence, citation: for the model card.
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
    refit: RefitConfig = field(default_factory=RefitConfig)
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
    chosen_on: tuple[str, ...] = ()
    paper_name: str = ""
    licence: str = "not stated"
    citation: str = ""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The trained tasks, in the order of ``tasks.TASKS``."""
        return tuple(task for task in TASKS if getattr(self.loss, task) > 0)

    @property
    def columns(self) -> dict[str, int]:
        """Task -> number of its columns in the last layer, in their order."""
        return {task: len(self.classes if task == "expression" else TASKS[task]) for task in self.tasks}

    @property
    def outputs(self) -> int:
        """Number of columns of the last layer."""
        return sum(self.columns.values())

    def drawn_from(self, stage: StageConfig) -> tuple[str, ...]:
        """Names of the sources that a stage draws from."""
        return stage.sources or tuple(source.name for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Plain data; only the last part of paths, since a model card must not reveal a user's folders."""
        return json.loads(json.dumps(asdict(self), default=lambda path: path.name))

    def digest(self) -> str:
        """SHA-256 of everything that can change the result; the location of files is not part of it."""
        data = self.to_json()
        data.pop("checkpoint")
        # Keys that plans of earlier versions do not have, so that their runs can be continued.
        for entry, name, usual in (
            *((stage, "schedule", "cosine") for stage in data["stages"]),
            *((source, name, False) for source in data["sources"] for name in ("given_crops", "complete")),
            *((source, "left_out", []) for source in data["sources"]),
            *((data["augmentation"], name, getattr(Augmentation(), name)) for name in ("moved", "shrink", "erased")),
        ):
            if entry[name] == usual:
                del entry[name]
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def read(path: Path) -> TrainingConfig:
    """Read a plan, a TOML file.

    Raises:
        InputError: it cannot be read.
        UsageError: it is not a valid plan; the message names the file and the key.
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
                raise UsageError(f"it has both {one} and {several}: name all of them [[{one}]].")
            if one in data:
                data[several] = data.pop(one)
        config = _resolve(parse_record(TrainingConfig, data), path.parent)
        check(config)
    except UsageError as error:
        raise UsageError(f"{path}: {shortened(str(error))}") from error
    return config


def check(config: TrainingConfig) -> None:
    """Raise UsageError for values that make no sense, before anything is trained."""
    choices = [
        ("normalisation", config.normalisation, tuple(NORMALISATIONS)),
        ("keep", config.keep, KEPT),
        ("precision", config.precision, PRECISIONS),
        ("loss.targets", config.loss.targets, TARGETS),
        ("optimiser.kind", config.optimiser.kind, OPTIMISERS),
        *((f"sources[{k}].kind", source.kind, KINDS) for k, source in enumerate(config.sources)),
        *((f"sources[{k}].units", source.units, UNITS) for k, source in enumerate(config.sources)),
        *((f"stages[{k}].scope", stage.scope, SCOPES) for k, stage in enumerate(config.stages)),
        *((f"stages[{k}].schedule", stage.schedule, SCHEDULES) for k, stage in enumerate(config.stages)),
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
        raise UsageError(f"start_share = {config.start_share}: there are no initial weights; give start as well.")
    if not config.tasks:
        raise UsageError("loss: every task has weight 0, so there is nothing to train.")
    for name in config.classes:
        if name not in EXPRESSIONS or config.classes.count(name) > 1:
            raise UsageError(f"classes: {name!r} is listed twice, or is not one of {', '.join(EXPRESSIONS)}.")
    if len(config.classes) < 2:
        raise UsageError(f"classes = {list(config.classes)}: give at least two.")
    names = [source.name for source in config.sources]
    if len(set(names)) != len(names):
        raise UsageError(f"two sources are called {max(names, key=names.count)!r}: give each its own name.")
    for k, source in enumerate(config.sources):
        if known := set(source.left_out) & set(config.classes):
            raise UsageError(f"sources[{k}].left_out: {min(known)!r} is one of the plan's classes.")
        if source.left_out and source.kind != "folder":
            raise UsageError(f"sources[{k}].left_out: only a folder has a table of labels.")
        for name in {source.name, source.path.name, source.path.stem} & set(config.chosen_on):
            raise UsageError(f"chosen_on: {name!r} is also a source; what was trained on cannot be chosen by.")
    for stage in config.stages:
        for name in stage.sources:
            if name not in names:
                raise UsageError(f"a stage draws from {name!r}, which is not a source: choose from {', '.join(names)}.")


def _check_numbers(config: TrainingConfig) -> None:
    """Raise UsageError for a number out of range."""
    shares = {key: getattr(config, key) for key in ("dropout", "average", "start_share")}
    shares["loss.smoothing"] = config.loss.smoothing
    positive: dict[str, float] = {"size": config.size, "checkpoint": config.checkpoint}
    weights = {f"loss.{key}": getattr(config.loss, key) for key in (*TASKS, "attention", "class_power")}
    weights |= {f"optimiser.{key}": getattr(config.optimiser, key) for key in ("weight_decay", "sam", "clip")}
    weights |= {f"refit.{key}": value for key, value in asdict(config.refit).items()}
    for k, source in enumerate(config.sources):
        shares |= {f"sources[{k}].held_out": source.held_out, f"sources[{k}].calibration": source.calibration}
        weights[f"sources[{k}].weight"] = source.weight
    for k, stage in enumerate(config.stages):
        positive |= {f"stages[{k}].{key}": getattr(stage, key) for key in ("epochs", "rate", "batch")}
        weights[f"stages[{k}].balance"] = stage.balance
    varied, chances = asdict(config.augmentation), ("flip", "other_crop", "resolution", "erase", "jpeg")
    positive["augmentation.least"] = varied.pop("least")
    shares["augmentation.erased"] = varied.pop("erased")
    del varied["shrink"]
    weights |= {f"augmentation.{key}": value for key, value in varied.items() if key not in chances}
    for key, value in shares.items():
        if not 0 <= value < 1:
            raise UsageError(f"{key} = {value}: give 0 or more and less than 1.")
    for key in chances:
        if not 0 <= varied[key] <= 1:
            raise UsageError(f"augmentation.{key} = {varied[key]}: give a probability from 0 to 1.")
    if not 0 <= config.evened <= 1:
        raise UsageError(f"evened = {config.evened}: give an exponent from 0 to 1.")
    for key, value in positive.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{key} = {value}: it must be above 0.")
    for key, value in weights.items():
        if not 0 <= value < math.inf:
            raise UsageError(f"{key} = {value}: give 0 or more.")
    for k, stage in enumerate(config.stages):
        if stage.batch < 2:
            raise UsageError(f"stages[{k}].batch = {stage.batch}: give 2 or more, as batch normalisation needs.")
    for name, number in (("seed", config.seed), ("split", config.split)):
        if not 0 <= number < 1 << 32:
            raise UsageError(f"{name} = {number}: give a whole number from 0 to {(1 << 32) - 1}.")


def _resolve(config: TrainingConfig, folder: Path) -> TrainingConfig:
    """The config with absolute paths, resolved against the plan's folder, and a name for every source."""

    def resolved(path: Path) -> Path:
        # Absolute, so that the last part is a name even for "." or "..".
        return Path(os.path.abspath(folder / os.path.expanduser(path)))

    sources = tuple(replace(s, path=resolved(s.path), name=s.name or s.kind) for s in config.sources)
    return replace(config, sources=sources, start=resolved(config.start) if config.start else None)


def parse_record(kind: type, data: Any, where: str = "") -> Any:
    """A dataclass from plain data, checking keys and types.

    Raises:
        UsageError: an unknown or missing key, or a value of another type; the message names it.
    """
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
    return kind(**{key: _parse_value(hints[key], value, f"{where}{key}") for key, value in data.items()})


def _parse_value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if origin is types.UnionType:
        return _parse_value(typing.get_args(hint)[0], value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise UsageError(f"{where} = {value!r}: expected a list.")
        return tuple(_parse_value(typing.get_args(hint)[0], item, f"{where}[{k}]") for k, item in enumerate(value))
    if origin is Mapping or origin is dict:
        if not isinstance(value, Mapping):
            raise UsageError(f"{where} = {value!r}: expected a table of keys and values.")
        of = typing.get_args(hint)[1]
        return {key: _parse_value(of, item, f"{where}.{key}") for key, item in value.items()}
    if is_dataclass(hint):
        return parse_record(typing.cast(type, hint), value, f"{where}.")
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UsageError(f"{where} = {value!r}: expected {_KINDS[hint]}.")
    return value
