"""The colour error at object edges, against Gaussians that can be written down."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.special import ndtr
from skimage import data

from zoo.color.lab import rgb_to_lab
from zoo.diagnose.bleeding import EDGE_STEP, REACH, edge_band, edge_error, error_map
from zoo.errors import InputError

SIDE, BORDER = 64, 32
RED, BLUE = (50.0, 30.0), (10.0, -60.0)
STEP = math.dist(RED, BLUE)


def two_colours(left=RED, right=BLUE) -> torch.Tensor:
    """2×64×64 ab: one colour up to column 31, another from column 32 on."""
    ab = torch.empty(2, SIDE, SIDE, dtype=torch.float64)
    ab[:, :, :BORDER] = torch.tensor(left, dtype=torch.float64)[:, None, None]
    ab[:, :, BORDER:] = torch.tensor(right, dtype=torch.float64)[:, None, None]
    return ab


def columns(band: np.ndarray) -> np.ndarray:
    """The columns of a vertical band, away from where the detector has no neighbours."""
    rows = band[8:-8]
    assert (rows == rows[0]).all()
    return np.flatnonzero(rows[0])


def test_the_band_reaches_three_pixels_from_the_border():
    found = columns(edge_band(two_colours()))
    # The border lies between two columns, and the detector may name either.
    assert found.min() in (BORDER - 1 - REACH, BORDER - REACH)
    assert found.max() in (BORDER - 1 + REACH, BORDER + REACH)
    assert (np.diff(found) == 1).all()


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0])
def test_a_blurred_border_errs_in_its_band_as_the_gaussian_says(sigma):
    truth = two_colours()
    distance = np.abs(np.arange(SIDE) + 0.5 - BORDER)
    # The step convolved with a Gaussian is the normal distribution function.
    share = ndtr((np.arange(SIDE) + 0.5 - BORDER) / sigma)
    row = truth[:, 0, :1] + (truth[:, 0, -1:] - truth[:, 0, :1]) * torch.from_numpy(share)
    predicted = row[:, None].expand(-1, SIDE, -1)
    band = edge_band(truth)
    expected = STEP * ndtr(-distance / sigma)
    found = edge_error(predicted, truth)
    assert np.allclose(error_map(predicted, truth), expected[None], atol=1e-9)
    # Whichever rows the detector leaves out, the columns have the same errors.
    assert found.edges == pytest.approx(np.broadcast_to(expected, band.shape)[band].mean())
    inside = expected[columns(band)]
    assert found.edges == pytest.approx(inside.mean(), rel=0.05)
    assert found.share == band.mean() == pytest.approx(7.5 / SIDE, abs=0.02)
    # From three and a half pixels on there is next to nothing left of it.
    assert found.elsewhere < STEP * ndtr(-3 / sigma)
    assert found.elsewhere < 0.02 * found.edges
    assert found.whole == pytest.approx(expected.mean())
    assert found.ratio == pytest.approx(found.edges / found.elsewhere)


def test_a_blur_by_scipy_is_found_at_the_edge_and_grows_with_its_width():
    truth = two_colours()
    errors = []
    for sigma in (0.5, 1.0, 2.0):
        planes = [gaussian_filter(plane, (0, sigma), mode="nearest") for plane in truth.numpy()]
        errors.append(edge_error(torch.from_numpy(np.stack(planes)), truth))
    assert errors[0].edges < errors[1].edges < errors[2].edges
    # By the Gaussian's own taps: what crosses the border to a column at some distance from it.
    taps = gaussian_filter(np.eye(1, 33, 16)[0], 1.0)
    distance = [c - BORDER if c >= BORDER else BORDER - 1 - c for c in columns(edge_band(truth))]
    crossing = [STEP * taps[17 + d :].sum() for d in distance]
    assert errors[1].edges == pytest.approx(np.mean(crossing), rel=0.05)


def test_a_perfect_prediction_errs_nowhere():
    truth = rgb_to_lab(torch.from_numpy(data.coffee()[None, :128, :128]).movedim(-1, 1) / 255)[1][0]
    found = edge_error(truth, truth)
    assert (found.whole, found.edges, found.elsewhere) == (0, 0, 0)
    assert found.ratio is None
    assert 0 < found.share < 1


def test_an_error_away_from_edges_is_counted_elsewhere_alone():
    truth = two_colours()
    predicted = truth.clone()
    predicted[0, :, :16] += 3
    predicted[1, :, :16] += 4
    found = edge_error(predicted, truth)
    assert found.edges == 0
    assert found.ratio == 0
    assert found.elsewhere == pytest.approx(5 * 16 * SIDE / (SIDE**2 * (1 - found.share)))


def test_an_image_without_edges_says_so():
    flat = two_colours(RED, RED)
    assert not edge_band(flat).any()
    found = edge_error(flat + 3, flat)
    assert (found.edges, found.ratio, found.share) == (None, None, 0)
    assert found.whole == found.elsewhere == pytest.approx(3 * math.sqrt(2))


@pytest.mark.parametrize("channel", [0, 1])
def test_a_step_is_an_edge_from_the_threshold_on_in_either_plane(channel):
    for height, expected in ((EDGE_STEP * 0.9, False), (EDGE_STEP * 1.1, True)):
        right = [0.0, 0.0]
        right[channel] = height
        assert edge_band(two_colours((0.0, 0.0), tuple(right))).any() == expected, height
    # What rises by as much over forty pixels is none.
    ramp = torch.zeros(2, SIDE, SIDE)
    ramp[channel] = torch.linspace(0, 1.1 * EDGE_STEP, SIDE)
    assert not edge_band(ramp).any()


def test_an_edge_of_lightness_alone_is_none():
    rgb = np.full((1, SIDE, SIDE, 3), 40, np.uint8)
    rgb[:, :, BORDER:] = 220
    assert not edge_band(rgb_to_lab(torch.from_numpy(rgb).movedim(-1, 1) / 255)[1][0]).any()


def test_what_cannot_be_compared_is_refused():
    truth = two_colours()
    for predicted, true, part in (
        (truth[:, 1:], truth, "differ in shape"),
        (truth[None], truth[None], "2×H×W"),
        (truth * torch.nan, truth, "prediction holds values that are not finite"),
        (truth, truth * torch.inf, "truth holds values that are not finite"),
        (truth.long(), truth.long(), "floating point"),
    ):
        with pytest.raises(InputError, match=part):
            edge_error(predicted, true)
