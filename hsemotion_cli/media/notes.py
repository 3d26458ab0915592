"""Notes about the decoding of a source for the terminal and the sidecar: what was chosen, assumed or repaired."""

from __future__ import annotations

from .colour import Colour
from .source import DecodeReport, SourceInfo


def decode_notes(info: SourceInfo, report: DecodeReport) -> list[str]:
    """What a user must know about the decoding before trusting a table; empty for an ordinary file.

    Args:
        report: once the source has been read.
    """
    times = [*_stream(info), *_times(info, report), *_jumps(report), *_fields(report)]
    colours = _colours(info.colour) if info.colour else []
    return [*times, *_geometry(info), *_sizes(info, report), *colours, *report.notes]


def _stream(info: SourceInfo) -> list[str]:
    if info.video_streams < 2:
        return []
    language = f" ({info.language})" if info.language else ""
    return [
        f"it has {info.video_streams} video streams; stream {info.stream}{language} was analysed, "
        "--stream chooses another."
    ]


def _times(info: SourceInfo, report: DecodeReport) -> list[str]:
    kind, _, rate = info.clock.rpartition(" ")
    if kind == "--video-fps":
        return [f"its times come from --video-fps {rate}, not from the file."]
    if kind == "codec's frame rate":
        return [f"it stores no time stamps; its times come from the codec's frame rate, {rate} per second."]
    if kind == "assumed frame rate":
        return [
            f"it stores neither time stamps nor a frame rate; {rate} frames per second are assumed, "
            "so give the true rate with --video-fps."
        ]
    if report.guessed_times:
        return [f"{report.guessed_times} frames have no time stamp; theirs come from the average frame rate."]
    return []


def _jumps(report: DecodeReport) -> list[str]:
    count = report.clock_jumps
    if not count:
        return []
    places = ", ".join(f"{time:.2f} s" for time in report.jumped_at[:5]) + (" ..." if count > 5 else "")
    return [
        f"its clock jumps {'once' if count == 1 else f'{count} times'} (at {places}), as in joined recordings; "
        "the times go on across a jump, tracks and smoothing end there."
    ]


def _fields(report: DecodeReport) -> list[str]:
    if not report.deinterlaced:
        return []
    return [f"{report.deinterlaced} interlaced frames were deinterlaced; --deinterlace off leaves them as they are."]


def _geometry(info: SourceInfo) -> list[str]:
    notes = []
    if info.mirrored:
        notes.append("its display matrix mirrors the image, so it was analysed mirrored, as players show it.")
    if abs(info.rotation_rest) > 1:
        notes.append(
            f"its display matrix asks for {info.rotation_rest:+g} degrees (clockwise) beyond the {info.rotation} "
            "counter-clockwise that were made; only quarter turns are."
        )
    if info.crop:
        crop = info.crop
        notes.append(
            f"its container crops the stored image by {crop.left} pixels at the left, {crop.top} at the top, "
            f"{crop.right} at the right and {crop.bottom} at the bottom, so they are left out, as in players."
        )
    return notes


def _sizes(info: SourceInfo, report: DecodeReport) -> list[str]:
    count = report.size_changes
    if not count:
        return []
    first, *others = report.sizes
    later = ", ".join(f"{size.width} x {size.height} from {size.time:.2f} s" for size in others[:4])
    return [
        f"its image size changes {'once' if count == 1 else f'{count} times'} ({first.width} x {first.height}, {later}"
        f"{' ...' if count > 4 else ''}); all boxes are in pixels of {info.width} x {info.height}."
    ]


def _colours(colour: Colour) -> list[str]:
    notes = []
    if colour.matrix_from == "size" and colour.matrix == "bt709" and not colour.tagged_matrix:
        notes.append("it does not say its colour matrix; BT.709 was assumed from its size, as players do.")
    if colour.tagged_matrix:
        notes.append(
            f"its colour matrix {colour.tagged_matrix} is not supported, so it was read as {colour.matrix}; "
            "its colours may be wrong."
        )
    if colour.hdr:
        notes.append(f"its colours are HDR ({colour.hdr}); {colour.conversion} made them SDR.")
    elif colour.conversion:
        notes.append(f"its colour primaries are {colour.primaries}; they were converted to BT.709.")
    if colour.unconverted:
        notes.append(f"its transfer function {colour.transfer} is not converted, so its brightness is not as shown.")
    return notes
