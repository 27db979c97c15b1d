"""The prior of training images, counted on the crops that a training sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from zoo.arrays import UInt8Array
from zoo.color.prior import check_counting, prior_of_ab
from zoo.color.soft_encoding import SoftEncoding
from zoo.training.budget import Budget
from zoo.training.feed import Feed


def prior_of_images(
    images: UInt8Array,
    size: int,
    *,
    neighbours: int = 5,
    sigma: float = 5.0,
    on_images: Callable[[int], None] | None = None,
) -> Tensor:
    """The prior of whole training images, each cropped to its centre; 313 float64, sums to 1.

    Args:
        images: N×S×S×3 uint8, sRGB.
        size: side of the crops in pixels; a multiple of 4.
        neighbours: bins with weight in a soft target.
        sigma: standard deviation of the soft encoding's Gaussian, in units of ab.
        on_images: called with the number of images done, for progress bars.

    Raises:
        InputError: no images, crops that do not fit them or the loss' grid, or an encoding that
            cannot be.
    """
    check_counting(size, neighbours, sigma)
    device = torch.device("cpu")
    # A feed, so that the crops are those that a colorizer counts by itself. Nothing is trained.
    feed = Feed(images, Budget.parse("1step"), batch_size=1, size=size, device=device)

    def planes() -> Iterator[Tensor]:
        done = 0
        for _, ab in feed.survey(limit=len(images)):
            yield ab
            done += len(ab)
            if on_images is not None:
                on_images(done)

    return prior_of_ab(planes(), SoftEncoding(neighbours, sigma, device))
