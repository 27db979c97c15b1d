"""Area under the curve of pixels whose ab error is at most t (Zhang et al. 2016, section 3.1)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from zoo.color.bins import BIN_COUNT, nearest_bin
from zoo.metric import Metric, MetricContext, MetricInfo, Pictures
from zoo_benchmark.metrics import check_pair

THRESHOLDS = 150
"""The last threshold t; the first is 0 and the step 1, in CIE Lab units."""

_TOLERANCE = 1e-3
"""How far above a threshold errors still count: some ten times the float32 noise of ab."""

_PAPER = "Zhang, Isola and Efros, ECCV 2016"
_PIXELS_AT_A_TIME = 1 << 20


class AuC(Metric):
    """The share of pixels with ‖ab − ab_truth‖₂ ≤ t, integrated over t = 0, 1, … 150.

    The area is the trapezoidal rule's over the 151 thresholds, divided by 150 and in per cent,
    so that a picture with the truth's own chroma scores 100.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="auc",
        title="AuC",
        unit="%",
        direction="higher",
        version=1,
        paper=_PAPER,
        decimals=2,
        place=6,
        keep=2,
        brief=True,
    )

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values in [0, 100]."""
        check_pair(self.info, predicted, truth)
        return 100 * _pixel_areas(predicted, truth).mean(dim=(1, 2))


class RebalancedAuC(Metric):
    """AuC with each pixel weighted by 1/p(q), q the bin nearest to its true colour.

    p is the histogram of q over all truth pictures of the test set, so that rare colours weigh
    as much as common ones. An image's value is its own weighted share.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="auc_rebalanced",
        title="Rebalanced AuC",
        unit="%",
        direction="higher",
        version=1,
        paper=_PAPER,
        heading="AuC reb.\n↑ %",
        decimals=2,
        place=7,
        keep=4,
        brief=True,
    )

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        count = torch.zeros(BIN_COUNT, dtype=torch.int64)
        height, width = context.truth.shape[1:3]
        images = max(1, _PIXELS_AT_A_TIME // max(1, height * width))
        for start in range(0, len(context.truth), images):
            part = Pictures.from_array(context.truth[start : start + images], context.device)
            count += torch.bincount(nearest_bin(part.ab).flatten(), minlength=BIN_COUNT).cpu()
        # A scale common to all weights cancels, so 1/count serves as 1/p. A bin without a pixel
        # can still be named if rounding settles a tie otherwise: it weighs as if it had one.
        self._weights = (1 / count.clamp_min(1).float()).to(context.device)

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values in [0, 100]."""
        check_pair(self.info, predicted, truth)
        weights = self._weights[nearest_bin(truth.ab)]
        areas = _pixel_areas(predicted, truth)
        return 100 * (weights * areas).sum(dim=(1, 2)) / weights.sum(dim=(1, 2))


def _pixel_areas(predicted: Pictures, truth: Pictures) -> Tensor:
    """N×H×W areas in [0, 1], one per pixel: their (weighted) mean is the curve's area.

    The curve is a mean of steps, one per pixel, from 0 to 1 at the first threshold k that is no
    less than its error; the trapezoidal area of a step is (150 − k + ½)/150, but 1 for k = 0.
    """
    error = (predicted.ab - truth.ab).square().sum(1).sqrt()
    first = torch.ceil(error - _TOLERANCE)
    return ((THRESHOLDS + 0.5 - first) / THRESHOLDS).clamp(0, 1)
