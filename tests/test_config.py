"""Defaults of a user and a project: where they come from, which counts, and how files of them change."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stamps import unstamped
from typer.testing import CliRunner

from hsemotion_cli.cli import app
from hsemotion_cli.commands import annotate, batch, catalogue, config_files, console, defaults, live, models
from hsemotion_cli.commands.signature import option_facts
from hsemotion_cli.errors import UsageError
from hsemotion_cli.runtime import user_folders


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder to be in, and a user's file elsewhere."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HSEMOTION_CONFIG", str(tmp_path / "user" / "config.toml"))
    for name in [name for name in os.environ if name.startswith("HSEMOTION_")]:
        if name not in defaults.RESERVED:
            monkeypatch.delenv(name)
    return folder


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "300"})
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result.stdout if code == 0 else unstamped(result.stderr)


def user(text: str) -> Path:
    path = user_folders.config_file()
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def project(text: str) -> Path:
    Path("hsemotion.toml").write_text(text)
    return Path("hsemotion.toml").absolute()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What ``annotate`` is called with, in place of its work."""
    found: dict[str, Any] = {}

    def work(*groups: Any) -> None:
        found.update(groups=groups, chosen=dict(defaults.CHOSEN.get()))
        raise UsageError("enough.")

    from hsemotion_cli.commands import settings as module

    monkeypatch.setattr(module, "chosen_settings", work)
    return found


def chosen(seen: dict[str, Any], *words: object) -> dict[str, tuple[Any, str]]:
    assert run("annotate", "a.mp4", "-q", *words, code=2) == "hsemotion: enough.\n"
    return {name: (entry["value"], entry["from"]) for name, entry in seen["chosen"].items()}


# --- precedence -------------------------------------------------------------------------------------------------


def test_the_nearest_layer_counts(seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(seen) == {}
    user("min-face = 10\nstride = 2\noverlay = true\nfps = 5\n")
    project("min_face = 20\nstride = 3\n")
    monkeypatch.setenv("HSEMOTION_MIN_FACE", "30")
    expected = {"min-face": ("30", "environment"), "stride": (3, "project file"), "overlay": (True, "user file")}
    assert chosen(seen) == {**expected, "fps": (5, "user file")}
    _, faces, networks, _, output, _ = seen["groups"]
    assert (faces.min_face, networks.stride, output.overlay) == (30, 3, True)
    assert chosen(seen, "--min-face", 40, "--fps", 7) == {
        **expected, "min-face": ("40", "command line"), "fps": ("7", "command line"),
    }  # fmt: skip
    assert seen["groups"][1].min_face == 40 and seen["groups"][0].fps == 7.0


def test_the_table_of_a_command_counts_before_the_top_of_the_same_file(seen: dict[str, Any]) -> None:
    user("stride = 2\nmin-face = 5\n[annotate]\nstride = 4\n[batch]\nstride = 5\n")
    project("min-face = 6\n")
    assert chosen(seen) == {"stride": (4, "user file"), "min-face": (6, "project file")}


def test_a_variable_of_the_command_counts_before_one_of_all(
    seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSEMOTION_STRIDE", "2")
    monkeypatch.setenv("HSEMOTION_ANNOTATE_STRIDE", "3")
    monkeypatch.setenv("HSEMOTION_THRESHOLD", "AU12=0.4,AU01=0.2")
    monkeypatch.setenv("HSEMOTION_OVERLAY", "true")
    monkeypatch.setenv("HSEMOTION_FPS", "")
    assert chosen(seen) == {
        "stride": ("3", "environment"), "threshold": (["AU12=0.4", "AU01=0.2"], "environment"),
        "overlay": ("true", "environment"),
    }  # fmt: skip
    _, _, networks, smoothing, output, _ = seen["groups"]
    assert (networks.stride, smoothing.threshold, output.overlay) == (3, ["AU12=0.4", "AU01=0.2"], True)


def test_options_of_one_command_stand_in_its_table_only(monkeypatch: pytest.MonkeyPatch) -> None:
    user("[batch]\nretries = 4\nno_recursive = true\n")
    assert "no-recursive is not an option of batch; did you mean recursive?" in run("annotate", "a.mp4", code=2)
    path = user("[batch]\nretries = 4\nrecursive = false\n[train.heads]\nepochs = '3'\n")
    monkeypatch.setenv("HSEMOTION_BATCH_TIMEOUT", "60")
    monkeypatch.setenv("HSEMOTION_RETRIES", "9")
    found = defaults.effective(defaults.layers(("batch",), batch.run), ())
    values = {name: setting.value for name, setting in found.items()}
    assert values == {"retries": 4, "recursive": False, "timeout": "60"}
    assert defaults.effective(defaults.layers(("annotate",), annotate.run), ()) == {}
    path.write_text("retries = 4\n")
    assert "retries is an option of single commands; write batch.retries." in run("annotate", "a.mp4", code=2)


def test_smooth_keeps_a_table_s_settings_unless_its_own_defaults_differ() -> None:
    user("smooth = 'gaussian:0.5'\nformat = 'parquet'\n")
    smooth = catalogue.functions()["smooth",]
    assert set(defaults.effective(defaults.layers(("smooth",), smooth), ())) == {"format"}
    user("[smooth]\nsmooth = 'gaussian:0.5'\n")
    assert set(defaults.effective(defaults.layers(("smooth",), smooth), ())) == {"smooth"}


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([], {"model", "blend", "smooth", "max-gap", "stride"}),
        (["--recipe", "r.toml"], {"stride"}),
        (["--model", "mbf_va_mtl"], {"smooth", "max-gap", "stride"}),
        (["--head", "h.safetensors"], {"smooth", "max-gap", "stride"}),
        (["--smooth", "none"], {"model", "blend", "max-gap", "stride"}),
    ],
)
def test_defaults_give_way_to_what_makes_them_senseless(seen: dict[str, Any], words: list[str], left: set[str]) -> None:
    user("model = 'a,b'\nblend = '0.7'\nsmooth = 'box:1'\nmax-gap = 1\nstride = 2\n")
    found = chosen(seen, *words)
    assert {name for name, (_, source) in found.items() if source == "user file"} == left


def test_a_recipe_of_the_project_counts_before_a_model_of_the_user_but_not_beside_it(seen: dict[str, Any]) -> None:
    user("model = 'a'\n")
    project("recipe = 'r.toml'\n")
    assert chosen(seen) == {"recipe": ("r.toml", "project file")}
    assert seen["groups"][3].recipe == Path("r.toml").absolute() and seen["groups"][2].model is None
    project("recipe = 'r.toml'\nmodel = 'b'\n")
    assert set(chosen(seen)) == {"recipe", "model"}


# --- messages and records ---------------------------------------------------------------------------------------


def test_defaults_are_printed_unless_quiet(seen: dict[str, Any]) -> None:
    one, two = project("overlay = true\n"), user("min-face = 3\n")
    said = run("annotate", "a.mp4", code=2).splitlines()
    assert said == [f"hsemotion: defaults from {one}: overlay true; {two}: min-face 3.", "hsemotion: enough."]
    assert run("annotate", "a.mp4", "-q", code=2) == "hsemotion: enough.\n"


def test_the_sidecar_records_what_came_from_where_without_paths_of_this_machine(
    smile: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("stride = 2\nlog = 'log.txt'\n")
    monkeypatch.setenv("HSEMOTION_MODEL", "mp-blendshapes")
    run("annotate", smile, "-q", "--every", 6, "-o", "out", "--threshold", "AU12=0.9")
    content = json.loads(Path("out/smile.json").read_text())
    assert content["options"] == {
        "every": {"value": "6", "from": "command line"},
        "model": {"value": "mp-blendshapes", "from": "environment"},
        "stride": {"value": 2, "from": "user file"},
        "threshold": {"value": ["AU12=0.9"], "from": "command line"},
    }
    assert content["recipe"]["models"] == ["mp-blendshapes"] and content["sampling"]["network_stride"] == 2
    assert (user_folders.config_file().parent / "log.txt").is_file()
    run("smooth", "out/smile.csv", "-o", "two", "--smooth", "box:1", "-q")
    again = json.loads(Path("two/smile.json").read_text())["options"]
    assert again == {**content["options"], "smooth": {"value": "box:1", "from": "command line"}}
    monkeypatch.delenv("HSEMOTION_MODEL")
    user("")
    run("annotate", smile, "-q", "-o", "three", "--every", 6, "--model", "mp-blendshapes", "--recipe", "out/smile.json")
    found = json.loads(Path("three/smile.json").read_text())["options"]
    assert found["recipe"] == {"value": "smile.json", "from": "command line"}


def test_the_sidecar_records_no_settings_of_the_machine() -> None:
    facts = option_facts(annotate.run) | option_facts(batch.run) | option_facts(live.run)
    assert facts.keys() >= defaults._UNRECORDED - {"verbose"}
    given = dict.fromkeys(["workers", "threads", "shard", "timeout", "address", "min-coverage", "precision"], 1)
    assert defaults.chosen(facts, given, {}) == {"precision": {"value": 1, "from": "command line"}}


def test_a_path_within_a_value_is_not_recorded() -> None:
    facts = option_facts(annotate.run)
    given = {"model": "a=/home/me/a.onnx,b=x\\y.pt", "audio-weights": "/data/w2v", "smooth": "abaw:100/50"}
    found = defaults.chosen(facts, given, {})
    assert {name: entry["value"] for name, entry in found.items()} == {
        "model": "a=a.onnx,b=y.pt", "audio-weights": "w2v", "smooth": "abaw:100/50",
    }  # fmt: skip


def test_nothing_is_recorded_where_nothing_was_chosen(smile: Path) -> None:
    run("annotate", smile, "-q", "-o", "out")
    assert "options" not in json.loads(Path("out/smile.json").read_text())


def test_help_needs_no_files(seen: dict[str, Any]) -> None:
    user("= broken")
    assert "--min-face" in run("annotate", "--help")
    assert "config.toml: not TOML" in run("annotate", "a.mp4", code=2)
    assert str(user_folders.config_file()) in run("config", "path")


# --- files that cannot be ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("min-fase = 3", "min-fase is not an option; did you mean min-face?"),
        ("[anotate]\nstride = 2", "there is no command anotate; did you mean annotate?"),
        ("[config]\nproject = true", "there is no command config"),
        ("[train]\nepochs = 2", "there is no command train; did you mean train."),
        ("overlay = 'yes'", "overlay = 'yes': give true or false"),
        ("min-face = true", "min-face = True: give a text or a number"),
        ("threshold = [1, true]", "give a list of texts"),
        ("min-face = [1]", "give a text or a number"),
        ("stride = 2000-01-01", "give a text or a number"),
        ("out = '../elsewhere'", "leads out of the project's folder"),
        ("log = '/etc/motd'", "leads out of the project's folder"),
        ("head = ['a', 'b/../../c']", "leads out of the project's folder"),
    ],
)
def test_a_project_file_that_cannot_be_is_refused(seen: dict[str, Any], text: str, says: str) -> None:
    path = project(text)
    said = run("annotate", "a.mp4", code=2)
    assert f"hsemotion: {path}: " in said and says in said


def test_a_value_that_an_option_cannot_have_is_refused_with_where_it_comes_from(
    seen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = user("every = 0\n")
    assert f"It comes from {path}." in " ".join(run("annotate", "a.mp4", code=2).replace("│", "").split())
    user("")
    monkeypatch.setenv("HSEMOTION_MIN_FACE", "small")
    assert "It comes from HSEMOTION_MIN_FACE." in run("annotate", "a.mp4", code=2)
    assert "It comes from" not in run("annotate", "a.mp4", "--min-face", "small", code=2)


def test_a_file_that_cannot_be_read_is_refused(seen: dict[str, Any]) -> None:
    path = user("")
    path.unlink()
    path.mkdir()
    assert f"{path}: cannot be read" in run("annotate", "a.mp4", code=2)
    path.rmdir()
    path.write_bytes(b"a = '\xff'")
    assert f"{path}: not TOML" in run("annotate", "a.mp4", code=2)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CONFIG_HOME": "/x"}, "/x/hsemotion/config.toml"),
        ("linux", {"HOME": "/h"}, "/h/.config/hsemotion/config.toml"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Application Support/hsemotion/config.toml"),
        ("win32", {"APPDATA": "/a"}, "/a/hsemotion/config.toml"),
        ("linux", {"HSEMOTION_CONFIG": "/own.toml"}, "/own.toml"),
    ],
)
def test_the_user_file_is_where_the_platform_keeps_settings(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HSEMOTION_CONFIG", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert user_folders.config_file() == Path(expected)


# --- hsemotion config -------------------------------------------------------------------------------------------


def test_set_show_and_unset(place: Path) -> None:
    path = user_folders.config_file()
    assert "no defaults were set" in run("config", "show")
    assert run("config", "set", "min-face", 40) == f"min-face = 40 in {path}\n"
    run("config", "set", "annotate.overlay", "true")
    run("config", "set", "threshold", "AU12=0.4,AU01=0.3")
    run("config", "set", "batch.timeout", "90.5", "--project")
    run("config", "set", "train.heads.epochs", "3")
    run("config", "set", "min_face", 50, "--project")
    assert tomllib.loads(path.read_text()) == {
        "min-face": 40, "annotate": {"overlay": True}, "threshold": ["AU12=0.4", "AU01=0.3"],
        "train": {"heads": {"epochs": "3"}},
    }  # fmt: skip
    assert tomllib.loads(Path("hsemotion.toml").read_text()) == {"batch": {"timeout": 90.5}, "min-face": 50}
    rows = {(row["option"], row["source"]): row for row in json.loads(run("config", "show", "--json"))}
    assert rows["min-face", "user file"]["remark"] == f"overridden by {Path('hsemotion.toml').absolute()}"
    assert rows["min-face", "project file"]["value"] == 50 and rows["min-face", "project file"]["remark"] == ""
    shown = run("config", "show")
    assert "annotate.overlay" in shown and "true" in shown and "AU12=0.4,AU01=0.3" in shown
    run("config", "unset", "min-face", "--project")
    assert run("config", "unset", "annotate.overlay") == f"annotate.overlay removed from {path}\n"
    assert "has no annotate.overlay" in run("config", "unset", "annotate.overlay", code=2)
    values = {row["option"]: row for row in json.loads(run("config", "show", "annotate", "--json"))}
    assert values["min-face"] == {
        "option": "min-face", "value": 40, "source": "user file", "origin": str(path), "remark": "",
    }  # fmt: skip
    assert values["overlay"]["source"] == "built in" and set(values) == set(option_facts(annotate.run))
    assert run("config", "path", "--project") == f"{Path('hsemotion.toml').absolute()}\n"
    assert "did you mean annotate?" in run("config", "show", "anotate", code=2)
    assert "epochs" in run("config", "show", "train", "heads")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("min-fase", "3", "did you mean min-face?"), ("retries", "3", "write batch.retries"),
        ("min-face", "x", "min-face x: "), ("every", "0", "every 0: "), ("overlay", "maybe", "give true or false"),
        ("min-coverage", "1.5", "min-coverage 1.5: "), ("batch.retris", "3", "did you mean retries?"),
    ],
)  # fmt: skip
def test_set_refuses_what_the_command_line_would(key: str, value: str, says: str) -> None:
    assert says in run("config", "set", key, value, code=2)
    assert not user_folders.config_file().exists()


def test_paths_are_kept_for_where_they_are_read_from(seen: dict[str, Any], place: Path) -> None:
    run("config", "set", "recipe", "r.toml")
    assert tomllib.loads(user_folders.config_file().read_text()) == {"recipe": str(place / "r.toml")}
    run("config", "set", "out", "results", "--project")
    assert tomllib.loads(Path("hsemotion.toml").read_text()) == {"out": "results"}
    chosen(seen)
    assert seen["groups"][3].recipe == place / "r.toml" and seen["groups"][4].out == place / "results"
    assert "leads out" in run("config", "set", "log", "../x", "--project", code=2)


def test_variables_that_are_no_options_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HSEMOTION_MINFACE", "3")
    monkeypatch.setenv("HSEMOTION_STRIDE", "3")
    monkeypatch.setenv("HSEMOTION_DEBUG", "1")
    rows = {row["origin"]: row for row in json.loads(run("config", "show", "--json"))}
    assert set(rows) == {"HSEMOTION_MINFACE", "HSEMOTION_STRIDE"}
    assert rows["HSEMOTION_MINFACE"]["remark"].endswith("did you mean HSEMOTION_MIN_FACE?")
    assert rows["HSEMOTION_STRIDE"]["option"] == "stride"


# --- changing a file --------------------------------------------------------------------------------------------

TEXT = """# mine
min_face = 40  # small faces

# for batches
[batch]
retries = 3

[train.heads]  # slow
epochs = "3"
"""


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ((), "min-face", 50, TEXT.replace("min_face = 40  # small faces", "min-face = 50")),
        ((), "stride", 2, TEXT.replace("small faces\n", "small faces\nstride = 2\n")),
        ((), "min-face", None, TEXT.replace("min_face = 40  # small faces\n", "")),
        (("batch",), "timeout", 9.5, TEXT.replace("retries = 3\n", "retries = 3\ntimeout = 9.5\n")),
        (("train", "heads"), "rate", 0.1, TEXT + "rate = 0.1\n"),
        (("bench",), "repeat", 5, TEXT + "\n[bench]\nrepeat = 5\n"),
    ],
)
def test_only_one_line_of_a_file_changes(table: tuple[str, ...], key: str, value: Any, expected: str) -> None:
    assert config_files.changed(TEXT, table, key, value) == expected


@pytest.mark.parametrize("text", [
    "batch.retries = 3\n", "batch = {retries = 3}\n", "[[batch]]\nretries = 3\n", "[batch]\nretries = [\n1,\n]\n",
    "x = '''\n[batch]\nretries = 3\n'''\n",
])  # fmt: skip
def test_what_cannot_be_changed_in_place_is_left_alone(text: str) -> None:
    with pytest.raises(UsageError, match="edit the file"):
        config_files.changed(text, ("batch",), "retries", 4)


KEYS = st.sampled_from(["min-face", "stride", "out", "a-b_c".replace("_", "-")])
TABLES = st.sampled_from([(), ("batch",), ("train", "heads")])
VALUES = st.one_of(
    st.integers(-9, 9), st.booleans(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8).filter(lambda text: max(text, default="") < "\ud800" or max(text) > "\udfff"),
    st.lists(st.text("ab\"'\\\n#[]=", max_size=4), max_size=3),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TABLES, KEYS, st.one_of(st.none(), VALUES)), max_size=8))
@example([((), "min-face", "\x85"), ((), "stride", None)])
def test_any_row_of_changes_gives_the_values_that_were_set(
    changes: list[tuple[tuple[str, ...], str, Any]],
) -> None:
    text = ""
    expected: dict[tuple[tuple[str, ...], str], Any] = {}
    for table, key, value in changes:
        text = config_files.changed(text, table, key, value)
        expected.pop((table, key), None)
        if value is not None:
            expected[table, key] = value
    assert {(table, key): value for table, key, value in config_files.values(tomllib.loads(text))} == expected


# --- models download --------------------------------------------------------------------------------------------


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    from hsemotion_cli.commands import models_cache

    monkeypatch.setattr(models_cache, "download", lambda *_, **__: None)


def test_a_download_says_how_to_make_the_model_the_default(fetched: None) -> None:
    result = CliRunner().invoke(app, ["models", "download", "mbf_va_mtl"])
    assert "hsemotion config set model mbf_va_mtl" in result.stderr and result.stdout == ""
    run("config", "set", "model", "mbf_va_mtl")
    assert "config set" not in CliRunner().invoke(app, ["models", "download", "mbf_va_mtl"]).stderr
    assert CliRunner().invoke(app, ["models", "download", "mbf_va_mtl", "enet_b0_7"]).stderr.count("config set") == 0


def test_a_download_asks_on_a_terminal_only(fetched: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "asks", lambda: True)
    for answer, expected in (("n\n", None), ("y\n", "mbf_va_mtl")):
        result = CliRunner().invoke(app, ["models", "download", "mbf_va_mtl"], input=answer)
        assert "Make mbf_va_mtl the default model?" in result.output
        assert config_files.read(user_folders.config_file()).get("model") == expected
    assert "Make" not in CliRunner().invoke(app, ["models", "download", "enet_b0_7", "--json"], input="y\n").output
    assert models.download.__doc__
