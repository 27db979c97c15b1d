"""JPEG files whose data end before or without their end marker (ITU-T T.81, B.1).

Cameras write panoramas without the marker, and phones put data of their own behind: all pixels
are there. Of a file that was cut off, decoders make up the rest without a word. What tells the
two apart: only where pixels are missing do they change with what is put behind the data.
"""

from __future__ import annotations

import hashlib
import io
import re
import struct
from pathlib import Path

from PIL import Image

from zoo.images.any_size import any_size

END = b"\xff\xd9"
_FILLING = bytes(1 + (i * i * 7 + i * 3) % 251 for i in range(1 << 14))
_ZEROS = 16
_ROWS = 256
_SCAN, _WITHOUT_LENGTH = 0xDA, {0x01, *range(0xD0, 0xD9)}
# In the data of a scan, 0xFF is followed by zero, or is a restart marker.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def decode_jpeg(image: Image.Image, path: Path | str) -> tuple[Image.Image, tuple[str, ...]]:
    """The picture, decoded, and notes.

    Raises:
        OSError: pixels are missing.
    """
    cut: OSError | None = None
    try:
        image.load()
    except OSError as error:
        cut = error
    content = Path(path).read_bytes() if cut or _ends_flat(image) or _ends_in_zeros(path) else b""
    if not content:
        return image, ()
    data = content[: _end_of_data(content)]
    stripped = data.rstrip(b"\0")
    if len(data) - len(stripped) > _ZEROS:
        data = stripped + b"\0"  # 0xFF 0 may be the last of the data
    # One after the other: a scan of 50 megapixels takes 200 MB each time.
    filled = _digest(_decode(data + _FILLING + END))
    picture = image if cut is None else _decode(data + END)
    if _digest(picture) != filled:
        raise cut or OSError("its data end before the picture does")
    return picture, () if cut is None else ("its end marker is missing, but no pixel is",)


def _decode(content: bytes) -> Image.Image:
    with any_size():
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
    image.load()
    return image


def _digest(image: Image.Image) -> bytes:
    """SHA-256 of the pixels, taken in strips, and of the size."""
    digest = hashlib.sha256(repr(image.size).encode())
    for top in range(0, image.height, _ROWS):
        strip = image.crop((0, top, image.width, min(top + _ROWS, image.height)))
        digest.update(strip.tobytes())
    return digest.digest()


def _ends_flat(image: Image.Image) -> bool:
    """Whether the last blocks have one colour, as those that a decoder makes up have."""
    width, height = image.size
    corner = image.crop((max(0, width - 4), max(0, height - 4), width, height)).getextrema()
    bands = corner if isinstance(corner[0], tuple) else (corner,)
    return all(low == high for low, high in bands)


def _ends_in_zeros(path: Path | str) -> bool:
    """Whether the file is filled up with zeros, as damaged cards and broken downloads are."""
    with Path(path).open("rb") as file:
        file.seek(max(0, file.seek(0, 2) - _ZEROS))
        return not file.read().strip(b"\0")


def _end_of_data(content: bytes) -> int:
    """The end of the data of the last scan."""
    place, end = 2, len(content)
    while place + 4 <= len(content) and content[place] == 0xFF:
        kind = content[place + 1]
        if kind == 0xFF or kind in _WITHOUT_LENGTH:
            place += 1 if kind == 0xFF else 2
            continue
        if kind == END[1]:
            break
        place += 2 + int(struct.unpack(">H", content[place + 2 : place + 4])[0])
        if kind == _SCAN:
            found = _MARKER.search(content, place)
            place = end = found.start() if found else len(content)
    return end
