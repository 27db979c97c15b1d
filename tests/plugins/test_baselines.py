import numpy as np
import pytest
import torch
from skimage import color

import zoo


def constant(name, tiles, **changes) -> torch.Tensor:
    """The ab of a fitted floor, after checking that it is one for all pixels."""
    colorizer = zoo.load(name, device="cpu").fit(tiles, budget="1steps", **changes)
    ab = colorizer.predict_ab(torch.linspace(0, 100, 35).view(1, 1, 5, 7).expand(3, 1, 5, 7))
    assert (ab == ab[:1, :, :1, :1]).all()
    return ab[0, :, 0, 0]


def test_grey_has_no_chroma_and_gives_its_input_back(tiles):
    assert constant("grey", tiles).tolist() == [0, 0]
    colorizer = zoo.load("grey", device="cpu").fit(tiles[:1], budget="1steps")
    grey = tiles[..., 1]
    assert np.array_equal(colorizer.predict(grey), np.repeat(grey[..., None], 3, axis=-1))


def test_mean_color_is_skimages_mean_chroma(tiles):
    expected = color.rgb2lab(tiles)[..., 1:].mean((0, 1, 2))
    assert np.abs(constant("mean_color", tiles).numpy() - expected).max() < 2e-3
    assert np.abs(expected).max() > 2, "the tiles have no colour to speak of"


def test_mean_color_is_the_centres_where_crops_are_smaller(tiles):
    expected = color.rgb2lab(tiles[:, 16:48, 16:48])[..., 1:].mean((0, 1, 2))
    assert np.abs(constant("mean_color", tiles, size=32).numpy() - expected).max() < 2e-3


def test_mean_color_looks_at_every_image(tiles):
    # More images than the survey's own limit: 4,100 of one colour, and one last of another.
    images = np.full((4101, 4, 4, 3), (200, 90, 90), np.uint8)
    images[-1] = (0, 0, 255)
    expected = color.rgb2lab(images)[..., 1:].mean((0, 1, 2))
    without = color.rgb2lab(images[:1])[..., 1:].mean((0, 1, 2))
    assert np.abs(expected - without).max() > 0.02
    assert np.abs(constant("mean_color", images).numpy() - expected).max() < 5e-3


@pytest.mark.parametrize("name", ["grey", "mean_color"])
def test_floors_take_no_step_and_say_that_they_are_floors(name, tiles):
    colorizer = zoo.load(name, device="cpu").fit(tiles, budget="1steps")
    assert colorizer.info.floor
    assert colorizer.record.stop_reason == "no steps"
    assert colorizer.record.cost.steps == 0
    assert colorizer.parameter_count == 0


def test_no_method_that_learns_is_a_floor():
    from zoo.registry import colorizer_class

    floors = {name for name in zoo.list_colorizers() if colorizer_class(name).info.floor}
    assert floors == {"grey", "mean_color"}
