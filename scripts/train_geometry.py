"""Trains the embedded model ``mp-blendshapes`` again: weights, metrics, and the figures in its model card.

    python scripts/train_geometry.py --data ../shared/data --cache blendshapes.npz

The first run searches every image for a face (about ten minutes on two cores) and keeps the blendshapes in the cache;
later runs take two minutes. Needs torch and scipy. Writes hsemotion_cli/assets/mp_blendshapes.safetensors,
docs/models/mp-blendshapes.json, and the part between the two marks in docs/models/mp-blendshapes.md. How it is done is
in hsemotion_cli/training/blendshape_*.py.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from hsemotion_cli.training.blendshape_card import figures_as_markdown, renewed
from hsemotion_cli.training.blendshape_data import ferplus, find_blendshapes, muxspace
from hsemotion_cli.training.blendshape_evaluation import compare, measure
from hsemotion_cli.training.blendshape_head import BlendshapeHeadConfig, fit_action_units, train, write

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "hsemotion_cli" / "assets" / "mp_blendshapes.safetensors"
FIGURES = ROOT / "docs" / "models" / "mp-blendshapes.json"
CARD = ROOT / "docs" / "models" / "mp-blendshapes.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--cache", type=Path, default=Path("blendshapes.npz"), help="blendshapes, made if missing")
    parser.add_argument("--workers", type=int, default=2, help="processes that search for faces")
    parser.add_argument("--no-compare", action="store_true", help="train the kept configuration only")
    options = parser.parse_args()

    if not options.cache.exists():
        found: dict[str, Any] = dict(find_blendshapes(options.data, options.workers))
        np.savez_compressed(options.cache, **found)
    shapes = dict(np.load(options.cache))
    fer, mux = ferplus(options.data, shapes["ferplus"]), muxspace(options.data, shapes["muxspace"])
    clips = {name.removeprefix("mead_"): rows for name, rows in shapes.items() if name.startswith("mead_")}

    tensors = train(BlendshapeHeadConfig(), fer, mux) | fit_action_units(fer)
    write(tensors, WEIGHTS, "scripts/train_geometry.py")
    report = measure(tensors, fer, mux, clips)
    report["weights_sha256"] = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    if not options.no_compare:
        report["compared"] = compare(fer, mux, clips)
    elif FIGURES.exists():
        report["compared"] = json.loads(FIGURES.read_text())["compared"]
    FIGURES.write_text(json.dumps(report, indent=1) + "\n")
    CARD.write_text(renewed(CARD.read_text(), report))
    print(figures_as_markdown(report))
    print(f"{WEIGHTS.name}: {WEIGHTS.stat().st_size} bytes, SHA-256 {report['weights_sha256']}")


if __name__ == "__main__":
    main()
