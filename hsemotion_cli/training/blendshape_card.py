"""The figures in the model card of ``mp-blendshapes``, as Markdown between two marks of its page."""

from __future__ import annotations

from typing import Any

from ..tasks import BASIC_EXPRESSIONS

BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"


def renewed(page: str, report: dict[str, Any]) -> str:
    """The page with the part between the two marks replaced by the figures of a report."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + figures_as_markdown(report) + END + rest.split(END)[1]


def figures_as_markdown(report: dict[str, Any]) -> str:
    """The tables of the model card.

    Args:
        report: as ``blendshape_evaluation.measure`` returns it, with "weights_sha256" and "compared" (as ``compare``).
    """
    found = report["faces_found"]
    lines = [
        f"Weights version {report['version']}, SHA-256 `{report['weights_sha256']}`.",
        "",
        f"A face was found in {found['fit']:.1%} of FER+'s training images, {found['validation']:.1%} of its "
        f"validation images and {found['muxspace']:.1%} of muxspace. Fitted on {report['pictures_fitted']:,} "
        f"images, calibrated on {report['pictures_for_calibration']:,} others.",
        "",
        *_validation(report),
        "",
        *_other_sources(report),
        "",
        *_action_units(report),
        "",
        *_compared(report),
    ]
    return "\n".join(lines) + "\n"


def _validation(report: dict[str, Any]) -> list[str]:
    result, plain = report["validation"], report["validation_unshifted"]
    error, ccc = report["calibration_error"], report["affect_ccc"]
    lines = [
        f"FER+ validation, the {result['pictures']:,} images with a face where at least 5 of 10 raters agree:",
        "",
        "| metric | value |",
        "|---|---|",
        f"| accuracy | {result['accuracy']:.3f} |",
        f"| accuracy if images without a detected face count as wrong "
        f"| {result['accuracy_counting_unfound_as_wrong']:.3f} |",
        f"| accuracy of always predicting the most frequent class | {result['chance_accuracy']:.3f} |",
        f"| macro F1 (8 classes) | {result['macro_f1']:.3f} |",
        f"| mean recall | {result['mean_recall']:.3f} |",
        f"| accuracy / macro F1 without the class shift | {plain['accuracy']:.3f} / {plain['macro_f1']:.3f} |",
        f"| calibration error without the class shift, against votes | {error['unshifted_against_votes']:.3f} |",
        "| calibration error, votes reweighted as the shift assumes "
        f"| {error['shifted_against_votes_reweighted']:.3f} |",
        f"| calibration error, votes unchanged | {error['shifted_against_votes']:.3f} |",
        f"| calibration error, majority label | {error['shifted_against_majority']:.3f} |",
        f"| valence CCC against mapped votes | {ccc['valence']:.3f} |",
        f"| arousal CCC against mapped votes | {ccc['arousal']:.3f} |",
        "",
        "| class | images | precision | recall | F1 | muxspace images | muxspace recall | muxspace F1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["classes"].items():
        other = report["muxspace"]["classes"][name]
        lines.append(
            f"| {name} | {row['pictures']} | {row['precision']:.3f} | {row['recall']:.3f} | {row['f1']:.3f} "
            f"| {other['pictures']} | {other['recall']:.3f} | {other['f1']:.3f} |"
        )
    lines += ["", "Confusion on FER+ validation (rows: majority of raters, columns: prediction):", ""]
    lines += ["| | " + " | ".join(BASIC_EXPRESSIONS) + " |", "|---" * (len(BASIC_EXPRESSIONS) + 1) + "|"]
    for name, counts in zip(BASIC_EXPRESSIONS, result["confusion"], strict=True):
        lines.append(f"| **{name}** | " + " | ".join(map(str, counts)) + " |")
    return lines


def _other_sources(report: dict[str, Any]) -> list[str]:
    other, clips = report["muxspace"], report["mead"]["clips"]
    labels = ", ".join(f"{name}: {label}" for name, label in clips.items())
    return [
        f"Another source, muxspace ({other['pictures']:,} faces, none trained on): accuracy {other['accuracy']:.3f} "
        f"(most frequent class {other['chance_accuracy']:.3f}), macro F1 {other['macro_f1']:.3f}, mean recall "
        f"{other['mean_recall']:.3f}.",
        "",
        f"Eight MEAD clips of one actor, mean over every third frame: {report['mead']['right']} of {len(clips)} right "
        f"({labels}).",
    ]


def _action_units(report: dict[str, Any]) -> list[str]:
    lines = [
        "Action units on FER+ validation, against prototype-derived targets and **not against FACS coders**:",
        "",
        "| unit | p at rest | threshold | expected share | predicted share | expected F1 | F1 of always | r "
        "| weights |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in report["action_units"].items():
        weights = ", ".join(f"{shape} {w:g}" for shape, w in row["weights"].items())
        lines.append(
            f"| {name} | {row['at_rest']:.3f} | {row['threshold']:.2f} | {row['expected_share']:.3f} "
            f"| {row['said_share']:.3f} | {row['expected_f1']:.3f} | {row['expected_f1_of_always']:.3f} "
            f"| {row['correlation']:.3f} | {weights} |"
        )
    return lines


def _compared(report: dict[str, Any]) -> list[str]:
    lines = [
        "Configurations compared (accuracy / macro F1; one seed; muxspace here is the 4 in 10 of its people that no "
        "configuration was trained on):",
        "",
        "| configuration | tau | calibration part | muxspace | validation | MEAD clips right |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["compared"]:
        parts = [row[part] for part in ("calibration", "muxspace", "validation")]
        cells = [f"{figures['accuracy']:.3f} / {figures['macro_f1']:.3f}" for figures in parts]
        lines.append(f"| {row['recipe']} | {row['tau']:g} | " + " | ".join(cells) + f" | {row['mead_right']} |")
    return lines
