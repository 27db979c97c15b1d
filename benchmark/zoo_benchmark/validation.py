"""What `zoo fit` shows of a training under way: metrics and pictures of held-out images."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from zoo.arrays import UInt8Array
from zoo.colorizer import Colorizer
from zoo.cost import Cost
from zoo.data.dataset import ImageSet
from zoo.errors import DataError
from zoo.files import beside
from zoo.metric import Metric
from zoo.training.budget import Budget
from zoo.training.feed import Feed
from zoo_benchmark.report.samples import Column, write_samples
from zoo_benchmark.report.training_plot import plot_training
from zoo_benchmark.results.columns import score_note
from zoo_benchmark.run import scoring
from zoo_benchmark.run.learning_curve import LearningCurve, write_losses

IMAGES = 96
"""How many held-out images are measured, spread over all of them."""

ROWS = 6
"""How many of them are in the picture."""


class Files:
    """What is written beside the weights, named after them.

    Attributes:
        weights: the safetensors file.
        checkpoint: the training under way; gone once the weights are written.
        losses: the loss along the way as a table.
        plot: loss and metrics along the way as a picture.
        metrics: the metrics along the way as a table.
        samples: held-out images as they were coloured along the way.
        reports: the last four.
        results: all that is there at the end: the weights and the reports.
    """

    def __init__(self, weights: Path) -> None:
        self.weights = weights
        self.checkpoint = beside(weights, "-checkpoint.pt")
        self.losses = beside(weights, "-loss.csv")
        self.plot = beside(weights, "-loss.png")
        self.metrics = beside(weights, "-validation.csv")
        self.samples = beside(weights, "-samples.png")
        self.reports = [self.samples, self.plot, self.losses, self.metrics]
        self.results = [weights, *self.reports]


class Validation:
    """Looks at a model while it is trained, and keeps tables and pictures up to date.

    At 1, 2, 4, … 64 % of the budget and at its end; the budget's clock stands still meanwhile.

    Args:
        colorizer: what is being trained.
        held_out: images that it is not trained on.
        metrics: what to measure.
        budget: of the training.
        files: what to write.
        title: of the plot.
        on_point: told of every look: share of the budget, cost, means of the metrics.
        on_problem: told where a file cannot be written; training goes on.
    """

    def __init__(
        self,
        colorizer: Colorizer,
        held_out: ImageSet,
        metrics: Sequence[Metric],
        budget: Budget,
        files: Files,
        *,
        title: str = "",
        on_point: Callable[[float, Cost, dict[str, float]], None] | None = None,
        on_problem: Callable[[str], None] = warnings.warn,
    ) -> None:
        self._colorizer, self._metrics, self._files = colorizer, list(metrics), files
        self._budget, self._title = budget, title
        self._on_point, self._on_problem = on_point, on_problem
        self._held_out = held_out.manifest_hash()
        self._images = held_out.spread(IMAGES)
        self._pictures = held_out.spread(ROWS)
        self._looks: list[tuple[float, str, UInt8Array]] = []
        self._losses: list[dict[str, float]] = []
        self._curve = LearningCurve(
            colorizer, self._metrics, self._images, colorizer.evaluating, self._look
        )

    def floor(self) -> dict[str, float]:
        """What the same images score if they are left grey; the truth's own values included."""
        device = self._colorizer.device
        grey = scoring.from_truth(self._images, torch.zeros_like, device)
        return scoring.score_pictures(grey, self._metrics).means()

    def step(self, feed: Feed) -> None:
        """To be called after every step."""
        self._losses = feed.curve.points
        self._curve.step(feed)

    def finish(self) -> None:
        """Looks at the finished model."""
        record = self._colorizer.record
        assert record is not None
        self._losses = record.curve
        self._curve.finish(record.cost)

    def notes(self) -> dict[str, Any]:
        """What a checkpoint keeps of the looks so far."""
        looks = [(share, note, torch.from_numpy(images)) for share, note, images in self._looks]
        return {"rows": self._curve.rows, "looks": looks, "held out": self._held_out}

    def resume(self, notes: Mapping[str, Any]) -> None:
        """Goes on behind the looks of a training that was stopped.

        Raises:
            DataError: they were at other images.
        """
        if notes.get("held out", self._held_out) != self._held_out:
            raise DataError(
                "the held-out images are not those that the training to be resumed was watched "
                "with; bring them back, or begin anew with --overwrite"
            )
        self._curve.resume(notes.get("rows", []))
        self._looks = [(share, note, t.numpy()) for share, note, t in notes.get("looks", [])]

    def points(self) -> list[dict[str, float]]:
        """All looks so far as plain values, those of before a resumption included."""
        found: dict[float, dict[str, float]] = {}
        for row in self._curve.rows:
            costs = {key: value for key, value in row.items() if key not in ("metric", "value")}
            found.setdefault(row["share"], costs)[row["metric"]] = row["value"]
        return list(found.values())

    def _look(self, share: float, cost: Cost, metrics: dict[str, float]) -> None:
        painted = scoring.paint_images(self._colorizer, self._pictures.images)
        note = score_note(metrics) or f"{cost.steps:,} steps"
        self._looks.append((share, note, painted))
        try:
            self._write()
        except OSError as error:
            told = error.strerror or str(error)
            self._on_problem(f"{self._files.weights.parent}: {told}; training goes on")
        if self._on_point is not None:
            self._on_point(share, cost, metrics)

    def _write(self) -> None:
        self._curve.write(self._files.metrics)
        write_losses(self._files.losses, self._losses)
        columns = [
            Column(f"{share:.0%}", note, [Image.fromarray(image) for image in np.asarray(images)])
            for share, note, images in self._looks
        ]
        write_samples(self._files.samples, self._pictures, columns)
        plot_training(
            self._files.plot, self._title, self._losses, self._curve.rows, self._budget.unit
        )
