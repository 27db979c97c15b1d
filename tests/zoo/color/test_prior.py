"""The prior, its class weights and its file, against plain formulas over all 313 channels."""

import tarfile
from io import BytesIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.spatial import cKDTree
from skimage import color

from zoo.color.bins import bin_centres
from zoo.color.lab import rgb_to_lab
from zoo.color.prior import class_weights, prior_of_ab, read_prior, smoothed_prior, write_prior
from zoo.color.soft_encoding import SoftEncoding
from zoo.diagnose.prior_plot import plot_prior
from zoo.errors import InputError
from zoo.training.prior import prior_of_images

CPU = torch.device("cpu")
CENTRES = bin_centres().double().numpy()
Q = 313


def plain_prior(ab: np.ndarray, neighbours: int = 5, sigma: float = 5.0) -> np.ndarray:
    """N×H×W×2 ab, averaged 4×4, to the mean of all 313-channel soft targets."""
    count, height, width, _ = ab.shape
    grid = ab.reshape(count, height // 4, 4, width // 4, 4, 2).mean((2, 4)).reshape(-1, 2)
    distance, nearest = cKDTree(CENTRES).query(grid, k=neighbours)
    distance, nearest = distance.reshape(len(grid), -1), nearest.reshape(len(grid), -1)
    kernel = np.exp(-(distance**2) / (2 * sigma**2))
    target = np.zeros((len(grid), Q))
    np.put_along_axis(target, nearest, kernel / kernel.sum(1, keepdims=True), 1)
    return target.mean(0)


@pytest.fixture
def prior(tiles) -> torch.Tensor:
    return prior_of_images(tiles, 64)


# ---- counting ---------------------------------------------------------------------------


@pytest.mark.parametrize(("neighbours", "sigma"), [(5, 5.0), (10, 5.0), (1, 5.0), (5, 2.5)])
def test_the_prior_is_the_mean_soft_target(tiles, neighbours, sigma):
    found = prior_of_images(tiles, 64, neighbours=neighbours, sigma=sigma)
    expected = plain_prior(color.rgb2lab(tiles)[..., 1:], neighbours, sigma)
    assert found.dtype == torch.float64
    assert found.sum().item() == pytest.approx(1, abs=1e-12)
    # skimage's ab differs by up to 0.01; without the average it would be a hundred times more.
    assert np.abs(found.numpy() - expected).sum() < 1e-3
    other = plain_prior(np.repeat(np.repeat(color.rgb2lab(tiles)[..., 1:], 4, 1), 4, 2))
    assert np.abs(found.numpy() - other).sum() > 2e-2


def test_batches_of_any_size_make_one_prior(tiles):
    ab = rgb_to_lab(torch.from_numpy(tiles).permute(0, 3, 1, 2).double() / 255)[1]
    encode = SoftEncoding(5, 5.0, CPU)
    whole = prior_of_ab([ab], encode)
    assert torch.allclose(whole, prior_of_ab(ab.split(7), encode), atol=1e-12)
    assert np.abs(whole.numpy() - plain_prior(ab.movedim(1, -1).numpy())).max() < 1e-4


def test_images_with_a_margin_are_cropped_to_their_centre(tiles, prior):
    # A border of pure blue, which is nowhere in the tiles.
    framed = np.zeros((len(tiles), 72, 72, 3), np.uint8)
    framed[..., 2] = 255
    framed[:, 4:68, 4:68] = tiles
    done: list[int] = []
    assert torch.equal(prior_of_images(framed, 64, on_images=done.append), prior)
    assert done == [len(tiles)]
    assert not torch.allclose(prior_of_images(framed, 72), prior, atol=1e-3)


def test_every_image_is_counted(tiles):
    # More than a colorizer looks at by itself, the last ones of another colour.
    many = np.zeros((4200, 4, 4, 3), np.uint8)
    many[:] = (200, 40, 40)
    many[4100:] = (40, 40, 200)
    done: list[int] = []
    found = prior_of_images(many, 4, on_images=done.append)
    blue = plain_prior(color.rgb2lab(many[-1:])[..., 1:]) > 0
    assert found[torch.from_numpy(blue)].sum().item() == pytest.approx(100 / 4200, abs=1e-6)
    assert done[-1] == 4200
    assert done == sorted(done)


@pytest.mark.parametrize(
    ("size", "keywords", "part"),
    [
        (30, {}, "type --size 28"),
        (3, {}, "type --size 4"),
        (0, {}, "type --size 4"),
        (68, {}, "do not fit"),
        (64, {"neighbours": 0}, "neighbours must lie in 1 … 313, got 0"),
        (64, {"neighbours": 314}, "got 314"),
        (64, {"sigma": 0.0}, "sigma must be positive"),
        (64, {"sigma": float("nan")}, "got nan"),
    ],
)
def test_what_cannot_be_counted_is_refused(tiles, size, keywords, part):
    with pytest.raises(InputError, match=part):
        prior_of_images(tiles, size, **keywords)


def test_no_images_are_refused(tiles):
    with pytest.raises(InputError, match="empty"):
        prior_of_images(tiles[:0], 64)


# ---- class weights ----------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 1.0])
def test_weights_are_the_papers_formula_and_average_to_one(prior, share):
    weights = class_weights(prior, share)
    p = prior.numpy()
    plain = 1 / ((1 - share) * p + share / Q)
    plain /= (p * plain).sum()
    assert np.abs(weights.numpy() - plain).max() < 1e-9
    assert float((prior * weights).sum()) == pytest.approx(1, abs=1e-12)
    spread = float(weights.max() / weights.min())
    assert spread <= 1 + (1 - share) / share * Q * float(prior.max()) + 1e-9
    assert share < 1 or spread == pytest.approx(1)


def test_half_of_a_uniform_share_bounds_the_spread(prior):
    weights = class_weights(prior, 0.5)
    assert float(weights.max() / weights.min()) <= (1 + Q * float(prior.max())) * (1 + 1e-12)
    assert float(weights.max() / weights.min()) > 5, "nothing is rebalanced"


def test_rare_colours_weigh_more_and_unseen_ones_most(prior):
    weights = class_weights(prior, 0.5)
    order = prior.argsort()
    assert (weights[order].diff() <= 0).all()
    assert (prior == 0).any()
    assert torch.isfinite(weights).all()
    assert (weights[prior == 0] == weights.max()).all()


def test_a_prior_of_one_colour_is_safe():
    one = torch.zeros(Q, dtype=torch.float64)
    one[100] = 1
    weights = class_weights(one, 0.5)
    assert weights[100] == pytest.approx(1)
    assert float(weights.max() / weights.min()) == pytest.approx(1 + Q)


def weights_of(archive, every: int) -> np.ndarray:
    """Class weights of every n-th training image of Tiny-ImageNet, grey ones among them."""
    encode, found = SoftEncoding(5, 5.0, CPU), []
    with tarfile.open(archive) as tar:
        members = [m for m in tar.getmembers() if "train/" in m.name and m.isfile()]
        for member in members[::every]:
            pixels = Image.open(BytesIO(tar.extractfile(member).read())).convert("RGB")
            found.append(np.asarray(pixels))
    targets = []
    for start in range(0, len(found), 500):
        rgb = torch.from_numpy(np.stack(found[start : start + 500])).permute(0, 3, 1, 2)
        targets.append(encode(F.avg_pool2d(rgb_to_lab(rgb.float() / 255)[1], 4)))
    return class_weights(smoothed_prior(targets), 0.5).numpy()


@pytest.mark.parametrize(
    ("every", "tolerance"), [(10, 0.05), pytest.param(1, 0.03, marks=pytest.mark.long)]
)
def test_the_weights_on_tiny_imagenet_span_the_known_range(shared, every, tolerance):
    archive = shared / "data" / "tiny-imagenet-20k.tar"
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not among the shared research data")
    weights = weights_of(archive, every)
    assert weights.min() == pytest.approx(0.104, rel=tolerance)
    assert weights.max() == pytest.approx(6.25, rel=tolerance)


# ---- the file ---------------------------------------------------------------------------


def test_the_file_gives_back_every_bit(prior, tmp_path):
    path = tmp_path / "deep" / "prior.csv"
    write_prior(path, prior)
    assert torch.equal(read_prior(path), prior)
    write_prior(str(path), prior)
    assert torch.equal(read_prior(str(path)), prior)
    table = np.genfromtxt(path, delimiter=",", names=True)
    assert table.dtype.names == ("bin", "a", "b", "probability")
    assert np.array_equal(table["bin"], np.arange(Q))
    assert np.array_equal(np.stack((table["a"], table["b"]), 1), CENTRES)
    assert np.array_equal(table["probability"], prior.numpy())
    # As an editor on another system leaves it.
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert torch.equal(read_prior(path), prior)


def edited(lines: list[str], row: int, **cells: str) -> list[str]:
    columns = lines[0].split(",")
    old = dict(zip(columns, lines[row].split(","), strict=True))
    return [*lines[:row], ",".join((old | cells).values()), *lines[row + 1 :]]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda lines: [], "its first line is ''"),
        (lambda lines: lines[1:], "its first line is '0,-90,50,"),
        (lambda lines: ["bin,b,a,probability", *lines[1:]], "not 'bin,a,b,probability'"),
        (lambda lines: lines[:-1], "it has 312 rows"),
        (lambda lines: [*lines, lines[-1]], "more rows"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "line 2 is '1,-90,60"),
        (lambda lines: edited(lines, 7, a="-81"), "where bin,a,b is 6,-80,30"),
        (lambda lines: edited(lines, 7, bin="6.5"), "line 8 is '6.5,"),
        (lambda lines: edited(lines, 7, probability="x,1"), "line 8 is"),
        (lambda lines: edited(lines, 7, probability="much"), "line 8 has the probability 'much'"),
        (lambda lines: edited(lines, 7, probability="nan"), "bin 6 has the probability nan"),
        (lambda lines: edited(lines, 7, probability="inf"), "bin 6 has the probability inf"),
        (lambda lines: edited(lines, 7, probability="-1e-9"), "bin 6 has the probability -1e-09"),
        (lambda lines: edited(lines, 7, probability="0.00001"), "sum to 1.00001, not to 1"),
    ],
)
def test_a_file_that_is_something_else_is_refused(prior, tmp_path, change, part):
    path = tmp_path / "prior.csv"
    write_prior(path, prior)
    assert read_prior(path)[6] == 0, "the changes below count on it"
    path.write_text("\n".join(change(path.read_text().splitlines())), encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_prior(path)
    assert part in str(caught.value)
    assert str(path) in str(caught.value)
    assert "zoo prior" in str(caught.value)


def test_a_missing_file_a_folder_and_bytes_are_refused(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match=r"there is no prior at .*zoo prior DATA -o"):
            read_prior(path)
    for name, content in (("a.csv", b"\xff\xfe\x00\x01"), ("b.csv", b"x" * 200_000)):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="is no prior"):
            read_prior(tmp_path / name)


def test_what_is_no_distribution_is_not_written(tmp_path):
    uniform = torch.full((Q,), 1 / Q, dtype=torch.float64)
    for wrong in (uniform[:-1], uniform[None], 2 * uniform, uniform * torch.nan):
        with pytest.raises(InputError, match="that is no prior"):
            write_prior(tmp_path / "prior.csv", wrong)
    negative = uniform.clone()
    negative[0], negative[1] = -1 / Q, 3 / Q
    with pytest.raises(InputError, match="bin 0"):
        write_prior(tmp_path / "prior.csv", negative)
    assert not list(tmp_path.iterdir())


# ---- the plot ---------------------------------------------------------------------------


def test_the_plot_shows_the_bins_that_occur_in_their_colours(prior, tmp_path):
    path = tmp_path / "prior.png"
    plot_prior(path, prior, 0.5, "three photographs")
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width > 1000
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    left = pixels[:, : pixels.shape[1] // 2].reshape(-1, 3)
    lab = np.concatenate((np.full((Q, 1), 60.0), CENTRES), 1)
    colours = (color.lab2rgb(lab[None])[0] * 255).round().astype(int)
    frequent, unseen = int(prior.argmax()), int(prior.argmin())
    assert prior[unseen] == 0
    # What occurs is filled with its colour; what does not is nowhere to be seen.
    assert (np.abs(left - colours[frequent]).max(1) <= 1).sum() > 100
    assert (np.abs(left - colours[unseen]).max(1) <= 1).sum() == 0


def test_a_uniform_prior_can_be_drawn(tmp_path):
    plot_prior(tmp_path / "flat.png", torch.full((Q,), 1 / Q, dtype=torch.float64), 0.5, "flat")
    assert (tmp_path / "flat.png").stat().st_size > 10_000
