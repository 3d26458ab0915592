"""Put a trained network among the files that come with the package: weights, graph, card with its pictures.

    python scripts/ship_weights.py runs/mt-mobilefacenet/mt-mobilefacenet.safetensors

The graph is stored without the weights that the trained file holds; card and pictures go to docs/models/. A name that
is new also belongs into SHIPPED of hsemotion_cli/models/registry.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hsemotion_cli.models import graph_file, model_file
from hsemotion_cli.models.registry import ASSETS

CARDS = Path(__file__).resolve().parent.parent / "docs" / "models"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    file: Path = parser.parse_args().file
    model_file.verify(file)
    target = ASSETS / file.name
    told = graph_file.encode_graph(file)
    target.write_bytes(file.read_bytes())
    model_file.delta_graph_path(target).write_bytes(told)
    page = file.with_suffix(".md").read_text(encoding="utf-8")
    for picture in sorted(file.parent.glob("*.png")):
        page = page.replace(f"](<{picture.name}>)", f"](<{file.stem}-{picture.name}>)")
        (CARDS / f"{file.stem}-{picture.name}").write_bytes(picture.read_bytes())
    (CARDS / f"{file.stem}.md").write_text(page, encoding="utf-8")
    sizes = {path.name: path.stat().st_size for path in (target, model_file.delta_graph_path(target))}
    print(", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))


if __name__ == "__main__":
    main()
