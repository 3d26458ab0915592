"""Add a trained network to the package: weights, graph, and its model card with images.

    python scripts/ship_weights.py runs/mt-mobilefacenet/mt-mobilefacenet.safetensors

The graph is stored delta-encoded against the weights; the card and its images go to docs/models/. The card's figures by
group are those of other weights then, and go: measure them again by ``measure_groups.py``. Add a new name to SHIPPED in
hsemotion_cli/models/registry.py as well.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hsemotion_cli.models import graph_file, model_file
from hsemotion_cli.models.registry import ASSETS
from hsemotion_cli.reporting.markdown import PAGE_MARK

GROUPS_BEGIN, GROUPS_END = "<!-- groups: begin -->\n", "<!-- groups: end -->\n"
NOT_MEASURED = """Not measured yet for these weights. `scripts/measure_groups.py` does it.
"""

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
    (CARDS / f"{file.stem}.md").write_text(with_groups(page, NOT_MEASURED), encoding="utf-8")
    sizes = {path.name: path.stat().st_size for path in (target, model_file.delta_graph_path(target))}
    print(", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))


def with_groups(page: str, text: str) -> str:
    """A model card with a text in its section of figures by group, which is between two marks after the evaluation."""
    if GROUPS_BEGIN in page:
        before, rest = page.split(GROUPS_BEGIN)
        after = rest.split(GROUPS_END)[1]
    else:
        before, heading, rest = page.partition("## Calibration\n")
        after = heading + rest
    return f"{before}{GROUPS_BEGIN}## By set, expression and group\n\n{text}\n{GROUPS_END}{after}"


if __name__ == "__main__":
    main()
