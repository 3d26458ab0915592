"""Devices that models state: "cpu", "cuda" or "cuda:N"."""

from __future__ import annotations

CPU = "cpu"


def is_gpu(device: str) -> bool:
    """Whether a model on this device is called best with many faces at once."""
    return device.partition(":")[0] == "cuda"
