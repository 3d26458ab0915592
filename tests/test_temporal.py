"""Temporal heads: what only the order of frames shows is learned, and any chunking gives the same scores."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs torch")

import onnxruntime

from hsemotion_cli.cli import app
from hsemotion_cli.domain import Face, Reading, Scores
from hsemotion_cli.errors import InputError, ModelUnavailable
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations
from hsemotion_cli.formats import features
from hsemotion_cli.models import heads, registry, temporal_stream
from hsemotion_cli.models.heads import Base, Head
from hsemotion_cli.models.temporal import MODES, TemporalPart, TemporalState, run
from hsemotion_cli.tasks import FROZEN, VALENCE_AROUSAL
from hsemotion_cli.training import features as matching
from hsemotion_cli.training import sequences
from hsemotion_cli.training import temporal_trainer as training

SIZE = 6
BASE = Base("mp-blendshapes", registry.card("mp-blendshapes").sha256, None, SIZE, 0)


def run_it(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def random_part(mode: str, seed: int = 0, size: int = SIZE, task: str = "valence_arousal") -> TemporalPart:
    random = np.random.default_rng(seed)
    classes, activation = (VALENCE_AROUSAL, "tanh") if task == "valence_arousal" else (AFFWILD2_EXPRESSIONS, "softmax")

    def layer(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        # Numbers that float32 holds, as in a file.
        draw = [random.normal(0, 0.4, shape), random.normal(0, 0.4, shape[0])]
        weight, bias = (values.astype(np.float32).astype(np.float64) for values in draw)
        return weight, bias

    mean, scale = random.normal(0, 1, size).astype(np.float32), random.uniform(0.5, 2, size).astype(np.float32)
    blocks = (layer(5, 5, 3), layer(5, 5, 3), layer(5, 5, 3))
    return TemporalPart(
        "features", activation, classes, mode, (1, 2, 3), mean.astype(np.float64), scale.astype(np.float64),
        layer(5, size + 1), blocks, layer(len(classes), 5),
    )  # fmt: skip


def random_head(mode: str, size: int = SIZE, seed: int = 0) -> Head:
    parts = {task: random_part(mode, seed + k, size, task) for k, task in enumerate(("expression", "valence_arousal"))}
    return Head("h", "", "unitask", replace(BASE, embedding_size=size), parts, {"rate": 12.0})


def by_torch(part: TemporalPart, values: np.ndarray) -> np.ndarray:
    """(n, c) with rows of nan where there is no face -> (n, out) logits, by torch's convolutions."""
    seen = ~np.isnan(values).any(axis=1)
    steps = np.where(seen[:, None], (values - part.mean) / part.scale, 0)
    steps = np.column_stack([steps, seen])
    before, after = (2 * sum(part.dilations), 0) if part.mode == "causal" else (sum(part.dilations),) * 2
    h = torch.tensor(np.pad(steps, ((before, after), (0, 0))).T[None])
    h = torch.nn.functional.conv1d(h, torch.tensor(part.first[0])[:, :, None], torch.tensor(part.first[1])).relu()
    for (weight, bias), dilation in zip(part.blocks, part.dilations, strict=True):
        z = torch.nn.functional.conv1d(h, torch.tensor(weight), torch.tensor(bias), dilation=dilation).relu()
        length = z.shape[2]
        start = 2 * dilation if part.mode == "causal" else dilation
        h = h[:, :, start : start + length] + z
    return (part.last[0] @ h[0].numpy()).T + part.last[1]


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_of_steps_is_torchs_convolution(mode: str) -> None:
    part, random = random_part(mode), np.random.default_rng(1)
    values = random.normal(0, 1, (40, SIZE))
    values[random.random(40) < 0.3] = np.nan
    steps = [None if np.isnan(row).any() else row for row in values]
    np.testing.assert_allclose(np.array(list(run(part, steps))), by_torch(part, values), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
def test_a_face_that_was_away_long_enough_is_a_new_one_to_the_last_bit(mode: str) -> None:
    part, random = random_part(mode), np.random.default_rng(2)
    old, new = TemporalState(part), TemporalState(part)
    for row in random.normal(0, 1, (9, SIZE)):
        old.step(row)
    for _ in range(part.memory - 1):
        old.step(None)
    assert not np.array_equal(replay(old, 30), replay(new, 30)), "one step less is not enough"
    old, new = TemporalState(part), TemporalState(part)
    old.step(random.normal(0, 1, SIZE))
    for _ in range(part.memory):
        old.step(None)
    np.testing.assert_array_equal(replay(old, 30), replay(new, 30))


def replay(state: TemporalState, steps: int) -> np.ndarray:
    return np.array([state.step(row) for row in np.random.default_rng(3).normal(0, 1, (steps, SIZE))])


def clip(frames: int, seed: int) -> list[Reading]:
    """Up to three people who come and go, in a random order, and faces that the model could not read."""
    random = np.random.default_rng(seed)
    readings = []
    for k in range(frames):
        there = [track for track in range(3) if random.random() < 0.7 and not (track == 1 and 15 < k < 40)]
        random.shuffle(there)
        values = random.normal(0, 1, (len(there), SIZE)).astype(np.float32)
        values[random.random(len(there)) < 0.1] = np.nan
        own = np.full((len(there), 9), 1 / 9, np.float32)
        faces = tuple(Face((0, 0, 9, 9), 1.0, track=track) for track in there)
        readings.append(Reading(k, k / 12, faces, {BASE.model: Scores({"expression": own}, values)}))
    return readings


def expected(readings: list[Reading], head: Head) -> dict[tuple[int, int | None, str], np.ndarray]:
    """(frame, track, task) -> scores, from each person's whole sequence."""
    found: dict[tuple[int, int | None, str], np.ndarray] = {}
    for track in range(3):
        rows = np.full((len(readings), SIZE), np.nan, np.float32)
        for k, reading in enumerate(readings):
            for face, values in zip(reading.faces, reading.scores[BASE.model].embeddings, strict=True):  # type: ignore[arg-type]
                if face.track == track:
                    rows[k] = values
        for task, scores in head.sequence(rows, None).items():
            found.update({(k, track, task): row for k, row in enumerate(scores)})
    return found


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(MODES), st.integers(0, 60), st.integers(0, 10**6))
def test_streaming_gives_what_the_whole_sequences_give_to_the_last_bit(mode: str, frames: int, seed: int) -> None:
    head, readings = random_head(mode), clip(frames, seed)
    wanted = expected(readings, head)
    done = list(temporal_stream.stream(iter(readings), {BASE.model: head}))
    assert [reading.index for reading in done] == list(range(frames))
    for before, after in zip(readings, done, strict=True):
        tasks = after.scores[BASE.model].tasks
        np.testing.assert_array_equal(tasks[FROZEN], before.scores[BASE.model].tasks["expression"])
        for row, face in enumerate(after.faces):
            for task in head.parts:
                np.testing.assert_array_equal(tasks[task][row], wanted[before.index, face.track, task])


@pytest.mark.parametrize("mode", MODES)
def test_a_reading_is_ready_after_the_stated_delay_and_nothing_else_is_kept(mode: str) -> None:
    """A thousand people pass by, each for one frame: memory must hold only those of the last ``memory`` frames."""
    head = random_head(mode)
    taken = 0

    def source() -> Iterator[Reading]:
        nonlocal taken
        for k in range(1000):
            taken += 1
            values = np.random.default_rng(k).normal(0, 1, (1, SIZE)).astype(np.float32)
            yield Reading(k, k / 12, (Face((0, 0, 9, 9), 1.0, track=k),), {BASE.model: Scores({}, values)})

    found = temporal_stream.stream(source(), {BASE.model: head})
    for k, reading in enumerate(found):
        assert reading.index == k
        assert taken <= min(k + 1 + head.delay, 1000)
        if k == 900:  # the variables of the generator that works
            inner = inspect.getgeneratorlocals(found.gi_yieldfrom)  # type: ignore[attr-defined]
            assert len(inner["tracks"]) <= part_memory(head) + 1 and len(inner["waiting"]) <= head.delay
    assert head.delay == (0 if mode == "causal" else 6)


def part_memory(head: Head) -> int:
    return max(part.memory for part in head.temporal_parts.values())


def test_a_causal_head_sees_no_future_and_a_centred_one_its_stated_part() -> None:
    values = np.random.default_rng(4).normal(0, 1, (60, SIZE)).astype(np.float32)
    for mode in MODES:
        head = random_head(mode)
        changed = values.copy()
        changed[40] += 5
        before, after = (head.sequence(rows, None)["valence_arousal"] for rows in (values, changed))
        other = np.flatnonzero((before != after).any(axis=1))
        assert other.min() == 40 - head.delay and other.max() <= 40 + part_memory(head) - head.delay


@pytest.mark.parametrize("mode", MODES)
def test_a_head_survives_its_file(mode: str, tmp_path: Path) -> None:
    head = random_head(mode)
    heads.write(head, tmp_path / "h.safetensors", "a page")
    again = heads.read(tmp_path / "h.safetensors")
    values = np.random.default_rng(5).normal(0, 1, (30, SIZE))
    for task, scores in head.sequence(values, None).items():
        np.testing.assert_array_equal(again.sequence(values, None)[task], scores)
    assert (again.temporal, again.delay) == (mode, head.delay)
    assert again.provenance["temporal"] == mode
    with pytest.raises(ValueError, match="needs the frames in order"):
        again(values, None)


@pytest.mark.parametrize("change", ["dilations", "temporal", "scale", "width"])
def test_a_damaged_file_is_refused(change: str, tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    path = tmp_path / "h.safetensors"
    heads.write(random_head("causal"), path, "a page")
    data = path.read_bytes()
    tensors = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["hsemotion"]
    content = json.loads(header)
    entry = content["head"]["parts"]["expression"]
    if change == "dilations":
        entry["dilations"] = [1, 2, 10**9]
    elif change == "temporal":
        entry["temporal"] = "backwards"
    elif change == "scale":
        tensors["expression.scale"] = np.zeros(SIZE, np.float32)
    else:
        tensors["expression.mean"] = np.zeros(SIZE + 1, np.float32)
    path.write_bytes(save(tensors, {"hsemotion": json.dumps(content)}))
    with pytest.raises(ModelUnavailable, match="not a head"):
        heads.read(path)


# --- training -----------------------------------------------------------------------------------------------------


def dynamic(folder: Path, videos: int, frames: int, seed: int) -> dict[str, Annotations]:
    """Features that turn around a circle, and labels of the direction: one frame by itself says nothing about it.

    A sixth of the frames has no face, and a sixth no label.
    """
    random = np.random.default_rng(seed)
    found = {}
    for k in range(videos):
        direction = np.repeat(random.integers(0, 2, frames // 30 + 1), 30)[:frames]
        angle = np.cumsum(0.5 * (2 * direction - 1)) + random.uniform(0, 2 * np.pi)
        values = np.column_stack([np.cos(angle), np.sin(angle), random.normal(0, 1, (frames, SIZE - 2))])
        values[:, :2] += random.normal(0, 0.05, (frames, 2))
        seen = np.flatnonzero(random.random(frames) > 1 / 6)
        name = f"v{seed}{k}"
        readings = [
            Reading(int(i), i / 25, (Face((0, 0, 9, 9), 1.0, track=0),),
                    {BASE.model: Scores({}, values[i : i + 1].astype(np.float32))})
            for i in seen
        ]  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"source": {"kind": "video"}, "weights": {"sha256": BASE.sha256}, "crop": None}
        with (folder / f"{name}{matching.SUFFIX}").open("wb") as file:
            features.write(readings, BASE.model, "float32", facts, file)
        expression = np.where(direction == 1, 4, 5)  # happiness, sadness
        expression = np.where(random.random(frames) < 1 / 6, -1, expression)
        units = np.full((frames, 12), np.nan, np.float32)
        units[:, :] = direction[:, None]
        affect = np.full((frames, 2), np.nan, np.float32)
        found[name] = Annotations(name, np.arange(1, frames + 1), expression, affect, units)
    return found


def as_list(path: Path, truth: dict[str, Annotations]) -> Path:
    rows = ["image,valence,arousal,expression,aus"]
    for name, one in truth.items():
        for k, number in enumerate(one.frames):
            units = ",".join(str(int(unit)) for unit in one.action_units[k])
            rows.append(f"{name}/{number:05d}.jpg,-5,-5,{one.expression[k]},{units}")
    path.write_text("\n".join([*rows, ""]))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dynamic")
    as_list(folder / "train.txt", dynamic(folder / "features", 6, 300, 1))
    as_list(folder / "val.txt", dynamic(folder / "features", 3, 300, 2))
    return folder


@pytest.fixture(scope="module")
def trained(data: Path) -> dict[str, Head]:
    found = {}
    for name, options in {
        "static": ["--epochs", "10"],
        "causal": ["--temporal", "causal", "--epochs", "12"],
        "centred": ["--temporal", "centred", "--epochs", "12"],
    }.items():
        given = ["--truth", data / "train.txt", "--val-truth", data / "val.txt", "--rate", "0.005", "-q"]
        tasks = ["--tasks", "expression,action_units", *options]
        run_it("train", "heads", data / "features", "-o", data / f"{name}.safetensors", *given, *tasks)
        found[name] = heads.read(data / f"{name}.safetensors")
    return found


def test_what_only_the_order_of_frames_shows_is_learned_by_temporal_heads_alone(trained: dict[str, Head]) -> None:
    accuracy = {name: head.facts["validation"]["expression"]["accuracy"] for name, head in trained.items()}
    assert accuracy["static"] < 0.65, accuracy
    assert accuracy["causal"] > 0.85, accuracy
    assert accuracy["centred"] > 0.93, accuracy
    assert trained["causal"].facts["rate"] == 25.0
    assert trained["causal"].facts["plan"]["temporal"] == "causal"


@pytest.mark.parametrize("mode", MODES)
def test_what_was_trained_is_what_is_applied(mode: str, data: Path, trained: dict[str, Head]) -> None:
    """Accuracy of the written head on the validation videos, frame by frame in numpy, is the one in its page."""
    head, right, count = trained[mode], 0, 0
    _, found = sequences.gather(matching.find_files([data / "features"]), {"validation": reread(data / "val.txt")})
    rows = found["validation"].rows
    for place in found["validation"].places:
        values = np.where((place >= 0)[:, None], rows.embeddings[np.maximum(place, 0)], np.nan)
        scores = head.sequence(values, None)["expression"]
        known = (place >= 0) & (rows.expression[np.maximum(place, 0)] >= 0)
        labels = rows.expression[place[known]]
        columns = [list(heads.TASKS["expression"]).index(name) for name in AFFWILD2_EXPRESSIONS]
        right += int((scores[known][:, columns].argmax(axis=1) == labels).sum())
        count += len(labels)
    assert right / count == pytest.approx(head.facts["validation"]["expression"]["accuracy"], abs=1e-9)


def reread(path: Path) -> dict[str, Annotations]:
    from hsemotion_cli.evaluation.ground_truth import read_mtl

    return dict(read_mtl(path))


@pytest.mark.parametrize("mode", MODES)
def test_the_graph_gives_the_same_scores(mode: str, data: Path, trained: dict[str, Head]) -> None:
    head = trained[mode]
    values = np.random.default_rng(6).normal(0, 1, (50, SIZE)).astype(np.float32)
    values[20:25] = np.nan
    before, after = training.around(mode)
    seen = np.pad((~np.isnan(values).any(axis=1)).astype(np.float32), (before, after))
    padded = np.pad(np.nan_to_num(values), ((before, after), (0, 0)))
    session = onnxruntime.InferenceSession(str(data / f"{mode}.onnx"))
    given = {"embeddings": padded[None], "outputs": np.zeros((1, len(padded), 0), np.float32), "seen": seen[None]}
    names = [each.name for each in session.get_inputs()]
    found = dict(zip(head.parts, session.run(None, {name: given[name] for name in names}), strict=True))
    for task, scores in head.sequence(values, None).items():
        own = scores[:, ~np.isnan(scores[0])]
        there = seen[before : before + 50] > 0
        np.testing.assert_allclose(found[task][0][there], own[there], atol=2e-5)


def test_the_same_seed_gives_the_same_head(data: Path, trained: dict[str, Head], tmp_path: Path) -> None:
    given = ["--truth", data / "train.txt", "--val-truth", data / "val.txt", "--rate", "0.005", "-q"]
    options = ["--tasks", "expression", "--temporal", "causal", "--epochs", "2"]
    for name in ("a", "b"):
        run_it("train", "heads", data / "features", "-o", tmp_path / f"{name}.safetensors", *given, *options)
    one, two = (heads.read(tmp_path / f"{name}.safetensors").temporal_parts["expression"] for name in ("a", "b"))
    np.testing.assert_array_equal(one.first[0], two.first[0])
    np.testing.assert_array_equal(one.last[0], two.last[0])


def test_each_face_id_is_a_sequence_and_steps_are_analysed_frames(tmp_path: Path) -> None:
    """Every third frame was analysed; the first person is away for two of them, and another one takes over."""
    faces = {0: 0, 3: 0, 12: 0, 15: 1, 18: 1}
    readings = [
        Reading(k, k / 30, (Face((0, 0, 9, 9), 1.0, track=track),),
                {BASE.model: Scores({}, np.full((1, SIZE), k, np.float32))})
        for k, track in faces.items()
    ]  # fmt: skip
    facts = {"source": {"kind": "video"}, "weights": {"sha256": BASE.sha256}}
    with (tmp_path / f"a{matching.SUFFIX}").open("wb") as file:
        features.write(readings, BASE.model, "float32", facts, file)
    truth = Annotations("a", np.array([1, 16]), np.array([2, 3]), np.full((2, 2), np.nan), np.full((2, 12), np.nan))
    _, found = sequences.gather(matching.find_files([tmp_path]), {"train": {"a": truth}})
    one = found["train"]
    assert [place.tolist() for place in one.places] == [[0, 1, -1, -1, 2], [3, 4]]
    assert one.rows.expression.tolist() == [2, -1, -1, 3, -1] and one.rate == 10.0
    other = Annotations("a", np.array([2]), np.array([2]), np.full((1, 2), np.nan), np.full((1, 12), np.nan))
    with pytest.raises(InputError, match="no row of the features"):
        sequences.gather(matching.find_files([tmp_path]), {"train": {"a": other}})


# --- annotating -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_annotating_with_a_temporal_head(mode: str, smile: Path, tmp_path: Path) -> None:
    head = random_head(mode, size=52)
    heads.write(head, tmp_path / "h.safetensors", "a page")
    run_it("extract", smile, "--model", "mp-blendshapes", "-o", tmp_path / "features", "-q")
    columns, _ = features.read(tmp_path / "features" / "smile.features.parquet")
    values = np.full((12, 52), np.nan)
    values[columns["frame"]] = columns["embedding"]
    wanted = heads.read(tmp_path / "h.safetensors").sequence(values, None)
    for batch in (1, 5):
        out = tmp_path / f"b{batch}"
        options = ["--batch-size", batch, "-q"]
        run_it("annotate", smile, "-o", out, "--head", tmp_path / "h.safetensors", *options)
        table = pd.read_csv(out / "smile.csv")
        np.testing.assert_allclose(table["valence"], wanted["valence_arousal"][table["frame"], 0], atol=1e-6)
        np.testing.assert_allclose(table["p_other"], wanted["expression"][table["frame"], 8], atol=1e-6)
    assert (tmp_path / "b1" / "smile.csv").read_bytes() == (tmp_path / "b5" / "smile.csv").read_bytes()
    told = json.loads((tmp_path / "b1" / "smile.json").read_text())
    assert told["models"][0]["head"]["look_ahead_frames"] == head.delay
    assert any("learned from 12 frames per second" in note for note in told["source"]["notes"])


def test_what_a_temporal_head_cannot_do_is_reported_before_the_first_frame(smile: Path, tmp_path: Path) -> None:
    heads.write(random_head("causal", size=52), tmp_path / "h.safetensors", "a page")
    given = ["annotate", smile, "-o", tmp_path / "out", "--head", tmp_path / "h.safetensors"]
    assert "--stride 2: a temporal head needs every frame" in run_it(*given, "--stride", 2, code=2)
    assert not (tmp_path / "out").exists()
