"""The learning curve of a training: every metric at 1, 2, 4, … 100 % of the budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pandas as pd

from zoo.colorizer import Colorizer
from zoo.cost import Cost
from zoo.data.dataset import ImageSet
from zoo.files import atomic_path
from zoo.metric import Metric
from zoo.training.feed import Feed
from zoo_benchmark.run import scoring

SHARES = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Shares of the budget at which metrics are measured; the end is a point of its own."""

CURVE_IMAGES = 48
"""How many test images a point is measured on: the same ones for every model and point."""

COSTS = [each.name for each in fields(Cost)]
"""What training spends, as budgets and curves count it."""

COLUMNS = ["share", *COSTS, "metric", "value"]


def write_losses(path: Path, points: Sequence[Mapping[str, float]]) -> None:
    """Writes the loss along the way, as `Feed.curve` logs it, as CSV."""
    with atomic_path(path) as partial:
        pd.DataFrame(list(points), columns=[*COSTS, "loss"]).to_csv(partial, index=False)


class LearningCurve:
    """Scores the half-trained model on a fixed subset at given shares of the budget.

    The budget's clock stands still meanwhile, and training goes on as if nothing had happened.

    Args:
        colorizer: what is being trained.
        metrics: what to measure, less those that so few images say nothing of.
        subset: the images.
        pause: entered around each evaluation.
        on_point: told of each point once it is measured, with the half-trained model still able
            to predict: its share of the budget, cost, and the mean of every metric.

    Attributes:
        rows: what was measured so far, a row per point and metric.
    """

    def __init__(
        self,
        colorizer: Colorizer,
        metrics: Sequence[Metric],
        subset: ImageSet,
        pause: Callable[[], AbstractContextManager[None]],
        on_point: Callable[[float, Cost, dict[str, float]], None] | None = None,
    ) -> None:
        self._colorizer, self._subset = colorizer, subset
        self._metrics = [m for m in metrics if m.info.reliable_from <= max(len(subset), 1)]
        self._pause, self._on_point = pause, on_point
        self._left = list(SHARES)
        self.rows: list[dict[str, Any]] = []

    def resume(self, rows: Sequence[dict[str, Any]]) -> None:
        """Goes on behind the points of a training that was stopped."""
        self.rows = list(rows)
        done = max((row["share"] for row in rows), default=0.0)
        self._left = [share for share in self._left if share > done]

    def step(self, feed: Feed) -> None:
        """Measures where training has just passed one of the shares."""
        cost = feed.cost
        share = feed.budget.spent(cost) / feed.budget.amount
        # What a learning-rate search trains is thrown away.
        searching = feed.rate_factor is not None
        if searching or not self._left or share < self._left[0] or share >= 1:
            return
        while self._left and self._left[0] <= share:
            self._left.pop(0)
        with self._pause():
            self._measure(share, cost)

    def finish(self, cost: Cost) -> None:
        """Measures the finished model."""
        self._measure(1.0, cost)

    def write(self, path: Path) -> None:
        """Writes the curve in long form: a row per point and metric."""
        with atomic_path(path) as partial:
            pd.DataFrame(self.rows, columns=COLUMNS).to_csv(partial, index=False)

    def _measure(self, share: float, cost: Cost) -> None:
        point = {"share": share, **asdict(cost)}
        values = scoring.score(self._colorizer, self._subset, self._metrics).means()
        self.rows += [{**point, "metric": name, "value": mean} for name, mean in values.items()]
        if self._on_point is not None:
            self._on_point(share, cost, values)
