import numpy as np
import pytest
from skimage import color

from zoo.data.dataset import Dataset, DatasetInfo, ImageSet


class Swatches(Dataset):
    """Plain tiles, the red ones less and less so."""

    info = DatasetInfo(name="swatches", title="Swatches", license="CC0-1.0", source="NumPy")

    def _load(self, split, size, progress):
        images = np.full((40, size, size, 3), 120, np.uint8)
        images[:, 0, 0, 0] += np.arange(40, dtype=np.uint8)[::-1]
        return ImageSet(images, [f"{split}/{i}" for i in range(40)])


@pytest.mark.parametrize("split", ["train", "test"])
def test_grey_images_are_left_out_named_and_counted_for_every_dataset(split):
    dataset = Swatches()
    given = dataset._load(split, 9, None)
    chroma = np.abs(color.rgb2lab(given.images)[..., 1:]).max(axis=(1, 2, 3))
    grey = [name for name, most in zip(given.ids, chroma, strict=True) if most <= 5]
    assert 1 < len(grey) < 39
    found = dataset.open(split, 9)
    assert list(found.grey) == grey
    assert list(found.ids) == [name for name in given.ids if name not in grey]
    np.testing.assert_array_equal(found.images, given.images[chroma > 5])
    assert (found.source, found.license) == ("swatches", "CC0-1.0")
    assert found.left_out() == [f"{len(grey)} already grey images were left out."]


def test_a_set_without_grey_images_is_not_copied(tiles):
    given = ImageSet(tiles, [str(i) for i in range(len(tiles))])
    found = given.without_grey()
    assert found.images is tiles
    assert found.without_grey() is found


def test_a_part_is_spread_over_the_set_from_end_to_end():
    given = Swatches()._load("test", 9, None)
    found = given.spread(4)
    assert list(found.ids) == ["test/0", "test/13", "test/26", "test/39"]
    np.testing.assert_array_equal(found.images, given.images[[0, 13, 26, 39]])
    assert list(given.spread(99).ids) == list(given.ids)
    assert len(given.spread(0)) == 0


def test_nothing_is_looked_for_where_the_cache_of_tiles_has_looked():
    # A set of millions in a file must not be read through at every start.
    images = np.full((2, 8, 8, 3), 90, np.uint8)
    given = ImageSet(images, ["a", "b"], grey=["c"], grey_left_out=True)
    assert given.without_grey() is given
    empty = ImageSet(images[:0], []).without_grey()
    assert (len(empty), list(empty.grey)) == (0, [])
