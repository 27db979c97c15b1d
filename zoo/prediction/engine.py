"""The engine of predictions, from grey planes to colour, for `predict` and `zoo colorize`.

A photograph is shown to the network at its working size, padded to the sides that it takes, in
batches of one shape; its chroma is merged into the lightness at full size.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from zoo.arrays import UInt8Array
from zoo.device import casting_once
from zoo.images.photograph import Plane
from zoo.prediction.batch_size import Batches, BatchSize
from zoo.prediction.merge import coloured_images
from zoo.prediction.working_size import (
    Size,
    WorkingSize,
    check_working_size,
    seen_lightness,
    seen_size,
)

if TYPE_CHECKING:
    from zoo.colorizer import Colorizer


def pixels_of_short_side(colorizer: Colorizer, working_size: WorkingSize) -> int | None:
    """The short side in pixels that the network sees at most; None for any.

    Raises:
        OptionError: no such working size.
    """
    check_working_size(working_size)
    if working_size == "full":
        return None
    return colorizer.working_size if working_size == "auto" else operator.index(working_size)


def padded_size(colorizer: Colorizer, size: Size) -> Size:
    """The size that an image of `size` is padded to for the network."""
    return colorizer.padded_side(size[0]), colorizer.padded_side(size[1])


def as_seen(colorizer: Colorizer, plane: Plane, short: int | None) -> tuple[Tensor, Size]:
    """H×W L of a grey plane as the network sees it, padded; and its size without the padding."""
    size = seen_size(plane.shape, short, squashed=colorizer.info.squashed)
    return seen_lightness(plane, size, padded_size(colorizer, size)), size


def predict_chroma(colorizer: Colorizer, seen: Sequence[Tensor]) -> Tensor:
    """The chroma of N equal planes H×W of L: N×2×H×W ab on the colorizer's device."""
    # Unchecked: it was made of grey, and a dark one may look like L scaled to [0, 1].
    return colorizer._predict_ab(torch.stack(list(seen)).unsqueeze(1).to(colorizer.device))


def colour_planes(
    colorizer: Colorizer,
    planes: Sequence[Plane],
    working_size: WorkingSize = "auto",
    batch_size: BatchSize = None,
) -> list[UInt8Array]:
    """Colours grey planes H×W of any sizes, 8 or 16 bits: 8-bit H×W×3 for each.

    Raises:
        OptionError: no such working size.
        InputError: no such batch size; too little memory for one image.
    """
    short = pixels_of_short_side(colorizer, working_size)
    sizes = [seen_size(plane.shape, short, squashed=colorizer.info.squashed) for plane in planes]
    padded = [padded_size(colorizer, size) for size in sizes]
    colours: dict[int, UInt8Array] = {}

    def run(batch: Sequence[int]) -> None:
        ab = predict_chroma(
            colorizer, [seen_lightness(planes[i], sizes[i], padded[i]) for i in batch]
        )
        alike: dict[object, list[int]] = {}
        for place, i in enumerate(batch):
            alike.setdefault((planes[i].shape, planes[i].dtype), []).append(place)
        for places in alike.values():
            indices = [batch[place] for place in places]
            height, width = sizes[indices[0]]
            chroma = ab if len(places) == len(batch) else ab[places]
            merged = coloured_images([planes[i] for i in indices], chroma[:, :, :height, :width])
            colours.update(zip(indices, merged, strict=True))

    batches = Batches(batch_size, colorizer.batch_pixels, colorizer.fastest_batch, run)
    for index, shape in enumerate(padded):
        batches.add(index, shape)
    with casting_once(colorizer.device):
        while batches.waiting:
            batches.run_next(next(iter(batches.waiting)))
    return [colours[i] for i in range(len(planes))]
