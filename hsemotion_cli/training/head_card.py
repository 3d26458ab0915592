"""The page about a trained head that is written beside its file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from ..models.heads import CLIP_TASK, Head
from ..reporting.markdown import code, flat, text
from ..reporting.wording import listed


def head_card(head: Head) -> str:
    """The page about a head, in Markdown, from its facts."""
    facts, base = head.facts, head.base
    size = sum(weight.size + bias.size for part in head.parts.values() for weight, bias in part.layers)
    backbone = code(base.model) + (f", weight file SHA-256 `{base.sha256}`" if base.sha256 else "")
    lines = [
        f"# {text(head.name)}",
        "",
        f"A head ({head.kind}) for {listed(map(_task_name, head.parts))}: {size:,} parameters on top of {backbone}.",
        "",
        *_use(head),
        "",
        f"- Terms: {text(facts.get('terms') or 'not stated')}",
        *(f"- {text(name.capitalize())}: {text(value)}" for name, value in facts.get("data", {}).items()),
        f"- Faces: {_faces(base.crop)}",
        *_sound(head),
        f"- Plan SHA-256: `{facts['plan_sha256']}` (the same plan, features and labels give the same numbers)",
        f"- Trained in {facts.get('seconds', 0):.1f} s, seed {facts['plan']['seed']}",
        "",
        "| task | input | net | loss | rows | videos | validation rows | videos | epoch kept |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(head, task) for task in head.parts),
        "",
    ]
    if not facts["validation"]:
        return "\n".join([*lines, "No data were kept for validation, so its accuracy is unknown.", ""])
    lines += [
        "Metrics on the validation rows. Epoch, thresholds and temperature were chosen on the same rows, so expect "
        "slightly lower values on others.",
        "",
    ]
    for task, found in facts["validation"].items():
        lines += _table(task, found, facts)
    if "p_mtl" in facts:
        lines += [f"Sum of mean CCC and both F1 (the multi-task score): {facts['p_mtl']:.4f}", ""]
    return "\n".join(lines)


def _use(head: Head) -> list[str]:
    if CLIP_TASK in head.parts:
        call = f"hsemotion_cli.models.heads.read(Path({head.name + '.safetensors'!r})).clip(embeddings, outputs)"
        return [f"It predicts for whole clips; in Python: {code(call)}."]
    return ["```sh", f"hsemotion annotate VIDEO --head {shlex.quote(flat(head.name) + '.safetensors')}", "```"]


def _sound(head: Head) -> list[str]:
    """What a joint head hears with."""
    sound = head.base.sound
    if sound is None:
        return []
    weights = f", weight file SHA-256 `{sound.sha256}`" if sound.sha256 else ""
    counts = ", ".join(f"{part} {count:,}" for part, count in head.facts.get("heard", {}).items())
    return [f"- Sound: hidden states of {code(sound.model)}{weights}; rows with sound: {counts or 'unknown'}"]


def _row(head: Head, task: str) -> str:
    facts, part, plan = head.facts, head.parts[task], head.facts["plan"]["plans"][task]
    sizes = [part.layers[0][0].shape[1], *(len(bias) for _, bias in part.layers)]
    net = " -> ".join(map(str, sizes)) + f", {part.activation}"
    loss = {
        "expression": "class-weighted cross-entropy",
        "valence_arousal": "1 - mean CCC",
        "action_units": "weighted binary cross-entropy",
        CLIP_TASK: "1 - mean Pearson",
    }[task] + (f" + {plan['l2']:.6f} L2" if plan["l2"] else "")
    counts = [
        str(facts[what].get(which, {}).get(task, 0)) for which in ("train", "validation") for what in ("rows", "videos")
    ]
    epochs = facts["epochs"][task]
    kept = f"{epochs['kept']} of {epochs['of']}"
    return f"| {' | '.join([task, part.source, net, loss, *counts, kept])} |"


def _table(task: str, found: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """The metrics of one task as a heading, a line and a table."""
    plain = {key: value for key, value in found.items() if isinstance(value, float)}
    if task == "expression":
        plain["temperature"] = facts["temperature"]
    line = ", ".join(f"{key.replace('_', ' ')} {value:.4f}" for key, value in plain.items())
    columns = list(next(iter(found["classes"].values())))
    lines = [f"## {task}", "", line, "", f"| class | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, row in found["classes"].items():
        cells = [f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if "confusion" in found:
        names = list(found["classes"])
        lines += ["", "Rows are the ground truth, columns the prediction:", "", f"| | {' | '.join(names)} |"]
        lines.append("|---" * (len(names) + 1) + "|")
        lines += [
            f"| **{name}** | {' | '.join(map(str, row))} |" for name, row in zip(names, found["confusion"], strict=True)
        ]
    return [*lines, ""]


def _faces(crop: str | None) -> str:
    if crop == "given":
        return "the crops of the dataset (extract --crops)"
    return "detected in whole images" + (f" and cropped as {crop}" if crop else "")


def _task_name(task: str) -> str:
    return task.replace("valence_", "valence and ").replace("_", " ")
