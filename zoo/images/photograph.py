"""Photographs read from files, with all that the coloured file has to hold.

`read_photograph` gives the lightness as an upright plane of sRGB grey, 8 or 16 bits deep, and
beside it alpha, metadata and format. Colour becomes grey in strips, so that a scan of
50 megapixels needs no second picture of its size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from zoo.arrays import strips, to_8_bits
from zoo.images.icc import grey_of_luminance, grey_table, rgb_curves
from zoo.images.levels import levels_of_floats
from zoo.images.metadata import Metadata, read_metadata
from zoo.images.open import (
    decode,
    deep_samples,
    is_grey,
    lightness_grey,
    open_image,
    sixteen_bits,
    to_grey,
    to_rgb,
)
from zoo.images.tiff import TiffImage

_LOOKED_AT = 64  # pixels along each side that tell whether there is colour

Plane = npt.NDArray[Any]
"""A plane of lightness: H×W, uint8 or uint16."""


@dataclass(frozen=True)
class Photograph:
    """A photograph, decoded and upright.

    Attributes:
        grey: H×W sRGB grey that has the photograph's lightness. uint8 where the file holds
            8-bit grey; otherwise uint16, so that no lightness of a colour is rounded.
        bits: 8 or 16 per channel in the file.
        alpha: H×W, uint8 or uint16 as `bits` says; None where the file has none.
        metadata: what the file says of the photograph.
        has_profile: an ICC profile was embedded.
        format: Pillow's name of the file's format.
        notes: what the owner should know, such as pages that are left out.
        has_colour: whether it is in colour or tinted, of which the lightness alone is taken.
    """

    grey: Plane
    bits: int
    alpha: Plane | None
    metadata: Metadata = field(default_factory=Metadata)
    has_profile: bool = False
    format: str = ""
    notes: tuple[str, ...] = ()
    has_colour: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.grey.shape[0], self.grey.shape[1]


def read_photograph(path: Path | str) -> Photograph:
    """Reads 1-bit, grey, palette, RGB or CMYK, with alpha or without, in 8 or 16 bits.

    EXIF orientation and ICC profile are applied, those of grey images too. 16-bit colour with
    a profile of tables keeps 8 bits of lightness; all else keeps what the file has.

    Raises:
        InputError: one line, `PATH: reason`, as `zoo.images.open.read_image`.
    """
    with open_image(path) as image:
        samples, said = deep_samples(image, path)  # asked first: reading EXIF may decode the file
        metadata, orientation, left_out = read_metadata(image, path)
        profile = bytes(image.info.get("icc_profile") or b"")
        frames = getattr(image, "n_frames", 1)
        notes = [f"the first of its {frames} images is taken"] if frames > 1 else []
        form = image.format or ""  # what is decoded otherwise has none
        if samples is not None:
            grey, alpha = _from_samples(samples, profile)
            bits, has_colour = 16, _shows_colour(samples)
        else:
            image, said = decode(image, path)
            alpha = _alpha(image)
            grey = lightness_plane(image)
            bits = 16 if image.mode.startswith(("I", "F")) else 8
            has_colour = _has_colour(image)
        notes += image.notes if isinstance(image, TiffImage) else said
        return Photograph(
            grey=_upright(grey, orientation),
            bits=bits,
            alpha=None if alpha is None else _upright(alpha, orientation),
            metadata=metadata,
            has_profile=bool(profile),
            format=form,
            notes=(*notes, *left_out),
            has_colour=has_colour,
        )


def _has_colour(image: Image.Image) -> bool:
    """Whether some of its pixels, taken at regular distances, are in colour."""
    if image.mode.startswith(("1", "L", "I", "F")) and image.mode != "LAB":
        return False
    fewer = image.resize(
        (min(image.width, _LOOKED_AT), min(image.height, _LOOKED_AT)), Image.Resampling.NEAREST
    )
    return not is_grey(to_rgb(fewer)[None])[0]


def _shows_colour(samples: npt.NDArray[np.uint16]) -> bool:
    """The same of samples H×W×C; a profile is not asked."""
    steps = tuple(max(1, side // _LOOKED_AT) for side in samples.shape[:2])
    fewer = samples[:: steps[0], :: steps[1], :3]
    return fewer.shape[2] == 3 and not is_grey(to_8_bits(fewer)[None])[0]


# ---- pixels -----------------------------------------------------------------------------


def lightness_plane(image: Image.Image) -> Plane:
    """The sRGB grey that has the lightness of any PIL image, H×W; its ICC profile is applied.

    uint8 for 8-bit grey, which keeps its values; otherwise uint16, so that no lightness of a
    colour is rounded. Modes `I` and `F` are read as `zoo.images.open.to_grey` reads them.

    Raises:
        InputError: a 32-bit or floating-point image whose range is not known.
    """
    profile = bytes(image.info.get("icc_profile") or b"")
    if image.mode.startswith("I"):
        return _apply_profile(sixteen_bits(np.asarray(image)), profile)
    if image.mode == "F":
        return _apply_profile(levels_of_floats(np.asarray(image)).values, profile)
    if image.mode in ("1", "L", "LA", "La"):
        return _apply_profile(to_grey(image), profile)
    grey = np.empty((image.height, image.width), np.uint16)
    for rows in strips(*grey.shape):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        grey[rows] = lightness_grey(to_rgb(strip).astype(np.float32) / 255, 65535)
    return grey


def _alpha(image: Image.Image) -> Plane | None:
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        return np.array(image.getchannel(image.getbands()[-1]))
    if "transparency" in image.info:
        return np.array(image.convert("RGBA").getchannel("A"))
    return None


def _from_samples(pixels: npt.NDArray[np.uint16], profile: bytes) -> tuple[Plane, Plane | None]:
    samples = pixels.shape[2]
    alpha = np.ascontiguousarray(pixels[:, :, -1]) if samples in (2, 4) else None
    if samples < 3:
        return _apply_profile(np.ascontiguousarray(pixels[:, :, 0]), profile), alpha
    curves = rgb_curves(profile) if profile else None
    grey = np.empty(pixels.shape[:2], np.uint16)
    for rows in strips(len(pixels), pixels.shape[1]):
        strip = pixels[rows, :, :3]
        if curves is not None:
            luminance = sum(
                share * curve(strip[:, :, c] / 65535) for c, (curve, share) in enumerate(curves)
            )
            grey[rows] = (grey_of_luminance(np.asarray(luminance)) * 65535).round()
        elif profile:
            image = Image.fromarray(to_8_bits(strip))
            image.info["icc_profile"] = profile
            grey[rows] = lightness_grey(to_rgb(image).astype(np.float32) / 255, 65535)
        else:
            grey[rows] = lightness_grey(strip.astype(np.float32) / 65535, 65535)
    return grey, alpha


def _apply_profile(grey: Plane, profile: bytes) -> Plane:
    table = grey_table(profile, 256 if grey.dtype == np.uint8 else 65536) if profile else None
    return grey if table is None else table[grey]


def _upright(plane: Plane, orientation: int) -> Plane:
    """Applies an EXIF orientation (CIPA DC-008, tag 0x0112) to the pixels."""
    if orientation >= 5:
        plane = plane.T
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return np.ascontiguousarray(plane)
