"""A learning rate by a range test (Smith, "Cyclical Learning Rates", WACV 2017, section 3.3).

The learning rate rises exponentially while the loss is watched: it falls, levels off and
explodes. A good highest learning rate lies where it falls most steeply.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from zoo.device import own_random_state
from zoo.errors import BudgetError, TrainingError
from zoo.training.feed import Feed, Phase

if TYPE_CHECKING:
    from zoo.colorizer import Colorizer

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 100
LEAST_STEPS = 20
SHARE = 0.1
"""The share of a budget that a search inside it may spend."""

# How many batches the sweep goes round among.
_BATCHES = 4
# The decay of the exponential average that smooths the losses.
_MOMENTUM = 0.9
# The sweep ends once the smoothed loss has risen above its best by so many times what it had
# fallen, and has at least doubled: the rest of the curve tells nothing.
_EXPLODED = 4.0
# The first losses come from an average that has hardly begun: steps, and share of the sweep.
_SETTLING, _SETTLING_SHARE = 5, 0.15
# Slopes are taken over this share of the sweep: single steps of a stochastic loss jump.
_SLOPE_SHARE = 0.12


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        learning_rates: the rate of each step, rising.
        losses: the loss of each step.
        smoothed: bias-corrected exponential average of the losses.
        suggestion: where the smoothed loss falls most steeply against log learning rate, before
            its minimum; None where it never falls.
        stop_reason: why it ended: `end` of the sweep, `exploded`, or `nan`.
    """

    learning_rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    suggestion: float | None
    stop_reason: str

    def plot(self, path: Path, title: str = "") -> None:
        """Writes the curve with its suggestion as PNG, atomically."""
        from zoo.figures import figure

        with figure(path, figsize=(8, 4.5), dpi=120, layout="constrained") as drawn:
            axes = drawn.add_subplot()
            rates = self.learning_rates
            axes.plot(rates, self.losses, color="#b9c4cf", linewidth=1, label="loss of each step")
            axes.plot(rates, self.smoothed, color="#1f5f8b", linewidth=2, label="smoothed")
            if self.suggestion is not None:
                label = f"suggestion: {self.suggestion:.2g}"
                axes.axvline(self.suggestion, color="#c2410c", linestyle="--", label=label)
            low, high = min(self.smoothed), max(self.smoothed[: len(rates) // 2 + 1])
            room = 0.25 * (high - low) or 0.1 * abs(high) or 1.0
            axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
            axes.set_ylim(low - room, high + 2 * room)
            axes.set_title(title or "learning-rate range test", parse_math=False)
            axes.grid(visible=True, which="major", alpha=0.3)
            axes.legend(frameon=False)


def search_in_budget(colorizer: Colorizer, feed: Feed) -> int:
    """Finds a learning rate before the training proper, and hands it to the feed.

    Spends at most `SHARE` of the budget; the weights and the random state are afterwards what
    they were. A method without gradient descent is left alone.

    Returns:
        The steps of the search; 0 where there was none.

    Raises:
        BudgetError: the share is too small for a search.
        TrainingError: the loss never fell, or is NaN from the start.
    """
    test = sweep(colorizer, feed, SHARE, STEPS, LOWEST, HIGHEST)
    if test is None:
        return 0
    name = colorizer.info.name
    if len(test.losses) < LEAST_STEPS and test.stop_reason == "end":
        raise BudgetError(
            f"the learning-rate search of {name} got {len(test.losses)} steps out of {SHARE:.0%} "
            f"of {feed.budget}, and needs {LEAST_STEPS}; give a larger --budget, or --lr options"
        )
    if test.suggestion is None:
        raise TrainingError(
            f"the learning-rate search of {name} found none: the loss never fell; "
            "train with --lr options"
        )
    feed.rate_scale = test.suggestion / colorizer.training_options.learning_rate
    return len(test.losses)


def suggest(rates: npt.ArrayLike, smoothed: npt.ArrayLike) -> float | None:
    """The learning rate of the steepest descent before the minimum; None where there is none."""
    logs, losses = np.log(np.asarray(rates, float)), np.asarray(smoothed, float)
    settled = max(_SETTLING, round(_SETTLING_SHARE * len(losses)))
    half = max(1, round(_SLOPE_SHARE * len(losses) / 2))
    if len(losses) <= settled + 2 * half:
        return None
    last = settled + int(np.argmin(losses[settled:]))
    middle = np.arange(settled, last - half + 1)
    if not len(middle):
        return None
    rise = losses[middle + half] - losses[middle - half]
    slope = rise / (logs[middle + half] - logs[middle - half])
    steepest = int(np.argmin(slope))
    return float(np.exp(logs[middle[steepest]])) if slope[steepest] < 0 else None


def sweep(
    colorizer: Colorizer, feed: Feed, share: float, steps: int, lowest: float, highest: float
) -> RangeTest | None:
    """The range test inside a feed; None where the method makes no steps."""
    base = colorizer.training_options.learning_rate
    growth = highest / lowest
    record = _Record(lambda progress: lowest * growth**progress)
    state = copy.deepcopy(colorizer.net.state_dict())

    def factor(progress: float) -> float:
        return record.rate_now(progress) / base

    with (
        own_random_state(colorizer.device, 0),
        feed.search(share, steps, _BATCHES, factor, record.add) as record.phase,
    ):
        colorizer.train(feed)
    colorizer.net.load_state_dict(state)
    colorizer.net.train()
    if record.stop_reason == "nan" and not record.losses:
        raise TrainingError(
            f"the loss of {colorizer.info.name} is NaN from the first step, at a learning rate "
            f"of {lowest:g}"
        )
    return record.finish()


class _Record:
    """Collects a sweep's losses, smooths them and ends it when they explode."""

    def __init__(self, rate: Callable[[float], float]) -> None:
        self.phase: Phase | None = None
        self.stop_reason = "end"
        self.losses: list[float] = []
        self._rate = rate
        self._rates: list[float] = []
        self._smoothed: list[float] = []
        self._average = 0.0

    def rate_now(self, progress: float) -> float:
        """The learning rate of the step under way: one for all optimizers of the method."""
        assert self.phase is not None
        if self.phase.steps >= len(self._rates):
            self._rates.append(self._rate(progress))
        return self._rates[-1]

    def add(self, step: int, loss: float) -> None:
        """Takes the loss of a step."""
        assert self.phase is not None
        if not math.isfinite(loss):
            self.stop_reason, self.phase.over = "nan", True
            return
        self.losses.append(loss)
        count = len(self.losses)
        self._average = _MOMENTUM * self._average + (1 - _MOMENTUM) * loss
        self._smoothed.append(self._average / (1 - _MOMENTUM**count))
        best, first = min(self._smoothed), self._smoothed[0]
        if count > _SETTLING and self._smoothed[-1] > best + _EXPLODED * max(
            first - best, abs(best) / _EXPLODED
        ):
            self.stop_reason, self.phase.over = "exploded", True

    def finish(self) -> RangeTest | None:
        """The finished range test with its suggestion; None where no rate was ever asked for."""
        count = min(len(self.losses), len(self._rates))
        if not count:
            return None
        rates, smoothed = self._rates[:count], self._smoothed[:count]
        return RangeTest(
            tuple(rates),
            tuple(self.losses[:count]),
            tuple(smoothed),
            suggest(rates, smoothed),
            self.stop_reason,
        )
