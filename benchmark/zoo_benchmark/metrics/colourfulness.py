"""Colourfulness of a picture, whatever its truth: Hasler and Süsstrunk's M̂⁽³⁾."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from zoo.metric import Metric, MetricContext, MetricInfo, Pictures, SetMetric
from zoo_benchmark.metrics import check_pair
from zoo_benchmark.metrics.jackknife import FIFTHS, IN_WORDS, half_interval

_PAPER = "Hasler and Süsstrunk, Human Vision and Electronic Imaging 2003"


class Colourfulness(Metric):
    """√(σ²rg + σ²yb) + 0.3·√(μ²rg + μ²yb) with rg = R − G and yb = (R + G)/2 − B, on 8 bits.

    About 0 for grey, 15 for slightly and 109 for extremely colourful (the paper's table 2).
    It should match the truth's: a picture can be too colourful.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="colourfulness",
        title="Colourfulness",
        unit="",
        direction="match",
        version=1,
        paper=_PAPER,
        heading="colourful-\nness",
        decimals=1,
        place=2,
        keep=22,
    )

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values of the predicted pictures alone."""
        check_pair(self.info, predicted, truth)
        r, g, b = predicted.rgb8.float().flatten(2).unbind(1)
        opponents = self._opponents(torch.stack((r - g, (r + g) / 2 - b), dim=1))
        variance, mean = torch.var_mean(opponents, dim=2, correction=0)
        return variance.sum(1).sqrt() + 0.3 * mean.square().sum(1).sqrt()

    def _opponents(self, rg_yb: Tensor) -> Tensor:
        """The signed differences, N×2×P, as the statistics are taken of them."""
        return rg_yb


class AbsoluteColourfulness(Colourfulness):
    """The colourfulness of DDColor's evaluation: |rg| and |yb| in place of signed differences."""

    info: ClassVar[MetricInfo] = MetricInfo(
        name="colourfulness_abs",
        title="Colourfulness (DDColor)",
        unit="",
        direction="match",
        version=1,
        paper=f"{_PAPER}; variant of Kang et al., ICCV 2023",
        default=False,
    )

    def _opponents(self, rg_yb: Tensor) -> Tensor:
        return rg_yb.abs()


class DeltaCF(SetMetric):
    """ΔCF as DDColor and MultiColor report it: how far the means of both sets are apart.

    The mean of the differences, which VVFM reports, is `colourfulness_abs_difference`; it is
    never smaller, as one picture's excess cannot make up for another's lack.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="delta_cf",
        title="ΔCF of the means",
        unit="",
        direction="lower",
        version=1,
        paper=f"{_PAPER}; Kang et al., ICCV 2023",
        default=False,
        per="set",
        decimals=2,
        interval=IN_WORDS,
        fine_print="difference of the two means of colourfulness_abs; the mean of the differences "
        "is colourfulness_abs_difference",
    )

    def __init__(self, context: MetricContext) -> None:
        super().__init__(context)
        self._colourfulness = AbsoluteColourfulness(context)

    def update(self, state: Any, predicted: Pictures, truth: Pictures) -> Any:
        """The values of all pictures so far, predicted − truth."""
        ours, theirs = (self._colourfulness(each, truth) for each in (predicted, truth))
        return [*(state or ()), *(ours - theirs).tolist()]

    def compute(self, state: Any) -> float:
        """The absolute difference of the means."""
        return abs(float(np.mean(state)))

    def half_interval(self, state: Any) -> float | None:
        """By a jackknife of the signed difference; None below ten images."""
        values = np.asarray(state)
        if len(values) < 2 * FIFTHS:
            return None
        part = np.arange(len(values)) % FIFTHS
        return half_interval([float(values[part != left].mean()) for left in range(FIFTHS)])
