"""Rendered faces with known action units, one stage per file.

``assets`` reads the archives. ``people``, ``expressions`` and ``scenes`` draw people, what their faces do, light and
camera at random. ``geometry`` shapes the mesh, ``drawing`` makes the image, ``labels`` and ``folder`` write the data.
"""
