"""Reading image files safely, whatever their mode.

Every image that a user brings is opened here first, as what its content is, whatever its suffix.
`read_image` opens and checks a file, `to_rgb` gives its colours as sRGB and `to_grey` its
lightness as 8-bit grey; `deep_samples` gives the 16 bits that Pillow would cut down. Alpha is
dropped: the stored colours are what a photograph is made of, and the caller still has the
transparency.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

from zoo.arrays import UInt8Array, strips, to_8_bits
from zoo.errors import InputError, PassingInputError
from zoo.images import kinds
from zoo.images.any_size import any_size
from zoo.images.exif import orientation_of
from zoo.images.icc import declared_profile
from zoo.images.jpeg import decode_jpeg
from zoo.images.levels import dark_note, levels_of_floats
from zoo.images.png import Scan, read_png, scan_png, without_gaps
from zoo.images.tiff import TiffImage, open_tiff
from zoo.text import first_line

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".png", ".webp", ".bmp", ".dib"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".pbm"),
)
"""Suffixes of files that are taken for photographs unread; others are known by their content."""

MAX_PIXELS = 200_000_000
"""Larger images are refused: a few kilobytes of PNG can ask for terabytes of memory."""

MAX_SIDE = 1_000_000
"""A longer side is refused: decoders keep some bytes for every row, however short it is."""

RESIZE_KERNEL = "lanczos"
"""The antialiased kernel of Pillow that tiles of datasets and sheets are resized by.

What a network is shown is resized by `zoo.prediction.working_size.resized`.
"""

SQUARE_CROP = "centre square"
"""The name of what `square_tile` cuts, for `DatasetInfo.crop`."""

GREY_CHROMA = 5.0
"""An image is grey if |a| and |b| of all its pixels are at most this, in CIE Lab units."""

# Formats named one by one: Pillow would also hand a file to Ghostscript, if it asks for it.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "PPM")
HEIC_SUFFIXES = (".heic", ".heif", ".hif")
"""Files that are read and written where the extra `heic` is installed."""
# What the system says of a path or a file itself; of damaged files, too: they tell of places
# that are none, for which a seek is EINVAL.
_LASTING = (
    *(errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP),
    *(errno.ENAMETOOLONG, errno.EINVAL),
)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow reads the orientation of a decoded image from.
_ORIENTED = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


def read_image(path: Path | str) -> Image.Image:
    """Opens and decodes a file; turns it upright as its EXIF orientation says.

    The first frame is taken of a file that has several. Damaged EXIF is passed over. 16-bit
    colour is rounded to 8 bits.

    Raises:
        InputError: one line, `PATH: reason`: missing, empty, truncated, corrupt, no image, or
            larger than `MAX_PIXELS`.
    """
    with open_image(path) as image:
        info = dict(image.info)
        # Before EXIF is asked for: that may decode the file.
        samples = None if isinstance(image, TiffImage) else deep_samples(image, path)[0]
        orientation = orientation_of(image)
        if samples is not None:
            bands = [Image.fromarray(band) for band in np.moveaxis(to_8_bits(samples), 2, 0)]
            image = Image.merge(("L", "LA", "RGB", "RGBA")[len(bands) - 1], bands)
        else:
            image, _ = decode(image, path)
        if image.mode == "F":
            image = Image.fromarray(to_grey(image))
        turned = _turned(image, orientation)
        profile = info.get("icc_profile")
        if profile:
            turned.info["icc_profile"] = profile
        return turned


def upright(image: Image.Image) -> Image.Image:
    """A PIL image turned as its EXIF orientation says; the image itself where it is upright."""
    image.load()  # as it decodes a TIFF, Pillow turns it, and takes the orientation away
    orientation = orientation_of(image)
    return _turned(image, orientation) if orientation != 1 else image


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    """A copy of an image, turned as that orientation says, which it does not have any more."""
    if orientation not in _TURNS:
        return image.copy()
    turned = image.transpose(_TURNS[orientation])
    for key in _ORIENTED:
        turned.info.pop(key, None)
    return turned


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
        InputError: as `read_image` does, for whatever goes wrong in the block; a
            `PassingInputError` where that is not the file's own fault.
    """
    kind = InputError
    try:
        with _open(path) as image:
            yield image
        return
    except InputError as error:
        text = str(error)
        raise type(error)(text if text.startswith(f"{path}: ") else f"{path}: {text}") from None
    except UnidentifiedImageError:
        empty = Path(path).stat().st_size == 0
        reason = "the file is empty" if empty else kinds.why_unread(path)
    except MemoryError:
        kind, reason = PassingInputError, "there is not enough memory to decode it"
    except Exception as error:
        system = isinstance(error, OSError) and error.strerror
        reason = str(system) if system else f"damaged or truncated: {first_line(error)}"
        kind = PassingInputError if isinstance(error, OSError) and may_pass(error) else InputError
    raise kind(f"{path}: {reason}")


def may_pass(error: OSError) -> bool:
    """Whether what the system could not read now may be read later, with nothing changed there."""
    return error.errno is not None and error.errno not in _LASTING


def decode(image: Image.Image, path: Path | str) -> tuple[Image.Image, tuple[str, ...]]:
    """An opened image, decoded to what Pillow holds of it, and notes."""
    if image.format in ("JPEG", "MPO"):
        return decode_jpeg(image, path)
    image.load()
    return image, ()


def deep_samples(
    image: Image.Image, path: Path | str
) -> tuple[npt.NDArray[np.uint16] | None, tuple[str, ...]]:
    """The samples of a file of 16 bits that Pillow would cut down, H×W×C, and notes.

    They are grey or RGB, with alpha where there is a fourth or a second. None of other files.
    """
    if isinstance(image, TiffImage):
        return (image.samples().pixels, ()) if image.deep else (None, ())
    tiles: Any = getattr(image, "tile", ())
    if image.format == "PPM" and image.mode == "RGB" and tiles and tiles[0][0] == "ppm":
        return _deep_ppm(image, path), ()
    if image.format != "PNG" or not tiles or not str(tiles[0].args).endswith(";16B"):
        return None, ()
    key = image.info.get("transparency")
    if image.mode == "I;16" and key is None:
        return None, ()  # Pillow's 16-bit grey is good, unless a value stands for transparent
    import imagecodecs

    pixels = np.asarray(imagecodecs.png_decode(read_png(path)))
    pixels = pixels if pixels.ndim == 3 else pixels[:, :, None]
    if pixels.dtype != np.uint16 or pixels.shape[1::-1] != image.size:
        raise InputError("its 16-bit pixels cannot be read")
    if key is not None and pixels.shape[2] in (1, 3):
        opaque = (pixels != np.asarray(key, np.uint16)).any(axis=2, keepdims=True)
        pixels = np.concatenate((pixels, opaque * np.uint16(65535)), axis=2)
    return pixels, dark_note(int(pixels[:, :, : pixels.shape[2] - 1 or 1].max()))


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
    [0, 1], [0, 255] or [0, 65535], the first of them that its values fit in, less a little
    beyond black and white.

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
        return to_8_bits(levels_of_floats(np.asarray(image)).values)
    rgb = to_rgb(image)
    grey: UInt8Array = np.empty(rgb.shape[:2], dtype=np.uint8)
    for rows in strips(*grey.shape):
        grey[rows] = lightness_grey(rgb[rows], 255)
    return grey


def lightness_grey(rgb: npt.NDArray[Any], white: int) -> npt.NDArray[np.float32]:
    """The sRGB grey that has the lightness of H×W×3 sRGB, rounded, from 0 to `white`: H×W."""
    import torch

    from zoo.color.lab import rgb_to_grey

    planes = torch.from_numpy(np.ascontiguousarray(rgb.transpose(2, 0, 1)))[None]
    grey: npt.NDArray[np.float32] = (rgb_to_grey(planes) * white).round()[0, 0].numpy()
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


PIL_BILINEAR = "bilinear, antialiased"
"""Pillow's bilinear kernel, which widens as it reduces; a name for `DatasetInfo.resize`."""

PLAIN_BILINEAR = "bilinear, not antialiased"
"""OpenCV's INTER_LINEAR, which looks at four pixels however much it reduces."""

SQUASHED = "none, squashed"
"""A whole image made square, whatever its sides; a name for `DatasetInfo.crop`."""


def prepared_tile(rgb: UInt8Array, side: int, crop: str, kernel: str) -> UInt8Array:
    """An H×W×3 image as papers prepare it: side×side×3.

    Args:
        rgb: the image.
        side: of the tile, in pixels.
        crop: `SQUARE_CROP`, the centre square of full size cut out first, or `SQUASHED`.
        kernel: `PIL_BILINEAR` or `PLAIN_BILINEAR`.
    """
    if crop == SQUARE_CROP:
        height, width = rgb.shape[:2]
        short = min(height, width)
        top, left = round((height - short) / 2), round((width - short) / 2)
        rgb = rgb[top : top + short, left : left + short]
    if kernel == PIL_BILINEAR:
        return np.array(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR))
    import torch
    import torch.nn.functional as F

    planes = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float()
    small = F.interpolate(planes, (side, side), mode="bilinear", align_corners=False)
    tile: UInt8Array = small[0].round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return tile


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


@contextlib.contextmanager
def _open(path: Path | str) -> Iterator[Image.Image]:
    kind = os.stat(path).st_mode  # noqa: PTH116 (cheaper: there may be 100,000 of them)
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise InputError(f"{kinds.name_of_special(kind)}, not a file")
    with Path(path).open("rb") as file:
        head = file.read(kinds.HEAD)
    if head.startswith(kinds.TIFF):
        with open_tiff(path) as tiff:
            _check_size(tiff)
            yield tiff
        return
    scan = scan_png(path)
    source = without_gaps(path, scan) if scan.gaps else path
    formats: tuple[str, ...] = _FORMATS
    if kinds.is_heic(head):
        register_heif()
        formats = ("HEIF",)
    with any_size():
        image: Image.Image = Image.open(source, formats=formats)
    with image:
        _check_size(image)
        if image.format == "PNG":
            _correct_png(image, scan)
        elif image.format == "BMP":
            profile = kinds.profile_of_bmp(path)
            image.info.update({"icc_profile": profile} if profile else {})
        yield image


def _check_size(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width}×{height} pixels are more than {MAX_PIXELS // 10**6} megapixels, "
            "the most that is read; make it smaller first"
        )
    if max(width, height) > MAX_SIDE:
        raise InputError(
            f"{width}×{height} pixels: a side is longer than {MAX_SIDE}, the most that is read"
        )
    if width < 1 or height < 1:
        raise InputError(f"{width}×{height} pixels: there is no picture in it")
    if isinstance(image, TiffImage):
        image.check_size()


def register_heif() -> None:
    """Makes Pillow read and write HEIC.

    Raises:
        InputError: the extra `heic` is not installed.
    """
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise InputError(
            "HEIC is read and written with pillow-heif: type pip install 'colorizer-zoo[heic]'"
        ) from None
    register_heif_opener()


def _correct_png(image: Image.Image, scan: Scan) -> None:
    """Makes up for what Pillow does not do with the declarations of a PNG."""
    key, bits = image.info.get("transparency"), scan.bits
    if image.mode == "L" and bits < 8 and isinstance(key, int):
        # It widens the pixels to 8 bits and leaves the transparent value as it was.
        image.info["transparency"] = key * 255 // ((1 << bits) - 1)
    if not image.info.get("icc_profile"):
        profile = declared_profile(scan.chunks, image.mode in ("1", "L", "LA", "I;16"))
        if profile:
            image.info["icc_profile"] = profile


def _deep_ppm(image: Image.Image, path: Path | str) -> npt.NDArray[np.uint16] | None:
    tile: Any = image.tile[0]  # type: ignore[attr-defined]
    white = tile[3][-1] if isinstance(tile[3], tuple) else 255
    if white < 256 or white > 65535:
        return None
    width, height = image.size
    with Path(path).open("rb") as file:
        if file.read(2) != b"P6":
            return None
        file.seek(tile[2])
        stored = np.fromfile(file, ">u2", 3 * width * height)
    if stored.size != 3 * width * height:
        raise OSError("the file ends before the picture does")
    pixels = np.minimum(stored, white).reshape(height, width, 3).astype(np.uint32)
    deep: npt.NDArray[np.uint16] = ((pixels * 65535 + white // 2) // white).astype(np.uint16)
    return deep
