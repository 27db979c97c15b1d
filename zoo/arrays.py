"""What every floor above shares of arrays: types, strips of large ones, and 8 bits of 16."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

STRIP_PIXELS = 1 << 18
"""Pixels that are converted at once, which caches hold; a strip has whole rows."""


def strips(height: int, width: int, pixels: int = STRIP_PIXELS) -> Iterator[slice]:
    """The rows of an image in strips, from top to bottom, each of so many pixels at most."""
    rows = max(1, pixels // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def to_8_bits(values: npt.NDArray[Any]) -> UInt8Array:
    """Values of 8 or 16 bits in 8, rounded."""
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    result = np.empty(values.shape, np.uint8)
    for rows in strips(len(values), values.shape[1]):
        result[rows] = (values[rows].astype(np.uint32) + 128) // 257
    return result
