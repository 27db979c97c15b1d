"""Variety of the training images: what is asked for, and what is drawn at each place of the stream.

Everything here depends on the seed and on the place in the stream of images alone. The changes
themselves are those of `zoo.data.degradation`; `zoo.training.varied_input` applies what is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zoo.errors import InputError

Numbers = npt.NDArray[np.float64]

WHOLE: tuple[float, ...] = (1.0, 1.0)
"""The scale of crops that are as large as the images are stored."""

_BLOCK = 1024


@dataclass(frozen=True)
class Variety:
    """How training images are varied.

    Attributes:
        input: whether the lightness that the network sees is changed at random; ab stays.
        crop_scale: the smallest and the largest share of the stored side that a crop covers.
        stored_size: the side in pixels that images are stored at; None for that of the crops.

    Raises:
        InputError: shares that are none, or out of order.
    """

    input: bool = False
    crop_scale: tuple[float, ...] = WHOLE
    stored_size: int | None = None

    def __post_init__(self) -> None:
        # JSON has lists.
        scale = tuple(self.crop_scale)
        object.__setattr__(self, "crop_scale", scale)
        if not (len(scale) == 2 and 0 < scale[0] <= scale[1] <= 1):
            raise InputError(
                f"crop_scale {','.join(f'{share:g}' for share in scale)} is no pair of shares in "
                "(0, 1], the smaller one first; give one such as 0.5,1"
            )

    def stored(self, size: int) -> int:
        """The side that images are stored at for crops of `size`.

        Raises:
            InputError: it is smaller than the crops.
        """
        stored = size if self.stored_size is None else self.stored_size
        if stored < size:
            raise InputError(
                f"stored_size {stored} is smaller than the crops of {size} px; give {size} or more"
            )
        return stored

    def description(self, size: int) -> str:
        """What networks see in training, in words that go on from `trained on`."""
        low, high = (f"{100 * share:g}" for share in self.crop_scale)
        share = f"{low} %" if low == high else f"{low} to {high} %"
        crops = f"crops of {share} of {self.stored(size)} px, resized to {size} px"
        parts = [crops] if self.crop_scale != WHOLE or self.stored(size) != size else []
        if self.input:
            parts.append(
                "inputs that are resampled, blurred, faded, noisy, specked and compressed at random"
            )
        return ", and ".join(parts) or "images as they are"


UNVARIED = Variety()
"""The images as they are."""


def read_crop_scale(text: str) -> tuple[float, ...]:
    """Reads the two shares of `0.5,1`.

    Raises:
        InputError: these are not two shares, or not in order.
    """
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise InputError(f"cannot read crop_scale {text!r}; give two shares, as 0.5,1") from None
    return Variety(crop_scale=(low, high)).crop_scale


class UniformStream:
    """Random numbers in [0, 1) at each place of an endless stream, however it is cut.

    Args:
        columns: how many numbers a place has.
        seed: decides them, together with `purpose`, which tells streams of one seed apart.
    """

    def __init__(self, columns: int, seed: int, purpose: int) -> None:
        self._columns, self._seed = columns, [seed % 2**63, purpose]
        self._number = -1
        self._block: Numbers

    def take(self, start: int, count: int) -> Numbers:
        """The numbers of the places `start` … `start + count`: count×columns."""
        rows = []
        while count:
            number, within = divmod(start, _BLOCK)
            if number != self._number:
                generator = np.random.default_rng([*self._seed, number])
                self._block = generator.random((_BLOCK, self._columns))
                self._number = number
            rows.append(self._block[within : within + count])
            start, count = start + len(rows[-1]), count - len(rows[-1])
        return np.concatenate(rows)


class Change(NamedTuple):
    """A change of some images of a batch.

    Attributes:
        images: the places in the batch of those that it befalls.
        strengths: a row for each of them.
    """

    images: npt.NDArray[np.int64]
    strengths: Numbers


COLUMNS = 24
"""Random numbers of an image of which `draw_changes` has enough."""


def draw_changes(numbers: Numbers) -> dict[str, Change]:
    """The changes of a batch, in their order, from N×`COLUMNS` random numbers in [0, 1).

    What a photograph from a scanner, a camera or the web needs, each with a chance of its own.
    """
    column = iter(numbers.T)

    def change(chance: float, *strengths: Callable[[Numbers], Numbers]) -> Change:
        images = np.flatnonzero(next(column) < chance)
        drawn = [strength(next(column)[images]) for strength in strengths]
        return Change(images, np.stack(drawn, axis=1))

    return {
        "resample": change(0.10, _between(0.5, 1)),  # share of the pixels
        "blur": change(0.15, _between(0.3, 1.5)),  # σ in pixels
        "fade": change(0.20, _between(0.5, 1), _between(0, 100)),  # contrast, tone faded to
        "noise": change(0.18, _mostly_weak(6), *_WINDOW),  # σ in L
        "grain": change(0.12, _mostly_weak(6), _between(0.5, 1.3), *_WINDOW),  # σ in L, in pixels
        "specks": change(0.08, _between(0, 0.003), _bright_or_dark, *_WINDOW),  # share, tone
        "jpeg": change(0.30, _between(30, 98), _grid),  # quality, offset of the blocks
    }


def _between(low: float, high: float) -> Callable[[Numbers], Numbers]:
    return lambda number: low + (high - low) * number


def _mostly_weak(most: float) -> Callable[[Numbers], Numbers]:
    return lambda number: most * number**2


def _bright_or_dark(number: Numbers) -> Numbers:
    return np.where(number < 0.5, 95.0, 8.0)


def _grid(number: Numbers) -> Numbers:
    """0 for blocks that begin with the image, as half do; else y · 8 + x of their offset."""
    offset: Numbers = np.floor(64 * np.maximum(0, 2 * number - 1))
    return offset


# Where in a plane of noise the image's own lies, as shares of its sides.
_WINDOW = (_between(0, 1), _between(0, 1))
