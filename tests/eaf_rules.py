"""The rules of ELAN's file format EAF 3.0 for the elements that exports write, checked without the schema itself.

The schema (EAFv3.0.xsd, Max Planck Institute for Psycholinguistics) states no terms, so it is not part of this
repository; these rules were written from it: which elements, in which order, with which attributes of which type, and
which references must lead to something.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import datetime
from pathlib import Path

ID, TEXT, NUMBER, FLAG, DATE = "id", "text", "number", "flag", "date"

# Element -> its children in order (+ once or more, * any number, ? at most once), and attribute -> type; ! is required.
RULES: dict[str, tuple[str, dict[str, str]]] = {
    "ANNOTATION_DOCUMENT": (
        "LICENSE* HEADER TIME_ORDER TIER* LINGUISTIC_TYPE* LOCALE* LANGUAGE* CONSTRAINT* CONTROLLED_VOCABULARY*",
        {"DATE!": DATE, "AUTHOR!": TEXT, "VERSION!": TEXT, "FORMAT": TEXT},
    ),
    "HEADER": ("MEDIA_DESCRIPTOR* LINKED_FILE_DESCRIPTOR* PROPERTY*", {"MEDIA_FILE": TEXT, "TIME_UNITS": TEXT}),
    "MEDIA_DESCRIPTOR": (
        "",
        {"MEDIA_URL!": TEXT, "RELATIVE_MEDIA_URL": TEXT, "MIME_TYPE!": TEXT, "TIME_ORIGIN": NUMBER},
    ),
    "PROPERTY": ("", {"NAME": TEXT}),
    "TIME_ORDER": ("TIME_SLOT*", {}),
    "TIME_SLOT": ("", {"TIME_SLOT_ID!": ID, "TIME_VALUE": NUMBER}),
    "TIER": (
        "ANNOTATION*",
        {"TIER_ID!": TEXT, "PARTICIPANT": TEXT, "ANNOTATOR": TEXT, "LINGUISTIC_TYPE_REF!": TEXT, "LANG_REF": ID},
    ),
    "ANNOTATION": ("ALIGNABLE_ANNOTATION", {}),
    "ALIGNABLE_ANNOTATION": (
        "ANNOTATION_VALUE",
        {"ANNOTATION_ID!": ID, "TIME_SLOT_REF1!": ID, "TIME_SLOT_REF2!": ID, "CVE_REF": TEXT, "LANG_REF": ID},
    ),
    "ANNOTATION_VALUE": ("", {}),
    "LINGUISTIC_TYPE": (
        "",
        {"LINGUISTIC_TYPE_ID!": TEXT, "TIME_ALIGNABLE": FLAG, "GRAPHIC_REFERENCES": FLAG,
         "CONTROLLED_VOCABULARY_REF": TEXT},
    ),
    "LANGUAGE": ("", {"LANG_ID!": ID, "LANG_DEF": TEXT, "LANG_LABEL": TEXT}),
    "CONTROLLED_VOCABULARY": ("DESCRIPTION* CV_ENTRY_ML*", {"CV_ID!": TEXT}),
    "DESCRIPTION": ("", {"LANG_REF!": ID}),
    "CV_ENTRY_ML": ("CVE_VALUE+", {"CVE_ID!": TEXT}),
    "CVE_VALUE": ("", {"LANG_REF!": ID, "DESCRIPTION": TEXT}),
}  # fmt: skip

# (elements, attribute that names them, elements, attribute that refers to them)
REFERENCES = (
    ("TIME_SLOT", "TIME_SLOT_ID", "ALIGNABLE_ANNOTATION", "TIME_SLOT_REF1"),
    ("TIME_SLOT", "TIME_SLOT_ID", "ALIGNABLE_ANNOTATION", "TIME_SLOT_REF2"),
    ("LINGUISTIC_TYPE", "LINGUISTIC_TYPE_ID", "TIER", "LINGUISTIC_TYPE_REF"),
    ("CONTROLLED_VOCABULARY", "CV_ID", "LINGUISTIC_TYPE", "CONTROLLED_VOCABULARY_REF"),
    ("LANGUAGE", "LANG_ID", "CVE_VALUE", "LANG_REF"),
    ("LANGUAGE", "LANG_ID", "DESCRIPTION", "LANG_REF"),
    ("TIER", "TIER_ID", "TIER", "PARENT_REF"),
)

XSI = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"


def violations(path: Path) -> list[str]:
    """The rules that a file breaks, in words; [] if it keeps them."""
    root = ET.parse(path).getroot()
    found = [f"the root is {root.tag}"] if root.tag != "ANNOTATION_DOCUMENT" else []
    ids: list[str] = []
    for element in root.iter():
        found += _element(element, ids)
    if len(set(ids)) < len(ids):
        found.append("an id is there twice")
    for named, key, referring, reference in REFERENCES:
        keys = [each.get(key) for each in root.iter(named)]
        if len(set(keys)) < len(keys):
            found.append(f"{named}: {key} is there twice")
        for each in root.iter(referring):
            if each.get(reference) is not None and each.get(reference) not in keys:
                found.append(f"{referring}: {reference} {each.get(reference)} leads to nothing")
    return found


def _element(element: ET.Element, ids: list[str]) -> list[str]:
    if element.tag not in RULES:
        return [f"{element.tag} is no element"]
    content, attributes = RULES[element.tag]
    pattern = "".join(
        f"(?:<{each.rstrip('*+?')}>){each[-1] if each[-1] in '*+?' else ''}" for each in content.split()
    )  # fmt: skip
    children = "".join(f"<{child.tag}>" for child in element)
    found = [] if re.fullmatch(pattern, children) else [f"{element.tag} holds {children[:80]}"]
    for name in (each[:-1] for each in attributes if each.endswith("!")):
        if name not in element.attrib:
            found.append(f"{element.tag} lacks {name}")
    for name, value in element.attrib.items():
        kind = attributes.get(name) or attributes.get(f"{name}!")
        if name != XSI and (kind is None or not _has_type(value, kind)):
            found.append(f"{element.tag}: {name}={value!r}")
        if kind == ID and not name.endswith(("REF", "REF1", "REF2")):
            ids.append(value)
    return found


def _has_type(value: str, kind: str) -> bool:
    if kind == ID:
        return bool(re.fullmatch(r"[A-Za-z_][\w.-]*", value))
    if kind == NUMBER:
        return value.isdecimal() and int(value) < 2**32
    if kind == FLAG:
        return value in ("true", "false", "0", "1")
    return kind == TEXT or bool(re.fullmatch(r"\d{4}-.*T.*", value) and datetime.fromisoformat(value))
