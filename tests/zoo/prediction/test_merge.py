"""Chroma merged into full lightness, in strips."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import color, data

from zoo.device import single_threaded_pool
from zoo.images.photograph import Photograph
from zoo.prediction.merge import coloured_strips, enlarged_rows


@pytest.fixture(scope="module")
def rgb():
    return np.ascontiguousarray(data.astronaut()[20:116, 150:278])


@pytest.mark.parametrize("shape", [(7, 5), (64, 48), (1, 1), (96, 128)])
def test_rows_are_those_of_the_whole_plane(shape):
    plane = torch.randn(1, 2, *shape)
    # In float64: in float32 the whole plane itself is off by more than a hundred-thousandth.
    exact = plane.double()
    whole = F.interpolate(exact, size=(96, 128), mode="bilinear", align_corners=False).float()
    for rows in (slice(0, 1), slice(13, 50), slice(95, 96), slice(0, 96)):
        part = enlarged_rows(plane, rows, 96, 128)
        torch.testing.assert_close(part, whole[:, :, rows], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bits", [8, 16])
def test_strips_make_the_same_picture_whatever_their_size(rgb, bits):
    photograph = Photograph(rgb[..., 1].astype(np.uint16) * 257, 16, alpha=rgb[..., 2])
    ab = 20 * torch.randn(2, 17, 23)
    pictures = [
        np.concatenate(
            list(coloured_strips(photograph, ab, bits=bits, alpha=True, strip_pixels=pixels))
        )
        for pixels in (1, 1000, 1 << 20)
    ]
    assert pictures[0].shape == (96, 128, 4)
    for other in pictures[1:]:
        # float32 may round either way.
        assert np.abs(pictures[0].astype(int) - other).max() <= (0 if bits == 8 else 2)


def test_threads_make_the_same_picture_in_order(rgb):
    photograph = Photograph(rgb[..., 1], 8, None)
    ab = 20 * torch.randn(2, 17, 23)
    form = {"bits": 8, "alpha": False, "strip_pixels": 256}
    alone = list(coloured_strips(photograph, ab, **form))
    with single_threaded_pool(3) as pool:
        together = list(coloured_strips(photograph, ab, pool=pool, **form))
    assert len(alone) == len(together) == 48
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_merge_agrees_with_scikit_image(rgb):
    grey = rgb[..., 1]
    ab = torch.tensor([[[9.0, -9.0], [4.0, 8.0]], [[-3.0, 12.0], [7.0, -8.0]]])
    photograph = Photograph(grey, 8, None)
    found = np.concatenate(
        list(coloured_strips(photograph, ab, bits=16, alpha=False, saturation=1.5))
    )
    L = color.rgb2lab(np.repeat(grey[..., None], 3, 2))[..., 0]
    size = {"size": grey.shape, "mode": "bilinear", "align_corners": False}
    large = F.interpolate(1.5 * ab[None], **size)[0].permute(1, 2, 0).double().numpy()
    expected = color.lab2rgb(np.dstack([L, large]))
    np.testing.assert_allclose(found / 65535, expected, atol=1e-4)


@pytest.mark.parametrize(("dtype", "bits"), [(np.uint8, 8), (np.uint8, 16), (np.uint16, 16)])
def test_no_chroma_gives_every_grey_back(dtype, bits):
    levels = np.iinfo(dtype).max + 1
    grey = np.arange(levels, dtype=dtype).reshape(16, -1)
    photograph = Photograph(grey, bits, None)
    found = np.concatenate(
        list(coloured_strips(photograph, torch.zeros(2, 1, 1), bits=bits, alpha=False))
    )
    expected = grey.astype(int) * (257 if dtype == np.uint8 and bits == 16 else 1)
    assert np.abs(found - expected[..., None]).max() <= (1 if bits == 16 else 0)
