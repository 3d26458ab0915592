"""wav2vec 2.0 or WavLM through transformers: audio -> last hidden states with their times.

A state covers 25 ms, and there are 50 states per second (facebook/wav2vec2-base-960h). Baevski, Zhou, Mohamed and Auli
2020, arXiv:2006.11477; its use for emotions: HSEmotion, ABAW-6 (arXiv:2403.11590). WavLM (Chen et al. 2022,
arXiv:2110.13900) has the same convolutions and so the same states per second; its attention has relative positions.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, ModelUnavailable, UsageError
from ..media.audio import RATE, AudioFile, Samples, Survey
from .engines import resolve_device
from .weights import checksums, offline_wanted

NAME = "facebook/wav2vec2-base-960h"
"""The checkpoint that HSEmotion uses, by its name on the Hugging Face hub."""

FILES = ("config.json", "preprocessor_config.json", "model.safetensors")
"""Files of a weights folder; a pickled ``pytorch_model.bin`` is never read."""

BLOCK = 60.0
"""Seconds that the network processes at once, including context; memory grows with it (1.3 GB for the base size)."""

CONTEXT = 5.0
"""Seconds on each side of a block that are processed and discarded, to avoid border effects."""

_UNTRAINED = {"masked_spec_embed"}
"""Used only in training, so a checkpoint may lack it."""


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """Consecutive hidden states.

    Attributes:
        time: (n,) seconds of the centre of each state, on the container's clock.
        embeddings: (n, d) float32.
    """

    time: NDArray[np.float64]
    embeddings: NDArray[np.float32]


KINDS = {"wav2vec2": ("Wav2Vec2Model", "sdpa"), "wavlm": ("WavLMModel", "eager")}
"""``model_type`` of config.json -> the class in transformers, and its attention. The other attentions of wav2vec 2.0
keep every pair of states in memory; WavLM has only this one, so a block of it needs more."""


class Wav2Vec2:
    """A network of ``KINDS``, loaded for inference.

    Args:
        where: a folder as ``save_pretrained`` writes it, or a name on the hub; None is ``NAME``, but only if it is in
            the Hugging Face cache: only an explicit name is downloaded.
        offline: never access the internet, as with ``HSEMOTION_OFFLINE``.
        device: "auto", "cpu", "cuda" or "cuda:N".
        threads: CPU threads; None leaves it to torch.
        block, context: seconds, as ``BLOCK`` and ``CONTEXT``.

    Attributes:
        kind: of ``KINDS``.
        size: length of a hidden state.
        stride: samples between consecutive states.
        span: samples that one state covers.
        provenance: name and SHA-256 of the weights, device, and everything else that its states depend on.

    Raises:
        ModelUnavailable: transformers or the weights are missing, or the weights are invalid.
        UsageError: there is no such device.
    """

    def __init__(
        self,
        where: str | None = None,
        *,
        offline: bool = False,
        device: str = "auto",
        threads: int | None = None,
        block: float = BLOCK,
        context: float = CONTEXT,
    ) -> None:
        folder = find(where, offline)
        self.device = resolve_device(device, "torch")
        self.network, config, self.normalise = _load(folder)
        self.kind = str(config.model_type)
        other = {} if config.model_type == "wav2vec2" else {"network": config.model_type}
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.norm = _with_known_moments(self.network)
        self.network = self.network.to(self.device)
        self.size = int(config.hidden_size)
        self.stride, self.span = _geometry(config.conv_kernel, config.conv_stride)
        self.context = round(context * RATE / self.stride)
        self.hop = round(block * RATE / self.stride) - 2 * self.context
        if self.hop < 1:
            raise ValueError(f"a block of {block} s has no room for a context of {context} s")
        self.provenance = {
            "file": where or NAME if not Path(where or NAME).exists() else folder.resolve().name,
            "sha256": checksums(folder / FILES[-1])[0],
            "backend": "torch",
            "device": self.device,
            "transformers": importlib.metadata.version("transformers"),
            "rate": RATE / self.stride,
            "normalised": "whole file" if self.normalise else "no",
            "block": block,
            "context": context,
            **other,
        }

    def __repr__(self) -> str:
        return f"Wav2Vec2({self.provenance['file']} on {self.device})"

    def count(self, samples: int) -> int:
        """The number of states for a number of samples."""
        return max((samples - self.span) // self.stride + 1, 0)

    def states(self, sound: AudioFile, survey: Survey) -> Iterator[States]:
        """All hidden states of a recording, block by block.

        Only attention is limited to blocks. Normalisation uses the whole recording, so that a whisper in one block does
        not become as loud as a shout in another: mean and variance of the samples if the checkpoint requires it
        (``survey``), and after the first convolution if it normalises there as well. So the audio is read three times.

        Raises:
            InputError: it is shorter than one state, or has changed since ``survey``.
        """
        count = self.count(survey.samples)
        if not count:
            raise InputError(f"{sound.path}: its sound is shorter than {self.span / RATE:g} s.")
        shift, scale = 0.0, 1.0
        if self.normalise:
            shift, scale = survey.mean, float(np.sqrt(survey.variance + 1e-7))  # as transformers does it

        def scaled(samples: Samples) -> Samples:
            return ((samples - shift) / scale).astype(np.float32)

        moments = self._moments(map(scaled, sound.chunks())) if self.norm is not None else None
        for first, last, before, samples in self._blocks(sound, count):
            wanted = self._infer(scaled(samples), moments)[before : before + last - first]
            if len(wanted) != last - first or not np.isfinite(wanted).all():
                raise ModelUnavailable(f"{self.provenance['file']}: it gives invalid or too few states.")
            middles = np.arange(first, last) * self.stride + self.span / 2
            yield States(survey.clock.times(middles), wanted)

    def _moments(self, chunks: Iterable[Samples]) -> tuple[Any, Any]:
        """Mean and variance of each channel after the first convolution, over a whole recording."""
        import torch

        first = self.network.feature_extractor.conv_layers[0].conv
        kernel, step = first.kernel_size[0], first.stride[0]
        count = 0
        total, squares = (torch.zeros(first.out_channels, dtype=torch.float64, device=self.device) for _ in range(2))
        kept = np.empty(0, np.float32)
        for chunk in chunks:
            kept = np.concatenate([kept, chunk])
            if len(kept) < kernel:
                continue
            with torch.inference_mode():
                seen = first(torch.from_numpy(kept).to(self.device)[None, None])[0].double()
            count += seen.shape[1]
            total, squares = total + seen.sum(dim=1), squares + (seen * seen).sum(dim=1)
            kept = kept[step * seen.shape[1] :]
        mean = total / count
        return mean, (squares / count - mean * mean).clamp(min=0)

    def _blocks(self, sound: AudioFile, count: int) -> Iterator[tuple[int, int, int, Samples]]:
        """(first state, end, states of context before, samples including context) of each block."""
        chunks = sound.chunks()
        kept, at = np.empty(0, np.float32), 0  # samples, and the index of the first one
        for first in range(0, count, self.hop):
            last = min(first + self.hop, count)
            begin, end = max(first - self.context, 0), min(last + self.context, count)
            parts = [kept[begin * self.stride - at :]]
            at = begin * self.stride
            needed = (end - 1 - begin) * self.stride + self.span
            have = len(parts[0])
            while have < needed:
                chunk = next(chunks, None)
                if chunk is None:
                    raise InputError(f"{sound.path}: it has changed while it was read.")
                parts.append(chunk)
                have += len(chunk)
            kept = np.concatenate(parts)
            yield first, last, first - begin, kept[:needed]

    def _infer(self, samples: Samples, moments: tuple[Any, Any] | None) -> NDArray[np.float32]:
        import torch

        if moments is not None:
            for ours, found in zip((self.norm.running_mean, self.norm.running_var), moments, strict=True):
                ours.copy_(found)
        with torch.inference_mode():
            given = torch.from_numpy(samples).to(self.device)[None]
            return self.network(given).last_hidden_state[0].cpu().numpy()


def find(where: str | None, offline: bool = False) -> Path:
    """The folder of weights; see ``Wav2Vec2``.

    Raises:
        ModelUnavailable: there is none, or it lacks one of ``FILES``.
        UsageError: it is neither a folder nor a name.
    """
    named = where or NAME
    folder = Path(named)
    if not folder.is_dir():
        if folder.exists() or named.count("/") != 1 or named.startswith((".", "/", "~")):
            raise UsageError(
                f"{named}: no such folder of weights; give --weights (annotate: --audio-weights) a folder with "
                f"{', '.join(FILES)}, or a name such as {NAME}."
            )
        folder = _cached(named, fetch=where is not None and not offline and not offline_wanted())
    for name in FILES:
        if not (folder / name).is_file():
            raise ModelUnavailable(
                f"{folder}: has no {name}; save the network there with transformers' save_pretrained."
            )
    return folder


def _cached(name: str, fetch: bool) -> Path:
    """The folder of a name in the Hugging Face cache, after a download if needed."""
    _keep_quiet()
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise _needs_transformers(error) from error
    wanted: dict[str, Any] = {"allow_patterns": list(FILES), "token": False}
    try:
        folder = Path(snapshot_download(name, local_files_only=True, **wanted))
        if not fetch or all((folder / file).is_file() for file in FILES):
            return folder
    except Exception as error:  # its errors have no other common base class
        if not fetch:
            raise ModelUnavailable(
                f"{name} is not in the Hugging Face cache: download it with --weights {name} (annotate: "
                f"--audio-weights) and without --offline, or give a folder that contains {', '.join(FILES)}."
            ) from error
    try:
        return Path(snapshot_download(name, **wanted))
    except Exception as error:
        raise ModelUnavailable(f"{name} cannot be downloaded ({_first_line(error)}).") from error


def _load(folder: Path) -> tuple[Any, Any, bool]:
    """The network, its configuration, and whether its input must have mean 0 and variance 1."""
    config, wanted = (_described(folder / name) for name in FILES[:2])
    kind = str(config.get("model_type"))
    if kind not in KINDS or config.get("add_adapter"):
        raise ModelUnavailable(f"{folder}: it contains {kind!r}, not a plain network of {' or '.join(KINDS)}.")
    name, attention = KINDS[kind]
    if wanted.get("sampling_rate", RATE) != RATE:
        raise ModelUnavailable(f"{folder}: it needs {wanted['sampling_rate']} samples per second, not {RATE}.")
    _keep_quiet()
    try:
        from .architectures import mend_torchvision

        mend_torchvision()  # transformers imports it as well
        import transformers
        from transformers.utils import logging
    except ImportError as error:
        raise _needs_transformers(error) from error
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        network, report = getattr(transformers, name).from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            attn_implementation=attention,
        )
    except Exception as error:  # a damaged file may raise anything
        raise ModelUnavailable(f"{folder}: cannot be used ({_first_line(error)}).") from error
    # Weights that a file lacks would silently keep random values.
    missing = {key for key in report["missing_keys"] if key.rpartition(".")[2] not in _UNTRAINED}
    if missing or report["mismatched_keys"]:
        raise ModelUnavailable(f"{folder}: its weights do not match its config.json ({_few(missing)}).")
    return network.float().eval(), network.config, bool(wanted.get("do_normalize", True))


def _with_known_moments(network: Any) -> Any:
    """Make the norm over time after the first convolution, if there is one, use given moments; returns it.

    It normalises each channel separately, so with given moments it is a batch norm in evaluation mode.
    """
    import torch

    first = network.feature_extractor.conv_layers[0]
    norm = getattr(first, "layer_norm", None)
    if not isinstance(norm, torch.nn.GroupNorm):
        return None
    if norm.num_groups != norm.num_channels:
        raise ModelUnavailable(f"its first norm has {norm.num_groups} groups for {norm.num_channels} channels.")
    known = torch.nn.BatchNorm1d(norm.num_channels, eps=norm.eps)
    known.load_state_dict({"weight": norm.weight, "bias": norm.bias}, strict=False)
    first.layer_norm = known.eval()
    return first.layer_norm


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _few(missing: set[str]) -> str:
    return f"{len(missing)} are missing, {min(missing)} for one" if missing else "shapes differ"


def _described(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelUnavailable(f"{path}: cannot be read ({error}).") from error
    if not isinstance(content, dict):
        raise ModelUnavailable(f"{path}: is not a table of keys and values.")
    return content


def _geometry(kernels: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, int]:
    """Samples between consecutive states, and samples that a state covers, for a sequence of convolutions."""
    stride, span = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        span += (kernel - 1) * stride
        stride *= step
    return stride, span


def _keep_quiet() -> None:
    """Disable progress bars; set before the import, when the library reads the variable."""
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"


def _needs_transformers(error: ImportError) -> ModelUnavailable:
    return ModelUnavailable(f"audio needs transformers ({error}): pip install 'hsemotion-cli[audio]'.")
