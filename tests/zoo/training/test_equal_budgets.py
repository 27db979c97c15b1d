"""Equal budgets, provably: what is recorded of every training, and evaluation outside of it."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
import torch

import zoo
from zoo.errors import NotFittedError, TrainingError
from zoo.registry import colorizer_class
from zoo.training.budget import Budget
from zoo.training.feed import Feed
from zoo.weights.file import open_weights
from zoo.weights.record import read_record

NAMES = zoo.list_colorizers()
SIZE = 32

every = pytest.mark.parametrize("name", NAMES)


def weights(colorizer) -> dict[str, bytes]:
    return {k: v.numpy().tobytes() for k, v in colorizer.net.state_dict().items()}


@every
@pytest.mark.parametrize("budget", ["0.2s", "3steps", "9images", "0.05GFLOP"])
def test_no_budget_is_outrun_by_more_than_a_step(name, budget, tiles, new):
    record = new(name).fit(tiles, budget=budget, size=SIZE).record
    parsed = Budget.parse(budget)
    assert (record.budget_amount, record.budget_unit) == (parsed.amount, parsed.unit)
    spent = getattr(record.cost, parsed.unit)
    if record.cost.steps == 0:
        assert record.stop_reason == "no steps"
        assert record.overshoot == 0
        return
    assert record.stop_reason == "budget"
    assert spent >= parsed.amount
    assert record.overshoot == pytest.approx(spent - parsed.amount)
    step = {
        "seconds": record.longest_step_seconds,
        "steps": 1,
        "images": record.batch_size,
        "flops": record.cost.flops / record.cost.steps,
    }[parsed.unit]
    assert record.overshoot <= step
    assert 0 < record.longest_step_seconds <= record.cost.seconds
    assert record.images_seen == min(record.cost.images, record.images_available)
    assert "evaluation" in record.clock


def test_images_seen_are_different_ones(tiles, new, monkeypatch):
    seen: set[int] = set()
    original = Feed._batches

    def spy(feed):
        take = feed._stream.take
        monkeypatch.setattr(
            feed._stream,
            "take",
            lambda start, count: (rows := take(start, count), asked.append(rows))[0],
        )
        asked: list[np.ndarray] = []
        for batch in original(feed):
            seen.update(asked[-1][:, 0].tolist())
            yield batch

    monkeypatch.setattr(Feed, "_batches", spy)
    name = next(n for n in NAMES if new(n).fit(tiles, budget="1steps", size=SIZE).record.cost.steps)
    for steps in (2, 7, 40):
        seen.clear()
        record = new(name).fit(tiles, budget=f"{steps}steps", size=SIZE).record
        assert record.images_seen == len(seen)


@every
def test_evaluation_leaves_no_trace(name, tiles, greys, new):
    """With and without: the same weights, bit by bit."""
    plain = new(name).fit(tiles, budget="4steps", size=SIZE, seed=3)
    watched = new(name)
    pictures = []

    def look(feed):
        with watched.evaluating():
            torch.rand(3)
            assert not torch.is_grad_enabled()
            pictures.append(watched.predict(greys))
        assert not watched.is_fitted
        assert torch.is_grad_enabled()

    watched.fit(tiles, budget="4steps", size=SIZE, seed=3, on_step=look)
    assert len(pictures) == plain.record.cost.steps
    if watched.info.deterministic:
        assert weights(watched) == weights(plain)
    assert all(picture.shape == (*greys.shape, 3) for picture in pictures)


def test_the_clock_stands_still_meanwhile(tiles, fit, new):
    costs = {name: fit(name, tiles).record.cost for name in NAMES}
    # A step of the lightest is far shorter than the evaluation.
    name = min((n for n in NAMES if costs[n].steps), key=lambda n: costs[n].flops)
    colorizer = new(name)

    def slow(feed):
        before = feed.cost.seconds
        with colorizer.evaluating():
            time.sleep(0.3)
            assert feed.cost.seconds == pytest.approx(before, abs=0.05)

    record = colorizer.fit(tiles, budget="3steps", size=SIZE, on_step=slow).record
    assert record.evaluation_seconds >= 0.9
    assert record.longest_step_seconds < 0.3 or record.cost.seconds < 0.9


def test_evaluating_needs_a_training(new, fitted, greys):
    for colorizer in (new(NAMES[0]), fitted(NAMES[0])):
        with pytest.raises(TrainingError, match="is not being trained"), colorizer.evaluating():
            pass
    with pytest.raises(NotFittedError):
        new(NAMES[0]).predict(greys)


def test_an_evaluation_that_raises_ends_the_training_cleanly(tiles, fit, new):
    name = next(n for n in NAMES if fit(n, tiles).record.cost.steps)
    colorizer = new(name)

    def broken(feed):
        with colorizer.evaluating():
            raise ValueError("no picture today")

    with pytest.raises(ValueError, match="no picture today"):
        colorizer.fit(tiles, budget="3steps", size=SIZE, on_step=broken)
    assert not colorizer.is_fitted
    colorizer.fit(tiles, budget="1steps", size=SIZE)
    assert colorizer.is_fitted


@every
def test_a_record_of_an_older_version_can_still_be_read(name, saved):
    stored = dataclasses.asdict(open_weights(saved(name), colorizer_class(name)).record)
    newer = ("overshoot", "longest_step_seconds", "learning_rate", "clock", "budget_unit")
    old = read_record({k: v for k, v in stored.items() if k not in newer})
    assert old is not None
    assert old.cost == read_record(stored).cost
    assert read_record({**stored, "of the future": 1}) is None
