"""Joint heads on faces and sound: what only both together show is learned, and recordings without sound get rows."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("transformers", reason="sound needs transformers")

import known
from test_audio import RATE, SIZE, encoded, extract, make_talk, speech, tiny, tone

from hsemotion_cli.cli import app
from hsemotion_cli.errors import InputError, ModelUnavailable, UsageError
from hsemotion_cli.evaluation.ground_truth import AFFWILD2_EXPRESSIONS, Annotations
from hsemotion_cli.formats import features, raw_scores, sidecar
from hsemotion_cli.formats.table import load
from hsemotion_cli.models import audio, heads, registry
from hsemotion_cli.models.heads import Base, Head, Part, SoundBase
from hsemotion_cli.tasks import EXPRESSIONS, FROZEN, TASKS
from hsemotion_cli.training import features as matching
from hsemotion_cli.training import head_trainer, joint_features, joint_trainer

FACE, STATE = 6, 5
FPS = 25.0
MP = registry.card("mp-blendshapes")


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_talk(tmp_path_factory.mktemp("joint") / "talk.mkv")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny") / "net")


def run_it(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


# --- training -----------------------------------------------------------------------------------------------------


def plant(
    folder: Path, videos: Sequence[str], frames: int, seed: int, *, silent: Sequence[str] = (), kind: str = "video"
) -> dict[str, np.ndarray]:
    """Faces and sound whose first numbers are signs that change every half second, each by itself by chance.

    The label is neutral where both signs agree, else anger: neither alone says anything about it. The numbers of the
    two networks have other means and spreads. Returns video -> labels.
    """
    random = np.random.default_rng(seed)
    labels = {}
    for video in videos:
        runs = frames // 12 + 1
        seen, heard = (np.repeat(random.choice([-1, 1], runs), 12)[:frames] for _ in range(2))
        labels[video] = (seen != heard).astype(np.int64)
        values = random.normal(0, 0.3, (frames, FACE))
        values[:, 0] += seen
        time = np.arange(frames) / FPS
        keys = np.column_stack([np.arange(frames) + (kind != "video"), time, np.zeros(frames)])
        facts: dict[str, Any] = {"model": MP.name, "source": {"kind": kind}, "weights": {"sha256": "a"}, "crop": None}
        (folder / "faces").mkdir(parents=True, exist_ok=True)
        with (folder / "faces" / f"{video}.features.parquet").open("wb") as file:
            features._write(iter([(keys, 40 + 10 * values, None)]), MP.name, "float32", facts, file)
        if video in silent:
            continue
        moments = 0.0125 + 0.02 * np.arange(round(frames / FPS * 50))
        frame = np.clip(np.rint(moments * FPS).astype(int), 0, frames - 1)
        states = random.normal(0, 0.3, (len(moments), STATE))
        states[:, 0] += heard[frame]
        (folder / "sound").mkdir(parents=True, exist_ok=True)
        facts = {"weights": {"sha256": "b"}, "video": {"fps": FPS, "start": 0.0}}
        with (folder / "sound" / f"{video}.features.parquet").open("wb") as file:
            features.write_audio(iter([(moments, 0.05 * states - 0.2)]), "wavlm", "float16", facts, file)
    lines = [f"{v}/{k + 1:05d}.jpg,-5,-5,{e},{','.join(['-1'] * 12)}" for v, own in labels.items() for k, e in enumerate(own)]  # noqa: E501  # fmt: skip
    (folder / "truth.txt").write_text("\n".join(["image,valence,arousal,expression,aus", *lines, ""]))
    return labels


OPTIONS = ("--tasks", "expression", "--epochs", 12, "--batch", 64, "--rate", 5e-3, "-q")


@pytest.mark.parametrize("kind", ["video", "images"])
def test_a_joint_head_learns_what_late_fusion_cannot(kind: str, tmp_path: Path) -> None:
    train, held = [f"t{k}" for k in range(8)], [f"v{k}" for k in range(4)]
    plant(tmp_path / "train", train, 240, 1, silent=train[:1], kind=kind)
    labels = plant(tmp_path / "held", held, 240, 2, silent=held[:1], kind=kind)
    common = ("--truth", tmp_path / "train" / "truth.txt", "--val-truth", tmp_path / "held" / "truth.txt", *OPTIONS)
    faces = (tmp_path / "train" / "faces", tmp_path / "held" / "faces")
    sounds = (tmp_path / "train" / "sound", tmp_path / "held" / "sound")
    run_it(
        *("train", "heads", *faces, *common, "-o", tmp_path / "joint.safetensors"),
        *(x for place in sounds for x in ("--sound", place)),
    )
    run_it("train", "heads", *faces, *common, "-o", tmp_path / "eye.safetensors")
    run_it("train", "heads", *sounds, *common, "-o", tmp_path / "ear.safetensors")
    joint, eye, ear = (heads.read(tmp_path / f"{name}.safetensors") for name in ("joint", "eye", "ear"))
    assert joint.base == Base(MP.name, "a", None, FACE, 0, SoundBase("wavlm", "b", STATE))
    assert joint.facts["heard"] == {"train": 7 * 240, "validation": 3 * 240}
    assert joint.provenance["sound"] == {"model": "wavlm", "sha256": "b", "size": STATE}
    page = (tmp_path / "joint.md").read_text()
    assert "hidden states of `wavlm`" in page and "train 1,680, validation 720" in page
    columns = [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]
    right: dict[str, list[bool]] = {"joint": [], "eye": [], "ear": [], "silent": []}
    fused: dict[float, list[bool]] = {weight: [] for weight in np.linspace(0, 1, 11)}
    for video in held:
        seen, _ = features.read(tmp_path / "held" / "faces" / f"{video}.features.parquet")
        if video == held[0]:
            silence = np.full((240, STATE), np.nan)
            found = joint(seen["embedding"], None, silence)["expression"][:, columns]
            np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
            continue
        heard, _ = features.read(tmp_path / "held" / "sound" / f"{video}.features.parquet")
        nearest = np.abs(heard["time"][:, None] - np.arange(240) / FPS).argmin(axis=0)
        state = heard["embedding"][nearest]
        by = {
            "joint": joint(seen["embedding"], None, state)["expression"][:, columns],
            "eye": eye(seen["embedding"], None)["expression"][:, columns],
            "ear": ear(state, None)["expression"][:, columns],
        }
        for name, scores in by.items():
            right[name] += (scores.argmax(axis=1) == labels[video]).tolist()
        for weight in fused:
            both = weight * by["eye"] + (1 - weight) * by["ear"]
            fused[weight] += (both.argmax(axis=1) == labels[video]).tolist()
    assert np.mean(right["joint"]) > 0.9
    assert max(np.mean(right["eye"]), np.mean(right["ear"]), *map(np.mean, fused.values())) < 0.62
    # What the trainer measured, over the heard rows and the silent ones, is what the written layers give.
    accuracy = joint.facts["validation"]["expression"]["accuracy"]
    assert 0.75 * np.mean(right["joint"]) + 0.25 * 0.3 < accuracy < 0.75 * np.mean(right["joint"]) + 0.25 * 0.7


def labelled(video: str, frames: int) -> Annotations:
    nothing = np.full((frames, 2), np.nan, np.float32), np.full((frames, 12), np.nan, np.float32)
    return Annotations(video, np.arange(1, frames + 1), np.zeros(frames, np.int64), *nothing)


def test_frames_get_the_state_of_their_moment(tmp_path: Path) -> None:
    """Times of a video count, not numbers of frames: here every frame lasts 0.1 s, and sound begins at 1 s."""
    keys = np.column_stack([np.arange(30), 0.5 + np.arange(30) / 10, np.zeros(30)])
    facts = {"model": MP.name, "source": {"kind": "video"}, "weights": {}, "crop": None}
    (tmp_path / "f").mkdir()
    (tmp_path / "s").mkdir()
    with (tmp_path / "f" / "a.features.parquet").open("wb") as file:
        features._write(iter([(keys, np.ones((30, 3)), None)]), MP.name, "float32", facts, file)
    moments = 1 + 0.0125 + 0.02 * np.arange(50)
    with (tmp_path / "s" / "a.features.parquet").open("wb") as file:
        features.write_audio(iter([(moments, np.column_stack([moments, moments]))]), "wavlm", "float32", {}, file)
    files, sounds = (matching.find_files([tmp_path / name]) for name in "fs")
    truths = {"train": {"a": labelled("a", 30)}}
    for limit in (1 << 30, 0):
        base, parts = joint_features.gather(files, sounds, truths, in_memory=limit)
        rows = parts["train"]
        assert base.sound == SoundBase("wavlm", None, 2)
        sound = rows.sound[np.arange(30)]
        for k, time in enumerate(keys[:, 1]):
            distance = np.abs(moments - time)
            assert rows.heard[k] == (distance.min() <= 0.05)
            np.testing.assert_allclose(sound[k], moments[distance.argmin()] if rows.heard[k] else 0, atol=1e-6)
    assert rows.heard.sum() == 11


def test_layers_for_standardised_inputs_are_the_same_for_plain_ones() -> None:
    random = np.random.default_rng(0)
    values = (random.normal(50, 20, (200, 4)).astype(np.float32), random.normal(-3, 0.01, (200, 3)).astype(np.float32))
    heard = (random.random((200, 1)) < 0.6).astype(np.float32)
    data = joint_trainer.JointExamples(
        (values[0], values[1] * heard, heard), np.arange(200), np.zeros(200, np.int64), 1, 3
    )
    scale = joint_trainer._scale_of(data)
    np.testing.assert_allclose(scale.mean[:4], values[0].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale.mean[4:7], values[1][heard[:, 0] > 0].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scale.deviation[4:7], values[1][heard[:, 0] > 0].std(axis=0), rtol=1e-2)
    scaled = replace(data, scale=scale).inputs(slice(None)).numpy().astype(np.float64)
    assert (scaled[heard[:, 0] == 0, 4:] == 0).all() and (scaled[:, 7] == heard[:, 0]).all()
    np.testing.assert_allclose(scaled[:, :4].std(axis=0), 1, atol=1e-3)
    layer = random.normal(0, 1, (6, 8)), random.normal(0, 1, 6)
    part = Part("features", "softmax", AFFWILD2_EXPRESSIONS[:6], (layer,))
    plain = data.inputs(slice(None)).numpy().astype(np.float64)
    folded = np.array([scale.folded(part).logits(row) for row in plain])
    np.testing.assert_allclose(folded, scaled @ layer[0].T + layer[1], atol=2e-3)


def test_features_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    plant(tmp_path, ["a", "b"], 24, 3)
    truth, out = tmp_path / "truth.txt", tmp_path / "h.safetensors"

    def refused(code: int, faces: Path, sound: Path, *more: object) -> str:
        common = ("--truth", truth, "--val-share", 0, "--tasks", "expression", "-o", out, *more)
        return run_it("train", "heads", faces, "--sound", sound, *common, code=code)

    faces, sound = tmp_path / "faces", tmp_path / "sound"
    assert "give them with --sound" in refused(4, sound, sound)
    assert "extract --audio writes" in refused(4, faces, faces)
    assert "cannot be combined with --temporal" in refused(2, faces, sound, "--temporal", "causal")
    with (sound / "b.features.parquet").open("wb") as file:
        features.write_audio(iter([(np.arange(9) / 9, np.ones((9, STATE)))]), "wav2vec2", "float16", {}, file)
    assert "extract all with the same weights" in refused(4, faces, sound)
    for name in "ab":
        (sound / f"{name}.features.parquet").rename(sound / f"other{name}.features.parquet")
    assert "none of the train rows has sound" in refused(4, faces, sound)
    assert "cannot be combined with --kind emi" in run_it(
        *("train", "heads", faces, "--sound", sound, "--truth", truth, "--kind", "emi", "-o", out), code=2
    )


def test_training_is_the_same_from_memory_and_from_a_file(tmp_path: Path) -> None:
    plant(tmp_path, ["a", "b", "c"], 60, 4, silent=["a"])
    files, sounds = (matching.find_files([tmp_path / name]) for name in ("faces", "sound"))
    truths = {"train": {video: labelled(video, 60) for video in "abc"}}
    config = {"expression": replace(joint_trainer.joint_config(head_trainer.HEAD_CONFIGS["unitask"]["expression"]))}
    found = []
    for limit in (1 << 30, 0):
        base, rows = joint_features.gather(files, sounds, truths, in_memory=limit)
        parts, facts = head_trainer.train("unitask", base, rows, config, 0, lambda *_: None, joint_trainer.JOINT)
        found.append((parts["expression"].layers[0][0], facts["plan_sha256"]))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


# --- annotate -----------------------------------------------------------------------------------------------------


def random_head(path: Path, net: Path, size: int, seed: int = 0, **sound: object) -> Head:
    """A joint head on the default landmarks model and a network for sound that says something else of every input."""
    random = np.random.default_rng(seed)
    own = SoundBase("wav2vec2", sidecar.file_hash(net / "model.safetensors"), SIZE)
    base = Base(MP.name, MP.sha256, None, size, 0, replace(own, **sound))  # type: ignore[arg-type]
    parts = {}
    for task, names, activation in (
        ("expression", AFFWILD2_EXPRESSIONS, "softmax"), ("valence_arousal", TASKS["valence_arousal"], "tanh")
    ):  # fmt: skip
        first = random.normal(0, 0.5, (7, size + SIZE + 1)), random.normal(0, 1, 7)
        parts[task] = Part("features", activation, names, (first, (random.normal(0, 1, (len(names), 7)), np.zeros(len(names)))))  # noqa: E501  # fmt: skip
    heads.write(Head("h", "", "unitask", base, parts, {}), path, "a page")
    return heads.read(path)


def by_hand(head: Head, task: str, rows: np.ndarray) -> np.ndarray:
    (first, bias), (last, end) = head.parts[task].layers
    z = np.maximum(rows @ first.T + bias, 0) @ last.T + end
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.tanh(z) if task == "valence_arousal" else powers / powers.sum(axis=1, keepdims=True)


def test_annotate_applies_a_joint_head_with_and_without_sound(
    talk: Path,
    weights: Path,
    tmp_path: Path,
) -> None:
    """``talk`` has sound from 0.5 to 1.5 s; a copy without its sound gets the same rows from the faces alone."""
    mute = tmp_path / "mute.mkv"
    subprocess.run([known.program("ffmpeg"), "-v", "error", "-i", talk, "-an", "-c", "copy", mute], check=True)
    run_it("extract", talk, "-o", tmp_path / "faces", "-q")
    assert extract([talk], tmp_path / "sound", weights) == 0
    seen, _ = features.read(tmp_path / "faces" / "talk.features.parquet")
    heard, _ = features.read(tmp_path / "sound" / "talk.features.parquet")
    head = random_head(tmp_path / "joint.safetensors", weights, seen["embedding"].shape[1])
    distance = np.abs(heard["time"][:, None] - seen["time"])
    audible = distance.min(axis=0) <= 0.05
    states = np.where(audible[:, None], heard["embedding"][distance.argmin(axis=0)], 0)
    assert 20 < audible.sum() < 30 < len(audible)
    common = ("--head", tmp_path / "joint.safetensors", "--audio-weights", weights, "--offline")
    run_it("annotate", talk, mute, "-o", tmp_path / "out", *common, "-q")
    columns = [EXPRESSIONS.index(name) for name in AFFWILD2_EXPRESSIONS]
    silence = np.zeros((len(audible), SIZE + 1))
    for name, sound in (("talk", np.column_stack([states, audible])), ("mute", silence)):
        timeline = raw_scores.read(tmp_path / "out" / f"{name}.raw.npz")
        rows = np.concatenate([seen["embedding"].astype(np.float64), sound], axis=1)
        scores = timeline.scores[MP.name]
        np.testing.assert_allclose(scores["expression"][:, columns], by_hand(head, "expression", rows), atol=1e-4)
        np.testing.assert_allclose(scores["valence_arousal"], by_hand(head, "valence_arousal", rows), atol=1e-4)
        assert set(scores) == {"expression", "valence_arousal", "action_units", FROZEN}
        assert len(load(tmp_path / "out" / f"{name}.csv")) == len(audible)
    content = {name: json.loads((tmp_path / "out" / f"{name}.json").read_text()) for name in ("talk", "mute")}
    notes = {name: [n for n in one["source"]["notes"] if "joint head" in n] for name, one in content.items()}
    assert notes == {
        "talk": [], "mute": ["without sound (has no audio stream): the joint head predicted from the faces alone."]
    }  # fmt: skip
    (model,) = content["talk"]["models"]
    assert model["head"]["sound"]["sha256"] == content["talk"]["joint_sound"]["sha256"]
    assert content["talk"]["recipe"]["models"] == [MP.name]
    # The result depends neither on batches nor on threads.
    run_it("annotate", talk, "-o", tmp_path / "again", *common, "--batch-size", 3, "--threads", 1, "-q")
    assert (tmp_path / "again" / "talk.csv").read_bytes() == (tmp_path / "out" / "talk.csv").read_bytes()
    # Two heads of other seeds are averaged.
    random_head(tmp_path / "second.safetensors", weights, seen["embedding"].shape[1], seed=1)
    run_it("annotate", talk, "-o", tmp_path / "two", *common, "--head", tmp_path / "second.safetensors", "-q")
    rows = np.concatenate([seen["embedding"].astype(np.float64), states, audible[:, None]], axis=1)
    other = by_hand(heads.read(tmp_path / "second.safetensors"), "valence_arousal", rows)
    found = raw_scores.read(tmp_path / "two" / "talk.raw.npz").scores[MP.name]["valence_arousal"]
    np.testing.assert_allclose(found, (by_hand(head, "valence_arousal", rows) + other) / 2, atol=1e-4)


def test_joint_heads_that_do_not_fit_are_refused(talk: Path, weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "joint.safetensors"
    head = random_head(path, weights, 52)
    with pytest.raises(UsageError, match="it is a head for mp-blendshapes, not for audio"):
        audio.check(head)
    given = ("--head", path, "--audio-weights", weights, "--offline", "-o", tmp_path / "out", "-q")
    live = run_it("live", "--camera", talk, "--head", path, "--offline", "-o", tmp_path / "out", "-q", code=2)
    assert "a joint head on faces and sound needs frames that have not arrived yet" in live
    random_head(path, weights, 52, model="wavlm", sha256=None)
    told = run_it("annotate", talk, *given, code=5)
    assert "was trained with wavlm" in told and "SHA-256 None" not in told
    with pytest.raises(ValueError, match="no sound"):
        head(np.ones((1, 52)), None)
    with pytest.raises(ValueError, match="expected"):
        head(np.ones((1, 52)), None, np.ones((1, SIZE + 1)))
    assert "give the head on them" in run_it("annotate", talk, *given[2:], code=2)


@pytest.mark.parametrize("change", ["sound", "format", "clips"])
def test_a_damaged_file_is_refused(change: str, weights: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load as load_tensors
    from safetensors.numpy import save

    path = tmp_path / "joint.safetensors"
    random_head(path, weights, 52)
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["hsemotion"]
    content = json.loads(header)
    assert content["format"] == 3, "earlier versions must refuse it"
    if change == "sound":
        del content["head"]["base"]["sound"]["size"]
    elif change == "format":
        content["format"] = 1
    else:
        content["head"]["base"]["sound"]["size"] += 1
    path.write_bytes(save(load_tensors(data), {"hsemotion": json.dumps(content)}))
    with pytest.raises(ModelUnavailable, match="not a head"):
        heads.read(path)


def test_sound_that_cannot_be_used_is_named(weights: Path, tmp_path: Path) -> None:
    from hsemotion_cli.models import joint
    from hsemotion_cli.models.wav2vec import Wav2Vec2

    head = random_head(tmp_path / "joint.safetensors", weights, 52)
    listener = joint.Listener([head], Wav2Vec2(str(weights)))
    short = encoded(tmp_path / "short.mkv", tone(0.01), RATE, "pcm_s16le", [(0, RATE // 100, 0)], pictures=5)
    hearing = listener(short)
    assert hearing.note == "without sound (its sound is shorter than 0.025 s): the joint head predicted from the faces alone."  # noqa: E501  # fmt: skip
    assert np.isnan(hearing.at(0.0)).all()
    whole = encoded(tmp_path / "whole.mkv", speech(1), RATE, "pcm_s16le", [(0, RATE, 0)], pictures=5)
    hearing = listener(whole)
    assert not hearing.note and np.isfinite(hearing.at(0.5)).all() and np.isnan(hearing.at(1.2)).all()
    with pytest.raises(ModelUnavailable, match=r"--head joint"):
        joint.Listener([head], Wav2Vec2(str(tiny(tmp_path / "other", seed=5))))
    with pytest.raises(InputError):
        from hsemotion_cli.media.audio import AudioFile

        AudioFile(tmp_path / "absent.mkv")
