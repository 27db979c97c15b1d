"""Chunks of PNG files: texts read and bounded in size (ISO/IEC 15948, 11.3.4).

Pillow refuses a file for one text that is too long, and reads all of it before. Here chunks are
walked from header to header, and what is too large is left out of what Pillow sees.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 1 << 20
"""The most bytes of all texts of a file together, and of any other chunk about it: 1 MiB."""

XMP_KEYWORD = "XML:com.adobe.xmp"

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ANCILLARY = 0x20  # the bit that makes a letter small: the first one's, in chunks for the asking
# These two are no description: colours and frames depend on them.
_NEEDED = (b"iCCP", b"fdAT")
_COLOURS = (b"gAMA", b"cHRM", b"sRGB", b"cICP")


@dataclass(frozen=True)
class Text:
    """A text with its keyword.

    Attributes:
        keyword: 1 to 79 characters of Latin-1, such as `Author`.
        text: any length.
        language: as in RFC 3066, or empty.
        translated: the keyword in that language, or empty.
    """

    keyword: str
    text: str
    language: str = ""
    translated: str = ""


@dataclass(frozen=True)
class Scan:
    """What was found in a PNG file beside the pixels.

    Attributes:
        texts: those that can be read, in the order of the file.
        left_out: a line for each chunk that is too large.
        gaps: where those chunks lie, from and to, in bytes.
        bits: the depth of a sample, 8 in what is no PNG.
        chunks: the contents of those that say what the colours mean.
    """

    texts: tuple[Text, ...] = ()
    left_out: tuple[str, ...] = ()
    gaps: tuple[tuple[int, int], ...] = ()
    bits: int = 8
    chunks: Mapping[bytes, bytes] = field(default_factory=dict)


def scan_png(path: Path | str) -> Scan:
    """Walks the chunks of a file; finds nothing in one that is no PNG.

    Raises:
        OSError: the file cannot be read.
    """
    texts: list[Text] = []
    left_out, gaps, room, bits = [], [], MOST_BYTES, 8
    colours: dict[bytes, bytes] = {}
    with Path(path).open("rb") as file:
        for kind, start, length in _chunks(file):
            if kind == b"IHDR" and length == 13:
                bits = file.read(9)[-1]
            elif kind in _COLOURS and length <= 32:
                colours.setdefault(kind, file.read(length))
            if kind in _TEXTS:
                content = file.read(min(length, room + 1))
                size = length if length > room else _size(kind, content, room)
                if size <= room:
                    room -= size
                    text = _text(kind, content)
                    texts += [text] if text else []
                    continue
                name = content[:80].partition(b"\0")[0].decode("latin-1", "replace")
                what = f"its text {name!r}"
            elif kind[0] & _ANCILLARY and kind not in _NEEDED and length > MOST_BYTES:
                what = f"its chunk {kind.decode('latin-1')}"
            else:
                continue
            left_out.append(f"{what} is left out: at most {MOST_BYTES >> 20} MiB is kept")
            gaps.append((start - 8, start + length + 4))
    return Scan(tuple(texts), tuple(left_out), tuple(gaps), bits, colours)


def without_gaps(path: Path | str, scan: Scan) -> io.BytesIO:
    """The file without the chunks that are too large, in memory."""
    kept = io.BytesIO()
    with Path(path).open("rb") as file:
        for start, end in scan.gaps:
            kept.write(file.read(start - file.tell()))
            file.seek(end)
        kept.write(file.read())
    kept.seek(0)
    return kept


def read_png(path: Path | str) -> bytes:
    """The bytes of the file without the chunks that are too large."""
    scan = scan_png(path)
    return without_gaps(path, scan).getvalue() if scan.gaps else Path(path).read_bytes()


def content_of(file: BinaryIO, kind: bytes) -> bytes:
    """The contents of all chunks of a kind, put together."""
    return b"".join([file.read(length) for found, _, length in _chunks(file) if found == kind])


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yields each chunk's kind, start and length of its content; the file stands at that start."""
    if file.read(8) != SIGNATURE:
        return
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        start = file.tell()
        yield kind, start, length
        if kind == b"IEND":
            return
        file.seek(start + length + 4)


def _size(kind: bytes, content: bytes, room: int) -> int:
    """The text's size in bytes; more than `room` where it does not fit."""
    packed = _packed(kind, content)
    return len(content) + (len(_unpack(packed, room)) if packed is not None else 0)


def _packed(kind: bytes, content: bytes) -> bytes | None:
    """The compressed part of a text's chunk, if any."""
    rest = content.partition(b"\0")[2]
    if kind == b"zTXt":
        return rest[1:]
    if kind == b"iTXt" and rest[:1] == b"\1":
        return rest[2:].split(b"\0", 2)[-1]
    return None


def _unpack(packed: bytes, room: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, room + 1)
    except zlib.error:
        return b""


def _text(kind: bytes, content: bytes) -> Text | None:
    keyword, _, rest = content.partition(b"\0")
    packed = _packed(kind, content)
    unpacked = None if packed is None else _unpack(packed, MOST_BYTES)
    if not 1 <= len(keyword) <= 79 or unpacked == b"":
        return None
    name = keyword.decode("latin-1")
    if kind != b"iTXt":
        return Text(name, (rest if unpacked is None else unpacked).decode("latin-1"))
    parts = rest[2:].split(b"\0", 2)
    if len(parts) != 3:
        return None
    try:
        language, translated = parts[0].decode(), parts[1].decode()
        return Text(
            name, (parts[2] if unpacked is None else unpacked).decode(), language, translated
        )
    except UnicodeDecodeError:
        return None
