"""hsemotion: face videos to trustworthy tables of affect.

A frame travels through these files, in this order:

    video, pictures (source, scenes) -> faces (crops) -> tracks -> predict (geometry, networks) -> timeline
    timeline -> refine (recipe, smooth) -> formats/ table, archive, sidecar -> render (painter, drawing, stamps)

annotate wires them together for one video. A network comes through networks/ cards -> weights -> checkpoints
(pickles) -> conversion (architectures) -> engines (onnx_graphs, lean) -> model.
"""

__version__ = "0.1.0"
