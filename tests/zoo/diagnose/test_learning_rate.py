"""The learning-rate range test, alone and inside a budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zoo
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.diagnose.learning_rate import range_test
from zoo.errors import BudgetError, InputError, TrainingError
from zoo.training.rate_search import LEAST_STEPS, SHARE, suggest

NAMES = zoo.list_colorizers()
SIZE = 32


@dataclass(frozen=True)
class FewAtATime(TrainingOptions):
    batch_size: int = 4


class Quadratic(Colorizer):
    """One parameter per channel: its gradient descent can be followed by hand."""

    info = Info(name="quadratic", title="Quadratic", paper="none", license="MIT")
    Options = FewAtATime

    def build(self):
        return nn.Conv2d(1, 2, 1)

    def forward(self, L):
        return self.net(L / 100)

    def loss(self, L, ab):
        # Far off at the start, and the same for every batch but for a little.
        return (self.forward(L) - 3 + ab / 1000).square().mean()


class Diverging(Quadratic):
    """NaN from the first step."""

    info = Info(name="diverging", title="Diverging", paper="none", license="MIT")

    def loss(self, L, ab):
        return super().loss(L, ab) * float("nan")


def weights(colorizer) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in colorizer.net.state_dict().items()}


def trained_by_gradients(name, fit, tiles) -> bool:
    return fit(name, tiles).record.learning_rate is not None


def test_the_sweep_rises_exponentially(tiles):
    test = range_test(Quadratic(device="cpu"), tiles, steps=40, lowest=1e-5, highest=1e-1)
    rates = np.array(test.learning_rates)
    assert rates[0] == pytest.approx(1e-5)
    growth = rates[1:] / rates[:-1]
    assert growth == pytest.approx(np.full(len(growth), (1e4) ** (1 / 40)))
    assert len(test.losses) == len(test.smoothed) == len(rates)
    average, plain = 0.0, []
    for count, loss in enumerate(test.losses, 1):
        average = 0.9 * average + 0.1 * loss
        plain.append(average / (1 - 0.9**count))
    assert test.smoothed == pytest.approx(plain)


def test_the_suggestion_is_where_the_curve_falls_most_steeply():
    rates = np.logspace(-6, 0, 120)
    falling = 5 - 2 / (1 + np.exp(-3 * (np.log10(rates) + 3)))  # steepest at 1e-3
    curve = falling + 3 * np.maximum(0, np.log10(rates) + 1.5) ** 2
    assert math.log10(suggest(rates, curve)) == pytest.approx(-3, abs=0.2)
    assert suggest(rates, np.linspace(1, 2, 120)) is None


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_colorizer_can_be_swept(name, tiles, new, fit):
    colorizer = new(name)
    if not trained_by_gradients(name, fit, tiles):
        with pytest.raises(TrainingError, match="is not trained by gradient descent"):
            range_test(colorizer, tiles, steps=LEAST_STEPS, size=SIZE)
        return
    steps = 24
    test = range_test(colorizer, tiles, steps=steps, lowest=1e-4, highest=1e-2, size=SIZE)
    assert len(test.losses) == steps or test.stop_reason != "end"
    assert not colorizer.is_fitted
    assert list(test.learning_rates) == sorted(test.learning_rates)


def test_a_sweep_ends_where_the_loss_explodes(tiles):
    test = range_test(Quadratic(device="cpu"), tiles, steps=200, lowest=1e-3, highest=1e6)
    assert test.stop_reason in ("exploded", "nan")
    assert len(test.losses) < 200
    assert test.suggestion is not None
    assert test.suggestion < test.learning_rates[-1]


def test_what_cannot_be_swept_is_said(tiles):
    colorizer = Quadratic(device="cpu")
    with pytest.raises(InputError, match="does not rise"):
        range_test(colorizer, tiles, lowest=1e-2, highest=1e-3)
    with pytest.raises(InputError, match=f"at least {LEAST_STEPS} steps, got 5"):
        range_test(colorizer, tiles, steps=5)
    with pytest.raises(TrainingError, match="NaN from the first step"):
        range_test(Diverging(device="cpu"), tiles)


@pytest.mark.parametrize("name", NAMES)
def test_a_search_leaves_the_weights_as_they_were(name, tiles, new, fit):
    colorizer = new(name)
    if not trained_by_gradients(name, fit, tiles):
        pytest.skip("has no learning rate")
    from zoo.training.rate_search import sweep

    with colorizer.training_session(tiles, "30steps", seed=5, size=SIZE) as feed:
        before = weights(colorizer)
        sweep(colorizer, feed, 0.8, LEAST_STEPS, 1e-5, 1e-2)
        assert weights(colorizer) == before
        spent = feed.cost.steps
        assert spent > 0
        # Fewer steps are left for training, of one and the same budget.
        left = sum(1 for _ in feed)
        assert feed.cost.steps == 30
        assert left == 30 - spent


def test_inside_a_budget_the_search_is_charged_and_recorded(tiles):
    budget = 20 * LEAST_STEPS
    options = FewAtATime()
    colorizer = Quadratic(options, device="cpu")
    progress = []
    record = colorizer.fit(
        tiles,
        budget=f"{budget}steps",
        find_learning_rate=True,
        on_step=lambda feed: progress.append(feed.progress),
    ).record
    assert record.cost.steps == budget
    assert LEAST_STEPS <= record.search_steps <= SHARE * budget
    assert record.learning_rate_found
    assert colorizer.options == options
    assert record.learning_rate != pytest.approx(options.learning_rate)
    # The schedule of the training proper runs over what is left.
    assert progress[record.search_steps] == pytest.approx(1 / (budget - record.search_steps))
    assert progress[-1] == 1


def test_without_a_search_the_options_hold(tiles):
    record = Quadratic(device="cpu").fit(tiles, budget="3steps").record
    assert record.learning_rate == FewAtATime().learning_rate
    assert (record.learning_rate_found, record.search_steps) == (False, 0)


def test_a_budget_too_small_for_a_search_is_said(tiles):
    with pytest.raises(BudgetError, match=r"got 2 steps out of 10% of 20steps"):
        Quadratic(device="cpu").fit(tiles, budget="20steps", find_learning_rate=True)


def test_a_floor_is_left_alone(tiles, new, fit):
    for name in NAMES:
        if not trained_by_gradients(name, fit, tiles):
            record = new(name).fit(tiles, budget="2steps", find_learning_rate=True).record
            assert (record.learning_rate, record.search_steps) == (None, 0)


def test_the_same_seed_finds_the_same(tiles):
    first, again = (
        Quadratic(device="cpu").fit(tiles, budget="250steps", find_learning_rate=True, seed=2)
        for _ in range(2)
    )
    assert first.record.learning_rate == again.record.learning_rate
    assert weights(first) == weights(again)


def test_the_plot_is_a_picture_of_the_curve(tiles, tmp_path):
    test = range_test(Quadratic(device="cpu"), tiles, steps=60, lowest=1e-3, highest=1e3)
    test.plot(tmp_path / "lr.png", "quadratic")
    with Image.open(tmp_path / "lr.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert pixels.shape[0] > 300
    orange = (abs(pixels - [194, 65, 12]).sum(-1) < 60).sum(0)
    # The suggestion is a vertical line.
    assert orange.max() > 0.3 * pixels.shape[0]
    assert not list(tmp_path.glob("*.partial*"))
    assert torch.is_grad_enabled()
