from collections import Counter

import numpy as np
import pytest
import torch
from skimage import data

from zoo.color.bins import BIN_COUNT, GRID, bin_centres, nearest_bin
from zoo.color.lab import rgb_to_lab
from zoo.errors import InputError

# How many bins there are for each a, from −90 to 100.
BINS_PER_A = [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]


def brute_force(ab: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Index of and distance to the nearest of all bins, in float64."""
    points = ab.movedim(1, -1).double().reshape(-1, 1, 2)
    found = [
        (part - bin_centres().double()).square().sum(-1).sqrt().min(-1)
        for part in points.split(1 << 14)
    ]
    shape = (len(ab), *ab.shape[2:])
    return (
        torch.cat([f.indices for f in found]).view(shape),
        torch.cat([f.values for f in found]).view(shape),
    )


def test_there_are_313_sorted_by_a_then_b_on_a_grid_of_ten():
    centres = bin_centres()
    assert (BIN_COUNT, GRID) == (313, 10)
    assert centres.shape == (313, 2)
    assert centres.dtype == torch.float32
    points = [tuple(point) for point in centres.tolist()]
    assert points == sorted(set(points))
    assert all(a % 10 == 0 and b % 10 == 0 for a, b in points)
    assert centres.amin(0).tolist() == [-90, -110]
    assert centres.amax(0).tolist() == [100, 100]


def test_the_number_of_bins_for_each_a():
    per_a = Counter(bin_centres()[:, 0].int().tolist())
    assert [per_a[a] for a in range(-90, 101, 10)] == BINS_PER_A


def test_the_bins_of_one_a_have_no_gap():
    centres = bin_centres()
    for a in range(-90, 101, 10):
        b = centres[centres[:, 0] == a, 1]
        assert b.diff().eq(10).all()


def test_a_caller_may_change_its_copy():
    before = bin_centres()
    bin_centres().zero_()
    assert torch.equal(bin_centres(), before)


def test_every_srgb_colour_lies_near_a_bin():
    # Every fifth 8-bit level of each channel, 0 and 255 among them. Within the grid a colour is
    # at most half a diagonal (7.07) from a bin; at the gamut's rim it may be a little further.
    level = torch.arange(0, 256, 5)
    rgb = torch.cartesian_prod(level, level, level).float().T.reshape(1, 3, 1, -1) / 255
    distance = brute_force(rgb_to_lab(rgb)[1])[1]
    assert distance.max() < 10
    assert (distance <= 50**0.5 + 1e-3).float().mean() > 0.99


def test_each_centre_is_nearest_to_itself():
    centres = bin_centres().T.reshape(1, 2, 1, 313)
    assert torch.equal(nearest_bin(centres).flatten(), torch.arange(313))


@pytest.mark.parametrize("reach", [60, 125, 400], ids=lambda r: f"within-{r}")
def test_equals_a_search_of_all_bins(reach):
    generator = torch.Generator().manual_seed(reach)
    ab = (torch.rand(3, 2, 64, 65, generator=generator) * 2 - 1) * reach
    found = nearest_bin(ab)
    expected, distance = brute_force(ab)
    assert found.shape == (3, 64, 65)
    assert found.dtype == torch.int64
    gap = (ab.movedim(1, -1) - bin_centres()[found]).double().norm(dim=-1) - distance
    assert gap.abs().max() < 1e-4
    assert (found != expected).float().mean() < 1e-3


@pytest.mark.parametrize("photo", ["astronaut", "chelsea", "coffee"])
def test_equals_a_search_of_all_bins_on_photographs(photo):
    rgb = torch.from_numpy(getattr(data, photo)()[::3, ::3].copy()).permute(2, 0, 1)[None] / 255
    ab = rgb_to_lab(rgb)[1]
    assert torch.equal(nearest_bin(ab), brute_force(ab)[0])


def test_ties_go_to_the_lowest_index():
    # Every tie between two or four bins, and the ties outside the gamut: multiples of 5.
    step = torch.arange(-130, 131, 5).float()
    ab = torch.cartesian_prod(step, step).T.reshape(1, 2, len(step), len(step))
    points = ab.movedim(1, -1).reshape(-1, 1, 2).double()
    squares = (points - bin_centres().double()).square().sum(-1).numpy()
    assert np.array_equal(nearest_bin(ab).flatten().numpy(), squares.argmin(1))


def test_more_pixels_outside_the_gamut_than_one_chunk():
    ab = torch.full((1, 2, 200, 200), 120.0)
    ab[..., 150:, :] = -120
    corners = brute_force(torch.tensor([120.0, -120.0]).view(2, 1, 1, 1).expand(2, 2, 1, 1))[0]
    found = nearest_bin(ab)
    assert found[:, :150].eq(corners[0]).all()
    assert found[:, 150:].eq(corners[1]).all()


def test_takes_any_float_dtype_and_leaves_its_input_alone():
    ab = torch.full((1, 2, 2, 2), 14.0, dtype=torch.float64, requires_grad=True)
    assert nearest_bin(ab).unique().tolist() == [bin_centres().tolist().index([10, 10])]
    assert ab.detach().eq(14).all()


@pytest.mark.parametrize(
    "wrong",
    [torch.zeros(2, 4, 4), torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4, dtype=torch.int64)],
    ids=["no-batch", "three-planes", "integers"],
)
def test_says_what_shape_it_needs(wrong):
    with pytest.raises(InputError, match="N×2×H×W floating point"):
        nearest_bin(wrong)
