"""The 313 in-gamut ab bins of Zhang, Isola and Efros (ECCV 2016, section 2.2), and their home.

Bin centres lie on a grid of step 10 in the ab plane, sorted by a, then by b. A bin's index is
the channel of a classifier's logits.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from zoo.errors import InputError

GRID = 10
"""Step of the grid, in CIE Lab units."""

BIN_COUNT = 313
"""The number of bins; Q of the paper."""

# For each a of the grid the first and the last b, both inclusive.
_RUNS: dict[int, tuple[int, int]] = {
    -90: (50, 90),
    -80: (20, 90),
    -70: (0, 90),
    -60: (-20, 90),
    -50: (-30, 100),
    -40: (-40, 100),
    -30: (-50, 100),
    -20: (-50, 100),
    -10: (-60, 100),
    0: (-70, 100),
    10: (-80, 90),
    20: (-80, 90),
    30: (-90, 90),
    40: (-100, 90),
    50: (-100, 80),
    60: (-110, 80),
    70: (-110, 80),
    80: (-110, 70),
    90: (-110, 70),
    100: (-90, 0),
}

_FALLBACK_CHUNK = 1 << 14
"""Pixels compared with all bins at a time: 16,384 × 313 float32 distances are 20 MiB."""

_OUTSIDE = -1


def bin_centres() -> Tensor:
    """The bins' centres, 313×2 float32 (a, b) on the CPU; a fresh copy, free to be changed."""
    return _centres().clone()


def nearest_bin(ab: Tensor) -> Tensor:
    """The index of the nearest bin: N×2×H×W chroma to N×H×W int64, on the tensor's device.

    Distances are Euclidean and taken from the unrounded ab; ties go to the lowest index.

    Raises:
        InputError: ab is not N×2×H×W floating point.
    """
    if ab.ndim != 4 or ab.shape[1] != 2 or not ab.is_floating_point():
        raise InputError(
            f"ab must be N×2×H×W floating point, got {ab.dtype} of shape {tuple(ab.shape)}"
        )
    ab = ab.detach().float()
    table, first_a, first_b = _grid_table()
    # Halves round down, which is the lower index on either axis. The nearest point of the
    # whole grid is the nearest bin wherever it is a bin itself, which in photographs it mostly is.
    steps = torch.ceil(ab / GRID - 0.5).long()
    row = (steps[:, 0] - first_a).clamp_(0, table.shape[0] - 1)
    column = (steps[:, 1] - first_b).clamp_(0, table.shape[1] - 1)
    index = table.to(ab.device)[row, column]
    outside = index == _OUTSIDE
    if outside.any():
        index[outside] = _nearest_of_all(ab.movedim(1, -1)[outside])
    return index


def _nearest_of_all(points: Tensor) -> Tensor:
    """The nearest bin of each point: P×2 to P indices, by comparing each with all bins."""
    centres = _centres().to(points.device)
    # Not torch.cdist: it may expand the square into a product and lose the ties.
    return torch.cat(
        [
            ((part[:, :1] - centres[:, 0]) ** 2 + (part[:, 1:] - centres[:, 1]) ** 2).argmin(1)
            for part in torch.split(points, _FALLBACK_CHUNK)
        ]
    )


@cache
def _centres() -> Tensor:
    points = [(a, b) for a, (low, high) in _RUNS.items() for b in range(low, high + 1, GRID)]
    assert len(points) == BIN_COUNT
    return torch.tensor(points, dtype=torch.float32, device="cpu")


@cache
def _grid_table() -> tuple[Tensor, int, int]:
    """The bin's index by grid step of a and b, and the steps of its first row and column.

    A border of points that are no bins surrounds it, where all that lies beyond is clamped to.
    """
    steps = (_centres() / GRID).round().long()
    low, high = steps.amin(0) - 1, steps.amax(0) + 1
    rows, columns = (high - low + 1).tolist()
    table = torch.full((rows, columns), _OUTSIDE, dtype=torch.int64, device="cpu")
    table[steps[:, 0] - low[0], steps[:, 1] - low[1]] = torch.arange(BIN_COUNT, device="cpu")
    return table, int(low[0]), int(low[1])
