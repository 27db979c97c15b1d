"""What users have: the same images are the same, upright, whatever they are given in."""

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data

import zoo
from zoo.data.containers import open_greys, training_set
from zoo.data.dataset import Dataset, DatasetInfo, ImageSet
from zoo.images.open import read_image
from zoo.registry import colorizer_class

LISTS = {"arrays": list, "pil": lambda images: [*map(Image.fromarray, images)]}
TILES = {"array": np.array, "set": lambda images: ImageSet(images, ["a", "b", "c"])}


class Ribbons(Dataset):
    """Training tiles with an eighth of margin, as those of photographs have."""

    info = DatasetInfo("ribbons", "Ribbons", "MIT", "none")

    def _load(self, split, size, progress):
        side = size + size // 8
        return ImageSet(np.resize(np.arange(251, dtype=np.uint8), (2, side, side, 3)), ["a", "b"])


class NarrowRibbons(Ribbons):
    """Those of an unusual size."""

    info = DatasetInfo("narrow", "Ribbons", "MIT", "none", native_size=60)


@pytest.mark.parametrize("container", [*LISTS, *TILES])
@pytest.mark.parametrize(
    ("given", "size", "stored_size", "reduced", "crop"),
    [
        (512, None, None, 288, 256),
        (512, 64, None, 72, 64),
        (512, 64, 128, 144, 64),
        (72, 64, None, 72, 64),
        (68, 64, None, 64, 64),
        (40, 64, None, 64, 64),
    ],
)
def test_photographs_of_a_list_are_reduced_and_tiles_of_an_array_kept(
    container, given, size, stored_size, reduced, crop
):
    images = np.stack([np.roll(data.astronaut(), i, axis=1)[:given, :given] for i in range(3)])
    found = training_set((LISTS | TILES)[container](images), size, 8, stored_size=stored_size)
    assert found.size == crop
    if container in TILES and given >= crop:
        assert np.array_equal(found.images.images, images)
    else:
        assert found.images.size == reduced


@pytest.mark.parametrize("name", zoo.list_colorizers())
def test_every_model_gets_the_crops_that_a_dataset_is_made_for(name):
    model = colorizer_class(name)(device="cpu")
    found = training_set(Ribbons(), None, model.multiple, model.minimum_size)
    assert (found.images.size, found.size) == (72, 64)


@pytest.mark.parametrize(
    ("multiple", "minimum", "size"), [(1, 1, 60), (16, 16, 48), (32, 64, 64), (8, 90, 96)]
)
def test_a_dataset_is_opened_at_a_size_that_the_network_takes(multiple, minimum, size):
    found = training_set(NarrowRibbons(), None, multiple, minimum)
    assert (found.images.size, found.size) == (size + size // 8, size)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(
    "reader", [Image.open, read_image, lambda path: ImageOps.exif_transpose(Image.open(path))]
)
def test_pil_images_are_upright_once(reader, suffix, orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(data.coffee()[100:130, 200:240]).save(path, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(path))
    given, upright = (
        training_set([image], 30, 1).images.images for image in (reader(path), np.array(expected))
    )
    assert np.array_equal(given, upright)
    [plane], pack = open_greys(reader(path))
    [same], _ = open_greys([Image.fromarray(np.array(expected))])
    assert np.array_equal(plane, same)
    assert pack([np.zeros((*plane.shape, 3), np.uint8)]).size == expected.size


def test_a_photograph_lying_on_its_side_comes_back_upright(fitted, tmp_path):
    grey = Image.fromarray(data.coffee()[100:130, 200:240, 1])
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(tmp_path / "turned.png", exif=exif)
    painted = fitted("mean_color").predict(Image.open(tmp_path / "turned.png"))
    expected = fitted("mean_color").predict(np.rot90(np.array(grey), -1))
    assert painted.size == (30, 40)
    assert np.array_equal(painted, expected)
