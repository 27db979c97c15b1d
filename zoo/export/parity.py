"""The comparison of an exported file with `predict`: the same pictures, or no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage import data

from zoo.arrays import UInt8Array
from zoo.colorizer import Colorizer
from zoo.errors import ExportError
from zoo.prediction.working_size import Size, WorkingSize

SIZES: Sequence[Size] = ((1, 1), (33, 47), (64, 64), (5, 200), (255, 300), (700, 1000), (1000, 700))
"""Heights and widths of the pictures that both colour."""

_SOURCES = ("astronaut", "coffee", "chelsea")

MOST_PIXELS, MOST_LEVELS = 0.001, 3
"""The share of pixels that may differ by more than one level of 8 bits, and the most levels."""


@dataclass(frozen=True)
class Difference:
    """The difference between an exported file's picture and that of `predict`.

    Attributes:
        size: height and width of the picture.
        levels: the largest difference of a channel, in levels of 8 bits.
        share: the share of pixels in which a channel differs by more than one level.
    """

    size: Size
    levels: int
    share: float

    @property
    def allowed(self) -> bool:
        """Whether they are taken for the same picture."""
        return self.levels <= MOST_LEVELS and self.share <= MOST_PIXELS


def photographs(sizes: Sequence[Size]) -> Iterator[UInt8Array]:
    """A photograph of each size, in colour and in grey by turns."""
    for number, (height, width) in enumerate(sizes):
        source: UInt8Array = getattr(data, _SOURCES[number % len(_SOURCES)])()
        photograph = Image.fromarray(source).resize((width, height))
        if number % 2:
            photograph = photograph.convert("L").convert("RGB")
        yield np.asarray(photograph)


def compare(
    colorizer: Colorizer,
    run: Callable[[UInt8Array], UInt8Array],
    working_size: WorkingSize,
    sizes: Sequence[Size] = SIZES,
) -> list[Difference]:
    """How far a run of an exported file is from `predict`, on photographs of several sizes.

    Args:
        colorizer: what was exported.
        run: colours H×W×3.
        working_size: the size that the file was exported for.
        sizes: heights and widths of the photographs.
    """
    found = []
    for photograph in photographs(sizes):
        expected = np.asarray(colorizer.predict(Image.fromarray(photograph), working_size))
        off = np.abs(run(photograph).astype(np.int16) - expected).max(axis=2)
        height, width = off.shape
        found.append(Difference((height, width), int(off.max()), float((off > 1).mean())))
    return found


def check(name: str, differences: Sequence[Difference]) -> None:
    """Refuses a file whose pictures are not those of `predict`.

    Raises:
        ExportError: with the worst of them.
    """
    worst = max(differences, key=lambda each: (not each.allowed, each.share, each.levels))
    if not worst.allowed:
        height, width = worst.size
        raise ExportError(
            f"the exported {name} gives other colours than predict: at {width}×{height} px "
            f"{worst.share:.2%} of the pixels differ by more than one level of 8 bits, at most by "
            f"{worst.levels}; nothing was written"
        )
