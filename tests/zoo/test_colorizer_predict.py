"""Predictions and weights of every installed colorizer; more of it is in `zoo.testing`."""

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from skimage import color, data
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import zoo
from zoo.color.prior import read_prior, smoothed_prior, write_prior
from zoo.color.soft_encoding import SoftEncoding, candidate_table
from zoo.colorizer import Colorizer
from zoo.errors import (
    InputError,
    WeightsError,
)
from zoo.prediction.merge import _chroma_of_white, enlarged_rows
from zoo.registry import colorizer_class
from zoo.weights.file import open_weights

NAMES = zoo.list_colorizers()
SIZE = 32

every = pytest.mark.parametrize("name", NAMES)


def state(colorizer: Colorizer) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in colorizer.net.state_dict().items()}


def lightness(size: int = SIZE, count: int = 2) -> torch.Tensor:
    rgb = np.stack(
        [data.astronaut()[y : y + size, 200 : 200 + size] for y in range(60, 60 + count)]
    )
    return torch.from_numpy(color.rgb2lab(rgb)[..., 0]).float()[:, None]


def check_colour(result, grey: np.ndarray) -> None:
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.uint8
    assert result.shape == (*grey.shape, 3)


@every
@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_any_picture(name, fitted, mode):
    rgb = Image.fromarray(data.coffee()[100:133, 200:240])
    if mode == "I;16":
        image = Image.fromarray(np.array(rgb.convert("L")).astype(np.uint16) * 257)
    else:
        image = rgb.convert(mode)
    painted = fitted(name).predict(image)
    assert (painted.mode, painted.size) == ("RGB", image.size)


@every
def test_non_contiguous_and_read_only_arrays(name, fitted, greys):
    colorizer = fitted(name)
    view = greys[:, ::2, ::-1]
    view.flags.writeable = False
    assert np.array_equal(colorizer.predict(view), colorizer.predict(view.copy()))


@every
@pytest.mark.parametrize("batch_size", [0, -1, "fast"])
def test_a_batch_of_nothing_is_refused(name, batch_size, fitted, greys):
    with pytest.raises(InputError, match="batch_size"):
        fitted(name).predict(greys, batch_size=batch_size)


@every
def test_predicting_changes_nothing(name, fitted, greys):
    colorizer = fitted(name)
    before = state(colorizer)
    first = colorizer.predict(greys)
    assert np.array_equal(first, colorizer.predict(greys))
    assert state(colorizer) == before
    L = lightness()
    copy = L.clone()
    assert not colorizer.predict_ab(L).requires_grad
    colorizer.predict_rgb(L)
    assert torch.equal(L, copy)
    colorizer.net.train()
    try:
        assert np.array_equal(first, colorizer.predict(greys)), "train mode leaks into predict"
        assert colorizer.net.training
        assert state(colorizer) == before
    finally:
        colorizer.net.eval()


@every
def test_lightness_is_kept(name, fitted, greys):
    colorizer = fitted(name)
    if colorizer.paints_rgb:
        pytest.skip("its info says that it paints RGB")
    L = lightness(40)
    painted = colorizer.predict_rgb(L).permute(0, 2, 3, 1).numpy()
    inside = ((painted > 0.001) & (painted < 0.999)).all(-1)
    assert inside.mean() > 0.3
    kept = color.rgb2lab(painted)
    assert np.abs(kept[..., 0] - L[:, 0].numpy())[inside].max() < 0.05
    # And the chroma is the predicted one.
    ab = colorizer.predict_ab(L).permute(0, 2, 3, 1).numpy()
    assert np.abs(kept[..., 1:] - ab)[inside].max() < 0.1

    painted = colorizer.predict(greys)
    inside = ((painted > 0) & (painted < 255)).all(-1)
    wanted = color.rgb2lab(np.repeat(greys[..., None], 3, axis=-1))[..., 0]
    assert np.abs(color.rgb2lab(painted)[..., 0] - wanted)[inside].max() < 0.6


@every
def test_rgb_is_what_was_painted(name, fitted):
    colorizer = fitted(name)
    if not colorizer.paints_rgb:
        pytest.skip("its info says that it predicts chroma")
    L = lightness()
    painted = colorizer.predict_rgb(L).permute(0, 2, 3, 1).numpy()
    assert painted.shape[-1] == 3
    assert 0 <= painted.min() <= painted.max() <= 1
    ab = colorizer.predict_ab(L).permute(0, 2, 3, 1).numpy()
    assert np.abs(color.rgb2lab(painted)[..., 1:] - ab).max() < 0.02


@every
def test_bf16_is_close_to_fp32(name, saved, greys):
    exact, coarse = (
        zoo.load(name, weights=saved(name), device="cpu", precision=precision)
        for precision in ("fp32", "bf16")
    )
    difference = np.abs(exact.predict(greys).astype(int) - coarse.predict(greys))
    assert difference.mean() < 2
    assert coarse.predict_ab(lightness()).dtype == torch.float32
    assert all(p.dtype == torch.float32 for p in coarse.net.parameters())


class Casts(TorchDispatchMode):
    """Counts how often each tensor is copied to bf16, by its address."""

    def __init__(self) -> None:
        super().__init__()
        self.of: Counter[int] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.ops.aten._to_copy.default and kwargs["dtype"] == torch.bfloat16:
            self.of[args[0].data_ptr()] += 1
        return function(*args, **kwargs)


@every
def test_the_images_of_one_call_share_the_bf16_copy_of_a_weight(name, saved, greys):
    colorizer = zoo.load(name, weights=saved(name), device="cpu", precision="bf16")
    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
    found = [m.weight for m in colorizer.net.modules() if isinstance(m, layers)]
    # Those that are computed anew in each pass, as under a spectral norm, have no lasting address.
    weights = {weight.data_ptr() for weight in found if isinstance(weight, nn.Parameter)}
    with Casts() as casts:
        together = colorizer.predict(greys, batch_size=1)
    casts_of_weights = {address: n for address, n in casts.of.items() if address in weights}
    assert set(casts_of_weights.values()) <= {1}
    if weights:
        assert casts_of_weights
    for grey, colour in zip(greys, together, strict=True):
        np.testing.assert_array_equal(colorizer.predict(grey), colour)
    # The next call sees what the weights have become.
    with torch.no_grad():
        for weight in colorizer.net.parameters():
            weight.mul_(1.5)
    if weights:
        assert (colorizer.predict(greys, batch_size=1) != together).any()


@every
def test_training_in_bf16_keeps_float32_weights(name, tiles, new):
    colorizer = new(name, precision="bf16").fit(tiles, budget="2steps", size=SIZE)
    assert colorizer.record.precision == "bf16"
    assert all(p.dtype == torch.float32 for p in colorizer.net.parameters())
    assert all(torch.isfinite(p).all() for p in colorizer.net.parameters())


@every
def test_saved_weights_are_loaded_by_name_and_saved_again(name, fitted, saved, tmp_path):
    loaded = zoo.load(name, weights=saved(name), device="cpu", precision="fp32")
    assert loaded.is_fitted
    assert loaded.options == fitted(name).options
    # What is loaded can be saved again, with the record of how it was trained.
    again = tmp_path / "again.safetensors"
    loaded.save(str(again))
    assert header(again) == header(saved(name))


def header(path) -> dict:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["colorizer-zoo"])


@every
def test_the_file_says_how_the_weights_came_about(name, fitted, saved):
    metadata = header(saved(name))
    assert metadata["model"] == name
    assert metadata["options"] == dataclasses.asdict(fitted(name).options)
    assert metadata["training"]["budget"] == "2steps"
    assert metadata["training"]["cost"] == dataclasses.asdict(fitted(name).record.cost)
    assert metadata["zoo_version"] == zoo.__version__


@every
def test_weights_of_another_model_are_refused(name, saved):
    other = next(n for n in NAMES if n != name)
    with pytest.raises(WeightsError, match=f"'{name}', not of '{other}'"):
        zoo.load(other, weights=saved(name))


@every
def test_options_given_with_weights_win_and_a_misfit_says_what_they_were_trained_with(name, saved):
    cls = colorizer_class(name)
    small, paper = cls.preset("small"), cls.Options()
    changed = {
        f.name: getattr(paper, f.name)
        for f in dataclasses.fields(cls.Options)
        if getattr(small, f.name) != getattr(paper, f.name) and f.name != "batch_size"
    }
    if not changed:
        pytest.skip("it has one size")
    with pytest.raises(WeightsError, match="were trained with") as caught:
        zoo.load(name, weights=saved(name), **changed)
    assert all(f"{key}={getattr(small, key)!r}" in str(caught.value) for key in changed)
    assert zoo.load(name, weights=saved(name), learning_rate=0.5).options.learning_rate == 0.5


@every
def test_a_failed_restore_leaves_a_fitted_colorizer_as_it_was(
    name, saved, tiles, greys, tmp_path, fit
):
    colorizer = fit(name, tiles, budget="1steps")
    before = colorizer.predict(greys)
    damaged = tmp_path / "damaged.safetensors"
    tensors = load_file(saved(name))
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, damaged, metadata={"colorizer-zoo": json.dumps(header(saved(name)))})
    for path in (tmp_path / "none.safetensors", damaged):
        with pytest.raises(WeightsError):
            colorizer.restore(open_weights(path, type(colorizer)))
    assert np.array_equal(colorizer.predict(greys), before)


@pytest.fixture
def elsewhere():
    """A caller whose tensors are made on another device, where nothing can be read back."""
    candidate_table.cache_clear()
    _chroma_of_white.cache_clear()
    torch.set_default_device("meta")
    yield
    torch.set_default_device(None)


@every
def test_predictions_do_not_ask_for_the_callers_default_device(name, fitted, greys, request):
    colorizer = fitted(name)
    large = np.tile(greys[0], (3, 4))
    expected = colorizer.predict(greys), colorizer.predict(large, 64)
    request.getfixturevalue("elsewhere")
    assert np.array_equal(colorizer.predict(greys), expected[0])
    assert np.array_equal(colorizer.predict(large, 64), expected[1])


def test_nor_do_soft_targets_their_prior_and_enlarged_rows(elsewhere, tmp_path):
    cpu = torch.device("cpu")
    assert candidate_table(5).device == cpu
    ab = torch.arange(-64, 64, dtype=torch.float32, device=cpu).view(1, 2, 8, 8)
    target = SoftEncoding(5, 5.0, cpu)(ab)
    assert target.weight.sum(1).allclose(torch.ones(1, 8, 8, device=cpu))
    prior = smoothed_prior([target])
    write_prior(tmp_path / "prior.csv", prior)
    assert read_prior(tmp_path / "prior.csv").allclose(prior)
    assert enlarged_rows(ab, slice(0, 16), 16, 16)[0, 0, 0, 0] == -64
