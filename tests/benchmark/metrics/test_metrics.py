import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color, data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from zoo.color.bins import bin_centres
from zoo.color.lab import L_to_grey, lab_to_rgb, rgb_to_lab
from zoo.errors import InputError
from zoo.metric import MetricContext, Pictures
from zoo_benchmark.metrics.auc import AuC, RebalancedAuC
from zoo_benchmark.metrics.colourfulness import AbsoluteColourfulness, Colourfulness
from zoo_benchmark.metrics.fidelity import CIEDE2000, PSNR, SSIM, pooled_psnr

METRICS = [PSNR, SSIM, CIEDE2000, Colourfulness, AbsoluteColourfulness, AuC, RebalancedAuC]
PHOTOS = ["astronaut", "chelsea", "coffee"]
TINY_IMAGENET = Path(__file__).parents[3].parent / "shared" / "data" / "tiny-imagenet-20k.tar"


def tiles(size: int = 96) -> np.ndarray:
    """One tile of each photograph, N×size×size×3 uint8."""
    return np.stack([getattr(data, name)()[100 : 100 + size, 150 : 150 + size] for name in PHOTOS])


def distorted(images: np.ndarray) -> np.ndarray:
    """The same pictures, noisy, darker on one side and partly desaturated."""
    random = np.random.default_rng(1)
    grey = images.mean(axis=-1, keepdims=True)
    mixed = 0.4 * images + 0.6 * grey + random.normal(0, 8, images.shape)
    return np.clip(mixed * np.linspace(1, 0.8, images.shape[2])[:, None], 0, 255).astype(np.uint8)


def score(metric, predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    context = MetricContext(torch.device("cpu"), truth)
    values = metric(context)(Pictures.from_array(predicted), Pictures.from_array(truth))
    assert values.shape == (len(predicted),)
    assert values.dtype == torch.float32
    return values.numpy()


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    truth = tiles()
    return distorted(truth), truth


# ---------------------------------------------------------------- what all have in common


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.info.name)
def test_an_image_scores_the_same_alone_and_in_a_batch(metric, pair):
    predicted, truth = pair
    context = MetricContext(torch.device("cpu"), truth)
    build = metric(context)
    together = build(Pictures.from_array(predicted), Pictures.from_array(truth))
    alone = [
        build(Pictures.from_array(p[None]), Pictures.from_array(t[None])).item()
        for p, t in zip(predicted, truth, strict=True)
    ]
    assert together.tolist() == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("metric", METRICS, ids=lambda m: m.info.name)
def test_pictures_of_another_shape_are_refused(metric, pair):
    predicted, truth = pair
    with pytest.raises(InputError, match="equal shapes"):
        score(metric, predicted[:1], truth)


def test_pictures_too_small_for_the_window_are_refused(pair):
    small = pair[1][:, :6, :20]
    with pytest.raises(InputError, match="at least 7 pixels"):
        score(SSIM, small, small)


def test_only_the_variant_of_colourfulness_is_hidden_by_default():
    assert [m.info.name for m in METRICS if not m.info.default] == ["colourfulness_abs"]
    assert [m.info.name for m in METRICS if m.info.direction == "lower"] == ["ciede2000"]


# ---------------------------------------------------------------- PSNR, SSIM, CIEDE2000


def skimage_psnr(p, t):
    return peak_signal_noise_ratio(t, p, data_range=255)


def skimage_ssim(p, t):
    return structural_similarity(t, p, channel_axis=-1, data_range=255)


def skimage_ciede2000(p, t):
    return color.deltaE_ciede2000(color.rgb2lab(t), color.rgb2lab(p)).mean()


@pytest.mark.parametrize("shape", [(96, 96), (41, 67)], ids=str)
@pytest.mark.parametrize(
    ("metric", "reference"),
    [(PSNR, skimage_psnr), (SSIM, skimage_ssim), (CIEDE2000, skimage_ciede2000)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_agrees_with_scikit_image(metric, reference, shape, pair):
    predicted, truth = (images[:, : shape[0], : shape[1]] for images in pair)
    expected = [reference(p, t) for p, t in zip(predicted, truth, strict=True)]
    assert score(metric, predicted, truth) == pytest.approx(expected, abs=1e-4)


def test_identical_pictures(pair):
    truth = pair[1]
    assert np.isposinf(score(PSNR, truth, truth)).all()
    assert score(SSIM, truth, truth) == pytest.approx(1)
    assert score(CIEDE2000, truth, truth) == pytest.approx(0, abs=1e-6)


def test_psnr_of_black_for_white_is_zero():
    black = np.zeros((1, 8, 8, 3), np.uint8)
    assert score(PSNR, black, 255 - black) == pytest.approx(0)


def test_pooled_psnr_is_the_psnr_of_all_pixels_together(pair):
    predicted, truth = pair
    mse = np.mean((predicted.astype(float) - truth) ** 2)
    expected = 10 * math.log10(255**2 / mse)
    per_image = score(PSNR, predicted, truth)
    assert pooled_psnr(per_image) == pytest.approx(expected, abs=1e-4)
    assert pooled_psnr(per_image) < per_image.mean()


def test_pooled_psnr_takes_identical_pictures_as_no_error():
    assert pooled_psnr([20, math.inf]) == pytest.approx(20 + 10 * math.log10(2))
    assert pooled_psnr([math.inf, math.inf]) == math.inf
    assert math.isnan(pooled_psnr([]))


# ---------------------------------------------------------------- colourfulness


def hasler(image: np.ndarray, absolute: bool) -> float:
    r, g, b = np.moveaxis(image.astype(float), -1, 0)
    rg, yb = r - g, 0.5 * (r + g) - b
    if absolute:
        rg, yb = np.abs(rg), np.abs(yb)
    return math.hypot(rg.std(), yb.std()) + 0.3 * math.hypot(rg.mean(), yb.mean())


@pytest.mark.parametrize(
    ("metric", "absolute"), [(Colourfulness, False), (AbsoluteColourfulness, True)]
)
def test_colourfulness_is_the_papers_formula(metric, absolute, pair):
    predicted, truth = pair
    expected = [hasler(image, absolute) for image in predicted]
    assert score(metric, predicted, truth) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("metric", [Colourfulness, AbsoluteColourfulness])
def test_colourfulness_looks_at_the_prediction_alone(metric, pair):
    predicted, truth = pair
    assert np.array_equal(score(metric, predicted, truth), score(metric, predicted, 255 - truth))


def test_colourfulness_of_flat_colours():
    grey, red = np.full((1, 9, 9, 3), 77, np.uint8), np.zeros((1, 9, 9, 3), np.uint8)
    red[..., 0] = 255
    assert score(Colourfulness, grey, grey) == pytest.approx(0)
    assert score(Colourfulness, red, red) == pytest.approx(0.3 * math.hypot(255, 127.5))


def test_colourfulness_does_not_depend_on_place_size_or_brightness():
    image = tiles(64)[:1] // 2 + 20
    value = score(Colourfulness, image, image)
    for other in (image[:, ::-1], image.swapaxes(1, 2), np.tile(image, (1, 2, 2, 1)), image + 60):
        assert score(Colourfulness, other.copy(), other.copy()) == pytest.approx(value, rel=1e-5)


def test_signed_and_absolute_colourfulness_differ_where_opponents_cancel():
    image = np.zeros((1, 8, 8, 3), np.uint8)
    image[:, :4, :, 0] = 200
    image[:, 4:, :, 1] = 200
    signed, absolute = (
        score(Colourfulness, image, image),
        score(AbsoluteColourfulness, image, image),
    )
    assert signed == pytest.approx(200 + 0.3 * 100)
    assert absolute == pytest.approx(0.3 * math.hypot(200, 100))


# ---------------------------------------------------------------- AuC


def plain_auc(errors, weights) -> float:
    """151 comparisons and the trapezoidal rule, pixel weights normalised."""
    thresholds = np.arange(151)
    shares = [(weights * (errors <= t + 1e-3)).sum() / weights.sum() for t in thresholds]
    return 100 * np.trapezoid(shares, thresholds) / 150


def ab_of(image: np.ndarray) -> np.ndarray:
    """H×W×2 float64."""
    ab = rgb_to_lab(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)[1]
    return ab[0].permute(1, 2, 0).double().numpy()


def plain_bins(ab: np.ndarray) -> np.ndarray:
    centres = bin_centres().double().numpy()
    return ((ab[..., None, :] - centres) ** 2).sum(-1).argmin(-1)


def test_auc_is_the_area_under_the_curve(pair):
    predicted, truth = pair
    errors = [np.linalg.norm(ab_of(p) - ab_of(t), axis=-1) for p, t in zip(*pair, strict=True)]
    expected = [plain_auc(e, np.ones_like(e)) for e in errors]
    assert score(AuC, predicted, truth) == pytest.approx(expected, abs=1e-4)


def test_rebalanced_auc_is_a_plain_loop_over_pixels(pair):
    predicted, truth = (images[:, ::3, ::3] for images in pair)
    counts = np.zeros(313)
    for image in truth:
        for q in plain_bins(ab_of(image)).flat:
            counts[q] += 1
    expected = []
    for p, t in zip(predicted, truth, strict=True):
        ab = ab_of(t)
        weights = 1 / (counts / counts.sum())[plain_bins(ab)]
        expected.append(plain_auc(np.linalg.norm(ab_of(p) - ab, axis=-1), weights))
    found = score(RebalancedAuC, predicted, truth)
    assert found == pytest.approx(expected, abs=1e-3)
    assert found != pytest.approx(score(AuC, predicted, truth), abs=0.1)


@pytest.mark.parametrize("metric", [AuC, RebalancedAuC])
def test_a_perfect_prediction_scores_100(metric, pair):
    assert score(metric, pair[1], pair[1]) == pytest.approx(100, abs=1e-4)


@pytest.mark.parametrize("metric", [AuC, RebalancedAuC])
def test_grey_is_worth_less_for_colourful_pixels(metric):
    # Half the picture is grey and predicted so; the other half is red and missed by 104 units.
    truth = np.full((1, 8, 8, 3), 128, np.uint8)
    truth[:, :, 6:] = (255, 0, 0)
    grey = np.full_like(truth, 128)
    red_error = math.hypot(*ab_of(truth[0])[0, 7])
    missed = (150.5 - math.ceil(red_error)) / 150
    share_of_red = 0.5 if metric is RebalancedAuC else 0.25
    expected = 100 * (1 - share_of_red * (1 - missed))
    assert score(metric, grey, truth) == pytest.approx(expected, abs=1e-3)


def test_pixels_wrong_by_more_than_the_last_threshold_count_nothing():
    # Pure blue for pure green: 258 units of ab.
    green, blue = np.zeros((1, 4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.uint8)
    green[..., 1] = blue[..., 2] = 255
    assert score(AuC, blue, green) == pytest.approx(0)


def test_the_histogram_is_that_of_the_whole_test_set(pair):
    predicted, truth = pair
    narrow = RebalancedAuC(MetricContext(torch.device("cpu"), truth[:1]))
    wide = RebalancedAuC(MetricContext(torch.device("cpu"), truth))
    pictures = Pictures.from_array(predicted[:1]), Pictures.from_array(truth[:1])
    assert narrow(*pictures).item() != pytest.approx(wide(*pictures).item(), abs=1e-3)
    # A bin that the histogram has not seen must not make the score infinite or NaN.
    unseen = narrow(Pictures.from_array(predicted), Pictures.from_array(truth))
    assert unseen.isfinite().all()


# ---------------------------------------------------------------- the floor under every model


def test_grey_scores_22_87_db_on_real_photographs():
    if not TINY_IMAGENET.exists():
        pytest.skip(f"{TINY_IMAGENET.name} is research data and not part of the project")
    images = []
    with tarfile.open(TINY_IMAGENET) as tar:
        for member in tar:
            if member.isfile() and "/val/" in member.name:
                content = tar.extractfile(member)
                assert content is not None
                with Image.open(io.BytesIO(content.read())) as image:
                    images.append(np.asarray(image.convert("RGB")))
    L, ab = rgb_to_lab(Pictures.from_array(np.stack(images)).rgb)
    colour = ab.abs().amax(dim=(1, 2, 3)) > 5
    assert (len(images), int(colour.sum())) == (2000, 1956)
    L, ab = L[colour], ab[colour]
    truth = Pictures.from_unit_rgb(lab_to_rgb(L, ab))
    grey = Pictures.from_unit_rgb(L_to_grey(L).expand(-1, 3, -1, -1))
    context = MetricContext(torch.device("cpu"), np.zeros((0, 64, 64, 3), np.uint8))
    assert PSNR(context)(grey, truth).mean().item() == pytest.approx(22.87, abs=0.005)
