"""ICC profiles, as far as lightness needs them: how light a grey or an RGB value is.

Pillow's colour management works on 8 bits a channel and does not take grey to sRGB grey. For a
photograph's lightness only the luminance Y counts, which profiles of grey scanners and of RGB
working spaces give in closed form: a tone curve per channel, and the weights of the channels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import ImageCms

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]

_HEADER, _ENTRY = 128, 12
_IDENTITY = 0.5 / 255  # a profile that changes no 8-bit value is none


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """The profile of sRGB, the same bytes every time."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # The date in it would make the files of two runs differ.
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


@lru_cache(maxsize=64)
def grey_table(profile: bytes, levels: int) -> npt.NDArray[np.uint16] | None:
    """For each of `levels` grey values the sRGB grey of the same lightness, in 16 bits.

    None where the profile is broken, not one of grey, or changes nothing worth a bit.
    """
    try:
        tags = _tags(profile)
        if profile[16:20] != b"GRAY":
            return None
        values = np.linspace(0, 1, levels)
        tone = _curve(tags[b"kTRC"])(values)
        # Where colours connect through Lab, the curve gives L* instead of Y.
        grey = grey_of_luminance(_luminance_of_L(tone) if profile[20:24] == b"Lab " else tone)
    except (KeyError, IndexError, ValueError, struct.error):
        return None
    if np.abs(grey - values).max() <= _IDENTITY:
        return None
    return (grey * 65535).round().astype(np.uint16)


@lru_cache(maxsize=64)
def rgb_curves(profile: bytes) -> tuple[tuple[Curve, float], ...] | None:
    """The tone curve of R, G and B and each one's share of Y; None where it is not so simple."""
    try:
        tags = _tags(profile)
        if profile[16:20] != b"RGB " or b"A2B0" in tags:
            return None
        shares = [
            struct.unpack(">i", tags[c + b"XYZ"][12:16])[0] / 65536 for c in (b"r", b"g", b"b")
        ]
        curves = [_curve(tags[c + b"TRC"]) for c in (b"r", b"g", b"b")]
    except (KeyError, IndexError, ValueError, struct.error):
        return None
    return tuple(zip(curves, (share / sum(shares) for share in shares), strict=True))


def grey_of_luminance(Y: Floats) -> Floats:
    """The sRGB grey in [0, 1] of luminance Y in [0, 1]."""
    Y = Y.clip(0, 1)
    return np.where(Y <= 0.0031308, Y * 12.92, 1.055 * Y ** (1 / 2.4) - 0.055).clip(0, 1)


def _luminance_of_L(share: Floats) -> Floats:
    f = (share * 100 + 16) / 116
    return np.where(f > 6 / 29, f**3, (f - 16 / 116) * 3 * (6 / 29) ** 2)


def _tags(profile: bytes) -> dict[bytes, bytes]:
    count = struct.unpack(">I", profile[_HEADER : _HEADER + 4])[0]
    if count > 100:
        raise ValueError("more tags than any profile has")
    tags = {}
    for i in range(count):
        start = _HEADER + 4 + _ENTRY * i
        name, offset, size = struct.unpack(">4sII", profile[start : start + _ENTRY])
        tags[name] = profile[offset : offset + size]
    return tags


def _curve(tag: bytes) -> Curve:
    """A tone curve of either kind that ICC.1 has: `curv` (10.6) or `para` (10.18)."""
    if tag[:4] == b"curv":
        count = struct.unpack(">I", tag[8:12])[0]
        points = np.frombuffer(tag[12 : 12 + 2 * count], ">u2").astype(np.float64)
        if len(points) != count:
            raise ValueError("a tone curve that is cut short")
        if count == 0:
            return lambda x: x
        if count == 1:
            gamma = points[0] / 256
            return lambda x: x**gamma
        return lambda x: np.interp(x, np.linspace(0, 1, count), points / 65535)
    if tag[:4] != b"para":
        raise ValueError(f"a tone curve of the unknown kind {tag[:4]!r}")
    kind = struct.unpack(">H", tag[8:10])[0]
    count = (1, 3, 4, 5, 7)[kind]
    given = [value / 65536 for value in struct.unpack(f">{count}i", tag[12 : 12 + 4 * count])]
    g, a, b, c, d, e, f = (given + [0.0] * 7)[:7]
    if kind == 0:
        a = 1.0
    elif kind in (1, 2):
        # Below −b/a the curve is constant: zero, or the fourth parameter.
        c, d, e, f = 0.0, -b / a, c, c
    return lambda x: np.where(x >= d, (a * x + b).clip(0) ** g + e, c * x + f)
