"""hsemotion: face videos to trustworthy tables of affect.

A frame travels through the folders in this order:

    media (video, images) -> faces (detector, crops, tracking) -> models (predict) -> timeline
    timeline -> postprocess (refine, smoothing) -> formats (table, raw_scores, sidecar) -> overlay (video)

``pipeline`` wires them together for one video; ``batch`` runs it over a collection. A published network comes through
``models``: cards -> weights -> checkpoints (safe_unpickler) -> conversion (architectures) -> engines (onnx_graphs,
reparameterise) -> network_model. ``cli`` and ``commands`` are the command line.

Importing the package turns off the usage reports of the libraries below it; see ``runtime.privacy``.
"""

from .runtime import privacy

__version__ = "0.1.0"

privacy.disable_reporting()  # here, because it must happen before any of the libraries is imported
