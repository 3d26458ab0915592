"""hsemotion: face videos to trustworthy tables of affect.

A frame travels through these files, in this order:

    video (scenes) -> faces (crops) -> tracks -> predict (geometry, networks) -> timeline
    timeline -> smooth (recipe) -> formats/ table, archive, sidecar -> render (drawing)
"""

__version__ = "0.1.0"
