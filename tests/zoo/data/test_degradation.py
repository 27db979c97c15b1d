"""Changes of a lightness against libjpeg, SciPy and PyTorch's own resampling."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import gaussian_filter

from zoo.color.lab import L_to_grey, grey_to_L
from zoo.data.degradation import (
    blur,
    clustered,
    fade,
    grain,
    jpeg,
    resample,
    resampling_weights,
    separable,
    specks,
)


@pytest.fixture
def grey(tiles: np.ndarray) -> np.ndarray:
    """4×60×44 uint8: sides that are no multiples of eight."""
    return tiles[:4, :60, :44, 1]


@pytest.fixture
def L(grey: np.ndarray) -> torch.Tensor:
    return grey_to_L(torch.from_numpy(grey).unsqueeze(1))


def white(count: int, side: int = 64) -> torch.Tensor:
    return torch.randn(count, 1, side, side, generator=torch.Generator().manual_seed(0))


def decoded(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "jpeg", quality=quality)
    return np.asarray(Image.open(file)).astype(float)


@pytest.mark.parametrize("offset", [(0, 0), (3, 5)])
def test_jpeg_is_libjpegs_up_to_the_rounding_of_its_integers(
    grey: np.ndarray, L: torch.Tensor, offset: tuple[int, int]
) -> None:
    qualities = [30, 50, 75, 95]
    offsets = None if offset == (0, 0) else torch.tensor([offset] * 4)
    ours = (L_to_grey(jpeg(L, torch.tensor(qualities).float(), offsets)) * 255)[:, 0].numpy()
    for mine, image, quality in zip(ours, grey, qualities, strict=True):
        y, x = offset
        theirs = decoded(np.pad(image, ((y, 0), (x, 0)), mode="edge"), quality)[y:, x:]
        # A coefficient that lies between two steps may go either way, and takes its block along.
        assert np.median(np.abs(mine - theirs)) < 0.6
        assert np.abs(mine - theirs).mean() < 0.5
        lost = np.abs(theirs - image).mean()
        assert np.abs(mine - image).mean() == pytest.approx(lost, rel=0.05)


def test_each_image_has_a_grid_of_its_own(L: torch.Tensor) -> None:
    quality = torch.full((4,), 40.0)
    offsets = torch.tensor([[0, 0], [1, 7], [4, 4], [7, 0]])
    together = jpeg(L, quality, offsets)
    for n in range(4):
        alone = jpeg(L[n : n + 1], quality[:1], offsets[n : n + 1])
        assert torch.equal(together[n : n + 1], alone)
    assert torch.equal(together[:1], jpeg(L[:1], quality[:1]))


def test_blur_is_scipys_gaussian_with_weights_that_sum_to_one(L: torch.Tensor) -> None:
    sigmas = [0.3, 0.8, 1.5, 3.0]
    ours = blur(L, torch.tensor(sigmas)).numpy()[:, 0]
    how = {"mode": "constant", "truncate": 30}
    for mine, plane, sigma in zip(ours, L.numpy()[:, 0].astype(float), sigmas, strict=True):
        theirs = gaussian_filter(plane, sigma, **how)
        theirs /= gaussian_filter(np.ones_like(plane), sigma, **how)
        assert np.abs(mine - theirs).max() < 1e-3


@pytest.mark.parametrize(("length", "out"), [(48, 17), (48, 48), (20, 33)])
def test_resampling_is_torchs_with_antialiasing(length: int, out: int) -> None:
    planes = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    starts = torch.tensor([0.0, float(48 - length)])
    weights = resampling_weights(starts, torch.full((2,), float(length)), 48, out)
    ours = separable(weights, weights, planes)
    for mine, whole, start in zip(ours, planes, starts.int().tolist(), strict=True):
        part = whole[None, :, start : start + length, start : start + length]
        theirs = F.interpolate(part, (out, out), mode="bilinear", antialias=True)[0]
        assert (mine - theirs).abs().max() < 1e-5


def test_there_and_back_is_torchs_twice_with_a_share_of_its_own_for_each(L: torch.Tensor) -> None:
    shares = [0.5, 0.61, 0.83, 1.0]
    ours = resample(L, torch.tensor(shares))
    for mine, plane, share in zip(ours, L, shares, strict=True):
        small = [round(side * share) for side in plane.shape[1:]]
        theirs = F.interpolate(plane[None], small, mode="bilinear", antialias=True)
        theirs = F.interpolate(theirs, plane.shape[1:], mode="bilinear", antialias=True)[0]
        assert (mine - theirs).abs().max() < 1e-3
    assert torch.allclose(resample(L, 0.5)[:1], ours[:1], atol=1e-4)


def test_fading_is_a_straight_line_from_black_to_white() -> None:
    ends = torch.tensor([0.0, 100.0]).view(1, 1, 1, 2)
    faded = fade(ends, torch.tensor([0.6]), torch.tensor([30.0]))
    assert faded.flatten().tolist() == pytest.approx([30, 90])


def test_grains_are_correlated_as_their_size_says() -> None:
    sizes = [0.6, 1.0, 2.0]
    noise = clustered(white(3, 128), torch.tensor(sizes))
    for plane, size in zip(noise[:, 0], sizes, strict=True):
        assert float(plane.std()) == pytest.approx(1, abs=1e-4)
        beside = float((plane[:, 1:] * plane[:, :-1]).mean())
        # White noise blurred by a Gaussian of σ is correlated as one of √2 σ is.
        sampled = np.exp(-(np.arange(-20, 21) ** 2) / (2 * size**2))
        expected = float((sampled[1:] * sampled[:-1]).sum() / (sampled**2).sum())
        assert beside == pytest.approx(expected, abs=0.06)
    drawn = grain(torch.Size((1, 1, 128, 128)), torch.tensor([1.0]), torch.Generator())
    assert float(drawn.std()) == pytest.approx(1, abs=1e-4)


def test_specks_are_squares_of_two_pixels_on_the_share_of_the_image() -> None:
    L = torch.full((2, 1, 512, 512), 50.0)
    shares = torch.tensor([0.001, 0.0])
    specked = specks(L, white(2, 512), shares, torch.tensor([95.0, 8.0]))
    hit = specked[0, 0] == 95
    assert float(hit.float().mean()) == pytest.approx(0.004, rel=0.2)
    assert set(specked[0].unique().tolist()) == {50.0, 95.0}
    # Away from the edges, what is left of squares of two pixels by an erosion makes them again.
    eroded = -F.max_pool2d(-hit[None, None].float(), 2, 1)
    again = F.max_pool2d(eroded, 2, 1, padding=1)[0, 0] > 0
    assert torch.equal(again[2:-2, 2:-2], hit[2:-2, 2:-2])
    assert torch.equal(specked[1], L[1])


@pytest.mark.long  # the first operation on the meta device takes seconds
def test_no_change_reads_a_value_back_from_the_device() -> None:
    """Tensors of the meta device have no values: reading one is an error, as a wait would be."""
    meta = torch.device("meta")
    L = torch.empty(2, 1, 60, 44, device=meta)
    some = torch.empty(2, device=meta)
    changed = [
        resample(L, some),
        resample(L, 0.5),
        blur(L, some),
        fade(L, some, some),
        L * clustered(L, some),
        specks(L, L, some, some),
        jpeg(L, some),
        jpeg(L, some, torch.empty(2, 2, dtype=torch.int64, device=meta)),
    ]
    assert all(each.shape == L.shape and each.device == meta for each in changed)
