import importlib.util
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import color, data
from torchvision.models.vgg import cfgs, make_layers

from zoo.errors import InputError, WeightsError
from zoo.metric import MetricContext, Pictures
from zoo_benchmark.metrics.lpips_alexnet import LPIPSVGG, LPIPSAlexNet

SHARED = Path(__file__).parents[3].parent / "shared" / "weights" / "alexnet_features.safetensors"
WEIGHTS = Path(os.environ.get("ZOO_LPIPS_WEIGHTS") or SHARED)
NOTHING = np.zeros((0, 64, 64, 3), np.uint8)
CONTEXT = MetricContext(torch.device("cpu"), NOTHING, {"alexnet": WEIGHTS})

needs_weights = pytest.mark.skipif(
    not WEIGHTS.exists(), reason="AlexNet's weights are not here: set ZOO_LPIPS_WEIGHTS"
)


@pytest.fixture(scope="module")
def lpips() -> LPIPSAlexNet:
    return LPIPSAlexNet(CONTEXT)


def pictures(*images: np.ndarray) -> Pictures:
    return Pictures.from_array(np.stack(images))


def astronaut_and_its_grey() -> tuple[np.ndarray, np.ndarray]:
    photo = data.astronaut()
    grey = (color.rgb2gray(photo) * 255).round().astype(np.uint8)
    return photo, np.repeat(grey[..., None], 3, axis=-1)


def chelsea_and_noise() -> tuple[np.ndarray, np.ndarray]:
    photo = data.chelsea()
    noise = np.random.default_rng(0).normal(0, 20, photo.shape)
    return photo, (photo + noise).round().clip(0, 255).astype(np.uint8)


def test_without_weights_it_says_what_to_do():
    with pytest.raises(WeightsError, match=r"download https://.*pass --lpips-weights FILE"):
        LPIPSAlexNet(MetricContext(torch.device("cpu"), NOTHING))


@needs_weights
@pytest.mark.parametrize(
    ("images", "official"),
    [(astronaut_and_its_grey, 0.18475), (chelsea_and_noise, 0.61099)],
    ids=["astronaut", "chelsea"],
)
def test_gives_the_official_values(lpips, images, official):
    truth, other = images()
    assert lpips(pictures(other), pictures(truth)).item() == pytest.approx(official, abs=1e-4)


@needs_weights
def test_identical_pictures_are_at_distance_zero(lpips):
    photo = pictures(data.astronaut()[:64, :64], data.astronaut()[200:264, 200:264])
    assert lpips(photo, photo).tolist() == [0, 0]


@needs_weights
def test_chunks_do_not_show(lpips, monkeypatch):
    photo = data.coffee()
    tiles = [photo[y : y + 48, 100:148] for y in range(0, 250, 50)]
    whole = lpips(pictures(*tiles), pictures(*tiles[::-1]))
    monkeypatch.setattr("zoo_benchmark.metrics.lpips_alexnet._PIXELS_AT_A_TIME", 2 * 48 * 48)
    assert lpips(pictures(*tiles), pictures(*tiles[::-1])).tolist() == pytest.approx(
        whole.tolist(), abs=1e-6
    )


@needs_weights
def test_31_pixels_are_enough_and_30_are_not(lpips):
    photo = data.coffee()[100:131, 100:131]
    assert lpips(pictures(photo), pictures(255 - photo)).isfinite().all()
    with pytest.raises(InputError, match="at least 31 pixels"):
        lpips(pictures(photo[:30]), pictures(photo[:30]))


@needs_weights
def test_building_it_warns_of_nothing_and_draws_no_random_numbers():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = LPIPSAlexNet(CONTEXT)
    assert torch.equal(torch.rand(3), expected)
    photo = pictures(data.coffee()[:40, :40])
    assert not metric(photo, photo).requires_grad


@needs_weights
@pytest.mark.parametrize("switch", ["older", "newer"])
def test_the_callers_choice_of_tf32_survives(lpips, switch):
    cudnn = torch.backends.cudnn
    if switch == "newer" and not hasattr(cudnn, "conv"):
        pytest.skip("this torch has one switch only")
    holder, name, value = (
        (cudnn.conv, "fp32_precision", "tf32")
        if switch == "newer"
        else (cudnn, "allow_tf32", False)
    )
    before = getattr(holder, name)
    photo = pictures(data.coffee()[:40, :40])
    try:
        setattr(holder, name, value)
        lpips(photo, photo)
        assert getattr(holder, name) == value
    finally:
        setattr(holder, name, before)


def test_vgg_is_the_papers_distance_on_vgg16s_features(tmp_path):
    torch.manual_seed(0)
    features = make_layers(cfgs["D"])
    state = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    torch.save(state, tmp_path / "vgg16.pth")
    files = {"vgg16": tmp_path / "vgg16.pth"}
    metric = LPIPSVGG(MetricContext(torch.device("cpu"), NOTHING, files))
    pair = [torch.randint(0, 256, (2, 3, 40, 48), dtype=torch.uint8) for _ in range(2)]

    # Equation (1) of the paper: squared differences of unit vectors, weighted, averaged, summed.
    package = Path(str(importlib.util.find_spec("lpips").origin)).parent
    linear = torch.load(package / "weights/v0.1/vgg.pth", "cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    maps = [
        ((rgb.float() / 127.5 - 1) - shift[:, None, None]) / scale[:, None, None] for rgb in pair
    ]
    expected = torch.zeros(2)
    for place, layer in enumerate(features):
        maps = [layer(x.clone()) for x in maps]
        if place in (3, 8, 15, 22, 29):  # relu1_2, relu2_2, relu3_3, relu4_3, relu5_3
            a, b = (x / x.norm(dim=1, keepdim=True) for x in maps)
            weights = linear[f"lin{(3, 8, 15, 22, 29).index(place)}.model.1.weight"]
            expected += ((a - b) ** 2 * weights[0]).sum(1).mean((1, 2))
    found = metric(*(Pictures(rgb8) for rgb8 in pair))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-6)
