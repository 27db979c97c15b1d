import socket
from itertools import pairwise

import huggingface_hub.constants
import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import color
from torch import nn

import zoo
from zoo.color.lab import U_MAX, V_MAX, rgb_to_lab
from zoo.errors import OptionError, WeightsError
from zoo_plugins.residual_encoder_vgg16 import _gaussian_blur

NAME = "residual_encoder_vgg16"


@pytest.fixture
def batch(tiles):
    """L, ab of six tiles, and their skimage UV as N×2×H×W float64."""
    L, ab = rgb_to_lab(torch.from_numpy(tiles[::6]).permute(0, 3, 1, 2).float() / 255)
    uv = color.rgb2yuv(tiles[::6] / 255)[..., 1:]
    return L, ab, np.moveaxis(uv, -1, 1)


class Fixed(nn.Module):
    """Gives a parameter whatever it sees, and keeps what it saw."""

    def __init__(self, output: torch.Tensor):
        super().__init__()
        self.output = nn.Parameter(output)

    def forward(self, grey):
        self.grey = grey
        return self.output


def with_output(uv: np.ndarray):
    colorizer = zoo.load(NAME, device="cpu", precision="fp32")
    colorizer.net = Fixed(torch.from_numpy(uv).float())
    return colorizer


def opencv_sigma(width: int) -> float:
    return 0.3 * ((width - 1) * 0.5 - 1) + 0.8


@pytest.mark.parametrize(("width", "sigma"), [(3, 0.8), (5, 1.1)])
def test_the_blur_is_scipys_gaussian_with_opencvs_sigma(batch, width, sigma):
    assert opencv_sigma(width) == pytest.approx(sigma)
    uv = batch[2]
    expected = ndimage.gaussian_filter(
        uv, sigma=(0, 0, sigma, sigma), mode="mirror", radius=(0, 0, width // 2, width // 2)
    )
    found = _gaussian_blur(torch.from_numpy(uv), width).numpy()
    assert found.shape == uv.shape
    assert np.abs(found - expected).max() < 1e-12
    assert np.abs(found - uv).max() > 0.01, "nothing was blurred"


def test_the_loss_is_the_mean_of_three_euclidean_distances_of_uv(batch):
    L, ab, truth = batch
    guess = np.random.default_rng(0).normal(0, 0.1, truth.shape)
    distances = []
    for width in (0, 3, 5):
        blurred = [
            plane
            if not width
            else ndimage.gaussian_filter(
                plane,
                sigma=(0, 0, opencv_sigma(width), opencv_sigma(width)),
                mode="mirror",
                radius=(0, 0, width // 2, width // 2),
            )
            for plane in (guess, truth)
        ]
        distances.append(np.sqrt(((blurred[0] - blurred[1]) ** 2).sum(1)).mean())
    found = float(with_output(guess).loss(L, ab).detach())
    assert found == pytest.approx(np.mean(distances), rel=1e-3)


def test_the_truths_own_uv_has_no_loss_and_a_finite_gradient(batch):
    L, ab, truth = batch
    colorizer = with_output(truth)
    loss = colorizer.loss(L, ab)
    assert float(loss.detach()) < 5e-4
    loss.backward()
    assert torch.isfinite(colorizer.net.output.grad).all()


def test_the_net_sees_the_grey_of_that_lightness(batch):
    L, _, truth = batch
    colorizer = with_output(truth)
    colorizer.forward(L)
    zeros = np.zeros_like(L[:, 0])
    grey = color.lab2rgb(np.stack((L[:, 0].numpy(), zeros, zeros), -1))[..., 0]
    assert np.abs(colorizer.net.grey[:, 0].numpy() - grey).max() < 1e-3


def test_the_truths_uv_is_nearly_the_truths_ab(batch):
    L, ab, truth = batch
    with torch.no_grad():
        found = with_output(truth).forward(L)
    # Y of the truth and of the grey with its L differ a little.
    assert (found - ab).abs().mean() < 3
    assert np.corrcoef(found.flatten(), ab.flatten())[0, 1] > 0.97


def vgg(depths) -> int:
    total, wide_in = 0, 3
    for width, layers in zip((64, 128, 256, 512), depths, strict=True):
        for _ in range(layers):
            total += wide_in * width * 9 + width
            wide_in = width
    return total


@pytest.mark.parametrize(
    ("preset", "trunk", "depths"),
    [("paper", "vgg16", (2, 2, 3, 3)), ("small", "vgg11", (1, 1, 2, 2))],
)
def test_the_trunk_is_the_first_four_stages(preset, trunk, depths):
    cls = zoo.registry.colorizer_class(NAME)
    options = cls.preset(preset)
    assert (options.trunk, options.trunk_weights) == (trunk, "none")
    net = cls(options, device="cpu").build()
    assert net.trunk.feature_info.reduction() == [1, 2, 4, 8]
    assert sum(p.numel() for p in net.trunk.parameters()) == vgg(depths)
    # Batch-norms of every stage and the input; 1×1 down to the next width; 3×3; UV.
    widths = [3, 64, 128, 256, 512]
    joins = sum(2 * w for w in widths)
    joins += sum(deep * up + up for up, deep in pairwise(widths))
    joins += sum(up * up * 9 + up for up in widths[:-1]) + 3 * 2 * 9 + 2
    assert sum(p.numel() for p in net.parameters()) == vgg(depths) + joins


@pytest.mark.parametrize("size", [(8, 8), (32, 48)])
def test_uv_comes_out_at_full_size_within_its_range(size):
    cls = zoo.registry.colorizer_class(NAME)
    net = cls(cls.preset("small"), device="cpu").build().eval()
    with torch.no_grad():
        net.uv.weight.mul_(1e4)
        uv = net(torch.rand(2, 1, *size))
    assert uv.shape == (2, 2, *size)
    assert uv[:, 0].abs().max() <= U_MAX + 1e-6
    assert uv[:, 1].abs().max() <= V_MAX + 1e-6


def test_every_stage_of_the_trunk_reaches_the_output():
    cls = zoo.registry.colorizer_class(NAME)
    torch.manual_seed(0)
    net = cls(cls.preset("small"), device="cpu").build().eval()
    net(torch.rand(1, 1, 16, 16)).square().sum().backward()
    silent = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_other_trunks_are_refused():
    with pytest.raises(OptionError, match="vgg16, vgg11"):
        zoo.load(NAME, trunk="resnet18")


def test_imagenet_weights_without_a_network_are_one_line_of_explanation(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))

    def forbidden(*_):
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    colorizer = zoo.load(NAME, device="cpu", trunk="vgg11", trunk_weights="imagenet")
    assert colorizer.options.trunk_weights == "imagenet"
    with pytest.raises(WeightsError) as caught:
        colorizer.fit(np.zeros((2, 16, 16, 3), np.uint8), budget="1steps")
    reason = str(caught.value)
    assert "ImageNet weights of vgg11" in reason
    assert "connect to the network once" in reason
    assert "trunk_weights=none" in reason
    assert "\n" not in reason
    assert not colorizer.is_fitted
