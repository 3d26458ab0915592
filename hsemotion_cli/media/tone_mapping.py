"""HDR and wide-gamut colour -> the colour of an ordinary display (BT.709), which face models know.

Tone mapping is the EETF of Report ITU-R BT.2390 on luminance, red, green and blue being scaled alike, from HDR's
reference white (203 cd/m2, Report ITU-R BT.2408) to the 100 cd/m2 of an SDR display, after a fixed exposure. It needs
neither metadata nor other frames, so the colours of a frame depend on that frame alone. What is brighter than reference
white becomes white.

The exposure was chosen by measuring: a file does not say whether the white of SDR lies at 100 cd/m2 in it, where
converters put it, or at 203, where BT.2408 does. With 0.76, valence and arousal of 14 faces differ from those of the
same faces in SDR by at most 0.015 in the first case and 0.026 in the second. The grey card of BT.2408 (26 cd/m2 in HDR,
18 in SDR) asks for 0.69.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray

from ..domain import Image

METHOD = "the EETF of ITU-R BT.2390"

# Chromaticities of red, green and blue, all with the white point D65 (ITU-R BT.709-6, BT.2020-2, SMPTE EG 432-1).
_PRIMARIES = {
    "bt709": ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "smpte432": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)

WIDE = frozenset(_PRIMARIES) - {"bt709"}
"""Primaries that are converted to those of BT.709."""

_EXPOSURE = 0.76
_REFERENCE_WHITE, _SDR_WHITE = 203.0, 100.0  # cd/m2
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2  # cd/m2 and system gamma of the reference display, ITU-R BT.2100-2
_PQ_PEAK = 10_000.0  # cd/m2
_M1, _M2, _C1, _C2, _C3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128  # SMPTE ST 2084
_DISPLAY_GAMMA = 2.4  # ITU-R BT.1886 with a black level of 0

_STEPS = 1 << 16
_ROWS = 64  # converted together, so that what is computed stays in the processor's caches


def pq_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """EOTF of SMPTE ST 2084: signal in [0, 1] -> display light, 1 being 10,000 cd/m2."""
    power = signal ** (1 / _M2)
    return np.asarray((np.maximum(power - _C1, 0) / (_C2 - _C3 * power)) ** (1 / _M1))


def hlg_light(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse OETF of ARIB STD-B67: signal in [0, 1] -> scene light in [0, 1]."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def pq_signal(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse EOTF of SMPTE ST 2084."""
    power = light**_M1
    return np.asarray(((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2)


def tone_curve(luminance: NDArray[np.float64]) -> NDArray[np.float64]:
    """cd/m2 of HDR -> cd/m2 of SDR, by exposure and the EETF of BT.2390-11, 5.4.1, without lifted blacks."""
    peak, target = pq_signal(np.array((_EXPOSURE * _REFERENCE_WHITE, _SDR_WHITE)) / _PQ_PEAK)
    top = target / peak
    knee = 1.5 * top - 0.5
    signal = np.minimum(pq_signal(_EXPOSURE * luminance / _PQ_PEAK) / peak, 1)
    t = (signal - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    return pq_light(np.where(signal < knee, signal, spline) * peak) * _PQ_PEAK


class ToSdr:
    """Converts images of one kind of colour.

    Args:
        transfer: "smpte2084" (PQ), "arib-std-b67" (HLG), or anything else for SDR.
        primaries: of ``WIDE``; anything else counts as BT.709.
    """

    def __init__(self, transfer: str, primaries: str) -> None:
        own = _to_xyz(primaries if primaries in _PRIMARIES else "bt709")
        self._matrix = np.asarray(np.linalg.inv(_to_xyz("bt709")) @ own, np.float32)
        self._weights = np.asarray(own[1:2], np.float32)
        scale = np.linspace(0, 1, _STEPS)
        self._light, gain = _light_and_gain(transfer, scale)
        self._gain = None if gain is None else gain.astype(np.float32)
        self._signal = np.asarray(255 * scale ** (1 / _DISPLAY_GAMMA) + 0.5, np.uint8)

    def __call__(self, signal: NDArray[np.uint16]) -> Image:
        """(height, width, 3) non-linear RGB, full range of 16 bits -> the same as 8-bit BT.709."""
        image = np.empty(signal.shape, np.uint8)
        for top in range(0, len(signal), _ROWS):
            self._convert(signal[top : top + _ROWS], image[top : top + _ROWS])
        return image

    def _convert(self, signal: NDArray[np.uint16], out: Image) -> None:
        light = self._light[signal]
        converted = np.asarray(cv2.transform(light, self._matrix), np.float32)
        if self._gain is not None:
            luminance = np.asarray(cv2.transform(light, self._weights), np.float32).reshape(signal.shape[:2])
            converted *= self._gain[_index(luminance)][..., None]
        out[:] = self._signal[_index(converted)]


@functools.cache
def converter(transfer: str, primaries: str) -> ToSdr:
    """The converter of a kind, made once; its tables take half a megabyte."""
    return ToSdr(transfer, primaries)


def _index(light: NDArray[np.float32]) -> NDArray[np.intp]:
    """The table index of a linear value in [0, 1]; values outside are clipped."""
    return np.asarray(np.clip(light, 0, 1) * (_STEPS - 1) + 0.5, np.intp)


def _light_and_gain(
    transfer: str, scale: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float64] | None]:
    """Tables over [0, 1]: signal -> light, and luminance of that light -> factor to SDR light (1 is white)."""
    if transfer == "smpte2084":
        luminance = np.maximum(scale, 1e-9) * _PQ_PEAK
        return pq_light(scale).astype(np.float32), tone_curve(luminance) / luminance * _PQ_PEAK / _SDR_WHITE
    if transfer == "arib-std-b67":
        # From scene light to display light by the OOTF, which scales by a power of the luminance.
        scene = np.maximum(scale, 0.25 / _STEPS)
        luminance = _HLG_PEAK * scene**_HLG_GAMMA
        return hlg_light(scale).astype(np.float32), tone_curve(luminance) / scene / _SDR_WHITE
    return (scale**_DISPLAY_GAMMA).astype(np.float32), None


def _to_xyz(primaries: str) -> NDArray[np.float64]:
    """The matrix from linear RGB to XYZ, white having a luminance of 1 (SMPTE RP 177)."""
    columns = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (*_PRIMARIES[primaries], _D65)]).T
    return columns[:, :3] * np.linalg.solve(columns[:, :3], columns[:, 3])
