"""The shape of the program: who may import whom, and what must not be loaded too early."""

from __future__ import annotations

import ast
import graphlib
import importlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hsemotion_cli"

# A folder, or a module at the top level, imports only from lines above its own; also inside functions.
ORDER = (
    "errors domain palette tasks",
    "timeline runtime",
    "media",
    "overlay models",
    "faces postprocess",
    "formats",
    "evaluation",
    "analysis imports",
    "exports",
    "reporting",
    "pipeline",
    "live",
    "annotation",
    "api",
    "training",
    "abaw batch bench",
    "papers",
    "commands",
    "cli",
    "__main__",
)
LEVEL = {name: k for k, line in enumerate(ORDER) for name in line.split()}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def own_imports(path: Path) -> set[str]:
    """Modules of the package that a file imports, also inside functions."""
    here = module_name(path).split(".")
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            target = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                full = ".".join([*target, alias.name])
                found.add(full if (PACKAGE / Path(*full.split("."))).with_suffix(".py").exists() else ".".join(target))
    return found - {""}


IMPORTS = {module_name(path): own_imports(path) for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"}


@pytest.mark.parametrize("name", IMPORTS)
def test_a_folder_imports_only_from_folders_below_it(name: str) -> None:
    home = name.split(".")[0]
    assert home in LEVEL, f"{home}: give it a line in ORDER"
    for other in IMPORTS[name]:
        above = other.split(".")[0]
        assert above == home or LEVEL[above] < LEVEL[home], f"{name} imports {other}, which is not below it"


def test_the_order_names_what_is_there() -> None:
    assert {name.split(".")[0] for name in IMPORTS} == set(LEVEL)


def test_every_module_that_is_named_in_text_exists() -> None:
    """In documentation, comments and scripts inside strings, where no import would fail."""
    root = PACKAGE.parent
    pages = [*root.glob("*.md"), *root.glob("docs/**/*.md"), *root.glob("plans/*.toml")]
    for path in [*pages, *PACKAGE.rglob("*.py"), *root.glob("tests/*.py"), *root.glob("scripts/*.py")]:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"\bhsemotion_cli/[\w/]+\.py\b", text):
            assert (root / name).is_file(), f"{path.name} names {name}"
        for folder, module in re.findall(r"\bhsemotion_cli\.([a-z_]+)(?:\.([a-z_0-9]+))?", text):
            place = PACKAGE / folder
            assert place.is_dir() or place.with_suffix(".py").is_file(), f"{path.name} names hsemotion_cli.{folder}"
            if module and place.is_dir():
                found = (place / module).with_suffix(".py")
                assert found.is_file() or (place / module).is_dir(), (
                    f"{path.name} names hsemotion_cli.{folder}.{module}"
                )


def test_no_modules_import_each_other_in_a_circle() -> None:
    graphlib.TopologicalSorter(IMPORTS).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["annotate", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys, atexit\nfrom hsemotion_cli.cli import main\n"
        "atexit.register(lambda: print('LOADED', *sys.modules, file=sys.stderr))\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.partition("LOADED ")[2].split())
    assert "typer" in loaded
    heavy = {"numpy", "cv2", "av", "mediapipe", "pandas", "scipy", "pyarrow", "onnxruntime", "openvino", "torch", "PIL"}
    heavy |= {"ray", "pydantic", "hsemotion_cli.pipeline", "hsemotion_cli.commands.console"}
    assert not heavy & loaded
    assert done.stdout


def test_annotating_loads_no_torch(smile: Path, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom typer.testing import CliRunner\nfrom hsemotion_cli.cli import app\n"
        "result = CliRunner().invoke(app, sys.argv[1:])\nassert result.exit_code == 0, result.output\n"
        "print(*sorted({'torch', 'timm', 'pandas', 'matplotlib', 'mediapipe'} & set(sys.modules)))\n"
    )
    command = [sys.executable, "-c", script, "annotate", str(smile), "-o", str(tmp_path), "--every", "6"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_scripts_ask_for_what_the_package_has() -> None:
    """Most scripts are run by no test, so a moved name would go unnoticed."""
    for script in sorted((PACKAGE.parent / "scripts").glob("*.py")):
        for name in re.findall(r'patch\.object\((\w+, "\w+")', script.read_text()):
            module, attribute = name.replace('"', "").split(", ")
            home = re.search(rf"^from (hsemotion_cli[\w.]*) import .*\b{module}\b", script.read_text(), re.MULTILINE)
            if home is not None:
                found = importlib.import_module(f"{home[1]}.{module}")
                assert hasattr(found, attribute), f"{script.name} patches {name}"
        for node in ast.walk(ast.parse(script.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hsemotion_cli"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    there = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                    assert there, f"{script.name}: {node.module} has no {alias.name}"
