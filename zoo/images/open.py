"""Reading image files safely, whatever their mode.

Every image that a user brings is opened here first; `photograph` then reads the 16-bit samples
that Pillow would cut down. `read_image` opens and checks a file, `to_rgb` gives its colours as sRGB
and `to_grey` its lightness as 8-bit grey. Alpha is dropped: the stored colours are what a
photograph is made of, and the caller still has the transparency.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, TiffImagePlugin, UnidentifiedImageError

from zoo.arrays import UInt8Array, strips, to_8_bits
from zoo.errors import InputError
from zoo.images.png import scan_png, without_gaps
from zoo.images.tiff import GreyAlphaTiff

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".png", ".webp", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".pbm"),
)
"""Suffixes of files that are taken for photographs unread; others are known by their content."""

MAX_PIXELS = 200_000_000
"""Larger images are refused: a few kilobytes of PNG can ask for terabytes of memory."""

RESIZE_KERNEL = "lanczos"
"""The antialiased kernel of every resize: of a dataset's images, and of what a network is shown."""

SQUARE_CROP = "centre square"
"""The name of what `square_tile` cuts, for `DatasetInfo.crop`."""

GREY_CHROMA = 5.0
"""An image is grey if |a| and |b| of all its pixels are at most this, in CIE Lab units."""

# Formats named one by one: Pillow would also hand a file to Ghostscript, if it asks for it.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "PPM")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
"""Files that are read where the extra `heic` is installed."""
_opening = threading.Lock()


def read_image(path: Path | str) -> Image.Image:
    """Opens and decodes a file; turns it upright as its EXIF orientation says.

    The first frame is taken of a file that has several. A damaged EXIF block is ignored.

    Raises:
        InputError: one line, `PATH: reason`: missing, empty, truncated, corrupt, no image, or
            larger than `MAX_PIXELS`.
    """
    with open_image(path) as image:
        image.load()
        try:
            return ImageOps.exif_transpose(image)
        except Exception:
            # Pillow's parser fails in many ways on damaged EXIF; the pixels are good.
            return image


def read_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels as stored, from the file's header alone.

    Raises:
        InputError: as `read_image` does, for what can be seen in the header.
    """
    with open_image(path) as image:
        return image.size


@contextlib.contextmanager
def open_image(path: Path | str) -> Iterator[Image.Image]:
    """A file opened and its size checked, not decoded yet, for as long as the block runs.

    Raises:
        InputError: as `read_image` does, for whatever goes wrong in the block.
    """
    try:
        with _open(path) as image:
            yield image
    except InputError:
        raise
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        reason = "the file is empty" if empty else "not an image of a format that is read here"
    except MemoryError:
        reason = "there is not enough memory to decode it"
    except Exception as error:
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        system = isinstance(error, OSError) and error.strerror
        reason = str(system) if system else f"damaged or truncated: {first_line}"
    else:
        return
    raise InputError(f"{path}: {reason}")


def to_rgb(image: Image.Image) -> UInt8Array:
    """Any PIL image as H×W×3 uint8 sRGB.

    An embedded ICC profile of a colour image is converted to sRGB, except where it already is
    sRGB; a profile that is broken or does not fit the image's mode is ignored. Grey images
    keep their values whatever their profile. 16-bit channels are scaled to 8 bits.

    Raises:
        InputError: a 32-bit or floating-point image whose range is not known.
    """
    if image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I"):
        return np.repeat(to_grey(image)[:, :, None], 3, axis=2)
    if image.mode == "LAB":
        converted = ImageCms.profileToProfile(
            image, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert converted is not None
        return np.array(converted)
    if image.mode in ("P", "PA", "RGBa"):
        # By way of RGBA: Pillow warns of, or misreads, transparency in a palette otherwise.
        image = image.convert("RGBA")
    profile = image.info.get("icc_profile")
    if profile and image.mode == "CMYK":
        transform = _to_srgb(bytes(profile), "CMYK")
        if transform is not None:
            return np.array(transform.apply(image))
    is_rgba = image.mode == "RGBA"
    rgb = Image.merge("RGB", image.split()[:3]) if is_rgba else image.convert("RGB")
    if profile:
        transform = _to_srgb(bytes(profile), "RGB")
        if transform is not None:
            rgb = transform.apply(rgb)
    return np.array(rgb)


def to_grey(image: Image.Image) -> UInt8Array:
    """Any PIL image as H×W uint8 grey: what a colorizer reads.

    8-bit grey keeps its values. A colour becomes the grey v whose (v, v, v) has the same CIE
    lightness. Mode `I` is read as 16 bits, which is what files hold in it; mode `F` as
    [0, 1], [0, 255] or [0, 65535], the first of them that its values fit in.

    Raises:
        InputError: a 32-bit or floating-point image whose range is not known.
    """
    if image.mode in ("1", "L"):
        return np.array(image.convert("L"))
    if image.mode in ("LA", "La"):
        return np.array(image.convert("LA").getchannel("L"))
    if image.mode.startswith("I"):
        return to_8_bits(sixteen_bits(np.asarray(image)))
    if image.mode == "F":
        values = np.asarray(image)
        return (values.astype(np.float64) * (255 / floats_top(values))).round().astype(np.uint8)
    rgb = to_rgb(image)
    grey: UInt8Array = np.empty(rgb.shape[:2], dtype=np.uint8)
    for rows in strips(*grey.shape):
        grey[rows] = lightness_grey(rgb[rows], 255)
    return grey


def lightness_grey(rgb: npt.NDArray[Any], white: int) -> npt.NDArray[np.float32]:
    """The sRGB grey that has the lightness of H×W×3 sRGB, rounded, from 0 to `white`: H×W."""
    import torch

    from zoo.color.lab import L_to_grey, rgb_to_lab

    L, _ = rgb_to_lab(torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None])
    grey: npt.NDArray[np.float32] = (L_to_grey(L.clamp(0, 100)) * white).round()[0, 0].numpy()
    return grey


def sixteen_bits(values: npt.NDArray[np.integer]) -> npt.NDArray[np.uint16]:
    """Values of mode `I`, in which files hold 16 bits.

    Raises:
        InputError: values that have more.
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0 or high > 65535:
        raise InputError(
            f"a 32-bit image with values from {low} to {high}: save it with 8 or 16 bits a channel"
        )
    return values.astype(np.uint16)


def floats_top(values: npt.NDArray[np.float32]) -> int:
    """The white of a floating-point image: 1, 255 or 65535, the first that all values fit below.

    Raises:
        InputError: values that are negative, larger, or not numbers.
    """
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    for top in (1, 255, 65535):
        if low >= 0 and high <= top:
            return top
    raise InputError(
        f"a floating-point image with values from {low:.4g} to {high:.4g}: "
        "scale it to [0, 1], or save it with 8 or 16 bits a channel"
    )


def square_tile(rgb: UInt8Array, side: int) -> UInt8Array:
    """The centre square of an H×W×3 image, its short side resized to `side`: side×side×3.

    Images smaller than `side` are enlarged. An image of that size comes back as it is.
    """
    height, width = rgb.shape[:2]
    short = min(height, width)
    # The whole image resized would have these sides; only its centre is ever computed, as a
    # strip of 1×100,000 pixels would not fit in memory.
    tall, wide = round(height * side / short), round(width * side / short)
    top, left = (tall - side) // 2, (wide - side) // 2
    if short == side:
        return rgb[top : top + side, left : left + side]
    x, y = width / wide, height / tall
    box = (left * x, top * y, min((left + side) * x, width), min((top + side) * y, height))
    return resize(rgb, (side, side), box)


def resize(
    pixels: UInt8Array,
    size: tuple[int, int],
    box: tuple[float, float, float, float] | None = None,
) -> UInt8Array:
    """An H×W or H×W×3 image, or the box (left, top, right, bottom) of it, at (height, width)."""
    kernel = Image.Resampling[RESIZE_KERNEL.upper()]
    return np.array(Image.fromarray(pixels).resize(size[::-1], kernel, box=box))


def is_grey(rgb: UInt8Array) -> npt.NDArray[np.bool_]:
    """Which of N×H×W×3 uint8 images are grey: max(|a|, |b|) at most `GREY_CHROMA` everywhere."""
    step = 8
    # One coloured pixel decides, and a sparse grid finds one in nearly every photograph.
    grey = _max_chroma(rgb[:, ::step, ::step]) <= GREY_CHROMA
    undecided = np.flatnonzero(grey)
    if len(undecided):
        grey[undecided] = _max_chroma(rgb, undecided) <= GREY_CHROMA
    return grey


def _max_chroma(
    rgb: UInt8Array, chosen: npt.NDArray[np.intp] | None = None
) -> npt.NDArray[np.float32]:
    import torch

    from zoo.color.lab import rgb_to_lab

    if chosen is None:
        chosen = np.arange(len(rgb))
    result = np.zeros(len(chosen), dtype=np.float32)
    for images in strips(len(chosen), rgb.shape[1] * rgb.shape[2]):
        some = np.ascontiguousarray(rgb[chosen[images]].transpose(0, 3, 1, 2))
        _, ab = rgb_to_lab(torch.from_numpy(some))
        result[images] = ab.abs().flatten(1).amax(dim=1).numpy()
    return result


@lru_cache(maxsize=64)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from `mode` with this ICC profile to sRGB; None if broken or sRGB already."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(BytesIO(profile)), ImageCms.createProfile("sRGB"), mode, "RGB"
        )
        if mode == "RGB":
            steps = np.linspace(0, 255, 9).round().astype(np.uint8)
            cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
            there = np.asarray(transform.apply(Image.fromarray(cube)), dtype=np.int16)
            # Rounding on the way there and back would change what is sRGB by a level or two.
            if np.abs(there - cube).max() <= 2:
                return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return transform


def _heif(path: Path | str) -> tuple[str, ...]:
    if not str(path).lower().endswith(HEIC_SUFFIXES):
        return ()
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise InputError(
            f"{path}: HEIC is read with pillow-heif: type pip install 'colorizer-zoo[heic]'"
        ) from None
    register_heif_opener()
    return ("HEIF",)


@contextlib.contextmanager
def _open(path: Path | str) -> Iterator[Image.Image]:
    # Pillow's own limit is global: it warns from 89 megapixels on and refuses 179.
    scan = scan_png(path)
    source = without_gaps(path, scan) if scan.gaps else path
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image: Image.Image = Image.open(source, formats=(*_FORMATS, *_heif(path)))
        except UnidentifiedImageError:
            tiff = GreyAlphaTiff.open(path)
            if tiff is None:
                raise
            image = tiff
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        # Without a name it is not mapped into memory, for which Pillow takes the sides of the
        # upright picture: uncompressed grey TIFFs of orientation 5 to 8 would be scrambled.
        image.filename = ""
    with image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise InputError(
                f"{path}: {width}×{height} pixels are more than {MAX_PIXELS // 10**6} megapixels, "
                "the most that is read; make it smaller first"
            )
        yield image
