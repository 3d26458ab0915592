"""From a video to its results, with the real detector and the real embedded model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import clips
import cv2
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from hsemotion_cli.analysis.video_summary import VideoSummary
from hsemotion_cli.cli import app
from hsemotion_cli.faces.detector import FaceDetector
from hsemotion_cli.formats import raw_scores, schema
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.postprocess.refine import refine


def annotate(path: Path, out: Path, **options: Any) -> VideoSummary:
    options.setdefault("recipe", Recipe.of("mp-blendshapes"))
    with Annotator(Settings(**options)) as annotator:
        return annotator.annotate(path, out, path.stem)


def run(*arguments: object) -> str:
    """Run the command line in this process; returns what it printed."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="session")
def annotated(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all results of the smiling clip."""
    out = tmp_path_factory.mktemp("annotated")
    run("annotate", smile, "-o", out, "--overlay", "--format", "csv,parquet,jsonl", "--smooth", "gaussian:0.1")
    return out


def test_a_smile_is_a_smile(annotated: Path) -> None:
    table = pd.read_csv(annotated / "smile.csv")
    assert table["frame"].tolist() == list(range(12))
    assert table["time"].tolist() == pytest.approx([k / 25 for k in range(12)], abs=1e-4)
    assert set(table["face_id"]) == {0}
    assert set(table["expression"]) == {"happiness"}
    assert (table["valence"] > 0.2).all()
    assert (table["AU12_c"] == 1).all()
    assert table[[f"p_{name}" for name in ("neutral", "happiness", "contempt")]].notna().all(axis=None)
    # The portrait moves two pixels to the right in each frame, and its box with it.
    assert np.diff(table["x"]).mean() == pytest.approx(2, abs=0.3)


@pytest.mark.slow
def test_every_real_clip_has_a_row_for_every_frame(shared_videos: list[Path], tmp_path: Path) -> None:
    with Annotator(Settings(recipe=Recipe.of("mp-blendshapes"), sampling=Sampling(every=6))) as annotator:
        for path in shared_videos:
            annotator.annotate(path, tmp_path, path.stem)
            capture, times = cv2.VideoCapture(str(path)), []
            while capture.read()[0]:
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            table = pd.read_csv(tmp_path / f"{path.stem}.csv")
            assert list(table) == list(schema.NAMES)
            assert sorted(set(table["frame"])) == list(range(0, len(times), 6)), path.name
            assert table["time"].to_numpy() == pytest.approx(np.array(times)[table["frame"]], abs=1e-3), path.name
            faces = table[table["face_id"].notna()]
            assert not faces.duplicated(["frame", "face_id"]).any()
            assert faces[[f"p_{n}" for n in ("neutral", "happiness")]].to_numpy().min(initial=0) >= 0
    assert pd.read_csv(tmp_path / "no_face.csv")["face_id"].isna().all()
    vanishing = pd.read_csv(tmp_path / "face_then_no_face_hevc.csv")
    assert vanishing["face_detected"].tolist() == [int(f < 72) for f in vanishing["frame"]]


def test_two_people_are_distinguished(samples: Path, tmp_path: Path) -> None:
    summary = annotate(samples / "two_faces.mp4", tmp_path, sampling=Sampling(every=5))
    table = pd.read_csv(tmp_path / "two_faces.csv")
    assert (summary.faces, summary.coverage) == (2, 1.0)
    assert (table[table["face_id"] == 0]["x"] < 320).all()
    assert (table[table["face_id"] == 1]["x"] > 320).all()
    assert set(table[table["face_id"] == 0]["expression"]) == {"happiness"}


def test_two_runs_give_the_same_bytes(smile: Path, annotated: Path, tmp_path: Path) -> None:
    run("annotate", smile, "-o", tmp_path, "--overlay", "--format", "csv,parquet,jsonl", "--smooth", "gaussian:0.1")
    for name in ("smile.csv", "smile.parquet", "smile.jsonl", "smile.raw.npz", "smile.overlay.mp4"):
        assert (tmp_path / name).read_bytes() == (annotated / name).read_bytes(), name


def test_batch_size_changes_no_byte(samples: Path, tmp_path: Path) -> None:
    for batch in (1, 32):
        annotate(samples / "two_faces.mp4", tmp_path / str(batch), sampling=Sampling(every=10), batch_size=batch)
    for name in ("two_faces.csv", "two_faces.raw.npz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "32" / name).read_bytes()


def test_render_from_the_table_equals_the_overlay(smile: Path, annotated: Path, tmp_path: Path) -> None:
    for suffix in ("csv", "parquet", "jsonl"):
        run("render", smile, annotated / f"smile.{suffix}", "-o", tmp_path / f"{suffix}.mp4")
        assert (tmp_path / f"{suffix}.mp4").read_bytes() == (annotated / "smile.overlay.mp4").read_bytes()


def test_the_overlay_plays_as_long_and_shows_something(smile: Path, annotated: Path) -> None:
    before, after = VideoFile(smile), VideoFile(annotated / "smile.overlay.mp4")
    pairs = list(zip(before.frames(), after.frames(), strict=True))
    assert [a.time for a, _ in pairs] == pytest.approx([b.time for _, b in pairs], abs=1e-3)
    assert (after.info.codec, after.info.audio) == ("h264", "aac")
    high, wide = pairs[0][0].image.shape[:2]
    assert all(np.abs(a.image.astype(int) - b.image[:high, :wide]).max() > 60 for a, b in pairs)
    assert all(np.ptp(b.image[:, wide:]) > 150 for _, b in pairs), "the scores stand beside the image"


def test_smoothing_later_equals_smoothing_at_once(smile: Path, annotated: Path, tmp_path: Path) -> None:
    run("annotate", smile, "-o", tmp_path / "raw")
    run("smooth", tmp_path / "raw" / "smile.csv", "-o", tmp_path / "late", "--smooth", "gaussian:0.1")
    assert (tmp_path / "late" / "smile.csv").read_bytes() == (annotated / "smile.csv").read_bytes()
    assert (tmp_path / "raw" / "smile.csv").read_bytes() != (annotated / "smile.csv").read_bytes()
    # ... and can be taken back, and thresholds moved, from what was written.
    run("smooth", tmp_path / "late" / "smile.csv", "-o", tmp_path / "back", "--smooth", "none", "--threshold", "AU12=1")
    back, raw = (pd.read_csv(tmp_path / folder / "smile.csv") for folder in ("back", "raw"))
    assert (back.pop("AU12_c") == 0).all()
    assert (raw.pop("AU12_c") == 1).all()
    assert (back.pop("uncertainty_au") < raw.pop("uncertainty_au")).all()  # a unit is now far from its threshold
    pd.testing.assert_frame_equal(back, raw)
    assert json.loads((tmp_path / "back" / "smile.json").read_text())["recipe"]["thresholds"]["AU12"] == 1.0


def test_smoothing_an_old_table_makes_one_of_today(annotated: Path, tmp_path: Path) -> None:
    for name in ("smile.json", "smile.raw.npz"):
        (tmp_path / name).write_bytes((annotated / name).read_bytes())
    old = json.loads((tmp_path / "smile.json").read_text())
    (tmp_path / "smile.json").write_text(json.dumps({**old, "schema_version": 1}))
    run("smooth", tmp_path / "smile.csv", "-o", tmp_path / "new")
    assert json.loads((tmp_path / "new" / "smile.json").read_text())["schema_version"] == schema.SCHEMA_VERSION
    assert list(pd.read_csv(tmp_path / "new" / "smile.csv")) == list(schema.NAMES)


def test_the_sidecar_records_how_the_table_was_made(smile: Path, annotated: Path) -> None:
    content = json.loads((annotated / "smile.json").read_text())
    digest = subprocess.run(["sha256sum", str(smile)], capture_output=True, text=True, check=True).stdout.split()[0]
    assert content["source"]["sha256"] == digest
    assert content["source"]["name"] == "smile.mp4"
    assert content["schema_version"] == schema.SCHEMA_VERSION
    assert content["frames"] == {
        "analysed": 12,
        "decoded": 12,
        "decode_failures": 0,
        "failed_at": [],
        "corrupt": 0,
        "ended_early": "",
        "guessed_times": 0,
        "variable_frame_rate": False,
        "clock_jumps": 0,
        "jumped_at": [],
        "deinterlaced": 0,
        "size_changes": 0,
        "sizes": [{"frame": 0, "time": 0.0, "width": 320, "height": 240}],
        "cuts": [],
    }
    assert content["faces"] == {"coverage": 1.0, "rows": 12, "ids": 1, "fleeting_tracks": 0}
    assert content["recipe"]["smoothing"]["expression"] == "gaussian:0.1"
    assert len(content["models"][0]["sha256"]) == 64
    assert set(content["outputs"]) == {"csv", "parquet", "jsonl", "raw", "sidecar", "overlay"}
    assert all((annotated / name).is_file() for name in content["outputs"].values())
    stages = content["timing"]["stages"]
    assert list(stages) == ["decode", "faces", "tracks", "models", "write", "overlay"]
    # Stages work beside each other, but decoding, writing and the overlay have one thread each.
    assert all(stages[name] > 0 for name in stages if name != "tracks")  # which may take less than a millisecond
    assert stages["decode"] + stages["write"] + stages["overlay"] <= content["timing"]["elapsed"] + 0.01
    assert stages["faces"] > stages["tracks"]


def test_the_table_is_the_refined_archive(annotated: Path) -> None:
    content = json.loads((annotated / "smile.json").read_text())
    affect = refine(raw_scores.read(annotated / "smile.raw.npz"), Recipe.from_json(content["recipe"]))
    table = pd.read_csv(annotated / "smile.csv")
    assert table["p_happiness"].to_numpy() == pytest.approx(affect.tasks["expression"][:, 4], abs=1e-6)


def test_crops_in_a_folder_are_annotated_without_detection(tmp_path: Path) -> None:
    with FaceDetector() as finder:
        x, y, w, h = (round(v) for v in finder.find(clips.portrait())[0].box)
    folder = tmp_path / "45-24-1280x720"
    folder.mkdir()
    for number in (1, 2, 3, 40, 41):
        crop = cv2.resize(clips.portrait()[y : y + h, x : x + w], (112, 112))
        cv2.imwrite(str(folder / f"{number:05d}.jpg"), crop[..., ::-1])
    run("annotate", folder, "--crops", "-o", tmp_path / "out", "--image-fps", "25")
    table = pd.read_csv(tmp_path / "out" / "45-24-1280x720.csv")
    assert table["frame"].tolist() == [1, 2, 3, 40, 41]
    assert table["time"].tolist() == [0.04, 0.08, 0.12, 1.6, 1.64]
    assert table["face_detected"].tolist() == [1] * 5
    assert table["det_score"].isna().all()
    assert set(table["expression"]) == {"happiness"}
    assert table[["x", "y", "w", "h"]].to_numpy().tolist() == [[0, 0, 112, 112]] * 5


def test_a_single_image_is_one_row(samples: Path, tmp_path: Path) -> None:
    annotate(samples / "stills" / "astronaut.png", tmp_path)
    table = pd.read_csv(tmp_path / "astronaut.csv")
    assert (table["frame"].tolist(), table["expression"].tolist()) == ([0], ["happiness"])


def test_only_the_largest_face_is_kept_with_its_own_id(samples: Path, tmp_path: Path) -> None:
    annotate(samples / "two_faces.mp4", tmp_path, faces=1, sampling=Sampling(every=25))
    table = pd.read_csv(tmp_path / "two_faces.csv")
    assert len(table) == table["frame"].nunique() == 6
    assert set(table["face_id"]) == {1}


def test_json_agrees_with_the_summary(smile: Path, tmp_path: Path) -> None:
    (said,) = json.loads(run("annotate", smile, "-o", tmp_path, "--json", "--every", "4"))
    assert said["frames"]["analysed"] == 3
    assert said["coverage"] == 1.0
    assert said["expressions"]["happiness"] == 1.0
    assert Path(said["outputs"]["csv"]).is_file()


def test_the_summary_is_a_table_and_quiet_is_quiet(smile: Path, nobody: Path, tmp_path: Path) -> None:
    printed = run("annotate", smile, nobody, "-o", tmp_path, "-v")
    assert "happiness 100%" in printed
    assert "--min-face" in printed, "low coverage must name its most likely remedy"
    assert str(tmp_path / "smile.csv") in printed
    assert run("annotate", smile, "-o", tmp_path, "-q") == ""
