"""The six tracks of the ABAW challenges: their tasks and submission formats.

Headers and rows are those of the organisers' templates (6th and 7th edition). Spaces, underscores and capitals in them
are intentional, and the header of a track may name other fields than its rows have.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from . import editions

EXPRESSION_NAMES = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
"""Aff-Wild2's classes as written in its files, in the order of ``ground_truth.AFFWILD2_EXPRESSIONS``."""

UNIT_NAMES = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
"""The action units as written in Aff-Wild2's files, in the order of ``tasks.ACTION_UNITS``."""

FIELDS = {"expression": 1, "compound": 1, "valence_arousal": 2, "action_units": 12, "emotional_mimicry": 6}
"""Task -> number of fields in a row of a submission; a class is one number."""


@dataclass(frozen=True, slots=True)
class Track:
    """One track.

    Attributes:
        name: as ``--track`` takes it.
        tasks: keys of ``Predictions.tasks``, in the order of a row's fields.
        header: first line of a submission.
        per_video: header of a per-video file, as used up to the 3rd edition; None if the track did not exist then.
    """

    name: str
    tasks: tuple[str, ...]
    header: str
    per_video: str | None = None

    @property
    def fields(self) -> int:
        """Number of fields in a row of a submission, including the name of the image or clip."""
        return 1 + sum(FIELDS[task] for task in self.tasks)


_COMPOUND_NAMES = (
    "Fearfully_Surprised,Happily_Surprised,Sadly_Surprised,Disgustedly_Surprised,Angrily_Surprised,Sadly_Fearful,"
    "Sadly_Angry"
)
_INTENSITY_NAMES = "Admiration,Amusement,Determination,Empathic Pain,Excitement,Joy"
_VA = "valence,arousal"
_MTL = ("valence_arousal", "expression", "action_units")

TRACKS = {
    "expr": Track("expr", ("expression",), f"image_location,{EXPRESSION_NAMES}", EXPRESSION_NAMES),
    "va": Track("va", ("valence_arousal",), f"image_location,{_VA}", _VA),
    "au": Track("au", ("action_units",), f"image_location,{UNIT_NAMES}", UNIT_NAMES),
    "mtl": Track("mtl", _MTL, "image,valence,arousal,expression,aus"),
    "ce": Track("ce", ("compound",), f"image_location,{_COMPOUND_NAMES}"),
    "emi": Track("emi", ("emotional_mimicry",), f"Filename,{_INTENSITY_NAMES}"),
}
"""Name -> track, after the organisers' CVPR_6th_ABAW_*_test_set_example.txt, MTL.txt and the splits of EMI."""


def track(name: str) -> Track:
    """The track with a name.

    Raises:
        UsageError: there is none.
    """
    if name not in TRACKS:
        known = editions.why_not(name)
        raise UsageError(f"--track {name}: {known + '; ' if known else ''}choose from {', '.join(TRACKS)}.")
    return TRACKS[name]
