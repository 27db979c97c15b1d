"""Colourfulness of a picture, whatever its truth: Hasler and Süsstrunk's M̂⁽³⁾."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from zoo.metric import Metric, MetricInfo, Pictures
from zoo_benchmark.metrics import check_pair

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
