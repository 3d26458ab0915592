"""Features and annotations -> sentences about what of them was not used, because the other side lacks it.

Frames without a face have no features, so a few labelled frames without a row are usual; a file of the wrong length, or
videos with other names, show here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from ..evaluation.ground_truth import Annotations, clip_key, recording
from ..reporting.wording import few
from .features import ClipFeatures, Labelled, Truth


def unmatched_frames(
    files: Iterable[str], truths: Mapping[str, Truth], data: Mapping[str, Labelled], tasks: Collection[str]
) -> list[str]:
    """A sentence about each kind of label or file that no row came from.

    Args:
        files: videos with features.
        truths: part ("train", "validation") -> annotations by video.
        data: part -> its rows.
        tasks: those that are trained; other labels do not count.
    """
    names = set(files)
    found = []
    for part, truth in truths.items():
        wanted = {video: frames for video, own in truth.items() if len(frames := _labelled(own, tasks))}
        absent = [video for video in wanted if not {video, recording(video)} & names]
        if absent:
            found.append(_absent(part, absent, len(wanted), "video"))
        lacking = _lacking({v: f for v, f in wanted.items() if v not in set(absent)}, data[part], tasks)
        if lacking:
            total = sum(map(len, wanted.values()))
            found.append(
                f"{part}: no features for {sum(lacking.values()):,} of {total:,} labelled frames "
                f"({few(f'{v}: {n:,}' for v, n in lacking.items())}); no face was found in them, or the recording is "
                "shorter."
            )
    annotated = {name for truth in truths.values() for video in truth for name in (video, recording(video))}
    return found + _unlabelled(sorted(names - annotated))


def unmatched_sound(videos: Collection[str], sounds: Collection[str] | None) -> list[str]:
    """The same for a joint head: videos that count as silent, and features of sound that belong to none.

    Args:
        videos: those that rows come from.
        sounds: names of files of sound; None for other heads.
    """
    if sounds is None:
        return []
    found = []
    if silent := sorted(video for video in videos if not {video, recording(video)} & set(sounds)):
        found.append(
            f"no features of sound for {len(silent):,} of {len(videos):,} videos ({few(silent)}); they count as silent."
        )
    if unused := sorted(set(sounds) - {name for video in videos for name in (video, recording(video))}):
        found.append(
            f"features of sound that were not used, because no faces with labels have their name: {few(unused)}."
        )
    return found


def unmatched_clips(
    files: Iterable[str], truths: Mapping[str, Collection[str]], data: Mapping[str, ClipFeatures]
) -> list[str]:
    """The same for clips, which have one label each."""
    names = list(files)
    keys = {clip_key(name) for name in names}
    found = []
    for part, truth in truths.items():
        if absent := [clip for clip in truth if clip_key(clip) not in keys]:
            found.append(_absent(part, absent, len(data[part].name) + len(absent), "clip"))
    annotated = {clip_key(clip) for truth in truths.values() for clip in truth}
    return found + _unlabelled([name for name in names if clip_key(name) not in annotated])


def _labelled(truth: Annotations, tasks: Collection[str]) -> np.ndarray:
    """Frame numbers with a label of one of the tasks."""
    known = {
        "expression": truth.expression >= 0,
        "valence_arousal": ~np.isnan(truth.valence_arousal).any(axis=1),
        "action_units": ~np.isnan(truth.action_units).any(axis=1),
    }
    return truth.frames[np.logical_or.reduce([known[task] for task in tasks])]


def _lacking(wanted: Mapping[str, np.ndarray], rows: Labelled, tasks: Collection[str]) -> dict[str, int]:
    """Video -> number of its labelled frames without a row, where there are some."""
    used = np.unique(np.concatenate([rows.known(task) for task in tasks]))
    video, frame = rows.video[used], rows.frame[used]
    order = np.argsort(video, kind="stable")
    video, frame = video[order], frame[order]
    found = {}
    for name, frames in wanted.items():
        own = frame[np.searchsorted(video, name, "left") : np.searchsorted(video, name, "right")]
        if count := int((~np.isin(frames, own)).sum()):
            found[name] = count
    return found


def _absent(part: str, names: list[str], count: int, kind: str) -> str:
    return f"{part}: no features for {len(names):,} of {count:,} annotated {kind}s ({few(names)})."


def _unlabelled(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"features that were not used, because no annotations have their name: {few(names)}."]
