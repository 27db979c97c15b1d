"""The floors: what a method must beat to have learnt anything.

`grey` leaves the photograph as it is. `mean_color` paints every pixel with the training
set's mean chroma, the best constant under squared error.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.colorizer import Colorizer, Info
from zoo.training.feed import Feed


class ConstantChroma(nn.Module):
    """A network of one ab value for every pixel."""

    ab: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("ab", torch.zeros(2))

    def forward(self, L: Tensor) -> Tensor:
        """The one value at every pixel: N×1×H×W L to N×2×H×W ab."""
        return self.ab[None, :, None, None].expand(len(L), 2, *L.shape[2:])


class Grey(Colorizer):
    """The floor without any colour: ab = 0 everywhere."""

    info = Info(
        name="grey",
        title="Grey (no colour)",
        paper="none",
        license="Apache-2.0",
        floor=True,
        learns=False,
        known_failures={
            "one_image": "it paints no colour",
            "beats_grey": "it is grey",
        },
    )

    def build(self) -> nn.Module:
        """A constant of zero chroma."""
        return ConstantChroma()

    def train(self, feed: Feed) -> None:
        """Does nothing: there is nothing to learn."""

    def forward(self, L: Tensor) -> Tensor:
        """The network's chroma, the same everywhere."""
        output: Tensor = self.net(L)
        return output


class MeanColor(Grey):
    """The floor of one colour: the mean chroma of the training set for every pixel."""

    info = Info(
        name="mean_color",
        title="Mean colour of the training set",
        paper="none",
        license="Apache-2.0",
        floor=True,
        known_failures={
            "one_image": "it paints one colour",
            "beats_grey": "the mean colour of the toy set is grey",
        },
    )

    def train(self, feed: Feed) -> None:
        """Averages ab over all training pixels; takes no step of the budget."""
        total, count = torch.zeros(2, dtype=torch.float64), 0
        for _, ab in feed.survey(limit=feed.image_count):
            total += ab.cpu().sum(dim=(0, 2, 3), dtype=torch.float64)
            count += ab.numel() // 2
        self.net.load_state_dict({"ab": (total / count).float()})
