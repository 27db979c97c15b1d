"""DDColor: what the authors' network gives; published files; its loss; memory."""

import dataclasses
import importlib

import numpy as np
import pytest
import torch
from peers import filled, golden, needs_peers, relative_error, shapes
from skimage import color, data
from torch.nn.utils import parametrize
from torch.utils.flop_counter import FlopCounterMode

import zoo
from zoo.errors import OptionError, WeightsError
from zoo.registry import colorizer_class
from zoo_plugins.timm_backbone import Pyramid

NAME = "ddcolor"
CLASS = colorizer_class(NAME)
COUNTS = {"tiny": 55_006_640, "large": 227_869_328}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A published file of the tiny variant, as BasicSR writes it."""
    state = filled("ddcolor_tiny")
    for name, values in (("mean", (0.485, 0.456, 0.406)), ("std", (0.229, 0.224, 0.225))):
        state[name] = torch.tensor(values).view(1, 3, 1, 1)
    path = tmp_path_factory.mktemp(NAME) / "pytorch_model.bin"
    torch.save({"params": state}, path)
    return path


@needs_peers
def test_the_published_file_gives_what_the_authors_network_gives(file):
    colorizer = zoo.load(NAME, weights=file, device="cpu", precision="fp32")
    assert (colorizer.options.variant, colorizer.options.queries) == ("tiny", 100)
    expected = golden("ddcolor_tiny")
    assert relative_error(colorizer.predict_ab(expected["L"]), expected["ab"]) < 1e-4


@needs_peers
@pytest.mark.parametrize("variant", COUNTS)
def test_both_variants_have_the_tensors_that_are_published(variant):
    with torch.device("meta"):
        kinds = {True: torch.int64, False: torch.float32}
        state = {
            name: torch.empty(shape, dtype=kinds[name.endswith("num_batches_tracked")])
            for name, shape in shapes(f"ddcolor_{variant}").items()
        }
        options, converted = CLASS.convert_state_dict(state)
        net = CLASS(device="cpu", **options).build()
    assert options == {"variant": variant, "queries": 100, "width": 256, "layers": 9}
    assert len(converted) == len(state)
    own = {name: (t.shape, t.dtype) for name, t in net.state_dict().items()}
    assert own == {name: (t.shape, t.dtype) for name, t in converted.items()}
    assert sum(p.numel() for p in net.parameters()) == COUNTS[variant]
    assert CLASS.Options() == CLASS.Options(**(options | {"variant": "large"}))


def test_a_file_of_another_network_is_refused(tmp_path):
    path = tmp_path / "other.bin"
    torch.save({"params": {"encoder.arch.downsample_layers.0.0.weight": torch.zeros(7, 3)}}, path)
    with pytest.raises(WeightsError, match=r"other\.bin was not written by the zoo: ddcolor also"):
        zoo.load(NAME, weights=path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 20}, "width must be a multiple of 8, got 20"),
        ({"encoder": "resnet19"}, "no model 'resnet19'; did you mean"),
    ],
)
def test_options_that_cannot_be(change, reason):
    with pytest.raises(OptionError, match=reason):
        CLASS(CLASS.preset("small"), **change)


def test_an_encoder_without_the_strides_is_refused(monkeypatch):
    pyramid = Pyramid((8, 16, 32), (4, 4, 4))
    monkeypatch.setattr(
        importlib.import_module(CLASS.__module__), "describe_backbone", lambda _: pyramid
    )
    with pytest.raises(OptionError, match=r"strides 8, 16, 32, where 4, 8, 16 and 32 are needed"):
        CLASS(CLASS.preset("small"))


@pytest.fixture
def small():
    colorizer = CLASS(CLASS.preset("small"), device="cpu", precision="fp32", width=16, queries=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        colorizer.net = colorizer.build().eval()
    colorizer._fitted = True
    return colorizer


def test_mixing_before_enlarging_is_mixing_the_maps_of_the_queries(small):
    """In the paper's order: features at full size, a map for each query, a 1×1 convolution."""
    net = small.net
    seen = {}
    hooks = [
        net.up[2].register_forward_hook(lambda *call: seen.update(x=call[2])),
        net.colours.register_forward_hook(lambda *call: seen.update(vectors=call[2])),
    ]
    grey = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        found = net(grey)
        features = net.last(seen["x"])
        assert features.shape == (2, 16, 64, 96)
        maps = torch.einsum("nqc,nchw->nqhw", seen["vectors"], features)
        image = (grey - net.mean) / net.std
        expected = net.refine(torch.cat((maps, image), dim=1))
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_weights_of_the_decoders_have_the_spectral_norm_1(small):
    convolutions = [m for m in small.net.modules() if parametrize.is_parametrized(m)]
    assert len(convolutions) == 8
    for each in convolutions:
        largest = np.linalg.svd(each.weight.detach().flatten(1).numpy(), compute_uv=False)[0]
        assert largest == pytest.approx(1, abs=0.1)  # found by iteration


def test_the_loss_is_l1_and_what_colourfulness_lacks(small):
    L, ab = torch.rand(2, 1, 32, 32) * 100, torch.randn(2, 2, 32, 32) * 20
    with torch.no_grad():
        loss, predicted = float(small.loss(L, ab)), small.forward(L).numpy()
    lab = np.concatenate((L.numpy(), predicted), axis=1).transpose(0, 2, 3, 1)
    lacking = []
    for red, green, blue in color.lab2rgb(lab).transpose(0, 3, 1, 2):
        rg, yb = np.abs(red - green), np.abs((red + green) / 2 - blue)
        spread = np.hypot(rg.std(ddof=1), yb.std(ddof=1))
        lacking.append(1 - spread - 0.3 * np.hypot(rg.mean(), yb.mean()))
    expected = 0.1 * np.abs(predicted - ab.numpy()).mean() + 0.5 * np.mean(lacking)
    assert loss == pytest.approx(expected, abs=1e-3)


def test_a_gan_adds_the_adversarial_part(tiles):
    gan = colorizer_class("gan_discriminator")
    options = dataclasses.replace(gan.preset("small"), generator=NAME, batch_size=2)
    colorizer = gan(options, device="cpu", precision="fp32")
    losses = {}
    for weight in (0.0, 100.0):
        again = gan(
            dataclasses.replace(options, adversarial_weight=weight), device="cpu", precision="fp32"
        )
        again.fit(tiles, budget="1steps", size=32)
        losses[weight] = again.record.curve[0]["loss"]
    assert colorizer.generator.info.name == NAME
    assert losses[100.0] > losses[0.0] + 10  # 100 · ln 2 of a discriminator that cannot tell


def test_the_operations_of_a_prediction_can_be_counted(small):
    """As the bench does with speeds: a view of a parameter, given to a module, would break it."""
    with FlopCounterMode(display=False) as counter:
        small.predict(data.camera()[:64, :64], "full")
    assert counter.get_total_flops() > 1e6


def test_photographs_are_seen_squashed_to_512_and_one_by_one_where_memory_ends(small, monkeypatch):
    shapes_seen = []

    def forward(L):
        if len(L) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        shapes_seen.append(tuple(L.shape))
        return L.new_full((len(L), 2, *L.shape[2:]), 10.0)

    monkeypatch.setattr(small, "forward", forward)
    grey = np.resize(data.camera(), (3, 600, 900))
    with pytest.warns(UserWarning, match="out of memory with 3 images at once; going on with 1"):
        colour = small.predict(grey, batch_size=3)
    assert colour.shape == (3, 600, 900, 3)
    assert shapes_seen == 3 * [(1, 1, 512, 512)]
    shapes_seen.clear()
    small.predict(grey)  # the default on a CPU: one of this size at once
    assert shapes_seen == 3 * [(1, 1, 512, 512)]
