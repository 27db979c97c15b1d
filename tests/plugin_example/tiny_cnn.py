"""Four convolutions from lightness to chroma: all that a plugin has to be."""

import torch.nn.functional as F
from torch import Tensor, nn

from zoo.colorizer import Colorizer, Info


class TinyCNN(Colorizer):
    """Predicts ab from a neighbourhood of 29 pixels, under a smooth L1 loss."""

    info = Info(name="tiny_cnn", title="A tiny CNN", paper="none", license="Apache-2.0")

    def build(self) -> nn.Module:
        """Dilated convolutions, so that four layers see enough."""
        layers: list[nn.Module] = []
        for wide_in, dilation in ((1, 1), (32, 2), (32, 4)):
            layers += [nn.Conv2d(wide_in, 32, 5, padding=2 * dilation, dilation=dilation)]
            layers += [nn.BatchNorm2d(32), nn.ReLU()]
        return nn.Sequential(*layers, nn.Conv2d(32, 2, 1))

    def forward(self, L: Tensor) -> Tensor:
        ab: Tensor = 110 * self.net((L - 50) / 50)
        return ab

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """Smooth L1 in CIE Lab units: quadratic below 5, linear beyond."""
        return F.smooth_l1_loss(self.forward(L), ab, beta=5.0)
