"""Tables, or names of models -> the works to cite for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..formats import sidecar
from ..models import registry
from .console import print_line

_DETECTOR = "Lugaresi et al. 2019, arXiv:1906.08172 (MediaPipe); Bazarevsky et al. 2019, arXiv:1907.05047 (BlazeFace)"
"""The paper of the framework and the one of its face detector, which all of ``pipeline.DETECTORS`` are made of."""


@dataclass(frozen=True, slots=True)
class Work:
    """A work to cite.

    Attributes:
        what: "program", "faces", "model" or "head".
        name: of the program, the detector, the model or the head.
        cite: in words: authors, year, and where to find it.
        licence: of the work; "" if unknown.
    """

    what: str
    name: str
    cite: str
    licence: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def of_models(names: Iterable[str], version: str) -> list[Work]:
    """What to cite for models by their names.

    Raises:
        UsageError: there is no such model.
    """
    models = [{"name": registry.card(name).name} for name in names]
    return [_program([version]), _faces(), *(_model(model) for model in models)]


def of_tables(tables: Sequence[Path]) -> list[Work]:
    """What to cite for tables, as their sidecars describe them; each work once.

    Raises:
        InputError: there is no sidecar beside a table.
    """
    contents = [sidecar.read(table.with_name(f"{table.stem}.json")) for table in tables]
    versions = dict.fromkeys(str(content.get("tool", {}).get("version", "unknown")) for content in contents)
    used = any(content.get("detector", {}).get("used", True) for content in contents)
    found = [_program(list(versions)), *([_faces()] if used else [])]
    for content in contents:
        for model in content.get("models", []):
            found.append(_model(model))
            if isinstance(head := model.get("head"), dict):
                cite = f"its author; trained on features of {model.get('name')}"
                found.append(Work("head", str(head.get("name")), cite, str(head.get("terms") or "")))
    return list(dict.fromkeys(found))


def _program(versions: Sequence[str]) -> Work:
    return Work("program", "hsemotion", f"The hsemotion authors, hsemotion {' and '.join(versions)}", "Apache-2.0")


def _faces() -> Work:
    return Work("faces", "MediaPipe", _DETECTOR, "Apache-2.0")


def _model(entry: Mapping[str, Any]) -> Work:
    """A model's citation from its card, or from the sidecar if this version lacks the model."""
    name = str(entry.get("name"))
    try:
        card = registry.card(name)
    except UsageError:
        data = entry.get("training_data") or "unknown data"
        return Work("model", name, f"its author; trained on {data}", str(entry.get("licence") or ""))
    ours = card.citation.startswith("docs/")
    return Work("model", name, f"hsemotion; described in {card.citation}" if ours else card.citation, card.licence)


def show(works: Sequence[Work]) -> None:
    """A line for each work, and one for its licence."""
    for work in works:
        print_line(f"{work.name} ({work.what}): {work.cite}.")
        if work.licence:
            print_line(f"    licence: {work.licence}")
