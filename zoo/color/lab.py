"""Colour spaces in torch, and the one home of their units, shapes and ranges.

========  ===========  ======================  =================================
plane     shape        range                   meaning
========  ===========  ======================  =================================
``rgb``   N×3×H×W      [0, 1]                  sRGB, gamma-encoded
``L``     N×1×H×W      [0, 100]                CIE lightness
``ab``    N×2×H×W      [−110, 110]             CIE chroma
``yuv``   N×3×H×W      Y [0, 1], U ±0.436,     BT.601 on gamma-encoded sRGB
                       V ±0.615
========  ===========  ======================  =================================

All are float32; `rgb_to_lab` and `grey_to_L` also take 8-bit values as they are, uint8, which is
faster. The white point is D65 for the 2° observer (CIE 15:2004); the transfer is
sRGB's (IEC 61966-2-1); matrix and white are those of `skimage.color`, with which both
directions agree within 0.01 over the whole 8-bit cube.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from zoo.errors import InputError

L_RANGE = (0.0, 100.0)
AB_RANGE = (-110.0, 110.0)
U_MAX, V_MAX = 0.436, 0.615

PLANES = {
    "L": "CIE L in [0, 100], D65, 2° observer",
    "ab": "CIE ab, D65, 2° observer",
    "rgb": "sRGB in [0, 1]",
}
"""What goes in and comes out of a network, in words that a file of weights records."""

_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_WHITE = (0.95047, 1.0, 1.08883)
_EPSILON = 0.008856  # CIE's threshold of the linear part of f, as rounded by skimage
_KAPPA = 7.787
_LUMA = (0.299, 0.587, 0.114)  # BT.601
_LINEAR_STEPS = 1 << 18


# Rows divided by the white point, so that f applies to the product directly.
_TO_XYZ = torch.tensor(_XYZ_FROM_RGB, dtype=torch.float64) / torch.tensor(
    _WHITE, dtype=torch.float64
).unsqueeze(1)
_RGB_TO_XYZ: list[list[float]] = _TO_XYZ.tolist()
_XYZ_TO_RGB: list[list[float]] = torch.linalg.inv(_TO_XYZ).tolist()


def _mix(matrix: list[list[float]], planes: Tensor) -> Tensor:
    # A sum of scaled planes rather than a convolution: exempt from TF32 and autocast, whose
    # ten bits of mantissa would cost whole units of a and b.
    return torch.stack(_mixed(matrix, planes.unbind(1)), dim=1)


def _mixed(matrix: list[list[float]], planes: Sequence[Tensor]) -> tuple[Tensor, ...]:
    x, y, z = planes
    return tuple((p * x).add_(y, alpha=q).add_(z, alpha=r) for p, q, r in matrix)


def _power(base: Tensor, exponent: float) -> Tensor:
    # For a positive base: as exact as `**` to 1e-7, in half the time on a CPU.
    return base.log().mul_(exponent).exp_()


@lru_cache(maxsize=8)
def _linear_bytes(device: torch.device) -> Tensor:
    return linearise(torch.arange(256, device="cpu").float() / 255).to(device)


@lru_cache(maxsize=8)
def _bytes_of_linear(device: torch.device) -> Tensor:
    linear = torch.arange(_LINEAR_STEPS + 1, device="cpu").double() / _LINEAR_STEPS
    return (gamma_encode(linear) * 255).round().to(device, torch.uint8)


@lru_cache(maxsize=8)
def _L_of_bytes(device: torch.device) -> Tensor:
    return 116 * _f(_linear_bytes(device)) - 16


def _look_up(table: Tensor, values: Tensor) -> Tensor:
    return table.index_select(0, values.flatten().int()).view(values.shape)


def linearise(rgb: Tensor) -> Tensor:
    """Undoes sRGB's transfer function, element by element, on values in [0, 1] or uint8."""
    if rgb.dtype == torch.uint8:
        return _look_up(_linear_bytes(rgb.device), rgb)
    return torch.where(
        rgb > 0.04045, _power((rgb.clamp_min(0.04045) + 0.055) / 1.055, 2.4), rgb / 12.92
    )


def gamma_encode(linear: Tensor) -> Tensor:
    """Applies sRGB's transfer function, element by element; negative values stay linear."""
    encoded = 1.055 * _power(linear.clamp_min(0.0031308), 1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, encoded, linear * 12.92)


def _f(t: Tensor) -> Tensor:
    return torch.where(t > _EPSILON, _power(t.clamp_min(_EPSILON), 1 / 3), _KAPPA * t + 16 / 116)


def _f_inverse(f: Tensor) -> Tensor:
    # Below the threshold a line goes on from the cube: t³ + (f − t)/κ with t = max(f, threshold).
    t = f.clamp_min(0.2068966)
    return (t**3).add_(f - t, alpha=1 / _KAPPA)


def rgb_to_lab(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """N×3×H×W sRGB, in [0, 1] or uint8, to (L, ab), on the tensor's device. Differentiable."""
    _check_planes("RGB", rgb, 3, or_bytes=True)
    f = _f(_mix(_RGB_TO_XYZ, linearise(rgb)))
    fx, fy, fz = f.unbind(1)
    L = 116 * fy - 16
    return L.unsqueeze(1), torch.stack((500 * (fx - fy), 200 * (fy - fz)), dim=1)


def lab_to_rgb(L: Tensor, ab: Tensor) -> Tensor:
    """(L, ab) to N×3×H×W sRGB, colours outside the gamut clipped to [0, 1]. Differentiable."""
    return gamma_encode(torch.stack(_lab_to_linear(L, ab), dim=1)).clamp(0, 1)


def lab_to_rgb8(L: Tensor, ab: Tensor) -> Tensor:
    """(L, ab) to N×3×H×W sRGB of 8 bits: `lab_to_rgb` rounded, in half the time on a CPU.

    The transfer function is looked up in 2¹⁸ steps of linear light: a value within a hundredth of
    the middle between two levels may become the other one. A pixel's three values lie side by
    side in memory, as in a picture.
    """
    table = _bytes_of_linear(L.device)
    planes = [
        _look_up(table, plane.mul_(_LINEAR_STEPS).add_(0.5).clamp_(0, _LINEAR_STEPS))
        for plane in _lab_to_linear(L, ab)
    ]
    return torch.stack(planes, dim=3).permute(0, 3, 1, 2)


def _lab_to_linear(L: Tensor, ab: Tensor) -> tuple[Tensor, ...]:
    """Red, green and blue as linear light, each N×H×W, not clipped."""
    _check_planes("L", L, 1)
    _check_planes("ab", ab, 2)
    fy = (L[:, 0] + 16).div_(116)
    fx = torch.add(fy, ab[:, 0], alpha=1 / 500)
    # skimage clips negative Z at the level of f; so do we, lest very blue colours differ.
    fz = torch.add(fy, ab[:, 1], alpha=-1 / 200).clamp_min_(0)
    return _mixed(_XYZ_TO_RGB, [_f_inverse(f) for f in (fx, fy, fz)])


def grey_to_L(grey: Tensor) -> Tensor:
    """N×1×H×W sRGB grey v, in [0, 1] or uint8, read as the colour (v, v, v), to CIE L."""
    _check_planes("grey", grey, 1, or_bytes=True)
    if grey.dtype == torch.uint8:
        return _look_up(_L_of_bytes(grey.device), grey)
    return 116 * _f(linearise(grey)) - 16


def L_to_grey(L: Tensor) -> Tensor:
    """CIE L to the sRGB grey v in [0, 1] that has this lightness: inverse of `grey_to_L`."""
    _check_planes("L", L, 1)
    return gamma_encode(_f_inverse((L + 16) / 116)).clamp(0, 1)


def rgb_to_grey(rgb: Tensor) -> Tensor:
    """N×3×H×W sRGB, in [0, 1] or uint8, to the sRGB grey v in [0, 1] of the same lightness.

    It is `L_to_grey` of its L, N×1×H×W, by way of the luminance: f and its inverse cancel out.
    """
    _check_planes("RGB", rgb, 3, or_bytes=True)
    red, green, blue = linearise(rgb).unbind(1)
    r, g, b = _RGB_TO_XYZ[1]
    return gamma_encode((red * r + green * g + blue * b).unsqueeze(1)).clamp(0, 1)


def rgb_to_yuv(rgb: Tensor) -> Tensor:
    """N×3×H×W sRGB in [0, 1] to BT.601 YUV."""
    _check_planes("RGB", rgb, 3)
    r, g, b = rgb.unbind(1)
    y = _LUMA[0] * r + _LUMA[1] * g + _LUMA[2] * b
    u = (b - y) * (U_MAX / (1 - _LUMA[2]))
    v = (r - y) * (V_MAX / (1 - _LUMA[0]))
    return torch.stack((y, u, v), dim=1)


def yuv_to_rgb(yuv: Tensor) -> Tensor:
    """BT.601 YUV to N×3×H×W sRGB, not clipped."""
    _check_planes("YUV", yuv, 3)
    y, u, v = yuv.unbind(1)
    r = y + v * ((1 - _LUMA[0]) / V_MAX)
    b = y + u * ((1 - _LUMA[2]) / U_MAX)
    g = (y - _LUMA[0] * r - _LUMA[2] * b) / _LUMA[1]
    return torch.stack((r, g, b), dim=1)


def uv_to_ab(L: Tensor, uv: Tensor) -> Tensor:
    """Chroma of the colour that joins N×2×H×W UV with the luma of the grey that has L.

    The lightness of that colour differs from L a little; callers put L back.
    """
    rgb = yuv_to_rgb(torch.cat((L_to_grey(L), uv), dim=1)).clamp(0, 1)
    return rgb_to_lab(rgb)[1]


def check_L(L: Tensor) -> Tensor:
    """Returns L if it is N×1×H×W float32 within [0, 100], else says what is wrong.

    Raises:
        InputError: with the shape or range seen and its likely cause.
    """
    _check_planes("L", L, 1)
    if L.dtype != torch.float32:
        raise InputError(f"L must be float32, got {L.dtype}; type L.float()")
    if L.numel() == 0:
        raise InputError(f"L is empty: shape {tuple(L.shape)}")
    low, high = (value.item() for value in torch.aminmax(L))
    if low != low or high != high:
        cause = "it holds NaN"
    elif math.isinf(low) or math.isinf(high):
        cause = "it holds infinity"
    elif high > 101:
        cause = "it looks like 8-bit grey; convert it with zoo.color.lab.grey_to_L(grey / 255)"
    elif low < L_RANGE[0] - 0.01:
        cause = "it looks centred; L is not (L − 50)"
    elif high > L_RANGE[1] + 0.01:
        cause = "it is a little lighter than white; clip it with L.clamp(0, 100)"
    # Eight bits have no more than four greys this dark: a black photograph is not refused.
    elif high <= 1.0 and torch.unique(L).numel() > 4:
        cause = "it looks scaled to [0, 1]; multiply by 100, or convert grey with "
        cause += "zoo.color.lab.grey_to_L"
    else:
        return L
    raise InputError(
        f"L must lie in [0, 100], got [{low:.4g}, {high:.4g}] in shape {tuple(L.shape)}: {cause}"
    )


def _check_planes(what: str, planes: Tensor, channels: int, *, or_bytes: bool = False) -> None:
    if planes.ndim != 4 or planes.shape[1] != channels:
        raise InputError(
            f"{what} must be N×{channels}×H×W, got shape {tuple(planes.shape)}"
            + ("; add the batch axis with [None]" if planes.ndim == 3 else "")
        )
    if not (planes.is_floating_point() or (or_bytes and planes.dtype == torch.uint8)):
        either = " or uint8" if or_bytes else ""
        raise InputError(f"{what} must be floating point{either}, got {planes.dtype}")
