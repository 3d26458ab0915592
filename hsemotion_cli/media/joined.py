"""Whether a second recording is joined to a file byte by byte that its format cannot hold, so that nothing reads it."""

from __future__ import annotations

from pathlib import Path

from .mp4_boxes import find_box, whole

_SIGNATURES = {"flv": b"FLV\x01", "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")}
_SEARCHED = 1 << 20  # bytes behind the last packet


def has_second_recording(path: Path, format_name: str, read_to: int) -> bool:
    """Whether another file of the same format follows the one that was read.

    MPEG-TS, MPEG-PS, Matroska and AVI are read across such a joint; MP4, FLV and ASF are not.

    Args:
        format_name: as ffmpeg has it.
        read_to: bytes to the end of the last packet that was read.

    Raises:
        OSError: the file cannot be read (any more).
    """
    with path.open("rb") as file:
        if "mp4" in format_name.split(","):
            index = find_box(file, whole(file), b"moov")
            second = find_box(file, (index[1], whole(file)[1]), b"ftyp") if index else None
            return second is not None and second[0] > read_to
        signature = _SIGNATURES.get(format_name)
        if signature is None:
            return False
        file.seek(read_to)
        return signature in file.read(_SEARCHED)
