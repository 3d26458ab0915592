"""End-to-end training: a config and labelled faces -> trained weights; a killed run resumes exactly where it was.

All randomness comes from the config's seed and the step number, and a checkpoint holds everything that a step changes.
So a run that was killed and resumed ends with the same weights, bit for bit, as one that was not, on the same machine
with the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError, ModelUnavailable, UsageError
from ..models.architectures import ARCHITECTURES, Network, build, known
from . import losses
from .augment import Augmenter
from .batches import Batch, BatchLoader
from .checkpoint import BEST, CHECKPOINT, LOG, read_checkpoint, save, write_log
from .config import NORMALISATIONS, TrainingConfig
from .dataset import Dataset
from .figures import EvaluationFigures, figures
from .last_layer import class_weighted, fit_action_units, fit_last_layer, last_linear
from .optimisation import (
    MovingAverage,
    frozen_statistics,
    learning_rate,
    loss_weights,
    make_optimiser,
    trained_modules,
)
from .pretrained import origin, start_from
from .sampler import Sampler

_CALIBRATION_IMAGES = 256
"""Training images that measure normalisation statistics which initial weights from TensorFlow.js lack."""

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every step with the steps done, all steps, and the step's losses."""


def make_network(config: TrainingConfig) -> Network:
    """The configured network with random initial weights from the config's seed.

    Raises:
        UsageError: there is no such architecture, or it does not accept that image size.
        ModelUnavailable: it needs timm, which is missing or has no such network.
    """
    if not known(config.architecture):
        raise UsageError(
            f"architecture = {config.architecture!r}: choose from {', '.join(ARCHITECTURES)}, or timm: and a name."
        )
    torch.manual_seed(config.seed)
    network = build(config.architecture, config.outputs)
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, config.size, config.size))
    except RuntimeError as error:  # torch's own for shapes that do not fit
        raise UsageError(f"size = {config.size}: {config.architecture} does not accept images of that size.") from error
    return network


class Trainer:
    """One run.

    Args:
        config: what to train, and how.
        network: with random weights.
        dataset: labelled faces; its expression columns are the config's classes.
        folder: where checkpoint and log are written, and found again.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: there is nothing to train on, nothing to choose the best epoch by, or the checkpoint cannot be read
            or belongs to another run.
        ModelUnavailable: the initial weights cannot be used, or are incomplete where ``start_share`` needs all.
        UsageError: a stage trains a part that the network does not have.
    """

    def __init__(
        self, config: TrainingConfig, network: Network, dataset: Dataset, folder: Path, device: str = "cpu"
    ) -> None:
        mean, std = NORMALISATIONS[config.normalisation]
        self.config, self.dataset, self.folder, self.device = config, dataset, folder, device
        self.augmenter = Augmenter(config.size, mean, std, config.luminance)
        torch.manual_seed(config.seed)
        self.network = network
        self.sampler = Sampler(config, dataset)
        self.loader = BatchLoader(config, dataset, self.sampler, self.augmenter)
        if config.keep == "best" and not np.isin(dataset.part, ("calibration", "validation")).any():
            raise InputError("keep = 'best': there is no calibration or validation image to choose the best epoch by.")
        self.step = 0
        self.seconds = 0.0
        self.log: list[dict[str, Any]] = []
        self.epoch_losses: dict[str, float] = {}
        self.best = -math.inf
        self.refitted = False
        state = read_checkpoint(folder / CHECKPOINT, config, dataset)
        self.start: dict[str, Tensor] = {}
        self.origin: dict[str, Any] | None = None
        if config.start is not None and state is None:
            self.origin = origin(config.start)
            found = start_from(network, config.start, self._calibration_images)
            if config.start_share:
                self.start = _initial_weights(network, found, config.start)
        self.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(network, config.average)
        self.loss_weights = loss_weights(config, dataset, device)
        self.optimiser = make_optimiser(config, network)
        self.scaler = torch.amp.GradScaler(enabled=device.startswith("cuda") and config.precision == "fp16")
        for stage in config.stages:
            trained_modules(network, stage.scope)
        if state is not None:
            self._restore(state)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.sampler.steps

    @property
    def held_out_part(self) -> str:
        """The part that the best epoch and the calibration are chosen on: "calibration" if it has images."""
        return "calibration" if len(self.dataset.rows("calibration")) else "validation"

    def run(self, progress: Progress | None = None, stop_at: int | None = None) -> None:
        """Train to the end (or up to a step, for tests); checkpoints are written after epochs and every few minutes."""
        stage = -1
        saved = begun = time.monotonic()
        for step, batch in self.loader.batches(self.step, min(stop_at or self.steps, self.steps), self.device):
            current, within = self.sampler.locate(step)
            if current != stage:
                stage = current
                self._set_scope(self.config.stages[stage].scope)
            sampler = self.sampler.stages[stage]
            rate = learning_rate(
                self.config.stages[stage].rate, within, sampler.steps, self.config.stages[stage].schedule
            )
            parts = self._train_step(batch, rate, step)
            self.epoch_losses = {name: self.epoch_losses.get(name, 0.0) + value for name, value in parts.items()}
            self.step = step + 1
            if progress:
                progress(self.step, self.steps, parts)
            epoch_ends = (within + 1) % sampler.epoch_steps == 0 or within + 1 == sampler.steps
            if epoch_ends:
                steps = within % sampler.epoch_steps + 1
                means = {name: value / steps for name, value in self.epoch_losses.items()}
                epoch, seconds = (within + 1) / sampler.epoch_steps, self.seconds + time.monotonic() - begun
                self._log_epoch(stage, epoch, rate, means, seconds)
                self.epoch_losses = {}
            if epoch_ends or time.monotonic() - saved > 60 * self.config.checkpoint:
                now = time.monotonic()
                self.seconds, begun, saved = self.seconds + now - begun, now, now
                self.write_checkpoint()

    def result(self) -> Network:
        """The network with its final weights, on the CPU, in evaluation mode; ``predict`` uses them from then on."""
        best = self.folder / BEST
        if self.config.keep == "best" and best.exists():
            self.average.state = torch.load(best, map_location=self.device, weights_only=True)
        for name, value in self.start.items():
            self.average.state[name].lerp_(value.to(self.device), self.config.start_share)
        self.start = {}
        self.network.load_state_dict(self.average.state)
        if self.config.refit.weight_decay and "expression" in self.config.tasks and not self.refitted:
            self._fit_last_layer()
        return self.network.to(device="cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]

    def _fit_last_layer(self) -> None:
        """Fit the rows of expressions and action units, each on the training images that are labelled for them."""
        config, dataset = self.config, self.dataset
        drawn = {name for stage in config.stages for name in config.drawn_from(stage)}
        rows = dataset.rows("train", drawn)
        tasks = [task for task in ("expression", "action_units") if task in config.tasks]
        known = np.stack([~np.isnan(getattr(dataset, task)[rows]).any(axis=1) for task in tasks])
        rows, known = rows[known.any(axis=0)], known[:, known.any(axis=0)]
        weight = {source.name: source.weight for source in config.sources}
        weights = np.array([weight[name] for name in dataset.source[rows]])
        embeddings = infer(self.network, self.augmenter, dataset, rows, self.device, embeddings=True)
        shares, seen = dataset.expression[rows], known[0]
        fitted = {"expression": fit_last_layer(embeddings[seen], shares[seen], weights[seen], config.refit)}
        if "action_units" in tasks and known[1].any():
            coded = known[1]
            shared = class_weighted(shares, weights, config.refit)[coded]
            units = dataset.action_units[rows][coded]
            fitted["action_units"] = fit_action_units(embeddings[coded], units, shared, config.refit)
        self._set_last_layer(fitted)
        self.refitted = True

    def _set_last_layer(self, fitted: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Replace the last layer's rows of some tasks."""
        last = last_linear(self.network)
        begin = 0
        with torch.no_grad():
            for task, count in self.config.columns.items():
                if task in fitted:
                    kernel, bias = fitted[task]
                    last.weight[begin : begin + count] = kernel.to(last.weight)
                    last.bias[begin : begin + count] = bias.to(last.bias)
                begin += count
        self.average.state = {name: value.clone() for name, value in self.network.state_dict().items()}

    # --- one step ---------------------------------------------------------------------------------------------

    def _train_step(self, batch: Batch, rate: float, step: int) -> dict[str, float]:
        """Update the weights once; the losses by name, "loss" being their sum.

        Raises:
            ModelUnavailable: the loss is not finite.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed((self.config.seed << 32) + step)  # dropout, the same after resuming
        images = batch.images.to(self.device).contiguous(memory_format=torch.channels_last)
        labels = {task: values.to(self.device) for task, values in batch.labels.items()}
        self.optimiser.zero_grad(set_to_none=True)
        total, parts = self._loss(images, labels)
        if not math.isfinite(parts["loss"]):
            raise self._diverged(f"the loss is {parts['loss']}")
        self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimiser)
        if self.config.optimiser.sam:
            self._sam_gradient(images, labels, step)
        if self.config.optimiser.clip:
            nn.utils.clip_grad_norm_(self._trained_parameters(), self.config.optimiser.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network, step)
        return parts

    def _diverged(self, what: str) -> ModelUnavailable:
        return ModelUnavailable(f"{self.config.name}: {what} at step {self.step}; use a lower rate.")

    def _sam_gradient(self, images: Tensor, labels: dict[str, Tensor], step: int) -> None:
        """Replace the gradient by the one at the worst point within the radius (Foret et al. 2021, algorithm 1)."""
        trained = [(p, p.grad) for p in self._trained_parameters() if p.grad is not None]
        norm = torch.stack([gradient.norm() for _, gradient in trained]).norm() + 1e-12
        # Saved instead of subtracted again: if float16 overflows, the shift is nan, and the scaler skips the step.
        before = [parameter.detach().clone() for parameter, _ in trained]
        with torch.no_grad():
            for parameter, gradient in trained:
                parameter.add_(gradient * (self.config.optimiser.sam / norm))
        torch.manual_seed((self.config.seed << 32) + step)
        self.optimiser.zero_grad(set_to_none=True)
        with frozen_statistics(self.network):
            self._loss(images, labels)[0].backward()
        with torch.no_grad():
            for (parameter, _), values in zip(trained, before, strict=True):
                parameter.copy_(values)

    def _loss(self, images: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        reduced = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.config.precision]
        cuda = self.device.startswith("cuda")
        with torch.autocast(self.device.partition(":")[0], reduced, enabled=cuda and reduced is not None):
            embeddings, maps = self.network.attend(images)
        embeddings = nn.functional.dropout(embeddings.float(), self.config.dropout, training=self.config.dropout > 0)
        outputs = split(self.network.score(embeddings), self.config)
        loss, weighted = self.config.loss, {}
        if "expression" in outputs:
            weighted["expression"] = loss.expression * losses.cross_entropy(
                outputs["expression"], labels["expression"], self.loss_weights.get("expression"), loss.smoothing
            )
        if "valence_arousal" in outputs:
            weighted["valence_arousal"] = loss.valence_arousal * losses.one_minus_ccc(
                outputs["valence_arousal"], labels["valence_arousal"]
            )
        if "action_units" in outputs:
            weighted["action_units"] = loss.action_units * losses.binary_cross_entropy(
                outputs["action_units"], labels["action_units"], self.loss_weights.get("action_units")
            )
        if maps and loss.attention:
            weighted["attention"] = loss.attention * losses.attention_similarity([m.float() for m in maps])
        total = torch.stack(list(weighted.values())).sum()
        return total, {"loss": total.item(), **{name: value.item() for name, value in weighted.items()}}

    # --- what is trained --------------------------------------------------------------------------------------

    def _set_scope(self, scope: str) -> None:
        chosen = {id(p) for module in trained_modules(self.network, scope) for p in module.parameters()}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) in chosen)
        self.network.eval()  # frozen parts keep their statistics
        for module in trained_modules(self.network, scope):
            module.train()

    def _trained_parameters(self) -> list[nn.Parameter]:
        return [p for p in self.network.parameters() if p.requires_grad]

    def _calibration_images(self) -> Tensor:
        rng, pool = np.random.default_rng((self.config.seed, 2)), self.sampler.stages[0].pool
        chosen = rng.choice(pool, min(_CALIBRATION_IMAGES, len(pool)), replace=False)
        return torch.from_numpy(self.augmenter.batch(self.dataset, chosen))

    # --- metrics, checkpoint ----------------------------------------------------------------------------------

    def _log_epoch(self, stage: int, epoch: float, rate: float, parts: dict[str, float], seconds: float) -> None:
        part = self.held_out_part
        found = self.measure(part, averaged=True)
        row = {"stage": stage, "epoch": round(epoch, 3), "step": self.step, "rate": rate, **parts}
        row |= {f"{part}_{name}": value for name, value in found.summary().items()}
        self.log.append({**row, "seconds": round(seconds, 1)})
        write_log(self.folder / LOG, self.log)
        if self.config.keep == "best" and found.score() > self.best:
            self.best = found.score()
            save(self.folder / BEST, self.average.state)

    def measure(self, part: str, averaged: bool) -> EvaluationFigures:
        """Metrics of the current weights (or their moving average) on one part of the dataset.

        Raises:
            ModelUnavailable: outputs are not finite.
        """
        rows = self.dataset.rows(part)
        scores = self.predict(rows, averaged)
        if not np.isfinite(scores).all():
            raise self._diverged("outputs are not finite")
        return figures(scores, self.dataset, rows, self.config)

    def predict(self, rows: NDArray[np.int64], averaged: bool = True) -> NDArray[np.float32]:
        """(len(rows), outputs) raw outputs for crops without augmentation."""
        own = {name: value.clone() for name, value in self.network.state_dict().items()}
        training = {name: module.training for name, module in self.network.named_modules()}
        if averaged:
            self.network.load_state_dict(self.average.state)
        device = str(next(self.network.parameters()).device)  # the CPU, after ``result``
        found = infer(self.network, self.augmenter, self.dataset, rows, device)
        self.network.load_state_dict(own)
        for name, module in self.network.named_modules():
            module.training = training[name]
        return found

    def write_checkpoint(self) -> None:
        """Write everything that resuming needs.

        Raises:
            OutputError: the file cannot be written.
        """
        state = {
            "plan": self.config.digest(),
            "samples": self.dataset.digest(),
            "origin": self.origin,
            "start": self.start,
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "network": self.network.state_dict(),
            "average": self.average.state,
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "log": self.log,
            "summed": self.epoch_losses,
        }
        save(self.folder / CHECKPOINT, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.average.state = {name: value.to(self.device) for name, value in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        if state["scaler"]:  # empty if float16 was not used
            self.scaler.load_state_dict(state["scaler"])
        for name in ("origin", "start", "step", "seconds", "best", "log"):
            setattr(self, name, state[name])
        self.epoch_losses = state["summed"]


def split(scores: Tensor, config: TrainingConfig) -> dict[str, Tensor]:
    """(n, outputs) -> task -> its columns, in the order of the outputs."""
    return dict(zip(config.columns, scores.split(list(config.columns.values()), dim=1), strict=True))


def infer(
    network: Network,
    augmenter: Augmenter,
    dataset: Dataset,
    rows: NDArray[np.int64],
    device: str = "cpu",
    batch: int = 64,
    *,
    embeddings: bool = False,
) -> NDArray[np.float32]:
    """(len(rows), outputs) raw outputs, or (len(rows), d) embeddings, for crops without augmentation."""
    network.eval()
    found = np.empty((len(rows), network.embedding_size if embeddings else network.outputs), np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            images = torch.from_numpy(augmenter.batch(dataset, rows[start : start + batch])).to(device)
            images = images.contiguous(memory_format=torch.channels_last)
            found[start : start + batch] = network(images)[int(embeddings)].float().cpu().numpy()
    return found


def _initial_weights(network: Network, found: list[str], path: Path) -> dict[str, Tensor]:
    """A copy of the initial weights and statistics of a network, all of which must come from the file.

    Raises:
        ModelUnavailable: the file lacks some.
    """
    state = {name: value.clone() for name, value in network.state_dict().items() if value.is_floating_point()}
    body = {name for name, value in network.body.state_dict().items() if value.is_floating_point()}
    if lacking := sorted(body - set(found)):
        raise ModelUnavailable(
            f"{path}: it lacks {len(lacking)} of this network's weights ({lacking[0]}, ...), so start_share cannot be "
            "applied; leave start_share out."
        )
    return state
