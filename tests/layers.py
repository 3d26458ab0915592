"""Layers of a network under test, with their types; to torch every attribute is a tensor or a module."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs torch")
from torch import nn


def linear(network: nn.Module) -> nn.Linear:
    """The last layer, which all our networks call ``fc``."""
    layer = network.fc
    assert isinstance(layer, nn.Linear)
    return layer
