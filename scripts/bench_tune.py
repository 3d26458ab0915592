"""How long does tuning take? Makes raw scores of two models for several videos, and tries the papers' whole grid.

Prints, for each track, the frames with truth, the settings (filters x weights, for each task), the seconds (by the
clock, and of all processors together), the settings per second, and the peak of memory so far. Truth follows what the
models say, so that there is something to find.
Run: python scripts/bench_tune.py [--frames 100000] [--videos 10] [--tracks expr va au mtl] [--threads 2]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from hsemotion_cli.abaw import grid_search, predictions, tuning_data
from hsemotion_cli.abaw.search_space import Grid
from hsemotion_cli.evaluation.ground_truth import Annotations
from hsemotion_cli.formats import raw_scores
from hsemotion_cli.postprocess.recipe import Recipe
from hsemotion_cli.tasks import ACTION_UNITS, EXPRESSIONS
from hsemotion_cli.timeline import Timeline

MODELS = ("enet_b0_8_va_mtl", "ddamfnet_8_mtl")
RATE = 30.0


def main() -> None:
    """Make the data, tune on it, print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000, help="of all videos together")
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--tracks", nargs="+", default=list(tuning_data.TRACKS), choices=tuning_data.TRACKS)
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        truth = {f"video{k + 1}": make(Path(name), f"video{k + 1}", options, k) for k in range(options.videos)}
        tables = predictions.find([Path(name)])
        for track in options.tracks:
            bench(tables, truth, track, options.threads)


def bench(tables: dict[str, Path], truth: dict[str, Annotations], track: str, threads: int | None) -> None:
    """Tune for one track and print a line."""
    began, worked = time.perf_counter(), time.process_time()
    data = tuning_data.gather(tables, truth, track)
    read = time.perf_counter() - began
    grid = Grid()
    tuned = grid_search.tune(data, grid, threads=threads)
    seconds, worked = time.perf_counter() - began, time.process_time() - worked
    settings = len(grid.filters) * len(grid.weights) * len(data.tasks)
    frames = sum(data.frames(task)[0] for task in data.tasks)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    untuned, best, crossed = (tuned.total[name] for name in ("untuned", "in_sample", "cross_validated"))
    told = "-" if crossed is None else f"{crossed:.4f}"
    print(
        f"{track:>5}: {frames:,} frames with truth, {settings} settings: {seconds:.1f} s ({read:.1f} of them reading, "
        f"{worked:.1f} s of processor time), {settings / seconds:.1f} settings/s, peak {peak:.0f} MiB; "
        f"{untuned:.4f} untuned, {best:.4f} tuned, {told} cross-validated",
        flush=True,
    )


def make(folder: Path, name: str, options: argparse.Namespace, seed: int) -> Annotations:
    """Write the raw scores of one video, with its sidecar, and say what is true of its frames."""
    random = np.random.default_rng(seed)
    frames = options.frames // options.videos
    slow = gaussian_filter1d(random.normal(size=(frames, 22)), 40, axis=0)
    slow /= slow.std(axis=0)
    row = np.flatnonzero(random.random(frames) < 0.97)
    scores = {}
    for model in MODELS:
        seen = slow[row] + random.normal(0, 2, (len(row), 22))
        expression = np.full((len(row), len(EXPRESSIONS)), np.nan)
        expression[:, :8] = np.exp(seen[:, :8]) / np.exp(seen[:, :8]).sum(axis=1, keepdims=True)
        scores[model] = {
            "expression": expression.astype(np.float32),
            "valence_arousal": np.tanh(seen[:, 8:10] / 2).astype(np.float32),
            "action_units": (1 / (1 + np.exp(-seen[:, 10:]))).astype(np.float32),
        }
    box = np.tile(np.array([10, 10, 80, 80], np.float32), (len(row), 1))
    timeline = Timeline(
        np.arange(frames), np.arange(frames) / RATE, row, np.zeros(len(row), np.int64), np.ones(len(row), np.float32),
        box, scores,
    )  # fmt: skip
    with (folder / f"{name}.raw.npz").open("wb") as file:
        raw_scores.write(timeline, file)
    told = {"source": {"kind": "video", "width": 100}, "recipe": Recipe.of(*MODELS).to_json()}
    (folder / f"{name}.json").write_text(json.dumps(told))
    return Annotations(
        name,
        np.arange(1, frames + 1),
        slow[:, :8].argmax(axis=1),
        np.tanh(slow[:, 8:10]).astype(np.float32),
        (slow[:, 10 : 10 + len(ACTION_UNITS)] > 0.5).astype(np.float32),
    )


if __name__ == "__main__":
    main()
