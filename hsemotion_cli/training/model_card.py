"""The model card of a trained network: plain data -> a Markdown page. Whatever the data lack is left out."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..formats import toml_writer
from ..reporting.markdown import flat, text
from ..reporting.wording import listed

_PREDICTED = {
    "expression": "which expression people seeing the same image would name",
    "valence_arousal": "how pleasant and how excited it looks",
    "action_units": "which facial movements are visible",
}
_TASK_NAMES = {"expression": "expression", "valence_arousal": "valence and arousal", "action_units": "action units"}

_LIMITS = """\
Predictions describe the face **as shown** in an image. They must not be used

- for decisions about people, or to prepare them: in hiring, schools, policing, courts, at borders, in insurance,
  lending or medicine;
- to infer inner states: what somebody feels, thinks, intends or suffers from, or whether they lie. People feel much
  that they do not show, and show much that they do not feel;
- to identify people, or to monitor people who have not agreed to it;
- wherever a wrong value can harm somebody: any single value may be wrong.

Accuracy on faces, cameras or lighting unlike those of the training data is unknown."""

_CROPS = {
    "box": "the face's bounding box, clipped at the image border and resized",
    "aligned": "rotated, scaled and shifted so that eyes, nose tip and mouth corners lie where ArcFace has them",
    "face": "rotated, scaled and shifted by eyes, nose tip and mouth corners, from the forehead to the chin; beyond "
    "the image border, the border is repeated",
}


def model_card(facts: Mapping[str, Any]) -> str:
    """The page about a trained network, in Markdown.

    Args:
        facts: plain data. "card" (as ``cards.ModelCard``), "plan" (``TrainingConfig.to_json``), "plan_sha256",
            "commit", "versions" (name -> version), "device", "seconds", "steps", "onnx_sha256"; "data", a row for each
            part of each source with source, part, images, with_face, terms and, if the plan does not say so, labels
            (how they were made); "figures", name of a set -> ``EvaluationFigures`` as plain data; "calibration" (part,
            temperature, shift); "au_thresholds"; "images", caption -> name of a file beside the page. Whatever is
            missing, None or empty is left out.

    Returns:
        the page; metrics have 3 decimals, and the plan is included in full, as TOML that ``config.read`` reads.
    """
    sections: list[str] = []
    for section in (
        _header, _intended_use, _network, _outputs, _data, _labels, _training, _evaluation, _calibration,
        _reproduction, _terms,
    ):  # fmt: skip
        content = "\n".join(section(facts)).rstrip("\n")
        sections += [content + "\n"] if content else []
    return "\n".join(sections)


# --- sections -------------------------------------------------------------------------------------------------


def _header(facts: Mapping[str, Any]) -> list[str]:
    card = _part(facts, "card")
    name, paper_name, tasks = card.get("name"), card.get("paper_name"), _tasks(_part(card, "network"))
    lines = [f"# {text(name or 'A trained network')}", ""]
    if tasks:
        subject = f"{text(paper_name)}: a" if paper_name and paper_name != name else "A"
        predicted = listed(_TASK_NAMES[task] for task in tasks)
        lines += [f"{subject} network that takes an image of one face and predicts {predicted}."]
    elif paper_name and paper_name != name:
        lines += [f"{text(paper_name)}."]
    if name:
        word = flat(name)
        commands = [f"hsemotion models add {word}.safetensors", f"hsemotion annotate VIDEO --model {word}"]
        lines += ["", *_block("sh", commands)]
    return lines


def _intended_use(facts: Mapping[str, Any]) -> list[str]:
    predicted = [_PREDICTED[task] for task in _tasks(_part(_part(facts, "card"), "network"))]
    line = "It is meant for research on images and videos of faces, and for tools that describe what a face shows"
    line += f": {listed(predicted)}." if predicted else "."
    return ["## Intended use and limits", "", line, "", *_LIMITS.split("\n")]


def _network(facts: Mapping[str, Any]) -> list[str]:
    card, plan = _part(facts, "card"), _part(facts, "plan")
    spec = _part(card, "network")
    lines = []
    if spec.get("architectures"):
        lines += [f"- Architecture: {text(', '.join(spec['architectures']))}"]
    if spec.get("embedding_size"):
        lines += [f"- Embedding: {_value(spec['embedding_size'])} numbers"]
    if card.get("crop"):
        meaning = _CROPS.get(str(card["crop"]).partition("-")[0])
        lines += [f"- Crop: {text(card['crop'])}" + (f": {meaning}" if meaning else "")]
    if spec.get("size"):
        lines += [f"- Input: {spec['size']} x {spec['size']} pixels, RGB"]
    if spec.get("mean") and spec.get("std"):
        lines += [
            f"- Normalisation: values from 0 to 1, minus {_value(spec['mean'])}, divided by {_value(spec['std'])} (per "
            "channel)"
        ]
    if plan.get("luminance"):
        lines += ["- Luminance: it uses brightness only, which its first layer computes from RGB (ITU-R BT.601)"]
    elif "luminance" in plan:
        lines += ["- Luminance: no, it uses colour"]
    return ["## Network and input", "", *lines] if lines else []


def _outputs(facts: Mapping[str, Any]) -> list[str]:
    spec = _part(_part(facts, "card"), "network")
    kinds = {
        "expression": (spec.get("classes") or (), "logits; their softmax gives probabilities"),
        "valence_arousal": (("valence", "arousal"), "from -1 to 1; values beyond are clipped"),
        "action_units": (spec.get("action_units") or (), "logits; the sigmoid of each gives its probability"),
    }
    rows, first = [], 1
    for task in _tasks(spec):
        names, meaning = kinds[task]
        last = first + len(names) - 1
        columns = f"{first} to {last}" if last > first else str(first)
        rows.append((columns, _TASK_NAMES[task], ", ".join(names), meaning))
        first = last + 1
    head = ("output", "task", "names", "meaning")
    return ["## Outputs", "", *_table(head, rows, texts=4)] if rows else []


def _data(facts: Mapping[str, Any]) -> list[str]:
    rows, described = facts.get("data") or [], _part(facts, "card").get("training_data")
    lines = [f"{text(described).removesuffix('.')}.", ""] if described else []
    if rows:
        columns = {"source": "source", "part": "part", "pictures": "images", "with_face": "face found in"}
        columns = {key: name for key, name in columns.items() if any(row.get(key) is not None for row in rows)}
        lines += [*_table(columns.values(), [[row.get(key) for key in columns] for row in rows], texts=2), ""]
        if "with_face" in columns:
            lines += ["If no face was found, the network got the whole image.", ""]
    terms = dict.fromkeys((row.get("source") or "a source", row["terms"]) for row in rows if row.get("terms"))
    lines += [f"- Terms of {text(source)}: {text(content)}" for source, content in terms]
    return ["## Training data", "", *lines] if lines else []


def _labels(facts: Mapping[str, Any]) -> list[str]:
    plan = _part(facts, "plan")
    tasks = _tasks(_part(_part(facts, "card"), "network"))
    own = {row["source"]: row["labels"] for row in facts.get("data") or [] if row.get("source") and row.get("labels")}
    origins = {
        source.get("name") or source.get("kind"): _label_origin(source, tasks) for source in plan.get("sources") or []
    }
    lines = [f"- {text(name)}: {text(origin)}" for name, origin in {**origins, **own}.items() if origin]
    if lines and "expression" in tasks and (targets := _part(plan, "loss").get("targets")):
        kind = "class shares" if targets == "shares" else "the majority class alone"
        lines += [f"- Expression targets are {kind}."]
    return ["### How the labels were made", "", *lines] if lines else []


def _label_origin(source: Mapping[str, Any], tasks: Sequence[str]) -> str:
    """Where ``dataset_readers`` takes the labels of a source from, for the tasks that are trained."""
    kind, found = source.get("kind"), []
    if kind == "packed":
        return "as stored in the packed file."
    if kind == "ferplus":
        if "expression" in tasks:
            found += [
                "expressions are the votes of its ten raters as class shares; metrics count the images on which at "
                "least five of them agree"
            ]
        if "valence_arousal" in tasks:
            found += [
                "valence and arousal were not rated: they are a linear map of those shares, so they add no information "
                "to the expressions"
            ]
    else:
        where = {"folder": "its table of labels", "affwild2": "the annotations of Aff-Wild2"}.get(str(kind))
        units = not str(source.get("units")).startswith("blendshapes")
        labelled = [_TASK_NAMES[task] for task in tasks if task != "action_units" or units]
        found += [f"{listed(labelled)}: from {where}, as far as available"] if where and labelled else []
    if source.get("units") == "blendshapes" and "action_units" in tasks:
        found += [
            "action units were not coded by people: they are what mp-blendshapes predicts for the same images, and "
            "their F1 measures agreement with it"
        ]
    if source.get("units") == "blendshapes and expression" and "action_units" in tasks:
        found += [
            "action units were not coded by people: they are what mp-blendshapes predicts for the same images, "
            "combined by Bayes' rule with the units that are typical of the labelled expression, and their F1 "
            "measures agreement with that"
        ]
    return "; ".join(found) + "." if found else ""


def _training(facts: Mapping[str, Any]) -> list[str]:
    lines = []
    start, before = _part(facts, "start"), "- Initial weights:"
    while start:
        known = (("sha256", "SHA-256"), ("plan_sha256", "trained by the plan with SHA-256"), ("commit", "at commit"))
        parts = [f"{label} {text(start[key])}" for key, label in known if start.get(key)]
        lines += [", ".join([f"{before} {text(start.get('file', 'a file'))}", *parts])]
        start, before = _part(start, "start"), "- Initial weights of that training:"
    if facts.get("steps") is not None:
        lines += [f"- Steps: {_value(facts['steps'])}"]
    if facts.get("seconds") is not None:
        lines += [f"- Seconds: {facts['seconds']:,.1f} ({facts['seconds'] / 3600:,.1f} hours)"]
    if facts.get("device"):
        lines += [f"- Device: {text(facts['device'])}"]
    if versions := [f"{text(name)} {text(v)}" for name, v in _part(facts, "versions").items() if v]:
        lines += [f"- Versions: {', '.join(versions)}"]
    if facts.get("commit"):
        changed = " (with uncommitted changes)" if str(facts["commit"]).endswith("-dirty") else ""
        lines += [f"- Commit: {text(facts['commit'])}{changed}"]
    for key, what in (("plan_sha256", "the plan"), ("onnx_sha256", "the ONNX graph")):
        if facts.get(key):
            lines += [f"- SHA-256 of {what}: {text(facts[key])}"]
    if plan := _part(facts, "plan"):
        # As people write plans: one [[source]] and one [[stage]] after the other.
        written = {{"sources": "source", "stages": "stage"}.get(key, key): value for key, value in plan.items()}
        lines += [*([""] if lines else []), *_block("toml", toml_writer.lines(written))]
    if choices := _choices(_part(facts, "plan")):
        lines += ["", *choices]
    for caption, file in _part(facts, "pictures").items():
        lines += ["", f"![{text(caption)}](<{re.sub('[<>]', '', flat(file))}>)"]
    return ["## Training", "", *lines] if lines else []


def _evaluation(facts: Mapping[str, Any]) -> list[str]:
    sets = {name: found for name, found in _part(facts, "figures").items() if found and any(found.values())}
    if not sets:
        return []
    note = "Metrics of the finished network, calibration included; they hold for these images only."
    if _part(facts, "calibration").get("part") == "validation":
        best = _part(facts, "plan").get("keep") == "best"
        chosen = "calibration and the epoch were" if best else "calibration was"
        note += f" The {chosen} chosen on the validation part too, so expect slightly lower values on other images."
    lines = ["## Evaluation", "", note, ""]
    keys = {
        "accuracy": lambda s: _part(s, "expression").get("accuracy"),
        "macro F1": lambda s: _part(s, "expression").get("f1"),
        "CCC valence": lambda s: _part(s, "valence_arousal").get("valence"),
        "CCC arousal": lambda s: _part(s, "valence_arousal").get("arousal"),
        "action unit F1": lambda s: _part(s, "action_units").get("mean"),
    }
    columns = {name: get for name, get in keys.items() if any(get(found) is not None for found in sets.values())}
    rows = [[name, *(get(found) for get in columns.values())] for name, found in sets.items()]
    lines += [*_table(("measured on", *columns), rows), ""] if columns else []
    classes = _part(_part(facts, "card"), "network").get("classes") or ()
    for name, found in sets.items():
        lines += [f"### {text(name)}", "", *_one_set(found, classes, _part(facts, "au_thresholds"))]
    return lines


def _one_set(found: Mapping[str, Any], classes: Sequence[str], thresholds: Mapping[str, float]) -> list[str]:
    """The metrics of one evaluation set, task by task, each part followed by an empty line."""
    lines, expression, units = [], _part(found, "expression"), _part(found, "action_units")
    if counts := [f"{_TASK_NAMES.get(t, t)} {_value(n)}" for t, n in _part(found, "rows").items() if n is not None]:
        lines += [f"Images: {', '.join(counts)}.", ""]
    if each := {name: row for name, row in _part(expression, "classes").items() if row}:
        classes = tuple(each)
        rows = [[name, *(row.get(k) for k in ("precision", "recall", "f1")), _count(row)] for name, row in each.items()]
        lines += [*_table(("expression", "precision", "recall", "F1", "support"), rows), ""]
    if matrix := expression.get("confusion"):
        names = classes if len(classes) == len(matrix) else tuple(map(str, range(1, len(matrix) + 1)))
        rows = [[name, *map(int, row)] for name, row in zip(names, matrix, strict=True)]
        lines += ["Rows are the ground truth, columns the prediction:", "", *_table(("truth", *names), rows), ""]
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
        lines += [f"Fitted after training, on the {text(found['part'])} part.", ""]
    if found.get("temperature") is not None:
        lines += [
            f"Temperature: {_value(found['temperature'])}. The expression logits are divided by it; this is already "
            "part of the last layer's weights.",
            "",
        ]
    if shift := found.get("shift"):
        exponent = _value(_part(facts, "plan").get("evened"))
        lines += [
            "Class-prior correction: each expression's probability is divided by the class's share of the training "
            f"images to the power of {exponent}, so that rare classes are predicted more often. Added to the logits, "
            "also in the last layer:",
            "",
            *_table(("expression", "added"), shift.items()),
            "",
        ]
    if thresholds:
        lines += ["An action unit counts as present from this probability on:", ""]
        lines += [*_table(("action unit", "threshold"), thresholds.items()), ""]
    return ["## Calibration", "", *lines] if lines else []


def _choices(plan: Mapping[str, Any]) -> list[str]:
    """Sentences about what the plan does after the last step, and about what it was chosen by."""
    lines = []
    if (refit := _part(plan, "refit")).get("weight_decay"):
        lines += [
            "After the last step, the last layer's rows for expressions and action units were fitted again on the "
            "final embeddings of the training images, each counted in proportion to its class's share to the power of "
            f"-{_value(refit.get('class_power'))}.",
            "",
        ]
    if names := plan.get("chosen_on"):
        lines += [
            f"Settings were chosen by looking at results on {text(', '.join(map(str, names)))}, so figures on these "
            "sets are optimistic. No image of them was trained on.",
            "",
        ]
    return lines


def _reproduction(facts: Mapping[str, Any]) -> list[str]:
    if not (plan := _part(facts, "plan")):
        return []
    name = flat(plan.get("name") or "plan")
    commit = flat(facts.get("commit") or "").removesuffix("-dirty")
    commands = [f"git checkout {commit}"] if commit else []
    commands += ["pip install -c constraints.txt '.[train]'", f"hsemotion train finetune {name}.toml"]
    return [
        "## Reproduction",
        "",
        f"With the plan above as {text(name)}.toml and the files it refers to beside it:",
        "",
        *_block("sh", commands),
    ]


def _terms(facts: Mapping[str, Any]) -> list[str]:
    card = _part(facts, "card")
    parts = [("Licence", card.get("licence")), ("Citation", card.get("citation"))]
    return [line for head, content in parts if content for line in (f"## {head}", "", text(content), "")]


# --- pieces ---------------------------------------------------------------------------------------------------


def _part(facts: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return facts.get(key) or {}


def _tasks(spec: Mapping[str, Any]) -> list[str]:
    """The tasks that a network has outputs for, in their order."""
    outputs = {"expression": spec.get("classes"), "valence_arousal": spec.get("valence_arousal")}
    outputs["action_units"] = spec.get("action_units")
    return [task for task, there in outputs.items() if there]


def _count(row: Mapping[str, Any]) -> int | None:
    return None if row.get("support") is None else int(row["support"])


def _value(value: Any) -> str:
    """A cell: counts with thousands separators, other numbers with 3 decimals, anything else as text."""
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
    return text(value)


def _table(head: Iterable[Any], rows: Iterable[Iterable[Any]], texts: int = 1) -> list[str]:
    """A table; all columns but the first ``texts`` are right-aligned."""
    cells = [[_value(cell) for cell in row] for row in (head, *rows)]
    rule = ["---" if k < texts else "--:" for k in range(len(cells[0]))]
    return [f"| {' | '.join(row)} |" for row in (cells[0], rule, *cells[1:])]


def _block(language: str, lines: Iterable[str]) -> list[str]:
    return [f"```{language}", *lines, "```"]
