"""Writing coloured photographs: strips of rows in, one file out.

PNG and TIFF are written here, strip by strip, in 8 or 16 bits a channel: Pillow has no 16-bit
colour, and would hold the whole picture. The other formats go through Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, TiffImagePlugin

from zoo.errors import InputError
from zoo.images.icc import srgb_profile
from zoo.images.metadata import KEPT_BLOCKS, Metadata, described, exif_bytes
from zoo.images.open import HEIC_SUFFIXES
from zoo.images.png import XMP_KEYWORD, Text, text_chunk

Strip = npt.NDArray[Any]

QUALITY = 95
"""Of JPEG, WebP and HEIC; JPEG keeps its colours at full resolution (4:4:4)."""

_ZLIB_LEVEL = 6
_PILLOW_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": QUALITY, "subsampling": 0},
    "WEBP": {"quality": QUALITY, "exact": True},
    "HEIF": {"quality": QUALITY, "chroma": 444},
}


@dataclass(frozen=True)
class Format:
    """A format that is written.

    Attributes:
        name: Pillow's.
        suffixes: of its files, the usual one first.
        alpha: it can hold transparency.
        deep: it can hold 16 bits a channel.
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
            *("JPEG", (".jpg", ".jpeg")),
            longest=65_500,
            holds=("exif", "xmp", "iptc", "comment"),
            block=65_500,  # a segment, less the name in front
        ),
        Format("PNG", (".png",), alpha=True, deep=True, holds=("exif", "xmp", "texts")),
        Format("TIFF", (".tif", ".tiff"), alpha=True, deep=True, holds=("exif", "xmp", "iptc")),
        Format("WEBP", (".webp",), alpha=True, longest=16_383, holds=("exif", "xmp")),
        Format("BMP", (".bmp",)),
        Format("PPM", (".ppm",)),
        Format("HEIF", HEIC_SUFFIXES, alpha=True, longest=16_384, holds=("exif", "xmp")),
    )
}
_READ_ONLY = {".pgm": "PGM files hold grey only"}


@dataclass(frozen=True)
class Layout:
    """What a picture is like, beside its pixels.

    Attributes:
        height: in pixels.
        width: in pixels.
        channels: 3, or 4 with alpha.
        bits: 8 or 16 per channel.
        metadata: no more than the format holds.
        profile: embed the profile of sRGB.
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
    if suffix in _READ_ONLY:
        raise InputError(f"{_READ_ONLY[suffix]}; choose another with --format png")
    return next((form for form in FORMATS.values() if suffix in form.suffixes), None)


def write_picture(path: Path, form: Format, layout: Layout, strips: Iterable[Strip]) -> None:
    """Writes a picture from its strips of rows, top to bottom, each rows×width×channels.

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
        with path.open("wb") as file:
            write(file, layout, strips)
    else:
        _write_with_pillow(path, form, layout, strips)


def _write_with_pillow(path: Path, form: Format, layout: Layout, strips: Iterable[Strip]) -> None:
    mode = "RGBA" if layout.channels == 4 else "RGB"
    picture = Image.new(mode, (layout.width, layout.height))
    top = 0
    for strip in strips:
        picture.paste(Image.fromarray(strip), (0, top))
        top += len(strip)
    options, metadata = dict(_PILLOW_OPTIONS.get(form.name, {})), layout.metadata
    if metadata.exif:
        options["exif"] = exif_bytes(metadata.exif, (layout.height, layout.width))
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
    def chunk(kind: bytes, content: bytes) -> None:
        if content or kind == b"IEND":
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(kind + content)))

    file.write(b"\x89PNG\r\n\x1a\n")
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
    packets = [Text(XMP_KEYWORD, metadata.xmp.decode())] if metadata.xmp else []
    for text in (*packets, *metadata.texts):
        chunk(*text_chunk(text))
    packer = zlib.compressobj(_ZLIB_LEVEL)
    step = layout.channels * layout.bits // 8
    above = np.zeros((1, layout.width * step), np.uint8)
    for strip in strips:
        rows = _bytes_of_rows(strip, ">u2")
        chunk(b"IDAT", packer.compress(_paeth(rows, above, step)))
        above = rows[-1:]
    chunk(b"IDAT", packer.flush())
    chunk(b"IEND", b"")


def _bytes_of_rows(strip: Strip, deep: str) -> npt.NDArray[np.uint8]:
    ordered = strip.astype(deep) if strip.dtype == np.uint16 else np.ascontiguousarray(strip)
    return ordered.reshape(len(strip), -1).view(np.uint8)


def _paeth(rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], step: int) -> bytes:
    """Filter type 4 on every row: the difference to what left, upper and upper left foretell."""
    upper = np.concatenate((above, rows[:-1]))
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, step:], corner[:, step:] = rows[:, :-step], upper[:, :-step]
    a, b, c = (plane.astype(np.int16) for plane in (left, upper, corner))
    to_a, to_b = np.abs(b - c), np.abs(a - c)
    to_c = np.abs(a + b - 2 * c)
    foretold = np.where(
        (to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, upper, corner)
    )
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = 4
    np.subtract(rows, foretold, out=filtered[:, 1:])
    return filtered.tobytes()


# ---- TIFF 6.0 ---------------------------------------------------------------------------

_SHORT, _LONG, _RATIONAL, _ASCII, _BYTE, _UNDEFINED = 3, 4, 5, 2, 1, 7
_XMP, _IPTC, _ICC_PROFILE = 700, 33723, 34675


def _write_tiff(file: BinaryIO, layout: Layout, strips: Iterable[Strip]) -> None:
    file.write(b"II*\0\0\0\0\0")
    offsets, counts, rows_per_strip = [], [], 0
    for strip in strips:
        rows_per_strip = max(rows_per_strip, len(strip))
        # Predictor 2: each sample less the one to its left. Wraps around, as it should.
        differences = strip.copy()
        differences[:, 1:] -= strip[:, :-1]
        content = zlib.compress(_bytes_of_rows(differences, "<u2").tobytes(), _ZLIB_LEVEL)
        offsets.append(_even(file))
        counts.append(len(content))
        file.write(content)

    metadata = layout.metadata
    across, down = metadata.dpi or (72.0, 72.0)
    tags: dict[int, tuple[int, list[Any] | bytes]] = {
        256: (_LONG, [layout.width]),
        257: (_LONG, [layout.height]),
        258: (_SHORT, [layout.bits] * layout.channels),
        259: (_SHORT, [8]),  # deflate
        262: (_SHORT, [2]),  # RGB
        273: (_LONG, offsets),
        274: (_SHORT, [1]),  # upright
        277: (_SHORT, [layout.channels]),
        278: (_LONG, [rows_per_strip]),
        279: (_LONG, counts),
        282: (_RATIONAL, [across]),
        283: (_RATIONAL, [down]),
        284: (_SHORT, [1]),  # samples of a pixel side by side
        296: (_SHORT, [2 if metadata.dpi else 1]),  # inch, or no unit
        317: (_SHORT, [2]),
    }
    if layout.channels == 4:
        tags[338] = (_SHORT, [2])  # alpha, not multiplied in
    if layout.profile:
        tags[_ICC_PROFILE] = (_UNDEFINED, srgb_profile())
    if metadata.xmp:
        tags[_XMP] = (_BYTE, metadata.xmp)
    if metadata.iptc:
        tags[_IPTC] = (_UNDEFINED, metadata.iptc)
    for tag, value in described(metadata.exif, (layout.height, layout.width)).items():
        if tag in KEPT_BLOCKS:
            block = TiffImagePlugin.ImageFileDirectory_v2(b"II*\0\0\0\0\0")
            for inner, content in value.items():
                block[inner] = content
            tags[tag] = (_LONG, [start := _even(file)])
            file.write(block.tobytes(start))
        elif isinstance(value, str):
            tags[tag] = (_ASCII, value.encode("utf-8") + b"\0")
        elif isinstance(value, bytes):
            tags[tag] = (_BYTE, value)
        elif isinstance(value, int):
            tags[tag] = (_SHORT, [value])
    start = _write_directory(file, tags)
    file.seek(4)
    file.write(struct.pack("<I", start))


def _even(file: BinaryIO) -> int:
    """Where the next value starts: on a word boundary, as TIFF wants it."""
    if file.tell() % 2:
        file.write(b"\0")
    return file.tell()


def _write_directory(file: BinaryIO, tags: dict[int, tuple[int, list[Any] | bytes]]) -> int:
    entries = []
    for tag, (kind, values) in sorted(tags.items()):
        if isinstance(values, bytes):
            count, content = len(values), values
        elif kind == _RATIONAL:
            count = len(values)
            content = b"".join(struct.pack("<II", round(v * 1000), 1000) for v in values)
        else:
            count = len(values)
            content = struct.pack(f"<{count}{'H' if kind == _SHORT else 'I'}", *values)
        if len(content) > 4:
            place = _even(file)
            file.write(content)
            content = struct.pack("<I", place)
        entries.append(struct.pack("<HHI", tag, kind, count) + content.ljust(4, b"\0"))
    start = _even(file)
    file.write(struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
    return start
