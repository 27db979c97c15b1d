"""The common work of `Colorizer`, seen from inside a plugin that takes notes."""

import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from skimage import color, data
from torch import nn

from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.errors import (
    BudgetError,
    PluginError,
    TrainingError,
)

SIZE = 32


def lightness(size: int = SIZE, count: int = 2) -> torch.Tensor:
    rgb = np.stack(
        [data.astronaut()[y : y + size, 200 : 200 + size] for y in range(60, 60 + count)]
    )
    return torch.from_numpy(color.rgb2lab(rgb)[..., 0]).float()[:, None]


@dataclass(frozen=True)
class ProbeOptions(TrainingOptions):
    scale: float = 300.0
    batch_size: int = 3


class Probe(Colorizer):
    """Needs sides of 16, 20, 24, …; predicts (L, scale); loss and output can be spoilt."""

    info = Info("probe", "Probe", "none", "MIT")
    multiple = 4
    minimum_size = 16
    Options = ProbeOptions

    def build(self):
        self.seen = []
        self.losses = iter(())
        return nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.5))

    def loss(self, L, ab):
        return self.net(L / 100).square().mean() * next(self.losses, 1.0)

    def forward(self, L):
        self.seen.append((tuple(L.shape), torch.is_grad_enabled(), self.net.training))
        return torch.cat((L, torch.full_like(L, self.options.scale)), dim=1)


@pytest.fixture
def probe(tiles) -> Probe:
    colorizer = Probe(device="cpu", precision="fp32").fit(tiles, budget="1steps", size=16)
    colorizer.seen.clear()
    return colorizer


@pytest.mark.parametrize(
    ("given", "seen"),
    [((1, 1), (16, 16)), ((16, 17), (16, 20)), ((33, 47), (36, 48)), ((20, 24), (20, 24))],
)
def test_input_is_padded_to_what_the_network_takes_and_output_cropped_back(probe, given, seen):
    L = torch.rand(2, 1, *given) * 50 + 25
    ab = probe.predict_ab(L)
    assert probe.seen == [((2, 1, *seen), False, False)]
    assert torch.equal(ab[:, :1], L), "the crop is not where the input was"


def test_chroma_is_not_clamped_and_colour_is(probe):
    L = lightness()
    assert torch.equal(probe.predict_ab(L)[:, 1], torch.full((2, SIZE, SIZE), 300.0))
    rgb = probe.predict_rgb(L)
    assert 0 <= rgb.min() <= rgb.max() <= 1


def test_batches_hold_images_of_one_size_and_no_more_than_asked_for(probe, greys):
    probe.predict([greys[0], greys[1, :16], greys[2], greys[3], greys[4]], batch_size=3)
    shapes = [shape for shape, _, _ in probe.seen]
    assert shapes == [(3, 1, 32, 32), (1, 1, 32, 32), (1, 1, 16, 32)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda L: L, r"shape \(2, 1, 32, 32\).*must give \(2, 2, 32, 32\)"),
        (lambda L: torch.cat((L, L), 1)[:, :, ::2], "shape"),
        (lambda L: torch.cat((L, L / 0), 1), "NaN or infinite"),
        (lambda L: torch.cat((L, L * float("nan")), 1), "NaN or infinite"),
    ],
)
def test_a_prediction_that_is_none_is_the_plugins_error(probe, monkeypatch, spoil, message):
    monkeypatch.setattr(probe, "forward", spoil)
    with pytest.raises(PluginError, match=f"probe: forward gave .*{message}"):
        probe.predict_ab(lightness())


def test_a_loss_that_is_not_a_number_ends_the_fit(tiles):
    class Spoilt(Probe):
        def prepare(self, feed):
            self.losses = iter([1.0, float("nan")])

    colorizer = Spoilt(device="cpu", precision="fp32")
    with pytest.raises(TrainingError, match=r"nan in step 2.*learning rate"):
        colorizer.fit(tiles, budget="5steps", size=16)
    assert not colorizer.is_fitted
    assert torch._C._len_torch_dispatch_stack() == 0


def test_an_error_in_the_first_step_leaves_no_flop_counter(tiles):
    class Broken(Probe):
        def loss(self, L, ab):
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        Broken(device="cpu", precision="fp32").fit(tiles, budget="5steps", size=16)
    assert torch._C._len_torch_dispatch_stack() == 0


def test_a_plugin_with_neither_loss_nor_fit_is_told(tiles):
    class Lazy(Probe):
        loss = Colorizer.loss

    with pytest.raises(PluginError, match="probe implements neither loss nor train"):
        Lazy(device="cpu").fit(tiles, budget="1steps", size=16)


def test_a_budget_that_preparation_eats_up_is_an_error(tiles):
    class Slow(Probe):
        def prepare(self, feed):
            list(feed.survey())
            time.sleep(0.05)

    colorizer = Slow(device="cpu", precision="fp32")
    with pytest.raises(BudgetError, match="before the first step"):
        colorizer.fit(tiles, budget="0.02s", size=16)
    assert not colorizer.is_fitted


def test_the_training_set_is_on_the_feed_in_crops_of_the_size(tiles):
    shapes = []

    class Watching(Probe):
        def loss(self, L, ab):
            shapes.append((tuple(L.shape), tuple(ab.shape), self.net.training))
            return super().loss(L, ab)

    Watching(device="cpu", precision="fp32").fit(tiles, budget="6images", size=20)
    assert shapes == [((3, 1, 20, 20), (3, 2, 20, 20), True)] * 2


def test_options_show_in_the_repr():
    assert repr(Probe(scale=2, device="cpu")) == "<probe(scale=2.0) on cpu, not fitted>"
