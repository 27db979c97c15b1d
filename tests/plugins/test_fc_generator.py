from itertools import pairwise

import numpy as np
import pytest
import torch
from skimage import color
from skimage.transform import resize

import zoo
from zoo.color.lab import rgb_to_lab

PAPER, SMALL = (1024, 2048, 2048, 3072), (1024, 1024, 3072)


@pytest.mark.parametrize(("preset", "widths"), [("paper", PAPER), ("small", SMALL)])
def test_the_layers(preset, widths):
    cls = zoo.registry.colorizer_class("fc_generator")
    net = cls(cls.preset(preset), device="cpu").build()
    linear = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert [m.in_features for m in linear] == list(widths[:-1])
    assert [m.out_features for m in linear] == list(widths[1:])
    expected = sum(i * o + o for i, o in pairwise(widths))
    assert sum(p.numel() for p in net.parameters()) == expected


class Spy(torch.nn.Module):
    """Repeats the grey it sees three times, and keeps it."""

    def forward(self, grey):
        self.grey = grey
        return grey.expand(-1, 3, -1, -1)


@pytest.fixture
def spied():
    colorizer = zoo.load("fc_generator", device="cpu", precision="fp32", hidden=8)
    colorizer.net = Spy()
    return colorizer


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (47, 100), (8, 8)])
def test_other_sizes_go_through_32(spied, size):
    L = torch.rand(2, 1, *size) * 100
    painted = spied.forward(L)
    assert spied.net.grey.shape == (2, 1, 32, 32)
    assert painted.shape == (2, 3, *size)


def test_at_32_the_net_sees_the_grey_itself(spied, tiles):
    L = torch.from_numpy(color.rgb2lab(tiles[:3, :32, :32])[..., 0]).float()[:, None]
    grey = color.lab2rgb(np.stack([L[:, 0].numpy()] + [np.zeros((3, 32, 32))] * 2, -1))[..., 0]
    assert np.abs(spied.forward(L)[:, 0].numpy() - grey).max() < 1e-3


def test_larger_images_are_averaged_not_sampled(spied, tiles):
    L = torch.from_numpy(color.rgb2lab(tiles)[..., 0]).float()[:, None]
    spied.forward(L)
    zeros = np.zeros_like(L[:, 0])
    grey = color.lab2rgb(np.stack((L[:, 0].numpy(), zeros, zeros), -1))[..., 0]
    halved = grey.reshape(len(tiles), 32, 2, 32, 2).mean((2, 4))
    found = spied.net.grey[:, 0].numpy()
    # A triangle filter is a little wider than the mean of four; sampling would be far off.
    assert np.abs(found - halved).mean() < 0.6 * np.abs(found - grey[:, ::2, ::2]).mean()


def test_the_loss_is_the_squared_error_of_rgb_at_32(tiles):
    colorizer = zoo.load("fc_generator", device="cpu", precision="fp32", hidden=8)
    colorizer.net = Spy()
    rgb = tiles[:4, :32, :32] / 255
    L, ab = rgb_to_lab(torch.from_numpy(rgb).permute(0, 3, 1, 2).float())
    grey = spied_grey(L)
    expected = ((grey[..., None] - rgb) ** 2).mean()
    assert float(colorizer.loss(L, ab)) == pytest.approx(expected, rel=1e-3)


def spied_grey(L: torch.Tensor) -> np.ndarray:
    zeros = np.zeros_like(L[:, 0])
    return color.lab2rgb(np.stack((L[:, 0].numpy(), zeros, zeros), -1))[..., 0]


def test_it_learns_the_colours_of_a_few_tiles(tiles):
    few = np.stack([resize(t, (32, 32), anti_aliasing=True) for t in tiles[:8]])
    few = (few * 255).round().astype(np.uint8)
    colorizer = zoo.load(
        "fc_generator", device="cpu", precision="fp32", hidden=128, layers=1, batch_size=8
    ).fit(few, budget="150steps")
    losses = [point["loss"] for point in colorizer.record.curve]
    assert losses[-1] < losses[0] / 3
