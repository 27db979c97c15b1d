"""Encoding, loss and rebalancing of Zhang 2016 against plain formulas over all 313 channels."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from skimage import color
from torch import nn

import zoo
from zoo.color.bins import bin_centres
from zoo.color.prior import class_weights, smoothed_prior, write_prior
from zoo.color.soft_encoding import SoftEncoding, candidate_table
from zoo.errors import InputError, OptionError
from zoo.registry import colorizer_class
from zoo.training.prior import prior_of_images

CPU = torch.device("cpu")
CENTRES = bin_centres().double().numpy()
Q = 313
SIGMA = 5.0


# ---- plain implementations --------------------------------------------------------------


def plain_encoding(points: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """P×2 ab to the P×313 soft target: nearest bins, Gaussian, normalised."""
    distance = cdist(points, CENTRES)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
    target = np.zeros((len(points), Q))
    kernel = np.exp(-(np.take_along_axis(distance, nearest, 1) ** 2) / (2 * SIGMA**2))
    np.put_along_axis(target, nearest, kernel / kernel.sum(1, keepdims=True), 1)
    return target


def away_from_ties(points: np.ndarray, neighbours: int = 5) -> np.ndarray:
    """Those whose n-th and (n+1)-th bins, and first and second, differ by more than 1e-4."""
    distance = np.sort(cdist(points, CENTRES), axis=1)
    gap = np.minimum(
        distance[:, neighbours] - distance[:, neighbours - 1], distance[:, 1] - distance[:, 0]
    )
    return points[gap > 1e-4]


def real_points(tiles: np.ndarray) -> np.ndarray:
    """ab of photographs, averaged 4×4, unrounded: P×2."""
    ab = color.rgb2lab(tiles)[..., 1:]
    return ab.reshape(len(tiles), 16, 4, 16, 4, 2).mean((2, 4)).reshape(-1, 2)


def random_points(count: int, seed: int = 0) -> np.ndarray:
    """ab of colours drawn evenly from the sRGB cube."""
    rgb = np.random.default_rng(seed).random((count, 3))
    return color.rgb2lab(rgb)[:, 1:]


def as_planes(points: np.ndarray, side: int = 16) -> torch.Tensor:
    """The first points as N×2×side×side float64."""
    count = len(points) // side**2
    planes = points[: count * side**2].reshape(count, side, side, 2)
    return torch.from_numpy(np.moveaxis(planes, -1, 1).copy())


class Given(nn.Module):
    """Logits that are parameters, whatever comes in."""

    def __init__(self, logits: torch.Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, L):
        return self.logits


def with_logits(logits: torch.Tensor, name: str = "zhang_classifier", **options):
    colorizer = zoo.load(name, device="cpu", precision="fp32", width=0.125, **options)
    colorizer.net = colorizer.build()
    colorizer.net = Given(logits)
    return colorizer


def some_logits(planes: torch.Tensor, scale: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(len(planes), Q, *planes.shape[2:], generator=generator) * scale


def loss_and_gradient(colorizer, planes: torch.Tensor) -> tuple[float, np.ndarray]:
    ab = planes.repeat_interleave(4, 2).repeat_interleave(4, 3)
    loss = colorizer.loss(torch.full_like(ab[:, :1], 50), ab)
    loss.backward()
    return loss.detach().item(), colorizer.net.logits.grad.double().numpy()


def plain_loss_and_gradient(logits, planes, neighbours=5, weights=None):
    """Σ w·CE / pixels over all 313 channels, and softmax − target times w / pixels."""
    points = planes.movedim(1, -1).reshape(-1, 2).numpy()
    target = plain_encoding(points, neighbours)
    z = logits.double().movedim(1, -1).reshape(-1, Q).numpy()
    log_p = z - z.max(1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(1, keepdims=True))
    w = np.ones(len(points)) if weights is None else weights[target.argmax(1)]
    loss = (w * -(target * log_p).sum(1)).sum() / len(points)
    gradient = w[:, None] * (np.exp(log_p) - target) / len(points)
    shape = (len(planes), *planes.shape[2:], Q)
    return loss, np.moveaxis(gradient.reshape(shape), -1, 1)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


# ---- soft encoding and loss -------------------------------------------------------------


@pytest.mark.parametrize("neighbours", [1, 5, 10])
@pytest.mark.parametrize("source", ["real", "random"])
def test_the_sparse_target_is_the_plain_one(tiles, source, neighbours):
    points = real_points(tiles) if source == "real" else random_points(20_000)
    planes = as_planes(away_from_ties(points, neighbours))
    target = SoftEncoding(neighbours, SIGMA, CPU)(planes)
    assert target.index.shape == (len(planes), neighbours, 16, 16)
    dense = torch.zeros(len(planes), Q, 16, 16, dtype=torch.float64)
    dense.scatter_(1, target.index, target.weight)
    expected = plain_encoding(planes.movedim(1, -1).reshape(-1, 2).numpy(), neighbours)
    found = dense.movedim(1, -1).reshape(-1, Q).numpy()
    assert np.abs(found - expected).max() < 1e-6
    assert np.allclose(target.weight.sum(1), 1)
    assert (target.weight.diff(dim=1) <= 0).all(), "nearest first"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("neighbours", [5, 10])
@pytest.mark.parametrize("source", ["real", "random"])
def test_loss_and_gradient_are_the_plain_ones(tiles, source, neighbours, layout):
    points = real_points(tiles) if source == "real" else random_points(4_000)
    planes = as_planes(away_from_ties(points, neighbours))[:11]
    assert len(planes) == 11  # more than one chunk, and none like the others
    logits = some_logits(planes).contiguous(memory_format=layout)
    found = loss_and_gradient(with_logits(logits, neighbours=neighbours), planes)
    expected = plain_loss_and_gradient(logits, planes, neighbours)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert relative(found[1], expected[1]) < 1e-5
    # Rounding ab, as a lookup table would, is a thousand times farther off than allowed.
    rounded = plain_loss_and_gradient(logits, planes.round(), neighbours)
    assert relative(rounded[1], expected[1]) > 1e-2


def test_float32_is_as_good(tiles):
    planes = as_planes(away_from_ties(real_points(tiles)))[:8]
    logits = some_logits(planes)
    found = loss_and_gradient(with_logits(logits), planes.float())
    expected = plain_loss_and_gradient(logits, planes)
    assert found[0] == pytest.approx(expected[0], rel=1e-4)
    assert relative(found[1], expected[1]) < 1e-4


def test_ab_is_averaged_to_the_grid_of_the_logits(tiles):
    ab = color.rgb2lab(tiles[:2])[..., 1:]
    full = torch.from_numpy(np.moveaxis(ab, -1, 1).copy())
    planes = as_planes(real_points(tiles[:2]))
    logits = some_logits(planes)
    colorizer = with_logits(logits)
    found = float(colorizer.loss(torch.zeros_like(full[:, :1]), full).detach())
    assert found == pytest.approx(plain_loss_and_gradient(logits, planes)[0], rel=1e-5)


def test_the_perfect_prediction_loses_no_more_than_the_targets_entropy(tiles):
    planes = as_planes(away_from_ties(real_points(tiles)))[:2]
    target = plain_encoding(planes.movedim(1, -1).reshape(-1, 2).numpy())
    logits = np.log(target + 1e-12).reshape(len(planes), 16, 16, Q)
    colorizer = with_logits(torch.from_numpy(np.moveaxis(logits, -1, 1)).float())
    loss, gradient = loss_and_gradient(colorizer, planes)
    entropy = -np.where(target > 0, target * np.log(target + 1e-300), 0).sum(1).mean()
    assert loss == pytest.approx(entropy, rel=1e-4)
    assert np.abs(gradient).max() < 1e-7


@pytest.mark.parametrize("neighbours", [5, 10])
def test_no_neighbour_is_missing_among_the_candidates(neighbours):
    table = candidate_table(neighbours)
    assert table.shape[0] == 220**2
    generator = np.random.default_rng(3)
    everywhere = generator.uniform(-110, 110, (40_000, 2))
    # Corners, edges and middles of cells, on every third cell.
    grid = np.stack(np.meshgrid(np.arange(-110, 109.5, 1.5), np.arange(-110, 109.5, 1.5)), -1)
    inside = np.nextafter(grid.reshape(-1, 2) + 1, -np.inf)
    points = np.concatenate((everywhere, grid.reshape(-1, 2), inside)).clip(-110, 109.999)
    cells = np.floor(points + 110).astype(int)
    candidates = table[cells[:, 0] * 220 + cells[:, 1]].numpy()
    for start in range(0, len(points), 5_000):
        part = slice(start, start + 5_000)
        distance = cdist(points[part], CENTRES)
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :neighbours]
        held = (nearest[:, :, None] == candidates[part, None, :]).any(2)
        assert held.all(), points[part][~held.all(1)][:5]


def test_candidates_are_ascending_few_and_enough():
    table = candidate_table(5)
    assert (table.diff(dim=1)[table[:, 1:] < Q] > 0).all()
    assert int((table < Q).sum(1).min()) >= 5
    assert table.shape[1] <= 16


@pytest.mark.parametrize(
    "point",
    [(0, 0), (5, 5), (5, 0), (0, 5), (-5, 15), (45, -45), (10, 10), (95, -5), (-90, 50), (100, 0)],
)
def test_ties_go_to_the_lowest_index(point):
    planes = torch.tensor(point, dtype=torch.float32).view(1, 2, 1, 1)
    distance = ((torch.tensor(point) - bin_centres()) ** 2).sum(1)
    expected = sorted(range(Q), key=lambda q: (float(distance[q]), q))[:5]
    found = SoftEncoding(5, SIGMA, CPU)(planes)
    assert found.index.flatten().tolist() == expected
    assert found.weight.sum().item() == pytest.approx(1)


def test_colours_at_and_beyond_the_edge_have_a_target():
    ab = torch.tensor([[-110.0, -110], [110, 110], [-110, 110], [110, -110], [130, 0]])
    target = SoftEncoding(5, SIGMA, CPU)(ab.view(5, 2, 1, 1))
    assert (target.index < Q).all()
    assert torch.isfinite(target.weight).all()
    assert torch.allclose(target.weight.sum(1), torch.ones(5, 1, 1))
    corner = SoftEncoding(5, SIGMA, CPU)(torch.tensor([109.9999, 109.9999]).view(1, 2, 1, 1))
    nearest = cdist([[109.9999, 109.9999]], CENTRES)[0].argsort(kind="stable")[:5]
    assert corner.index.flatten().tolist() == nearest.tolist()


# ---- rebalancing ------------------------------------------------------------------------


def prior_of(points: np.ndarray) -> torch.Tensor:
    return smoothed_prior([SoftEncoding(5, SIGMA, CPU)(as_planes(points))])


def test_each_pixels_gradient_is_scaled_by_the_weight_of_its_nearest_bin(tiles):
    planes = as_planes(away_from_ties(real_points(tiles)))[:8]
    logits = some_logits(planes)
    _, plain = loss_and_gradient(with_logits(logits), planes)
    colorizer = with_logits(logits, "zhang_rebalanced")
    weights = class_weights(prior_of(real_points(tiles)), 0.5)
    colorizer._class_weights = weights.float()
    loss, scaled = loss_and_gradient(colorizer, planes)

    points = planes.movedim(1, -1).reshape(-1, 2).numpy()
    nearest = cdist(points, CENTRES).argmin(1).reshape(len(planes), 1, 16, 16)
    expected = plain * weights.numpy()[nearest]
    assert relative(scaled, expected) < 1e-5
    # Divided by the number of pixels, not by the sum of their weights.
    whole = plain_loss_and_gradient(logits, planes, weights=weights.numpy())
    assert loss == pytest.approx(whole[0], rel=1e-5)
    assert relative(scaled, whole[1]) < 1e-5
    assert abs(weights.numpy()[nearest].mean() - 1) > 1e-3, "the test cannot tell them apart"


def test_the_plugin_builds_its_weights_from_the_training_set(tiles):
    colorizer = zoo.load("zhang_rebalanced", device="cpu", width=0.125, batch_size=4)
    colorizer.fit(tiles, budget="1steps")
    points = color.rgb2lab(tiles)[..., 1:]
    points = points.reshape(-1, 16, 4, 16, 4, 2).mean((2, 4)).reshape(-1, 2)
    p = plain_encoding(points).mean(0)
    expected = 1 / (0.5 * p + 0.5 / Q)
    expected /= (p * expected).sum()
    assert relative(colorizer._class_weights.numpy(), expected) < 1e-3
    plain = zoo.load("zhang_classifier", device="cpu", width=0.125, batch_size=4)
    plain.fit(tiles, budget="1steps")
    assert (plain._class_weights == 1).all()


def test_the_two_plugins_differ_in_the_weighting_alone(tiles):
    plain, rebalanced = (colorizer_class(f"zhang_{n}") for n in ("classifier", "rebalanced"))
    for preset in ("paper", "small"):
        mine = dataclasses.asdict(rebalanced.preset(preset))
        assert (mine.pop("rebalancing"), mine.pop("prior")) == (0.5, "")
        assert mine == dataclasses.asdict(plain.preset(preset))
    options = {"width": 0.125, "batch_size": 4, "device": "cpu", "precision": "fp32"}
    first = zoo.load("zhang_classifier", **options).fit(tiles, budget="2steps", size=32)
    level = zoo.load("zhang_rebalanced", rebalancing=1, **options)
    level.fit(tiles, budget="2steps", size=32)
    daring = zoo.load("zhang_rebalanced", **options).fit(tiles, budget="2steps", size=32)
    # A share of 1 is all uniform: every weight is one, up to rounding.
    for name, p in first.net.named_parameters():
        assert torch.allclose(p, level.net.get_parameter(name), atol=1e-4), name
    assert not torch.equal(first.net.model8[6].bias, daring.net.model8[6].bias)
    for share in (0, 1.1):
        with pytest.raises(OptionError, match="rebalancing"):
            zoo.load("zhang_rebalanced", rebalancing=share)


# ---- a prior from a file ------------------------------------------------------------------


def test_the_prior_of_its_own_images_makes_bitwise_the_weights_it_would_have_made(tiles, tmp_path):
    # 72 px and crops of 64: both look at the centres alone.
    images = np.stack([np.pad(tile, ((4, 4), (4, 4), (0, 0)), "edge") for tile in tiles])
    path = tmp_path / "prior.csv"
    write_prior(path, prior_of_images(images, 64))
    options = {"device": "cpu", "precision": "fp32", "width": 0.125, "batch_size": 4}
    by_itself = zoo.load("zhang_rebalanced", **options).fit(images, budget="2steps", size=64)
    told = zoo.load("zhang_rebalanced", prior=str(path), **options)
    told.fit(images, budget="2steps", size=64)
    assert torch.equal(by_itself._class_weights, told._class_weights)
    assert by_itself._class_weights.max() / by_itself._class_weights.min() > 5
    for name, p in by_itself.net.named_parameters():
        assert torch.equal(p, told.net.get_parameter(name)), name


def test_a_uniform_prior_is_no_rebalancing(tiles, tmp_path):
    path = tmp_path / "uniform.csv"
    write_prior(path, torch.full((Q,), 1 / Q, dtype=torch.float64))
    options = {"device": "cpu", "precision": "fp32", "width": 0.125, "batch_size": 4}
    plain = zoo.load("zhang_classifier", **options).fit(tiles, budget="2steps", size=32)
    level = zoo.load("zhang_rebalanced", prior=str(path), **options)
    level.fit(tiles, budget="2steps", size=32)
    assert torch.equal(level._class_weights, torch.ones(Q))
    for name, p in plain.net.named_parameters():
        assert torch.equal(p, level.net.get_parameter(name)), name


def test_weights_trained_with_a_prior_load_without_its_file(tiles, tmp_path):
    path, weights = tmp_path / "prior.csv", tmp_path / "mine.safetensors"
    write_prior(path, prior_of(real_points(tiles)))
    colorizer = zoo.load("zhang_rebalanced", device="cpu", prior=str(path), width=0.125)
    colorizer.fit(tiles[:2], budget="1steps", size=32).save(weights)
    stored = json.loads(json.dumps(dataclasses.asdict(colorizer.options)))
    assert zoo.load("zhang_rebalanced", device="cpu", **stored).options == colorizer.options
    path.unlink()
    again = zoo.load("zhang_rebalanced", weights=weights, device="cpu")
    assert again.options.prior == str(path)
    assert np.array_equal(again.predict(tiles[..., 0][:1]), colorizer.predict(tiles[..., 0][:1]))
    steps = []
    with pytest.raises(InputError, match=r"no prior at .*prior\.csv"):
        again.fit(tiles, budget="1steps", size=32, on_step=steps.append)
    assert not steps
