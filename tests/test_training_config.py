"""Training configs: reading, refusals and their messages, and when two configs describe the same run."""

from __future__ import annotations

import re
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hsemotion_cli.errors import InputError, UsageError
from hsemotion_cli.tasks import TASKS
from hsemotion_cli.training import config as module
from hsemotion_cli.training.augment import Augmentation, Augmenter
from hsemotion_cli.training.config import (
    DatasetSource,
    LossConfig,
    OptimiserConfig,
    RefitConfig,
    StageConfig,
    TrainingConfig,
    check,
    read,
)
from hsemotion_cli.training.dataset import Dataset
from hsemotion_cli.training.figures import EvaluationFigures

SMALLEST = """
name = "small"
architecture = "ddamfn"

[[source]]
kind = "folder"
path = "faces"

[[stage]]
epochs = 2
"""

LARGEST = """
name = "Large_1"
architecture = "timm:mobilenetv3_small_100"
size = 64
classes = ["happiness", "neutral", "other"]
start = "nets/start.json"
start_share = 0.75
normalisation = "imagenet"
luminance = true
dropout = 0.25
evened = 0.5
average = 0
keep = "best"
precision = "bf16"
seed = 4294967295
split = 7
checkpoint = 0.5
chosen_on = ["rafdb", "expw"]
paper_name = "Größe"
licence = "CC-BY"
citation = "none"

[[source]]
kind = "ferplus"
path = "../data/fer.npz"
weight = 2
units = "blendshapes"
held_out = 0
calibration = 0.2
terms = "free"
given_crops = true
complete = true

[[source]]
kind = "affwild2"
path = "/data/aff"
name = "wild"
crops = "cropped"

[[stage]]
epochs = 0.5
rate = 1
batch = 2
scope = "head"
sources = ["wild"]

[[stage]]
epochs = 3
balance = 0.5
schedule = "constant"

[loss]
expression = 0
valence_arousal = 2.5
action_units = 1
attention = 0
targets = "majority"
class_power = 1
smoothing = 0.1
balance_units = false

[optimiser]
kind = "sgd"
weight_decay = 0
sam = 0.05
clip = 0

[refit]
weight_decay = 0.001
class_power = 0.5

[augmentation]
flip = 1
rotation = 0
scale = 0
shift = 0.1
other_crop = 0
resolution = 1
least = 12
light = 0.5
noise = 0
erase = 0
jpeg = 0
mixup = 0.4
moved = 0.9
shrink = true
erased = 0.1
"""


def written(folder: Path, text: str, name: str = "plan.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def with_line(line: str, table: str = "") -> str:
    """The smallest plan with a line more in a table."""
    if not table:
        return f"{line}\n{SMALLEST}"
    return SMALLEST.replace(table, f"{table}\n{line}") if table in SMALLEST else f"{SMALLEST}\n{table}\n{line}\n"


def test_the_smallest_plan_has_the_defaults(tmp_path: Path) -> None:
    found = read(written(tmp_path, SMALLEST))
    assert found == TrainingConfig(
        name="small",
        architecture="ddamfn",
        sources=(DatasetSource("folder", tmp_path / "faces", "folder"),),
        stages=(StageConfig(2.0),),
    )
    assert found.tasks == tuple(TASKS)
    assert found.outputs == 8 + 2 + 12
    assert type(found.stages[0].epochs) is float


def test_every_key_can_be_given(tmp_path: Path) -> None:
    found = read(written(tmp_path, LARGEST))
    assert found == TrainingConfig(
        name="Large_1",
        architecture="timm:mobilenetv3_small_100",
        sources=(
            DatasetSource(
                "ferplus", tmp_path.parent / "data" / "fer.npz", "ferplus", 2.0, "blendshapes", held_out=0.0,
                calibration=0.2, terms="free", given_crops=True, complete=True,
            ),
            DatasetSource("affwild2", Path("/data/aff"), "wild", crops="cropped"),
        ),
        stages=(StageConfig(0.5, 1.0, 2, "head", ("wild",)), StageConfig(3.0, balance=0.5, schedule="constant")),
        size=64,
        classes=("happiness", "neutral", "other"),
        loss=LossConfig(0.0, 2.5, 1.0, 0.0, "majority", 1.0, 0.1, False),
        optimiser=OptimiserConfig("sgd", 0.0, 0.05, 0.0),
        augmentation=Augmentation(1.0, 0.0, 0.0, 0.1, 0.0, 1.0, 12, 0.5, 0.0, 0.0, 0.0, 0.4, 0.9, True, 0.1),
        start=tmp_path / "nets" / "start.json",
        start_share=0.75,
        normalisation="imagenet",
        luminance=True,
        dropout=0.25,
        evened=0.5,
        average=0.0,
        keep="best",
        precision="bf16",
        seed=4294967295,
        split=7,
        checkpoint=0.5,
        refit=RefitConfig(0.001, 0.5),
        chosen_on=("rafdb", "expw"),
        paper_name="Größe",
        licence="CC-BY",
        citation="none",
    )  # fmt: skip
    assert found.tasks == ("valence_arousal", "action_units")
    assert found.outputs == 14
    for kind in (TrainingConfig, LossConfig, OptimiserConfig, Augmentation, RefitConfig):
        for field in fields(kind):
            assert re.search(rf"^{field.name} = |^\[+{field.name.rstrip('s')}", LARGEST, re.MULTILINE), field.name


def test_sources_and_stages_have_both_spellings(tmp_path: Path) -> None:
    one = read(written(tmp_path, SMALLEST))
    other = written(tmp_path, SMALLEST.replace("[[source]]", "[[sources]]").replace("[[stage]]", "[[stages]]"))
    assert read(other) == one
    both = written(tmp_path, SMALLEST + '[[sources]]\nkind = "folder"\npath = "more"\n')
    with pytest.raises(UsageError, match=r"plan\.toml: it has both source and sources"):
        read(both)


def test_a_path_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = read(written(tmp_path, SMALLEST.replace('"faces"', '"~/faces"')))
    assert found.sources[0].path == tmp_path / "home" / "faces"


# --- what is refused --------------------------------------------------------------------------------------------

REFUSED = [
    # Unknown keys, with the keys that there are.
    (with_line("sise = 80"), "unknown key sise", "size"),
    (with_line("nmae = 'x'", "[[source]]"), "unknown key sources[0].nmae", "held_out"),
    (with_line("lr = 1", "[[stage]]"), "unknown key stages[0].lr", "rate"),
    (with_line("mimicry = 1", "[loss]"), "unknown key loss.mimicry", "valence_arousal"),
    (with_line("rho = 1", "[optimiser]"), "unknown key optimiser.rho", "sam"),
    (with_line("blur = 1", "[augmentation]"), "unknown key augmentation.blur", "erase"),
    # Wrong types.
    (with_line("size = '80'"), "size = '80'", "expected a whole number"),
    (with_line("size = 80.0"), "size = 80.0", "expected a whole number"),
    (with_line("size = true"), "size = True", "expected a whole number"),
    (with_line("dropout = true"), "dropout = True", "expected a number"),
    (with_line("dropout = 'much'"), "dropout = 'much'", "expected a number"),
    (with_line("luminance = 1"), "luminance = 1", "expected true or false"),
    (with_line("licence = 4"), "licence = 4", "expected text"),
    (with_line("start = 4"), "start = 4", "expected text"),
    (with_line("classes = 'fear'"), "classes = 'fear'", "expected a list"),
    (with_line("classes = ['fear', 1]"), "classes[1] = 1", "expected text"),
    (with_line("loss = 1"), "loss = 1", "expected a table"),
    (with_line("sources = 'wild'", "[[stage]]"), "stages[0].sources = 'wild'", "expected a list"),
    (with_line("weight = 'a'", "[[source]]"), "sources[0].weight = 'a'", "expected a number"),
    (SMALLEST.replace("[[source]]", "[source]"), "sources = ", "expected a list"),
    (SMALLEST.replace('[[source]]\nkind = "folder"\npath = "faces"', "source = [1]"), "sources[0] = 1", "a table"),
    # Unknown choices, with the choices.
    (with_line("normalisation = 'none'"), "normalisation = 'none'", "half, imagenet"),
    (with_line("keep = 'all'"), "keep = 'all'", "last, best"),
    (with_line("precision = 'fp8'"), "precision = 'fp8'", "fp32, bf16, fp16"),
    (with_line("targets = 'votes'", "[loss]"), "loss.targets = 'votes'", "shares, majority"),
    (with_line("kind = 'lion'", "[optimiser]"), "optimiser.kind = 'lion'", "adamw, adam, sgd"),
    (SMALLEST.replace('"folder"', '"zip"'), "sources[0].kind = 'zip'", "ferplus, folder, affwild2, packed"),
    (with_line("units = 'all'", "[[source]]"), "sources[0].units = 'all'", "labels, blendshapes"),
    (with_line("scope = 'tail'", "[[stage]]"), "stages[0].scope = 'tail'", "all, head, head and pooling"),
    # Missing.
    (SMALLEST.replace('name = "small"', ""), "name", "is missing"),
    (SMALLEST.replace('architecture = "ddamfn"', ""), "architecture", "is missing"),
    (SMALLEST.replace('kind = "folder"', ""), "sources[0].kind", "is missing"),
    (SMALLEST.replace('path = "faces"', ""), "sources[0].path", "is missing"),
    (SMALLEST.replace("epochs = 2", ""), "stages[0].epochs", "is missing"),
    (SMALLEST[: SMALLEST.index("[[stage]]")], "stages", "is missing"),
    (SMALLEST[: SMALLEST.index("[[source]]")] + "stages = []\nsources = []", "[[source]]", "at least one"),
    # Numbers out of range.
    (with_line("size = 0"), "size = 0", "above 0"),
    (with_line("checkpoint = -1"), "checkpoint = -1", "above 0"),
    (with_line("checkpoint = inf"), "checkpoint = inf", "above 0"),
    (with_line("dropout = 1"), "dropout = 1", "less than 1"),
    (with_line('chosen_on = ["web", "faces"]'), "chosen_on: 'faces' is also a source", "trained on"),
    (with_line("left_out = ['grim', 'fear']", "[[source]]"), "sources[0].left_out: 'fear'", "classes"),
    (with_line("left_out = ['grim']", "[[source]]").replace('"folder"', '"packed"'), "sources[0].left_out", "a folder"),
    (with_line("evened = 1.1"), "evened = 1.1", "from 0 to 1"),
    (with_line("average = -0.1"), "average = -0.1", "0 or more"),
    (with_line("average = nan"), "average = nan", "0 or more"),
    (with_line("start_share = 1"), "start_share = 1", "less than 1"),
    (with_line("seed = -1"), "seed = -1", "from 0 to 4294967295"),
    (with_line("split = -1"), "split = -1", "from 0 to 4294967295"),
    (with_line("seed = 4294967296"), "seed = 4294967296", "from 0 to 4294967295"),
    (with_line("smoothing = 1", "[loss]"), "loss.smoothing = 1", "less than 1"),
    (with_line("expression = -1", "[loss]"), "loss.expression = -1", "0 or more"),
    (with_line("attention = nan", "[loss]"), "loss.attention = nan", "0 or more"),
    (with_line("class_power = -1", "[loss]"), "loss.class_power = -1", "0 or more"),
    (with_line("sam = -1", "[optimiser]"), "optimiser.sam = -1", "0 or more"),
    (with_line("clip = inf", "[optimiser]"), "optimiser.clip = inf", "0 or more"),
    (with_line("weight_decay = -1", "[optimiser]"), "optimiser.weight_decay = -1", "0 or more"),
    (with_line("held_out = 1", "[[source]]"), "sources[0].held_out = 1", "less than 1"),
    (with_line("calibration = 1", "[[source]]"), "sources[0].calibration = 1", "less than 1"),
    (with_line("weight = -1", "[[source]]"), "sources[0].weight = -1", "0 or more"),
    (SMALLEST.replace("epochs = 2", "epochs = 0"), "stages[0].epochs = 0", "above 0"),
    (with_line("rate = 0", "[[stage]]"), "stages[0].rate = 0", "above 0"),
    (with_line("batch = 1", "[[stage]]"), "stages[0].batch = 1", "2 or more"),
    (with_line("balance = -1", "[[stage]]"), "stages[0].balance = -1", "0 or more"),
    (with_line("flip = 1.1", "[augmentation]"), "augmentation.flip = 1.1", "from 0 to 1"),
    (with_line("jpeg = nan", "[augmentation]"), "augmentation.jpeg = nan", "from 0 to 1"),
    (with_line("least = 0", "[augmentation]"), "augmentation.least = 0", "above 0"),
    (with_line("scale = -1", "[augmentation]"), "augmentation.scale = -1", "0 or more"),
    (with_line("rotation = inf", "[augmentation]"), "augmentation.rotation = inf", "0 or more"),
    # What makes no sense together.
    (SMALLEST + '[[source]]\nkind = "folder"\npath = "b"\n', "two sources are called 'folder'", "its own name"),
    (with_line("expression = 0\nvalence_arousal = 0\naction_units = 0", "[loss]"), "loss", "nothing to train"),
    (with_line("start_share = 0.5"), "start_share = 0.5", "no initial weights"),
    (with_line("sources = ['wild']", "[[stage]]"), "'wild', which is not a source", "folder"),
    (with_line("classes = ['fear', 'fear']"), "classes: 'fear' is listed twice", "sadness"),
    (with_line("classes = ['fear', 'joy']"), "classes: 'joy'", "not one of neutral"),
    (with_line("classes = ['fear']"), "classes = ['fear']", "at least two"),
    (SMALLEST.replace('"small"', '"a/b"'), "name = 'a/b'", "letters, digits"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "words"), REFUSED, ids=[key for _, key, _ in REFUSED])
def test_what_is_refused_names_the_file_and_the_key(tmp_path: Path, text: str, key: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: ")
    assert key in message and words in message
    assert "\n" not in message and ".:" not in message


def test_files_that_are_no_plan(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read(tmp_path / "none.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path)
    with pytest.raises(UsageError, match=r"plan\.toml: not TOML .*line 1"):
        read(written(tmp_path, "name = \n"))
    (tmp_path / "latin.toml").write_bytes('name = "Größe"'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"latin\.toml: not TOML"):
        read(tmp_path / "latin.toml")


def test_a_plan_made_in_python_is_checked_alike(tmp_path: Path) -> None:
    good = read(written(tmp_path, SMALLEST))
    check(good)
    with pytest.raises(UsageError, match="keep"):
        check(replace(good, keep="all"))


# --- when it is the same run ------------------------------------------------------------------------------------


def test_the_digest_does_not_change_when_files_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(written(tmp_path / "one", LARGEST)).digest()
    moved = (
        LARGEST.replace("../data/fer.npz", "/mnt/sets/fer.npz").replace("nets/start", "start").replace("/data", "/d")
    )
    assert moved != LARGEST
    assert read(written(tmp_path / "two" / "three", moved, "other.toml")).digest() == expected
    monkeypatch.chdir(tmp_path / "one")
    assert read(Path("plan.toml")).digest() == expected


def test_the_digest_does_not_depend_on_where_it_is_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "faces", SMALLEST.replace('"faces"', '"."'))
    expected = read(path).digest()
    monkeypatch.chdir(tmp_path / "faces")
    assert read(Path("plan.toml")).digest() == expected
    monkeypatch.chdir(tmp_path)
    assert read(Path("faces/plan.toml")).digest() == expected
    assert read(path).to_json()["sources"][0]["path"] == "faces"


def others(value: object) -> list[object]:
    """Values of the same type that differ from this one, in every part of it."""
    if is_dataclass(value) and not isinstance(value, type):
        return [replace(value, **{f.name: x}) for f in fields(value) for x in others(getattr(value, f.name))]
    if isinstance(value, tuple) and value and is_dataclass(value[0]):
        changed = [(*value[:k], x, *value[k + 1 :]) for k in range(len(value)) for x in others(value[k])]
        return [*changed, value[::-1], value[:1]]
    if isinstance(value, tuple):
        return [(*value, "x")]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    if isinstance(value, str):
        return [f"{value}x"]
    assert isinstance(value, Path)
    return [value.with_name(f"other-{value.name}")]


def test_the_digest_changes_with_everything_that_changes_the_result(tmp_path: Path) -> None:
    plan = read(written(tmp_path, LARGEST))
    digests = [plan.digest()]
    for field in fields(TrainingConfig):
        value = getattr(plan, field.name)
        for other in others(value):
            change: dict[str, Any] = {field.name: other}
            digest = replace(plan, **change).digest()
            if field.name == "checkpoint":
                assert digest == digests[0]
            else:
                assert digest not in digests, (field.name, other)
                digests.append(digest)
    assert len(digests) > 50


def test_a_later_key_that_is_not_used_leaves_the_digest_as_it_was(tmp_path: Path) -> None:
    """Runs that were begun with an earlier version go on; the digest is that of the version without left_out."""
    plan = read(written(tmp_path, SMALLEST))
    assert plan.digest() == "c2c4abc4807d6bec936237dff1a8fb64b232e2ea7e8ae87faad1cec351e6dc64"
    assert replace(plan, sources=(replace(plan.sources[0], left_out=("x",)),)).digest() != plan.digest()


def test_plain_data_names_no_folder(tmp_path: Path) -> None:
    assert str(tmp_path) not in str(read(written(tmp_path, LARGEST)).to_json())


# --- messages about the fields ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        DatasetSource,
        StageConfig,
        LossConfig,
        OptimiserConfig,
        TrainingConfig,
        Augmentation,
        Augmenter,
        Dataset,
        EvaluationFigures,
    ],
)
def test_every_field_is_described_and_no_other(kind: type) -> None:
    text = (kind.__doc__ or "").split("Attributes:")[1]
    described = re.findall(r"^        (\w+(?:, \w+)*):", text, re.MULTILINE)
    names = [name for line in described for name in line.split(", ")]
    assert sorted(names) == sorted(field.name for field in fields(kind))


@pytest.mark.parametrize(
    ("kind", "name", "choices"),
    [
        (DatasetSource, "kind", module.KINDS),
        (DatasetSource, "units", module.UNITS),
        (StageConfig, "scope", module.SCOPES),
        (LossConfig, "targets", module.TARGETS),
        (OptimiserConfig, "kind", module.OPTIMISERS),
        (TrainingConfig, "normalisation", tuple(module.NORMALISATIONS)),
        (TrainingConfig, "keep", module.KEPT),
    ],
)
def test_every_choice_is_described(kind: type, name: str, choices: tuple[str, ...]) -> None:
    text = re.search(rf"^        {name}:((?:.|\n            )*)", kind.__doc__ or "", re.MULTILINE)
    assert text is not None
    assert set(re.findall(r'"([^"]+)"', text[1])) == set(choices)
    default = next(field.default for field in fields(kind) if field.name == name)
    assert default is MISSING or default in choices
