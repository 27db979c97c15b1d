"""The U-Net over timm's backbones: its parts, both heads, and what it refuses."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage, special
from scipy.spatial.distance import cdist
from skimage import color
from torch import nn

import zoo
from zoo.color.bins import bin_centres
from zoo.color.lab import rgb_to_lab
from zoo.color.prior import write_prior
from zoo.errors import InputError, OptionError
from zoo.registry import colorizer_class

NAME = "unet_timm"
CLASS = colorizer_class(NAME)
CENTRES = bin_centres().double().numpy()
Q = 313


def unet(**changes):
    """The small preset, changed, on the CPU."""
    return CLASS(
        dataclasses.replace(CLASS.preset("small"), **changes), device="cpu", precision="fp32"
    )


def built(**changes):
    """The same with a network of fixed weights."""
    colorizer = unet(**changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        colorizer.net = colorizer.build()
    return colorizer


def fit(tiles, **changes):
    colorizer = unet(batch_size=4, **changes)
    return colorizer.fit(tiles, budget="2steps", size=32)


class Given(nn.Module):
    """Gives a parameter whatever comes in, and keeps what came."""

    def __init__(self, output: torch.Tensor):
        super().__init__()
        self.output = nn.Parameter(output)

    def forward(self, grey):
        self.grey = grey
        return self.output


def lab_of(tiles: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    return rgb_to_lab(torch.from_numpy(tiles).permute(0, 3, 1, 2).float() / 255)


def dense_target(tiles: np.ndarray, stride: int) -> np.ndarray:
    """N×313×h×w: the soft target of ab averaged over stride×stride pixels, written out."""
    ab = color.rgb2lab(tiles)[..., 1:]
    count, side = len(tiles), tiles.shape[1] // stride
    points = ab.reshape(count, side, stride, side, stride, 2).mean((2, 4)).reshape(-1, 2)
    distance = cdist(points, CENTRES)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :5]
    kernel = np.exp(-(np.take_along_axis(distance, nearest, 1) ** 2) / 50)
    target = np.zeros((len(points), Q))
    np.put_along_axis(target, nearest, kernel / kernel.sum(1, keepdims=True), 1)
    return np.moveaxis(target.reshape(count, side, side, Q), -1, 1)


# ---- the network ------------------------------------------------------------------------


def resnet_parameters(blocks: tuple[int, ...]) -> int:
    """A ResNet of basic blocks on grey, without its classifier: 7×7, then stages of 3×3."""
    total, wide_in = 49 * 64 + 128, 64
    for number, count in enumerate(blocks):
        width = 64 * 2**number
        for _ in range(count):
            total += 9 * wide_in * width + 9 * width * width + 4 * width
            if wide_in != width:
                total += wide_in * width + 2 * width
            wide_in = width
    return total


@pytest.mark.parametrize(
    ("preset", "blocks", "skips", "widths"),
    [
        ("paper", (3, 4, 6, 3), (64, 64, 128, 256), (64, 128, 256, 256)),
        ("small", (2, 2, 2), (64, 64, 128), (32, 64, 128)),
    ],
)
def test_the_parameters_are_those_of_the_parts(preset, blocks, skips, widths):
    colorizer = CLASS(CLASS.preset(preset), device="cpu")
    colorizer.net = colorizer.build()
    expected = resnet_parameters(blocks)
    deepest = 64 * 2 ** (len(blocks) - 1)
    for (wide, deeper), skip in zip(pairwise((*widths, deepest)), skips, strict=True):
        expected += deeper * wide + wide  # 1×1, then two 3×3 with batch-norms
        expected += 9 * (wide + skip) * wide + 9 * wide * wide + 4 * wide
    expected += widths[0] * Q + Q
    assert colorizer.parameter_count == expected


@pytest.mark.parametrize(
    ("backbone", "deepest_stride"),
    [
        ("resnet18", 16),
        ("efficientnet_lite0", 32),
        ("efficientnet_lite0", 8),
        ("mobilenetv3_small_050", 16),
        ("vgg11", 8),
        ("convnext_atto", 16),
    ],
)
@pytest.mark.parametrize("head_stride", [1, 2, 4])
def test_any_pyramid_gives_logits_at_the_heads_stride(backbone, deepest_stride, head_stride):
    if deepest_stride == 2 * head_stride == 8 and backbone == "convnext_atto":
        pytest.skip("nothing lies between")
    colorizer = built(backbone=backbone, deepest_stride=deepest_stride, head_stride=head_stride)
    assert colorizer.multiple == colorizer.minimum_size == deepest_stride
    # Sides that are odd multiples of the deepest stride, and differ.
    height, width = 3 * deepest_stride, 5 * deepest_stride
    for name, p in colorizer.net.named_parameters():
        if p.ndim == 1 and name.endswith("weight"):
            nn.init.ones_(p)  # timm starts some branches from zero, where no gradient gets in
    logits = colorizer.net(torch.rand(2, 1, height, width))
    assert logits.shape == (2, Q, height // head_stride, width // head_stride)
    logits.square().sum().backward()
    silent = [n for n, p in colorizer.net.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_the_network_sees_the_grey_of_that_lightness_scaled_as_for_imagenet(tiles):
    colorizer = built()
    seen = []
    colorizer.net.backbone.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    L, _ = lab_of(tiles[:2])
    colorizer.forward(L)
    zeros = np.zeros_like(L[:, 0])
    grey = color.lab2rgb(np.stack((L[:, 0].numpy(), zeros, zeros), -1))[..., 0]
    expected = (grey - np.mean([0.485, 0.456, 0.406])) / np.mean([0.229, 0.224, 0.225])
    assert np.abs(seen[0][:, 0].numpy() - expected).max() < 0.01


@pytest.mark.parametrize("times", [2, 4])
def test_an_enlarged_image_is_what_the_backbone_sees(tiles, times):
    colorizer = built(enlargement=times)
    assert colorizer.multiple == colorizer.minimum_size == 16 // times
    seen = []
    colorizer.net.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    L, _ = lab_of(tiles[:1])
    ab = colorizer.forward(L)
    assert ab.shape == (1, 2, 64, 64)
    plain = built()
    plain.net.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    plain.forward(L)
    small = seen[1][0, 0].numpy()
    expected = ndimage.zoom(small, times, order=1, grid_mode=True, mode="nearest")
    assert np.abs(seen[0][0, 0].numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("side", [(1, 1), (33, 50)])
def test_sides_that_do_not_suit_are_padded(tiles, side):
    colorizer = fit(tiles)
    height, width = side
    photograph = np.ascontiguousarray(tiles[0, :height, :width, 1])
    colour = colorizer.predict(photograph)
    assert colour.shape == (*side, 3)
    padded = np.pad(photograph, ((0, -height % 16), (0, -width % 16)), "edge")
    assert np.array_equal(colour, colorizer.predict(padded)[:height, :width])


# ---- the bins ---------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_loss_is_the_cross_entropy_against_the_dense_target(tiles, stride):
    few = tiles[:3, :32, :32]
    side = 32 // stride
    logits = torch.randn(3, Q, side, side, generator=torch.Generator().manual_seed(1)) * 3
    colorizer = built(head_stride=stride)
    colorizer.net = Given(logits)
    loss = colorizer.loss(*lab_of(few))
    loss.backward()
    target = dense_target(few, stride)
    log_p = special.log_softmax(logits.double().numpy(), axis=1)
    pixels = 3 * side * side
    # skimage's ab differs by up to 0.01.
    assert loss.item() == pytest.approx(-(target * log_p).sum() / pixels, rel=1e-3)
    expected = (np.exp(log_p) - target) / pixels
    found = colorizer.net.output.grad.numpy()
    assert np.linalg.norm(found - expected) < 5e-3 * np.linalg.norm(expected)


def test_rebalancing_weighs_by_the_prior_on_the_heads_grid(tiles):
    colorizer = unet(rebalancing=0.5, batch_size=4).fit(tiles, budget="1steps", size=64)
    p = dense_target(tiles, 2).mean((0, 2, 3))
    expected = 1 / (0.5 * p + 0.5 / Q)
    expected /= (p * expected).sum()
    found = colorizer._class_weights.numpy()
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)
    coarse = dense_target(tiles, 4).mean((0, 2, 3))
    other = 1 / (0.5 * coarse + 0.5 / Q)
    other /= (coarse * other).sum()
    assert np.linalg.norm(found - other) > 1e-2 * np.linalg.norm(other)


def assert_same(first, second):
    for (name, p), q in zip(first.net.named_parameters(), second.net.parameters(), strict=True):
        assert torch.equal(p, q), name


def test_plain_is_a_uniform_prior_and_rebalancing_is_not(tiles, tmp_path):
    path = tmp_path / "uniform.csv"
    write_prior(path, torch.full((Q,), 1 / Q, dtype=torch.float64))
    plain = fit(tiles, rebalancing=1.0)
    assert (plain._class_weights == 1).all()
    assert_same(plain, fit(tiles, rebalancing=0.5, prior=str(path)))
    daring = fit(tiles, rebalancing=0.5)
    assert daring._class_weights.max() / daring._class_weights.min() > 5
    assert not torch.equal(plain.net.head.bias, daring.net.head.bias)


def test_a_prior_that_is_missing_or_not_read_is_an_error(tiles, tmp_path):
    with pytest.raises(InputError, match="no prior at"):
        fit(tiles, rebalancing=0.5, prior=str(tmp_path / "none.csv"))
    for options in ({"rebalancing": 1}, {"rebalancing": 0.5, "head": "regression"}):
        with pytest.raises(OptionError, match="would not be read"):
            zoo.load(NAME, prior="prior.csv", **options)


def test_temperature_sharpens_what_is_predicted():
    logits = torch.randn(1, Q, 16, 16, generator=torch.Generator().manual_seed(0))
    chroma = []
    for temperature in (1.0, 0.38, 0.0):
        colorizer = built(temperature=temperature)
        colorizer.net = Given(logits)
        ab = colorizer.forward(torch.full((1, 1, 32, 32), 50.0))
        assert ab.shape == (1, 2, 32, 32)
        chroma.append(float(ab.norm(dim=1).mean().detach()))
    assert chroma == sorted(chroma)
    mode = CENTRES[logits.argmax(1).numpy()].transpose(0, 3, 1, 2)
    # Enlarging twofold keeps the mean of a plane, up to its border.
    assert np.abs(ab.detach().numpy().mean((2, 3)) - mode.mean((2, 3))).max() < 3


# ---- regression -------------------------------------------------------------------------


def test_regression_is_smooth_l1_of_ab_at_full_size(tiles):
    L, ab = lab_of(tiles[:2, :32, :32])
    guess = torch.randn(2, 2, 32, 32, generator=torch.Generator().manual_seed(0)) / 5
    colorizer = built(head="regression", head_stride=1)
    colorizer.net = Given(guess)
    distance = np.abs(110 * guess.double().numpy() - ab.double().numpy())
    smooth = np.where(distance < 10, distance**2 / 20, distance - 5)
    assert colorizer.loss(L, ab).item() == pytest.approx(smooth.mean() / 110, rel=1e-5)


def test_regression_starts_from_grey(tiles):
    colorizer = built(head="regression")
    assert colorizer.net.head.out_channels == 2
    with torch.no_grad():
        ab = colorizer.forward(lab_of(tiles[:2])[0])
    assert ab.shape == (2, 2, 64, 64)
    assert ab.abs().max() < 3


# ---- what training does -----------------------------------------------------------------


@pytest.mark.parametrize("head", ["bins", "regression"])
def test_a_short_fit_lowers_the_loss(tiles, head):
    few = tiles[:4]
    colorizer = unet(batch_size=4, head=head).fit(few, budget="30steps", size=32)
    losses = [point["loss"] for point in colorizer.record.curve]
    assert np.mean(losses[-3:]) < 0.85 * losses[0]


def test_weights_come_back_with_the_options_that_they_need(tiles, tmp_path):
    options = {"backbone": "mobilenetv3_small_050", "deepest_stride": 8, "head_stride": 4}
    trained = fit(tiles, rebalancing=0.7, **options)
    path = tmp_path / "mine.safetensors"
    trained.save(path)
    again = zoo.load(NAME, weights=path, device="cpu", precision="fp32")
    assert again.options == trained.options
    assert again.multiple == 8
    assert np.array_equal(again.predict(tiles[0, ..., 0]), trained.predict(tiles[0, ..., 0]))
    # How a prediction is decoded is no part of the weights.
    mean = zoo.load(NAME, weights=path, device="cpu", precision="fp32", temperature=1)
    assert not np.array_equal(mean.predict(tiles[0, ..., 0]), trained.predict(tiles[0, ..., 0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"deepest_stride": 64}, "no stage of stride 64 .* one of 4, 8, 16, 32"),
        ({"deepest_stride": 12}, "one of 4, 8, 16, 32"),
        ({"deepest_stride": 4, "head_stride": 4}, "below a head of stride 4.* one of 8, 16, 32"),
        ({"head_stride": 3}, "must be one of 1, 2, 4"),
        ({"head": "logits"}, "bins, regression"),
        ({"decoder_width": 0}, "decoder_width must be at least 1, got 0"),
        ({"rebalancing": 0}, r"rebalancing must lie in \(0, 1\], got 0"),
        ({"rebalancing": 1.5}, "got 1.5"),
        ({"temperature": 1.5}, "temperature must lie"),
        ({"neighbours": 0}, "neighbours must lie"),
        ({"sigma": 0}, "sigma must be positive"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        zoo.load(NAME, **options)
