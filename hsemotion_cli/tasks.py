"""The affect tasks: their names and their orders.

Everything is matched by name; an order is only ever used together with the tuple that names it.
Sources: Aff-Wild2 EXPR order and the seven compound classes are those of the ABAW challenges
(6th and 7th editions); the twelve action units are those of the ABAW AU track.
"""

from __future__ import annotations

BASIC_EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt")
"""AffectNet's eight, in Aff-Wild2's order with contempt in place of its last one."""

EXPRESSIONS = (*BASIC_EXPRESSIONS, "other")
"""Every expression that a model may know. None knows them all: Aff-Wild2 has "other" where AffectNet has contempt."""

ACTION_UNITS = ("AU01", "AU02", "AU04", "AU06", "AU07", "AU10", "AU12", "AU15", "AU23", "AU24", "AU25", "AU26")

VALENCE_AROUSAL = ("valence", "arousal")

COMPOUNDS: dict[str, tuple[str, str]] = {
    "fearfully_surprised": ("fear", "surprise"),
    "happily_surprised": ("happiness", "surprise"),
    "sadly_surprised": ("sadness", "surprise"),
    "disgustedly_surprised": ("disgust", "surprise"),
    "angrily_surprised": ("anger", "surprise"),
    "sadly_fearful": ("sadness", "fear"),
    "sadly_angry": ("sadness", "anger"),
}
"""ABAW compound class -> the two basic expressions that it is made of, in the challenge's order."""

LANDMARK_MEASURES = ("head_pitch", "head_yaw", "head_roll", "gaze_pitch", "gaze_yaw", "eye_opening", "mouth_gap")
"""What is measured on the landmarks of a face: five angles in degrees (up, and right of the subject, are positive), the
mean distance of the lids in widths of the iris, and that of the lips in distances of the eyes' outer corners."""

QUALITY = ("eye_distance", "sharpness", "contrast")
"""What is measured on the image of a face: the distance of the eyes' outer corners in pixels of the analysed image, as
seen from the front; and, of the green of the face at 64 x 64 pixels, the standard deviation of its Laplacian in units
of that of its values, and the latter, from 0 to 127.5."""

MEASURES = (*LANDMARK_MEASURES, *QUALITY)

UNCERTAINTIES = {
    "expression": "uncertainty_expression",
    "valence_arousal": "uncertainty_va",
    "action_units": "uncertainty_au",
}
"""Task -> name of its uncertainty."""

BEHAVIOUR = ("blink", "mouth_open", "speaking")
"""What eyes and mouth do, from such measures over time."""

EMOTIONAL_MIMICRY = ("admiration", "amusement", "determination", "empathic_pain", "excitement", "joy")
"""Intensities of a whole clip, in the order of the ABAW emotional mimicry challenge (Hume-Vidmimic2)."""

TASKS: dict[str, tuple[str, ...]] = {
    "expression": EXPRESSIONS,
    "valence_arousal": VALENCE_AROUSAL,
    "action_units": ACTION_UNITS,
}
"""Task -> names of its columns, in the order in which every score array holds them."""

FROZEN = "frozen_expression"
"""The expressions that a network itself predicts, kept beside those of the head that replaces them."""

DISAGREEMENT = "disagreement"
"""How far apart the heads of an ensemble are, for each task."""

SCORES: dict[str, tuple[str, ...]] = {**TASKS, FROZEN: EXPRESSIONS, DISAGREEMENT: tuple(TASKS)}
"""The same for everything that models may give for each face: the tasks, and what helps to judge them."""

BLENDSHAPES: tuple[str, ...] = tuple(
    [
        "_neutral",
        "browDownLeft",
        "browDownRight",
        "browInnerUp",
        "browOuterUpLeft",
        "browOuterUpRight",
        "cheekPuff",
        "cheekSquintLeft",
        "cheekSquintRight",
        "eyeBlinkLeft",
        "eyeBlinkRight",
        "eyeLookDownLeft",
        "eyeLookDownRight",
        "eyeLookInLeft",
        "eyeLookInRight",
        "eyeLookOutLeft",
        "eyeLookOutRight",
        "eyeLookUpLeft",
        "eyeLookUpRight",
        "eyeSquintLeft",
        "eyeSquintRight",
        "eyeWideLeft",
        "eyeWideRight",
        "jawForward",
        "jawLeft",
        "jawOpen",
        "jawRight",
        "mouthClose",
        "mouthDimpleLeft",
        "mouthDimpleRight",
        "mouthFrownLeft",
        "mouthFrownRight",
        "mouthFunnel",
        "mouthLeft",
        "mouthLowerDownLeft",
        "mouthLowerDownRight",
        "mouthPressLeft",
        "mouthPressRight",
        "mouthPucker",
        "mouthRight",
        "mouthRollLower",
        "mouthRollUpper",
        "mouthShrugLower",
        "mouthShrugUpper",
        "mouthSmileLeft",
        "mouthSmileRight",
        "mouthStretchLeft",
        "mouthStretchRight",
        "mouthUpperUpLeft",
        "mouthUpperUpRight",
        "noseSneerLeft",
        "noseSneerRight",
    ]
)
"""MediaPipe's blendshapes in its own order."""
