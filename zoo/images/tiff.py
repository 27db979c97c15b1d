"""TIFF files with 16 bits a channel, which Pillow cuts down to 8 bits or cannot read at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from zoo.arrays import strips, to_8_bits

_BITS, _PHOTOMETRIC, _SAMPLES, _EXTRA = 258, 262, 277, 338


def read_deep_tiff(path: Path | str) -> npt.NDArray[Any]:
    """Samples of the first page, H×W×C: grey or RGB, with alpha where it is declared as such.

    Alpha that is multiplied into the colours is divided out. Black is 0.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        pixels = page.asarray()
        if page.axes.startswith("S"):  # a plane per channel
            pixels = np.moveaxis(pixels, 0, 2)
        extra = tuple(int(sample) for sample in page.extrasamples)
        inverted = int(page.photometric) == 0
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    colours = 1 if pixels.shape[2] < 3 else 3
    if inverted:
        pixels = np.concatenate((np.invert(pixels[:, :, :1]), pixels[:, :, 1:]), axis=2)
    if extra[:1] == (0,):
        return pixels[:, :, :colours]
    if extra[:1] == (1,) and pixels.shape[2] == colours + 1:
        for rows in strips(*pixels.shape[:2]):
            strip = pixels[rows]
            share = np.maximum(strip[:, :, -1:], 1).astype(np.float64) / 65535
            strip[:, :, :-1] = np.minimum((strip[:, :, :-1] / share).round(), 65535)
    return pixels


class GreyAlphaTiff(TiffImagePlugin.TiffImageFile):
    """16-bit grey with a second sample, which Pillow has no mode for.

    It is opened as if it had 8 bits, and decoded to 8 bits by tifffile; `read_deep_tiff` gives
    all of them.
    """

    @classmethod
    def open(cls, path: Path | str) -> GreyAlphaTiff | None:
        """The file, not decoded yet; None where it is of another kind."""
        try:
            return cls(path)
        except (SyntaxError, OSError, ValueError, TypeError, KeyError):
            return None

    def _setup(self) -> None:
        tags = self.tag_v2
        stored = {tag: tags.get(tag) for tag in (_BITS, _PHOTOMETRIC, _EXTRA)}
        grey = stored[_PHOTOMETRIC] in (0, 1)
        if not grey or tags.get(_SAMPLES) != 2 or stored[_BITS] not in ((16, 16), (16,)):
            raise SyntaxError("not 16-bit grey with a second sample")
        tags[_BITS], tags[_PHOTOMETRIC] = (8, 8), 1
        # What is not declared at all is unspecified.
        tags[_EXTRA] = stored[_EXTRA] or (0,)
        super()._setup()
        tags[_BITS], tags[_PHOTOMETRIC] = stored[_BITS], stored[_PHOTOMETRIC]
        self._mode = "L" if 0 in tags[_EXTRA] else "LA"
        self._path = os.fsdecode(self.filename)  # the other is cleared for TIFF

    def load(self) -> Any:
        """Decodes it to 8 bits, as stored: not turned upright."""
        if self.tile:
            pixels = to_8_bits(read_deep_tiff(self._path))
            bands = [Image.fromarray(pixels[:, :, i]) for i in range(pixels.shape[2])]
            decoded = bands[0] if len(bands) == 1 else Image.merge("LA", bands)
            self.tile, self._im = [], decoded._im
            self._mode, self._size = decoded.mode, decoded.size
        return Image.Image.load(self)
