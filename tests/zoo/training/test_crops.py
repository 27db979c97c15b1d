"""Crops out of the training images: the same from the host and from the device's memory."""

import numpy as np
import pytest
import torch

from zoo.training import crops
from zoo.training.budget import Budget
from zoo.training.crops import CropStream, ImageStore
from zoo.training.feed import Feed
from zoo.training.variety import UNVARIED, Variety

CPU = torch.device("cpu")


@pytest.fixture
def rows(tiles):
    drawn = CropStream(len(tiles), side=64, size=24, seed=5).take(0, 50)
    assert set(drawn[:, 3]) == {0, 1}
    return drawn


def test_places_in_the_stream_are_what_they_have_always_been():
    """Results of older versions can be repeated as long as this holds."""
    plan = []
    for epoch in range(3):
        generator = np.random.default_rng([7, epoch])
        images = generator.permutation(10)
        y, x, flip = (generator.integers(0, most + 1, 10) for most in (32, 32, 1))
        plan += [(*row, 32) for row in zip(images, y, x, flip, strict=True)]
    assert CropStream(10, side=64, size=32, seed=7).take(4, 20).tolist() == [
        list(map(int, row)) for row in plan[4:24]
    ]


@pytest.mark.parametrize("resident", [False, True])
def test_a_crop_is_what_its_row_says(tiles, rows, resident, monkeypatch):
    monkeypatch.setattr(crops, "_stay_on", lambda device, size: resident)
    taken = ImageStore(tiles, CPU).crop(rows, 24)
    assert (taken.shape, taken.dtype) == ((50, 3, 24, 24), torch.uint8)
    for crop, (image, y, x, flip, _) in zip(taken, rows, strict=True):
        expected = tiles[image, y : y + 24, x : x + 24]
        if flip:
            expected = np.fliplr(expected)
        assert np.array_equal(crop.permute(1, 2, 0).numpy(), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@pytest.mark.parametrize("variety", [UNVARIED, Variety(True, (0.5, 1), 48)])
@pytest.mark.parametrize("resident", [False, True])
def test_nothing_but_the_last_step_is_waited_for(tiles, resident, variety, monkeypatch):
    """On a GPU, that is: the queue never runs dry while the next batch is prepared."""
    monkeypatch.setattr(crops, "_stay_on", lambda device, size: resident)
    device = torch.device("cuda")
    feed = Feed(
        tiles, Budget.parse("5steps"), batch_size=8, size=32, device=device, variety=variety
    )
    # A first step counts operations, and starts what a device starts once.
    loop = iter(feed)
    L, ab = next(loop)
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for L, ab in loop:
            feed.log((L.mean() - ab.mean()).square())
    finally:
        torch.cuda.set_sync_debug_mode(before)
    feed.close()
    assert feed.cost.steps == 5
