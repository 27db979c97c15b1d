"""Chroma of a small plane, merged into the full lightness of a photograph, strip by strip."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.arrays import STRIP_PIXELS, UInt8Array, strips, to_8_bits
from zoo.color.lab import grey_to_L, lab_to_rgb, lab_to_rgb8, rgb_to_lab
from zoo.images.photograph import Photograph, Plane

Pixels = npt.NDArray[Any]
"""The pixels of a strip: …rows×width×channels, uint8 or uint16."""

_STRIPS_AHEAD = 4


def coloured_images(
    planes: Sequence[Plane], ab: Tensor, strip_pixels: int = STRIP_PIXELS
) -> UInt8Array:
    """Photographs of one size and depth in colour, N×H×W×3; the merge runs on the device of ab.

    Args:
        planes: the lightness of each as sRGB grey, H×W.
        ab: N×2×h×w chroma of the whole photographs.
        strip_pixels: how many are merged at once; the result does not depend on it.
    """
    height, width = planes[0].shape
    colours = np.empty((len(planes), height, width, 3), np.uint8)
    for rows in strips(height, len(planes) * width, strip_pixels):
        greys = np.stack([plane[rows] for plane in planes])
        colours[:, rows] = _merged(greys, ab, rows, height, bits=8)
    return colours


def coloured_strips(
    photograph: Photograph,
    ab: Tensor,
    *,
    bits: int,
    alpha: bool,
    saturation: float = 1.0,
    compare: bool = False,
    strip_pixels: int = STRIP_PIXELS,
    pool: ThreadPoolExecutor | None = None,
) -> Iterator[Pixels]:
    """The photograph in colour, from top to bottom: rows×width×3, or ×4 with alpha.

    Args:
        photograph: gives the lightness, which is left as it is.
        ab: 2×h×w chroma of the whole photograph, enlarged bilinearly (align_corners=False).
        bits: 8 or 16 per channel of the result.
        alpha: whether to put the photograph's transparency in.
        saturation: what ab is multiplied by.
        compare: whether to put grey on the left and colour on the right, twice as wide.
        strip_pixels: how many are merged at once; the result does not depend on it.
        pool: threads that merge the next strips meanwhile; None for the calling thread alone.
    """
    height, width = photograph.size
    ab = ab[None].float() * saturation

    def coloured(rows: slice) -> Pixels:
        grey = photograph.grey[rows]
        colour: Pixels = _merged(grey[None], ab, rows, height, bits)[0]
        if compare:
            uncoloured = np.repeat(_to_bits(grey, bits)[:, :, None], 3, axis=2)
            colour = np.concatenate((uncoloured, colour), axis=1)
        if alpha:
            assert photograph.alpha is not None
            layer = _to_bits(photograph.alpha[rows], bits)
            layer = np.concatenate((layer, layer), axis=1) if compare else layer
            colour = np.concatenate((colour, layer[:, :, None]), axis=2)
        return colour

    parts = strips(height, width, strip_pixels)
    return map(coloured, parts) if pool is None else _in_order(pool, coloured, parts)


def enlarged_rows(plane: Tensor, rows: slice, height: int, width: int) -> Tensor:
    """Some rows of N×C×h×w planes enlarged bilinearly to height×width, without the others."""
    source = plane.shape[2]
    if tuple(plane.shape[2:]) == (height, width):
        return plane[:, :, rows]
    # Where each row lies is counted in float64, which not every device has.
    place = torch.arange(rows.start, rows.stop, dtype=torch.float64, device="cpu") + 0.5
    place = (place * (source / height) - 0.5).clamp(0, source - 1)
    upper = place.floor().long()
    lower = (upper + 1).clamp_max(source - 1)
    share = (place - upper)[:, None].float().to(plane.device)
    lines = plane[:, :, upper] * (1 - share) + plane[:, :, lower] * share
    # As rows of no height: in two dimensions, each would be mixed with itself once more.
    wide = F.interpolate(lines.flatten(1, 2), width, mode="linear", align_corners=False)
    return wide.view(*lines.shape[:3], width)


def merged(L: Tensor, ab: Tensor, bits: int) -> Tensor:
    """The sRGB of N×1×H×W L and N×2×H×W ab in 8 or 16 bits: N×H×W×3, uint8 or float32."""
    ab = torch.addcmul(ab, _chroma_of_white(ab.device), L + 16, value=1 / 116)
    rgb = lab_to_rgb8(L, ab) if bits == 8 else lab_to_rgb(L, ab).mul_(65535).round_()
    return rgb.permute(0, 2, 3, 1)


def _merged(grey: npt.NDArray[Any], ab: Tensor, rows: slice, height: int, bits: int) -> Pixels:
    """Some rows in colour: N×rows×width×3 of N×rows×width grey and the whole of ab."""
    # 8 bits as they are: their lightness is looked up.
    stored = grey if grey.dtype == np.uint8 else grey.astype(np.float32) / 65535
    L = grey_to_L(torch.from_numpy(stored).unsqueeze(1).to(ab.device))
    chroma = enlarged_rows(ab, rows, height, grey.shape[2])
    pixels: Pixels = merged(L, chroma, bits).cpu().numpy()
    # In numpy, since torch has few operations on 16-bit integers.
    return pixels if bits == 8 else np.ascontiguousarray(pixels.astype(np.uint16))


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[slice], Pixels], parts: Iterable[slice]
) -> Iterator[Pixels]:
    """The results in the order of the parts; a few are worked out ahead of the one asked for."""
    waiting: deque[Future[Pixels]] = deque()
    for part in parts:
        waiting.append(pool.submit(work, part))
        if len(waiting) > _STRIPS_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@lru_cache(maxsize=8)
def _chroma_of_white(device: torch.device) -> Tensor:
    # By the rounding of the standard's matrices greys have an ab of some thousandths, in
    # proportion to L + 16. Counted from there, no chroma gives the grey back in 16 bits, too.
    return rgb_to_lab(torch.ones(1, 3, 1, 1, device="cpu"))[1].to(device)


def _to_bits(plane: Plane, bits: int) -> Pixels:
    if bits == 16:
        return plane.astype(np.uint16) * (257 if plane.dtype == np.uint8 else 1)
    return to_8_bits(plane)
