"""Kinds of files by their content: what is read, and the true name of what is not."""

from __future__ import annotations

import stat
import struct
from pathlib import Path

from PIL import Image

from zoo.text import first_line

HEAD = 64
"""Bytes at the start that tell a file's kind."""

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What a TIFF starts with; the last two have 64-bit offsets (BigTIFF)."""

# Formats that are read, by their start: why one of them is not is asked of Pillow.
_READ = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WEBP",
    b"BM": "BMP",
    **{b"P%d" % number: "PPM" for number in range(1, 7)},
    b"Pf": "PPM",
}
_UNREAD = {
    b"GIF8": "a GIF",
    b"\0\0\0\x0cjP  ": "a JPEG 2000",
    b"\xff\x4f\xff\x51": "a JPEG 2000",
    b"\0\0\0\x0cJXL ": "a JPEG XL",
    b"\xff\x0a": "a JPEG XL",
    b"II\xbc": "a JPEG XR",
    b"\xff\xd8\xff\xf7": "a JPEG-LS",
    b"v/1\x01": "an OpenEXR",
    b"#?RADIANCE": "a Radiance HDR",
    b"#?RGBE": "a Radiance HDR",
    b"8BPS": "a Photoshop",
    b"gimp xcf": "a GIMP",
    b"%PDF": "a PDF",
    b"%!PS": "a PostScript",
    b"\xc5\xd0\xd3\xc6": "a PostScript",
    b"\0\0\1\0": "an icon",
    b"qoif": "a QOI",
    b"PF": "a colour PFM",
    b"P7": "a PAM",
    b"DDS ": "a DDS",
    b"SIMPLE": "a FITS",
    b"<svg": "an SVG",
    b"<?xml": "an XML",
    b"<!DOCTYPE": "an HTML",
    b"<html": "an HTML",
    b"PK\3\4": "a ZIP",
    b"version https://git-lfs": "a Git LFS pointer",
}
_OTHER = "not an image of a format that is read here"
_RAW = (b"FUJIFILMCCD-RAW", b"\0MRM", b"FOVb", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"HEAPCCDR")
_HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}


def is_heic(head: bytes) -> bool:
    """Whether a file that starts like this is HEIC, whatever its name."""
    brands = _brands(head)
    return bool(brands) and brands[0] in _HEIC and not _AVIF & set(brands)


def why_unread(path: Path | str) -> str:
    """The reason why Pillow does not read a file of these contents."""
    with Path(path).open("rb") as file:
        head = file.read(HEAD)
    name = next((name for start, name in _UNREAD.items() if head.startswith(start)), "")
    if _AVIF & set(_brands(head)):
        name = "an AVIF"
    elif _brands(head):
        raw = _brands(head)[0] == b"crx "
        name = "a raw" if raw else "a video or another ISO media"
    if head.startswith(_RAW) or name == "a raw":
        return "raw data of a camera's sensor; develop it with a raw converter first"
    if name:
        return f"{_OTHER}, but {name} file; save it as PNG, TIFF or JPEG"
    form = next((form for start, form in _READ.items() if head.startswith(start)), None)
    if form is not None:
        try:
            with Path(path).open("rb") as file:
                Image.OPEN[form][0](file, str(path))
        except Exception as error:
            reason = first_line(error)
            return f"a {form} file that cannot be read: {reason}"
    return _OTHER


def name_of_special(mode: int) -> str:
    """What a file system calls an entry that is neither file nor folder."""
    named = ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"))
    return next((name for check, name in named if check(mode)), "a device")


def profile_of_bmp(path: Path | str) -> bytes:
    """The ICC profile that is embedded in a BMP of the fifth version, or none."""
    with Path(path).open("rb") as file:
        head = file.read(14 + 124)
        if len(head) < 138 or head[14:18] != struct.pack("<I", 124) or head[70:74] != b"DEBM":
            return b""
        place, size = struct.unpack("<II", head[14 + 112 : 14 + 120])
        file.seek(14 + place)
        return file.read(min(size, 1 << 22))


def _brands(head: bytes) -> list[bytes]:
    """The brands of an ISO media file (ISO/IEC 14496-12, 4.3): the major one, and others."""
    if head[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return [head[8:12], *(head[i : i + 4] for i in range(16, end, 4))]
