"""What is known of a trained head: its figures on validation data, and the page about it that lies beside its file."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_softmax

from ..evaluation import metrics
from ..models.heads import CLIP_TASK, Head
from ..reporting.markdown import code, flat, text


def figures(
    task: str, classes: Sequence[str], logits: NDArray[np.float64], labels: NDArray, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """How well a net does on validation data.

    Args:
        classes: names of its columns.
        logits: (n, c) before the activation.
        labels: as ``training.heads.Examples`` has them.
        facts: with the "temperature" of expressions, or the "thresholds" of action units.
    """
    if task == "expression":
        return _of_classes(classes, logits, labels, facts["temperature"])
    if task == "action_units":
        return _of_units(classes, expit(logits), labels, np.array([facts["thresholds"][name] for name in classes]))
    if task == CLIP_TASK:
        return _of_numbers("pearson", classes, metrics.pearson(labels, expit(logits)))
    return _of_numbers("ccc", classes, metrics.ccc(labels, np.tanh(logits)))


def _nll(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean negative log-likelihood of classes."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def _of_classes(
    classes: Sequence[str], logits: NDArray[np.float64], labels: NDArray[np.int64], temperature: float
) -> dict[str, Any]:
    said = logits.argmax(axis=1)
    each = metrics.per_class(labels, said, len(classes))
    return {
        "accuracy": metrics.accuracy(labels, said),
        "commonest": float(each.support.max() / len(labels)),
        "f1": float(each.f1.mean()),
        "nll": _nll(logits / temperature, labels),
        "nll_at_temperature_1": _nll(logits, labels),
        "classes": {
            name: {
                "rows": int(each.support[k]),
                "precision": float(each.precision[k]),
                "recall": float(each.recall[k]),
                "f1": float(each.f1[k]),
            }
            for k, name in enumerate(classes)
        },
        "confusion": metrics.confusion(labels, said, len(classes)).tolist(),
    }


def _of_units(
    classes: Sequence[str], probabilities: NDArray[np.float64], labels: NDArray, thresholds: NDArray[np.float64]
) -> dict[str, Any]:
    tuned = metrics.f1_binary(labels, (probabilities >= thresholds).astype(float))
    half = metrics.f1_binary(labels, (probabilities >= 0.5).astype(float))
    always = metrics.f1_binary(labels, np.ones_like(labels))
    return {
        "f1": float(tuned.mean()),
        "f1_at_half": float(half.mean()),
        "f1_of_always": float(always.mean()),
        "classes": {
            name: {
                "rows": int(labels[:, k].sum()),
                "threshold": float(thresholds[k]),
                "f1": float(tuned[k]),
                "f1_at_half": float(half[k]),
                "f1_of_always": float(always[k]),
            }
            for k, name in enumerate(classes)
        },
    }


def _of_numbers(name: str, classes: Sequence[str], values: NDArray[np.float64]) -> dict[str, Any]:
    return {name: float(values.mean()), "classes": {c: {name: float(v)} for c, v in zip(classes, values, strict=True)}}


def head_card(head: Head) -> str:
    """The page about a head, in Markdown, from its facts."""
    facts, base = head.facts, head.base
    size = sum(weight.size + bias.size for part in head.parts.values() for weight, bias in part.layers)
    made_by = code(base.model) + (f", weight file SHA-256 `{base.sha256}`" if base.sha256 else "")
    lines = [
        f"# {text(head.name)}",
        "",
        f"A head ({head.kind}) for {_listed(head.parts)}: {size:,} numbers on top of {made_by}.",
        "",
        *_use(head),
        "",
        f"- Terms: {text(facts.get('terms') or 'not stated')}",
        *(f"- {text(name.capitalize())}: {text(told)}" for name, told in facts.get("data", {}).items()),
        f"- Faces: {_faces(base.crop)}",
        f"- Plan SHA-256: `{facts['plan_sha256']}` (the same plan, features and labels give the same numbers)",
        f"- Trained in {facts.get('seconds', 0):.1f} s, seed {facts['plan']['seed']}",
        "",
        "| task | input | net | loss | rows | videos | validation rows | videos | epoch kept |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(head, task) for task in head.parts),
        "",
    ]
    if not facts["validation"]:
        return "\n".join([*lines, "No data were kept for validation: nothing is known of how well it does.", ""])
    lines += [
        "Figures on the validation rows. Epoch, thresholds and temperature were chosen on the same rows, so on others "
        "they will be a little lower.",
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
        return [f"It tells of whole clips; in Python: {code(call)}."]
    return ["```sh", f"hsemotion annotate VIDEO --head {shlex.quote(flat(head.name) + '.safetensors')}", "```"]


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
    """The figures of one task as a heading, a line and a table."""
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
        lines += ["", "Truth in rows, what was said in columns:", "", f"| | {' | '.join(names)} |"]
        lines.append("|---" * (len(names) + 1) + "|")
        lines += [
            f"| **{name}** | {' | '.join(map(str, row))} |" for name, row in zip(names, found["confusion"], strict=True)
        ]
    return [*lines, ""]


def _faces(crop: str | None) -> str:
    if crop == "given":
        return "as the crops of the data set show them (extract --crops)"
    return "found in whole pictures" + (f" and cut out as {crop}" if crop else "")


def _listed(names: Mapping[str, Any]) -> str:
    words = [name.replace("valence_", "valence and ").replace("_", " ") for name in names]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
