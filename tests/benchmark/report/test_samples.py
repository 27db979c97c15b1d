"""The grid of pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.data.dataset import ImageSet
from zoo_benchmark.report.samples import Column, is_colourless, pictures_in, write_samples

TILE, GAP, MARGIN = 160, 6, 16


@pytest.fixture
def pictures(tiles: np.ndarray) -> ImageSet:
    return ImageSet(tiles[:3], ["a", "b", "c"])


def painted(folder: Path, colour: tuple[int, int, int], count: int = 3) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.new("RGB", (64, 64), colour).save(folder / f"{i:02d}.png")
    return folder


def columns_of(image: Image.Image) -> int:
    count, rest = divmod(image.width - 2 * MARGIN + GAP, TILE + GAP)
    assert rest == 0
    return count


def test_columns_and_rows(pictures: ImageSet, tmp_path: Path) -> None:
    red = painted(tmp_path / "red", (250, 0, 0))
    blue = painted(tmp_path / "blue", (0, 0, 250), count=2)
    columns = [
        Column("red", "LPIPS 0.1", pictures_in(red, 3, [])),
        Column("blue", "", pictures_in(blue, 3, [])),
        Column("failing", "", [None] * 3),
    ]
    write_samples(tmp_path / "samples.png", pictures, columns)
    with Image.open(tmp_path / "samples.png") as sheet:
        assert columns_of(sheet) == 5
        pixels = np.asarray(sheet.convert("RGB"))
    for row in range(3):
        y = len(pixels) - MARGIN - (3 - row) * (TILE + GAP) + GAP + TILE // 2
        grey, first, second, third, truth = (
            pixels[y, MARGIN + i * (TILE + GAP) + TILE // 2].astype(int) for i in range(5)
        )
        assert np.ptp(grey) == 0
        assert tuple(first) == (250, 0, 0)
        # A picture that is missing is an empty tile, as is a model that failed.
        assert tuple(second) == ((0, 0, 250) if row < 2 else (250, 250, 248))
        assert tuple(third) == (250, 250, 248)
        middle = np.asarray(pictures.images)[row][30:34, 30:34].reshape(-1, 3).astype(int)
        assert (truth >= middle.min(0) - 20).all()
        assert (truth <= middle.max(0) + 20).all()


def test_input_and_truth_alone(pictures: ImageSet, tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.png", pictures, [])
    with Image.open(tmp_path / "samples.png") as sheet:
        assert columns_of(sheet) == 2


def test_long_headings_do_not_widen_the_grid(pictures: ImageSet, tmp_path: Path) -> None:
    label = "a_stranger_with_a_long_name:learning_rate=0.0003,temperature=0.2,width=0.25"
    write_samples(tmp_path / "samples.png", pictures, [Column(label, "", [None] * 3)])
    with Image.open(tmp_path / "samples.png") as sheet:
        assert columns_of(sheet) == 3


def test_colourless_pictures_are_recognised(tmp_path: Path) -> None:
    def look(folder: Path) -> bool:
        return is_colourless(pictures_in(folder, 3, []))

    assert look(painted(tmp_path / "grey", (90, 91, 90)))
    assert not look(painted(tmp_path / "brown", (90, 80, 70)))
    assert not look(tmp_path / "missing")
