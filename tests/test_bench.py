"""``hsemotion bench`` measures what it says it measures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from hsemotion_cli.bench import synthetic_clip
from hsemotion_cli.bench.measure import compare, variants
from hsemotion_cli.bench.records import BenchmarkResult
from hsemotion_cli.bench.runner import Measurements
from hsemotion_cli.cli import app
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.media.video import VideoFile
from hsemotion_cli.pipeline import Annotator, Settings
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.timeline import Timeline

pytestmark = pytest.mark.slow


def bench(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["bench", "--json", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_report_of_a_real_clip(smile: Path) -> None:
    report = bench(smile, "--repeat", 2, "--only", "as chosen,stages in turn,decode only")
    assert report["clip"]["drawn"] is False
    assert (report["clip"]["width"], report["clip"]["height"], report["clip"]["frames"]) == (320, 240, 12)
    chosen, turn, decode = report["variants"].values()
    for row in (chosen, turn):
        assert row["faces_per_frame"] == 1.0
        assert set(row["busy_ms_per_frame"]) == {"decode", "faces", "tracks", "models", "write"}
        assert row["slowest_stage"] in row["busy_ms_per_frame"]
        assert row["floor_frames_per_second"] == pytest.approx(
            1e3 * report["host"]["cores"] / row["cpu_ms_per_frame"], rel=0.01
        )
        assert row["times_real_time"] == pytest.approx(row["frames_per_second"] / 25, rel=0.01)
        assert 0 < row["efficiency"] <= 1.1 and 0.2 < row["first_result_cpu_s"] < 30
        assert 100 < row["peak_memory_mb"] < 2000
    assert turn["waits_ms_per_frame"] == {} and chosen["waits_ms_per_frame"]["faces: work"] > 0
    assert chosen["ratio"] == {"median": 1.0, "min": 1.0, "max": 1.0} and chosen["agreement"] is None
    assert turn["agreement"] == {"faces": 1.0, "expression": 1.0, "valence_arousal": 0.0}
    assert decode["faces_per_frame"] == 0 and decode["frames_per_second"] > chosen["frames_per_second"]
    assert decode["agreement"] is None


def test_what_stages_in_turn_are_busy_with_is_no_more_than_the_whole(smile: Path) -> None:
    # Of one run: medians of several need not add up.
    (turn,) = bench(smile, "--repeat", 1, "--only", "stages in turn")["variants"].values()
    assert 0.5 / turn["frames_per_second"] < sum(turn["busy_ms_per_frame"].values()) / 1e3
    assert sum(turn["busy_ms_per_frame"].values()) <= 1e3 / turn["frames_per_second"] * 1.01


def test_the_drawn_clip_has_the_faces_that_were_asked_for() -> None:
    report = bench("--people", 4, "--seconds", 0.4, "--height", 480, "--min-face", 48, "--repeat", 1)
    assert report["clip"]["drawn"] and report["clip"]["frames"] == 10
    assert set(report["variants"]) == set(variants(Settings(Recipe.usual()), Path("any")))
    for name, row in report["variants"].items():
        assert row["faces_per_frame"] == (0 if name == "decode only" else 4), name
    assert "overlay" in report["variants"]["with overlay"]["busy_ms_per_frame"]
    assert "models" not in report["variants"]["decode only"]["busy_ms_per_frame"]


def test_the_drawn_clip_is_a_video(tmp_path: Path) -> None:
    synthetic_clip.write(tmp_path / "two.mp4", faces=2, height=240, seconds=11)
    frames = list(VideoFile(tmp_path / "two.mp4").frames())
    assert len(frames) == 275 and frames[0].image.shape == (240, 426, 3)
    assert np.abs(frames[0].image.astype(int) - frames[250].image).mean() < 4  # from ten seconds on it repeats itself
    assert np.abs(frames[0].image.astype(int) - frames[125].image).mean() > 4


def test_a_long_clip_is_ten_seconds_over_and_over(tmp_path: Path) -> None:
    synthetic_clip.write(tmp_path / "long.mp4", height=120, seconds=34.2)
    frames = list(VideoFile(tmp_path / "long.mp4").frames())
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(855) / 25, atol=1e-9)
    for k in range(105, 605):
        np.testing.assert_array_equal(frames[k].image, frames[k + 250].image)
    assert np.abs(frames[104].image.astype(int) - frames[354].image).mean() < 4  # encoded by itself, but the same image
    assert np.abs(frames[105].image.astype(int) - frames[230].image).mean() > 4


def test_ratios_are_taken_round_by_round() -> None:
    def run(wall: float, cpu: float = 1.0) -> BenchmarkResult:
        return BenchmarkResult(100, 100, wall, cpu, 0.0, 0, {}, {})

    # The machine slowed down to a half in the second round, and so did both.
    one, other = Measurements([run(2), run(4), run(2)]), Measurements([run(4), run(8), run(5)])
    assert one.ratios(other) == pytest.approx((2.0, 2.0, 2.5))
    assert other.ratios(one) == pytest.approx((0.5, 0.4, 0.5))
    assert one.rate == 50
    assert Measurements([run(1.0, 1.5)]).efficiency(2) == 0.75


def test_agreement_is_over_the_same_faces(smile: Path, tmp_path: Path) -> None:
    with Annotator(Settings(Recipe.of("mp-blendshapes"))) as annotator:
        annotator.annotate(smile, tmp_path / "one", "run")
    whole = raw_scores.read(tmp_path / "one" / "run.raw.npz")
    scores = {task: values.copy() for task, values in whole.scores["mp-blendshapes"].items()}
    scores["expression"][:3, :8] = np.eye(8)[3]  # three of twelve say fear
    scores["valence_arousal"] += 0.25
    keep = slice(0, 6)  # and the other half of the faces is not found
    half = Timeline(
        whole.index, whole.time, whole.row[keep], whole.face_id[keep], whole.det_score[keep], whole.box[keep],
        {"mp-blendshapes": {task: values[keep] for task, values in scores.items()}},
    )  # fmt: skip
    (tmp_path / "other").mkdir()
    with open(tmp_path / "other" / "run.raw.npz", "wb") as file:
        raw_scores.write(half, file)
    found = compare(tmp_path / "other", tmp_path / "one")
    assert (found.faces, found.expression) == (0.5, 0.5)
    assert found.valence_arousal == pytest.approx(0.25, abs=1e-6)


def test_wrong_options_are_refused(smile: Path) -> None:
    for options, said in (
        (("--only", "everything"), "choose from as chosen"),
        (("--peer",), "emotiefflib has no mt-mobilefacenet"),
        (("--peer", "--model", "mp-blendshapes"), "emotiefflib has no mp-blendshapes"),
    ):
        result = CliRunner().invoke(app, ["bench", str(smile), *options])
        assert result.exit_code == 2 and said in result.output, result.output


def test_the_peer_runs_on_the_same_weights(smile: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from hsemotion_cli.models.architectures import import_timm

    import_timm()  # before anything else imports torchvision
    for package in ("emotiefflib", "facenet_pytorch", "requests"):
        pytest.importorskip(package)
    import published

    from hsemotion_cli.models.registry import card

    model = card("enet_b0_8_va_mtl")
    for suffix in (".onnx", ".pt"):
        path = tmp_path / f"{model.name}{suffix}"
        published.save(published.network(model), model, path)
        chosen = f"{model.name}={path}"
        report = bench(smile, "--repeat", 1, "--only", "as chosen", "--peer", "--model", chosen, "--backend", "auto")
        own, peer = report["variants"]["as chosen"], report["variants"]["emotiefflib"]
        assert own["faces_per_frame"] == peer["faces_per_frame"] == 1.0
        assert peer["ratio"]["median"] < 1 and peer["agreement"] is None


def test_every_variant_is_what_its_name_says() -> None:
    found = variants(Settings(Recipe.usual()), Path("any"))
    assert found["fast detector"].settings.detector == "fast"
    assert found["fast detector"].settings.recipe.models == ("mt-mobilefacenet",)
    assert found["mediapipe tasks"].settings.detector == "mediapipe"
    assert found["search every 5th"].settings.detect_every == 5
    assert found["look at every 3rd"].settings.stride == 3
    assert found["with overlay"].settings.overlay
    assert [name for name, order in found.items() if order.in_turn] == ["stages in turn"]
    assert (found["no models"].kind, found["decode only"].kind) == ("faces", "decode")


def test_variants_leave_out_what_makes_no_sense() -> None:
    geometry = variants(Settings(Recipe.of("mp-blendshapes")), Path("any"))
    assert "fast detector" not in geometry and "look at every 3rd" not in geometry
    fast = Settings(Recipe.of("mt-mobilefacenet"), detector="fast")
    assert not {"fast detector", "mediapipe tasks"} & set(variants(fast, Path("any")))
    # An overlay is measured by itself, whatever was chosen.
    assert not variants(replace(fast, overlay=True), Path("any"))["as chosen"].settings.overlay
