"""The packed copy of a run's dataset: reused while nothing that it was made from has changed, and only then."""

from __future__ import annotations

import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import challenge
import labelled
import numpy as np
import pytest
from known import noting

from hsemotion_cli.errors import InputError
from hsemotion_cli.training import dataset, dataset_readers
from hsemotion_cli.training.augment import Augmentation
from hsemotion_cli.training.config import (
    DatasetSource,
    LossConfig,
    OptimiserConfig,
    RefitConfig,
    StageConfig,
    TrainingConfig,
)
from hsemotion_cli.training.dataset import Dataset
from hsemotion_cli.training.dataset_cache import cache_key, load_or_build

CLASSES = ("neutral", "anger", "happiness")
UNITS = [f"AU{number:02d}" for number in (1, 2, 4, 6, 7, 10, 12, 15, 23, 24, 25, 26)]


@pytest.fixture(autouse=True)
def without_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searching for faces takes seconds; blendshapes are made up from the image's bytes instead."""

    def look(pictures: list[bytes], workers: object, progress: object) -> tuple[np.ndarray, ...]:
        shapes = np.array([[len(data) % 7 / 7] * 52 for data in pictures], np.float32).reshape(-1, 52)
        points, boxes = (np.full((len(pictures), *shape), np.nan, np.float32) for shape in ((5, 2), (4,)))
        return points, boxes, shapes

    monkeypatch.setattr(dataset_readers, "find_faces", look)


def folder(path: Path, shade: int = 0) -> Path:
    """60 people with one labelled image each."""
    path.mkdir()
    lines = [",".join(["image", "label", "subject", "valence", "arousal", *UNITS])]
    for k in range(60):
        (path / f"{k}.png").write_bytes(labelled.png(np.full((8, 8), shade + k, np.uint8)))
        lines.append(",".join([f"{k}.png", CLASSES[k % 3], f"p{k}", "0.5", "0.1", *["1"] * len(UNITS)]))
    (path / "labels.csv").write_text("\n".join([*lines, ""]))
    return path


def packed(path: Path) -> Path:
    """A packed file with samples of two sources."""
    pictures = [np.full((8, 8), k, np.uint8) for k in range(4)]
    shares = labelled.onehot(np.array([0, 1, 2, 0]), 3)
    dataset.write(path, labelled.make(pictures, 3, expression=shares, source=["one", "one", "two", "two"]))
    return path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of s-Aff-Wild2 with a second, smaller folder of crops."""
    root = tmp_path_factory.mktemp("wild")
    challenge.make_mtl(root, videos=2, validation=1, frames=6)
    (other := root / "other").mkdir()
    videos = sorted((root / "cropped_aligned").iterdir())
    shutil.copytree(videos[0], other / videos[0].name)
    return root


# What each field of a source is changed to; the others stay as in ``configs``.
CHANGED: dict[str, dict[str, Any]] = {
    "source": {
        "name": "two",
        "weight": 3.0,
        "units": "blendshapes",
        "crops": "other",
        "held_out": 0.7,
        "calibration": 0.6,
        "terms": "for research only",
        "given_crops": True,
        "complete": True,
        "left_out": ("anger",),
    },
    "config": {
        "name": "other",
        "architecture": "timm:resnet18",
        "stages": (StageConfig(9.0),),
        "size": 64,
        "classes": CLASSES[::-1],
        "loss": LossConfig(expression=0.0),
        "optimiser": OptimiserConfig("sgd"),
        "augmentation": Augmentation(flip=0.1),
        "refit": RefitConfig(1.0),
        "chosen_on": ("elsewhere",),
        "start": Path("start.safetensors"),
        "start_share": 0.5,
        "normalisation": "imagenet",
        "luminance": True,
        "dropout": 0.5,
        "evened": 0.5,
        "average": 0.5,
        "keep": "best",
        "precision": "bf16",
        "seed": 99,
        "split": 99,
        "checkpoint": 99.0,
        "paper_name": "other",
        "licence": "other",
        "citation": "other",
    },
}


def same(one: Dataset, other: Dataset) -> bool:
    return all(
        np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
        for a, b in ((getattr(one, field.name), getattr(other, field.name)) for field in fields(Dataset))
    )


def outcome(config: TrainingConfig) -> Dataset | str:
    try:
        return dataset_readers.gather(config)
    except InputError as error:
        return str(error)


def test_whatever_changes_the_samples_changes_the_key(tmp_path: Path, tree: Path) -> None:
    sources = {
        "folder": DatasetSource("folder", folder(tmp_path / "one"), "one"),
        "packed": DatasetSource("packed", packed(tmp_path / "packed.npz"), "one"),
        "affwild2": DatasetSource("affwild2", tree, "one"),
    }
    elsewhere = {"folder": folder(tmp_path / "two", 100), "packed": packed(tmp_path / "copy.npz")}
    moved = set()
    for kind, source in sources.items():
        config = TrainingConfig("test", "ddamfn", (source,), (StageConfig(1.0),), classes=CLASSES)
        before, key = outcome(config), cache_key(config)
        assert isinstance(before, Dataset) and len(before)
        changed = {name: replace(config, **{name: value}) for name, value in CHANGED["config"].items()}
        of_source = CHANGED["source"] | ({"path": elsewhere[kind]} if kind in elsewhere else {})
        for name, value in of_source.items():
            changed[f"source.{name}"] = replace(config, sources=(replace(source, **{name: value}),))
        changed["sources"] = replace(config, sources=(source, replace(source, name="more")))
        for name, other in changed.items():
            after = outcome(other)
            if isinstance(after, str) or not same(before, after):
                moved.add(name)
                assert cache_key(other) != key, name
    assert moved == {
        "classes", "split", "sources", "source.path", "source.name", "source.units", "source.crops", "source.held_out",
        "source.calibration", "source.given_crops", "source.complete", "source.left_out",
    }  # fmt: skip


def test_what_does_not_change_the_samples_leaves_the_key(tmp_path: Path) -> None:
    """Face detection that would find the same is not repeated."""
    source = DatasetSource("folder", folder(tmp_path / "one"), "one")
    config = TrainingConfig("test", "ddamfn", (source,), (StageConfig(1.0),), classes=CLASSES)
    for name, value in CHANGED["config"].items():
        assert (cache_key(replace(config, **{name: value})) == cache_key(config)) == (name not in ("classes", "split"))
    for name in ("weight", "terms"):
        assert cache_key(replace(config, sources=(replace(source, **{name: CHANGED["source"][name]}),))) == cache_key(
            config
        )


def test_every_field_is_tried() -> None:
    assert set(CHANGED["config"]) | {"sources"} == {field.name for field in fields(TrainingConfig)}
    assert set(CHANGED["source"]) | {"kind", "path"} == {field.name for field in fields(DatasetSource)}


def test_a_changed_file_changes_the_key(tmp_path: Path) -> None:
    path = folder(tmp_path / "one")
    os.symlink(path, path / "itself", target_is_directory=True)
    config = TrainingConfig("test", "ddamfn", (DatasetSource("folder", path, "one"),), (StageConfig(1.0),))
    keys = [cache_key(config)]
    assert cache_key(config) == keys[0]
    changes = (
        lambda: (path / "labels.csv").write_text("image,label\n0.png,anger\n"),
        lambda: os.utime(path / "7.png", ns=(1, 1)),
        lambda: (path / "8.png").unlink(),
        lambda: (path / "60.png").write_bytes(b"x"),
        lambda: shutil.rmtree(path),
    )
    for change in changes:
        change()
        keys.append(cache_key(config))
    assert len(set(keys)) == len(keys)


def test_samples_are_built_once_for_each_split(tmp_path: Path) -> None:
    """With a new split, other people are held out; an old packed file would train on those to be measured on."""
    source = DatasetSource("folder", folder(tmp_path / "one"), "one", held_out=0.4)
    built: list[int] = []

    def load(split: int, seed: int) -> Dataset:
        config = TrainingConfig("t", "ddamfn", (source,), (StageConfig(1.0),), classes=CLASSES, split=split, seed=seed)
        found = load_or_build(config, tmp_path, noting(built, split, lambda: dataset_readers.gather(config)))
        assert same(found, dataset_readers.gather(config))
        return found

    first, second, again = load(1, 0), load(2, 0), load(1, 5)
    assert built == [1, 2]
    assert set(first.subject[first.part == "validation"]) != set(second.subject[second.part == "validation"])
    assert same(first, again)
