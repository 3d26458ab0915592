"""An experiment of a paper as data: a TOML file in ``plans/papers`` -> a checked ``Experiment``.

It names the networks, the heads with all their hyper-parameters, what is searched, and the rows of the paper's table
with the paper's own figures. ``chosen`` lists what the paper does not say, and what was chosen instead.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..abaw.challenges import TRACKS
from ..errors import InputError, UsageError, shortened
from ..models.heads import INPUTS, KINDS
from ..postprocess.compound import MEANS
from ..postprocess.recipe import Smoothing
from ..tasks import EMOTIONAL_MIMICRY
from ..training.config import parse_record

TUNED = "tuned"
"""Value of a setting that is searched on the validation part, as in the papers."""

NETWORK_KINDS = ("faces", "audio")
SCORES = ("valence_arousal", "expression", "action_units", "compound", "emotional_mimicry", "kl", "total")


@dataclass(frozen=True, slots=True)
class Data:
    """Where the data lies, relative to the folder given with --data.

    Attributes:
        train, validation: a list of annotations, or "." for the tree itself, whose part is then taken; "" for none.
        images: folder of aligned crops ``VIDEO/NNNNN.jpg``, or of videos.
        crops: whether images are crops and no face has to be found.
        every: analyse every n-th image.
        audio: folder of sound files; "" for none.
    """

    images: str
    train: str = ""
    validation: str = ""
    crops: bool = True
    every: int = 1
    audio: str = ""


@dataclass(frozen=True, slots=True)
class Network:
    """A frozen network whose embeddings are extracted.

    Attributes:
        name: that heads and rows refer to.
        model: name in the registry; or, with ``finetune``, the name of the network that this training plan gives.
        kind: of ``NETWORK_KINDS``.
        finetune: a training plan beside this file, whose network is trained first; "" for a published network.
        dtype: of the stored embeddings.
    """

    name: str
    model: str
    kind: str = "faces"
    finetune: str = ""
    dtype: str = "float16"


@dataclass(frozen=True, slots=True)
class HeadTask:
    """Layers and training of one task; see ``training.head_trainer.HeadConfig``."""

    source: str
    activation: str
    batch: int
    epochs: int
    rate: float
    hidden: int = 0
    l2: float = 0.0
    weighted: bool = True
    keep: str = "best"


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """A head.

    Attributes:
        name: that rows refer to.
        network: whose embeddings it is trained on.
        kind: of ``heads.KINDS``.
        tasks: task -> its layers.
        complete: train and validate only on frames with labels for all three tasks.
        seed: of weights and order.
    """

    name: str
    network: str
    kind: str
    tasks: Mapping[str, HeadTask]
    complete: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """What is tried where a row says ``TUNED``; on the validation part, as in the papers.

    Attributes:
        sigmas, deltas, weights, thresholds: see ``abaw.search_space.Grid``; boxes are tried for each of ``deltas``.
        both: see ``abaw.objectives.ActionUnitF1``.
    """

    sigmas: tuple[float, ...] = ()
    deltas: tuple[int, ...] = ()
    weights: tuple[float, ...] = (0.5,)
    thresholds: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    both: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Attributes:
        name: of the row.
        members: one or two names of heads, or of networks whose own outputs are used.
        smoothing: task -> "none", a filter, or ``TUNED``; tasks that are not named are not smoothed.
        blend: task -> weight of the first member, as text, or ``TUNED``; for emi weight by emotion.
        thresholds: of action units: a number as text, "head" for those chosen with the head, or ``TUNED``.
        mean: of ``compound.MEANS``, for ce.
        split: task -> head that the row takes the task from, instead of ``members``: the paper's single-task networks.
        paper: the paper's figures, by the names of ``SCORES``; {} if they are not known.
    """

    name: str
    members: tuple[str, ...] = ()
    smoothing: Mapping[str, str] = field(default_factory=dict)
    blend: Mapping[str, str] = field(default_factory=dict)
    thresholds: str = "0.5"
    mean: str = "arithmetic"
    split: Mapping[str, str] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)

    @property
    def used(self) -> tuple[str, ...]:
        """All heads and networks of the row."""
        return self.members or tuple(dict.fromkeys(self.split.values()))


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment.

    Attributes:
        name: of the experiment, and of its folder in ``runs``.
        paper, citation: of the paper.
        figures: where the paper's figures come from.
        track: of ``challenges.TRACKS``.
        max_gap: see ``smoothing.segments``; a day, so that filters cross all gaps, which the papers interpolate.
        chosen: what the paper does not say, and what was chosen instead; a sentence each.
    """

    name: str
    paper: str
    citation: str
    figures: str
    track: str
    data: Data
    networks: tuple[Network, ...]
    rows: tuple[Row, ...]
    heads: tuple[HeadPlan, ...] = ()
    search: SearchSpace = field(default_factory=SearchSpace)
    max_gap: float = 86400.0
    chosen: tuple[str, ...] = ()


def read(path: Path) -> Experiment:
    """Read an experiment.

    Raises:
        InputError: the file cannot be read.
        UsageError: it is not a valid experiment; the message names the file and the key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not TOML ({error}).") from error
    try:
        for one, several in (("network", "networks"), ("head", "heads"), ("row", "rows")):
            if one in data:
                data[several] = data.pop(one)
        found: Experiment = parse_record(Experiment, data)
        _check(found)
    except UsageError as error:
        raise UsageError(f"{path}: {shortened(str(error))}") from error
    return found


def only(found: Experiment, names: Sequence[str]) -> Experiment:
    """The experiment with some of its networks, and the heads and rows that need no others.

    Raises:
        UsageError: there is no such network, or no row is left.
    """
    known = [network.name for network in found.networks]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"--network {unknown[0]}: {found.name} has {', '.join(known)}.")
    heads = tuple(head for head in found.heads if head.network in names)
    there = {*names, *(head.name for head in heads)}
    rows = tuple(row for row in found.rows if set(row.used) <= there)
    if not rows:
        raise UsageError(f"--network {','.join(names)}: no row of {found.name} needs only these.")
    networks = tuple(network for network in found.networks if network.name in names)
    return replace(found, networks=networks, heads=heads, rows=rows)


def _check(found: Experiment) -> None:
    """Raise UsageError for names that belong to nothing and values that do not exist."""
    if found.track not in TRACKS:
        raise UsageError(f"track = {found.track!r}: choose from {', '.join(TRACKS)}.")
    networks, heads = [one.name for one in found.networks], [one.name for one in found.heads]
    names = [*networks, *heads]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two networks or heads are called {twice!r}: give each its own name.")
    for network in found.networks:
        if network.kind not in NETWORK_KINDS:
            raise UsageError(
                f"network {network.name}: kind = {network.kind!r}: choose from {', '.join(NETWORK_KINDS)}."
            )
    for head in found.heads:
        if head.network not in networks or head.kind not in KINDS:
            raise UsageError(f"head {head.name}: no such network {head.network!r}, or no such kind {head.kind!r}.")
        for task, one in head.tasks.items():
            if one.source not in INPUTS or one.keep not in ("best", "last"):
                raise UsageError(
                    f"head {head.name}, {task}: source = {one.source!r}, keep = {one.keep!r}: no such value."
                )
    for row in found.rows:
        _check_row(row, names)


def _check_row(row: Row, names: list[str]) -> None:
    if bool(row.members) == bool(row.split) or len(row.members) > 2:
        raise UsageError(f"row {row.name!r}: give one or two members, or split.")
    for name in row.used:
        if name not in names:
            raise UsageError(f"row {row.name!r}: {name!r} is neither a network nor a head.")
    for text in row.smoothing.values():
        if text != TUNED:
            Smoothing.parse(text)
    numbers = [*row.blend.values(), *([row.thresholds] if row.thresholds != "head" else [])]
    for text in numbers:
        if text != TUNED and not _is_share(text):
            raise UsageError(f"row {row.name!r}: {text!r} is neither a number from 0 to 1 nor {TUNED}.")
    if row.mean not in MEANS:
        raise UsageError(f"row {row.name!r}: mean = {row.mean!r}: choose from {', '.join(MEANS)}.")
    if unknown := set(row.paper) - {*SCORES, *EMOTIONAL_MIMICRY}:
        raise UsageError(f"row {row.name!r}: paper has no figure {min(unknown)!r}; they are {', '.join(SCORES)}.")


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
