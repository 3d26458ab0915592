"""The end of a run: trained weights -> calibrated, measured, and written with their card."""

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
from ..reporting.markdown import signed
from ..runtime.atomic_files import replace_when_done
from ..tasks import ACTION_UNITS
from . import report
from .calibrate import Calibration, build_in, fit
from .config import NORMALISATIONS, TrainingConfig
from .dataset import PARTS, Dataset
from .figures import figures
from .trainer import Trainer, infer


def export(trainer: Trainer, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Write everything that a finished run leaves: weights, graph, card, pictures.

    Args:
        trainer: whose run is at its end.
        folder: to write to.
        say: is told what could not be done.

    Returns:
        the facts that the weights carry.

    Raises:
        OutputError: something cannot be written.
    """
    plan, samples = trainer.plan, trainer.samples
    network = copy.deepcopy(trainer.result())
    rows = samples.rows(trainer.set_aside)
    calibration = fit(trainer.predict(rows), samples, rows, plan)
    build_in(network, plan, calibration)
    network = model_file.rounded(network)
    thresholds = calibration.thresholds or {}
    card = _card(plan, network, samples, thresholds)
    facts = {
        "plan": plan.to_json(),
        "plan_sha256": plan.digest(),
        "start": trainer.origin,
        "commit": _commit(),
        "versions": {"hsemotion": __version__, "python": sys.version.split()[0], **libraries()},
        "seconds": round(trainer.seconds, 1),
        "steps": trainer.steps,
        "device": trainer.device,
        "data": _described(plan, samples),
        "figures": measured(trainer, network, calibration),
        "calibration": {
            "part": trainer.set_aside,
            "temperature": calibration.temperature,
            "shift": calibration.shift,
        },
        "au_thresholds": thresholds,
    }
    weights = folder / f"{plan.name}.safetensors"
    facts["onnx_sha256"] = _graph(network, spec_of(card), weights, say)
    model_file.write(weights, network, card, facts)
    _write_page(folder, plan, card, facts, trainer.log, say)
    return facts


def measured(trainer: Trainer, network: Network, calibration: Calibration) -> dict[str, Any]:
    """Figures of the finished network on the validation part of every source that has one."""
    plan, samples, found = trainer.plan, trainer.samples, {}
    limits = np.array([(calibration.thresholds or {}).get(unit, 0.5) for unit in ACTION_UNITS])
    for source in plan.sources:
        rows = samples.rows("validation", [source.name])
        if len(rows):
            scores = infer(network, trainer.viewer, samples, rows)
            found[f"{source.name} validation"] = asdict(figures(scores, samples, rows, plan, limits))
    return found


def _card(plan: TrainingConfig, network: Network, samples: Dataset, thresholds: dict[str, float]) -> ModelCard:
    mean, std = NORMALISATIONS[plan.normalisation]
    spec = NetworkSpec(
        architectures=(plan.architecture,),
        size=plan.size,
        mean=mean,
        std=std,
        classes=plan.classes if "expression" in plan.tasks else (),
        valence_arousal="valence_arousal" in plan.tasks,
        embedding_size=network.embedding_size,
        embedding_source="fc",
        action_units=ACTION_UNITS if "action_units" in plan.tasks else (),
    )
    data = "; ".join(
        f"{source.name}, {len(samples.rows('train', [source.name])):,} pictures ({source.terms})"
        for source in plan.sources
    )
    card = network_card(
        plan.name, plan.paper_name or plan.name, f"face-{plan.size}", plan.licence, data, plan.citation, spec
    )
    return replace(card, au_thresholds=thresholds if spec.action_units else {})


def _described(plan: TrainingConfig, samples: Dataset) -> list[dict[str, Any]]:
    """A row for each part of each source."""
    rows = []
    for source in plan.sources:
        for part in PARTS:
            chosen = samples.rows(part, [source.name])
            if len(chosen):
                seen = int((~np.isnan(samples.points[chosen]).any(axis=(1, 2))).sum())
                row = {"source": source.name, "part": part, "pictures": len(chosen), "with_face": seen}
                rows.append({**row, "terms": source.terms})
    return rows


def _graph(network: Network, spec: NetworkSpec, weights: Path, say: Callable[[str], None]) -> str | None:
    """Write the ONNX graph beside the weights; its SHA-256, or None where it cannot be made."""
    target = model_file.graph_path(weights)
    try:
        return engines.export_half(network, spec, target)
    except ModelUnavailable as error:
        say(f"no graph was written, so annotating needs torch: {error}")
        target.unlink(missing_ok=True)
        return None


def _write_page(
    folder: Path,
    plan: TrainingConfig,
    card: ModelCard,
    facts: dict[str, Any],
    log: list[dict[str, Any]],
    say: Callable[[str], None],
) -> None:
    pictures = _draw(folder, plan, facts, log, say)
    page = report.model_card({"card": {**asdict(card), "path": None}, "pictures": pictures, **facts})
    with replace_when_done(folder / f"{plan.name}.md") as part:
        part.write_text(signed(page), encoding="utf-8")


def _draw(
    folder: Path, plan: TrainingConfig, facts: dict[str, Any], log: list[dict[str, Any]], say: Callable[[str], None]
) -> dict[str, str]:
    """Curves and confusion matrices; caption -> file."""
    drawn = {}
    try:
        report.curves(log, folder / "curves.png", plan.name)
        drawn["Losses and figures over the run"] = "curves.png"
        for name, found in facts["figures"].items():
            if found["expression"]:
                plain = re.sub(r"[^A-Za-z0-9._-]", "-", name.removesuffix(" validation"))
                picture = f"confusion-{plain}.png"
                report.confusion(found["expression"], plan.classes, folder / picture, f"{plan.name}: {name}")
                drawn[f"Confusion matrix, {name}"] = picture
    except ModelUnavailable as error:
        say(f"no pictures were drawn: {error}")
    return drawn


def _commit() -> str | None:
    """The commit of the program, where it runs from a git checkout."""
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
