"""What a metric plugin implements: one value per image, from pictures and their truth.

A metric is an entry point in the group `zoo.metrics`. The harness constructs each one once
per trial with a `MetricContext` and then calls it on batches.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor

from zoo.color.lab import rgb_to_lab

if TYPE_CHECKING:
    from zoo.arrays import UInt8Array

Direction = Literal["higher", "lower", "match"]


@dataclass(frozen=True)
class MetricInfo:
    """What a table needs to know of a metric.

    Attributes:
        name: the column's name, as in `scores.csv`.
        title: the name for people.
        unit: the unit of the values; empty for a pure number.
        direction: `higher` or `lower` is better, or `match`: nearest to the truth is best.
        version: raised whenever the same pictures would get other values.
        minimum_size: the smallest side in pixels that can be scored.
        paper: where the metric is defined.
        default: shown by `zoo bench` unless asked otherwise.
    """

    name: str
    title: str
    unit: str
    direction: Direction
    version: int
    minimum_size: int = 1
    paper: str = ""
    default: bool = True


@dataclass(frozen=True)
class Pictures:
    """A batch of 8-bit colour images, and what several metrics derive from them.

    Attributes:
        rgb8: N×3×H×W uint8, sRGB, on the device where metrics are computed.
    """

    rgb8: Tensor

    @classmethod
    def from_unit_rgb(cls, rgb: Tensor) -> Pictures:
        """Rounds N×3×H×W RGB in [0, 1] to 8 bits, as a saved file would."""
        return cls((rgb.clamp(0, 1) * 255).round().to(torch.uint8))

    @classmethod
    def from_array(cls, images: UInt8Array, device: torch.device | str = "cpu") -> Pictures:
        """From N×H×W×3 uint8."""
        return cls(torch.from_numpy(images.copy()).to(device).permute(0, 3, 1, 2).contiguous())

    @cached_property
    def rgb(self) -> Tensor:
        """N×3×H×W float32 in [0, 1]."""
        return self.rgb8.float() / 255

    @cached_property
    def ab(self) -> Tensor:
        """N×2×H×W float32 chroma of the 8-bit picture, in CIE Lab units."""
        return rgb_to_lab(self.rgb8)[1]

    def __len__(self) -> int:
        return len(self.rgb8)


@dataclass(frozen=True)
class MetricContext:
    """What a metric may use besides the pictures.

    Attributes:
        device: where the pictures are and the metric computes.
        truth: all truth pictures of the test set, N×H×W×3 uint8, for metrics whose weights
            depend on the test set (the rebalanced AuC).
        lpips_weights: the AlexNet features for LPIPS, or None where none could be had.
    """

    device: torch.device
    truth: UInt8Array
    lpips_weights: Path | None = None


class Metric(ABC):
    """One number per image.

    Subclasses set `info` and implement `__call__`. A metric that cannot work here (a missing
    backbone) raises `zoo.errors.WeightsError` from its constructor; its column then states
    the reason and every other metric goes on.
    """

    info: ClassVar[MetricInfo]

    def __init__(self, context: MetricContext) -> None:
        self.context = context

    @abstractmethod
    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values, float, for N predicted pictures and their N truths of the same size."""
