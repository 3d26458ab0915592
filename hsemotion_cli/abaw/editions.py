"""The tracks of the 8th to the 11th ABAW competition: data, rules and measures, as their pages state them.

Source: affective-behavior-analysis-in-the-wild.github.io/8th, /9th, /10th and /11th, read in the public repositories of
these pages. Layouts of submission files are not on these pages; they are given out with the data. What this program
writes and reads follows the files of the 6th and 7th edition (``challenges``), which is not confirmed for later ones.
"""

from __future__ import annotations

from dataclasses import dataclass

_AFFWILD2 = "Aff-Wild2"
_BAH = "BAH, 1,427 videos of 300 people, 10.6 hours"
_VIOLENCE = "part of DVD, over 500 videos, 2.7 M frames"


@dataclass(frozen=True, slots=True)
class EditionTrack:
    """One track of one edition.

    Attributes:
        track: as ``challenges.TRACKS`` names it, or one of ``NAMES``.
        data: the data set, with its size as the page gives it.
        level: what one prediction is about: "frame", "image", "clip" or "video".
        measure: what ranks the teams.
        baseline: the page's value of it, on the validation part unless ``baseline_on`` names another; None if the page
            has none.
        uni_task: whether only labels of the track itself may be used to train.
        baseline_on: the part that the baseline was measured on.
    """

    track: str
    data: str
    level: str
    measure: str
    baseline: float | None
    uni_task: bool = False
    baseline_on: str = "validation"


def _frames(track: str, data: str, measure: str, baseline: float, uni_task: bool = True) -> EditionTrack:
    return EditionTrack(track, f"{_AFFWILD2}, {data}", "frame", measure, baseline, uni_task)


_EXPR = _frames("expr", "548 videos, 2.7 M frames", "macro F1 of 8 classes", 0.25)
_VA = _frames("va", "594 videos of 584 people, 3 M frames", "mean CCC", 0.22)
_AU = _frames("au", "547 videos, 2.7 M frames", "mean F1 of 12 units", 0.39)
_CE = EditionTrack("ce", "part of C-EXPR-DB, 56 videos without labels", "frame", "macro F1 of 7 classes", None)
_EMI = EditionTrack("emi", "Hume-Vidmimic2, over 15,000 videos, 25 hours", "clip", "mean Pearson's r of 6", 0.25)
_VD = EditionTrack("vd", _VIOLENCE, "frame", "macro F1 of 2 classes", None)
_AH_8 = EditionTrack(
    "ah", "BAH, 431 videos of 84 people to train and validate, 40 people to test", "frame", "weighted F1 of 2 classes",
    0.70,
)  # fmt: skip
_AH = EditionTrack("ah", _BAH, "video", "macro F1 of 2 classes", 0.2827, baseline_on="public test")
_MTL = EditionTrack("mtl", "s-Aff-Wild2, 221,000 images", "image", "P, the sum of the three", 0.45)

EDITIONS: dict[int, tuple[EditionTrack, ...]] = {
    8: (_EXPR, _VA, _AU, _CE, _EMI, _AH_8),
    9: (_frames("va", "594 videos of 584 people, 3 M frames", "mean CCC", 0.22, uni_task=False), _CE, _VD),
    # Read in two stored versions of the page, from before the competition and with its results: sizes, rules, measures
    # and baselines of valence and arousal, expressions, action units and mimicry are as on the page of the 8th. Whether
    # the data handed out are the same was not seen. The earlier version also describes compound expressions; the
    # results of the later one have no such track, so it is left out.
    10: (_EXPR, _VA, _AU, EditionTrack("vd", _VIOLENCE, "frame", _VD.measure, 0.73), _EMI, _AH),
    11: (_MTL, _AH),
}
"""Edition -> its tracks. The 8th was held at CVPR 2025, the 9th at ICCV 2025, the 10th at CVPR 2026, the 11th at ECCV
2026."""

NAMES = {"ah": "ambivalence and hesitancy", "vd": "violence"}
"""Tracks that this program knows of, but neither scores nor submits."""


def why_not(track: str) -> str:
    """A clause about a track of these editions that ``challenges`` lacks, or "" for any other name."""
    if track not in NAMES:
        return ""
    found = {n: one for n, tracks in EDITIONS.items() for one in tracks if one.track == track}
    measures = "; ".join(f"{n}th: {one.measure}, by {one.level}" for n, one in found.items())
    return f"this is {NAMES[track]} ({measures}), whose files are not documented publicly, so it is not supported"


def table() -> list[str]:
    """All tracks as a Markdown table."""
    lines = ["| edition | track | data | a prediction for each | measure | baseline |", "|---|---|---|---|---|---|"]
    for edition, tracks in EDITIONS.items():
        for one in tracks:
            part = "" if one.baseline_on == "validation" else f" ({one.baseline_on})"
            baseline = "-" if one.baseline is None else f"{one.baseline:g}{part}"
            data = f"{one.data}; its own labels only" if one.uni_task else one.data
            lines.append(f"| {edition} | `{one.track}` | {data} | {one.level} | {one.measure} | {baseline} |")
    return lines
