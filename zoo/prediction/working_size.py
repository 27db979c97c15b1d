"""The working size: how large a network sees a photograph, in pixels of the short side.

Of a method that squashes photographs it is the size of both sides.
"""

from __future__ import annotations

import operator
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.arrays import STRIP_PIXELS, to_8_bits
from zoo.color.lab import grey_to_L
from zoo.device import is_traced
from zoo.errors import OptionError
from zoo.images.photograph import Plane

WorkingSize = int | Literal["auto", "full"]
"""Pixels of the short side, the size that suits the weights, or the photograph's own."""

SMALLEST_WORKING_SIZE = 64
"""No smaller size is chosen: below, the chroma of a photograph is too coarse."""

DEFAULT_WORKING_SIZE = 256
"""The working size of weights that do not say at which size they were trained."""

_LEAST, _MOST = 8, 4096

Size = tuple[int, int]
"""Height and width in pixels."""


def check_working_size(size: Any) -> None:
    """Checks that a working size is `auto`, `full`, or a number of pixels that makes sense.

    Raises:
        OptionError: anything else.
    """
    if isinstance(size, str):
        known = size in ("auto", "full")
    else:
        try:
            known = _LEAST <= operator.index(size) <= _MOST  # NumPy's whole numbers are no int
        except TypeError:
            known = False
    if known:
        return
    raise OptionError(
        f"the working size must lie in {_LEAST} … {_MOST} px, or be auto or full, got {size}; "
        f"try {DEFAULT_WORKING_SIZE}"
    )


def suited_working_size(declared: int | None, trained: int | None) -> int:
    """The short side at which a network sees things as large as it learnt them.

    Twice that size already gives patches of colour where it knew whole objects.

    Args:
        declared: what the method asks for, `Info.working_size`.
        trained: side of the crops that the weights were trained on.
    """
    if declared is not None:
        return declared
    return max(SMALLEST_WORKING_SIZE, DEFAULT_WORKING_SIZE if trained is None else trained)


def seen_size(size: Size, working_size: int | None, *, squashed: bool = False) -> Size:
    """The size at which an image is seen, never enlarged; None: its own.

    Its short side is as told, or both sides are where it is `squashed`, see `Info.squashed`.
    """
    if working_size is None:
        return size
    if squashed:
        return min(size[0], working_size), min(size[1], working_size)
    scale = min(1.0, working_size / min(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def seen_lightness(grey: Plane, seen: Size, padded: Size) -> Tensor:
    """H×W L of grey as the network sees it: resized to `seen`, its edges padded to `padded`."""
    # A tensor cannot share an array that is read-only or runs backwards.
    plane = torch.from_numpy(np.require(to_8_bits(grey), requirements=("C", "W")))[None, None]
    L = grey_to_L(plane if grey.shape == seen else resized(plane, seen))
    return pad_edges(L, padded)[0, 0]


def resized(planes: Tensor, size: Size) -> Tensor:
    """N×1×H×W grey of 8 bits at another size, in [0, 1], by a bicubic kernel with antialiasing.

    It is the one resize of `predict`, `zoo colorize` and exported files alike.
    """
    # Lines first, some at a time: the whole of a large photograph in float32 would be 4 bytes a
    # pixel. An exported graph takes them at once, as their number would be that of its example.
    lines = max(1, STRIP_PIXELS // planes.shape[3])
    parts = [planes] if is_traced() else torch.split(planes, lines, dim=2)
    narrow = torch.cat([_bicubic(part.float(), (part.shape[2], size[1])) for part in parts], dim=2)
    return (_bicubic(narrow, size) / 255).clamp(0, 1)


def _bicubic(planes: Tensor, size: Size) -> Tensor:
    return F.interpolate(planes, size, mode="bicubic", align_corners=False, antialias=True)


def pad_edges(planes: Tensor, size: Size) -> Tensor:
    """…×H×W padded below and on the right to `size`, by repeating the last row and column."""
    for axis, (side, wanted) in enumerate(zip(planes.shape[-2:], size, strict=True), start=-2):
        # An exported graph may be given any size: it always pads, if only by nothing.
        if is_traced() or side < wanted:
            places = torch.arange(wanted, device=planes.device).clamp_max(side - 1)
            planes = planes.index_select(axis, places)
    return planes
