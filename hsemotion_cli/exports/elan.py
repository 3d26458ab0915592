"""Intervals -> an annotation file of ELAN (EAF 3.0): a tier for each person and measure, with a controlled vocabulary.

Times are whole milliseconds since the first frame of the video, whatever ``--clock`` is. The video is linked by its
absolute URL if ``--media`` names its folder, and relative to the annotation file.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator, Mapping, Sequence
from typing import IO
from xml.sax.saxutils import escape, quoteattr

from .intervals import Tier, milliseconds, tiers
from .source_table import KNOWN, SourceTable, need_times

_LANGUAGE = "eng"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_EPOCH = "1970-01-01T00:00:00+00:00"  # the same table gives the same bytes


def write(recording: SourceTable, file: IO[bytes]) -> list[str]:
    """Write one recording; returns what the format cannot hold, in sentences."""
    need_times(recording, "ELAN")
    found = tiers(recording.intervals)
    slots: list[int] = []
    body = [line for tier in found for line in _tier(recording, tier, slots)]
    measures = {tier.measure: sorted({one.label for t in found if t.measure == tier.measure for one in t.intervals})
                for tier in found}  # fmt: skip
    date = recording.clock.began.isoformat() if recording.clock.began else _EPOCH
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<ANNOTATION_DOCUMENT AUTHOR="hsemotion" DATE={quoteattr(date)} FORMAT="3.0" VERSION="3.0" '
        f'xmlns:xsi="{_XSI}" xsi:noNamespaceSchemaLocation="{_SCHEMA}">',
        *_header(recording, len(slots) // 2),
        "  <TIME_ORDER>",
        *(f'    <TIME_SLOT TIME_SLOT_ID="ts{k}" TIME_VALUE="{value}"/>' for k, value in enumerate(slots, 1)),
        "  </TIME_ORDER>",
        *body,
        *_types(list(measures)),
        f'  <LANGUAGE LANG_DEF="http://cdb.iso.org/lg/CDB-00138502-001" LANG_ID="{_LANGUAGE}" LANG_LABEL="English"/>',
        *_vocabularies(measures),
        "</ANNOTATION_DOCUMENT>",
    ]
    file.write(_xml("\n".join(lines) + "\n"))
    return ["holds segments only, without their scores and peaks."]


def _header(recording: SourceTable, annotations: int) -> Iterator[str]:
    name = recording.source
    yield '  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">'
    if name:
        relative = f"./{name}"
        url = relative if recording.media is None else recording.media.resolve().as_uri()
        kind = mimetypes.guess_type(name)[0] or "video/*"
        yield (
            f"    <MEDIA_DESCRIPTOR MEDIA_URL={quoteattr(url)} MIME_TYPE={quoteattr(kind)} "
            f"RELATIVE_MEDIA_URL={quoteattr(relative)}/>"
        )
    yield f'    <PROPERTY NAME="lastUsedAnnotationId">{annotations}</PROPERTY>'
    yield "  </HEADER>"


def _tier(recording: SourceTable, tier: Tier, slots: list[int]) -> Iterator[str]:
    """The lines of one tier; its times are added to ``slots``, two for each annotation."""
    yield (
        f'  <TIER ANNOTATOR="hsemotion" LINGUISTIC_TYPE_REF={quoteattr(tier.measure)} '
        f"PARTICIPANT={quoteattr(tier.person)} TIER_ID={quoteattr(tier.name)}>"
    )
    for one in tier.intervals:
        start, end = (milliseconds(recording.clock.media(time)) for time in (one.onset, one.offset))
        slots += [start, max(end, start + 1)]
        number = len(slots) // 2
        yield "    <ANNOTATION>"
        yield (
            f'      <ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" CVE_REF="{_entry(one.label)}" '
            f'TIME_SLOT_REF1="ts{len(slots) - 1}" TIME_SLOT_REF2="ts{len(slots)}">'
        )
        yield f"        <ANNOTATION_VALUE>{escape(one.label)}</ANNOTATION_VALUE>"
        yield "      </ALIGNABLE_ANNOTATION>"
        yield "    </ANNOTATION>"
    yield "  </TIER>"


def _types(measures: Sequence[str]) -> Iterator[str]:
    for measure in measures:
        yield (
            f'  <LINGUISTIC_TYPE CONTROLLED_VOCABULARY_REF={quoteattr(measure)} GRAPHIC_REFERENCES="false" '
            f'LINGUISTIC_TYPE_ID={quoteattr(measure)} TIME_ALIGNABLE="true"/>'
        )


def _vocabularies(measures: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The labels of each measure, each with its meaning."""
    for measure, labels in measures.items():
        yield f"  <CONTROLLED_VOCABULARY CV_ID={quoteattr(measure)}>"
        yield f'    <DESCRIPTION LANG_REF="{_LANGUAGE}"/>'
        for label in labels:
            known = KNOWN.get(f"{label}_p") or KNOWN.get(f"p_{label}")
            meaning = known.meaning if known else ""
            yield f'    <CV_ENTRY_ML CVE_ID="{_entry(label)}">'
            yield (
                f'      <CVE_VALUE DESCRIPTION={quoteattr(meaning)} LANG_REF="{_LANGUAGE}">{escape(label)}</CVE_VALUE>'
            )
            yield "    </CV_ENTRY_ML>"
        yield "  </CONTROLLED_VOCABULARY>"


def _entry(label: str) -> str:
    """Id of an entry, as XML allows it."""
    return "cveid_" + "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in label)


def _xml(text: str) -> bytes:
    """Without the control characters that XML 1.0 cannot hold, which names of files may have."""
    allowed = (sign if sign >= " " or sign in "\t\n\r" else "\ufffd" for sign in text)
    return "".join(allowed).encode("utf-8", "replace")
