"""A stream of the network (RTSP, HTTP, MPEG-TS over UDP or TCP, ...) -> frames as they arrive, through FFmpeg."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av

from ..domain import Frame
from ..errors import InputError, UsageError
from .camera import camera_info
from .colour import ColourReader
from .container import average_rate, video_stream
from .live_source import ArrivalClock, Captured, LiveSource, Stamp
from .source import MAX_PIXELS, check_size

SCHEMES = ("rtsp", "rtsps", "http", "https", "udp", "tcp", "rtp", "srt")

_PATIENCE = (10.0, 10.0)
"""Seconds to wait for a connection, and for the next packet."""

# Nothing but the stream itself: no play list that names a file or another address, and no file.
_OPTIONS = {
    "protocol_whitelist": "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,crypto,srt",
    "format_whitelist": "rtsp,sdp,rtp,mpegts,mjpeg,mpjpeg,flv,matroska,nut,h264,hevc,ogg",
    "rtsp_transport": "tcp",  # without lost packets
    "probesize": "1000000",
    "analyzeduration": "1000000",
    "max_pixels": str(MAX_PIXELS),
}


class NetworkStream(LiveSource):
    """An open stream.

    Args:
        address: URL; a name and password in it are never shown or stored.

    Raises:
        UsageError: an address of a kind that is not known.
        InputError: it cannot be opened, or has no image.
    """

    def __init__(self, address: str) -> None:
        scheme = urlsplit(address).scheme.lower()
        if scheme not in SCHEMES:
            raise UsageError(f"--camera {shown(address)}: choose an address that begins with {', '.join(SCHEMES)}.")
        self._name, self._failures = shown(address), 0
        try:
            self._container: Any = av.open(address, options=_OPTIONS, timeout=_PATIENCE, metadata_errors="replace")
        except (av.error.FFmpegError, ValueError, OSError) as error:
            raise InputError(
                f"{self._name}: cannot be opened ({_reason(error)}); check the address, and that the camera is on."
            ) from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def captured(self) -> Iterator[Captured]:
        """See ``LiveSource.captured``; the stamp is that of the decoded frame, before its colours are converted."""
        clock = ArrivalClock()
        for decoded in self._decoded():
            stamp = Stamp.now()
            index, when = self.report.decoded, clock.time(stamp)
            self.report.decoded += 1
            self.report.failures = self._failures
            check_size(self.path, decoded.width, decoded.height)
            image = self._colours.rgb(decoded)
            self.report.size(index, when, (image.shape[1], image.shape[0]))
            yield Captured(Frame(index, when, image), stamp)

    def close(self) -> None:
        """See ``LiveSource.close``."""
        self._container.close()

    def _open(self) -> None:
        stream = self._stream = video_stream(self._container, Path(self._name)).stream
        self._first = next(self._packets(), None)
        if self._first is None:
            raise InputError(f"{self._name}: no image arrived.")
        first, rate = self._first, average_rate(stream)
        check_size(Path(self._name), first.width, first.height)
        self._colours = ColourReader(first.width, first.height)
        codec = stream.codec_context.name
        super().__init__(self._name, camera_info(first.width, first.height, float(rate) if rate else None, codec))

    def _decoded(self) -> Iterator[Any]:
        """Decoded frames, the first of which came when the stream was opened."""
        yield self._first
        self._first = None
        try:
            yield from self._packets()
        except (av.error.FFmpegError, OSError) as error:
            self.report.ended_early = f"the stream broke off ({_reason(error)})"
        else:
            self.report.ended_early = "the stream ended"

    def _packets(self) -> Iterator[Any]:
        """Decoded frames; a packet that cannot be decoded is passed over, as decoders join a stream in its middle."""
        for packet in self._container.demux(self._stream):
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                self._failures += 1


def shown(address: str) -> str:
    """An address without name and password, and without what follows a question mark, which may hold a key."""
    return re.sub(r"^([a-z]+://)[^/@]*@", r"\1", address, flags=re.IGNORECASE).partition("?")[0]


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
