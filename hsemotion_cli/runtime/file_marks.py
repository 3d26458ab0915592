"""What the files that hsemotion writes carry, so that it knows them again: see ``formats.ownership``."""

from __future__ import annotations

TOOL = "hsemotion"
"""The encoding tool of an MP4 file, the "Software" of a PNG file, the key of metadata in Parquet and safetensors."""

PAGE_MARK = "<!-- written by hsemotion -->"
"""The last line of a Markdown page, where no reader shows it."""
