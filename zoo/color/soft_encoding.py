"""Soft encoding of ab over the 313 bins, the loss on it, and decoding by the annealed mean.

A pixel's target has weight on its few nearest bins alone (Zhang 2016, section 2.1), so it is
held as (index, weight) pairs: the 313-channel target is never built.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.color.bins import BIN_COUNT, bin_centres
from zoo.color.lab import AB_RANGE
from zoo.device import is_traced
from zoo.options import Options, option

_CELLS = int(AB_RANGE[1] - AB_RANGE[0])

# So many pixels' probabilities fit a CPU's caches. Those of a whole batch would also be memory
# that the system hands out page by page, and takes back, in every step.
_PIXELS_AT_ONCE = 2048


@dataclass(frozen=True)
class SoftTarget:
    """A soft target: bins and their weights, nearest first.

    Attributes:
        index: the bins, N×K×H×W int64.
        weight: their weights, N×K×H×W, summing to 1 over K.
    """

    index: Tensor
    weight: Tensor


@dataclass(frozen=True)
class BinOptions(Options):
    """Options of a plugin that classifies over the bins."""

    temperature: float = option(
        0.38, "T of the annealed mean, eq. 5; 0 is the mode, 1 the mean", least=0, most=1
    )
    neighbours: int = option(
        5,
        "bins with weight in a soft target (5; the released Caffe layer has 10)",
        least=1,
        most=BIN_COUNT,
    )
    sigma: float = option(
        5.0, "standard deviation of the soft encoding's Gaussian, in units of ab", above=0
    )


@lru_cache(maxsize=4)
def candidate_table(neighbours: int) -> Tensor:
    """For every 1×1 cell of the ab plane, all bins that can be among its `neighbours` nearest.

    The difference of two squared distances is linear in the point, so a bin is farther than
    another on the whole cell if it is at the cell's four corners. A bin is a candidate unless
    `neighbours` others beat it that way: a superset of what can occur, found exhaustively.

    Returns:
        Cells×K int64, cells in rows of a, then b, from −110 on; bins ascending, padded with
        `BIN_COUNT`.
    """
    centres = bin_centres().double()
    corner = torch.arange(_CELLS + 1, dtype=torch.float64, device="cpu") + AB_RANGE[0]
    bins = torch.arange(BIN_COUNT, device="cpu")
    far = torch.full((_CELLS, 4, 1), torch.inf, device="cpu")
    rows = []
    for row in range(_CELLS):
        a = corner[row : row + 2].repeat_interleave(2)  # the corners' a: low, low, high, high
        b = torch.stack((corner[:-1], corner[1:], corner[:-1], corner[1:]), dim=1)
        distance = (a[None, :, None] - centres[:, 0]) ** 2 + (b[:, :, None] - centres[:, 1]) ** 2
        # Only bins near the cell can matter; the bound is the triangle inequality's.
        nearest, farthest = distance.amin(1).sqrt(), distance.amax(1).sqrt()
        bound = farthest.kthvalue(neighbours, dim=1, keepdim=True).values + 2**0.5
        near = nearest <= bound
        width = int(near.sum(1).max())
        index = torch.where(near, bins, BIN_COUNT).sort(1).values[:, :width]
        padded = torch.cat((distance, far), dim=2)
        local = padded.gather(2, index[:, None].expand(-1, 4, -1))
        beaten_by = (local[:, :, :, None] > local[:, :, None, :]).all(1).sum(2)
        rows.append(torch.where(beaten_by < neighbours, index, BIN_COUNT).sort(1).values)
    most = max(int((row < BIN_COUNT).sum(1).max()) for row in rows)
    padded_rows = [F.pad(row, (0, max(0, most - row.shape[1])), value=BIN_COUNT) for row in rows]
    return torch.cat([row[:, :most] for row in padded_rows])


class SoftEncoding:
    """The soft encoding: weights of the nearest bins under a Gaussian, normalised to 1.

    Args:
        neighbours: bins per pixel; 5 in the paper, 10 in its released Caffe layer.
        sigma: the Gaussian's standard deviation in units of ab.
        device: where ab will be.
    """

    def __init__(self, neighbours: int, sigma: float, device: torch.device) -> None:
        self._neighbours, self._sigma = neighbours, sigma
        # The padding bin lies out of everyone's reach.
        far = torch.full((1, 2), 1e6, device="cpu")
        self._centres = torch.cat((bin_centres(), far)).to(device)

    @cached_property
    def _candidates(self) -> Tensor:
        # Made for the first colours: who only decodes does without.
        return candidate_table(self._neighbours).to(self._centres.device)

    def __call__(self, ab: Tensor) -> SoftTarget:
        """N×2×H×W ab, not rounded, to its soft target. Ties go to the lowest bin."""
        points = ab.movedim(1, -1)
        low, high = AB_RANGE
        cell = (points.clamp(low, high - 1e-3) - low).floor().long()
        bins = self._candidates[cell[..., 0] * _CELLS + cell[..., 1]]
        centres = self._centres.to(ab.dtype)[bins]
        distance = (points.unsqueeze(-2) - centres).square().sum(-1)
        # Stable, on ascending bins: of equally near ones the lowest comes first.
        distance, order = distance.sort(stable=True, dim=-1)
        nearest = distance[..., : self._neighbours]
        weight = torch.softmax(nearest / (-2 * self._sigma**2), dim=-1)
        index = bins.gather(-1, order[..., : self._neighbours])
        return SoftTarget(index.movedim(-1, 1), weight.movedim(-1, 1))


def soft_cross_entropy(logits: Tensor, target: SoftTarget, class_weights: Tensor) -> Tensor:
    """The cross-entropy against a soft target, each pixel times its colour's weight; eq. 2.

    Args:
        logits: N×313×H×W.
        target: soft targets of the same pixels.
        class_weights: 313 float32; the weight of a pixel is that of its nearest bin.

    Returns:
        The sum over the pixels divided by their number, not by the sum of their weights.
    """
    # The nearest bin has the largest weight.
    weight = target.weight * class_weights[target.index[:, :1]]
    axis = _class_axis(logits)
    log_likelihoods = []
    for some, index, shares in _some_pixels_at_a_time(axis, logits, target.index, weight):
        log_probability = F.log_softmax(some, dim=axis, dtype=torch.float32)
        log_likelihoods.append((shares * log_probability.gather(axis, index)).sum())
    return -torch.stack(log_likelihoods).sum() / target.index[:, 0].numel()


def _class_axis(logits: Tensor) -> int:
    # Where the classes of a pixel lie side by side in memory (channels-last), a softmax along
    # the last axis reads them once; along axis 1 PyTorch would copy all of them first.
    channels_last = logits.is_contiguous(memory_format=torch.channels_last)
    return -1 if channels_last and not logits.is_contiguous() else 1


def _some_pixels_at_a_time(axis: int, *planes: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Planes N×K×H×W of the same pixels in pieces, with K moved to `axis`.

    The pieces are pixels×K for axis −1 and images×K×pixels for axis 1, in order.
    """
    pixels = planes[0][:, 0].numel()
    # An exported graph takes all at once: the number of pieces would be that of its example.
    at_once = planes[0].device.type != "cpu" or is_traced()
    parts = 1 if at_once else -(-pixels // _PIXELS_AT_ONCE)
    beside = (0, 2) if axis == -1 else (2, 3)
    moved = [plane.movedim(1, axis).flatten(*beside) for plane in planes]
    # Chunks rather than slices, each of which would get a gradient as large as the whole.
    return zip(*(plane.chunk(parts) for plane in moved), strict=True)


@lru_cache(maxsize=8)
def _centres_on(device: torch.device) -> Tensor:
    # 2×313. Copied once, not in every step: a copy from the host would stall a GPU's queue.
    return bin_centres().T.contiguous().to(device)


def annealed_mean(logits: Tensor, temperature: float, centres: Tensor | None = None) -> Tensor:
    """N×313×H×W logits to N×2×H×W ab: the mean of z^(1/T)/Σz^(1/T) (Zhang 2016, eq. 5).

    Args:
        logits: N×313×H×W, a channel for each bin.
        temperature: 1 is the mean, 0 the mode.
        centres: 2×313 ab to use for the bins; their own where None.
    """
    centres = _centres_on(logits.device) if centres is None else centres
    if temperature == 0:
        return centres.T[logits.argmax(1)].movedim(-1, 1)
    # In float32 whatever the surroundings: bf16 would round ab to whole units.
    with torch.autocast(logits.device.type, enabled=False):
        axis = _class_axis(logits)
        means = []
        for (some,) in _some_pixels_at_a_time(axis, logits):
            probability = torch.softmax(some.float() / temperature, dim=axis)
            # Both ways the classes are read as they lie; a product with 313×2 is far slower.
            mean = F.linear(probability, centres) if axis == -1 else centres @ probability
            means.append(mean)
        height, width = logits.shape[2:]
        shape = (-1, height, width, 2) if axis == -1 else (-1, 2, height, width)
        return torch.cat(means).view(shape).movedim(axis, 1)
