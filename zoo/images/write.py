"""Writing coloured photographs: strips of rows in, one file out.

PNG and TIFF are written strip by strip, in 8 or 16 bits a channel: Pillow has no 16-bit colour,
and would hold the whole picture. The other formats go through Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, TiffImagePlugin

from zoo.errors import InputError
from zoo.images.exif import KEPT_BLOCKS, described, exif_bytes
from zoo.images.icc import srgb_profile
from zoo.images.metadata import Metadata
from zoo.images.open import HEIC_SUFFIXES, register_heif
from zoo.images.png import SIGNATURE, XMP_KEYWORD, content_of

Strip = npt.NDArray[Any]

QUALITY = 95
"""The quality of JPEG, WebP and HEIC; JPEG keeps its colours at full resolution (4:4:4)."""

_ZLIB_LEVEL = 6
_PILLOW_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": QUALITY, "subsampling": 0},
    "WEBP": {"quality": QUALITY, "exact": True},
    "HEIF": {"quality": QUALITY, "chroma": 444},
}


@dataclass(frozen=True)
class Format:
    """A file format that photographs can be written in.

    Attributes:
        name: Pillow's name of it.
        suffixes: those of its files, the usual one first.
        alpha: whether it can hold transparency.
        deep: whether it can hold 16 bits a channel.
        longest: the longest side it can hold, in pixels.
        holds: the fields of `Metadata` that it can hold; `comment` for the text of that name.
        block: bytes that each of them may have.
    """

    name: str
    suffixes: tuple[str, ...]
    alpha: bool = False
    deep: bool = False
    longest: int = 1 << 31
    holds: tuple[str, ...] = ()
    block: int = 1 << 31


FORMATS = {
    form.name: form
    for form in (
        Format(
            *("JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi")),
            longest=65_500,
            holds=("dpi", "exif", "xmp", "iptc", "comment"),
            block=65_500,  # a segment, less the name in front
        ),
        Format("PNG", (".png",), alpha=True, deep=True, holds=("dpi", "exif", "xmp", "texts")),
        Format(
            "TIFF", (".tif", ".tiff"), alpha=True, deep=True, holds=("dpi", "exif", "xmp", "iptc")
        ),
        Format("WEBP", (".webp",), alpha=True, longest=16_383, holds=("dpi", "exif", "xmp")),
        Format("BMP", (".bmp", ".dib"), holds=("dpi",)),
        Format("PPM", (".ppm", ".pnm")),
        Format("HEIF", HEIC_SUFFIXES, alpha=True, longest=16_384, holds=("dpi", "exif", "xmp")),
    )
}


@dataclass(frozen=True)
class Layout:
    """The shape of a picture to write, and what goes beside its pixels.

    Attributes:
        height: the picture's, in pixels.
        width: the picture's, in pixels.
        channels: 3, or 4 with alpha.
        bits: 8 or 16 per channel.
        metadata: no more than the format holds.
        profile: whether to embed the profile of sRGB.
    """

    height: int
    width: int
    channels: int
    bits: int
    metadata: Metadata = field(default_factory=Metadata)
    profile: bool = False


def find_format(suffix: str) -> Format | None:
    """The format that files of this suffix (`.jpg`, `jpg`, any case) are written in, if any.

    Raises:
        InputError: files of this suffix cannot hold colour.
    """
    suffix = f".{suffix.lower().removeprefix('.')}"
    if suffix in (".pgm", ".pbm"):
        raise InputError(
            f"{suffix[1:].upper()} files hold grey only; choose another with --format png"
        )
    return next((form for form in FORMATS.values() if suffix in form.suffixes), None)


def write_picture(path: Path, form: Format, layout: Layout, strips: Iterable[Strip]) -> None:
    """Writes a picture from its strips of rows, top to bottom, each rows×width×channels.

    All strips are of one height; the last one may be lower.

    Raises:
        InputError: the format cannot hold a picture like this.
    """
    if max(layout.height, layout.width) > form.longest:
        raise InputError(
            f"{form.name} holds at most {form.longest} px a side, this is "
            f"{layout.width}×{layout.height}; choose another with --format png"
        )
    if form.name in ("PNG", "TIFF"):
        write: Callable[..., None] = _write_png if form.name == "PNG" else _write_tiff
        with path.open("w+b") as file:
            write(file, layout, strips)
    else:
        _write_with_pillow(path, form, layout, strips)


def _write_with_pillow(path: Path, form: Format, layout: Layout, strips: Iterable[Strip]) -> None:
    if form.name == "HEIF":
        register_heif()
    mode = "RGBA" if layout.channels == 4 else "RGB"
    picture = Image.new(mode, (layout.width, layout.height), None)  # the strips fill it
    top = 0
    for strip in strips:
        picture.paste(Image.fromarray(strip), (0, top))
        top += len(strip)
    options, metadata = dict(_PILLOW_OPTIONS.get(form.name, {})), layout.metadata
    exif = dict(metadata.exif)
    if metadata.dpi and form.name in ("WEBP", "HEIF"):
        across, down = metadata.dpi
        exif |= {282: across, 283: down, 296: 2}
    if exif:
        options["exif"] = exif_bytes(exif, (layout.height, layout.width))
    if metadata.xmp:
        options["xmp"] = metadata.xmp
    if metadata.iptc:
        options["extra"] = _photoshop_segment(metadata.iptc)
    if metadata.texts:
        options["comment"] = "\n".join(text.text for text in metadata.texts).encode()
    if layout.profile:
        options["icc_profile"] = srgb_profile()
    if metadata.dpi:
        options["dpi"] = tuple(round(value) for value in metadata.dpi)
    # Given a file, Pillow's encoders write past Python and do not say why they could not.
    encoded = io.BytesIO()
    picture.save(encoded, format=form.name, **options)
    path.write_bytes(encoded.getbuffer())


def _photoshop_segment(iptc: bytes) -> bytes:
    """The segment APP13 of JPEG with IPTC-IIM, as Photoshop's image resource 0x0404."""
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(iptc)) + iptc + bytes(len(iptc) % 2)
    content = b"Photoshop 3.0\0" + resource
    return struct.pack(">HH", 0xFFED, len(content) + 2) + content


# ---- PNG (ISO/IEC 15948) ----------------------------------------------------------------


def _write_png(file: BinaryIO, layout: Layout, strips: Iterable[Strip]) -> None:
    chunk = partial(PngImagePlugin.putchunk, file)
    file.write(SIGNATURE)
    colour = 6 if layout.channels == 4 else 2
    head = (layout.width, layout.height, layout.bits, colour, 0, 0, 0)
    chunk(b"IHDR", struct.pack(">IIBBBBB", *head))
    if layout.profile:
        chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(srgb_profile()))
    metadata = layout.metadata
    if metadata.dpi:
        across, down = (round(value / 0.0254) for value in metadata.dpi)
        chunk(b"pHYs", struct.pack(">IIB", across, down, 1))
    if metadata.exif:
        block = exif_bytes(metadata.exif, (layout.height, layout.width))
        chunk(b"eXIf", block.removeprefix(b"Exif\0\0"))
    texts = PngImagePlugin.PngInfo()
    if metadata.xmp:
        texts.add_itxt(XMP_KEYWORD, metadata.xmp)
    for text in metadata.texts:
        if text.language or text.translated:
            texts.add_itxt(text.keyword, text.text, text.language, text.translated)
        else:
            texts.add_text(text.keyword, text.text)
    for kind, content, _ in texts.chunks:
        chunk(kind, content)
    packer = zlib.compressobj(_ZLIB_LEVEL)
    above: Strip | None = None
    for strip in strips:
        above = np.zeros_like(strip[:1]) if above is None else above
        if packed := packer.compress(_filtered(strip, above)):
            chunk(b"IDAT", packed)
        above = strip[-1:]
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _filtered(strip: Strip, above: Strip) -> bytes:
    """The rows after PNG's filter Paeth, ready to be compressed; `above` is the row before them.

    imagecodecs writes whole pictures only. It writes one of the strip without compression here,
    and its filtered rows are taken out.
    """
    import imagecodecs

    rows = np.concatenate((above, strip))
    plain = imagecodecs.png_encode(rows, level=0, filter=imagecodecs.PNG.FILTER.PAETH)
    filtered = zlib.decompress(content_of(io.BytesIO(plain), b"IDAT"))
    return filtered[len(filtered) // len(rows) :]


# ---- TIFF 6.0 ---------------------------------------------------------------------------

_SHORT, _LONG, _ASCII, _BYTE, _UNDEFINED = 3, 4, 2, 1, 7
_ORIENTATION, _XMP, _IPTC = 274, 700, 33723
_HEADER = b"II*\0\0\0\0\0"


def _write_tiff(file: BinaryIO, layout: Layout, strips: Iterable[Strip]) -> None:
    import imagecodecs
    import tifffile

    def pack(strip: Strip) -> bytes:
        ordered = strip.astype(strip.dtype.newbyteorder("<"), copy=False)
        return zlib.compress(imagecodecs.delta_encode(ordered, axis=1).tobytes(), _ZLIB_LEVEL)

    metadata = layout.metadata
    told: list[tuple[int, int, int | str | bytes]] = [(_ORIENTATION, _SHORT, 1)]  # upright
    told += [(_XMP, _BYTE, metadata.xmp)] if metadata.xmp else []
    told += [(_IPTC, _UNDEFINED, metadata.iptc)] if metadata.iptc else []
    exif = described(metadata.exif, (layout.height, layout.width))
    directories = {tag: exif.pop(tag) for tag in KEPT_BLOCKS if tag in exif}
    for tag, value in exif.items():
        if isinstance(value, str):
            told.append((tag, _ASCII, value.encode()))
        elif isinstance(value, bytes | int):
            told.append((tag, _BYTE if isinstance(value, bytes) else _SHORT, value))
    remaining = iter(strips)
    first = next(remaining)
    tifffile.imwrite(
        file,
        map(pack, chain((first,), remaining)),
        shape=(layout.height, layout.width, layout.channels),
        dtype=first.dtype,
        byteorder="<",
        photometric="rgb",
        extrasamples=("unassalpha",) if layout.channels == 4 else None,
        rowsperstrip=len(first),
        compression="zlib",
        predictor=True,
        resolution=metadata.dpi or (72, 72),
        resolutionunit="inch" if metadata.dpi else "none",
        iccprofile=srgb_profile() if layout.profile else None,
        extratags=[(tag, kind, 1, value, True) for tag, kind, value in told],
        # Otherwise tifffile writes a description of itself and of the array.
        software=False,
        metadata=None,
    )
    if directories:
        _add_directories(file, directories)


def _add_directories(file: BinaryIO, directories: dict[int, dict[int, Any]]) -> None:
    """Adds directories of EXIF, which tifffile leaves out, to the one directory of a file."""
    file.seek(4)
    file.seek(struct.unpack("<I", file.read(4))[0])
    count = struct.unpack("<H", file.read(2))[0]
    entries = [file.read(12) for _ in range(count)]
    for tag, values in directories.items():
        block = TiffImagePlugin.ImageFileDirectory_v2(_HEADER)
        block.update(values)
        place = _even_end(file)
        file.write(block.tobytes(place))
        entries.append(struct.pack("<HHII", tag, _LONG, 1, place))
    entries.sort(key=lambda entry: struct.unpack("<H", entry[:2]))
    place = _even_end(file)
    file.write(struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
    file.seek(4)
    file.write(struct.pack("<I", place))


def _even_end(file: BinaryIO) -> int:
    """The end of the file, on a word boundary, as TIFF wants it."""
    end = file.seek(0, io.SEEK_END)
    return end + file.write(bytes(end % 2))
