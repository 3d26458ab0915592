"""Candidate and what a closer look at it found -> the probability that it is a face.

Two logistic regressions, one with the landmark network's answer and one without. ``scripts/fit_verification.py`` fits
them on composed scenes (``scripts/compose_scenes.py``) and prints how well calibrated they are; their output is the
``det_score`` of the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOWEST = 0.15
"""Score of a detector from which a candidate is looked at more closely; the closer look decides."""

_USUAL_WIDTH = 60.0  # pixels; only scales the last weight

_WITH_LANDMARKS = (1.288, 1.367, 0.276, -0.201, -1.345)
_WITHOUT_LANDMARKS = (0.828, 2.153, 0.0, 0.009, -1.521)
"""Weights of the logits of both scores, of the landmark network's presence logit and of log width; and a constant."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a candidate.

    Attributes:
        score: highest score of a detector that searched for it, in [0, 1].
        closer: highest score of BlazeFace at a closer look, in [0, 1]; 0 where it found nothing there.
        presence: logit by which the landmark network sees a face, None where it was not asked.
        width: of the box, in pixels.
    """

    score: float
    closer: float
    presence: float | None
    width: float


def probability(evidence: Evidence) -> float:
    """Probability in (0, 1) that a candidate is a face."""
    weights = _WITHOUT_LANDMARKS if evidence.presence is None else _WITH_LANDMARKS
    known = (*values(evidence), 1.0)
    return 1 / (1 + math.exp(-sum(w * v for w, v in zip(weights, known, strict=True))))


def values(evidence: Evidence) -> tuple[float, float, float, float]:
    """What the regressions weigh: logits of both scores, the presence logit (0 if unknown), log width."""
    presence = min(max(evidence.presence or 0.0, -8.0), 8.0)
    width = math.log(evidence.width / _USUAL_WIDTH)
    return _logit(evidence.score), _logit(evidence.closer), presence, width


def _logit(score: float) -> float:
    score = min(max(score, 0.02), 0.98)  # beyond that detectors are surer than they are right
    return math.log(score / (1 - score))
