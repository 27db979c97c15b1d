"""Metadata of a photograph: read from its file, brought up to date, cut to what a format holds.

Kept are EXIF, resolution, XMP, IPTC-IIM and the texts of PNG. What would be wrong of the
coloured picture is not: thumbnails, orientation, sizes, the old colour space and profile.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from zoo.images.exif import exif_bytes, orientation_of, read_exif
from zoo.images.icc import is_unknown
from zoo.images.png import MOST_BYTES, XMP_KEYWORD, Text, scan_png
from zoo.images.tiff import TiffImage
from zoo.images.xmp import current_xmp

# IPTC-IIM 4.2: the envelope and the application record without the file's format, the image's
# type and orientation, and the preview. Records 3 to 9 hold how an image is coded, and data.
_KEPT_RECORDS = (1, 2)
_STALE_DATASETS = {(1, 20), (1, 22), (2, 130), (2, 131), (2, 200), (2, 201), (2, 202)}

# Texts that ImageMagick and thumbnailers write of the file, not of the photograph.
_STALE_TEXTS = ("Raw profile type ", "Thumb::", "exif:", "tiff:", "icc:", "jpeg:", "png:", "date:")
COMMENT = "Comment"
"""The keyword of the text that JPEG holds."""

# What JPEG can hold.
_LEAST_DPI, _MOST_DPI = 0.5, 65535

_TITLES = {"exif": "EXIF", "xmp": "XMP", "iptc": "IPTC"}


@dataclass(frozen=True)
class Metadata:
    """The metadata of a photograph that are kept.

    Attributes:
        exif: EXIF tags that describe the photograph; nested dictionaries for its directories.
        dpi: pixels per inch across and down, where the file says so.
        xmp: an XMP packet in UTF-8, or empty.
        iptc: the datasets of IPTC-IIM, one after the other, or empty.
        texts: PNG's texts; the comment of JPEG has the keyword `Comment`.
    """

    exif: dict[int, Any] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    xmp: bytes = b""
    iptc: bytes = b""
    texts: tuple[Text, ...] = ()


def read_metadata(image: Image.Image, path: Path | str) -> tuple[Metadata, int, tuple[str, ...]]:
    """The metadata, the EXIF orientation (1 … 8) as stored, and notes of what is left out."""
    exif, damaged = read_exif(image)
    orientation = orientation_of(image)
    scan = scan_png(path) if image.format == "PNG" else None
    texts = _comment(image) if scan is None else scan.texts
    notes = [*damaged, *(scan.left_out if scan is not None else ())]
    if scan is not None and not image.info.get("icc_profile") and is_unknown(scan.chunks):
        notes.append("its colours are declared as HDR or of another kind not known: read as sRGB")
    xmp = iptc = b""
    try:
        xmp = _read_xmp(image, texts)
    except ValueError as error:
        notes.append(f"its XMP is left out: {error}")
    try:
        iptc = _read_iptc(image)
    except ValueError as error:
        notes.append(f"its IPTC is left out: {error}")
    kept = tuple(t for t in texts if not t.keyword.startswith((XMP_KEYWORD, *_STALE_TEXTS)))
    dpi, lost = _resolution(image, orientation)
    notes += [lost] if lost else []
    return Metadata(exif, dpi, xmp, iptc, kept), orientation, tuple(notes)


def fit_metadata(
    metadata: Metadata, form: str, holds: Collection[str], most: int
) -> tuple[Metadata, tuple[str, ...]]:
    """The part of the metadata that a format can hold, and notes of what is left out.

    Args:
        metadata: what a photograph has.
        form: the format's name, for the notes.
        holds: the fields of `Metadata` that it holds. Of texts, JPEG holds the comment.
        most: bytes that each of them may have.
    """
    sizes = {
        "exif": len(exif_bytes(metadata.exif)) if metadata.exif else 0,
        "xmp": len(metadata.xmp),
        "iptc": len(metadata.iptc),
    }
    changes: dict[str, Any] = {}
    notes = []
    if metadata.dpi and "dpi" not in holds:
        notes.append(f"its resolution is left out: {form} does not hold it")
        changes["dpi"] = None
    for name, size in sizes.items():
        if size and name not in holds:
            notes.append(f"its {_TITLES[name]} is left out: {form} does not hold it")
        elif size > most:
            notes.append(
                f"its {_TITLES[name]} of {size} bytes is left out: {form} holds at most {most}"
            )
        else:
            continue
        changes[name] = {} if name == "exif" else b""
    if "texts" not in holds:
        room = most if "comment" in holds else 0
        kept = [text for text in metadata.texts if text.keyword == COMMENT]
        kept = [text for text in kept[:1] if len(text.text.encode()) <= room]
        lost = [repr(text.keyword) for text in metadata.texts if text not in kept]
        changes["texts"] = tuple(kept)
        if lost:
            what = "text" if len(lost) == 1 else "texts"
            verb = "is" if len(lost) == 1 else "are"
            notes.append(f"its {what} {', '.join(lost)} {verb} left out: no place in {form}")
    return replace(metadata, **changes), tuple(notes)


# ---- resolution -------------------------------------------------------------------------


def _resolution(image: Image.Image, orientation: int) -> tuple[tuple[float, float] | None, str]:
    """Pixels per inch of the upright picture, and a note of what is left out."""
    dpi, aspect = image.info.get("dpi"), image.info.get("aspect")
    if dpi is None and image.format in ("WEBP", "HEIF"):
        dpi = _exif_dpi(image)
    if image.info.get("jfif_unit") == 0:
        aspect = image.info.get("jfif_density")
    try:
        across, down = (float(value) for value in dpi or aspect or (0, 0))
    except (TypeError, ValueError, ZeroDivisionError):
        return None, "its resolution is left out: it is damaged"
    if not dpi:
        if across == down or not (across > 0 and down > 0):
            return None, ""
        return None, f"its pixels are not square ({across:g}:{down:g}), which is not kept"
    if across == down == 0:
        return None, ""
    if not (_LEAST_DPI <= across <= _MOST_DPI and _LEAST_DPI <= down <= _MOST_DPI):
        return None, f"its resolution of {across:g}×{down:g} pixels per inch is left out"
    return ((down, across) if orientation >= 5 else (across, down)), ""


def _exif_dpi(image: Image.Image) -> tuple[Any, Any] | None:
    """The resolution in EXIF, which is where WebP and HEIC have it."""
    try:
        exif = image.getexif()
        scale = 2.54 if exif.get(ExifTags.Base.ResolutionUnit.value) == 3 else 1
        across, down = exif[ExifTags.Base.XResolution.value], exif[ExifTags.Base.YResolution.value]
        return across * scale, down * scale
    except Exception:
        return None


# ---- XMP, IPTC, comments ----------------------------------------------------------------


def _read_xmp(image: Image.Image, texts: tuple[Text, ...]) -> bytes:
    found: str | bytes = image.info.get("xmp") or b""
    if image.format == "PNG":
        found = next((text.text for text in texts if text.keyword == XMP_KEYWORD), "")
    packet = found.encode() if isinstance(found, str) else bytes(found)
    if len(packet) > MOST_BYTES:
        raise ValueError(_too_large(len(packet)))
    return current_xmp(packet) if packet else b""


def _read_iptc(image: Image.Image) -> bytes:
    """The datasets of IPTC-IIM that are kept, as they are stored (IPTC-IIM 4.2, 1.5 and 1.6)."""
    stored = image.iptc if isinstance(image, TiffImage) else _photoshop(image).get(0x0404, b"")
    if not isinstance(stored, bytes):
        raise ValueError("it is damaged")
    if len(stored) > MOST_BYTES:
        raise ValueError(_too_large(len(stored)))
    kept, place = [], 0
    while stored[place:].strip(b"\0"):
        if len(stored) < place + 5 or stored[place] != 0x1C:
            raise ValueError("it is damaged")
        record, number, size = struct.unpack(">BBH", stored[place + 1 : place + 5])
        start, long = place + 5, size >> 15
        if long:  # the size of the size; such are no captions
            start += size & 0x7FFF
            size = int.from_bytes(stored[place + 5 : start], "big")
        end = start + size
        if not long and record in _KEPT_RECORDS and (record, number) not in _STALE_DATASETS:
            kept.append(stored[place:end])
        if end > len(stored):
            raise ValueError("it is damaged")
        place = end
    return b"".join(kept)


def _photoshop(image: Image.Image) -> dict[int, Any]:
    found = image.info.get("photoshop")
    return found if image.format in ("JPEG", "MPO") and isinstance(found, dict) else {}


def _comment(image: Image.Image) -> tuple[Text, ...]:
    comment = image.info.get("comment")
    if image.format not in ("JPEG", "MPO") or not isinstance(comment, bytes):
        return ()
    try:
        text = comment.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        text = comment.decode("latin-1")
    return (Text(COMMENT, text),) if text else ()


def _too_large(size: int) -> str:
    return f"it has {size} bytes, and at most {MOST_BYTES >> 20} MiB is kept"
