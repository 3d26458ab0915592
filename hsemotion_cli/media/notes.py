"""How a source was decoded, in sentences for the terminal and the sidecar: whatever was chosen, assumed or mended."""

from __future__ import annotations

from .source import DecodeReport, SourceInfo


def decode_notes(info: SourceInfo, report: DecodeReport) -> list[str]:
    """What a user must know of the decoding before trusting a table; nothing for an ordinary file.

    Args:
        report: once the source has been read.
    """
    return [*_stream(info), *_times(info, report), *_jumps(report), *_fields(report), *report.notes]


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
