import hashlib
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import skimage.data
from sklearn.datasets import load_sample_images

from zoo.errors import DataError
from zoo_datasets.photos import Photos

NAMES = ["astronaut", "chelsea", "coffee", "rocket", "motorcycle_left", "china", "flower"]


@pytest.fixture(scope="module")
def photos():
    return Photos()


@pytest.fixture(scope="module")
def originals():
    china, flower = load_sample_images().images
    shipped = {name: getattr(skimage.data, name)() for name in NAMES[:4]}
    return {
        **shipped,
        "motorcycle_left": skimage.data.stereo_motorcycle()[0],
        "china": china,
        "flower": flower,
    }


def test_the_grid_is_403_tiles(photos):
    manifest = photos.manifest
    assert [photo.name for photo in manifest] == NAMES
    assert [photo.grid for photo in manifest] == [
        (8, 8), (4, 7), (6, 9), (6, 10), (7, 11), (6, 10), (6, 10),
    ]  # fmt: skip
    assert sum(photo.train_tiles for photo in manifest) == 274
    assert sum(photo.test_tiles for photo in manifest) == 86
    assert sum(photo.margin_tiles for photo in manifest) == 43
    assert all(photo.license and photo.credit and photo.source for photo in manifest)


def test_rectangles_lie_inside_and_32_px_apart(photos):
    for photo in photos.manifest:
        rows, columns = photo.grid
        (x, _, width, height), (tx, _, t_width, t_height) = photo.train, photo.test
        for left, top, w, h in (photo.train, photo.test):
            assert left >= 0 and top >= 0
            assert left + w <= photo.width and top + h <= photo.height
        assert max(tx - (x + width), x - (tx + t_width)) >= 32
        assert t_width == 128 and t_height == height == rows * 64
        assert width * height // 64**2 == photo.train_tiles
        assert t_width * t_height // 64**2 == photo.test_tiles
        assert rows * columns == photo.train_tiles + photo.test_tiles + photo.margin_tiles


@pytest.mark.parametrize(("split", "tiles"), [("train", 274), ("test", 86)])
def test_tiles_are_pixels_of_the_originals(photos, originals, split, tiles):
    images = photos.open(split, 64)
    assert len(images) + len(images.grey) == tiles
    assert len(set(images.ids) | set(images.grey)) == tiles
    for tile, name in zip(images.images, images.ids, strict=True):
        photo, cell = name.split("/r")
        row, column = (int(part) * 64 for part in cell.split("c"))
        np.testing.assert_array_equal(tile, originals[photo][row : row + 64, column : column + 64])


def test_all_test_tiles_are_in_colour(photos):
    assert photos.open("test", 64).grey == []
    assert photos.open("train", 64).grey == ["china/r1c9"]


def test_equal_between_runs(photos):
    assert photos.open("test", 64).manifest_hash() == Photos().open("test", 64).manifest_hash()


@pytest.mark.parametrize("size", [32, 48, 96, 128])
def test_other_sizes(photos, size):
    images = photos.open("test", size)
    expected = sum((128 // size) * (photo.test[3] // size) for photo in photos.manifest)
    assert images.size == size
    assert len(images) + len(images.grey) == expected
    assert len(set(images.ids)) == len(images)


@pytest.mark.parametrize(("split", "size", "largest"), [("test", 129, 128), ("train", 400, 256)])
def test_too_large_sizes_name_the_largest(photos, split, size, largest):
    with pytest.raises(DataError, match=f"largest possible size is {largest} px"):
        photos.open(split, size)
    with pytest.raises(DataError):
        photos.open(split, 0)


def test_showcase_is_one_square_of_each_test_rectangle(photos, originals):
    showcase = photos.showcase(7, 64)
    assert (list(showcase.ids), showcase.images.shape) == (NAMES, (7, 128, 128, 3))
    for photo, square in zip(photos.manifest, showcase.images, strict=True):
        x, y = photo.showcase
        assert x == photo.test[0] and 0 <= y <= photo.test[3] - 128
        np.testing.assert_array_equal(square, originals[photo.name][y : y + 128, x : x + 128])
    assert Counter(photos.showcase(3, 64).ids) == Counter(NAMES[:3])


def test_another_picture_is_refused(photos, tmp_path, monkeypatch):
    photo, other = photos.manifest[1], photos.manifest[2]
    (tmp_path / "data").mkdir()
    shutil.copy(other.path, tmp_path / photo.file)
    monkeypatch.setattr("zoo_datasets.photos.find_spec", lambda _: Spec([str(tmp_path)]))
    with pytest.raises(DataError) as caught:
        photo.pixels()
    message = str(caught.value)
    assert "chelsea.png" in message and photo.sha256_pixels in message
    assert hashlib.sha256(skimage.data.coffee().tobytes()).hexdigest() in message
    assert "pip install --force-reinstall scikit-image" in message and "\n" not in message
    (tmp_path / photo.file).write_bytes(b"")
    with pytest.raises(DataError, match="empty; type pip install"):
        photo.pixels()


def test_a_decoder_that_disagrees_is_told_from_a_wrong_file(photos):
    with pytest.raises(DataError, match="the file is right but decodes otherwise"):
        replace(photos.manifest[0], sha256_pixels="0" * 64).pixels()


def test_a_missing_package_is_named(photos, monkeypatch):
    monkeypatch.setattr("zoo_datasets.photos.find_spec", lambda _: None)
    with pytest.raises(DataError, match="pip install scikit-learn"):
        photos.manifest[-1].pixels()


def test_the_argument_is_refused():
    with pytest.raises(DataError, match="takes no argument"):
        Photos("x")


def test_listing_imports_neither_torch_nor_scikit_learn():
    code = (
        "import sys, zoo_datasets.photos, zoo_datasets.folder, zoo_datasets.torchvision_sets;"
        "zoo_datasets.photos.Photos().manifest[-1].path;"
        "print([m for m in ('torch', 'torchvision', 'sklearn', 'skimage') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr


class Spec:
    def __init__(self, locations):
        self.submodule_search_locations = locations
