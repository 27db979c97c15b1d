"""ICC profiles, as far as lightness needs them: how light a grey or an RGB value is.

Pillow's colour management works on 8 bits a channel and does not take grey to sRGB grey. For a
photograph's lightness only the luminance Y counts, which profiles of grey scanners and of RGB
working spaces give in closed form: a tone curve per channel, and the weights of the channels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import ImageCms

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]

_HEADER, _ENTRY = 128, 12
_IDENTITY = 0.5 / 255  # a profile that changes no 8-bit value is none
# What parsing and computing raise where the numbers of a file make no sense.
_BROKEN = (LookupError, ValueError, ArithmeticError, struct.error)


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
    except _BROKEN:
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
        return tuple(zip(curves, [share / sum(shares) for share in shares], strict=True))
    except _BROKEN:
        return None


def declared_profile(chunks: Mapping[bytes, bytes], grey: bool) -> bytes:
    """The profile that the chunks of a PNG amount to; empty where they say no more than sRGB.

    As the standard says (PNG 3, 4.3), cICP counts before sRGB, and that before gAMA and cHRM.
    """
    curve = _SRGB_CURVE
    places: Sequence[float] = _PRIMARIES[1]
    code = chunks.get(b"cICP", b"")
    if len(code) == 4 and code[0] in _PRIMARIES and code[1] in _TRANSFERS:
        curve, places = _TRANSFERS[code[1]], _PRIMARIES[code[0]]
    elif b"sRGB" in chunks:
        return b""
    else:
        exponent = int.from_bytes(chunks.get(b"gAMA", b""), "big")
        if exponent and abs(exponent - 45455) > 2000:
            curve = _gamma_curve(100000 / exponent)
        if len(chunks.get(b"cHRM", b"")) == 32:
            values = struct.unpack(">8I", chunks[b"cHRM"])
            places = [value / 100000 for value in values]
    if grey:
        return b"" if curve is _SRGB_CURVE else _profile(b"GRAY", {b"kTRC": curve})
    if curve is _SRGB_CURVE and np.abs(np.subtract(places, _PRIMARIES[1])).max() < 0.005:
        return b""
    try:
        matrix = _to_d50(places)
        tags = {b"rgb"[i : i + 1] + b"XYZ": _xyz(matrix[:, i]) for i in range(3)}
    except _BROKEN:
        return b""
    tags |= {b"rgb"[i : i + 1] + b"TRC": curve for i in range(3)}
    return _profile(b"RGB ", tags)


def is_unknown(chunks: Mapping[bytes, bytes]) -> bool:
    """Whether a PNG's cICP names colours that `declared_profile` does not know, such as HDR."""
    code = chunks.get(b"cICP")
    return code is not None and (
        len(code) != 4 or code[0] not in _PRIMARIES or code[1] not in _TRANSFERS
    )


def _to_d50(places: Sequence[float]) -> Floats:
    """The XYZ of R, G and B as columns, adapted to D50 (ICC.1, annex E), from chromaticities."""
    white, *corners = (
        np.array([x / y, 1, (1 - x - y) / y])
        for x, y in zip(places[::2], places[1::2], strict=True)
    )
    primaries = np.stack(corners, axis=1)
    primaries = primaries * np.linalg.solve(primaries, white)
    cones = _BRADFORD @ np.stack([_D50, white], axis=1)
    adapted: Floats = (
        np.linalg.inv(_BRADFORD) @ np.diag(cones[:, 0] / cones[:, 1]) @ _BRADFORD @ primaries
    )
    return adapted


def _gamma_curve(exponent: float) -> bytes:
    return b"para" + bytes(4) + struct.pack(">HHi", 0, 0, round(min(exponent, 1000) * 65536))


def _xyz(values: Sequence[float] | Floats) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile of a display, of the least that one has."""
    tags = {b"wtpt": _xyz(_D50), **tags}
    table, body, offset = b"", b"", _HEADER + 4 + _ENTRY * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"", 0x04200000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28)
    head += struct.pack(">3i", *(round(value * 65536) for value in _D50))
    return head.ljust(_HEADER, b"\0") + struct.pack(">I", len(tags)) + table + body


# Names of curves and primaries by their codes (ITU-T H.273): white, red, green, blue, as x and y.
_SRGB_CURVE = (
    b"para"
    + bytes(4)
    + struct.pack(
        ">HH5i",
        3,
        0,
        *(round(value * 65536) for value in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
    )
)
_TRANSFERS = {
    **dict.fromkeys((1, 6, 13, 14, 15), _SRGB_CURVE),  # video is shown as sRGB is
    4: _gamma_curve(2.2),
    5: _gamma_curve(2.8),
    8: _gamma_curve(1.0),
}
_D65 = (0.3127, 0.3290)
_PRIMARIES = {
    1: (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_D50 = (0.9642, 1.0, 0.8249)
_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)


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
