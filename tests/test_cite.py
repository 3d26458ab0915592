"""What to cite for tables and models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hsemotion_cli import __version__
from hsemotion_cli.cli import app
from hsemotion_cli.models import registry
from hsemotion_cli.postprocess.recipe import Recipe


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["cite", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.fixture(scope="module")
def table(smile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cited")
    words = ["annotate", str(smile), "-o", str(out), "--every", "6", "--model", "mp-blendshapes", "-q"]
    assert CliRunner().invoke(app, words).exit_code == 0
    return out / "smile.csv"


def named(text: str) -> list[tuple[str, str]]:
    return [(work["what"], work["name"]) for work in json.loads(text)]


def test_without_a_table_it_is_the_default_models() -> None:
    works = json.loads(run("--json"))
    assert [work["name"] for work in works] == ["hsemotion", "MediaPipe", *Recipe.usual().models]
    assert works[0]["cite"].endswith(f"hsemotion {__version__}")
    for work in works[2:]:
        card = registry.card(work["name"])
        assert card.citation in work["cite"] and work["licence"] == card.licence
    printed = run()
    for work in works:
        assert f"{work['name']} ({work['what']}): {work['cite']}." in printed


def test_a_table_names_its_own_models(table: Path) -> None:
    assert named(run(table, "--json")) == [
        ("program", "hsemotion"),
        ("faces", "MediaPipe"),
        ("model", "mp-blendshapes"),
    ]
    assert run(table, table) == run(table)


def test_models_that_are_not_known_here_and_heads_are_named_by_the_sidecar(table: Path, tmp_path: Path) -> None:
    content: dict[str, Any] = json.loads(table.with_suffix(".json").read_text())
    content["detector"]["used"] = False
    content["tool"]["version"] = "0.0.9"
    content["models"] = [
        {"name": "mine", "training_data": "faces of mine", "licence": "CC0", "head": {"name": "h", "terms": "mine"}},
        {"name": "mp-blendshapes"},
    ]
    (tmp_path / "b.json").write_text(json.dumps(content))
    works = json.loads(run(tmp_path / "b.csv", "--json"))
    assert [(work["what"], work["name"]) for work in works] == [
        ("program", "hsemotion"), ("model", "mine"), ("head", "h"), ("model", "mp-blendshapes"),
    ]  # fmt: skip
    assert works[0]["cite"].endswith("hsemotion 0.0.9")
    assert "faces of mine" in works[1]["cite"] and works[1]["licence"] == "CC0"
    assert works[2]["licence"] == "mine"
    both = json.loads(run(tmp_path / "b.csv", table, "--json"))
    assert both[0]["cite"].endswith(f"hsemotion 0.0.9 and {__version__}") and ("faces", "MediaPipe") in named(
        json.dumps(both)
    )


def test_what_cannot_be_is_refused(table: Path, tmp_path: Path) -> None:
    assert "not there" in run(tmp_path / "no.csv", code=4)
    assert "--model" in run(table, "--model", "mp-blendshapes", code=2)
    assert "unknown model" in run("--model", "nobody", code=2)
