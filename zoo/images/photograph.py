"""Photographs read from files, with all that the coloured file has to hold.

`read_photograph` gives the lightness as an upright plane of sRGB grey, 8 or 16 bits deep, and
beside it alpha, metadata and format. Colour becomes grey in strips, so that a scan of
50 megapixels needs no second picture of its size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from zoo.arrays import strips, to_8_bits
from zoo.errors import InputError
from zoo.images.icc import grey_of_luminance, grey_table, rgb_curves
from zoo.images.metadata import Metadata, read_exif, read_metadata
from zoo.images.open import (
    floats_top,
    lightness_grey,
    open_image,
    sixteen_bits,
    to_grey,
    to_rgb,
)
from zoo.images.png import read_png
from zoo.images.tiff import GreyAlphaTiff, read_deep_tiff

Plane = npt.NDArray[Any]
"""A plane of lightness: H×W, uint8 or uint16."""

_TIFF_BITS, _TIFF_PHOTOMETRIC, _EXTRA = 258, 262, 338
_WHITE_IS_ZERO, _IS_RGB = 0, 2


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
    """

    grey: Plane
    bits: int
    alpha: Plane | None
    metadata: Metadata = field(default_factory=Metadata)
    has_profile: bool = False
    format: str = ""
    notes: tuple[str, ...] = ()

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
        deep = _is_deep(image)  # asked first: reading EXIF may decode the file
        metadata, orientation, left_out = read_metadata(image, path)
        profile = bytes(image.info.get("icc_profile") or b"")
        notes = (*_notes(image), *left_out)
        if deep:
            grey, alpha = _from_samples(_decode_deep(image, path), profile)
            bits = 16
        else:
            image.load()
            orientation = read_exif(image)[1]  # TIFF is turned by now
            alpha = _alpha(image)
            try:
                grey = lightness_plane(image)
            except InputError as error:
                raise InputError(f"{path}: {error}") from None
            bits = 16 if image.mode.startswith(("I", "F")) else 8
            if alpha is not None and bits == 16:
                alpha = alpha.astype(np.uint16) * 257
        return Photograph(
            grey=_upright(grey, orientation),
            bits=bits,
            alpha=None if alpha is None else _upright(alpha, orientation),
            metadata=metadata,
            has_profile=bool(profile),
            format=image.format or "",
            notes=notes,
        )


def _notes(image: Image.Image) -> Iterator[str]:
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        yield f"the first of its {frames} images is taken"
    if isinstance(image, TiffImagePlugin.TiffImageFile) and 0 in image.tag_v2.get(_EXTRA, ()):
        yield "its extra channel, not declared as alpha, is left out"


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
        return _apply_profile(_sixteen_bits(image), profile)
    if image.mode == "F":
        values = np.asarray(image)
        scale = 65535 / floats_top(values)
        return _apply_profile((values * np.float64(scale)).round().astype(np.uint16), profile)
    if image.mode in ("1", "L", "LA", "La"):
        return _apply_profile(to_grey(image), profile)
    grey = np.empty((image.height, image.width), np.uint16)
    for rows in strips(*grey.shape):
        strip = image.crop((0, rows.start, image.width, rows.stop))
        grey[rows] = lightness_grey(to_rgb(strip).astype(np.float32) / 255, 65535)
    return grey


def _sixteen_bits(image: Image.Image) -> npt.NDArray[np.uint16]:
    values = sixteen_bits(np.asarray(image))
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Pillow gives both as they are stored.
        depth = int(image.tag_v2.get(_TIFF_BITS, (16,))[0])
        if depth == 12:
            values = (values.astype(np.uint32) * 65535 // 4095).astype(np.uint16)
        if image.tag_v2.get(_TIFF_PHOTOMETRIC) == _WHITE_IS_ZERO:
            np.subtract(65535, values, out=values)
    return values


def _alpha(image: Image.Image) -> Plane | None:
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        return np.array(image.getchannel(image.getbands()[-1]))
    if "transparency" in image.info:
        return np.array(image.convert("RGBA").getchannel("A"))
    return None


def _is_deep(image: Image.Image) -> bool:
    """True for 16-bit files that Pillow would cut down to 8 bits."""
    if image.format == "PNG":
        # Pillow's 16-bit grey is good, unless one of the values stands for transparent.
        tiles: Any = getattr(image, "tile", ())
        deep = bool(tiles) and str(tiles[0].args).endswith(";16B")
        return deep and (image.mode != "I;16" or "transparency" in image.info)
    if isinstance(image, GreyAlphaTiff):
        return True
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_TIFF_BITS, (1,))
        return len(bits) >= 3 and bits[0] == 16 and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _IS_RGB
    return False


def _decode_deep(image: Image.Image, path: Path | str) -> npt.NDArray[np.uint16]:
    """The samples of a 16-bit file, H×W×C: grey, grey and alpha, RGB, or RGBA."""
    if image.format == "PNG":
        import imagecodecs

        pixels = np.asarray(imagecodecs.png_decode(read_png(path)))
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        key = image.info.get("transparency")
        if key is not None and pixels.shape[2] in (1, 3):
            opaque = (pixels != np.asarray(key, np.uint16)).any(axis=2, keepdims=True)
            pixels = np.concatenate((pixels, opaque * np.uint16(65535)), axis=2)
    else:
        pixels = read_deep_tiff(path)
    # Pillow may tell the size of a TIFF as it will be once it is upright.
    if pixels.dtype != np.uint16 or {*pixels.shape[:2]} != {*image.size}:
        raise InputError(f"{path}: its 16-bit pixels cannot be read")
    return pixels


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
