"""Fréchet distances: against pytorch-fid's and torch-fidelity's own, and against plain formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_fidelity.metric_fid import fid_statistics_to_metric

from zoo import registry
from zoo.errors import InputError, WeightsError
from zoo.metric import MetricContext, MetricInfo, Pictures
from zoo_benchmark.metrics import check_count, frechet, set_note
from zoo_benchmark.metrics.colourfulness import AbsoluteColourfulness, DeltaCF
from zoo_benchmark.metrics.weights_files import find_metric_files
from zoo_benchmark.run import scoring

CPU = MetricContext(torch.device("cpu"), np.zeros((1, 32, 32, 3), np.uint8))


def pictures(count: int, seed: int, size: int = 32) -> Pictures:
    return Pictures(
        torch.from_numpy(
            np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), np.uint8)
        )
    )


def features(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, 24)) @ rng.normal(size=(24, 24)) + rng.normal(size=24)


class OfMeans(frechet.FrechetDistance):
    """Of the mean of each of twelve patches: features that a plain formula gives, too."""

    info = frechet._info(name="of_means", title="Of means", version=1)

    def features(self, rgb: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(rgb, 2).flatten(1)


def test_the_distance_is_torch_fidelitys():
    a, b = features(300, 0), features(200, 1)
    stats = [{"mu": x.mean(0), "sigma": np.cov(x, rowvar=False)} for x in (a, b)]
    theirs = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    ours = frechet.frechet_distance(
        *(each for stat in stats for each in (stat["mu"], stat["sigma"]))
    )
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("count", [300, 12])  # also where covariances are singular
def test_the_distance_is_pytorch_fids(count, monkeypatch):
    from pytorch_fid import fid_score
    from scipy import linalg

    # SciPy has dropped the argument that pytorch-fid 0.3 gives.
    monkeypatch.setattr(fid_score.linalg, "sqrtm", lambda m, disp=True: _old(linalg, m, disp))
    a, b = features(count, 2), features(count, 3)
    moments = [each for x in (a, b) for each in (x.mean(0), np.cov(x, rowvar=False))]
    theirs = fid_score.calculate_frechet_distance(*moments)
    assert frechet.frechet_distance(*moments) == pytest.approx(theirs, rel=1e-3)


_sqrtm = __import__("scipy.linalg", fromlist=["sqrtm"]).sqrtm


def _old(linalg, matrix, disp):
    root = _sqrtm(matrix)
    return root if disp else (root, 0.0)


def test_batches_of_any_size_give_numpys_moments():
    ours, truth = pictures(23, 0), pictures(23, 1)
    metric = OfMeans(CPU)
    state, start = None, 0
    for count in (1, 4, 7, 11):
        part = slice(start, start + count)
        state = metric.update(state, Pictures(ours.rgb8[part]), Pictures(truth.rgb8[part]))
        start += count
    rows = [metric.features(each.rgb).double().numpy() for each in (truth, ours)]
    stats = [each for x in rows for each in (x.mean(0), np.cov(x, rowvar=False))]
    assert metric.compute(state) == pytest.approx(frechet.frechet_distance(*stats), rel=1e-6)
    # The jackknife, by hand: every fifth picture left out in turn.
    without = []
    for part in range(5):
        kept = [x[np.arange(23) % 5 != part] for x in rows]
        stats = [each for x in kept for each in (x.mean(0), np.cov(x, rowvar=False))]
        without.append(frechet.frechet_distance(*stats))
    error = math.sqrt(4 / 5 * sum((v - np.mean(without)) ** 2 for v in without))
    assert metric.half_interval(state) == pytest.approx(2.7764451 * error, rel=1e-6)


def test_pictures_of_several_sizes_and_no_growth_of_memory():
    metric = OfMeans(CPU)
    state = None
    for number in range(60):
        state = metric.update(state, *(pictures(16, number, 8 + number % 3),) * 2)
    assert sum(map(len, state[0].rows)) <= 2 * frechet._ROWS
    assert metric.compute(state) == pytest.approx(0, abs=1e-9)
    assert state[0].seen == 960


def test_equal_sets_are_nothing_apart_and_one_picture_is_too_few():
    metric = OfMeans(CPU)
    state = metric.update(None, pictures(6, 0), pictures(6, 0))
    assert metric.compute(state) == pytest.approx(0, abs=1e-9)
    assert metric.half_interval(state) is None
    with pytest.raises(ValueError, match="needs two images, got 1"):
        metric.compute(metric.update(None, pictures(1, 0), pictures(1, 0)))
    with pytest.raises(InputError, match=r"^fid needs at least 2 images, the folder has 1 image$"):
        check_count(["psnr", "fid"], 1, "the folder")


def test_a_set_says_what_it_is_of_and_warns_below_2048():
    info = registry.metric_class("fid").info
    few, many = set_note(info, 98), set_note(info, 5000)
    for words in ("pytorch-fid", "2,048", "299²", "[−1, 1]", "fid@1", "jackknife"):
        assert words in many
    assert "N = 98" in few and "WARNING: fewer than 2,048 images" in few
    assert "N = 5,000" in many and "WARNING" not in many


def test_scores_carry_the_interval_and_the_count():
    painted = scoring.Painted(list("abcdefghijkl"), pictures(12, 0), None, pictures(12, 1))
    found = scoring.score_pictures([painted], [OfMeans(CPU), DeltaCF(CPU)])
    assert found.count == 12
    assert set(found.halves) == {"of_means", "delta_cf"} == set(found.sets)


def test_delta_cf_is_the_difference_of_the_means():
    ours, truth = pictures(12, 0, 16), pictures(12, 1, 20).rgb8[:, :, :16, :16] // 2
    truth = Pictures(truth)
    each = [AbsoluteColourfulness(CPU)(p, truth).mean() for p in (ours, truth)]
    metric = DeltaCF(CPU)
    state = metric.update(None, ours, truth)
    assert metric.compute(state) == pytest.approx(abs(float(each[0] - each[1])), rel=1e-5)


def test_none_of_them_is_measured_without_being_asked_for():
    for name in ("fid", "fid_torchvision", "frechet_lite0", "frechet_random", "delta_cf"):
        info: MetricInfo = registry.metric_class(name).info
        assert (info.default, info.per) == (False, "set")
    assert not registry.metric_class("lpips_vgg").info.default
    assert "FID" not in registry.metric_class("frechet_lite0").info.title


def test_another_inception_is_refused_in_one_line(tmp_path, monkeypatch):
    file = tmp_path / "other.pth"
    file.write_bytes(b"something else")
    with pytest.raises(WeightsError, match=r"has SHA-256 [0-9a-f]{8}…, not 6726825d.*another file"):
        find_metric_files(["fid"], {"fid": file})
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    missing = find_metric_files(["fid"], {}).missing["fid"]
    assert "ZOO_OFFLINE" in missing and "--weights-file fid=FILE" in missing


@pytest.mark.long
def test_features_are_those_of_pytorch_fids_network(tmp_path, monkeypatch):
    import pytorch_fid.inception as theirs

    torch.manual_seed(1)
    with monkeypatch.context() as patched:
        patched.setattr(theirs.torchvision.models.Inception3, "load_state_dict", lambda *_: None)
        patched.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: {})
        whole = theirs.fid_inception_v3().eval()
    for layer in whole.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight)
    file = tmp_path / "inception.pth"
    torch.save(whole.state_dict(), file)
    monkeypatch.setattr(theirs, "load_state_dict_from_url", lambda *_, **__: whole.state_dict())
    net = theirs.InceptionV3([3]).eval()
    monkeypatch.setattr(theirs, "load_state_dict_from_url", None)  # nothing is downloaded
    context = MetricContext(CPU.device, CPU.truth, {"inception": file})
    rgb = pictures(3, 4, 64).rgb
    with torch.no_grad():
        wanted = net(rgb)[0].flatten(1)
        found = frechet.FID(context).features(rgb)
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.long
def test_torchvisions_inception_sees_what_ct2s_does(tmp_path):
    from torchvision.models import inception_v3

    torch.manual_seed(1)
    net = inception_v3(init_weights=False).eval()
    file = tmp_path / "inception.pth"
    torch.save(net.state_dict(), file)
    context = MetricContext(CPU.device, CPU.truth, {"inception": file})
    rgb = pictures(2, 5, 64).rgb
    x = F.interpolate(rgb * 2 - 1, size=(299, 299), mode="bilinear") * 0.5 + 0.5
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x = x * (std / 0.5).view(1, 3, 1, 1) + ((mean - 0.5) / 0.5).view(1, 3, 1, 1)
    net.fc = torch.nn.Identity()
    with torch.no_grad():
        wanted = net(x)
        found = frechet.TorchvisionFID(context).features(rgb)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.long
def test_lite0_and_the_random_one_are_the_same_every_time():
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    for cls in (frechet.Lite0Frechet, frechet.UntrainedFrechet):
        rgb = pictures(2, 6, 64).rgb
        first, second = (cls(CPU).features(rgb) for _ in range(2))
        assert first.shape == (2, 1280 if cls is frechet.Lite0Frechet else 2048)
        assert torch.equal(first, second)
        assert float(first.std()) > 1e-2
    assert torch.equal(before, torch.random.get_rng_state())
