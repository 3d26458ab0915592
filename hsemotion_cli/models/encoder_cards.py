"""Cards of timm's networks as encoders, made from what timm knows about them; see ``models.encoders``."""

from __future__ import annotations

from typing import Any

from ..errors import UsageError
from .cards import ENCODERS, ModelCard, NetworkSpec


def encoder_card(name: str) -> ModelCard:
    """The card of an encoder; needs timm, but no weights.

    Args:
        name: ``ENCODERS`` and a name of timm's, with or without its tag: "timm:vit_small_patch14_dinov2.lvd142m".

    Raises:
        UsageError: timm has no such network.
        ModelUnavailable: timm is not installed.
    """
    from .architectures import import_timm

    timm, own = import_timm(), name.removeprefix(ENCODERS)
    config = timm.models.get_pretrained_cfg(own) if own and "/" not in own and timm.is_model(own) else None
    if config is None:
        near = ", ".join(f"{ENCODERS}{each}" for each in timm.list_models(f"*{own.partition('.')[0]}*")[:3])
        raise UsageError(
            f"--model {name}: timm {timm.__version__} has no such network{f'; it has {near}' if near and own else ''}."
        )
    network = NetworkSpec(
        (name,), int(config.input_size[-1]), config.mean, config.std, (), False, _size(timm, own), "the head",
        resize={"torch": config.interpolation},
    )  # fmt: skip
    return ModelCard(
        name=name,
        paper_name=f"{own} of timm",
        family="encoder",
        tasks=(),
        crop="box",
        licence=config.license or "not stated by timm",
        training_data=f"weights {config.tag or 'without a tag'} of timm; see the card of these weights",
        citation="Wightman 2019, PyTorch Image Models (timm)",
        network=network,
    )


def _size(timm: Any, name: str) -> int:
    """Columns of the embedding, without memory for the weights."""
    import torch

    with torch.device("meta"):
        network = timm.create_model(name, pretrained=False, num_classes=0)
    return int(getattr(network, "head_hidden_size", None) or network.num_features)
