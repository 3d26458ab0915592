"""The chain of an experiment: features -> heads -> raw scores; each step is done once and then found again.

A head is found again by a digest of its plan, of the annotations and of the features, which stands in its file; raw
scores are written again when a head that they come from is trained again. Extraction and fine-tuning are given as
functions, since they are commands of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import InputError, ModelUnavailable
from ..evaluation.ground_truth import Annotations, clip_key, read_intensities, read_mtl, read_tree, recording
from ..models import heads
from ..models.heads import CLIP_TASK
from ..reporting.markdown import signed
from ..reporting.wording import few
from ..runtime.atomic_files import prepare_folder
from ..training import features as matching
from ..training import head_card
from ..training.head_trainer import HeadConfig, train
from . import scored_tables
from .experiment import Experiment, HeadPlan, Network

PARTS = ("train", "validation")
SUFFIX = matching.SUFFIX

Extract = Callable[[Network, str, Sequence[Path], Path], Sequence[Path]]
"""Called with a network, its model (a name, or a trained file), images or sound files, and a folder for features.
Returns the sources that failed, also those of which a part was extracted."""

Lost = Mapping[str, Sequence[str]]
"""Network -> names of sources whose features could not be extracted."""

Finetune = Callable[[Path, Path], Path]
"""Called with a training plan and the folder of its run; returns the trained file."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of a run.

    Attributes:
        plan: the experiment's file; training plans are beside it.
        data: root of the data.
        out: of the run.
    """

    plan: Path
    data: Path
    out: Path

    def features(self, network: Network) -> Path:
        return self.out / "features" / network.name

    def head(self, name: str) -> Path:
        return self.out / "heads" / f"{name}.safetensors"

    def tables(self, members: Sequence[str]) -> Path:
        return self.out / "tables" / "+".join(members)


Truth = Mapping[str, Annotations] | Mapping[str, tuple[float, ...]]


def read_truth(found: Experiment, data: Path) -> dict[str, Truth]:
    """Part -> annotations by video, or intensities by clip; empty without annotations."""
    texts = {"train": found.data.train, "validation": found.data.validation}
    return {part: _annotations(found.track, data / text, part) for part, text in texts.items() if text}


def _annotations(track: str, path: Path, part: str) -> Truth:
    if track == "emi":
        return read_intensities(path)
    return read_tree(path, part) if path.is_dir() else read_mtl(path)


# --- features -------------------------------------------------------------------------------------------------


def extract_all(
    found: Experiment, places: Places, extract: Extract, finetune: Finetune, say: Say, *, skip_failed: bool = False
) -> Lost:
    """Extract what is not there yet, with each network; networks of this experiment are trained first.

    Features of a source that failed are removed, so that the next run tries it again and does not take a part of it
    for all.

    Args:
        skip_failed: go on without sources that are missing or fail, and return them.

    Raises:
        InputError: a source is missing or failed, and ``skip_failed`` is not set; or all of a network failed.
    """
    wanted = {network.name: _sources(found, places, network) for network in found.networks}
    if not skip_failed:  # before the first video, since extraction may take hours
        for network in found.networks:
            _check_complete(found, places.data, network, wanted[network.name])
    lost: dict[str, list[str]] = {}
    for network in found.networks:
        folder = places.features(network)
        prepare_folder(folder)
        sources = wanted[network.name].there
        lacking = [path for path in sources if not (folder / f"{_name(path)}{SUFFIX}").is_file()]
        model = network.model
        if network.finetune:
            # Also when all features are there: it tells at once whether they are of this network.
            model = str(finetune(places.plan.parent / network.finetune, places.out / "networks" / network.name))
        say(f"{network.name}: features of {len(sources) - len(lacking):,} of {len(sources):,} are there.")
        failed = extract(network, model, lacking, folder) if lacking else ()
        for path in failed:
            (folder / f"{_name(path)}{SUFFIX}").unlink(missing_ok=True)
        if failed and (not skip_failed or len(failed) == len(sources)):
            raise InputError(_failure(network, sorted(map(_name, failed)), len(sources)))
        if names := sorted({*map(_name, failed), *wanted[network.name].missing}):
            lost[network.name] = names
    return lost


def _failure(network: Network, names: Sequence[str], count: int) -> str:
    return (
        f"{network.name}: the features of {len(names):,} of {count:,} sources could not be extracted "
        f"({', '.join(names)}); the reasons are above. Repair these files and run the same command again "
        "(finished work is kept), or continue without them with --skip-failed."
    )


def _name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


@dataclass(frozen=True, slots=True)
class _Sources:
    """What a network is to extract.

    Attributes:
        there: images or sound files.
        missing: names of annotated videos or clips with neither a source nor features.
        annotated: number of annotated videos or clips; 0 without annotations.
    """

    there: Sequence[Path]
    missing: Sequence[str] = ()
    annotated: int = 0


def _check_complete(found: Experiment, data: Path, network: Network, sources: _Sources) -> None:
    if sources.missing:
        raise InputError(
            f"{_place(found, data, network)}: this folder lacks {len(sources.missing):,} of {sources.annotated:,} "
            f"annotated sources ({few(sources.missing, 20)}). Add them, or continue without them with --skip-failed."
        )


def _place(found: Experiment, data: Path, network: Network) -> Path:
    return data / (found.data.audio if network.kind == "audio" else found.data.images)


def _sources(found: Experiment, places: Places, network: Network) -> _Sources:
    """The images or sound files of all annotated videos; of all there are without annotations."""
    data, place = places.data, _place(found, places.data, network)
    try:
        there = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(
            f"{place}: cannot be read ({error.strerror}); it should hold the data of {found.name}."
        ) from error
    truth = read_truth(found, data)
    if not truth:
        return _Sources(there)
    names = {name for part in truth.values() for name in part}
    if found.track == "emi":
        wanted = [path for path in there if clip_key(_name(path)) in names]
    else:
        whole = {recording(name) for name in names}
        wanted = [path for path in there if _name(path) in names or _name(path) in whole]
    if not wanted:
        raise InputError(f"{place}: nothing in it is annotated; the annotations are of {few(sorted(names))}.")
    extracted = [path.name.removesuffix(SUFFIX) for path in places.features(network).glob(f"*{SUFFIX}")]
    known = {*map(_name, wanted), *extracted}
    known |= {clip_key(name) for name in known} if found.track == "emi" else set()
    missing = sorted(name for name in names if name not in known and recording(name) not in known)
    return _Sources(wanted, missing, len(names))


def _files(places: Places, network: Network) -> dict[str, Path]:
    return matching.find_files([places.features(network)])


# --- heads ----------------------------------------------------------------------------------------------------


def train_all(found: Experiment, places: Places, say: Say) -> None:
    """Train the heads that are not there, or were trained by another plan or on other data."""
    truth = read_truth(found, places.data)
    networks = {network.name: network for network in found.networks}
    for plan in found.heads:
        files = _files(places, networks[plan.network])
        digest = _digest(plan, files, truth)
        if _is_done(places.head(plan.name), digest):
            say(f"{plan.name}: this head is there.")
            continue
        say(f"{plan.name}: training on the features of {plan.network}.")
        _train_one(plan, files, truth, places.head(plan.name), digest)


def _digest(plan: HeadPlan, files: Mapping[str, Path], truth: Mapping[str, Truth]) -> str:
    """SHA-256 of the plan, the annotations, and name, size and time of change of the features."""
    whole = hashlib.sha256(json.dumps(asdict(plan), sort_keys=True).encode())
    for name, path in files.items():
        facts = path.stat()
        whole.update(f"{name} {facts.st_size} {facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
    for part, labelled in truth.items():
        for name, labels in labelled.items():
            whole.update(f"{part} {name}\n".encode(errors="surrogateescape"))
            if isinstance(labels, Annotations):
                for values in (labels.frames, labels.expression, labels.valence_arousal, labels.action_units):
                    whole.update(np.ascontiguousarray(values).tobytes())
            else:
                whole.update(repr(labels).encode())
    return whole.hexdigest()


def _is_done(path: Path, digest: str) -> bool:
    if not path.is_file():
        return False
    try:
        return heads.read(path).facts.get("reproduces") == digest
    except ModelUnavailable:
        return False  # damaged, so it is made again


def _train_one(plan: HeadPlan, files: Mapping[str, Path], truth: Mapping[str, Truth], path: Path, digest: str) -> None:
    configs = {task: HeadConfig(**asdict(one)) for task, one in plan.tasks.items()}
    if plan.kind == "emi":
        base, rows = matching.gather_clips(files, truth, configs[CLIP_TASK].source)  # type: ignore[arg-type]
    else:
        labelled = {part: _labelled(found, plan.complete) for part, found in truth.items()}
        embeddings = any(one.source != "scores" for one in configs.values())
        base, rows = matching.gather(files, labelled, embeddings=embeddings)  # type: ignore[assignment]
    parts, facts = train(plan.kind, base, rows, configs, plan.seed, lambda *_: None)
    head = heads.Head(path.stem, "", plan.kind, base, parts, {**facts, "reproduces": digest, "terms": ""})
    prepare_folder(path.parent)
    heads.write(head, path, signed(head_card.head_card(head)))


def _labelled(truth: Truth, complete: bool) -> dict[str, Annotations]:
    """Annotations; ``complete``: without the labels of frames that lack some of the three tasks."""
    found = {name: labels for name, labels in truth.items() if isinstance(labels, Annotations)}
    return {name: _whole_frames(labels) for name, labels in found.items()} if complete else found


def _whole_frames(labels: Annotations) -> Annotations:
    lacking = (
        (labels.expression < 0)
        | np.isnan(labels.valence_arousal).any(axis=1)
        | np.isnan(labels.action_units).any(axis=1)
    )
    expression, affect, units = labels.expression.copy(), labels.valence_arousal.copy(), labels.action_units.copy()
    expression[lacking], affect[lacking], units[lacking] = -1, np.nan, np.nan
    return replace(labels, expression=expression, valence_arousal=affect, action_units=units)


# --- raw scores -----------------------------------------------------------------------------------------------


def score_all(found: Experiment, places: Places, say: Say, lost: Lost) -> None:
    """Raw scores of every combination of members in the table, of the validation part (or of all videos).

    Videos that one of the members lacks because they are ``lost`` are left out.
    """
    wanted = {row.members for row in found.rows if row.members} | {
        (name,) for row in found.rows for name in row.split.values()
    }
    truth = read_truth(found, places.data).get("validation")
    networks = {network.name: network for network in found.networks}
    of_head = {plan.name: networks[plan.network] for plan in found.heads}
    for members in sorted(wanted):
        folder = places.tables(members)
        prepare_folder(folder)
        files = {name: _files(places, of_head.get(name) or networks[name]) for name in members}
        opened = {name: heads.read(places.head(name)) if name in of_head else None for name in members}
        first = files[members[0]]
        whole = None if truth is None else {recording(name) for name in truth}
        missing = {name for member in members for name in lost.get((of_head.get(member) or networks[member]).name, ())}
        names = [name for name in first if name not in missing and (whole is None or recording(name) in whole)]
        newest = max([0, *(places.head(name).stat().st_mtime_ns for name in members if name in of_head)])
        lacking = [
            name
            for name in names
            if not _is_newer(
                folder / f"{name}.raw.npz", [newest, *(files[m][name].stat().st_mtime_ns for m in members)]
            )
        ]
        for name in missing:  # from a run in which it was not missing yet
            for suffix in (".raw.npz", ".json"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
        say(f"{' + '.join(members)}: scores of {len(names) - len(lacking):,} of {len(names):,} videos are there.")
        for name in lacking:
            if gone := next((m for m in members if name not in files[m]), None):
                raise InputError(f"{places.out}: there are no features of {name} for {gone}.")
            scored_tables.write(name, [(m, files[m][name], opened[m]) for m in members], folder)


def _is_newer(path: Path, than: Sequence[int]) -> bool:
    return path.is_file() and path.stat().st_mtime_ns > max(than)
