"""What Pillow reads: AVIF and HEIC, transparency, and the time at which a photo was taken.

Everything else is decoded by OpenCV, which converts 16-bit images and CMYK as viewers do. Pillow is loaded only when a
file needs it.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..domain import Image
from ..errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

DAMAGE = (
    OSError, ValueError, EOFError, SyntaxError, IndexError, KeyError, TypeError, AttributeError, RuntimeError,
    OverflowError, ZeroDivisionError, MemoryError, struct.error,
)  # fmt: skip
"""What Pillow and its plug-ins raise for damaged files."""

_HEIF_READERS = ("pi_heif", "pillow_heif")
_EXIF_TIMES = ((0x9003, 0x9011, 0x9291), (0x9004, 0x9012, 0x9292))  # time, zone, fraction: original, then digitised
_EXIF, _CHANGED = 0x8769, 0x0132  # the EXIF directory, and DateTime of the main one
_TIME = re.compile(r"([0-9]{4})[:-]([0-9]{2})[:-]([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})")
_ZONE = re.compile(r"[+-][0-9]{2}:[0-9]{2}|Z")


def to_rgb(image: PillowImage) -> Image:
    """A loaded Pillow image as RGB; what is transparent is shown on white, as by a viewer.

    Raises:
        ValueError: it holds numbers without a known range (32-bit integers, floating point).
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"its pixels are of the kind {image.mode}, whose range is unknown")
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        return on_white(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3])
    return np.ascontiguousarray(np.asarray(image.convert("RGB")), np.uint8)


def on_white(image: Image, alpha: NDArray[np.uint8]) -> Image:
    """An image with its transparent parts on white.

    Args:
        image: (height, width, 3) not premultiplied.
        alpha: (height, width), 255 where it is opaque.
    """
    if (alpha == 255).all():
        return image
    share = alpha[..., None].astype(np.uint16)
    return ((image * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


def read_avif(data: bytes, upright: bool = True) -> Image | None:
    """An AVIF file as RGB, all its tiles joined, turned as it asks if ``upright``; None if it cannot be decoded."""
    from PIL import ImageOps

    try:
        with opened(data) as image:
            # Pillow writes rotation and mirror of AVIF into the EXIF data.
            return to_rgb(ImageOps.exif_transpose(image) if upright else image)
    except DAMAGE:
        return None


def read_heic(path: Path, data: bytes) -> Image | None:
    """A HEIC file as RGB, upright, all its tiles joined; None if it cannot be decoded.

    Raises:
        InputError: no library that reads HEIC is installed.
    """
    with _heif_images(path, data) as image:
        return None if image is None else to_rgb(image)


@contextlib.contextmanager
def _heif_images(path: Path, data: bytes) -> Iterator[PillowImage | None]:
    """The primary image of a HEIC file, turned as the file asks; its EXIF orientation only repeats that."""
    reader = _heif_reader()
    if reader is None:
        raise InputError(
            f"{path}: is a HEIC image, which needs one more library: pip install 'hsemotion-cli[heic]', "
            "or convert it to JPEG first."
        )
    try:
        file = reader.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
        image = file[file.primary_index].to_pillow()
    except DAMAGE:
        yield None
        return
    yield image


def _heif_reader() -> Any:
    """The library that reads HEIC, or None: pi_heif is the part of pillow_heif that reads."""
    for name in _HEIF_READERS:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None


@contextlib.contextmanager
def opened(source: bytes | Path) -> Iterator[PillowImage]:
    """A file opened by Pillow, whose declared size has been checked already, so that Pillow need not warn of it."""
    from PIL import Image as Pillow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = Pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source)
    with image:
        yield image


def declares_alpha(data: bytes) -> bool:
    """Whether a PNG, WebP or GIF may have transparent parts, by its header."""
    if data.startswith(b"\x89PNG"):
        return data[25:26] in (b"\x04", b"\x06") or 0 < data.find(b"tRNS") < (data.find(b"IDAT") + 1 or len(data))
    if data[8:12] == b"WEBP":
        return (data[12:16] == b"VP8X" and bool(data[20] & 0x10)) or (data[12:16] == b"VP8L" and bool(data[24] & 0x10))
    return data.startswith(b"GIF8")


def with_alpha(image: Image, data: bytes, upright: bool = True) -> Image:
    """An image as OpenCV decoded it, on white where its file is transparent.

    Args:
        image: RGB, its transparency dropped.
        data: the whole file.
        upright: whether it was turned and mirrored by its EXIF orientation.
    """
    from PIL import ImageOps

    try:
        with opened(data) as picture:
            if not picture.has_transparency_data:
                return image
            turned = ImageOps.exif_transpose(picture) if upright else picture
            alpha = np.asarray(turned.convert("RGBA").getchannel("A"))
    except DAMAGE:
        return image
    return on_white(image, alpha) if alpha.shape == image.shape[:2] else image


def taken_at(path: Path, data: bytes) -> str | None:
    """When a photo was taken, by its EXIF data, as ISO 8601; with a zone only if the file has one; None without any.

    DateTimeOriginal counts first, then DateTimeDigitized, then DateTime (Exif 3.0, 4.6.5 and 4.6.6).
    """
    try:
        exif = _exif(path, data)
        inner = exif.get_ifd(_EXIF)
        for time, zone, fraction in _EXIF_TIMES:
            if found := _iso(inner.get(time), inner.get(zone), inner.get(fraction)):
                return found
        return _iso(exif.get(_CHANGED), inner.get(0x9010), inner.get(0x9290))
    except DAMAGE:
        return None


def _exif(path: Path, data: bytes) -> Any:
    from PIL import Image as Pillow

    if data[4:8] == b"ftyp" and _heif_reader() is not None and data[8:12] not in (b"avif", b"avis"):
        with _heif_images(path, data) as image:
            exif = Pillow.Exif()
            exif.load((image.info.get("exif") or b"") if image else b"")
            return exif
    with opened(data) as image:
        return image.getexif()


def _iso(time: Any, zone: Any, fraction: Any) -> str | None:
    found = _TIME.match(str(time or "").strip())
    if not found or found[1] == "0000" or found[2] == "00":
        return None  # cameras without a clock write zeros or blanks
    year, month, day, hour, minute, second = found.groups()
    digits = re.match(r"[0-9]{1,6}", str(fraction or "").strip())
    part = f".{digits[0]}" if digits else ""
    offset = _ZONE.fullmatch(str(zone or "").strip())
    return f"{year}-{month}-{day}T{hour}:{minute}:{second}{part}{offset[0] if offset else ''}"
