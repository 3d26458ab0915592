"""Measure how well ids follow people on the clips of ``compose_tracks.py``: our tracker beside others.

    pip install --target others motmetrics xmltodict --no-deps
    pip install --target others trackers supervision "pydeprecate<0.14" defusedxml --no-deps
    PYTHONPATH=.:others python scripts/measure_tracking.py tracks --missing 0 0.3

Faces are found by our detector once and kept beside each clip (``NAME.faces.pkl``), so that all trackers see the same
ones. A face belongs to the person whose true box it overlaps most (0.4 at least); people of whom less than a third is
visible need not be found, and faces of nobody do not count. motmetrics computes idF1, switches and fragmentations; a
jump is a person too many in an id, a split an id too many for a person. ``true ids`` is the best that is possible with
these faces.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pickle
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from hsemotion_cli.domain import Face, Sighting
from hsemotion_cli.faces.detector import FaceDetector, blocks, detect_in_block, overlap
from hsemotion_cli.faces.tracking import follow
from hsemotion_cli.media.source import Sampling
from hsemotion_cli.media.video import VideoFile

VISIBLE, SAME = 1 / 3, 0.4
Truth = list[dict[str, Any]]
"""For each frame ``people``: number, box and visible share of each."""

Tracker = Callable[[Sequence[Sighting], float], list[list[int]]]
"""Sightings and their rate -> the id of each face, -1 for none."""


def truth_of(clip: Path) -> Truth:
    """Who is in each frame. A cut ends all ids, so people get other numbers after each."""
    truth: Truth = json.loads(clip.with_suffix(".json").read_text())
    cuts = 0
    for before, frame in pairwise(truth):
        cuts += frame["scene"] != before["scene"]
        for one in frame["people"]:
            one["person"] += 100 * cuts
    return truth


def found_in(clip: Path) -> list[Sighting]:
    """The faces of a clip, without crops; found once."""
    kept = clip.with_suffix(".faces.pkl")
    if not kept.exists():
        source, found = VideoFile(clip), []
        with FaceDetector(blendshapes=False) as finder:
            for block in blocks(source.frames(Sampling()), source.info.width * source.info.height):
                found += detect_in_block(block, finder, [])
        rows = [(s.index, s.time, s.cut, [(f.box, f.score, f.look) for f in s.faces]) for s in found]
        kept.write_bytes(pickle.dumps(rows))
    rows = pickle.loads(kept.read_bytes())
    return [
        Sighting(index, at, tuple(Face(box, score, look=look) for box, score, look in faces), cut)
        for index, at, cut, faces in rows
    ]


def without_some(found: Sequence[Sighting], share: float) -> list[Sighting]:
    """The same, of whose faces a share is missing at random."""
    random = np.random.default_rng(0)
    return [replace(s, faces=tuple(face for face in s.faces if random.random() >= share)) for s in found]


# --- trackers ---------------------------------------------------------------------------------------------------


def ours(found: Sequence[Sighting], _: float) -> list[list[int]]:
    """The ids that ``annotate`` gives."""
    ids = []
    for sighting, before in zip(follow(found), found, strict=True):
        by_box = {face.box: face.track for face in sighting.faces}
        ids.append([int(by_box[face.box] or 0) for face in before.faces])
    return ids


def theirs(name: str) -> Tracker:
    """ByteTrack or OC-SORT of Roboflow's trackers, begun anew at each cut; ids from the first frame on."""

    def track(found: Sequence[Sighting], rate: float) -> list[list[int]]:
        supervision, trackers = map(importlib.import_module, ("supervision", "trackers"))
        # A buffer of 30 means a second, at any rate.
        settings: dict[str, Any] = {"lost_track_buffer": 30, "frame_rate": rate, "minimum_consecutive_frames": 1}
        made = {
            "ByteTrack": lambda: trackers.ByteTrackTracker(track_activation_threshold=0.5, **settings),
            "OC-SORT": lambda: trackers.OCSORTTracker(minimum_iou_threshold=0.1, **settings),
        }[name]
        tracker, base, ids = made(), 0, []
        for sighting in found:
            if sighting.cut:
                tracker, base = made(), base + 1000
            boxes = np.array([face.box for face in sighting.faces]).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            scores = np.array([face.score for face in sighting.faces])
            seen = supervision.Detections(xyxy=boxes, confidence=scores, class_id=np.arange(len(boxes)))
            out = tracker.update(seen)
            given = dict(zip(out.class_id.tolist(), out.tracker_id.tolist(), strict=True))
            ids.append([base + given[k] if given.get(k, -1) >= 0 else -1 for k in range(len(boxes))])
        return ids

    return track


# --- scores -----------------------------------------------------------------------------------------------------


def people_of(found: Sequence[Sighting], truth: Truth) -> list[list[int]]:
    """The person of each face; -1 for nobody's, -2 for those of whom too little is visible."""
    whose = []
    for sighting in found:
        row = []
        for face in sighting.faces:
            near = [(overlap(face.box, tuple(one["box"])), one) for one in truth[sighting.index]["people"]]
            near = [(shared, one) for shared, one in near if shared >= SAME]
            # Where two are there, the face is of the one in front.
            near.sort(key=lambda each: (each[1]["visible"] >= VISIBLE, each[0]))
            row.append(-1 if not near else near[-1][1]["person"] if near[-1][1]["visible"] >= VISIBLE else -2)
        whose.append(row)
    return whose


def scores(ids: list[list[int]], whose: list[list[int]], truth: Truth) -> dict[str, float]:
    """Of one clip: sums, so that those of several clips can be added."""
    motmetrics = importlib.import_module("motmetrics")
    metrics = motmetrics.MOTAccumulator(auto_id=True)
    people_in: dict[int, set[int]] = defaultdict(set)
    ids_of: dict[int, set[int]] = defaultdict(set)
    for row, who, frame in zip(ids, whose, truth, strict=True):
        there = [one["person"] for one in frame["people"] if one["visible"] >= VISIBLE]
        kept = [(track, person) for track, person in zip(row, who, strict=True) if track >= 0 and person >= 0]
        distances = [[0.0 if person == one else np.nan for _, person in kept] for one in there]
        metrics.update(there, [track for track, _ in kept], distances)
        for track, person in kept:
            people_in[track].add(person)
            ids_of[person].add(track)
    computed = motmetrics.metrics.create().compute(
        metrics, metrics=["idtp", "idfp", "idfn", "num_switches", "num_fragmentations"], name="clip"
    )
    sums = {key: float(value) for key, value in computed.iloc[0].items()}
    sums["jumps"] = sum(len(each) - 1 for each in people_in.values())
    sums["splits"] = sum(len(each) - 1 for each in ids_of.values())
    return sums


def idf1(sums: dict[str, float]) -> float:
    return 2 * sums["idtp"] / (2 * sums["idtp"] + sums["idfp"] + sums["idfn"])


def measured(clips: Sequence[Path], trackers: dict[str, Tracker], missing: Sequence[float]) -> dict[str, Any]:
    """Tracker -> scenario -> sums, and seconds and faces."""
    sums: dict[str, Any] = {name: defaultdict(lambda: defaultdict(float)) for name in [*trackers, "true ids"]}
    for clip in clips:
        truth = truth_of(clip)
        scenario = clip.stem.split(" ", 2)[2]
        for share in missing:
            found = without_some(found_in(clip), share) if share else found_in(clip)
            whose = people_of(found, truth)
            rate = (len(found) - 1) / (found[-1].time - found[0].time)
            for name, tracker in trackers.items():
                begun = time.process_time()
                ids = tracker(found, rate)
                sums[name]["time"]["seconds"] += time.process_time() - begun
                sums[name]["time"]["faces"] += sum(map(len, ids))
                key = f"{share:.0%} missing" if share else scenario
                for measure, value in scores(ids, whose, truth).items():
                    sums[name][key][measure] += value
            if not share:
                for measure, value in scores(whose, whose, truth).items():
                    sums["true ids"][scenario][measure] += value
    return sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", nargs="+", help="only these clips")
    parser.add_argument("--missing", type=float, nargs="+", default=[0.0, 0.3], help="shares of faces left out")
    options = parser.parse_args()
    clips = sorted(options.folder.glob("*.mp4"))
    clips = [c for c in clips if not options.seeds or int(c.stem[:3]) in map(int, options.seeds)]
    trackers: dict[str, Tracker] = {"ours": ours, "ByteTrack": theirs("ByteTrack"), "OC-SORT": theirs("OC-SORT")}
    sums = measured(clips, trackers, options.missing)
    names = list(sums)
    print(f"{len(clips)} clips; for each tracker: idF1, jumps, splits, switches, fragmentations")
    for scenario in sums["ours"]:
        if scenario != "time":
            cells = [line(sums[name][scenario]) if sums[name][scenario] else "" for name in names]
            print("| " + " | ".join([scenario, *cells]) + " |")
    totals = [line(total(sums[name])) for name in names]
    print("| " + " | ".join(["all", *totals]) + " |")
    for name in trackers:
        taken = sums[name]["time"]
        print(f"{name}: {1000 * taken['seconds'] / taken['faces']:.3f} ms per face")


def total(by_scenario: dict[str, dict[str, float]]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for scenario, sums in by_scenario.items():
        if scenario != "time":
            for measure, value in sums.items():
                found[measure] += value
    return found


def line(sums: dict[str, float]) -> str:
    counts = [f"{sums[key]:.0f}" for key in ("jumps", "splits", "num_switches", "num_fragmentations")]
    return " ".join([f"{idf1(sums):.3f}", *counts])


if __name__ == "__main__":
    main()
