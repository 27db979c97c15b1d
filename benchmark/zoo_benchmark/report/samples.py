"""`samples.png`: grey, every model, truth, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zoo.data.dataset import ImageSet
from zoo.errors import InputError
from zoo.files import atomic_path
from zoo.images.open import read_image, to_grey, to_rgb

_TILE = 160
_GAP = 6
_MARGIN = 16
_BACKGROUND, _INK, _FAINT = (250, 250, 248), (32, 32, 34), (120, 120, 124)


@dataclass(frozen=True)
class Column:
    """A column of the grid: what one model made of the pictures.

    Attributes:
        title: its heading.
        note: the smaller line below.
        pictures: one for each row; None leaves a tile empty.
    """

    title: str
    note: str
    pictures: Sequence[Image.Image | None]


def pictures_in(folder: Path, count: int, flaws: list[str]) -> list[Image.Image | None]:
    """The pictures `00.png`, `01.png`, … of a folder; None for each that is not there.

    Why one cannot be read is added to `flaws`.
    """
    found: list[Image.Image | None] = []
    for file in (folder / f"{row:02d}.png" for row in range(count)):
        picture = None
        if file.is_file():
            try:
                picture = Image.fromarray(to_rgb(read_image(file)))
            except InputError as error:
                flaws.append(str(error))
        found.append(picture)
    return found


def write_samples(path: Path, pictures: ImageSet, columns: Sequence[Column]) -> None:
    """Writes the grid of pictures.

    Args:
        path: the PNG to write.
        pictures: the truth of every row.
        columns: what stands between the input and the truth.
    """
    headings = [("grey", "the input"), *[(c.title, c.note) for c in columns], ("truth", "")]
    title_font, small_font = ImageFont.load_default(15), ImageFont.load_default(13)
    wrapped = [_wrap(title, title_font) for title, _ in headings]
    header = max(len(lines) for lines in wrapped) * 18 + 20 + _GAP
    step = _TILE + _GAP
    width = 2 * _MARGIN + len(headings) * step - _GAP
    height = 2 * _MARGIN + header + len(pictures) * step - _GAP
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    pen = ImageDraw.Draw(sheet)
    for number, (lines, (_, second)) in enumerate(zip(wrapped, headings, strict=True)):
        x = _MARGIN + number * step
        y = _MARGIN + header - _GAP - 20 - 18 * len(lines)
        for offset, line in enumerate(lines):
            pen.text((x, y + 18 * offset), line, _INK, title_font)
        pen.text((x, _MARGIN + header - _GAP - 19), second, _FAINT, small_font)
    for row, truth in enumerate(pictures.images):
        original = Image.fromarray(np.asarray(truth))
        tiles: list[Image.Image | None] = [Image.fromarray(to_grey(original)).convert("RGB")]
        tiles += [column.pictures[row] for column in columns]
        tiles.append(original)
        y = _MARGIN + header + row * step
        for number, tile in enumerate(tiles):
            x = _MARGIN + number * step
            if tile is None:
                pen.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), outline=_FAINT)
                pen.text((x + 8, y + 8), "failed", _FAINT, small_font)
            else:
                sheet.paste(tile.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (x, y))
    with atomic_path(path) as partial:
        sheet.save(partial)


def is_colourless(pictures: Sequence[Image.Image | None]) -> bool:
    """Whether there are pictures, and all of them are grey but for rounding."""
    there = [np.asarray(each).astype(np.int16) for each in pictures if each is not None]
    return bool(there) and all(int(np.ptp(p, axis=2).max()) <= 2 for p in there)


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Breaks a heading after underscores, colons and commas where it is too wide."""
    lines, line = [], ""
    parts = "".join(c + ("\0" if c in "_:," else "") for c in text).split("\0")
    for part in parts:
        if line and font.getlength(line + part) > _TILE:
            lines.append(line)
            line = part
        else:
            line += part
    return [*lines, line]
