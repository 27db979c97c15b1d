"""The grid of JPEG's blocks is noticed where Pillow made one, and nowhere else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data
from skimage.transform import resize

from zoo.data.dataset import ImageSet
from zoo.data.jpeg_blocks import block_edges, block_note


@pytest.fixture(scope="module")
def clean() -> np.ndarray:
    """Tiles of photographs that were reduced to a third: no codec's grid is left."""
    found = []
    for picture in (data.astronaut(), data.coffee(), data.rocket()):
        height, width = (side // 3 for side in picture.shape[:2])
        small = (resize(picture, (height, width), anti_aliasing=True) * 255).round()
        for y in range(0, height - 48, 14):
            found += [small[y : y + 48, x : x + 48] for x in range(0, width - 48, 14)]
    return np.stack(found).astype(np.uint8)


def compressed(images: np.ndarray, quality: int) -> np.ndarray:
    made = []
    for image in images:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "JPEG", quality=quality)
        made.append(np.asarray(Image.open(stream)))
    return np.stack(made)


@pytest.mark.parametrize("quality", [50, 75])
def test_images_that_pillow_compressed_carry_a_grid(clean: np.ndarray, quality: int) -> None:
    assert block_edges(compressed(clean, quality)).found


def test_the_grid_of_each_image_may_lie_elsewhere(clean: np.ndarray) -> None:
    made = compressed(clean, 50)
    moved = [image[i % 8 : i % 8 + 40, i % 5 : i % 5 + 40] for i, image in enumerate(made)]
    assert block_edges(np.stack(moved)).found


def test_clean_flat_and_noisy_images_carry_none(clean: np.ndarray) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 48, 48, 3)).astype(np.uint8)
    ramp = np.broadcast_to(np.arange(48, dtype=np.uint8)[:, None, None] * 5, (9, 48, 48, 3))
    for images in (clean, noise, np.full_like(noise, 9), ramp, clean[:1], clean[:, :20, :20]):
        assert not block_edges(np.ascontiguousarray(images)).found


@pytest.mark.parametrize("factor", [3, 4])
def test_large_jpegs_lose_their_grid_when_they_are_reduced(factor: int) -> None:
    pictures = [data.astronaut(), data.coffee(), data.rocket(), data.chelsea(), data.cat()]
    made = compressed(np.stack([picture[:288, :448] for picture in pictures]), 75)
    size = (448 // factor, 288 // factor)
    small = [Image.fromarray(each).resize(size, Image.Resampling.LANCZOS) for each in made]

    def tiles(images: list[np.ndarray]) -> np.ndarray:
        # None overlaps another: each counts once.
        found = [
            each[y : y + 32, x : x + 32]
            for each in images
            for y in range(0, 288 // factor - 31, 32)
            for x in range(0, 448 // factor - 31, 32)
        ]
        return np.stack(found)

    assert block_edges(tiles(list(made))).found  # as many of them, not reduced
    assert not block_edges(tiles([np.asarray(each) for each in small])).found


def test_the_note_says_what_to_do(clean: np.ndarray) -> None:
    def note(images: np.ndarray) -> str:
        return block_note(ImageSet(images, [str(i) for i in range(len(images))]))

    assert "input_variety" in note(compressed(clean, 50))
    assert "larger originals" in note(compressed(clean, 50))
    assert note(clean) == ""
