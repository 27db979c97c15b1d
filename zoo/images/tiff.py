"""TIFF files, decoded by tifffile: Pillow cuts 16 bits down, and misreads floats and previews.

A TIFF declares what its numbers mean: how deep they are, whether white is zero, what extra
channels hold, which of its pictures is the photograph and which a preview. `TiffImage` follows
the declarations (TIFF 6.0), and says in `notes` or in an error where it cannot.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from zoo.arrays import strips, to_8_bits
from zoo.errors import InputError
from zoo.images.any_size import any_size
from zoo.images.exif import KEPT_BLOCKS
from zoo.images.levels import Levels, levels_of_floats, levels_of_integers

if TYPE_CHECKING:
    import tifffile

_silent = logging.NullHandler()
_MOST_PICTURES = 1000
_MOST_ENTRIES = 4096
_MOST_BYTES = 1_600_000_000  # 200 megapixels of RGBA in 16 bits

_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _SUBIFDS = 254, 255, 256, 257, 262, 330
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _XMP, _IPTC, _PHOTOSHOP = 282, 283, 296, 700, 33723, 34377
_INK_SET, _PROFILE, _S_MAX = 332, 34675, 341
_OF_HEADER = {_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _PHOTOMETRIC, _SUBIFDS}
_REDUCED, _MASK = 1, 4
_UNSPECIFIED, _ASSOCIATED, _UNASSOCIATED = 0, 1, 2
_OLD_JPEG, _JPEG = 6, 7

# TIFF 6.0, PhotometricInterpretation: mode of Pillow and number of colour samples.
_WHITE_IS_ZERO, _YCBCR, _ICC_LAB = 0, 6, 9
_MODES = {0: "L", 1: "L", 2: "RGB", 3: "P", 5: "CMYK", 6: "RGB", 8: "LAB", 9: "LAB"}
_COLOURS = {"L": 1, "RGB": 3, "P": 1, "CMYK": 4, "LAB": 3}
_UNREAD = {
    4: "a transparency mask, no picture",
    10: "colours in ITU Lab, which are not read; save it as RGB",
    32803: "raw data of a camera's sensor; develop it with a raw converter first",
    34892: "raw data of a camera's sensor; develop it with a raw converter first",
    32844: "pixels in LogL, which are not read; save it with 16 bits a channel",
    32845: "pixels in LogLuv, which are not read; save it with 16 bits a channel",
}


@dataclass(frozen=True)
class Samples:
    """The decoded samples of a TIFF.

    Attributes:
        pixels: H×W×C, uint8 or uint16 over their full range; black is 0. Alpha comes last.
        mode: what the colours are: `L`, `RGB`, `CMYK` or `LAB`.
        alpha: whether there is alpha; it is not multiplied into the colours.
    """

    pixels: npt.NDArray[Any]
    mode: str
    alpha: bool


class TiffImage(Image.Image):
    """The photograph of a TIFF as an image of Pillow, with 8 bits a channel, decoded by `load`.

    `samples` has all bits. Pixels are as stored, not turned upright.

    Attributes:
        notes: what of the file is left out or taken otherwise than declared, a line each.
        deep: whether it is grey or RGB with more than 8 bits a channel.
        iptc: IPTC-IIM as stored.
    """

    format = "TIFF"

    def __init__(self, page: tifffile.TiffPage, file: BinaryIO, notes: list[str]) -> None:
        super().__init__()
        self._page, self._file, self.notes = page, file, notes
        self._samples: Samples | None = None
        photometric = int(page.photometric)
        if photometric in _UNREAD:
            raise InputError(f"a TIFF that holds {_UNREAD[photometric]}")
        if photometric not in _MODES:
            raise InputError(f"a TIFF with colours of an unknown kind (photometric {photometric})")
        self._colours = _MODES[photometric]
        if self._colours == "CMYK" and _integer(page, _INK_SET, 1) != 1:
            raise InputError("a TIFF of inks other than cyan, magenta, yellow and black")
        self._size = (page.imagewidth, page.imagelength)
        self._mode = "RGB" if self._colours == "P" else self._colours
        self._check_layout()
        self.deep = self._mode in ("L", "RGB") and self._colours != "P" and page.bitspersample > 8
        self.iptc = b""
        parent = page.parent
        self._swapped_bigtiff = parent.is_bigtiff and parent.byteorder == ">"
        if self._swapped_bigtiff and any(tag in page.tags for tag in KEPT_BLOCKS):
            notes.append("its EXIF is left out, less the main tags: not read from this BigTIFF")
        self._read_info()

    def samples(self) -> Samples:
        """All bits of the pixels.

        Raises:
            InputError: what the numbers mean is not known.
        """
        if self._samples is None:
            self._samples = self._decode()
        return self._samples

    def load(self) -> Any:
        """Decodes it to 8 bits."""
        if self._im is None:
            samples = self.samples()
            pixels = to_8_bits(samples.pixels)
            mode = samples.mode + "A" * samples.alpha
            if samples.mode == "CMYK":
                mode, pixels = "CMYK", pixels[:, :, :4]
            elif samples.mode == "LAB":
                mode, pixels = "LAB", pixels[:, :, :3]
            flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
            size = (flat.shape[1], flat.shape[0])
            # Pillow takes no two-channel array that is not contiguous.
            decoded = Image.frombuffer(mode, size, np.ascontiguousarray(flat), "raw", mode, 0, 1)
            self._im, self._mode, self.readonly = decoded._im, mode, 1
            self._samples = None  # a large scan need not be in memory twice
        return super().load()

    def getexif(self) -> Image.Exif:
        """EXIF of the photograph's own directory."""
        if self._exif is None:
            exif, parent = Image.Exif(), self._page.parent
            if self._swapped_bigtiff:  # which Pillow cannot read
                for tag in self._page.tags:
                    if isinstance(tag.value, str | int | bytes):
                        exif[tag.code] = tag.value
            else:
                exif.bigtiff, exif.endian = parent.is_bigtiff, parent.byteorder
                exif.load_from_fp(self._file, self._page.offset)
            self._exif = exif
        return self._exif

    # ---- declarations --------------------------------------------------------------------

    def _check_layout(self) -> None:
        page = self._page
        if page.imagedepth != 1:
            raise InputError(f"a TIFF of a volume with {page.imagedepth} layers, no photograph")
        if page.samplesperpixel < _COLOURS[self._colours]:
            raise InputError(
                f"a TIFF of {page.samplesperpixel} channels where its colours need "
                f"{_COLOURS[self._colours]}"
            )
        if page.dtype is None or page.dtype.kind not in "buif":
            raise InputError(
                f"a TIFF whose samples have a form that is not read ({page.sampleformat!s}, "
                f"{page.bitspersample} bits)"
            )

    def check_size(self) -> None:
        """Checks that the pixels fit into memory once they are decoded.

        Raises:
            InputError: they do not.
        """
        page = self._page
        assert page.dtype is not None
        samples = page.samplesperpixel * page.dtype.itemsize
        whole = page.imagewidth * page.imagelength * samples
        part = page.tilewidth * page.tilelength if page.is_tiled else 0
        rows = min(page.rowsperstrip, page.imagelength) if not page.is_tiled else 0
        part = max(part, page.imagewidth * rows) * samples
        if max(whole, part) > _MOST_BYTES:
            raise InputError(
                f"{page.samplesperpixel} channels of {page.bitspersample} bits would take "
                f"{max(whole, part) / 1e9:.1f} GB; at most {_MOST_BYTES / 1e9:.1f} GB are read"
            )

    def _read_info(self) -> None:
        page = self._page
        for name, code in (("icc_profile", _PROFILE), ("xmp", _XMP)):
            stored = _bytes(page, code)
            if stored:
                self.info[name] = stored
        self.iptc = _bytes(page, _IPTC) or _iptc_of_photoshop(_bytes(page, _PHOTOSHOP))
        across, down = (_ratio(page, code) for code in (_X_RESOLUTION, _Y_RESOLUTION))
        # Centimetres to inches; 1 is no unit at all, and inches are the default.
        per_inch = {1: 0.0, 2: 1.0, 3: 2.54}.get(_integer(page, _UNIT, 2), 0.0)
        if across and down and per_inch:
            self.info["dpi"] = (across * per_inch, down * per_inch)
        elif across and down:
            self.info["aspect"] = (across, down)

    def _check_parts(self) -> None:
        """Decoders of JPEG make up what is missing of a strip without a word."""
        size = self._file.seek(0, 2)
        for place, length in zip(self._page.dataoffsets, self._page.databytecounts, strict=False):
            if place + length > size:
                raise ValueError("the file ends before the picture does")
            if self._page.compression == _JPEG and length:
                self._file.seek(place + max(0, length - 64))
                if b"\xff\xd9" not in self._file.read(min(64, length)):
                    raise ValueError("a part of the picture has no end")

    # ---- samples -------------------------------------------------------------------------

    def _decode(self) -> Samples:
        page = self._page
        self.check_size()
        if page.compression == _OLD_JPEG or (
            int(page.photometric) == _YCBCR and page.compression != _JPEG
        ):
            return self._decode_with_pillow()
        missing = int(np.prod(page.chunked)) - len(page.dataoffsets)
        if missing > 0:
            raise ValueError(f"{missing} of its strips or tiles are missing")
        self._check_parts()
        pixels = page.asarray().reshape(page.shaped)[:, 0]
        pixels = np.moveaxis(pixels[..., 0], 0, 2) if page.shaped[0] > 1 else pixels[0]
        colours = _COLOURS[self._colours]
        pixels, alpha = self._without_extra(pixels, colours)
        levels = self._levels(pixels)
        if self._colours == "P":
            return Samples(self._looked_up(pixels, alpha), "RGB", alpha)
        pixels = levels.values
        top = 255 if pixels.dtype == np.uint8 else 65535
        if int(page.photometric) == _WHITE_IS_ZERO:
            pixels = pixels if pixels.flags.writeable else pixels.copy()
            np.subtract(top, pixels[:, :, :1], out=pixels[:, :, :1])
        if self._colours == "LAB":
            pixels = self._lab(pixels, top)
        if alpha and self._associated:
            pixels = _divided(pixels, top)
        return Samples(pixels, self._mode, alpha)

    def _without_extra(
        self, pixels: npt.NDArray[Any], colours: int
    ) -> tuple[npt.NDArray[Any], bool]:
        """Colours, and alpha where it is declared as such."""
        extra = [int(kind) for kind in self._page.extrasamples]
        count = pixels.shape[2] - colours
        if not extra and count == 1 and self._colours == "RGB":
            extra = [_UNASSOCIATED]  # writers of old did not declare it
        extra = (extra + [_UNSPECIFIED] * count)[:count]
        place = next((i for i, kind in enumerate(extra) if kind != _UNSPECIFIED), None)
        if self._colours in ("CMYK", "LAB"):
            place = None
        if count > (place is not None):
            several = count - (place is not None) > 1
            self.notes.append(
                "its extra channels, not declared as alpha, are left out"
                if several
                else "its extra channel, not declared as alpha, is left out"
            )
        self._associated = place is not None and extra[place] == _ASSOCIATED
        if place is None:
            return pixels[:, :, :colours], False
        if place == 0:
            return pixels[:, :, : colours + 1], True
        return np.dstack([pixels[:, :, :colours], pixels[:, :, colours + place]]), True

    def _levels(self, pixels: npt.NDArray[Any]) -> Levels:
        page = self._page
        if self._colours == "P":
            return Levels(pixels)
        if pixels.dtype.kind == "f":
            levels = levels_of_floats(pixels, _declared_white(page))
        else:
            levels = levels_of_integers(pixels, page.bitspersample, _declared_white(page))
        if levels.values.dtype != np.uint8 and self._colours in ("CMYK", "LAB"):
            levels = Levels(levels.values, (*levels.notes, "8 bits of each channel are read"))
        self.notes.extend(levels.notes)
        return levels

    def _looked_up(self, pixels: npt.NDArray[Any], alpha: bool) -> npt.NDArray[np.uint8]:
        table = np.asarray(self._page.colormap)
        # Some writers fill the 16 bits of an entry with 8.
        table = (table if table.max() < 256 else table >> 8).astype(np.uint8)
        index = pixels[:, :, 0].astype(np.intp)
        if index.size and index.max() >= table.shape[1]:
            raise ValueError("its palette has too few colours")
        colours = table[:, index].transpose(1, 2, 0)
        return np.dstack([colours, to_8_bits(pixels[:, :, 1])]) if alpha else colours

    def _lab(self, pixels: npt.NDArray[Any], top: int) -> npt.NDArray[Any]:
        if int(self._page.photometric) == _ICC_LAB:
            # a and b are counted from the middle there; Pillow takes them as signed.
            pixels = np.array(pixels)
            pixels[:, :, 1:3] ^= (top + 1) // 2
        return pixels

    def _decode_with_pillow(self) -> Samples:
        """What tifffile does not decode: JPEG of the old kind, subsampled chroma."""
        with any_size():
            image = Image.open(Path(self._file.name), formats=("TIFF",))
        with image:
            if image.tag_v2._offset != self._page.offset:  # type: ignore[attr-defined]
                raise InputError(
                    f"a preview, and a picture of compression {self._page.compression!s}"
                )
            image.filename = ""
            image.getexif()[ExifTags.Base.Orientation.value] = 1
            with any_size():
                image.load_prepare()  # asks for the size once more
            image.load()
            rgb = np.array(image.convert("L" if image.mode == "L" else "RGB"))
        return Samples(rgb.reshape(*rgb.shape[:2], -1), "RGB" if rgb.ndim == 3 else "L", False)


@contextmanager
def open_tiff(path: Path | str) -> Iterator[TiffImage]:
    """The photograph of a TIFF file, for as long as the block runs.

    A preview that comes before it is passed over, and one that stands alone is told of.

    Raises:
        InputError: the file holds no picture that can be read.
    """
    import tifffile

    # It logs what it passes over; what matters of that is in the notes.
    logging.getLogger("tifffile").addHandler(_silent)
    with Path(path).open("rb") as file, tifffile.TiffFile(path) as opened:
        if file.read(10)[8:] == b"CR" and not opened.is_bigtiff:
            raise InputError(f"a TIFF that holds {_UNREAD[32803]}")
        directory, notes = _photograph(file, opened.byteorder, opened.is_bigtiff)
        opened.filehandle.seek(directory.offset)
        page = tifffile.TiffPage(opened, 0)
        yield TiffImage(page, file, notes)


# ---- which picture ----------------------------------------------------------------------


class _Directory(NamedTuple):
    """The header of one of a file's pictures."""

    offset: int
    width: int
    height: int
    kind: int
    children: tuple[int, ...]

    @property
    def size(self) -> str:
        return f"{self.width}×{self.height}"

    @property
    def pixels(self) -> int:
        return self.width * self.height

    @property
    def is_whole(self) -> bool:
        """Whether it is neither a preview nor a mask."""
        return not self.kind & (_REDUCED | _MASK)


def _photograph(file: BinaryIO, order: str, wide: bool) -> tuple[_Directory, list[str]]:
    """The header of the picture that is the photograph, and notes of the others."""
    chain, complete = _chain(file, order, wide)
    if not chain:
        raise ValueError("it has no directory of a picture")
    inner = [
        directory
        for child in [child for page in chain for child in page.children][:_MOST_PICTURES]
        if (directory := _read_directory(file, order, wide, child)[0]) is not None
    ]
    whole = [page for page in chain if page.is_whole]
    # Raw converters and film scanners put the picture inside of its preview.
    candidates = whole or [page for page in inner if page.is_whole]
    first = chain[0]
    notes = []
    if not candidates:
        chosen = max([*chain, *inner], key=lambda page: (not page.kind & _MASK, page.pixels))
        notes.append(f"the file holds only a preview of a picture, {chosen.size}, which is taken")
    else:
        # Outside of the chain, the others are pyramids and previews, however they are marked.
        chosen = candidates[0] if whole else max(candidates, key=lambda page: page.pixels)
        if chosen is not first:
            notes.append(f"its first picture is a preview, {first.size}; {chosen.size} is taken")
    if len(whole) > 1 or not complete:
        count = len(whole) if complete else f"more than {_MOST_PICTURES}"
        notes.append(f"the first of its {count} images is taken")
    largest = max([*whole, *inner, chosen], key=lambda page: page.pixels)
    if largest.pixels > chosen.pixels:
        notes.append(f"the picture taken is of {chosen.size}, a larger one of {largest.size}")
    return chosen, notes


def _chain(file: BinaryIO, order: str, wide: bool) -> tuple[list[_Directory], bool]:
    """The directories that follow one another, and whether these are all."""
    file.seek(8 if wide else 4)
    (offset,) = struct.unpack(order + ("Q" if wide else "I"), file.read(8 if wide else 4))
    seen: set[int] = set()
    found: list[_Directory] = []
    while offset and offset not in seen:
        if len(found) == _MOST_PICTURES:
            return found, False
        seen.add(offset)
        directory, offset = _read_directory(file, order, wide, offset)
        if directory is None:
            break
        found.append(directory)
    return found, True


def _read_directory(
    file: BinaryIO, order: str, wide: bool, offset: int
) -> tuple[_Directory | None, int]:
    """The header at an offset, None if there is none, and the offset of the next one."""
    number, pointer, form = (8, 8, "HHQ8s") if wide else (2, 4, "HHI4s")
    size = struct.calcsize(order + form)
    file.seek(offset)
    head = file.read(number)
    if len(head) < number:
        return None, 0
    (count,) = struct.unpack(order + ("Q" if wide else "H"), head)
    if not 0 < count <= _MOST_ENTRIES:
        return None, 0
    content = file.read(size * count + pointer)
    if len(content) < size * count:
        return None, 0
    tags: dict[int, tuple[int, ...]] = {}
    for tag, kind, length, value in struct.iter_unpack(order + form, content[: size * count]):
        letter = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if tag not in _OF_HEADER or letter is None or not 0 < length <= _MOST_PICTURES:
            continue
        wanted = struct.calcsize(letter) * length
        if wanted > pointer:
            (place,) = struct.unpack(order + ("Q" if wide else "I"), value)
            file.seek(place)
            value = file.read(wanted)
        if len(value) >= wanted:
            tags[tag] = struct.unpack(f"{order}{length}{letter}", value[:wanted])
    following = content[size * count :]
    after = int.from_bytes(following, "little" if order == "<" else "big")
    kind = tags.get(_SUBFILE, (0,))[0] | (tags.get(_OLD_SUBFILE, (0,))[0] == 2)
    width, height = tags.get(_WIDTH, (0,))[0], tags.get(_HEIGHT, (0,))[0]
    is_mask = tags.get(_PHOTOMETRIC, (1,))[0] == 4
    kind |= _MASK * is_mask
    directory = _Directory(offset, width, height, kind, tags.get(_SUBIFDS, ()))
    return directory, after if len(following) == pointer else 0


# ---- tags and samples -------------------------------------------------------------------


def _bytes(page: tifffile.TiffPage, code: int) -> bytes:
    """A tag's bytes; none where it holds something else, such as a text or numbers."""
    value = page.tags.valueof(code)
    if isinstance(value, tuple) and all(isinstance(v, int) and 0 <= v < 256 for v in value):
        value = bytes(value)
    return value if isinstance(value, bytes) else b""


def _integer(page: tifffile.TiffPage, code: int, default: int) -> int:
    value = page.tags.valueof(code)
    return int(value) if isinstance(value, int) else default


def _ratio(page: tifffile.TiffPage, code: int) -> float:
    """A tag's positive number; 0 where it has none."""
    value = page.tags.valueof(code)
    parts = value if isinstance(value, tuple) else (value, 1)
    try:
        return max(float(parts[0]) / float(parts[1]), 0.0)
    except (TypeError, ValueError, ZeroDivisionError, IndexError):
        return 0.0


def _declared_white(page: tifffile.TiffPage) -> float | None:
    """What the tag SMaxSampleValue says, where it says one number for all channels."""
    value = page.tags.valueof(_S_MAX)
    values = set(value) if isinstance(value, tuple) else {value}
    white = values.pop() if len(values) == 1 else None
    return float(white) if isinstance(white, int | float) else None


def _iptc_of_photoshop(content: bytes) -> bytes:
    """IPTC-IIM out of Photoshop's image resources, where it has the number 0x0404."""
    place = 0
    while content[place : place + 4] == b"8BIM":
        (number,) = struct.unpack(">H", content[place + 4 : place + 6])
        name = content[place + 6] if len(content) > place + 6 else 0
        start = place + 6 + (name + 2) // 2 * 2
        if len(content) < start + 4:
            break
        (size,) = struct.unpack(">I", content[start : start + 4])
        if number == 0x0404:
            return content[start + 4 : start + 4 + size]
        place = start + 4 + size + size % 2
    return b""


def _divided(pixels: npt.NDArray[Any], top: int) -> npt.NDArray[Any]:
    """The pixels with their alpha, the last channel, divided out of the colours."""
    pixels = pixels if pixels.flags.writeable else pixels.copy()
    for rows in strips(*pixels.shape[:2]):
        strip = pixels[rows]
        share = np.maximum(strip[:, :, -1:], 1).astype(np.float64) / top
        strip[:, :, :-1] = np.minimum((strip[:, :, :-1] / share).round(), top)
    return pixels
