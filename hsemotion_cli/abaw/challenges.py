"""The six tracks of the ABAW challenges: what each asks for, and the files in which it wants the answer.

Headers and rows are those of the templates that the organisers hand out (6th and 7th edition): spaces, underscores and
capitals in them are meant, and the header of a track may name other fields than its rows have.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError

EXPRESSION_NAMES = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
"""Aff-Wild2's classes as its files write them, in the order of ``truth.AFFWILD2_EXPRESSIONS``."""

UNIT_NAMES = "AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26"
"""The action units as Aff-Wild2's files write them, in the order of ``tasks.ACTION_UNITS``."""

FIELDS = {"expression": 1, "compound": 1, "valence_arousal": 2, "action_units": 12, "emotional_mimicry": 6}
"""Task -> fields of a submitted row: a class is one number."""


@dataclass(frozen=True, slots=True)
class Track:
    """One track.

    Attributes:
        name: as ``--track`` takes it.
        tasks: keys of ``Predictions.tasks`` that it needs, in the order of a row's fields.
        header: first line of a submission.
        per_video: header of a file for one video, as in the editions up to the 3rd; None where there was no such track.
    """

    name: str
    tasks: tuple[str, ...]
    header: str
    per_video: str | None = None

    @property
    def fields(self) -> int:
        """How many fields a row of a submission has, with the name of the picture or clip."""
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
    """The track of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in TRACKS:
        raise UsageError(f"--track {name}: choose from {', '.join(TRACKS)}.")
    return TRACKS[name]
