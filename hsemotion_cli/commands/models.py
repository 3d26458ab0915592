"""``hsemotion models``: the models, and their weights in the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import Only, OutputOptions, RunningOptions

Names = Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Models.", show_default=False)]
Json = Annotated[OutputOptions, Only("json")]


def list_models(output: Json) -> None:
    """List every model, and whether its weights are on this machine."""
    from . import models_cache

    models_cache.list_models(as_json=output.json)


def info(name: Annotated[str, typer.Argument(metavar="NAME", help="A model.")], output: Json) -> None:
    """Print everything known about a model."""
    from . import models_cache

    models_cache.info(name, as_json=output.json)


def add(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A network that you trained, FILE.safetensors.", show_default=False),
    ],
    output: Json,
) -> None:
    """Copy a trained network into the cache, so that every command finds it by name."""
    from . import models_cache

    models_cache.add(file, as_json=output.json)


def download(
    output: Json,
    running: Annotated[RunningOptions, Only("offline")],
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every published model.")] = False,
    kind: Annotated[
        str, typer.Option(metavar="onnx|pt|pth|all", help="Which files: graphs for CPUs, checkpoints, or all.")
    ] = "all",
) -> None:
    """Download weights and verify their checksums; an interrupted download is resumed."""
    from . import models_cache

    models_cache.download(names or [], everything=everything, kind=kind, offline=running.offline, as_json=output.json)
    if names and len(set(names)) == 1:
        _offer(names[0], ask=not output.json)


def _offer(name: str, ask: bool) -> None:
    """On a terminal, ask whether to make a model the default; elsewhere print the command that does."""
    from . import annotate, config, defaults
    from .console import asks, say

    found = defaults.effective(defaults.layers(("annotate",), annotate.run), ()).get("model")
    if found is not None and found.value == name:
        return
    if ask and asks():
        if typer.confirm(f"Make {name} the default model?", err=True):
            config.set_value("model", name)
    else:
        say(f"to make {name} the default model: hsemotion config set model {name}")


def verify(output: Json, names: Names = None) -> int:
    """Check the cached weights against their checksums; exit with 5 if one is damaged."""
    from . import models_cache

    return models_cache.verify(names or [], as_json=output.json)


def path(
    output: Json,
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model; without one, the cache folder.", show_default=False)
    ] = None,
) -> None:
    """Print where a model's weights are; exit with 5 if they are not on this machine."""
    from . import models_cache

    models_cache.path(name, as_json=output.json)


def remove(names: Annotated[list[str], typer.Argument(metavar="NAME", help="Models.")], output: Json) -> None:
    """Remove weights from the cache, with everything made from them."""
    from . import models_cache

    models_cache.remove(names, as_json=output.json)
