"""A fully connected net that paints 32×32 RGB from 32×32 grey.

The first idea most people have, and the poorest: every output pixel sees every input pixel,
nothing is shared between places, and twelve million weights learn what a convolution is
given for free. It is here as the beginning of the story.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.color.lab import L_to_grey
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.options import option

SIDE = 32


@dataclass(frozen=True)
class FCOptions(TrainingOptions):
    """Options of the fully connected generator."""

    hidden: int = option(2048, "units of each hidden layer", least=1)
    layers: int = option(2, "hidden layers", least=0)
    batch_size: int = 128
    learning_rate: float = 3e-4

    @classmethod
    def small(cls) -> FCOptions:
        """The laptop's size: 1024 → 1024 → 3072."""
        return cls(hidden=1024, layers=1, batch_size=32)


class FCNet(nn.Module):
    """The fully connected net: 1024 → hidden … → 3072, ReLU between, a sigmoid at the end."""

    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [SIDE * SIDE, *[hidden] * layers]
        blocks: list[nn.Module] = []
        for wide_in, wide_out in pairwise(widths):
            blocks += [nn.Linear(wide_in, wide_out), nn.ReLU()]
        self.layers = nn.Sequential(*blocks, nn.Linear(widths[-1], 3 * SIDE * SIDE))

    def forward(self, grey: Tensor) -> Tensor:
        """N×1×32×32 grey in [0, 1] to N×3×32×32 RGB in [0, 1]."""
        output: Tensor = self.layers(grey.flatten(1) - 0.5)
        return torch.sigmoid(output.float()).view(-1, 3, SIDE, SIDE)


class FCGenerator(Colorizer):
    """The fully connected generator: paints RGB at 32×32; other sizes come back blurred."""

    info = Info(
        name="fc_generator",
        title="Fully connected RGB generator",
        paper="none: the classroom baseline",
        license="Apache-2.0",
        output="rgb",
    )
    Options = FCOptions
    options: FCOptions

    def build(self) -> nn.Module:
        """The linear layers: three, or two in the small preset."""
        return FCNet(self.options.hidden, self.options.layers)

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """Mean squared error of RGB at 32×32."""
        target = _to_side(self.true_rgb(L, ab))
        return F.mse_loss(self.net(_to_side(L_to_grey(L))), target)

    def forward(self, L: Tensor) -> Tensor:
        """RGB painted at the network's own size, enlarged to that of L."""
        painted: Tensor = self.net(_to_side(L_to_grey(L)))
        size = (L.shape[2], L.shape[3])
        return F.interpolate(painted, size=size, mode="bilinear", align_corners=False)


def _to_side(planes: Tensor) -> Tensor:
    if planes.shape[2:] == (SIDE, SIDE):
        return planes
    return F.interpolate(
        planes, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True
    ).clamp(0, 1)
