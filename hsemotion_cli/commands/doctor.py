"""``hsemotion doctor``: does this installation work?"""

from __future__ import annotations

from typing import Annotated

from .options import Only, OutputOptions


def run(output: Annotated[OutputOptions, Only("json")]) -> int:
    """Check this installation: versions, codecs, model files, and a two-second clip from end to end."""
    from . import doctor_checks

    return doctor_checks.run(as_json=output.json)
