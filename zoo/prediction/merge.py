"""Chroma of a small plane, merged into the full lightness of a photograph, strip by strip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.color.lab import grey_to_L, lab_to_rgb, rgb_to_lab
from zoo.images.photograph import STRIP_PIXELS, Photograph, Plane

Pixels = npt.NDArray[Any]
"""Rows×width×channels, uint8 or uint16."""


def coloured_strips(
    photograph: Photograph,
    ab: Tensor,
    *,
    bits: int,
    alpha: bool,
    saturation: float = 1.0,
    compare: bool = False,
    strip_pixels: int = STRIP_PIXELS,
) -> Iterator[Pixels]:
    """The photograph in colour, from top to bottom: rows×width×3, or ×4 with alpha.

    Args:
        photograph: gives the lightness, which is left as it is.
        ab: 2×h×w chroma of the whole photograph, enlarged bilinearly (align_corners=False).
        bits: 8 or 16 per channel of the result.
        alpha: put the photograph's transparency in.
        saturation: what ab is multiplied by.
        compare: grey on the left, colour on the right, twice as wide.
        strip_pixels: the result does not depend on it.
    """
    height, width = photograph.size
    rows = max(1, strip_pixels // width)
    # By the rounding of the standard's matrices greys have an ab of some thousandths, in
    # proportion to L + 16. Counted from there, no chroma gives the grey back in 16 bits, too.
    white = rgb_to_lab(torch.ones(1, 3, 1, 1))[1]
    ab = ab[None].float() * saturation
    for top in range(0, height, rows):
        part = slice(top, min(top + rows, height))
        stored = photograph.grey[part]
        grey = torch.from_numpy(stored.astype(np.float32))[None, None]
        grey /= 255 if stored.dtype == np.uint8 else 65535
        L = grey_to_L(grey)
        chroma = enlarged_rows(ab, part, height, width) + white * ((L + 16) / 116)
        colour = _quantise(lab_to_rgb(L, chroma), bits)
        if compare:
            colour = np.concatenate((_quantise(grey.expand(1, 3, -1, -1), bits), colour), axis=1)
        if alpha:
            assert photograph.alpha is not None
            layer = _to_bits(photograph.alpha[part], bits)
            layer = np.concatenate((layer, layer), axis=1) if compare else layer
            colour = np.concatenate((colour, layer[:, :, None]), axis=2)
        yield colour


def enlarged_rows(plane: Tensor, rows: slice, height: int, width: int) -> Tensor:
    """These rows of 1×C×h×w enlarged bilinearly to height×width, without the others."""
    source = plane.shape[2]
    place = (torch.arange(rows.start, rows.stop, dtype=torch.float64) + 0.5) * (source / height)
    place = (place - 0.5).clamp(0, source - 1)
    upper = place.floor().long()
    lower = (upper + 1).clamp_max(source - 1)
    share = (place - upper)[:, None].float()
    lines = plane[:, :, upper] * (1 - share) + plane[:, :, lower] * share
    return F.interpolate(lines, size=(lines.shape[2], width), mode="bilinear", align_corners=False)


def _quantise(rgb: Tensor, bits: int) -> Pixels:
    # numpy, since torch has few operations on 16-bit integers.
    values = rgb[0].mul(255 if bits == 8 else 65535).round_().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(values.astype(np.uint8 if bits == 8 else np.uint16))


def _to_bits(plane: Plane, bits: int) -> Pixels:
    if bits == 16:
        return plane.astype(np.uint16) * (257 if plane.dtype == np.uint8 else 1)
    if plane.dtype == np.uint8:
        return plane
    return ((plane.astype(np.uint32) + 128) // 257).astype(np.uint8)
