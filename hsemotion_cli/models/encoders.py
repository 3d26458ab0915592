"""Frozen image encoders of timm, by their names there: DINOv2 and DINOv3, ConvNeXt V2, image towers of CLIP and SigLIP.

An encoder gives embeddings and predicts nothing itself: ``extract`` writes them, and a head trained on them predicts.
Its input is prepared by timm's own evaluation transform for it (size, crop, interpolation, mean, standard deviation).
Weights are a safetensors file of the user, or timm's own on the Hugging Face hub.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PIL

from ..domain import Face, Image, Scores
from ..errors import ModelUnavailable
from .cards import ENCODERS, ModelCard
from .engines import resolve_device
from .weights import offline_wanted

_GPU_BATCH = 64


class Encoder:
    """An encoder, loaded for inference in float32 by torch.

    On the CPU faces are encoded one by one, so an embedding does not depend on the other faces of a batch.

    Args:
        card: of ``encoder_cards.encoder_card``.
        device: "auto", "cpu", "cuda" or "cuda:N".
        offline: download nothing.
        path: a safetensors file with the network's weights; None for timm's own.
        threads: CPU threads of torch.

    Attributes:
        card: as given.
        device: where it computes.
        provenance: where the weights are from, the SHA-256 of all of them, and how the input is prepared.

    Raises:
        ModelUnavailable: the weights cannot be had, or do not belong to the network.
        UsageError: there is no such device.
    """

    def __init__(
        self,
        card: ModelCard,
        device: str = "auto",
        offline: bool = False,
        path: Path | None = None,
        threads: int | None = None,
    ) -> None:
        from .architectures import import_timm

        timm = import_timm()
        import torch
        from timm.data import create_transform, resolve_model_data_config

        own = card.name.removeprefix(ENCODERS)
        self.card, self.device = card, resolve_device(device, "torch")
        if threads:
            torch.set_num_threads(threads)
        config = timm.models.get_pretrained_cfg(own)
        file = path if path is not None else _published(card.name, config, offline)
        network = timm.create_model(own, pretrained=False, num_classes=0)
        _load(network, file, config.classifier)
        self._network = network.to(self.device).eval()
        prepared = resolve_model_data_config(network)
        self._transform = create_transform(**prepared, is_training=False)
        self._batch = _GPU_BATCH if self.device.startswith("cuda") else 1
        self.provenance: Mapping[str, Any] = {
            "file": file.name if path is not None else config.hf_hub_id,
            "sha256": digest_of(network.state_dict()),
            "backend": "torch",
            "device": self.device,
            "precision": "fp32",
            "timm": timm.__version__,
            "input": {name: list(v) if isinstance(v, tuple) else v for name, v in prepared.items()},
        }

    def __repr__(self) -> str:
        return f"Encoder({self.card.name} on {self.device})"

    def __call__(self, faces: Sequence[Face]) -> Scores:
        """Embeddings of faces; those without the crop get a row of nan."""
        assert self.card.crop is not None
        crops = [face.crops.get(self.card.crop) for face in faces]
        seen = np.array([crop is not None for crop in crops], bool)
        return Scores({}, self.encode([crop for crop in crops if crop is not None])).spread(seen)

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """(n, d) embeddings of uint8 RGB images of any size."""
        import torch

        assert self.card.network is not None
        found = np.empty((len(images), self.card.network.embedding_size), np.float32)
        for start in range(0, len(images), self._batch):
            part = images[start : start + self._batch]
            batch = torch.stack([self._transform(PIL.fromarray(image)) for image in part]).to(self.device)
            with torch.inference_mode():
                found[start : start + len(part)] = self._network(batch).float().cpu().numpy()
        return found


def digest_of(state: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and bytes of all tensors; it does not depend on the file that they are in."""
    whole = hashlib.sha256()
    for name in sorted(state):
        values = np.ascontiguousarray(state[name].detach().cpu().numpy())
        whole.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        whole.update(values.tobytes())
    return whole.hexdigest()


def _published(name: str, config: Any, offline: bool) -> Path:
    """timm's own weights, from the Hugging Face cache or else the hub."""
    file = config.hf_hub_filename or "model.safetensors"
    if not config.hf_hub_id or not file.endswith(".safetensors"):
        raise ModelUnavailable(f"--model {name}: timm names no safetensors file for it; give one as {name}=FILE.")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(config.hf_hub_id, file, local_files_only=True, token=False))
    except Exception as error:  # its errors have no other common base class
        if offline or offline_wanted():
            raise ModelUnavailable(
                f"--model {name}: its weights ({config.hf_hub_id}) are not in the Hugging Face cache, and nothing is "
                f"downloaded while offline; run it online once, or give a file as {name}=FILE."
            ) from error
    try:
        return Path(hf_hub_download(config.hf_hub_id, file, token=False))
    except Exception as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise ModelUnavailable(
            f"--model {name}: its weights ({config.hf_hub_id}) cannot be downloaded ({reason}); give a file as "
            f"{name}=FILE."
        ) from error


def _load(network: Any, file: Path, classifier: str | Sequence[str] | None) -> None:
    """Load all weights of a network; a file may have those of its classifier besides, and nothing else.

    Raises:
        ModelUnavailable: it cannot be read, or does not match; weights that it lacks would keep random values.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        raise ModelUnavailable(f"{file}: cannot be read as a safetensors file ({error}).") from error
    heads = (classifier,) if isinstance(classifier, str) else tuple(classifier or ())
    extra = [name for name in state if any(name.startswith(f"{head}.") for head in heads)]
    wanted = network.state_dict()
    kept = {name: values for name, values in state.items() if name in wanted or name not in extra}
    wrong = sorted(
        (wanted.keys() ^ kept.keys())
        | {name for name in wanted.keys() & kept.keys() if wanted[name].shape != kept[name].shape}
    )
    if wrong:
        raise ModelUnavailable(
            f"{file}: these are not the weights of this network ({len(wrong)} are missing, unexpected or of another "
            f"shape, {wrong[0]} for one)."
        )
    network.load_state_dict(kept)
