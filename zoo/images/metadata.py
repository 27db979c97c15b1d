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

from PIL import ExifTags, Image, IptcImagePlugin, JpegImagePlugin, TiffImagePlugin

from zoo.images.png import MOST_BYTES, XMP_KEYWORD, Text, scan_png
from zoo.images.xmp import current_xmp

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

# The maker's note has offsets that are wrong elsewhere, and previews.
_STALE_TAGS = (ExifTags.IFD.Interop.value, ExifTags.Base.MakerNote.value)

# IPTC-IIM 4.2: the envelope and the application record without the file's format, the image's
# type and orientation, and the preview. Records 3 to 9 hold how an image is coded, and data.
_KEPT_RECORDS = (1, 2)
_STALE_DATASETS = {(1, 20), (1, 22), (2, 130), (2, 131), (2, 200), (2, 201), (2, 202)}

# Texts that ImageMagick and thumbnailers write of the file, not of the photograph.
_STALE_TEXTS = ("Raw profile type ", "Thumb::", "exif:", "tiff:", "icc:", "jpeg:", "png:", "date:")
COMMENT = "Comment"
"""The keyword of the text that JPEG holds."""

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
    exif, orientation = read_exif(image)
    scan = scan_png(path) if image.format == "PNG" else None
    texts = _comment(image) if scan is None else scan.texts
    notes = [] if scan is None else list(scan.left_out)
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
    dpi = _checked_dpi(image.info.get("dpi"), orientation)
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


# ---- EXIF -------------------------------------------------------------------------------


def read_exif(image: Image.Image) -> tuple[dict[int, Any], int]:
    """The EXIF tags that are kept, and the orientation; none from a damaged block."""
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
                if tag not in _STALE_TAGS and not isinstance(value, dict)
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
    """The EXIF tags with colour space and size, where they have them, brought up to date."""
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
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        stored = len(image.tag_v2._tagdata.get(TiffImagePlugin.IPTC_NAA_CHUNK, b""))
        if stored > MOST_BYTES:
            raise ValueError(_too_large(stored))
    elif not isinstance(image, JpegImagePlugin.JpegImageFile):
        return b""
    try:
        found = IptcImagePlugin.getiptcinfo(image) or {}
    except Exception:
        raise ValueError("it is damaged") from None
    datasets = []
    for (record, number), values in found.items():
        if record not in _KEPT_RECORDS or (record, number) in _STALE_DATASETS:
            continue
        for value in values if isinstance(values, list) else [values]:
            content = value or b""
            if len(content) < 1 << 15:  # longer ones have another form, and are no captions
                datasets.append(struct.pack(">BBBH", 0x1C, record, number, len(content)) + content)
    return b"".join(datasets)


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
