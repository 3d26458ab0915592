"""What a training run leaves for people: learning curves, confusion matrices, and the page about the network.

The pictures need matplotlib, which is loaded when the first is drawn; none needs a display. The page is Markdown made
of plain data, and what the data do not say is not on it.
"""

from __future__ import annotations

import json
import math
import numbers
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..reporting import plotting
from ..reporting.markdown import flat as _flat
from ..reporting.markdown import text as _text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 120
CURVES_SIZE = (1200, 1080)
"""Pixels of the learning curves, width and height."""

CONFUSION_SIZE = (1080, 960)
"""Pixels of a confusion matrix."""

_PARTS = ("calibration", "validation")
_PLACES = ("stage", "epoch", "step", "rate", "seconds")
"""Columns of a log that are no losses."""

# The colours of Okabe and Ito, which colour-blind people can tell apart; a task has one hue in all panels.
_LOOKS: Mapping[str, tuple[str, str, str]] = {
    "loss": ("all together", "#000000", "o"),
    "expression": ("expression", "#0072B2", "s"),
    "valence_arousal": ("valence, arousal", "#D55E00", "^"),
    "action_units": ("action units", "#009E73", "D"),
    "attention": ("attention", "#CC79A7", "v"),
    "accuracy": ("accuracy", "#56B4E9", "o"),
    "f1": ("macro F1", "#0072B2", "s"),
    "ccc_valence": ("CCC valence", "#D55E00", "^"),
    "ccc_arousal": ("CCC arousal", "#E69F00", "v"),
    "au_f1": ("action unit F1", "#009E73", "D"),
    "rate": ("learning rate", "#555555", "o"),
}
"""Column -> how it is called, its colour, its mark."""

_GREY = "#777777"
_WIDE = 100.0
"""Largest over smallest loss from which a logarithmic axis shows more."""


def curves(log: Sequence[Mapping[str, Any]], path: Path, title: str) -> None:
    """Draw how a run went: its losses, its figures and its learning rate over the steps.

    Args:
        log: rows as ``finetune`` notes them; what is empty, no number or missing is left out of the curves.
        path: the PNG file to write, whole or not at all, ``CURVES_SIZE`` large.
        title: above the picture.

    Raises:
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    steps = [_number(row.get("step")) for row in log]
    names = list(dict.fromkeys(key for row in log for key in row))
    columns = {name: [_number(row.get(name)) for row in log] for name in names}
    parts = [part for part in _PARTS if any(name.startswith(f"{part}_") for name in names)]
    with plotting.picture(path, inches(CURVES_SIZE), DPI) as figure:
        figure.suptitle(textwrap.fill(title, 70), fontsize=14, parse_math=False)
        losses, figures, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.1))
        for name in names:
            part, _, rest = name.partition("_")
            if part in _PARTS:
                style, addition = ("--", f" ({part})") if parts.index(part) else ("-", "")
                _line(figures, steps, columns[name], rest, style, addition)
            elif name not in _PLACES:
                _line(losses, steps, columns[name], name, "-", "")
        _line(rate, steps, columns.get("rate", []), "rate", "-", "")
        losses.set_ylabel("training loss")
        figures.set_ylabel(f"figures, {parts[0]} part" if parts else "figures")
        rate.set_ylabel("learning rate")
        rate.set_xlabel("step")
        _scale(losses, rate, max((step for step in steps if math.isfinite(step)), default=0))
        for panel in (losses, figures, rate):
            _furnish(panel, legend=panel is not rate)
        _mark_stages([losses, figures, rate], _stages(log))
        figure.align_ylabels()


def confusion(figures: Mapping[str, Any], classes: Sequence[str], path: Path, title: str) -> None:
    """Draw a confusion matrix: how many of each class were called what, as counts and as shares of the row.

    Args:
        figures: with "confusion", the counts (rows are the truth), as ``measure.expression`` makes them; also one with
            all tasks, of which "expression" is taken.
        classes: names of the rows and columns.
        path: the PNG file to write, whole or not at all, ``CONFUSION_SIZE`` large.
        title: above the picture.

    Raises:
        ValueError: there is no matrix, or it has not as many rows and columns as there are classes.
        ModelUnavailable: matplotlib is missing.
        OutputError: the file cannot be written.
    """
    found = figures.get("expression", figures)
    counts = [[int(count) for count in row] for row in found.get("confusion", ())]
    if not counts or {len(counts), *map(len, counts)} != {len(classes)}:
        raise ValueError(f"{title}: no confusion matrix of {len(classes)} x {len(classes)} counts")
    known = [(text, _number(found.get(key))) for key, text in (("accuracy", "accuracy"), ("f1", "macro F1"))]
    below = ", ".join(f"{text} {value:.3f}" for text, value in known if math.isfinite(value))
    totals = [sum(row) for row in counts]
    shares = [[n / total if total else math.nan for n in row] for row, total in zip(counts, totals, strict=True)]
    with plotting.picture(path, inches(CONFUSION_SIZE), DPI) as figure:
        figure.suptitle(textwrap.fill(title, 64), fontsize=14, parse_math=False)
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_facecolor("#eeeeee")  # rows of classes that never occur
        if below:
            axes.set_title(below, fontsize=11, color=_GREY)
        _fill(axes, counts, shares)
        places, rows = range(len(classes)), [f"{name} ({n:,})" for name, n in zip(classes, totals, strict=True)]
        axes.set_xticks(places, classes, rotation=35, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(places, rows, parse_math=False)
        axes.set_xlabel("what was said")
        axes.set_ylabel("what is true (pictures)")
        axes.tick_params(length=0, labelsize=min(max(100 / len(classes), 6), 11))
        for edge in axes.spines.values():
            edge.set_visible(False)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, format=lambda share, _: f"{100 * share:.0f} %")
        bar.set_label("share of the row")
        bar.outline.set_visible(False)


# --- drawing --------------------------------------------------------------------------------------------------


def inches(pixels: tuple[int, int]) -> tuple[float, float]:
    """Width and height of a picture at ``DPI``."""
    return pixels[0] / DPI, pixels[1] / DPI


def _fill(axes: Axes, counts: list[list[int]], shares: list[list[float]]) -> None:
    """Each field's count and share; a class that never occurs has no shares."""
    longest = max(len(f"{count:,}") for row in counts for count in row)
    size = min(max(min(100, 620 / longest) / len(counts), 4), 13)  # the longest count fits its field
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = shares[i][j]
            percent = "" if math.isnan(share) else f"\n{100 * share:.0f} %"
            colour = "white" if share > 0.65 else "#222222"
            axes.text(j, i, f"{count:,}{percent}", ha="center", va="center", fontsize=size, color=colour)


def _line(axes: Axes, steps: list[float], values: list[float], name: str, style: str, addition: str) -> None:
    """One curve, called by its name and its last value; none where there is no number at all."""
    known = [value for value in values if math.isfinite(value)]
    if known:
        called, colour, mark = _LOOKS.get(name, (name.replace("_", " "), _GREY, "x"))
        size = 5 if len(values) <= 40 else 2
        axes.plot(
            steps, values, style, color=colour, marker=mark, markersize=size, linewidth=1.6,
            label=f"{called}{addition}: {known[-1]:z.3f}",
        )  # fmt: skip


def _scale(losses: Axes, rate: Axes, end: float) -> None:
    """Axes from the run's beginning to its end, and from 0; losses of very different sizes on a logarithmic one."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    losses.set_xlim(-0.01 * (end or 1), 1.02 * (end or 1))
    rate.xaxis.set_major_locator(MaxNLocator(8, integer=True, steps=(1, 2, 5, 10)))
    rate.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    rate.yaxis.set_major_locator(MaxNLocator(3, steps=(1, 2, 5, 10)))
    rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    for panel in (losses, rate):
        values = np.array([line.get_ydata() for line in panel.lines], float)
        values = values[np.isfinite(values)]
        if panel is losses and values.size and values.max() > _WIDE * values.min() > 0:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            panel.yaxis.set_minor_formatter(lambda value, _: "")
        elif values.size and values.min() >= 0:
            panel.set_ylim(0, 1.08 * values.max() or 1)


def _furnish(axes: Axes, *, legend: bool) -> None:
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(False)
    if not axes.lines:
        axes.text(0.5, 0.5, "nothing was noted", transform=axes.transAxes, ha="center", va="center", color=_GREY)
        axes.set_yticks([])
    elif legend:
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, title="at the end",
            alignment="left",
        )  # fmt: skip


def _stages(log: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """First and last step of each stage, as far as it was noted."""
    ends: dict[float, float] = {}
    for row in log:
        step = _number(row.get("step"))
        if math.isfinite(step):
            ends[np.nan_to_num(_number(row.get("stage")))] = step
    return list(zip([0.0, *ends.values()], ends.values(), strict=False))


def _mark_stages(panels: list[Axes], stages: list[tuple[float, float]]) -> None:
    """A thin line where a stage ends and the next begins, and the stages' numbers above all panels."""
    if len(stages) < 2:
        return
    for _, end in stages[:-1]:
        for axes in panels:
            axes.axvline(end, color=_GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0.5)
    top, length = panels[0], stages[-1][1] or 1
    for number, (begin, end) in enumerate(stages, 1):
        share = (end - begin) / length
        text = f"stage {number}" if share > 0.1 else str(number) if share > 0.015 else ""
        place = ((begin + end) / 2, 1.02)
        top.text(*place, text, transform=top.get_xaxis_transform(), ha="center", va="bottom", fontsize=9, color=_GREY)


def _number(value: Any) -> float:
    """A number as it is noted or as a CSV file has it; nan for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


# --- the page -------------------------------------------------------------------------------------------------

_SAID = {
    "expression": "which expression people would name who see the same picture",
    "valence_arousal": "how pleasant and how excited it looks",
    "action_units": "which movements of the face can be seen",
}
_CALLED = {"expression": "expression", "valence_arousal": "valence and arousal", "action_units": "action units"}

_LIMITS = """\
What comes out describes the face **as shown** in a picture. It must not be used

- for decisions about people, or to prepare them: in hiring, schools, policing, courts, at borders, in insurance,
  lending or medicine;
- to read inner states: what somebody feels, thinks, intends or suffers from, or whether they lie. People feel much
  that they do not show, and show much that they do not feel;
- to identify people, or to watch people who have not agreed to it;
- anywhere where a wrong value can harm somebody: any single value may be wrong.

How well it does on faces, cameras or light unlike those of its training data is not known."""

_CROPS = {
    "box": "the face's own box, clipped at the picture's edge and resized",
    "aligned": "turned, scaled and shifted so that eyes, nose tip and mouth corners lie where ArcFace has them",
    "face": "turned, scaled and shifted by eyes, nose tip and mouth corners, from the forehead to the chin; beyond the "
    "picture's edge its edge is repeated",
}


def model_card(facts: Mapping[str, Any]) -> str:
    """The page about a trained network, in Markdown.

    Args:
        facts: plain data. "card" (as ``cards.ModelCard``), "plan" (``Plan.to_json``), "plan_sha256", "commit",
            "versions" (name -> version), "device", "seconds", "steps", "onnx_sha256"; "data", a row for each part of
            each source with source, part, pictures, with_face, terms and, where the plan does not tell, labels (how
            they were made); "figures", by name of a set, as ``measure.Figures``; "calibration" (part, temperature,
            shift); "au_thresholds"; "pictures", caption -> name of a file beside the page. Whatever is missing, None or
            empty is left out.

    Returns:
        the page; figures have 3 decimals, the plan is there in full, as TOML that ``plan.read`` reads.
    """
    sections: list[str] = []
    for section in (
        _head, _intended, _network, _outputs, _data, _labels, _training, _figures, _calibration, _reproduction, _terms,
    ):  # fmt: skip
        text = "\n".join(section(facts)).rstrip("\n")
        sections += [text + "\n"] if text else []
    return "\n".join(sections)


def _head(facts: Mapping[str, Any]) -> list[str]:
    own = _part(facts, "card")
    name, paper_name, tasks = own.get("name"), own.get("paper_name"), _tasks(_part(own, "network"))
    lines = [f"# {_text(name or 'A trained network')}", ""]
    if tasks:
        called = f"{_text(paper_name)}: a" if paper_name and paper_name != name else "A"
        lines += [f"{called} network that sees a picture of one face and gives {_listed(_CALLED[t] for t in tasks)}."]
    elif paper_name and paper_name != name:
        lines += [f"{_text(paper_name)}."]
    if name:
        word = _flat(name)
        commands = [f"hsemotion models add {word}.safetensors", f"hsemotion annotate VIDEO --model {word}"]
        lines += ["", *_block("sh", commands)]
    return lines


def _intended(facts: Mapping[str, Any]) -> list[str]:
    said = [_SAID[task] for task in _tasks(_part(_part(facts, "card"), "network"))]
    lines = ["## What it is for, and what not", "", "It is for research on pictures and videos of faces, and for tools"]
    lines[-1] += f" that tell what a face shows: {_listed(said)}." if said else " that tell what a face shows."
    return [*lines, "", *_LIMITS.split("\n")]


def _network(facts: Mapping[str, Any]) -> list[str]:
    own, plan = _part(facts, "card"), _part(facts, "plan")
    spec = _part(own, "network")
    lines = []
    if spec.get("architectures"):
        lines += [f"- Architecture: {_text(', '.join(spec['architectures']))}"]
    if spec.get("embedding_size"):
        lines += [f"- Embedding: {_value(spec['embedding_size'])} numbers"]
    if own.get("crop"):
        told = _CROPS.get(str(own["crop"]).partition("-")[0])
        lines += [f"- Crop: {_text(own['crop'])}" + (f": {told}" if told else "")]
    if spec.get("size"):
        lines += [f"- Input: {spec['size']} x {spec['size']} pixels, red, green and blue"]
    if spec.get("mean") and spec.get("std"):
        lines += [
            f"- Normalisation: values from 0 to 1, minus {_value(spec['mean'])}, divided by {_value(spec['std'])} (one "
            "number for each channel)"
        ]
    if plan.get("luminance"):
        lines += ["- Luminance: it sees brightness only. The first layer makes it from colour pictures (ITU-R BT.601)"]
    elif "luminance" in plan:
        lines += ["- Luminance: no, it sees colours"]
    return ["## Network and input", "", *lines] if lines else []


def _outputs(facts: Mapping[str, Any]) -> list[str]:
    spec = _part(_part(facts, "card"), "network")
    kinds = {
        "expression": (spec.get("classes") or (), "logits; their soft-max gives probabilities"),
        "valence_arousal": (("valence", "arousal"), "from -1 to 1; what is beyond is clipped"),
        "action_units": (spec.get("action_units") or (), "logits; a logistic function of each gives its probability"),
    }
    rows, first = [], 1
    for task in _tasks(spec):
        names, meaning = kinds[task]
        last = first + len(names) - 1
        rows.append((f"{first} to {last}" if last > first else str(first), _CALLED[task], ", ".join(names), meaning))
        first = last + 1
    head = ("output", "task", "names", "what it is")
    return ["## Outputs, in their order", "", *_table(head, rows, texts=4)] if rows else []


def _data(facts: Mapping[str, Any]) -> list[str]:
    rows, told = facts.get("data") or [], _part(facts, "card").get("training_data")
    lines = [f"{_text(told).removesuffix('.')}.", ""] if told else []
    if rows:
        keys = {"source": "source", "part": "part", "pictures": "pictures", "with_face": "face found in"}
        keys = {key: text for key, text in keys.items() if any(row.get(key) is not None for row in rows)}
        lines += [*_table(keys.values(), [[row.get(key) for key in keys] for row in rows], texts=2), ""]
        lines += ["Where no face was found, the network saw the whole picture.", ""] if "with_face" in keys else []
    terms = dict.fromkeys((row.get("source") or "a source", row["terms"]) for row in rows if row.get("terms"))
    lines += [f"- Terms of {_text(source)}: {_text(text)}" for source, text in terms]
    return ["## Training data", "", *lines] if lines else []


def _labels(facts: Mapping[str, Any]) -> list[str]:
    plan = _part(facts, "plan")
    tasks = _tasks(_part(_part(facts, "card"), "network"))
    own = {row["source"]: row["labels"] for row in facts.get("data") or [] if row.get("source") and row.get("labels")}
    made = {source.get("name") or source.get("kind"): _how_made(source, tasks) for source in plan.get("sources") or []}
    lines = [f"- {_text(name)}: {_text(how)}" for name, how in {**made, **own}.items() if how]
    if lines and "expression" in tasks and (targets := _part(plan, "loss").get("targets")):
        shares = "the shares of the classes" if targets == "shares" else "the class with the largest share alone"
        lines += [f"- Expressions were trained on {shares}."]
    return ["### How the labels were made", "", *lines] if lines else []


def _how_made(source: Mapping[str, Any], tasks: Sequence[str]) -> str:
    """What ``sources`` does for a source of this kind, of the tasks that are trained."""
    kind, found = source.get("kind"), []
    if kind == "packed":
        return "as they are in the packed file."
    if kind == "ferplus":
        if "expression" in tasks:
            found += [
                "expressions are the votes of its ten raters as shares of the classes; figures count the pictures on "
                "which at least five of them agree"
            ]
        if "valence_arousal" in tasks:
            found += [
                "valence and arousal were not rated: they are a linear map of those shares, so they say nothing that "
                "the expressions do not"
            ]
    else:
        where = {"folder": "its table of labels", "affwild2": "the annotations of Aff-Wild2"}.get(str(kind))
        units = source.get("units") != "blendshapes"
        labelled = [_CALLED[task] for task in tasks if task != "action_units" or units]
        found += [f"{_listed(labelled)}: from {where}, as far as it has them"] if where and labelled else []
    if source.get("units") == "blendshapes" and "action_units" in tasks:
        found += [
            "action units were not coded by people: they are what mp-blendshapes sees in the same pictures, and their "
            "F1 tells how well the network agrees with it"
        ]
    return "; ".join(found) + "." if found else ""


def _training(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    start, before = _part(facts, "start"), "- Began with"
    while start:
        known = (("sha256", "SHA-256"), ("plan_sha256", "by a plan of SHA-256"), ("commit", "at commit"))
        parts = [f"{called} {_text(start[key])}" for key, called in known if start.get(key)]
        lines += [", ".join([f"{before} the weights of {_text(start.get('file', 'a file'))}", *parts])]
        start, before = _part(start, "start"), "- That began with"
    if facts.get("steps") is not None:
        lines += [f"- Steps: {_value(facts['steps'])}"]
    if facts.get("seconds") is not None:
        lines += [f"- Seconds: {facts['seconds']:,.1f} ({facts['seconds'] / 3600:,.1f} hours)"]
    if facts.get("device"):
        lines += [f"- Device: {_text(facts['device'])}"]
    if versions := [f"{_text(name)} {_text(v)}" for name, v in _part(facts, "versions").items() if v]:
        lines += [f"- Versions: {', '.join(versions)}"]
    if facts.get("commit"):
        changed = " (with changes that were not committed)" if str(facts["commit"]).endswith("-dirty") else ""
        lines += [f"- Commit: {_text(facts['commit'])}{changed}"]
    for key, what in (("plan_sha256", "the plan"), ("onnx_sha256", "the ONNX graph")):
        if facts.get(key):
            lines += [f"- SHA-256 of {what}: {_text(facts[key])}"]
    if plan := _part(facts, "plan"):
        # As people write plans: one [[source]] and one [[stage]] after the other.
        written = {{"sources": "source", "stages": "stage"}.get(key, key): value for key, value in plan.items()}
        lines += [*([""] if lines else []), *_block("toml", _toml(written))]
    for caption, file in _part(facts, "pictures").items():
        lines += ["", f"![{_text(caption)}](<{re.sub('[<>]', '', _flat(file))}>)"]
    return ["## Training", "", *lines] if lines else []


def _figures(facts: Mapping[str, Any]) -> list[str]:
    sets = {name: found for name, found in _part(facts, "figures").items() if found and any(found.values())}
    if not sets:
        return []
    lines = ["## Figures", "", "Of the finished network, with its calibration; they hold for these pictures only."]
    if _part(facts, "calibration").get("part") == "validation":
        best = _part(facts, "plan").get("keep") == "best"
        chosen = "calibration and the epoch were" if best else "calibration was"
        lines[-1] += f" As the {chosen} chosen on the validation part too, they will be a little lower on others."
    lines += [""]
    keys = {
        "accuracy": lambda s: _part(s, "expression").get("accuracy"),
        "macro F1": lambda s: _part(s, "expression").get("f1"),
        "CCC valence": lambda s: _part(s, "valence_arousal").get("valence"),
        "CCC arousal": lambda s: _part(s, "valence_arousal").get("arousal"),
        "action unit F1": lambda s: _part(s, "action_units").get("mean"),
    }
    columns = {text: get for text, get in keys.items() if any(get(found) is not None for found in sets.values())}
    rows = [[name, *(get(found) for get in columns.values())] for name, found in sets.items()]
    lines += [*_table(("measured on", *columns), rows), ""] if columns else []
    classes = _part(_part(facts, "card"), "network").get("classes") or ()
    for name, found in sets.items():
        lines += [f"### {_text(name)}", "", *_of_set(found, classes, _part(facts, "au_thresholds"))]
    return lines


def _of_set(found: Mapping[str, Any], classes: Sequence[str], thresholds: Mapping[str, float]) -> list[str]:
    """The figures of one set, task by task, each part with an empty line after it."""
    lines, expression, units = [], _part(found, "expression"), _part(found, "action_units")
    if counts := [f"{_CALLED.get(t, t)} {_value(n)}" for t, n in _part(found, "rows").items() if n is not None]:
        lines += [f"Pictures: {', '.join(counts)}.", ""]
    if each := {name: row for name, row in _part(expression, "classes").items() if row}:
        classes = tuple(each)
        rows = [[name, *(row.get(k) for k in ("precision", "recall", "f1")), _count(row)] for name, row in each.items()]
        lines += [*_table(("expression", "precision", "recall", "F1", "support"), rows), ""]
    if matrix := expression.get("confusion"):
        names = classes if len(classes) == len(matrix) else tuple(map(str, range(1, len(matrix) + 1)))
        rows = [[name, *map(int, row)] for name, row in zip(names, matrix, strict=True)]
        lines += ["Truth in rows, what was said in columns:", "", *_table(("truth", *names), rows), ""]
    if affect := _part(found, "valence_arousal"):
        lines += [*_table(("dimension", "CCC"), affect.items()), ""]
    if units:
        columns: dict[str, Mapping[str, Any]] = {"threshold": thresholds} if thresholds else {}
        columns |= {"F1": units}
        rows = [[name, *(column.get(name) for column in columns.values())] for name in units]
        lines += [*_table(("action unit", *columns), rows), ""]
    return lines


def _calibration(facts: Mapping[str, Any]) -> list[str]:
    found, thresholds = _part(facts, "calibration"), _part(facts, "au_thresholds")
    lines = []
    if found.get("part"):
        lines += [f"Fitted after training, on the {_text(found['part'])} part.", ""]
    if found.get("temperature") is not None:
        lines += [
            f"Temperature: {_value(found['temperature'])}. The logits of the expressions are divided by it. The last "
            "layer's weights have this built in, so that nobody needs to apply it.",
            "",
        ]
    if shift := found.get("shift"):
        evened = _value(_part(facts, "plan").get("evened"))
        lines += [
            f"The classes are evened out: each one's probability is divided by its share among the training pictures "
            f"to the power of {evened}, and rare ones are named more often. Built in likewise, as part of the logits:",
            "",
            *_table(("expression", "added"), shift.items()),
            "",
        ]
    if thresholds:
        lines += ["An action unit counts as present from this probability on:", ""]
        lines += [*_table(("action unit", "threshold"), thresholds.items()), ""]
    return ["## Calibration", "", *lines] if lines else []


def _reproduction(facts: Mapping[str, Any]) -> list[str]:
    if not (plan := _part(facts, "plan")):
        return []
    name = _flat(plan.get("name") or "plan")
    commit = _flat(facts.get("commit") or "").removesuffix("-dirty")
    commands = [f"git checkout {commit}"] if commit else []
    commands += ["pip install -c constraints.txt '.[train]'", f"hsemotion train finetune {name}.toml"]
    return [
        "## Doing it again",
        "",
        f"With the plan above as {_text(name)}.toml and the files that it names beside it:",
        "",
        *_block("sh", commands),
    ]


def _terms(facts: Mapping[str, Any]) -> list[str]:
    own = _part(facts, "card")
    parts = [("Licence", own.get("licence")), ("Citation", own.get("citation"))]
    return [line for head, text in parts if text for line in (f"## {head}", "", _text(text), "")]


# --- Markdown and TOML ----------------------------------------------------------------------------------------


def _part(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return facts.get(key) or {}


def _tasks(spec: Mapping[str, Any]) -> list[str]:
    """The tasks that a network's outputs serve, in their order."""
    given = {"expression": spec.get("classes"), "valence_arousal": spec.get("valence_arousal")}
    given["action_units"] = spec.get("action_units")
    return [task for task, outputs in given.items() if outputs]


def _count(row: Mapping[str, Any]) -> int | None:
    return None if row.get("support") is None else int(row["support"])


def _value(value: Any) -> str:
    """A number as people read it: counts with their thousands apart, others with 3 decimals. What is none is text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, numbers.Integral):
        return f"{int(value):,}"
    if isinstance(value, numbers.Real):
        return f"{float(value):z.3f}" if math.isfinite(value) else "n/a"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_value, value))
    return _text(value)


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]], texts: int = 1) -> list[str]:
    """A table; all columns but the first ``texts`` stand to the right, as numbers do."""
    cells = [[_value(cell) for cell in row] for row in (head, *rows)]
    rule = ["---" if k < texts else "--:" for k in range(len(cells[0]))]
    return [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]


def _block(language: str, lines: Iterable[str]) -> list[str]:
    return [f"```{language}", *lines, "```"]


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    comma = "," if any(" and " in word for word in (*first, last)) else ""
    return f"{', '.join(first)}{comma} and {last}" if first else last


def _toml(data: Mapping[str, Any], where: str = "") -> list[str]:
    """Plain data as lines of TOML; None is left out."""
    lines, tables = [], []
    for key, value in data.items():
        key = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)
        place = f"{where}.{key}" if where else key
        if isinstance(value, Mapping):
            tables += ["", f"[{place}]", *_toml(value, place)]
        elif isinstance(value, (list, tuple)) and value and all(isinstance(item, Mapping) for item in value):
            for item in value:
                tables += ["", f"[[{place}]]", *_toml(item, place)]
        elif value is not None:
            lines.append(f"{key} = {_literal(value)}")
    return lines + tables


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)  # exact; TOML, too, writes nan and inf
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_literal, value))}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's; but TOML wants one for the character 127 as well.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
