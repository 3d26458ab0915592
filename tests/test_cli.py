"""How commands are assembled: groups of options, panels of help, suggestions."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from test_docs import COMMANDS
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.commands import annotate, options
from hsemotion_cli.commands.options import (
    FaceOptions,
    InputOptions,
    ModelOptions,
    Only,
    OutputOptions,
    Reworded,
    RunningOptions,
    SmoothingOptions,
)
from hsemotion_cli.commands.settings import chosen_settings
from hsemotion_cli.commands.signature import call, expand
from hsemotion_cli.formats.table import load
from hsemotion_cli.pipeline import Settings
from hsemotion_cli.postprocess.recipe import Recipe

GROUPS = [
    found for found in vars(options).values() if isinstance(found, type) and dataclasses.is_dataclass(found)
    and hasattr(found, "panel")
]  # fmt: skip


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def given(**changes: Any) -> dict[str, Any]:
    """What a command with three groups receives, one of them in part and one in other words."""
    seen: dict[str, Any] = {}

    def run(
        videos: options.Videos,
        faces: FaceOptions,
        output: Annotated[OutputOptions, Only("out", "quiet")],
        running: Annotated[RunningOptions, Reworded(threads={"help": "Threads of each."})],
        least: Annotated[float, typer.Option(min=0)] = 0.25,
    ) -> None:
        """Do something."""
        seen.update(videos=videos, faces=faces, output=output, running=running, least=least)

    group = typer.Typer()
    group.command()(expand(run))
    group.command("other")(lambda: None)
    words = [word for name, value in changes.items() for word in (f"--{name}", *([str(value)] if value else []))]
    result = CliRunner().invoke(group, ["run", "a.mp4", *words], env={"COLUMNS": "160"})
    assert result.exit_code == 0, result.output
    return seen | {"printed": result.output}


def test_options_arrive_in_their_groups() -> None:
    seen = given(**{"min-face": 40, "quiet": "", "threads": 3, "least": 0.5})
    assert seen["videos"] == [Path("a.mp4")] and seen["least"] == 0.5
    assert seen["faces"] == FaceOptions(min_face=40)
    assert seen["output"] == OutputOptions(quiet=True)
    assert seen["running"] == RunningOptions(threads=3)


def test_help_shows_groups_and_only_what_a_command_takes() -> None:
    printed = given(help="")["printed"]
    for words in ("─ Faces ─", "─ Output ─", "─ Running ─", "--min-face", "--quiet", "Threads of each."):
        assert words in printed
    for words in ("--json", "--overlay", "CPU cores to use", "─ Models ─"):
        assert words not in printed


def test_a_list_that_is_not_given_is_empty_and_one_that_is_repeated_is_whole() -> None:
    seen: list[options.SmoothingOptions] = []

    def run(smoothing: options.SmoothingOptions) -> None:
        seen.append(smoothing)

    group = typer.Typer()
    group.command()(expand(run))
    CliRunner().invoke(group, [], catch_exceptions=False)
    CliRunner().invoke(group, ["--threshold", "AU1=0.3", "--threshold", "AU2=0.4"], catch_exceptions=False)
    assert [smoothing.threshold for smoothing in seen] == [[], ["AU1=0.3", "AU2=0.4"]]


def test_two_groups_cannot_have_an_option_of_the_same_name() -> None:
    def run(faces: FaceOptions, detector: str = "fast") -> None: ...

    with pytest.raises(ValueError, match="detector"):
        expand(run)


def test_calling_with_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="min_fase"):
        call(annotate.run, videos=[], min_fase=3)


def test_an_option_of_a_group_is_declared_once() -> None:
    names = [field.name for group in GROUPS for field in dataclasses.fields(group)]
    assert len(names) == len(set(names)) and len(names) > 25
    sources = "".join(path.read_text() for path in Path(options.__file__).parent.glob("*.py"))
    assert len(re.findall(r"^    min_face:", sources, re.M)) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_no_flag_is_shown_with_a_type_and_every_option_is_explained(name: str) -> None:
    printed = invoke(*name.split(), "--help")
    assert printed.exit_code == 0
    assert "bool" not in printed.stdout.lower()
    for parameter in COMMANDS[name].params:
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("annotate", "annotate [OPTIONS] VIDEO..."), ("bench", "bench [OPTIONS] [VIDEO]"),
        ("batch", "batch [OPTIONS] [INPUT...]"), ("render", "render [OPTIONS] VIDEO TABLE"),
    ],
)  # fmt: skip
def test_usage_shows_what_may_be_left_out_and_what_repeated(name: str, usage: str) -> None:
    printed = invoke(name, "--help").stdout
    assert re.search(rf"Usage: \w+ {re.escape(usage)} *$", printed, re.M)
    assert "Path" not in printed.partition("─ Options ─")[0]


def test_the_options_of_annotate_stand_in_their_panels() -> None:
    printed = invoke("annotate", "--help").stdout
    panels = re.findall(r"^╭─ (.+?) ─", printed, re.M)
    assert panels == [
        "Arguments", "Options", "Input", "Faces", "Models", "Smoothing and blending", "Output", "Running",
    ]  # fmt: skip
    block = printed.partition("─ Options ─")[2].partition("╰")[0]
    assert re.findall(r"--[\w-]+", block) == ["--help"]


@pytest.mark.parametrize(
    ("words", "nearest"),
    [
        (["anotate", "a.mp4"], "'annotate'"), (["models", "lst"], "'list'"),
        (["annotate", "a.mp4", "--overley"], "--overlay"), (["annotate", "--min-fase", "3", "a.mp4"], "--min-face"),
        (["batch", "--dry-rum", "x"], "--dry-run"), (["batch", "--no-recursiv", "x"], "--no-recursive"),
        (["train", "heads", "f", "--epoch", "3"], "--epochs"),
    ],
)  # fmt: skip
def test_a_slip_gets_the_nearest_name(words: list[str], nearest: str) -> None:
    done = invoke(*words)
    assert done.exit_code == 2
    assert f"Did you mean {nearest}?" in done.stderr


def test_what_is_near_to_nothing_gets_no_suggestion() -> None:
    done = invoke("annotate", "a.mp4", "--xyzzy")
    assert done.exit_code == 2 and "No such option: --xyzzy." in done.stderr and "Did you mean" not in done.stderr


def test_the_assembly_is_short() -> None:
    cli = Path(options.__file__).parents[1] / "cli.py"
    assert len(cli.read_text().splitlines()) < 120


# --- models -----------------------------------------------------------------------------------------------------


def test_the_default_models_by_name_are_blended_as_without_names(capsys: pytest.CaptureFixture[str]) -> None:
    usual = Recipe.usual()
    default = settings_of()
    assert capsys.readouterr().err == ""
    named = settings_of(model=",".join(usual.models))
    assert named.recipe == default.recipe == usual
    assert f"weight of {usual.models[0]}: expression {usual.blend['expression']:g}" in capsys.readouterr().err
    turned = settings_of(model=",".join(reversed(usual.models))).recipe
    assert turned.models == usual.models[::-1] and turned.thresholds == usual.thresholds
    for task, weight in usual.blend.items():
        assert turned.blend[task] == pytest.approx(1 - weight)
    capsys.readouterr()
    assert set(settings_of(model=",".join(usual.models), blend="0.5").recipe.blend.values()) == {0.5}
    settings_of(model=usual.models[0])
    settings_of(model=",".join(usual.models), quiet=True)
    assert capsys.readouterr().err == ""


def settings_of(**given: Any) -> Settings:
    """What ``annotate`` makes of options."""
    groups = [InputOptions, FaceOptions, ModelOptions, SmoothingOptions, OutputOptions, RunningOptions]
    own = [{f.name: given[f.name] for f in dataclasses.fields(group) if f.name in given} for group in groups]
    return chosen_settings(*(group(**values) for group, values in zip(groups, own, strict=True)))


# --- annotate ---------------------------------------------------------------------------------------------------


def test_json_lists_what_failed_as_well_in_the_order_that_was_given(smile: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    words = ["--json", "-o", tmp_path / "o", "--every", 6]
    result = invoke("annotate", text, smile, tmp_path / "missing.mp4", *words)
    assert result.exit_code == 3
    entries = json.loads(result.stdout)
    assert [Path(entry["source"]).name for entry in entries] == ["text.mp4", "smile.mp4", "missing.mp4"]
    assert [(entry["state"], entry["error"]) for entry in entries] == [
        ("failed", "InputError"), ("done", None), ("failed", "InputError"),
    ]  # fmt: skip
    assert len({tuple(sorted(entry)) for entry in entries}) == 1
    assert entries[1]["frames"]["analysed"] == 2 and entries[1]["problem"] == ""
    assert entries[0]["frames"] is None and "not a readable video" in entries[0]["problem"]
    for entry in (entries[0], entries[2]):
        assert entry["problem"] in result.stderr


def test_json_of_nothing_but_failures_lists_them(tmp_path: Path) -> None:
    result = invoke("annotate", tmp_path / "missing.mp4", "--json", "-o", tmp_path / "o")
    assert result.exit_code == 4
    (entry,) = json.loads(result.stdout)
    assert entry["state"] == "failed" and entry["source"].endswith("missing.mp4")


def test_rotate_and_region_reach_the_table_and_the_sidecar(smile: Path, tmp_path: Path) -> None:
    def annotated(*options: str) -> tuple[Any, dict[str, Any]]:
        out = tmp_path / "-".join(options).replace("/", "_")
        done = CliRunner().invoke(app, ["annotate", str(smile), "-o", str(out), "-q", "--every", "6", *options])
        assert done.exit_code == 0, done.output
        return load(out / "smile.csv"), json.loads((out / "smile.json").read_text())

    plain, _ = annotated()
    region, facts = annotated("--region", "40,0,240,240")
    assert facts["decoding"]["region"] == [40, 0, 240, 240]
    assert (region["x"] - plain["x"]).abs().max() < 0.1 * plain["w"].max(), "boxes are those of the whole image"
    turned, facts = annotated("--rotate", "180")
    assert facts["decoding"]["rotate"] == "180"
    assert not turned["x"].equals(plain["x"])
    for wrong, message in (("--rotate=45", "choose from auto, 0, 90"), ("--region=1,2", "x,y,width,height"),
                           ("--region=300,0,90,90", "reaches beyond")):  # fmt: skip
        done = CliRunner().invoke(app, ["annotate", str(smile), "-o", str(tmp_path / "no"), wrong])
        assert done.exit_code == 2, done.output
        assert message in done.output
