"""ELAN's annotation files (.eaf) -> events.

The format is XML (EAF 2.7 to 3.0, Max Planck Institute for Psycholinguistics): time slots in milliseconds, and tiers of
annotations that point to two time slots, or to another annotation whose time they share. A time slot may lack a time;
ELAN then spreads such slots evenly between their neighbours that have one, and so does this reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from ..errors import InputError
from .event_rows import Event, event, media_recording, recording_of, text_of

_DEEPEST = 100  # levels of annotations that refer to annotations


def read_eaf(path: Path) -> list[Event]:
    """The annotations of all tiers, tier by tier; an empty annotation has the tier's name as its label.

    The person is the tier's PARTICIPANT, the coder its ANNOTATOR, the recording the first media file's name, or else
    that of the file.

    Raises:
        InputError: it cannot be read, is not EAF, or an annotation has no time; the message names the annotation.
    """
    root = _root(path)
    times = _slots(path, root)
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    recording = media_recording(media.get("MEDIA_URL", "")) if media is not None else ""
    origin = float(media.get("TIME_ORIGIN") or 0) / 1000 if media is not None else 0.0
    annotations = {each.get("ANNOTATION_ID", ""): each for each in root.iterfind("TIER/ANNOTATION/*")}
    found = []
    for tier in root.iterfind("TIER"):
        name = tier.get("TIER_ID", "")
        for each in tier.iterfind("ANNOTATION/*"):
            where = f"{path}, tier {name}, annotation {each.get('ANNOTATION_ID', '?')}"
            onset, offset = _span(where, each, annotations, times)
            found.append(
                event(
                    where, (onset - origin, offset - origin), (each.findtext("ANNOTATION_VALUE") or "").strip() or name,
                    recording=recording or recording_of(path), person=tier.get("PARTICIPANT", "").strip(), tier=name,
                    coder=tier.get("ANNOTATOR", "").strip(),
                )
            )  # fmt: skip
    return found


def _root(path: Path) -> Any:
    text = text_of(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # ELAN writes none, and entities may expand without end
        raise InputError(f"{path}: it declares a document type, which ELAN's files do not.")
    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, RecursionError) as error:
        raise InputError(f"{path}: not XML ({error}).") from error
    if root.tag != "ANNOTATION_DOCUMENT":
        raise InputError(f"{path}: not a file of ELAN; its root element is {root.tag[:60]!r}.")
    units = root.find("HEADER")
    if units is not None and units.get("TIME_UNITS", "milliseconds") != "milliseconds":
        raise InputError(f"{path}: its times are in {units.get('TIME_UNITS')}; save it with milliseconds.")
    return root


def _slots(path: Path, root: Any) -> dict[str, float]:
    """Time slot -> seconds."""
    names, values = [], []
    for slot in root.iterfind("TIME_ORDER/TIME_SLOT"):
        names.append(slot.get("TIME_SLOT_ID", ""))
        text = slot.get("TIME_VALUE")
        try:
            values.append(None if text is None else int(text) / 1000)
        except ValueError:
            raise InputError(f"{path}: the time slot {names[-1]} has the time {text[:60]!r}.") from None
    known = [k for k, value in enumerate(values) if value is not None]
    found = {}
    for k, name in enumerate(names):
        value = values[k]
        if value is None:
            before = max((j for j in known if j < k), default=None)
            after = min((j for j in known if j > k), default=None)
            if before is None or after is None:
                continue  # an annotation that needs it is named
            start, end = values[before], values[after]
            assert start is not None and end is not None
            value = start + (end - start) * (k - before) / (after - before)
        found[name] = value
    return found


def _span(
    where: str, annotation: Any, annotations: Mapping[str, Any], times: Mapping[str, float]
) -> tuple[float, float]:
    for _ in range(_DEEPEST):
        if annotation.tag == "ALIGNABLE_ANNOTATION":
            slots = annotation.get("TIME_SLOT_REF1", ""), annotation.get("TIME_SLOT_REF2", "")
            if missing := [slot for slot in slots if slot not in times]:
                raise InputError(f"{where}: its time slot {missing[0]!r} has no time.")
            return times[slots[0]], times[slots[1]]
        reference = annotation.get("ANNOTATION_REF", "")
        if reference not in annotations:
            raise InputError(f"{where}: it refers to {reference!r}, which is not there.")
        annotation = annotations[reference]
    raise InputError(f"{where}: the annotations that it refers to lead in a circle.")
