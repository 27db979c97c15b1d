"""EXIF of a file: each tag for itself, so that one that is damaged costs no other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

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


def orientation_of(image: Image.Image) -> int:
    """The orientation as stored, 1 … 8; 1 where there is none, or none that can be read."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation.value, 1)
        if isinstance(value, bytes | tuple):
            value = value[0]
        number = int(value)
    except Exception:
        # Pillow's parser fails in many ways on damaged EXIF; the pixels are good.
        return 1
    return number if number in range(1, 9) else 1


def read_exif(image: Image.Image) -> tuple[dict[int, Any], tuple[str, ...]]:
    """The EXIF tags that are kept, with a dictionary for each inner directory, and notes."""
    try:
        found = image.getexif()
        if not len(found) and image.info.get("exif"):
            Image.Exif().load(image.info["exif"])  # what failed at opening is empty from then on
        tags: dict[int, Any] = {}
        damaged: list[str] = []
        for tag in _KEPT_TAGS:
            _take(found, tag, tags, damaged)
    except Exception:
        return {}, ("its EXIF is left out: it is damaged",)
    # Some programs describe the array there, which is no longer the same.
    if str(tags.get(ExifTags.Base.ImageDescription.value)).startswith(('{"shape"', "ImageJ=")):
        del tags[ExifTags.Base.ImageDescription.value]
    for block in KEPT_BLOCKS:
        try:
            inner = found.get_ifd(block)
        except Exception:
            damaged.append(ExifTags.IFD(block).name)
            continue
        kept: dict[int, Any] = {}
        for tag, value in inner.items():
            if tag not in _STALE_TAGS and not isinstance(value, dict):
                _take(inner, tag, kept, damaged, block)
        if kept:
            tags[block] = kept
    if not damaged:
        return tags, ()
    verb = "tag {} is" if len(damaged) == 1 else "tags {} are"
    return tags, (f"its EXIF {verb.format(', '.join(damaged))} left out: damaged",)


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


def _take(
    source: Mapping[int, Any],
    tag: int,
    kept: dict[int, Any],
    damaged: list[str],
    block: int | None = None,
) -> None:
    """Puts a tag's value into `kept`, or its name into `damaged` if it cannot be written."""
    try:
        if tag not in source:
            return
        value = source[tag]
        exif_bytes({tag: value} if block is None else {block: {tag: value}})
    except Exception:
        names = ExifTags.GPSTAGS if block == ExifTags.IFD.GPSInfo.value else ExifTags.TAGS
        damaged.append(names.get(tag, f"0x{tag:04X}"))
        return
    kept[tag] = value
