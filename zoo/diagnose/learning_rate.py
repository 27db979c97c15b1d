"""The learning-rate range test of a colorizer, by hand: `zoo lr-find`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from zoo.colorizer import Colorizer
from zoo.errors import InputError, TrainingError
from zoo.training.budget import Budget
from zoo.training.feed import Feed
from zoo.training.rate_search import HIGHEST, LEAST_STEPS, LOWEST, STEPS, RangeTest, sweep


def range_test(
    colorizer: Colorizer,
    data: Any,
    *,
    steps: int = STEPS,
    lowest: float = LOWEST,
    highest: float = HIGHEST,
    seed: int = 0,
    size: int | None = None,
    on_step: Callable[[Feed], None] | None = None,
) -> RangeTest:
    """Sweeps the learning rate of a colorizer that is built anew for it.

    Args:
        colorizer: any method that is trained by `zoo.training.loop.Optimizer`.
        data: images, as `Colorizer.fit` takes them.
        steps: how many training steps the sweep has at most.
        lowest: the learning rate it starts from.
        highest: the learning rate it would end at.
        seed: decides the weights and the images' order.
        size: side of the training crops in pixels; by default what the images allow.
        on_step: called with the feed after every step.

    Raises:
        InputError: an impossible sweep.
        TrainingError: the method is not trained by gradient descent, or its first loss is NaN.
    """
    if not 0 < lowest < highest < math.inf:
        raise InputError(
            f"a sweep from {lowest:g} to {highest:g} does not rise; type --from 1e-6 --to 1"
        )
    if steps < LEAST_STEPS:
        raise InputError(f"a sweep needs at least {LEAST_STEPS} steps, got {steps}")
    budget = Budget.parse(f"{steps}steps")
    with colorizer.training_session(data, budget, seed=seed, size=size, on_step=on_step) as feed:
        test = sweep(colorizer, feed, 1.0, steps, lowest, highest)
        if test is None:
            raise TrainingError(
                f"{colorizer.info.name} is not trained by gradient descent: it has no learning rate"
            )
        return test
