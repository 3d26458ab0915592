"""Candidate and what a closer look at it found -> the probability that it is a face.

Two logistic regressions, one with the output of the landmark network and one without. ``scripts/fit_verification.py``
fits them on composed scenes (``scripts/compose_scenes.py``) and prints how well calibrated they are; their output is
the ``det_score`` of the table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOWEST = 0.05
"""Score of a detector from which the classifier looks at a candidate. At 0.15 a tenth of the faces of 40 pixels and
more are no candidates at all, at 0.05 one in fifty."""

FAINT, DOUBT = 0.15, 1.5
"""First score below which a candidate is faint, and what its logit loses then. Photos hold more faint candidates that
are no faces than the scenes on which the weights were fitted, where two in five candidates are faces. With it, a faint
candidate reaches 0.75 where it would have had 0.93."""

_USUAL_WIDTH = 60.0  # pixels; only scales the last weight

_WITH_LANDMARKS = (0.179, 1.029, 0.183, 0.269, 0.939, -0.825)
_WITHOUT_LANDMARKS = (0.267, 0.943, 0.0, 0.622, 1.017, -1.508)
"""Weights of the logits of both scores, of the presence logit, of log width, of the classifier's logit; a constant."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about a candidate.

    Attributes:
        score: highest score of a detector that searched for it, in [0, 1].
        closer: highest score of BlazeFace at a closer look, in [0, 1]; 0 where it found nothing there.
        presence: logit by which the landmark network sees a face, None where it was not run.
        width: of the box, in pixels.
        classified: logit of the face classifier, at the box of the closer look where there is one.
    """

    score: float
    closer: float
    presence: float | None
    width: float
    classified: float


def probability(evidence: Evidence) -> float:
    """Probability in (0, 1) that a candidate is a face."""
    weights = _WITHOUT_LANDMARKS if evidence.presence is None else _WITH_LANDMARKS
    known = (*values(evidence), 1.0)
    doubt = DOUBT if evidence.score < FAINT else 0.0
    return 1 / (1 + math.exp(doubt - sum(w * v for w, v in zip(weights, known, strict=True))))


def values(evidence: Evidence) -> tuple[float, float, float, float, float]:
    """What the regressions weigh: logits of both scores, the presence logit (0 if unknown), log width, and the
    classifier's logit."""
    presence = min(max(evidence.presence or 0.0, -8.0), 8.0)
    classified = min(max(evidence.classified, -8.0), 8.0)
    width = math.log(evidence.width / _USUAL_WIDTH)
    return _logit(evidence.score), _logit(evidence.closer), presence, width, classified


def _logit(score: float) -> float:
    score = min(max(score, 0.02), 0.98)  # beyond that detectors are surer than they are right
    return math.log(score / (1 - score))
