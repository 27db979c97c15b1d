"""The public release of the paper: its state dict gives what a plain implementation of it gives."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from release import BLOCKS, release
from skimage import color, data
from torch import Tensor

import zoo
from zoo.errors import OptionError, WeightsError
from zoo.registry import colorizer_class
from zoo.weights import published

NAME, RELEASE = "zhang_rebalanced", "eccv16"


def plain(state: dict[str, Tensor], L: Tensor) -> Tensor:
    """The release, layer by layer, in float32 as it was run: N×1×H×W L to N×2×H×W ab."""
    w = state
    x = (L - 50) / 100
    for number, (layers, stride, dilation, _, _) in enumerate(BLOCKS, 1):
        for i in range(layers):
            name = f"model{number}.{2 * i}"
            x = F.conv2d(
                x,
                w[f"{name}.weight"],
                w[f"{name}.bias"],
                stride=stride if i == layers - 1 else 1,
                padding=dilation,
                dilation=dilation,
            ).relu()
        norm = f"model{number}.{2 * layers}"
        mean, variance = w[f"{norm}.running_mean"], w[f"{norm}.running_var"]
        x = (x - mean[:, None, None]) / (variance + 1e-5).sqrt()[:, None, None]
        x = x * w[f"{norm}.weight"][:, None, None] + w[f"{norm}.bias"][:, None, None]
    x = F.conv_transpose2d(x, w["model8.0.weight"], w["model8.0.bias"], stride=2, padding=1).relu()
    for i in (2, 4):
        x = F.conv2d(x, w[f"model8.{i}.weight"], w[f"model8.{i}.bias"], padding=1).relu()
    x = F.conv2d(x, w["model8.6.weight"], w["model8.6.bias"]).softmax(dim=1)
    x = F.conv2d(x, w["model_out.weight"])
    return F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False) * 110


def lightness(height: int, width: int) -> Tensor:
    rgb = data.astronaut()[40 : 40 + height, 100 : 100 + width]
    return torch.from_numpy(color.rgb2lab(rgb)[..., 0]).float()[None, None]


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("release") / "narrow.pth"
    torch.save(release(width=0.25), path)
    return path


def load(path: Path | str) -> zoo.colorizer.Colorizer:
    return zoo.load(NAME, path, device="cpu", precision="fp32")


@pytest.mark.parametrize("size", [(256, 256), (64, 96), (200, 144), (8, 8)])
@pytest.mark.parametrize("name", [NAME, "zhang_classifier"])
def test_equals_a_plain_implementation(size, name, narrow):
    colorizer = zoo.load(name, narrow, device="cpu", precision="fp32")
    L = lightness(*size)
    expected = plain(release(width=0.25), L)
    ab = colorizer.predict_ab(L)
    assert ab.shape == (1, 2, *size)
    assert (ab - expected).abs().max() < 1e-4
    assert expected.abs().amax() > 10  # it paints, so that the comparison means something


@pytest.mark.parametrize("size", [(33, 47), (255, 130), (1, 1)])
def test_other_sizes_are_padded_to_what_the_release_takes(size, narrow):
    L = lightness(*size)
    right, below = -size[1] % 8, -size[0] % 8
    expected = plain(release(width=0.25), F.pad(L, (0, right, 0, below), mode="replicate"))
    ab = load(narrow).predict_ab(L)
    assert (ab - expected[:, :, : size[0], : size[1]]).abs().max() < 1e-4


@pytest.mark.long
@pytest.mark.parametrize("size", [(256, 256), (176, 320)])
def test_the_full_width_equals_a_plain_implementation(size, tmp_path):
    state = release()
    torch.save(state, tmp_path / "release.pth")
    colorizer = load(tmp_path / "release.pth")
    # 313 × 2 of them in the layer that decodes.
    assert colorizer.parameter_count == 32_235_385 + 626
    L = lightness(*size)
    difference = (colorizer.predict_ab(L) - plain(state, L)).abs()
    # Sums of thousands of float32 terms, in an order that depends on processor and threads.
    assert difference.mean() < 1e-4
    assert difference.max() < 1e-3


def test_its_options_are_taken_over(narrow):
    colorizer = load(narrow)
    assert colorizer.options.decoder == "release"
    assert colorizer.options.temperature == 1
    assert colorizer.options.width == 0.25


@pytest.mark.parametrize("temperature", [0.38, 0.0, 0.9])
def test_it_has_no_temperature(temperature, narrow):
    with pytest.raises(OptionError, match=r"has no temperature.*must stay 1, got") as caught:
        zoo.load(NAME, narrow, temperature=temperature)
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="has no temperature"):
        zoo.load(NAME, decoder="release", temperature=temperature)


def test_saved_in_the_zoos_format_it_is_the_same(narrow, tmp_path):
    colorizer = load(narrow)
    colorizer.save(tmp_path / "mine.safetensors")
    again = load(tmp_path / "mine.safetensors")
    L = lightness(64, 64)
    assert torch.equal(again.predict_ab(L), colorizer.predict_ab(L))
    assert again.options == colorizer.options


def test_files_from_before_batches_were_counted(tmp_path):
    state = {k: v for k, v in release(0.25).items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    L = lightness(32, 32)
    assert (load(tmp_path / "old.pth").predict_ab(L) - plain(state, L)).abs().max() < 1e-4


def test_what_is_not_quite_the_release_is_refused(tmp_path):
    state = release(0.25)
    for change, message in (
        ({"model_out.weight": None}, "model_out.weight, which this is not|public release"),
        ({"model4.2.weight": None}, "model4.2.weight is missing"),
        ({"model9.0.weight": torch.zeros(1)}, "model9.0.weight is not of this model"),
        ({"model8.6.weight": torch.zeros(300, 64, 1, 1)}, "model8.6.weight is"),
    ):
        changed = {k: v for k, v in (state | change).items() if v is not None}
        torch.save(changed, tmp_path / "x.pth")
        with pytest.raises(WeightsError, match=message):
            load(tmp_path / "x.pth")


def test_fine_tuning_leaves_the_layer_that_decodes(narrow, tiles):
    colorizer = type(load(narrow))(
        load(narrow).options, device="cpu", precision="fp32", batch_size=4
    )
    colorizer.fit(tiles, budget="2steps", size=32, initial=narrow)
    after = colorizer.net.state_dict()
    before = release(0.25)
    assert torch.equal(after["model_out.weight"], before["model_out.weight"])
    assert not torch.equal(after["model8.6.weight"], before["model8.6.weight"])


def test_the_untrained_layer_is_the_mean_over_the_bins(tiles):
    cls = colorizer_class(NAME)
    small = {"width": 0.25, "device": "cpu", "precision": "fp32", "batch_size": 4}
    how = {"budget": "1steps", "size": 32, "seed": 4}
    released = cls(decoder="release", temperature=1.0, **small).fit(tiles, **how)
    mean = cls(temperature=1.0, **small).fit(tiles, **how)
    L = lightness(64, 64)
    np.testing.assert_allclose(released.predict_ab(L), mean.predict_ab(L), atol=1e-3)


# ---- by its published name ------------------------------------------------------------------


@pytest.fixture
def fetched(narrow, tmp_path, monkeypatch) -> Path:
    """A file in the cache that stands for the release, pinned by its own hash."""
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    found = published.find_published(NAME, RELEASE)
    digest = hashlib.sha256(narrow.read_bytes()).hexdigest()
    stand_in = replace(found, sha256=digest, sha256_prefix="", size=None)
    monkeypatch.setattr(published, "read_manifests", lambda: ([stand_in], []))
    return published.fetch(stand_in, source=narrow)


def test_the_published_name_is_enough(fetched, tmp_path):
    colorizer = load(RELEASE)
    L = lightness(64, 64)
    assert (colorizer.predict_ab(L) - plain(release(0.25), L)).abs().max() < 1e-4
    assert colorizer.origin.license == "BSD-2-Clause"
    assert "ImageNet" in colorizer.origin.trained_on
    colorizer.save(tmp_path / "mine.safetensors")
    assert load(tmp_path / "mine.safetensors").origin == colorizer.origin


def test_a_copy_of_the_published_file_is_known_by_its_hash(fetched, narrow):
    assert load(narrow).origin == load(RELEASE).origin


def test_another_file_has_an_unknown_license(fetched, tmp_path):
    torch.save(release(0.25, seed=1), tmp_path / "other.pth")
    assert load(tmp_path / "other.pth").origin.license == "unknown"


def test_without_a_network_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"colorization_release_v2-9b330a0b\.pth") as caught:
        load(RELEASE)
    assert "--from" in str(caught.value)
