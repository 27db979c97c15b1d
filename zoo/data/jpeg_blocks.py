"""Whether training images carry the grid of JPEG's blocks, which a network learns as the world.

Images that were compressed at the very size of the training have edges every eight pixels. A
network that is taught on them takes these for a part of every photograph, and paints clean ones
worse than grey. Larger files lose their grid when they are reduced to the size of the training;
strongly compressed ones that are merely halved keep some of it, and are noticed, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zoo.arrays import UInt8Array
from zoo.data.dataset import ImageSet

_BLOCK = 8
_CONTROLS = (7, 9)
"""Other spacings, at which no codec leaves edges: what chance makes of a picture's own edges."""

_MOST_IMAGES, _MOST_PIXELS, _CHUNK_PIXELS = 512, 1 << 22, 1 << 18

# Measured: 0.012 and more on JPEG of quality 75 and less, at most 0.003 on resized photographs.
_LEAST_EXCESS, _LEAST_DEVIATIONS = 0.007, 4.0


@dataclass(frozen=True)
class BlockEdges:
    """How much more frequent edges are every eight pixels than elsewhere.

    Attributes:
        excess: the share of pixels on the border of a block with an edge there, less that at
            the next best offset, and less what chance makes of it at other spacings; mean over
            images.
        deviations: the same in standard errors of that mean.
    """

    excess: float
    deviations: float

    @property
    def found(self) -> bool:
        """Whether the images carry a grid that a network can learn."""
        return self.excess > _LEAST_EXCESS and self.deviations > _LEAST_DEVIATIONS


def block_edges(images: UInt8Array) -> BlockEdges:
    """Measures images N×H×W×3 uint8, the grid of each wherever it lies: at all eight offsets.

    An edge is where the step from a pixel to the next is larger than the mean of the steps
    before and behind it. The strength of steps does not count, so that neither a strong edge of
    the picture nor its noise looks like a block's.
    """
    height, width = images.shape[1:3]
    if min(height, width) < 4 * _BLOCK or len(images) < 2:
        return BlockEdges(0.0, 0.0)
    count = max(1, _CHUNK_PIXELS // (height * width))
    parts = [_excess(images[start : start + count]) for start in range(0, len(images), count)]
    each = np.concatenate(parts)
    error = float(each.std(ddof=1)) / len(each) ** 0.5
    excess = float(each.mean())
    return BlockEdges(excess, excess / error if error else np.inf * excess if excess else 0.0)


def block_note(images: ImageSet) -> str:
    """What a person should know of training images that carry a grid; empty for all others.

    A sample of them is looked at, spread over the set.
    """
    most = max(2, min(_MOST_IMAGES, _MOST_PIXELS // images.size**2))
    found = block_edges(images.spread(most).images)
    if not found.found:
        return ""
    return (
        "the images carry the grid of JPEG's blocks, as files do that are no larger than the "
        f"training (edges every 8 px are {found.excess:.1%} more frequent): a network learns it, "
        "and may paint photographs without it badly; train with input_variety on, or on larger "
        "originals, and see zoo bench --conditions all."
    )


def _excess(images: UInt8Array) -> npt.NDArray[np.float64]:
    """N values: the mean over both directions of what `BlockEdges.excess` is the mean of."""
    # BT.601 in thousandths, as integers: ties stay ties.
    luma = images.astype(np.int32) @ np.array([299, 587, 114], dtype=np.int32)
    both = [_along(luma), _along(luma.transpose(0, 2, 1))]
    found: npt.NDArray[np.float64] = np.mean(both, axis=0)
    return found


def _along(luma: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    steps = np.abs(np.diff(luma, axis=2))
    edges = 2 * steps[:, :, 1:-1] > steps[:, :, :-2] + steps[:, :, 2:]
    shares = edges.mean(axis=1)
    control = np.mean([_most_at(shares, spacing) for spacing in _CONTROLS], axis=0)
    found: npt.NDArray[np.float64] = _most_at(shares, _BLOCK) - control
    return found


def _most_at(shares: npt.NDArray[np.float64], spacing: int) -> npt.NDArray[np.float64]:
    """N×positions to N: the share at the best offset of a grid less that at the second best.

    Blocks that were reduced to a third have edges at three of the eight offsets; such grids are
    weak, and are none of eight pixels.
    """
    offsets = np.arange(shares.shape[1]) % spacing
    means = np.stack([shares[:, offsets == k].mean(axis=1) for k in range(spacing)])
    second, best = np.partition(means, -2, axis=0)[-2:]
    most: npt.NDArray[np.float64] = best - second
    return most
