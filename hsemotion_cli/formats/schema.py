"""The columns of the table, in order: name, type, unit, range, meaning.

They are the same for every video and every model; tables of photos, of videos with ``--clock``, and of live sources
have more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..tasks import ACTION_UNITS, BEHAVIOUR, COMPOUNDS, EXPRESSIONS, LANDMARK_MEASURES, UNCERTAINTIES

ANGLES = LANDMARK_MEASURES[:5]
LIKELIHOODS = ("mouth_open", "speaking", *UNCERTAINTIES.values())

SCHEMA_VERSION = 3

NO_COMPOUND = "p_no_compound"

ADDED = ("p_other", *ANGLES, *BEHAVIOUR, *UNCERTAINTIES.values(), NO_COMPOUND, "landmarks")
"""Columns that tables of earlier versions do not have; they are read as empty."""

ACTION_UNIT_NAMES = dict(
    zip(
        ACTION_UNITS,
        (
            "inner brow raiser",
            "outer brow raiser",
            "brow lowerer",
            "cheek raiser",
            "lid tightener",
            "upper lip raiser",
            "lip corner puller",
            "lip corner depressor",
            "lip tightener",
            "lip pressor",
            "lips part",
            "jaw drop",
        ),
        strict=True,
    )
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table.

    Attributes:
        name: as in the header.
        type: "integer", "number" or "text".
        unit: "s", "px", "probability", ... or "" for none.
        range: the values that occur, in words.
        meaning: what its values mean, and when it is empty.
        decimals: digits after the point to which a number is rounded.
    """

    name: str
    type: str
    unit: str
    range: str
    meaning: str
    decimals: int = 6


def _number(name: str, unit: str, range_: str, meaning: str, decimals: int = 6) -> Column:
    return Column(name, "number", unit, range_, meaning, decimals)


def _integer(name: str, range_: str, meaning: str) -> Column:
    return Column(name, "integer", "", range_, meaning)


def _angle(name: str, meaning: str) -> Column:
    return _number(name, "degrees", "-180 to 180", f"{meaning} Empty without landmarks.", 2)


def _uncertainty(task: str, meaning: str) -> Column:
    text = f"Estimated {meaning}; docs/columns.md. Empty in interpolated rows, and without scores of the task."
    return _number(UNCERTAINTIES[task], "", "0 to 1", text, 4)


COLUMNS: tuple[Column, ...] = (
    _integer(
        "frame", "0, 1, ...", "Ordinal of the decoded frame, from 0; for numbered images the number in the file name."
    ),
    _number(
        "time",
        "s",
        "any",
        "Presentation time stamp of the frame as the container gives it; goes on where its clock jumps.",
    ),
    _integer(
        "face_id",
        "0, 1, ...",
        "The same person keeps the same id through a clip until lost or cut away; never re-used. Empty: no face.",
    ),
    _integer("face_detected", "0 or 1", "1 if the face was seen in this very frame (with --crops: given)."),
    _integer(
        "interpolated", "0 or 1", "1 if the row bridges a short gap between two sightings of the face (--interpolate)."
    ),
    _number("det_score", "", "0 to 1", "Confidence of the face detector. Empty if interpolated, or with --crops.", 4),
    _number(
        "x", "px", "any", "Left edge of the face's box in the displayed image (rotation and pixel aspect applied).", 2
    ),
    _number("y", "px", "any", "Top edge of the box.", 2),
    _number("w", "px", "above 0", "Width of the box, which is drawn around the face's landmarks.", 2),
    _number("h", "px", "above 0", "Height of the box.", 2),
    Column(
        "expression",
        "text",
        "",
        ", ".join(EXPRESSIONS),
        "The expression with the highest probability; each model covers a subset.",
    ),
    _number("expression_score", "probability", "0 to 1", "Probability of that expression."),
    *(
        _number(f"p_{name}", "probability", "0 to 1", f"Probability of {name}; those that are there sum to 1.")
        for name in EXPRESSIONS
    ),
    _number("valence", "", "-1 to 1", "Unpleasant (-1) to pleasant (1)."),
    _number("arousal", "", "-1 to 1", "Calm (-1) to excited (1)."),
    *(
        _number(f"{au}_p", "probability", "0 to 1", f"{au}, {ACTION_UNIT_NAMES[au]}: probability that it is present.")
        for au in ACTION_UNITS
    ),
    *(
        _integer(f"{au}_c", "0 or 1", f"{au} is present: its probability reaches the recipe's threshold.")
        for au in ACTION_UNITS
    ),
    Column(
        "compound",
        "text",
        "",
        ", ".join(COMPOUNDS),
        "The most probable compound expression. Empty where there is rather none: p_no_compound is 0.5 or more.",
    ),
    *(
        _number(
            f"p_{name}",
            "probability",
            "0 to 1",
            f"Probability of {name.replace('_', ' ')}, from p_{one} and p_{other}: high only where both are.",
        )
        for name, (one, other) in COMPOUNDS.items()
    ),
    _angle("head_pitch", "The head is raised (positive) or lowered, seen from the camera; 0 when it faces the camera."),
    _angle("head_yaw", "The head is turned to the person's own right (positive) or left, likewise."),
    _angle("head_roll", "The head is tilted to the person's own right shoulder (positive) or left one."),
    _angle("gaze_pitch", "The eyes look above (positive) or below the camera. Empty also while they are closed."),
    _angle("gaze_yaw", "The eyes look to the person's own right (positive) or left of the camera, likewise."),
    _integer(
        "blink",
        "0 or 1",
        "1 while the eyes are closed, in a blink or for longer. Empty in interpolated rows, without landmarks, and for "
        "people whose eyes are never seen open.",
    ),
    _number(
        "mouth_open",
        "",
        "0 to 1",
        "Gap between the lips: 0 closed, 1 wide open (0.6 distances of the eyes' outer corners). Empty without "
        "landmarks.",
        4,
    ),
    _number(
        "speaking",
        "",
        "0 to 1",
        "Likelihood that the person is speaking, from movement of the lips in the second around the frame. Empty "
        "without landmarks, for single images, and below seven frames per second.",
        4,
    ),
    _uncertainty("expression", "probability that the expression of the frame by itself is wrong"),
    _uncertainty("valence_arousal", "probability that valence and arousal are off by more than 0.3 in their plane"),
    _uncertainty("action_units", "share of the action units that a clear image would decide otherwise"),
    _number(
        NO_COMPOUND,
        "probability",
        "0 to 1",
        "Probability that there is none of the seven compound expressions; sums to 1 with theirs.",
    ),
    _integer(
        "landmarks",
        "0 or 1",
        "1 if 478 landmarks were placed on the face; 0 if it has only the detector's keypoints, as in profile or "
        "behind a hand, so that networks read it but nothing is measured on it. Empty if interpolated.",
    ),
)

NAMES: tuple[str, ...] = tuple(column.name for column in COLUMNS)

PHOTOS: tuple[Column, ...] = (
    Column(
        "file",
        "text",
        "",
        "a file name",
        "Name of the photo in its folder; with ./ before a name that a spreadsheet would take for a formula.",
    ),
    Column(
        "taken",
        "text",
        "",
        "YYYY-MM-DDTHH:MM:SS",
        "When the photo was taken, by its EXIF data; with fraction and zone only if they are there. Empty: not known.",
    ),
    _integer("image_width", "1, 2, ...", "Width of the photo in pixels, upright; the boxes are in its pixels."),
    _integer("image_height", "1, 2, ...", "Height of the photo in pixels, upright."),
)
"""Columns of tables made from a folder of photos only.

There ``frame`` is the ordinal of the photo in the natural order of names, ``time`` is 0, and ``face_id`` counts the
faces within each photo, from left to right.
"""

WALL_TIME = Column(
    "wall_time",
    "text",
    "",
    "YYYY-MM-DDTHH:MM:SS.mmmZ",
    "Date and time of the frame in UTC: ``time`` after the creation time that the file declares, which is when the "
    "recording began, or on a few devices when it ended. Empty: none is declared. Of a live source: when the frame "
    "arrived, by this machine's clock.",
)
"""Column of tables made with ``--clock`` or by ``live`` only."""

MONOTONIC = _integer(
    "monotonic_ns",
    "0, 1, ...",
    "Reading of the machine's monotonic clock in nanoseconds when the frame arrived (Python's time.monotonic_ns).",
)
"""Column of tables made by ``live`` only."""

PEOPLE: tuple[Column, ...] = (
    Column(
        "person",
        "text",
        "",
        "a name, or person 1, person 2, ...",
        "Who it is: the same for all face ids of one person. Empty: no image of this face id was good enough.",
    ),
    _number(
        "person_score",
        "",
        "-1 to 1",
        "Similarity of the face id to the person's other ones. Empty: it is the only one, or it was named by hand.",
        3,
    ),
    _number(
        "person_second",
        "",
        "-1 to 1",
        "Similarity of the face id to the most similar other person. Empty: there is none, or it was named by hand.",
        3,
    ),
)
"""Columns of tables made with ``--identify`` or ``--people`` only; they stand behind ``face_id``."""

OPTIONAL = (*PHOTOS, WALL_TIME, MONOTONIC, *PEOPLE)
"""Columns that some tables have; those that are not of ``PEOPLE`` stand behind ``time``."""

_FRAME_NAMES = tuple(column.name for column in (*PHOTOS, WALL_TIME, MONOTONIC))
_PEOPLE_NAMES = tuple(column.name for column in PEOPLE)


def names_with(optional: Collection[str]) -> tuple[str, ...]:
    """Names of all columns of a table that has some optional ones, in order."""
    time, face = NAMES.index("time") + 1, NAMES.index("face_id") + 1
    of_frame = (name for name in _FRAME_NAMES if name in optional)
    people = (name for name in _PEOPLE_NAMES if name in optional)
    return (*NAMES[:time], *of_frame, *NAMES[time:face], *people, *NAMES[face:])
