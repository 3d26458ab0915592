"""Raw scores -> our figures for each row of the paper's table, beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..abaw import emi, evaluation, grid_search, predictions, tuning_data
from ..abaw.aligned import EvaluationSettings
from ..abaw.challenges import TRACKS
from ..abaw.search_space import Grid
from ..abaw.tuning_result import Choice
from ..errors import InputError
from ..evaluation import metrics
from ..evaluation.ground_truth import Annotations, clip_key, recording
from ..models import heads
from ..postprocess.compound import divergence
from ..postprocess.recipe import Recipe, Smoothing
from ..reporting.markdown import text as text_of
from ..reporting.wording import few
from ..tasks import ACTION_UNITS, EMOTIONAL_MIMICRY, TASKS
from ..training.features import find_files
from .chain import Lost, Places, Truth, read_truth
from .experiment import TUNED, Experiment, Row

_TRACK_OF = {"expression": "expr", "valence_arousal": "va", "action_units": "au"}


@dataclass(frozen=True, slots=True)
class RowResult:
    """One row.

    Attributes:
        name: of the row.
        paper, ours: figure by name (``experiment.SCORES``).
        settings: smoothing, weight and thresholds by task, as they were given or chosen.
    """

    name: str
    paper: Mapping[str, float]
    ours: Mapping[str, float]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(found: Experiment, places: Places, lost: Lost) -> list[RowResult]:
    """Our figures for all rows; clips that are ``lost`` to a member of a row do not count in it."""
    truth = read_truth(found, places.data).get("validation", {})
    if found.track == "emi":
        return [_clips(found, row, places, truth, lost) for row in found.rows]
    if found.track == "ce":
        return [_compounds(found, row, places) for row in found.rows]
    return [_frames(found, row, places, truth, lost) for row in found.rows]


# --- expressions, valence and arousal, action units -----------------------------------------------------------


def _frames(found: Experiment, row: Row, places: Places, truth: Truth, lost: Lost) -> RowResult:
    labelled = {name: labels for name, labels in truth.items() if isinstance(labels, Annotations)}
    ours: dict[str, float] = {}
    settings: dict[str, Any] = {}
    for task in TRACKS[found.track].tasks:
        members = (row.split[task],) if row.split else row.members
        tables = predictions.find([places.tables(members)])
        data = tuning_data.gather(tables, labelled, _TRACK_OF[task], max_gap=found.max_gap)
        choice = _choice(found, row, task, data, places)
        recipe = replace(grid_search.chosen_recipe(data, {task: choice}), max_gap=found.max_gap)
        partial = _lacks_some(labelled, [lost.get(network, ()) for network in _networks(found, members)])
        asked = EvaluationSettings(TRACKS[_TRACK_OF[task]], recipe=recipe, draws=0, partial=partial)
        report = evaluation.evaluate([places.tables(members)], _truth_path(found, places), asked)
        ours[task] = report.score.value
        settings[task] = choice.to_json()
    ours["total"] = sum(ours.values())
    return RowResult(row.name, row.paper, ours, settings)


def _networks(found: Experiment, members: Sequence[str]) -> list[str]:
    """The networks that the scores of some members come from; a member is a head or a network itself."""
    of_head = {plan.name: plan.network for plan in found.heads}
    return [of_head.get(name, name) for name in members]


def _lacks_some(labelled: Mapping[str, Annotations], lost: Sequence[Sequence[str]]) -> bool:
    """Whether an annotated video is among the sources that some networks lost."""
    gone = {name for names in lost for name in names}
    return any(name in gone or recording(name) in gone for name in labelled)


def _truth_path(found: Experiment, places: Places) -> Path:
    return places.data / found.data.validation


def _choice(found: Experiment, row: Row, task: str, data: tuning_data.TuningData, places: Places) -> Choice:
    """The settings of a task: those of the row, and the best of the search space for what the row says is tuned."""
    smoothing, weight = row.smoothing.get(task, "none"), row.blend.get(task, "0.5")
    levels = row.thresholds if task == "action_units" else "0.5"
    fixed = Choice(
        Smoothing() if smoothing == TUNED else Smoothing.parse(smoothing),
        0.5 if weight == TUNED else float(weight),
        _thresholds(levels, row, places) if task == "action_units" else {},
    )
    if TUNED not in (smoothing, weight, levels):
        return fixed
    space = found.search
    grid = Grid(
        sigmas=space.sigmas if smoothing == TUNED else (),
        deltas=space.deltas if smoothing == TUNED else (),
        weights=space.weights if weight == TUNED else (fixed.weight,),
        thresholds=space.thresholds if levels == TUNED else (0.5,),
        both=space.both,
    )
    best = grid_search.tune(data, grid).tasks[task].choice
    thresholds = best.thresholds if levels == TUNED or task != "action_units" else fixed.thresholds
    return replace(best, smoothing=best.smoothing if smoothing == TUNED else fixed.smoothing, thresholds=thresholds)


def _thresholds(text: str, row: Row, places: Places) -> dict[str, float]:
    if text == "head":
        name = row.split.get("action_units") or row.members[0]
        return heads.read(places.head(name)).thresholds or dict.fromkeys(ACTION_UNITS, 0.5)
    return dict.fromkeys(ACTION_UNITS, 0.5 if text == TUNED else float(text))


# --- compound expressions -------------------------------------------------------------------------------------


def _compounds(found: Experiment, row: Row, places: Places) -> RowResult:
    """Without labels: the divergence of the labels' shares from those of C-EXPR-DB, over all frames with a face."""
    labels = []
    for path in predictions.find([places.tables(row.members)]).values():
        source = predictions.load(path)
        smoothing = Smoothing.parse(row.smoothing.get("expression", "none"))
        recipe = Recipe(
            source.recipe.models,
            dict.fromkeys(TASKS, float(row.blend.get("expression", "0.5"))) if len(row.members) == 2 else {},
            {"expression": smoothing} if smoothing.kernel != "none" else {},
            found.max_gap,
            thresholds=source.recipe.thresholds,
        )
        scores = predictions.predict(source, recipe, mean=row.mean).tasks["compound"]
        labels.append(scores[~np.isnan(scores).any(axis=1)].argmax(axis=1))
    settings = {"smoothing": row.smoothing.get("expression", "none"), "mean": row.mean}
    return RowResult(row.name, row.paper, {"kl": divergence(np.concatenate(labels))}, {"compound": settings})


# --- emotional mimicry ----------------------------------------------------------------------------------------


def _clips(found: Experiment, row: Row, places: Places, truth: Truth, lost: Lost) -> RowResult:
    """Mean correlation over the clips; two members are blended with a weight for each emotion."""
    networks = {network.name: network for network in found.networks}
    of_head = {plan.name: networks[plan.network] for plan in found.heads}
    left_out = {clip_key(name) for member in row.members for name in lost.get(of_head[member].name, ())}
    truth = {name: values for name, values in truth.items() if clip_key(name) not in left_out}  # type: ignore[assignment]
    each = []
    for name in row.members:
        head = emi.clip_head(places.head(name), name)
        each.append(emi.predict_clips(head, find_files([places.features(of_head[name])]), list(truth)))
    keys = [clip_key(name) for name in truth]
    if gone := [key for key in keys if any(key not in one for one in each)]:
        raise InputError(f"{places.out}: no features of {few(gone)}, which {found.data.validation} lists.")
    values = [np.array([one[key] for key in keys]) for one in each]
    usual = row.blend.get("emotional_mimicry", "0.5")
    share = np.array([float(row.blend.get(name, usual)) for name in EMOTIONAL_MIMICRY])
    fused = values[0] if len(values) == 1 else share * values[0] + (1 - share) * values[1]
    by_emotion = metrics.pearson(np.array([truth[name] for name in truth], np.float64), fused)
    ours = {"emotional_mimicry": float(np.mean(by_emotion))}
    ours |= dict(zip(EMOTIONAL_MIMICRY, map(float, by_emotion), strict=True))
    weights = dict(zip(EMOTIONAL_MIMICRY, share.tolist(), strict=True)) if len(values) == 2 else {}
    return RowResult(row.name, row.paper, ours, {"emotional_mimicry": {"weights": weights}})


# --- writing --------------------------------------------------------------------------------------------------

_TITLES = {
    "valence_arousal": "mean CCC",
    "expression": "macro F1",
    "action_units": "AU F1",
    "emotional_mimicry": "mean r",
    "kl": "KL",
    "total": "P",
}


def columns(found: Experiment) -> list[str]:
    """Names of the figures of a track, in the order of the table."""
    if found.track == "ce":
        return ["kl"]
    tasks = list(TRACKS[found.track].tasks)
    return [*tasks, "total"] if len(tasks) > 1 else tasks


def table(found: Experiment, rows: list[RowResult]) -> list[list[str]]:
    """Heading and rows as text: the paper's figure and ours for each column; "-" where the paper's is unknown."""
    heading = ["", *(f"{_TITLES[name]}, {who}" for name in columns(found) for who in ("paper", "ours"))]
    lines = [heading]
    for row in rows:
        cells = [row.name]
        for name in columns(found):
            cells.append(f"{row.paper[name]:.4f}" if name in row.paper else "-")
            cells.append(f"{row.ours[name]:.4f}")
        lines.append(cells)
    return lines


def lost_sentences(lost: Lost) -> list[str]:
    """What could not be extracted, a sentence for each network."""
    return [
        f"NOT EXTRACTED with {network}, so missing in its rows ({len(names):,}): {', '.join(names)}"
        for network, names in lost.items()
    ]


def page(found: Experiment, rows: list[RowResult], lost: Lost) -> str:
    """The result as Markdown."""
    heading, *lines = table(found, rows)
    text = [
        f"# {found.name}",
        "",
        f"{found.paper} ({found.citation}), track `{found.track}`. The paper's figures: {found.figures}.",
        "",
        f"| {' | '.join(heading)} |",
        f"|{'---|' * len(heading)}",
        *(f"| {' | '.join(cells)} |" for cells in lines),
        "",
        *(f"**{text_of(sentence)}**\n" for sentence in lost_sentences(lost)),
        "## What the paper does not say",
        "",
        *(f"- {sentence}" for sentence in found.chosen),
        "",
        "## Settings",
        "",
    ]
    for row in rows:
        for task, one in row.settings.items():
            shown = ", ".join(f"{key} {_short(value)}" for key, value in one.items() if value not in ({}, None))
            text.append(f"- {row.name}, {task.replace('_', ' ')}: {shown or 'none'}")
    return "\n".join([*text, ""])


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{key}={number:g}" for key, number in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
