"""The shape of the program: who may import whom, and what must not be loaded too early."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "hsemotion_cli"

# A file imports only from lines above its own.
LAYERS = (
    "errors domain tasks interrupts clock memory machine headers",
    "flow outputs source scenes schema stamps truth metrics compound abaw.challenges",
    "warp networks.cards networks.pickles networks.architectures",
    "pictures canvas crops drawing heads networks.checkpoints networks.lean networks.vino networks.shared_bytes",
    "networks.onnx_graphs networks.device_faces",
    "video painter mesh networks.conversion",
    "audio marks networks.trained",
    "registry",
    "faces recipe timeline networks.weights",
    "fast mediapipe_tasks tracks smooth geometry inputs",
    "between stride",
    "networks.engines",
    "networks.model networks.wav2vec",
    "predict refine hearing",
    "formats.table formats.archive formats.sidecar formats.features tuning",
    "abaw.predictions abaw.lists abaw.tally abaw.audio abaw.grid",
    "abaw.scores abaw.trials",
    "abaw.submission abaw.validation abaw.emi abaw.tuning",
    "abaw.answers abaw.surface",
    "abaw.evaluation",
    "training.markdown",
    "training.features training.head_page training.losses training.widen",
    "training.heads",
    "training.samples training.start training.report",
    "abaw.charts",
    "training.views",
    "training.plan",
    "training.measure training.sources",
    "training.finetune training.calibrate",
    "training.complete",
    "render",
    "annotate",
    "bench.clip bench.figures",
    "bench.peer",
    "bench.runs",
    "bench.rounds",
    "batch.records batch.shards",
    "batch.places batch.order batch.locks batch.journal",
    "batch.finding batch.resume batch.engine",
    "batch.annotating batch.worker batch.crew",
    "batch.process",
    "batch.local batch.station",
    "batch.cluster",
    "cli",
    "commands.console",
    "commands.annotate commands.extract commands.smooth commands.render commands.train_heads",
    "commands.batch_view commands.bench",
    "commands.batch",
    "commands.train_finetune",
    "commands.evaluate commands.tune commands.submit",
    "commands.models commands.schema commands.doctor",
)
LEVEL = {name: k for k, layer in enumerate(LAYERS) for name in layer.split()}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def own_imports(path: Path, *, lazy: bool) -> set[str]:
    """Modules of the package that a file imports; with ``lazy`` also those inside functions."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if lazy else iter(tree.body)
    here = module_name(path).split(".")
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            target = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                full = ".".join([*target, alias.name])
                found.add(full if (PACKAGE / Path(*full.split("."))).with_suffix(".py").exists() else ".".join(target))
    return found - {""}


def test_every_file_has_its_place_and_imports_only_from_above() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        name = module_name(path)
        if path.name in {"__init__.py", "__main__.py"}:
            continue
        assert name in LEVEL, f"{name}: give it a line in LAYERS"
        for other in own_imports(path, lazy=name != "cli"):
            assert LEVEL[other] < LEVEL[name], f"{name} imports {other}, which is not above it"


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
    heavy |= {"ray", "markdown_it"}
    assert not heavy & loaded
    # Help is drawn without parts of Rich that it does not need; the same appears with them.
    plain = "from hsemotion_cli.cli import app\napp(prog_name='hsemotion')"
    whole = subprocess.run([sys.executable, "-c", plain, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout == whole.stdout and done.stdout


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
    """Nobody runs most of them in a test, and a name that has moved would go unnoticed."""
    for script in sorted((PACKAGE.parent / "scripts").glob("*.py")):
        for node in ast.walk(ast.parse(script.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hsemotion_cli"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    found = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                    assert found, f"{script.name}: {node.module} has no {alias.name}"
