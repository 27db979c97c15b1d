"""Small images for the checks: real photographs, and a toy set that anyone can learn."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from PIL import Image
from skimage import color, data, exposure, filters

from zoo.arrays import UInt8Array
from zoo.color.lab import lab_to_rgb

_NAMES = ("astronaut", "coffee", "chelsea")
_CUT = 96
_TOY_CUT = 64


def photograph(name: str) -> UInt8Array:
    """A photograph of scikit-image by its name, H×W×3."""
    array: UInt8Array = getattr(data, name)()
    return array


@cache
def _cuts() -> list[Image.Image]:
    """Twelve squares of 96 px, four out of each of three photographs."""
    return [
        Image.fromarray(photo[y : y + _CUT, x : x + _CUT])
        for photo in map(photograph, _NAMES)
        for y, x in ((20, 180), (100, 60), (150, 200), (200, 300))
    ]


def photographs(side: int) -> UInt8Array:
    """Twelve crops of three photographs, scaled: 12×side×side×3."""
    return np.stack([_scaled(cut, side) for cut in _cuts()])


def one_photograph(side: int) -> UInt8Array:
    """A cup of coffee on a table, whole: 1×side×side×3, colours of many kinds."""
    return _scaled(Image.fromarray(photograph("coffee")[150:406, 200:456]), side)[None]


def toy_set(side: int) -> tuple[UInt8Array, UInt8Array]:
    """Training and test images whose colours follow from brightness, N×S×S×3.

    Dark is violet, bright is yellow, linearly between. Half of each image is dark, so that the
    mean chroma is none, and one colour for all is no better than grey. The training images
    measure at least 64 px, the test images are crops of `side`.
    """
    larger = max(side, _TOY_CUT)
    tiles = np.stack([_scaled(Image.fromarray(tile), larger) for tile in _toy_tiles()])
    return tiles[::2], tiles[1::6, :side, :side].copy()


@cache
def _toy_tiles() -> UInt8Array:
    tiles = []
    for photo in map(photograph, _NAMES):
        grey = filters.gaussian(color.rgb2gray(photo), 3)  # type: ignore[no-untyped-call]
        rows, columns = (side // _TOY_CUT for side in grey.shape)
        tiles += [
            exposure.equalize_hist(grey[y : y + _TOY_CUT, x : x + _TOY_CUT])  # type: ignore[no-untyped-call]
            for y in range(0, rows * _TOY_CUT, _TOY_CUT)
            for x in range(0, columns * _TOY_CUT, _TOY_CUT)
        ]
    # From -1 (dark) to 1 (bright).
    t = torch.from_numpy(2 * np.stack(tiles) - 1).float()[:, None]
    rgb = lab_to_rgb(55 + 25 * t, torch.cat((-25 * t, 45 * t), dim=1))
    return (rgb * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _scaled(image: Image.Image, side: int) -> UInt8Array:
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC))
