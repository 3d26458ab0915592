"""End-to-end training: a plan and labelled faces in, trained weights out; killed at any moment, it goes on exactly.

Everything random is drawn from the plan's seed and the number of the step, and a checkpoint holds all that a step
changes; so a run that was killed and resumed gives the weights of one that was not, bit for bit on the same
machine with the same number of threads.
"""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import InputError, ModelUnavailable, UsageError
from ..models.architectures import ARCHITECTURES, Network, build, known
from ..runtime.atomic_files import atomic_file
from . import losses
from .augment import Augmenter
from .config import NORMALISATIONS, StageConfig, TrainingConfig
from .dataset import Dataset
from .figures import EvaluationFigures, figures
from .pretrained import origin, start_from

CHECKPOINT = "checkpoint.pt"
LOG = "log.csv"
BEST = "best.pt"
_CALIBRATION_IMAGES = 256

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after every step with the steps done, the steps in all, and the losses."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's pictures and labels, on the CPU."""

    images: Tensor
    labels: dict[str, Tensor]


def make_network(plan: TrainingConfig) -> Network:
    """The plan's network with the random weights of its seed.

    Raises:
        UsageError: there is no such architecture, or it takes no pictures of that size.
        ModelUnavailable: it needs timm, which is missing or has no such network.
    """
    if not known(plan.architecture):
        raise UsageError(
            f"architecture = {plan.architecture!r}: choose from {', '.join(ARCHITECTURES)}, or timm: and a name."
        )
    torch.manual_seed(plan.seed)
    network = build(plan.architecture, plan.outputs)
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, plan.size, plan.size))
    except RuntimeError as error:  # torch's own for shapes that do not fit
        raise UsageError(f"size = {plan.size}: {plan.architecture} takes no pictures of that size.") from error
    return network


class Trainer:
    """One run.

    Args:
        plan: what to do.
        network: with random weights.
        samples: labelled faces; its expression columns are the plan's classes.
        folder: where checkpoint and log are kept, and found again.
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        InputError: there is nothing to train on, nothing to tell the best epoch by, or the checkpoint cannot be read
            or belongs to another plan.
        ModelUnavailable: the weights to start from cannot be used, or lack some where they are to have a share.
        UsageError: a stage trains a part that the network does not have.
    """

    def __init__(
        self, plan: TrainingConfig, network: Network, samples: Dataset, folder: Path, device: str = "cpu"
    ) -> None:
        mean, std = NORMALISATIONS[plan.normalisation]
        self.plan, self.samples, self.folder, self.device = plan, samples, folder, device
        self.viewer = Augmenter(plan.size, mean, std, plan.luminance)
        torch.manual_seed(plan.seed)
        self.network = network
        self.draws = [_Draw(plan, stage, samples) for stage in plan.stages]
        self.ends = np.cumsum([draw.steps for draw in self.draws])
        if plan.keep == "best" and not np.isin(samples.part, ("calibration", "validation")).any():
            raise InputError("keep = 'best': there is neither a calibration nor a validation picture to tell it by.")
        self.step = 0
        self.seconds = 0.0
        self.log: list[dict[str, Any]] = []
        self.summed: dict[str, float] = {}
        self.best = -math.inf
        kept = self._read_checkpoint()
        self.start: dict[str, Tensor] = {}
        self.origin: dict[str, Any] | None = None
        if plan.start is not None and kept is None:
            self.origin = origin(plan.start)
            found = start_from(network, plan.start, self._some_images)
            if plan.start_share:
                self.start = _whole_start(network, found, plan.start)
        self.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = _Average(network, plan.average)
        self.weights = _loss_weights(plan, samples, device)
        self.optimiser = _optimiser(plan, network)
        self.scaler = torch.amp.GradScaler(enabled=device.startswith("cuda") and plan.precision == "fp16")
        for stage in plan.stages:
            _trained_modules(network, stage.scope)
        if kept is not None:
            self._restore(kept)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return int(self.ends[-1])

    @property
    def set_aside(self) -> str:
        """The part that epochs are told apart by and calibrations are fitted on: the one for it, if there is one."""
        return "calibration" if len(self.samples.rows("calibration")) else "validation"

    def run(self, progress: Progress | None = None, stop_at: int | None = None) -> None:
        """Train to the end (or to a step, for tests), with a checkpoint every few minutes and after every epoch."""
        stage = -1
        saved = begun = time.monotonic()
        for step, batch in self._batches(self.step, min(stop_at or self.steps, self.steps)):
            current = int(np.searchsorted(self.ends, step, side="right"))
            if current != stage:
                stage = current
                self._set_scope(self.plan.stages[stage].scope)
            rate = self._rate(step, stage)
            parts = self._learn(batch, rate, step)
            self.summed = {name: self.summed.get(name, 0.0) + value for name, value in parts.items()}
            self.step = step + 1
            if progress:
                progress(self.step, self.steps, parts)
            draw = self.draws[stage]
            within = self.step - int(self.ends[stage] - draw.steps)
            epoch_ends = within % draw.epoch_steps == 0 or self.step == self.ends[stage]
            if epoch_ends:
                steps = (within - 1) % draw.epoch_steps + 1
                means = {name: value / steps for name, value in self.summed.items()}
                self._note(stage, within / draw.epoch_steps, rate, means, self.seconds + time.monotonic() - begun)
                self.summed = {}
            if epoch_ends or time.monotonic() - saved > 60 * self.plan.checkpoint:
                now = time.monotonic()
                self.seconds, begun, saved = self.seconds + now - begun, now, now
                self._write_checkpoint()

    def result(self) -> Network:
        """The network with the weights to keep, on the CPU, ready to infer; ``predict`` uses them from then on."""
        best = self.folder / BEST
        if self.plan.keep == "best" and best.exists():
            self.average.state = torch.load(best, map_location=self.device, weights_only=True)
        for name, value in self.start.items():
            self.average.state[name].lerp_(value.to(self.device), self.plan.start_share)
        self.start = {}
        self.network.load_state_dict(self.average.state)
        return self.network.to(device="cpu", memory_format=torch.contiguous_format).eval()  # type: ignore[call-overload]

    # --- one step ---------------------------------------------------------------------------------------------

    def _learn(self, batch: Batch, rate: float, step: int) -> dict[str, float]:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        torch.manual_seed((self.plan.seed << 32) + step)  # dropout, the same after a resume
        images = batch.images.to(self.device).contiguous(memory_format=torch.channels_last)
        labels = {task: values.to(self.device) for task, values in batch.labels.items()}
        self.optimiser.zero_grad(set_to_none=True)
        total, parts = self._loss(images, labels)
        if not math.isfinite(parts["loss"]):
            raise self._diverged(f"the loss is {parts['loss']}")
        self.scaler.scale(total).backward()
        self.scaler.unscale_(self.optimiser)
        if self.plan.optimiser.sam:
            self._sharpen(images, labels, step)
        if self.plan.optimiser.clip:
            nn.utils.clip_grad_norm_(self._trained(), self.plan.optimiser.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.average.update(self.network, step)
        return parts

    def _diverged(self, what: str) -> ModelUnavailable:
        return ModelUnavailable(f"{self.plan.name}: {what} at step {self.step}; use a lower rate.")

    def _sharpen(self, images: Tensor, labels: dict[str, Tensor], step: int) -> None:
        """Replace the gradient by that at the worst point within the radius (Foret et al. 2021, algorithm 1)."""
        trained = [(p, p.grad) for p in self._trained() if p.grad is not None]
        norm = torch.stack([gradient.norm() for _, gradient in trained]).norm() + 1e-12
        # Kept, not computed back: where float16 overflows the moves are nan, and the scaler leaves the step out.
        before = [parameter.detach().clone() for parameter, _ in trained]
        with torch.no_grad():
            for parameter, gradient in trained:
                parameter.add_(gradient * (self.plan.optimiser.sam / norm))
        torch.manual_seed((self.plan.seed << 32) + step)
        self.optimiser.zero_grad(set_to_none=True)
        with _frozen_statistics(self.network):
            self._loss(images, labels)[0].backward()
        with torch.no_grad():
            for (parameter, _), values in zip(trained, before, strict=True):
                parameter.copy_(values)

    def _loss(self, images: Tensor, labels: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        reduced = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[self.plan.precision]
        cuda = self.device.startswith("cuda")
        with torch.autocast(self.device.partition(":")[0], reduced, enabled=cuda and reduced is not None):
            embeddings, maps = self.network.attend(images)
        embeddings = nn.functional.dropout(embeddings.float(), self.plan.dropout, training=self.plan.dropout > 0)
        outputs = split(self.network.score(embeddings), self.plan)
        loss, weighed = self.plan.loss, {}
        if "expression" in outputs:
            weighed["expression"] = loss.expression * losses.cross_entropy(
                outputs["expression"], labels["expression"], self.weights.get("expression"), loss.smoothing
            )
        if "valence_arousal" in outputs:
            weighed["valence_arousal"] = loss.valence_arousal * losses.one_minus_ccc(
                outputs["valence_arousal"], labels["valence_arousal"]
            )
        if "action_units" in outputs:
            weighed["action_units"] = loss.action_units * losses.binary_cross_entropy(
                outputs["action_units"], labels["action_units"], self.weights.get("action_units")
            )
        if maps and loss.attention:
            weighed["attention"] = loss.attention * losses.attention_similarity([m.float() for m in maps])
        total = torch.stack(list(weighed.values())).sum()
        return total, {"loss": total.item(), **{name: value.item() for name, value in weighed.items()}}

    def _rate(self, step: int, stage: int) -> float:
        draw, highest = self.draws[stage], self.plan.stages[stage].rate
        done = step - int(self.ends[stage] - draw.steps)
        warm = max(draw.steps // 20, 1)
        if done < warm:
            return highest * (done + 1) / warm
        return highest * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (done - warm) / max(draw.steps - warm, 1))))

    # --- what is trained --------------------------------------------------------------------------------------

    def _set_scope(self, scope: str) -> None:
        chosen = {id(p) for module in _trained_modules(self.network, scope) for p in module.parameters()}
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) in chosen)
        self.network.eval()  # frozen parts keep their statistics
        for module in _trained_modules(self.network, scope):
            module.train()

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.network.parameters() if p.requires_grad]

    # --- pictures ---------------------------------------------------------------------------------------------

    def _batches(self, begin: int, end: int) -> Iterator[tuple[int, Batch]]:
        """Step and batch; on a GPU the next batches are made while a step is computed.

        On a CPU they would only hold up its threads, which wait for each other many times a step.
        """
        if not self.device.startswith("cuda"):
            yield from ((step, self._batch(step)) for step in range(begin, end))
            return
        ahead = 3
        with ThreadPoolExecutor(1) as pool:
            waiting: list[tuple[int, Future[Batch]]] = []
            try:
                for step in range(begin, end):
                    waiting.append((step, pool.submit(self._batch, step)))
                    if len(waiting) > ahead:
                        number, future = waiting.pop(0)
                        yield number, future.result()
                while waiting:
                    number, future = waiting.pop(0)
                    yield number, future.result()
            finally:
                for _, future in waiting:
                    future.cancel()

    def _batch(self, step: int) -> Batch:
        stage = int(np.searchsorted(self.ends, step, side="right"))
        rows = self.draws[stage].rows(step - int(self.ends[stage] - self.draws[stage].steps))
        rng = np.random.default_rng((self.plan.seed, 1, step))
        views = [self.viewer.varied(self.samples, int(row), self.plan.augmentation, rng) for row in rows]
        batch = Batch(torch.from_numpy(np.stack(views)), self._labels(rows))
        if self.plan.augmentation.mixup:
            batch = mixed_up(batch, self.plan.augmentation.mixup, rng)
        return batch

    def _labels(self, rows: NDArray[np.int64]) -> dict[str, Tensor]:
        labels = {task: torch.from_numpy(getattr(self.samples, task)[rows]) for task in self.plan.tasks}
        if "expression" in labels and self.plan.loss.targets == "majority":
            shares = labels["expression"]
            hard = nn.functional.one_hot(shares.argmax(dim=1), shares.shape[1]).float()
            labels["expression"] = torch.where(shares.isnan(), shares, hard)
        return labels

    def _some_images(self) -> Tensor:
        rng, pool = np.random.default_rng((self.plan.seed, 2)), self.draws[0].pool
        chosen = rng.choice(pool, min(_CALIBRATION_IMAGES, len(pool)), replace=False)
        return torch.from_numpy(self.viewer.batch(self.samples, chosen))

    # --- figures, checkpoint ----------------------------------------------------------------------------------

    def _note(self, stage: int, epoch: float, rate: float, parts: dict[str, float], seconds: float) -> None:
        part = self.set_aside
        found = self.measure(part, averaged=True)
        row = {"stage": stage, "epoch": round(epoch, 3), "step": self.step, "rate": rate, **parts}
        row |= {f"{part}_{name}": value for name, value in found.summary().items()}
        self.log.append({**row, "seconds": round(seconds, 1)})
        _write_log(self.folder / LOG, self.log)
        if self.plan.keep == "best" and found.score() > self.best:
            self.best = found.score()
            _save(self.folder / BEST, self.average.state)

    def measure(self, part: str, averaged: bool) -> EvaluationFigures:
        """Figures of the weights (or their average) on a part of the samples."""
        rows = self.samples.rows(part)
        scores = self.predict(rows, averaged)
        if not np.isfinite(scores).all():
            raise self._diverged("outputs are not finite")
        return figures(scores, self.samples, rows, self.plan)

    def predict(self, rows: NDArray[np.int64], averaged: bool = True) -> NDArray[np.float32]:
        """(len(rows), outputs) raw outputs for the exact crops."""
        own = {name: value.clone() for name, value in self.network.state_dict().items()}
        training = {name: module.training for name, module in self.network.named_modules()}
        if averaged:
            self.network.load_state_dict(self.average.state)
        device = str(next(self.network.parameters()).device)  # the CPU, once there is a result
        found = infer(self.network, self.viewer, self.samples, rows, device)
        self.network.load_state_dict(own)
        for name, module in self.network.named_modules():
            module.training = training[name]
        return found

    def _write_checkpoint(self) -> None:
        state = {
            "plan": self.plan.digest(),
            "samples": len(self.samples),
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
            "summed": self.summed,
        }
        _save(self.folder / CHECKPOINT, state)

    def _read_checkpoint(self) -> dict[str, Any] | None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return None
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
            same = kept["plan"] == self.plan.digest() and kept["samples"] == len(self.samples)
            kept["origin"], kept["start"]  # which those of earlier versions lack
        except Exception as error:  # torch raises many kinds for a file that it cannot read
            raise InputError(
                f"{path}: not a checkpoint that can be read ({error}); remove it to begin anew."
            ) from error
        if not same:
            raise InputError(
                f"{path}: belongs to another plan or other samples; give another folder, or remove it to begin anew."
            )
        return kept

    def _restore(self, kept: dict[str, Any]) -> None:
        self.network.load_state_dict(kept["network"])
        self.average.state = {name: value.to(self.device) for name, value in kept["average"].items()}
        self.optimiser.load_state_dict(kept["optimiser"])
        if kept["scaler"]:  # empty, where float16 had no part in it
            self.scaler.load_state_dict(kept["scaler"])
        for name in ("origin", "start", "step", "seconds", "best", "log", "summed"):
            setattr(self, name, kept[name])


def mixed_up(batch: Batch, alpha: float, rng: np.random.Generator) -> Batch:
    """Every picture and its labels averaged with another's of the batch, a Beta(alpha, alpha) of it (mixup).

    The larger share is the picture's own (Zhang et al. 2018, arXiv:1710.09412; the order does not matter there). A
    label that one of the two lacks, the mixture lacks.
    """
    count = len(batch.images)
    own = torch.from_numpy(rng.beta(alpha, alpha, count).astype(np.float32))
    own = torch.maximum(own, 1 - own)
    partners = torch.from_numpy(rng.permutation(count))

    def mix(values: Tensor) -> Tensor:
        share = own.view(-1, *[1] * (values.ndim - 1))
        return share * values + (1 - share) * values[partners]

    return Batch(mix(batch.images), {task: mix(values) for task, values in batch.labels.items()})


def split(scores: Tensor, plan: TrainingConfig) -> dict[str, Tensor]:
    """(n, outputs) -> task -> its columns, in the order of the outputs."""
    return dict(zip(plan.columns, scores.split(list(plan.columns.values()), dim=1), strict=True))


def infer(
    network: Network, viewer: Augmenter, samples: Dataset, rows: NDArray[np.int64], device: str = "cpu", batch: int = 64
) -> NDArray[np.float32]:
    """(len(rows), outputs) raw outputs for the exact crops of some samples."""
    network.eval()
    found = np.empty((len(rows), network.outputs), np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), batch):
            images = torch.from_numpy(viewer.batch(samples, rows[start : start + batch])).to(device)
            images = images.contiguous(memory_format=torch.channels_last)
            found[start : start + batch] = network(images)[0].float().cpu().numpy()
    return found


class _Draw:
    """Which pictures a stage shows, step by step."""

    def __init__(self, plan: TrainingConfig, stage: StageConfig, samples: Dataset) -> None:
        sources = plan.drawn_from(stage)
        pool = samples.rows("train", sources)
        labelled = np.zeros(len(pool), bool)
        for task in plan.tasks:
            labelled |= ~np.isnan(getattr(samples, task)[pool]).all(axis=1)
        self.pool = pool[labelled]
        if not len(self.pool):
            raise InputError(f"nothing to train on: {', '.join(sources)} has no labelled picture in its training part.")
        weights = {source.name: source.weight for source in plan.sources}
        expected = np.array([weights[name] for name in samples.source[self.pool]])
        expected = expected * _balanced(samples.expression[self.pool], stage.balance)
        total = sum(weights[name] * (samples.source[self.pool] == name).sum() for name in sources)
        if len(self.pool) < 2 or not total:
            raise InputError(f"too little to train on: {', '.join(sources)} has one picture, or weight 0.")
        self.expected = expected * (total / expected.sum())
        self.batch, self.seed = stage.batch, plan.seed
        # Every epoch draws the same number, so that a step's epoch is known without drawing.
        self.count = max(round(total), 2)
        self.epoch_steps = -(-self.count // self.batch)
        self.steps = max(round(stage.epochs * self.epoch_steps), 1)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def rows(self, step: int) -> NDArray[np.int64]:
        """The pictures of a step of the stage."""
        epoch, within = divmod(step, self.epoch_steps)
        if self._order[0] != epoch:
            self._order = (epoch, self._epoch(epoch))
        start = within * self.batch
        if start and start == self.count - 1:
            start -= 1  # layers are normalised over a batch, which takes two
        return self._order[1][start : (within + 1) * self.batch]

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        """Each picture as often as expected: the whole part surely, the rest of it by chance, in systematic steps."""
        rng = np.random.default_rng((self.seed, 0, epoch))
        order = rng.permutation(len(self.pool))
        marks = np.cumsum(self.expected[order]) * (self.count / self.expected.sum())
        ticks = np.arange(self.count) + rng.random()
        drawn = self.pool[order[np.minimum(np.searchsorted(marks, ticks), len(order) - 1)]]
        return rng.permutation(drawn)


def _balanced(shares: NDArray[np.float32], power: float) -> NDArray[np.float64]:
    """(n,) weights: the main class's frequency to the minus ``power``; 1 where there is no label."""
    known = ~np.isnan(shares).any(axis=1)
    weights = np.ones(len(shares))
    if power and known.any():
        main = shares[known].argmax(axis=1)
        frequency = np.bincount(main, minlength=shares.shape[1]) / known.sum()
        weights[known] = frequency[main] ** -power
        weights[known] /= weights[known].mean()
    return weights


class _Average:
    """Moving average of all weights and statistics."""

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    def update(self, network: Network, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))  # the random start must not linger
        with torch.no_grad():
            for name, value in network.state_dict().items():
                if value.dtype.is_floating_point and self.decay:
                    self.state[name].lerp_(value, 1 - decay)
                else:
                    self.state[name].copy_(value)


def _whole_start(network: Network, found: list[str], path: Path) -> dict[str, Tensor]:
    """A copy of the weights and statistics of a network that has all of them from a file."""
    state = {name: value.clone() for name, value in network.state_dict().items() if value.is_floating_point()}
    body = {name for name, value in network.body.state_dict().items() if value.is_floating_point()}
    if lacking := sorted(body - set(found)):
        raise ModelUnavailable(
            f"{path}: it lacks {len(lacking)} of this network's weights ({lacking[0]}, ...), so it can have no share "
            "in them; leave start_share out."
        )
    return state


def _trained_modules(network: Network, scope: str) -> list[nn.Module]:
    if scope == "all":
        return [network]
    if scope == "head":
        return [network.head]
    if not network.pooling:
        raise UsageError(f"scope {scope!r}: this network has no such layer; choose all or head.")
    return [network.head, *network.pooling]


def _optimiser(plan: TrainingConfig, network: Network) -> torch.optim.Optimizer:
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": kernels, "weight_decay": plan.optimiser.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if plan.optimiser.kind == "sgd":
        return torch.optim.SGD(groups, lr=1e-3, momentum=0.9)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[plan.optimiser.kind]
    return kind(groups, lr=1e-3)


def _loss_weights(plan: TrainingConfig, samples: Dataset, device: str) -> dict[str, Tensor]:
    """Class weights and action-unit weights of the training part."""
    rows, found = samples.rows("train"), {}
    if "expression" in plan.tasks and plan.loss.class_power:
        shares = samples.expression[rows]
        counts = np.nansum(shares, axis=0)
        found["expression"] = (counts.max() / np.maximum(counts, 1)) ** plan.loss.class_power
    if "action_units" in plan.tasks and plan.loss.balance_units:
        units = samples.action_units[rows]
        present = np.nansum(units, axis=0) / np.maximum((~np.isnan(units)).sum(axis=0), 1)
        present = np.where(np.isnan(units).all(axis=0), 0.5, np.clip(present, 0.01, 0.99))
        found["action_units"] = np.stack([0.5 / (1 - present), 0.5 / present])
    return {task: torch.tensor(np.asarray(values, np.float32), device=device) for task, values in found.items()}


class _frozen_statistics:
    """Inside, no layer updates its running statistics: the second pass of a step must not count twice."""

    def __init__(self, network: nn.Module) -> None:
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.norms = [norm for norm in norms if norm.training and norm.track_running_stats]

    def __enter__(self) -> None:
        for norm in self.norms:
            norm.track_running_stats = False

    def __exit__(self, *_: object) -> None:
        for norm in self.norms:
            norm.track_running_stats = True


def _write_log(path: Path, rows: list[dict[str, Any]]) -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    writer.writeheader()
    writer.writerows(rows)
    with atomic_file(path) as file:
        file.write(text.getvalue().encode())


def _save(path: Path, state: dict[str, Any]) -> None:
    content = io.BytesIO()
    torch.save(state, content)  # to memory first: torch's own errors do not say that the disk is full
    with atomic_file(path) as file:
        file.write(content.getbuffer())
