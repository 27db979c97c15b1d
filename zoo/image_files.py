"""A photograph from its file, with all that has to be in the file that is made of it.

`read_photograph` gives the lightness as an upright plane of sRGB grey, 8 or 16 bits deep, and
beside it alpha, EXIF, resolution and format. Colour becomes grey in strips, so that a scan of
50 megapixels needs no second picture of its size.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, TiffImagePlugin

from zoo.errors import InputError
from zoo.icc import grey_of_luminance, grey_table, rgb_curves
from zoo.photos import open_image, to_grey, to_rgb

__all__ = ["STRIP_PIXELS", "Photograph", "read_photograph"]

Plane = npt.NDArray[Any]
"""H×W, uint8 or uint16."""

STRIP_PIXELS = 1 << 20
"""Pixels that are converted at once; a strip has whole rows."""

# What EXIF says of the photograph. The rest of the main directory says how its file is built.
_KEPT_TAGS = tuple(
    tag.value
    for tag in (
        *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model),
        *(ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist),
        *(ExifTags.Base.HostComputer, ExifTags.Base.Copyright, ExifTags.Base.Rating),
        *(ExifTags.Base.XPTitle, ExifTags.Base.XPComment, ExifTags.Base.XPAuthor),
        *(ExifTags.Base.XPKeywords, ExifTags.Base.XPSubject),
    )
)
KEPT_BLOCKS = (ExifTags.IFD.Exif.value, ExifTags.IFD.GPSInfo.value)
"""The tags of the directories inside EXIF that are kept, as dictionaries."""

_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262
_WHITE_IS_ZERO, _IS_RGB = 0, 2


@dataclass(frozen=True)
class Photograph:
    """One image, decoded and upright.

    Attributes:
        grey: H×W sRGB grey that has the photograph's lightness. uint8 where the file holds
            8-bit grey; otherwise uint16, so that no lightness of a colour is rounded.
        bits: 8 or 16 per channel in the file.
        alpha: H×W, uint8 or uint16 as `bits` says; None where the file has none.
        exif: EXIF tags that describe the photograph; nested dictionaries for its directories.
        dpi: pixels per inch across and down, where the file says so.
        has_profile: an ICC profile was embedded.
        format: Pillow's name of the file's format.
        notes: what the owner should know, such as pages that are left out.
    """

    grey: Plane
    bits: int
    alpha: Plane | None
    exif: dict[int, Any] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    has_profile: bool = False
    format: str = ""
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.grey.shape[0], self.grey.shape[1]

    def grey_8(self) -> npt.NDArray[np.uint8]:
        """The lightness plane in 8 bits: what networks are shown."""
        return _to_8_bits(self.grey)


def read_photograph(path: Path | str) -> Photograph:
    """Reads 1-bit, grey, palette, RGB or CMYK, with alpha or without, in 8 or 16 bits.

    EXIF orientation and ICC profile are applied, those of grey images too. 16-bit colour with
    a profile of tables keeps 8 bits of lightness; all else keeps what the file has.

    Raises:
        InputError: one line, `PATH: reason`, as `zoo.photos.read_image`.
    """
    with open_image(path) as image:
        deep = _is_deep(image)  # asked first: reading EXIF may decode the file
        exif, stored = _read_exif(image)
        orientation = stored
        profile = bytes(image.info.get("icc_profile") or b"")
        frames = getattr(image, "n_frames", 1)
        if deep:
            grey, alpha = _from_samples(_decode_deep(image, path), profile)
            bits = 16
        else:
            image.load()
            orientation = _read_exif(image)[1]  # TIFF is turned by now
            alpha = _alpha(image)
            grey = _grey(image, profile, path)
            bits = 16 if image.mode.startswith("I") else 8
            if alpha is not None and bits == 16:
                alpha = alpha.astype(np.uint16) * 257
        return Photograph(
            grey=_upright(grey, orientation),
            bits=bits,
            alpha=None if alpha is None else _upright(alpha, orientation),
            exif=exif,
            dpi=_checked_dpi(image.info.get("dpi"), stored),
            has_profile=bool(profile),
            format=image.format or "",
            notes=(f"the first of its {frames} images is taken",) if frames > 1 else (),
        )


# ---- pixels -----------------------------------------------------------------------------


def _grey(image: Image.Image, profile: bytes, path: Path | str) -> Plane:
    if image.mode.startswith("I"):
        return _apply_profile(_sixteen_bits(image, path), profile)
    if image.mode in ("1", "L", "LA", "La", "F"):
        return _apply_profile(to_grey(image), profile)
    grey = np.empty((image.height, image.width), np.uint16)
    rows = max(1, STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        grey[top : top + rows] = _grey_of_rgb(to_rgb(strip).astype(np.float32) / 255)
    return grey


def _sixteen_bits(image: Image.Image, path: Path | str) -> npt.NDArray[np.uint16]:
    stored = np.asarray(image)
    low, high = (int(stored.min()), int(stored.max())) if stored.size else (0, 0)
    if low < 0 or high > 65535:
        raise InputError(
            f"{path}: a 32-bit image with values from {low} to {high}: "
            "save it with 8 or 16 bits a channel"
        )
    values = stored.astype(np.uint16)
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
        # Its 16-bit grey is good, unless one of the values stands for transparent.
        tiles: Any = getattr(image, "tile", ())
        deep = bool(tiles) and str(tiles[0].args).endswith(";16B")
        return deep and (image.mode != "I;16" or "transparency" in image.info)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = image.tag_v2.get(_TIFF_BITS, (1,))
        return len(bits) >= 3 and bits[0] == 16 and image.tag_v2.get(_TIFF_PHOTOMETRIC) == _IS_RGB
    return False


def _decode_deep(image: Image.Image, path: Path | str) -> npt.NDArray[np.uint16]:
    """H×W×samples: grey, grey and alpha, RGB, or RGBA."""
    if image.format == "PNG":
        import imagecodecs

        pixels = np.asarray(imagecodecs.png_decode(Path(path).read_bytes()))
        pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
        key = image.info.get("transparency")
        if key is not None and pixels.shape[2] in (1, 3):
            opaque = (pixels != np.asarray(key, np.uint16)).any(axis=2, keepdims=True)
            pixels = np.concatenate((pixels, opaque * np.uint16(65535)), axis=2)
    else:
        import tifffile

        with tifffile.TiffFile(path) as file:
            page = file.pages.first
            pixels = page.asarray()
            if page.axes.startswith("S"):  # a plane per channel
                pixels = pixels.transpose(1, 2, 0)
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
    rows = max(1, STRIP_PIXELS // pixels.shape[1])
    for top in range(0, len(pixels), rows):
        strip = pixels[top : top + rows, :, :3]
        if curves is not None:
            luminance = sum(
                share * curve(strip[:, :, c] / 65535) for c, (curve, share) in enumerate(curves)
            )
            grey[top : top + rows] = (grey_of_luminance(np.asarray(luminance)) * 65535).round()
        elif profile:
            image = Image.fromarray(_to_8_bits(strip))
            image.info["icc_profile"] = profile
            grey[top : top + rows] = _grey_of_rgb(to_rgb(image).astype(np.float32) / 255)
        else:
            grey[top : top + rows] = _grey_of_rgb(strip.astype(np.float32) / 65535)
    return grey, alpha


def _grey_of_rgb(rgb: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
    import torch

    from zoo.lab import L_to_grey, rgb_to_lab

    L, _ = rgb_to_lab(torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None])
    grey: npt.NDArray[np.uint16] = (
        (L_to_grey(L.clamp(0, 100)) * 65535).round()[0, 0].numpy().astype(np.uint16)
    )
    return grey


def _apply_profile(grey: Plane, profile: bytes) -> Plane:
    table = grey_table(profile, 256 if grey.dtype == np.uint8 else 65536) if profile else None
    return grey if table is None else table[grey]


def _to_8_bits(values: Plane) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    result = np.empty(values.shape, np.uint8)
    rows = max(1, STRIP_PIXELS // values.shape[1])
    for top in range(0, len(values), rows):
        strip = values[top : top + rows].astype(np.uint32)
        result[top : top + rows] = (strip + 128) // 257
    return result


def _upright(plane: Plane, orientation: int) -> Plane:
    """Applies an EXIF orientation (CIPA DC-008, tag 0x0112) to the pixels."""
    if orientation >= 5:
        plane = plane.T
    if orientation in (3, 4, 7, 8):
        plane = plane[::-1]
    if orientation in (2, 3, 6, 7):
        plane = plane[:, ::-1]
    return np.ascontiguousarray(plane)


# ---- what the file says -----------------------------------------------------------------


def _read_exif(image: Image.Image) -> tuple[dict[int, Any], int]:
    """The tags that are kept, and the orientation; nothing of a damaged block."""
    try:
        found = image.getexif()
        orientation = found.get(ExifTags.Base.Orientation.value, 1)
        kept: dict[int, Any] = {tag: found[tag] for tag in _KEPT_TAGS if tag in found}
        # Some programs describe the array there, which is no longer the same.
        if str(kept.get(ExifTags.Base.ImageDescription.value)).startswith(('{"shape"', "ImageJ=")):
            del kept[ExifTags.Base.ImageDescription.value]
        for block in KEPT_BLOCKS:
            tags = {
                tag: value
                for tag, value in found.get_ifd(block).items()
                if tag != ExifTags.IFD.Interop.value and not isinstance(value, dict)
            }
            if tags:
                kept[block] = tags
        exif_bytes(kept)
    except Exception:
        # Pillow's parser fails in many ways on damaged EXIF; the pixels are good.
        return {}, 1
    return kept, orientation if orientation in range(1, 9) else 1


def exif_bytes(exif: dict[int, Any], size: tuple[int, int] | None = None) -> bytes:
    """An EXIF block of `exif`, upright and sRGB, for a picture of `size` (height, width)."""
    block = Image.Exif()
    for tag, value in described(exif, size).items():
        block[tag] = value
    return block.tobytes()


def described(exif: dict[int, Any], size: tuple[int, int] | None) -> dict[int, Any]:
    """The tags with colour space and size, where they are told, brought up to date."""
    result = dict(exif)
    inner = dict(result.get(ExifTags.IFD.Exif.value, {}))
    if inner:
        new = {ExifTags.Base.ColorSpace.value: 1}
        if size is not None:
            new[ExifTags.Base.ExifImageHeight.value] = size[0]
            new[ExifTags.Base.ExifImageWidth.value] = size[1]
        inner.update({tag: value for tag, value in new.items() if tag in inner})
        result[ExifTags.IFD.Exif.value] = inner
    return result


def _checked_dpi(dpi: Any, orientation: int) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in dpi)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (0 < across < 1e6 and 0 < down < 1e6):
        return None
    return (down, across) if orientation >= 5 else (across, down)
