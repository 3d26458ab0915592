"""How long do both schemes of DDAMFN's entry take as published, on a synthetic s-Aff-Wild2? Runs the plan to its end.

    python scripts/bench_ddamfn.py FOLDER [--frames 40] [--network finetuned] [--stop SECONDS] [--threads 2]

Writes painted faces of 112 pixels whose labels can be seen, and random initial weights, into FOLDER, unless they are
there; then runs ``train reproduce plans/papers/ddamfn-mtl.toml`` in a process of its own. With ``--stop`` that process
is killed after that time and started again, to see that it continues. Prints the seconds of each part, by the clock and
of all cores together: on a busy machine half of the latter is what two free cores would need at least.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import challenge  # noqa: E402

from hsemotion_cli.models import architectures  # noqa: E402

PLAN = ROOT / "plans" / "papers" / "ddamfn-mtl.toml"


def make(data: Path, frames: int) -> None:
    """Six videos to train on and three to validate with, and the checkpoint that the plan begins with."""
    challenge.make_mtl(data, videos=6, frames=frames, validation=3, masked=0.0, paint=challenge.telling, seed=3)
    torch.manual_seed(1)
    state = architectures.build("ddamfn", 8).state_dict()
    torch.save({"iter": 25, "model_state_dict": state}, data / "affecnet8_epoch25_acc0.6469.pth")


def main() -> None:
    """Make the data, run the plan, print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=40, help="of each of the nine videos")
    parser.add_argument("--network", default="finetuned")
    parser.add_argument("--stop", type=float, default=None)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    data, out = given.folder / "data", given.folder / "run"
    if not data.is_dir():
        make(data, given.frames)
    command = [
        *(sys.executable, "-m", "hsemotion_cli", "train", "reproduce", PLAN, "--data", data, "-o", out),
        *("--network", given.network, "--threads", given.threads, "--device", "cpu"),
    ]
    began = time.perf_counter()
    if given.stop is not None:
        try:
            subprocess.run(list(map(str, command)), check=True, timeout=given.stop)
        except subprocess.TimeoutExpired:
            print(f"stopped after {time.perf_counter() - began:.0f} s", flush=True)
    again = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True)
    now = time.perf_counter()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"{now - began:.0f} s in all, {now - again:.0f} s of them in the last process; "
        f"{used.ru_utime + used.ru_stime:.0f} s of processor time, {used.ru_maxrss / 1024**2:.2f} GiB at most"
    )


if __name__ == "__main__":
    main()
