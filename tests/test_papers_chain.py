"""The chain of an experiment on real videos: faces and sound are extracted, and what fails or is missing is neither
ignored nor forgotten."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import known
import numpy as np
import pytest
from scipy.stats import pearsonr
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("transformers", reason="sound needs transformers")
from test_audio import tiny

from hsemotion_cli.cli import app
from hsemotion_cli.formats import features
from hsemotion_cli.models import heads
from hsemotion_cli.tasks import EMOTIONAL_MIMICRY

SAMPLE = Path(__file__).parent.parent / "sample_videos" / "langer_pexels.mp4"

PLAN = """
name = "small"
paper = "A small experiment"
citation = "arXiv:0000.00000"
track = "emi"
figures = "none"
chosen = ["Everything."]

[data]
images = "clips"
crops = false
every = 2
audio = "clips"
train = "train_split.csv"
validation = "valid_split.csv"

[[network]]
name = "sight"
model = "mp-blendshapes"

[[network]]
name = "sound"
model = "{weights}"
kind = "audio"

[[head]]
name = "sight-head"
network = "sight"
kind = "emi"
tasks.emotional_mimicry = {{ source = "features", activation = "sigmoid", batch = 4, epochs = 3, rate = 0.01 }}

[[head]]
name = "sound-head"
network = "sound"
kind = "emi"
tasks.emotional_mimicry = {{ source = "features", activation = "sigmoid", batch = 4, epochs = 3, rate = 0.01 }}

[[row]]
name = "sight"
members = ["sight-head"]

[[row]]
name = "both"
members = ["sight-head", "sound-head"]
"""


FRAMES_PLAN = """
name = "frames"
paper = "A small experiment on frames"
citation = "arXiv:0000.00000"
track = "mtl"
figures = "none"
chosen = ["Everything."]

[data]
images = "clips"
crops = false
train = "training.txt"
validation = "validation.txt"

[[network]]
name = "sight"
model = "mp-blendshapes"

[[head]]
name = "sight-head"
network = "sight"
kind = "mtl"
tasks.expression = { source = "features", activation = "softmax", batch = 4, epochs = 2, rate = 0.01 }
tasks.valence_arousal = { source = "features", activation = "tanh", batch = 4, epochs = 2, rate = 0.01 }
tasks.action_units = { source = "features", activation = "sigmoid", batch = 4, epochs = 2, rate = 0.01 }

[[row]]
name = "sight"
members = ["sight-head"]
"""


def ffmpeg(*arguments: object) -> None:
    subprocess.run([known.program("ffmpeg"), "-v", "error", "-y", *map(str, arguments)], check=True)


def cut(path: Path, start: float) -> None:
    """A third of a second of the sample with its sound."""
    ffmpeg(
        "-ss",
        start,
        "-i",
        SAMPLE,
        "-t",
        0.34,
        "-vf",
        "scale=320:-2",
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-c:a",
        "aac",
        path,
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips to train on and five to validate with, of which the last shows nobody."""
    root = tmp_path_factory.mktemp("chain")
    (root / "data" / "clips").mkdir(parents=True)
    random = np.random.default_rng(0)
    for part, numbers in (("train", range(1, 5)), ("valid", range(5, 10))):
        rows = ["Filename," + ",".join(EMOTIONAL_MIMICRY)]
        for number in numbers:
            rows.append(f"{number:05d}," + ",".join(f"{value:.3f}" for value in random.random(6)))
            if number < 9:
                cut(root / "data" / "clips" / f"{number:05d}.mp4", 2 * number - 1.5)
        (root / "data" / f"{part}_split.csv").write_text("\n".join([*rows, ""]))
    nobody = root / "data" / "clips" / "00009.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=gray:s=320x180:d=0.34:r=25", "-f", "lavfi", "-i", "sine=d=0.34"),
        *("-c:v", "libx264", "-c:a", "aac", nobody),
    )
    (root / "plan.toml").write_text(PLAN.format(weights=tiny(root / "net")))
    return root


def run(root: Path, *more: str, code: int) -> str:
    given = ["train", "reproduce", root / "plan.toml", "--data", root / "data", "-o", root / "run", *more]
    result = CliRunner().invoke(app, [str(each) for each in given])
    assert result.exit_code == code, result.output
    return result.output


def test_a_clip_that_fails_stops_the_chain_or_is_named_everywhere(small: Path) -> None:
    """In this order: stop; stop again, since nothing forgets; go on without it; and whole, once the clip is mended."""
    stopped = run(small, code=4)
    assert "no face was seen" in stopped
    assert "sight: the features of 1 of 9 sources could not be extracted (00009)" in " ".join(stopped.split())
    assert not (small / "run" / "heads").exists() and not (small / "run" / "results.json").exists()
    there = sorted(path.name for path in (small / "run" / "features" / "sight").iterdir())
    assert there == [f"{number:05d}.features.parquet" for number in range(1, 9)]
    kept = {path: path.stat().st_mtime_ns for path in (small / "run" / "features" / "sight").iterdir()}
    assert "1 of 9 sources" in " ".join(run(small, "-q", code=4).split()), "also in a second run, and where it is quiet"
    went_on = run(small, "--skip-failed", code=3)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    sentence = "NOT EXTRACTED with sight, so missing in its rows (1): 00009"
    assert went_on.count(sentence) >= 1 and sentence in (small / "run" / "results.md").read_text()
    content = json.loads((small / "run" / "results.json").read_text())
    assert content["not_extracted"] == {"sight": ["00009"]}
    check_scores(small, ["00005", "00006", "00007", "00008"])
    assert sentence in run(small, "--skip-failed", "-q", code=3), "said on the terminal where it is quiet, too"
    cut(small / "data" / "clips" / "00009.mp4", 18)
    assert "NOT EXTRACTED" not in run(small, code=0)
    assert "not_extracted" not in json.loads((small / "run" / "results.json").read_text())
    assert "NOT EXTRACTED" not in (small / "run" / "results.md").read_text()
    check_scores(small, ["00005", "00006", "00007", "00008", "00009"])


def check_scores(root: Path, clips: list[str]) -> None:
    """Correlations from the extracted features and the written heads, by SciPy."""
    truth = dict(line.split(",", 1) for line in (root / "data" / "valid_split.csv").read_text().splitlines()[1:])
    known_values = np.array([[float(value) for value in truth[clip].split(",")] for clip in clips])
    said = []
    for network in ("sight", "sound"):
        head = heads.read(root / "run" / "heads" / f"{network}-head.safetensors")
        each = [features.read(root / "run" / "features" / network / f"{clip}.features.parquet")[0] for clip in clips]
        said.append(np.array([head.clip(columns["embedding"], columns.get("outputs")) for columns in each]))
    rows = {row["name"]: row["ours"] for row in json.loads((root / "run" / "results.json").read_text())["rows"]}
    for name, scores in (("sight", said[0]), ("both", (said[0] + said[1]) / 2)):
        expected = [pearsonr(scores[:, k], known_values[:, k])[0] for k in range(6)]
        assert rows[name]["emotional_mimicry"] == pytest.approx(np.mean(expected), abs=1e-6)


def test_a_part_of_a_damaged_clip_does_not_count_as_the_clip(tmp_path: Path) -> None:
    """The second half of the file is lost: what could be read is not taken for all of it in the next run."""
    (tmp_path / "data" / "clips").mkdir(parents=True)
    for number in (1, 2, 3):
        path = tmp_path / "data" / "clips" / f"{number:05d}.mkv"
        ffmpeg("-ss", number, "-i", SAMPLE, "-t", 1, "-vf", "scale=320:-2", "-c:v", "mjpeg", "-c:a", "pcm_s16le", path)
    damaged = tmp_path / "data" / "clips" / "00003.mkv"
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    for part, number in (("train", 1), ("valid", 2), ("valid", 3)):
        path = tmp_path / "data" / f"{part}_split.csv"
        head = path.read_text() if path.exists() else "Filename," + ",".join(EMOTIONAL_MIMICRY) + "\n"
        path.write_text(head + f"{number:05d}" + ",0.5" * 6 + "\n")
    (tmp_path / "plan.toml").write_text(PLAN.format(weights="unused"))
    for _ in range(2):
        assert "1 of 3 sources could not be extracted (00003)" in " ".join(run(tmp_path, code=4).split())
        assert not (tmp_path / "run" / "features" / "sight" / "00003.features.parquet").exists()


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips to train on and two to validate with, whose frames have labels of all three tasks."""
    root = tmp_path_factory.mktemp("frames")
    (root / "data" / "clips").mkdir(parents=True)
    random = np.random.default_rng(1)
    for part, names in (("training", ["t1", "t2"]), ("validation", ["v1", "v2"])):
        lines = ["image,valence,arousal,expression,aus"]
        for k, name in enumerate(names):
            cut(root / "data" / "clips" / f"{name}.mp4", (1 if part == "training" else 10) + 3 * k)
            for frame in range(1, 9):
                units = ",".join(map(str, random.integers(0, 2, 12)))
                affect = ",".join(f"{value:.3f}" for value in random.uniform(-1, 1, 2))
                lines.append(f"{name}/{frame:05d}.jpg,{affect},{random.integers(8)},{units}")
        (root / "data" / f"{part}.txt").write_text("\n".join([*lines, ""]))
    (root / "plan.toml").write_text(FRAMES_PLAN)
    return root


@pytest.mark.parametrize("fault", ["empty", "absent"])
def test_a_video_that_fails_or_is_absent_is_left_out_of_the_figures_of_frames(frames: Path, fault: str) -> None:
    """Its scores of an earlier run do not count either, and all count again once it is back."""
    run(frames, "-q", code=0)
    whole = json.loads((frames / "run" / "results.json").read_text())
    clip = frames / "data" / "clips" / "v2.mp4"
    content = clip.read_bytes()
    (frames / "run" / "features" / "sight" / "v2.features.parquet").unlink()
    clip.write_bytes(b"") if fault == "empty" else clip.unlink()
    stopped = " ".join(run(frames, "-q", code=4).split())
    wanted = {"empty": "1 of 4 sources could not be extracted (v2)", "absent": "lacks 1 of 4 annotated sources (v2)"}
    assert wanted[fault] in stopped and "--skip-failed" in stopped and "--partial" not in stopped
    assert json.loads((frames / "run" / "results.json").read_text()) == whole, "a run that stops changes no result"
    said = run(frames, "--skip-failed", code=3)
    assert "NOT EXTRACTED with sight, so missing in its rows (1): v2" in said
    found = json.loads((frames / "run" / "results.json").read_text())
    assert found["not_extracted"] == {"sight": ["v2"]}
    assert found["rows"][0]["ours"] != whole["rows"][0]["ours"]
    tables = sorted(path.name for path in (frames / "run" / "tables" / "sight-head").iterdir())
    assert tables == ["v1.json", "v1.raw.npz"]
    clip.write_bytes(content)
    run(frames, "-q", code=0)
    assert json.loads((frames / "run" / "results.json").read_text()) == whole


def test_a_clip_to_train_on_that_is_absent_is_named(small: Path) -> None:
    """Before anything is extracted, since the head would have been trained on the others in silence."""
    clip, out = small / "data" / "clips" / "00002.mp4", small / "other"
    kept = clip.read_bytes()
    clip.unlink()
    stopped = " ".join(run(small, "-o", str(out), code=4).split())
    assert "lacks 1 of 9 annotated sources (2)" in stopped and not (out / "features").exists()
    clip.write_bytes(kept)


def test_damaged_features_of_an_earlier_run_are_named_with_what_to_do(frames: Path) -> None:
    run(frames, "-q", code=0)
    path = frames / "run" / "features" / "sight" / "t1.features.parquet"
    path.write_bytes(path.read_bytes()[:1000])
    said = " ".join(run(frames, "-q", "--skip-failed", code=4).split())
    assert "t1.features.parquet" in said and "or damaged" in said and "delete it, and extract it again" in said
    path.unlink()
    run(frames, "-q", code=0)
