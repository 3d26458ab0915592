"""Add a trained network to the package: weights, graph, and its model card with images.

    python scripts/ship_weights.py runs/mt-mobilefacenet/mt-mobilefacenet.safetensors

The graph is stored delta-encoded against the weights; the card and its images go to docs/models/. Add a new name to
SHIPPED in hsemotion_cli/models/registry.py as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hsemotion_cli.models import graph_file, model_file
from hsemotion_cli.models.registry import ASSETS
from hsemotion_cli.reporting.markdown import PAGE_MARK

CARDS = Path(__file__).resolve().parent.parent / "docs" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    model_file.verify(file)
    target = ASSETS / file.name
    encoded = graph_file.encode_graph(file)
    target.write_bytes(file.read_bytes())
    model_file.delta_graph_path(target).write_bytes(encoded)
    page = file.with_suffix(".md").read_text(encoding="utf-8").removesuffix(PAGE_MARK + "\n").rstrip() + "\n"
    for image in sorted(file.parent.glob("*.png")):
        page = page.replace(f"](<{image.name}>)", f"](<{file.stem}-{image.name}>)")
        (CARDS / f"{file.stem}-{image.name}").write_bytes(image.read_bytes())
    (CARDS / f"{file.stem}.md").write_text(page, encoding="utf-8")
    sizes = {path.name: path.stat().st_size for path in (target, model_file.delta_graph_path(target))}
    print(", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
