import warnings

import numpy as np
import pytest
import torch
from skimage import color, data

from zoo.color import lab
from zoo.errors import InputError

TOLERANCE = 0.01


def planes(array: np.ndarray) -> torch.Tensor:
    """P×3 to 1×3×1×P: float32, or uint8 where it is."""
    kind = np.uint8 if array.dtype == np.uint8 else np.float32
    return torch.from_numpy(np.ascontiguousarray(array.T, dtype=kind))[None, :, None]


def rows(tensor: torch.Tensor) -> np.ndarray:
    return tensor[0, :, 0].T.double().numpy()


def cube(reds: np.ndarray, stride: int) -> np.ndarray:
    levels = np.append(np.arange(0, 255, stride), 255)
    grid = np.meshgrid(reds, levels, levels, indexing="ij")
    return np.stack(grid, axis=-1).reshape(-1, 3)


def compare_with_skimage(levels: np.ndarray) -> None:
    rgb = levels / 255
    expected = color.rgb2lab(rgb)
    for given in (rgb, levels.astype(np.uint8)):
        L, ab = lab.rgb_to_lab(planes(given))
        found = np.concatenate((rows(L), rows(ab)), axis=1)
        assert np.abs(found - expected).max() < TOLERANCE

    back = planes(expected)
    painted = rows(lab.lab_to_rgb(back[:, :1], back[:, 1:]))
    assert np.array_equal((painted * 255).round().astype(int), levels)
    assert np.array_equal(rows(lab.lab_to_rgb8(back[:, :1], back[:, 1:])), levels)
    # What is painted is the colour that was asked for, in Lab units too.
    assert np.abs(color.rgb2lab(painted) - expected).max() < TOLERANCE
    assert np.abs(painted - color.lab2rgb(expected)).max() < 2e-4


def test_agrees_with_skimage_on_a_grid_through_the_8_bit_cube():
    compare_with_skimage(cube(np.append(np.arange(0, 255, 5), 255), 5))


@pytest.mark.long
def test_agrees_with_skimage_on_the_whole_8_bit_cube():
    for red in range(0, 256, 4):
        compare_with_skimage(cube(np.arange(red, red + 4), 1))


def test_agrees_with_skimage_outside_the_gamut():
    grid = np.meshgrid(np.arange(0, 101, 5), *[np.arange(-110, 111, 10)] * 2, indexing="ij")
    points = np.stack(grid, axis=-1).reshape(-1, 3).astype(float)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skimage warns of the negative Z it clips
        expected = color.lab2rgb(points)
    tensor = planes(points)
    found = rows(lab.lab_to_rgb(tensor[:, :1], tensor[:, 1:]))
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.abs(found - expected).max() < 5e-4
    in_bytes = lab.lab_to_rgb8(tensor[:, :1], tensor[:, 1:])
    assert in_bytes.dtype == torch.uint8
    assert np.abs(rows(in_bytes) - 255 * expected).max() < 0.5 + 255 * 5e-4


@pytest.mark.parametrize("of_bytes", [False, True])
def test_agrees_with_skimage_on_a_photograph(tiles, of_bytes):
    expected = color.rgb2lab(tiles)
    rgb = torch.from_numpy(tiles).permute(0, 3, 1, 2)
    L, ab = lab.rgb_to_lab(rgb if of_bytes else rgb.float() / 255)
    assert L.shape == (len(tiles), 1, 64, 64)
    assert ab.shape == (len(tiles), 2, 64, 64)
    assert L.dtype == ab.dtype == torch.float32
    found = torch.cat((L, ab), 1).permute(0, 2, 3, 1).numpy()
    assert np.abs(found - expected).max() < TOLERANCE


def test_all_8_bit_colours_lie_in_the_stated_ranges():
    L, ab = lab.rgb_to_lab(planes(cube(np.arange(0, 256, 15), 15) / 255))
    assert L.min() >= lab.L_RANGE[0] - TOLERANCE
    assert L.max() <= lab.L_RANGE[1] + TOLERANCE
    assert ab.min() >= lab.AB_RANGE[0]
    assert ab.max() <= lab.AB_RANGE[1]


def test_all_8_bit_greys_have_skimages_lightness_no_chroma_and_come_back():
    levels = np.arange(256)
    expected = color.rgb2lab(np.repeat(levels[:, None], 3, axis=1) / 255)
    grey = planes(levels[:, None] / 255)
    for given in (grey, planes(levels[:, None].astype(np.uint8))):
        L = lab.grey_to_L(given)
        assert np.abs(rows(L)[:, 0] - expected[:, 0]).max() < TOLERANCE
    assert np.array_equal((rows(lab.L_to_grey(L))[:, 0] * 255).round(), levels)
    painted = rows(lab.lab_to_rgb(L, torch.zeros(1, 2, *L.shape[2:])))
    assert np.array_equal((painted * 255).round(), np.repeat(levels[:, None], 3, axis=1))
    in_bytes = lab.lab_to_rgb8(L, torch.zeros(1, 2, *L.shape[2:]))
    assert np.array_equal(rows(in_bytes), np.repeat(levels[:, None], 3, axis=1))
    assert lab.rgb_to_lab(grey.expand(-1, 3, -1, -1))[1].abs().max() < TOLERANCE


def test_yuv_agrees_with_skimage_both_ways():
    rgb = cube(np.arange(0, 256, 15), 15) / 255
    yuv = lab.rgb_to_yuv(planes(rgb))
    # skimage's matrix has a largest V of 0.61497538 instead of 0.615.
    assert np.abs(rows(yuv) - color.rgb2yuv(rgb)).max() < 5e-5
    assert np.abs(rows(lab.yuv_to_rgb(yuv)) - rgb).max() < 1e-5
    assert yuv[:, 1].abs().max() == pytest.approx(lab.U_MAX, abs=1e-5)
    assert yuv[:, 2].abs().max() == pytest.approx(lab.V_MAX, abs=1e-5)


def test_no_uv_is_no_chroma():
    L = torch.linspace(0, 100, 101).view(1, 1, 1, -1)
    assert lab.uv_to_ab(L, torch.zeros(1, 2, 1, 101)).abs().max() < TOLERANCE


def test_uv_to_ab_is_skimages_chroma_of_uv_joined_with_the_grey_of_that_lightness(tiles):
    rgb = tiles[:4] / 255
    L = color.rgb2lab(rgb)[..., :1]
    uv = color.rgb2yuv(rgb)[..., 1:]
    grey = color.lab2rgb(np.concatenate((L, np.zeros_like(uv)), axis=-1))[..., :1]
    joined = color.yuv2rgb(np.concatenate((grey, uv), axis=-1)).clip(0, 1)
    expected = color.rgb2lab(joined)[..., 1:]
    found = lab.uv_to_ab(
        torch.from_numpy(L).permute(0, 3, 1, 2).float(),
        torch.from_numpy(uv).permute(0, 3, 1, 2).float(),
    )
    assert np.abs(found.permute(0, 2, 3, 1).numpy() - expected).max() < 0.02
    # It is near the truth's chroma: BT.601's Y of a colour is not far from that of its grey.
    truth = color.rgb2lab(rgb)[..., 1:]
    assert np.abs(expected - truth).mean() < 3


def test_conversions_are_differentiable():
    generator = torch.Generator().manual_seed(0)
    rgb = torch.rand(1, 3, 2, 3, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    L, ab = (x.detach().requires_grad_() for x in lab.rgb_to_lab(rgb))
    rgb.requires_grad_()
    uv = (torch.rand(1, 2, 2, 3, generator=generator, dtype=torch.float64) - 0.5) * 0.05
    uv.requires_grad_()
    middle = (L.detach() * 0.2 + 40).requires_grad_()
    assert torch.autograd.gradcheck(lab.rgb_to_lab, (rgb,))
    assert torch.autograd.gradcheck(lab.lab_to_rgb, (L, ab))
    assert torch.autograd.gradcheck(lab.rgb_to_yuv, (rgb,))
    assert torch.autograd.gradcheck(lab.yuv_to_rgb, (rgb,))
    assert torch.autograd.gradcheck(lab.uv_to_ab, (middle, uv))


def test_gradients_are_finite_at_the_ends_of_the_range():
    rgb = torch.tensor([0.0, 1.0, 0.04045]).view(1, 1, 1, 3).repeat(1, 3, 1, 1).requires_grad_()
    L, ab = lab.rgb_to_lab(rgb)
    (L.sum() + ab.sum()).backward()
    assert torch.isfinite(rgb.grad).all()

    L = torch.tensor([0.0, 0.0, 100.0, 100.0]).view(1, 1, 1, 4).requires_grad_()
    ab = torch.tensor([[0.0, 110, -110, 0], [0, 110, -110, 110]]).view(1, 2, 1, 4).requires_grad_()
    lab.lab_to_rgb(L, ab).sum().backward()
    assert torch.isfinite(L.grad).all()
    assert torch.isfinite(ab.grad).all()


def test_autocast_does_not_round_colours(tiles):
    rgb = torch.from_numpy(tiles[:2]).permute(0, 3, 1, 2).float() / 255
    expected = lab.rgb_to_lab(rgb)
    with torch.autocast("cpu", torch.bfloat16):
        found = lab.rgb_to_lab(rgb)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_good_lightness_passes_unchanged():
    for L in (torch.rand(2, 1, 4, 5) * 100, torch.zeros(1, 1, 1, 1), torch.full((1, 1, 2, 2), 100)):
        L = L.float()
        assert lab.check_L(L) is L


ONE = torch.linspace(0, 1, 12).view(1, 1, 3, 4)


@pytest.mark.parametrize(
    ("L", "said"),
    [
        (ONE, ["[0, 1]", "(1, 1, 3, 4)", "multiply by 100"]),
        (ONE * 255, ["[0, 255]", "(1, 1, 3, 4)", "8-bit grey"]),
        (ONE * 100 - 50, ["[-50, 50]", "(1, 1, 3, 4)", "centred"]),
        (ONE * 100.5, ["[0, 100.5]", "lighter than white", "L.clamp(0, 100)"]),
        (ONE * float("nan"), ["NaN", "(1, 1, 3, 4)"]),
        (ONE[..., 1:] * float("inf"), ["infinity", "(1, 1, 3, 3)"]),
        (50 - ONE[..., 1:] * float("inf"), ["infinity", "(1, 1, 3, 3)"]),
        ((ONE * 100).double(), ["float64", "L.float()"]),
        ((ONE * 100).to(torch.uint8), ["uint8", "floating point"]),
        ((ONE * 100)[0], ["(1, 3, 4)", "[None]"]),
        ((ONE * 100).expand(1, 3, 3, 4), ["N×1×H×W", "(1, 3, 3, 4)"]),
        (torch.zeros(0, 1, 3, 4), ["empty", "(0, 1, 3, 4)"]),
    ],
)
def test_bad_lightness_is_refused_with_range_shape_and_cause(L, said):
    with pytest.raises(InputError) as caught:
        lab.check_L(L)
    message = str(caught.value)
    assert all(part in message for part in said), message
    assert "\n" not in message


@pytest.mark.parametrize(
    "call",
    [
        lambda: lab.rgb_to_lab(torch.zeros(3, 4, 4)),
        lambda: lab.rgb_to_lab(torch.zeros(1, 4, 4, 3)),
        lambda: lab.rgb_to_lab(torch.zeros(1, 3, 4, 4, dtype=torch.int64)),
        lambda: lab.rgb_to_yuv(torch.zeros(1, 3, 4, 4, dtype=torch.uint8)),
        lambda: lab.lab_to_rgb(torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4)),
        lambda: lab.lab_to_rgb(torch.zeros(1, 4, 4), torch.zeros(1, 2, 4, 4)),
        lambda: lab.grey_to_L(torch.zeros(1, 3, 4, 4)),
        lambda: lab.rgb_to_yuv(torch.zeros(1, 2, 4, 4)),
    ],
)
def test_wrong_planes_are_refused(call):
    with pytest.raises(InputError, match="must be"):
        call()


def test_a_nearly_black_photograph_is_not_taken_for_a_scaled_plane():
    grey = torch.tensor([0.0, 1.0, 2.0, 3.0]).repeat(64).view(1, 1, 16, 16) / 255
    L = lab.grey_to_L(grey)
    assert 0 < float(L.max()) < 1
    assert lab.check_L(L) is L


def test_the_grey_of_a_colour_has_its_lightness():
    photo = data.astronaut()
    grey = lab.rgb_to_grey(torch.from_numpy(photo).permute(2, 0, 1)[None])
    expected = color.rgb2lab(photo)[..., 0]
    found = color.rgb2lab(np.repeat(grey[0, 0].double().numpy()[..., None], 3, axis=2))[..., 0]
    np.testing.assert_allclose(found, expected, atol=0.01)
