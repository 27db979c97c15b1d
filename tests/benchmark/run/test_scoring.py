"""Scores against independent computations on 8-bit pictures with scikit-image."""

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, lab2rgb, rgb2lab
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

import zoo
from zoo import registry
from zoo.colorizer import Colorizer, Info
from zoo.data.dataset import ImageSet
from zoo.errors import WeightsError
from zoo.metric import Metric, MetricContext, MetricInfo, Pictures, SetMetric
from zoo_benchmark.run.scoring import open_metrics, score

pytestmark = pytest.mark.filterwarnings("ignore:.*negative Z values")

NAMES = ["psnr", "ssim", "ciede2000", "colourfulness", "auc", "auc_rebalanced"]


class _Untrained(Colorizer):
    def build(self) -> nn.Module:
        return nn.Identity()

    def train(self, feed: Any) -> None:
        pass


class Chroma(_Untrained):
    """The same chroma everywhere."""

    info = Info(name="chroma", title="", paper="none", license="MIT")

    def forward(self, L: Tensor) -> Tensor:
        return torch.tensor([12.0, -7.0]).view(1, 2, 1, 1).expand(-1, -1, *L.shape[2:]) + 0 * L


class Painter(_Untrained):
    """Paints everything in one colour, whatever the lightness."""

    info = Info(name="painter", title="", paper="none", license="MIT", output="rgb")

    def forward(self, L: Tensor) -> Tensor:
        return torch.tensor([0.8, 0.4, 0.2]).view(1, 3, 1, 1).expand(len(L), -1, *L.shape[2:])


@pytest.fixture
def test_set(tiles: np.ndarray) -> ImageSet:
    return ImageSet(tiles[:5], [f"tile-{i}" for i in range(5)])


def context(images: ImageSet) -> MetricContext:
    return MetricContext(device=torch.device("cpu"), truth=np.asarray(images.images))


def scores_of(colorizer: Colorizer, images: ImageSet) -> Any:
    colorizer.fit(np.asarray(images.images), budget="1steps")
    metrics, unavailable = open_metrics(NAMES, context(images), images.size)
    assert not unavailable
    scores = score(colorizer, images, metrics)
    assert not scores.broken
    assert not scores.sets
    table = scores.images
    assert list(table.columns) == ["image", "metric", "value"]
    return table.pivot(index="image", columns="metric", values="value")


def merged(image: np.ndarray, ab: tuple[float, float]) -> np.ndarray:
    lab = rgb2lab(image)
    lab[..., 1:] = ab
    return np.round(np.clip(lab2rgb(lab), 0, 1) * 255).astype(np.uint8)


def colourfulness(image: np.ndarray) -> float:
    r, g, b = (image[..., i].astype(float) for i in range(3))
    rg, yb = r - g, (r + g) / 2 - b
    spread = math.hypot(rg.std(), yb.std())
    return spread + 0.3 * math.hypot(rg.mean(), yb.mean())


def auc(predicted: np.ndarray, truth: np.ndarray) -> float:
    error = np.linalg.norm(rgb2lab(predicted)[..., 1:] - rgb2lab(truth)[..., 1:], axis=2)
    shares = [(error <= threshold).mean() for threshold in range(151)]
    return 100 * float(np.trapezoid(shares) / 150)


@pytest.mark.parametrize(
    ("colorizer", "ab"),
    [(zoo.load("grey", device="cpu"), (0.0, 0.0)), (Chroma(device="cpu"), (12.0, -7.0))],
    ids=["grey", "one chroma"],
)
def test_scores_agree_with_scikit_image(
    colorizer: Colorizer, ab: tuple[float, float], test_set: ImageSet
) -> None:
    table = scores_of(colorizer, test_set)
    assert sorted(table.columns) == sorted(
        [*NAMES, "colourfulness_truth", "colourfulness_difference"]
    )
    assert list(table.index) == list(test_set.ids)
    for name, truth in zip(test_set.ids, np.asarray(test_set.images), strict=True):
        picture = merged(truth, ab)
        row = table.loc[name]
        # One rounding of one channel of one pixel may fall the other way.
        assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, picture), abs=2e-3)
        ssim = structural_similarity(truth, picture, channel_axis=2, data_range=255)
        assert row["ssim"] == pytest.approx(ssim, abs=1e-4)
        delta = deltaE_ciede2000(rgb2lab(truth), rgb2lab(picture)).mean()
        assert row["ciede2000"] == pytest.approx(delta, abs=5e-3)
        assert row["colourfulness"] == pytest.approx(colourfulness(picture), abs=5e-3)
        assert row["colourfulness_truth"] == pytest.approx(colourfulness(truth), abs=5e-3)
        difference = abs(row["colourfulness"] - row["colourfulness_truth"])
        assert row["colourfulness_difference"] == pytest.approx(difference)


def test_auc_is_near_the_plain_sum_over_thresholds(test_set: ImageSet) -> None:
    table = scores_of(zoo.load("grey", device="cpu"), test_set)
    for name, truth in zip(test_set.ids, np.asarray(test_set.images), strict=True):
        assert table.loc[name, "auc"] == pytest.approx(auc(merged(truth, (0, 0)), truth), abs=0.4)


def test_painters_are_scored_as_painted_and_with_lightness_put_back(test_set: ImageSet) -> None:
    table = scores_of(Painter(device="cpu"), test_set)
    assert "psnr_l_copied" in table
    # LPIPS was not asked for; nothing else gets such a column.
    assert [c for c in table if c.endswith("_l_copied")] == ["psnr_l_copied"]
    painted = np.empty((64, 64, 3), np.uint8)
    painted[:] = np.round(np.array([0.8, 0.4, 0.2]) * 255)
    a, b = rgb2lab(painted)[0, 0, 1:]
    for name, truth in zip(test_set.ids, np.asarray(test_set.images), strict=True):
        as_painted = peak_signal_noise_ratio(truth, painted)
        copied = peak_signal_noise_ratio(truth, merged(truth, (a, b)))
        assert table.loc[name, "psnr"] == pytest.approx(as_painted, abs=2e-3)
        assert table.loc[name, "psnr_l_copied"] == pytest.approx(copied, abs=2e-2)


def test_scores_do_not_depend_on_the_batches(
    test_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = scores_of(Chroma(device="cpu"), test_set)
    monkeypatch.setattr("zoo_benchmark.run.scoring._BATCH_PIXELS", 2 * 64**2)
    np.testing.assert_allclose(scores_of(Chroma(device="cpu"), test_set), together, rtol=1e-5)


# ---- metrics that do not work ---------------------------------------------------------------


class FailsLater(Metric):
    """Works on the first batch and fails on the second."""

    info: ClassVar = MetricInfo("later", "", "", "match", 1)
    calls = 0

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        type(self).calls += 1
        if self.calls > 2:
            raise RuntimeError("not again")
        return torch.zeros(len(truth))


class OneNumber(Metric):
    """One number for the batch instead of one per image."""

    info: ClassVar = MetricInfo("one", "", "", "higher", 1)

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        return torch.tensor(1.0)


class NoBackbone(Metric):
    info: ClassVar = MetricInfo("backbone", "", "", "higher", 1)

    def __init__(self, context: MetricContext) -> None:
        raise WeightsError("its backbone is not here")

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        raise NotImplementedError


class Unbuilt(NoBackbone):
    info: ClassVar = MetricInfo("unbuilt", "", "", "higher", 1)

    def __init__(self, context: MetricContext) -> None:
        raise KeyError("a bug")


def test_a_broken_metric_is_an_empty_column_and_no_models_fault(
    test_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_benchmark.run.scoring._BATCH_PIXELS", 2 * 64**2)
    classes = {c.info.name: c for c in (FailsLater, OneNumber, NoBackbone, Unbuilt)}
    find = registry.metric_class
    monkeypatch.setattr(registry, "metric_class", lambda name: classes.get(name) or find(name))
    metrics, unavailable = open_metrics([*classes, "psnr"], context(test_set), 64)
    assert unavailable == {
        "backbone": "its backbone is not here",
        "unbuilt": "it raised KeyError: 'a bug'",
    }
    colorizer = Chroma(device="cpu").fit(np.asarray(test_set.images), budget="1steps")
    scores = score(colorizer, test_set, metrics)
    assert scores.broken.keys() == {"later", "one"}
    assert "not again" in scores.broken["later"]
    assert set(scores.images["metric"]) == {"psnr"}
    assert len(scores.images) == len(test_set)


def test_no_metric_at_all_is_an_empty_table(test_set: ImageSet) -> None:
    colorizer = Chroma(device="cpu").fit(np.asarray(test_set.images), budget="1steps")
    scores = score(colorizer, test_set, [])
    assert list(scores.images.columns) == ["image", "metric", "value"]
    assert len(scores.images) == 0
    assert not scores.broken


def test_images_too_small_for_a_metric_leave_its_column_empty() -> None:
    images = ImageSet(np.full((1, 16, 16, 3), 90, np.uint8), ["one"])
    metrics, unavailable = open_metrics(["psnr", "lpips"], context(images), 16)
    assert [m.info.name for m in metrics] == ["psnr"]
    assert "31 px" in unavailable["lpips"]


# ---- metrics of a whole set -----------------------------------------------------------------


class MeanDistance(SetMetric):
    """How far apart the mean colours of two sets are: no mean over images gives it."""

    info: ClassVar = MetricInfo("apart", "", "", "lower", 1, per="set", l_copied=True)

    def update(self, state: Any, predicted: Pictures, truth: Pictures) -> Any:
        count, total = state or (0, torch.zeros(3))
        difference = predicted.rgb8.float() - truth.rgb8.float()
        return count + len(truth), total + difference.mean((2, 3)).sum(0)

    def compute(self, state: Any) -> float:
        count, total = state
        return float((total / count).norm())


class MeanRed(MeanDistance):
    """Of the first set alone, to be that of the truth."""

    info: ClassVar = MetricInfo("red", "", "", "match", 1, per="set")

    def update(self, state: Any, predicted: Pictures, truth: Pictures) -> Any:
        return super().update(state, predicted, Pictures(torch.zeros_like(truth.rgb8)))

    def compute(self, state: Any) -> float:
        count, total = state
        return float(total[0] / count)


class FailsAtTheEnd(MeanDistance):
    info: ClassVar = MetricInfo("end", "", "", "lower", 1, per="set")

    def compute(self, state: Any) -> float:
        raise RuntimeError("no value")


def test_a_set_has_one_value_whatever_the_batches(
    test_set: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo_benchmark.run.scoring._BATCH_PIXELS", 2 * 64**2)
    classes = (MeanDistance, MeanRed, FailsAtTheEnd)
    metrics = [cls(context(test_set)) for cls in classes]
    painter = Painter(device="cpu").fit(np.asarray(test_set.images), budget="1steps")
    scores = score(painter, test_set, metrics)
    assert len(scores.images) == 0
    assert "no value" in scores.broken["end"]
    assert list(scores.sets) == ["apart", "apart_l_copied", "red", "red_truth", "red_difference"]
    assert scores.means() == scores.sets
    truth = np.asarray(test_set.images).astype(float)
    painted = np.round(np.array([0.8, 0.4, 0.2]) * 255)
    apart = np.linalg.norm(painted - truth.mean((0, 1, 2)))
    assert scores.sets["apart"] == pytest.approx(apart, abs=0.05)
    assert scores.sets["apart_l_copied"] < scores.sets["apart"]
    assert scores.sets["red"] == painted[0]
    assert scores.sets["red_truth"] == pytest.approx(truth[..., 0].mean(), abs=0.05)
    assert scores.sets["red_difference"] == abs(scores.sets["red"] - scores.sets["red_truth"])
