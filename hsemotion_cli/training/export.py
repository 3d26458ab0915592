"""The end of a run: trained weights are calibrated, evaluated, and written with their model card."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..errors import ModelUnavailable
from ..formats.sidecar import libraries
from ..models import engines, model_file
from ..models.architectures import Network
from ..models.cards import ModelCard, NetworkSpec, network_card
from ..models.conversion import spec_of
from ..reporting import score_plots
from ..reporting.markdown import signed
from ..runtime.atomic_files import replace_when_done
from ..tasks import ACTION_UNITS
from .calibrate import Calibration, build_in, class_shares, fit
from .checkpoint import BEST, CHECKPOINT, LOG
from .config import NORMALISATIONS, TrainingConfig
from .dataset import PARTS, Dataset
from .figures import figures
from .model_card import model_card
from .trainer import Trainer, infer


def outputs(config: TrainingConfig, folder: Path) -> list[Path]:
    """Every file that a run writes into its folder, from the first checkpoint to the model card."""
    weights = folder / f"{config.name}.safetensors"
    drawn = ["curves.png", *(_confusion_name(source.name) for source in config.sources)]
    pages = [weights, model_file.graph_path(weights), weights.with_suffix(".md")]
    return [*(folder / name for name in (CHECKPOINT, BEST, LOG, *drawn)), *pages]


def export(trainer: Trainer, folder: Path, warn: Callable[[str], None]) -> dict[str, Any]:
    """Write the results of a finished run: weights, ONNX graph, model card, score_plots.

    Args:
        trainer: at the end of its run.
        folder: to write to.
        warn: called with a sentence about each part that could not be made.

    Returns:
        the facts that are stored with the weights.

    Raises:
        OutputError: a file cannot be written.
    """
    config, dataset = trainer.config, trainer.dataset
    network = copy.deepcopy(trainer.result())
    rows = dataset.rows(trainer.held_out_part)
    calibration = fit(trainer.predict(rows), dataset, rows, config)
    build_in(network, config, calibration)
    network = model_file.rounded(network)
    thresholds = calibration.thresholds or {}
    card = _card(config, network, dataset, thresholds)
    facts = {
        "plan": config.to_json(),
        "plan_sha256": config.digest(),
        "start": trainer.origin,
        "commit": _commit(),
        "versions": {"hsemotion": __version__, "python": sys.version.split()[0], **libraries()},
        "seconds": round(trainer.seconds, 1),
        "steps": trainer.steps,
        "device": trainer.device,
        "data": _data_rows(config, dataset),
        "figures": measured(trainer, network, calibration),
        "calibration": {
            "part": trainer.held_out_part,
            "temperature": calibration.temperature,
            "shift": calibration.shift,
        },
        "au_thresholds": thresholds,
    }
    if "expression" in config.tasks:
        drawn = {name for stage in config.stages for name in config.drawn_from(stage)}
        shares = class_shares(dataset, dataset.rows("train", drawn))
        facts["class_shares"] = dict(zip(config.classes, map(float, shares), strict=True))
    weights = folder / f"{config.name}.safetensors"
    facts["onnx_sha256"] = _graph(network, spec_of(card), weights, warn)
    model_file.write(weights, network, card, facts)
    _write_page(folder, config, card, facts, trainer.log, warn)
    return facts


def measured(trainer: Trainer, network: Network, calibration: Calibration) -> dict[str, Any]:
    """Metrics of the finished network on the validation part of every source that has one."""
    config, dataset, found = trainer.config, trainer.dataset, {}
    limits = np.array([(calibration.thresholds or {}).get(unit, 0.5) for unit in ACTION_UNITS])
    for source in config.sources:
        rows = dataset.rows("validation", [source.name])
        if len(rows):
            scores = infer(network, trainer.augmenter, dataset, rows)
            found[f"{source.name} validation"] = asdict(figures(scores, dataset, rows, config, limits))
    return found


def _card(config: TrainingConfig, network: Network, dataset: Dataset, thresholds: dict[str, float]) -> ModelCard:
    mean, std = NORMALISATIONS[config.normalisation]
    spec = NetworkSpec(
        architectures=(config.architecture,),
        size=config.size,
        mean=mean,
        std=std,
        classes=config.classes if "expression" in config.tasks else (),
        valence_arousal="valence_arousal" in config.tasks,
        embedding_size=network.embedding_size,
        embedding_source="fc",
        action_units=ACTION_UNITS if "action_units" in config.tasks else (),
    )
    data = "; ".join(
        f"{source.name}, {len(dataset.rows('train', [source.name])):,} images ({source.terms})"
        for source in config.sources
    )
    card = network_card(
        config.name,
        config.paper_name or config.name,
        f"face-{config.size}",
        config.licence,
        data,
        config.citation,
        spec,
    )
    return replace(card, au_thresholds=thresholds if spec.action_units else {})


def _data_rows(config: TrainingConfig, dataset: Dataset) -> list[dict[str, Any]]:
    """Counts for each part of each source."""
    rows = []
    for source in config.sources:
        for part in PARTS:
            chosen = dataset.rows(part, [source.name])
            if len(chosen):
                seen = int((~np.isnan(dataset.points[chosen]).any(axis=(1, 2))).sum())
                row = {"source": source.name, "part": part, "pictures": len(chosen), "with_face": seen}
                rows.append({**row, "terms": source.terms})
    return rows


def _graph(network: Network, spec: NetworkSpec, weights: Path, warn: Callable[[str], None]) -> str | None:
    """Write the ONNX graph beside the weights; its SHA-256, or None if it cannot be exported."""
    target = model_file.graph_path(weights)
    try:
        return engines.export_half(network, spec, target)
    except ModelUnavailable as error:
        warn(f"no ONNX graph was written, so annotating needs torch: {error}")
        target.unlink(missing_ok=True)
        return None


def _write_page(
    folder: Path,
    config: TrainingConfig,
    card: ModelCard,
    facts: dict[str, Any],
    log: list[dict[str, Any]],
    warn: Callable[[str], None],
) -> None:
    plotted = _plot(folder, config, facts, log, warn)
    page = model_card({"card": {**asdict(card), "path": None}, "pictures": plotted, **facts})
    with replace_when_done(folder / f"{config.name}.md") as part:
        part.write_text(signed(page), encoding="utf-8")


def _plot(
    folder: Path, config: TrainingConfig, facts: dict[str, Any], log: list[dict[str, Any]], warn: Callable[[str], None]
) -> dict[str, str]:
    """Plot curves and confusion matrices; caption -> file."""
    drawn = {}
    try:
        score_plots.curves(log, folder / "curves.png", config.name)
        drawn["Losses and metrics over the run"] = "curves.png"
        for name, found in facts["figures"].items():
            if found["expression"]:
                file = _confusion_name(name.removesuffix(" validation"))
                score_plots.confusion(found["expression"], config.classes, folder / file, f"{config.name}: {name}")
                drawn[f"Confusion matrix, {name}"] = file
    except ModelUnavailable as error:
        warn(f"no plots were made: {error}")
    return drawn


def _confusion_name(source: str) -> str:
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", source)
    return f"confusion-{plain}.png"


def _commit() -> str | None:
    """The commit of the program, if it runs from a git checkout."""
    try:
        done = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
