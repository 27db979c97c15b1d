"""The residual encoder on VGG-16 (Dahl, "Automatic Colorization", 2016).

Features of the trunk's first four stages (strides 1, 2, 4, 8) and the input itself are joined
from the deepest up: batch-norm, 1×1 convolution to the next stage's width, upsample, add to
that stage's batch-normed features, 3×3 convolution. The end is UV. The loss compares UV as
Euclidean distances, unblurred and after two Gaussian blurs, so that a colour a little out of
place costs less than a wrong one. It tends to sepia: the mean of what is possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.color.lab import U_MAX, V_MAX, L_to_grey, lab_to_rgb, rgb_to_yuv, uv_to_ab
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.options import option
from zoo.training.feed import Feed
from zoo_plugins.timm_backbone import Backbone, scale_grey

_BLURS = (3, 5)


@dataclass(frozen=True)
class ResidualEncoderOptions(TrainingOptions):
    """Options of the residual encoder."""

    trunk: Literal["vgg16", "vgg11", "vgg16_bn", "vgg11_bn"] = option(
        "vgg16", "timm's name of the trunk; one whose first four stages have strides 1, 2, 4, 8"
    )
    trunk_weights: Literal["none", "imagenet"] = option(
        "none",
        "`none` trains the trunk from scratch like every other model; `imagenet` downloads timm's "
        "ImageNet weights (the paper's setting)",
    )
    batch_size: int = 32
    learning_rate: float = 3e-4

    @classmethod
    def small(cls) -> ResidualEncoderOptions:
        """The laptop's size: an eleven-layer trunk."""
        return cls(trunk="vgg11", batch_size=16)


class ResidualEncoderNet(nn.Module):
    """The network: grey in, UV out, at the input's resolution (a multiple of 8)."""

    largest: Tensor

    def __init__(self, trunk: str) -> None:
        super().__init__()
        self.trunk = _trunk(trunk).build()
        # From the input (three equal channels) down to the deepest stage.
        widths = [3, *self.trunk.feature_info.channels()]
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.narrow = nn.ModuleList(nn.Conv2d(deep, up, 1) for up, deep in pairwise(widths))
        self.mix = nn.ModuleList(nn.Conv2d(up, up, 3, padding=1) for up, _ in pairwise(widths))
        self.uv = nn.Conv2d(widths[0], 2, 3, padding=1)
        # Training starts from grey: a random start saturates in green and pink, and the way
        # back through tanh is slow.
        nn.init.constant_(self.uv.bias, 0.0)  # type: ignore[arg-type]
        nn.init.normal_(self.uv.weight, std=1e-3)
        self.register_buffer("largest", torch.tensor([[[U_MAX]], [[V_MAX]]]), persistent=False)

    def forward(self, grey: Tensor) -> Tensor:
        """N×1×H×W grey in [0, 1] to N×2×H×W UV."""
        image = scale_grey(grey.expand(-1, 3, -1, -1))
        stages = [image, *self.trunk(image)]
        joined = self.norms[-1](stages[-1])
        for level in reversed(range(len(stages) - 1)):
            deeper = F.relu(self.narrow[level](joined))
            if deeper.shape[2:] != stages[level].shape[2:]:
                deeper = F.interpolate(deeper, scale_factor=2, mode="bilinear", align_corners=False)
            joined = F.relu(self.mix[level](self.norms[level](stages[level]) + deeper))
        return torch.tanh(self.uv(joined).float()) * self.largest


class ResidualEncoderVGG16(Colorizer):
    """The residual encoder: regression of UV with a trunk of VGG, by default a fresh one."""

    info = Info(
        name="residual_encoder_vgg16",
        title="Residual encoder on VGG-16",
        paper='R. Dahl, "Automatic Colorization", 2016',
        license="Apache-2.0",
        differs=(
            "the trunk is trained from scratch unless trunk_weights=imagenet",
            "UV is bounded by a scaled tanh instead of a sigmoid",
            "AdamW with warm-up and decay",
        ),
    )
    multiple = 8
    Options = ResidualEncoderOptions
    options: ResidualEncoderOptions

    @property
    def pretrained(self) -> Sequence[str]:
        """The trunk, where it starts from ImageNet weights."""
        return ("trunk",) if self.options.trunk_weights == "imagenet" else ()

    def build(self) -> nn.Module:
        """The trunk from timm and the joining layers, all with fresh weights."""
        return ResidualEncoderNet(self.options.trunk)

    def prepare(self, feed: Feed) -> None:
        """Fills in the trunk's ImageNet weights where they were asked for.

        Raises:
            WeightsError: they could not be had.
        """
        if self.options.trunk_weights == "imagenet":
            net = self.net.get_submodule("trunk")
            _trunk(self.options.trunk).load_imagenet(net, feed, "trunk_weights")

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """The mean of three Euclidean UV distances: unblurred, and blurred by 3 and 5 px."""
        # The UV that make the true ab with the L that the network sees, as `forward` joins them.
        target = rgb_to_yuv(lab_to_rgb(L, ab))[:, 1:]
        difference = self.net(L_to_grey(L)) - target
        distances = [_distance(difference)]
        # Blurring is linear: the blurred difference is the difference of the blurred.
        distances += [_distance(_gaussian_blur(difference, width)) for width in _BLURS]
        return torch.stack(distances).mean()

    def forward(self, L: Tensor) -> Tensor:
        """UV from the network, joined with the grey of L, as ab."""
        return uv_to_ab(L, self.net(L_to_grey(L)))


def _trunk(name: str) -> Backbone:
    return Backbone(name, in_chans=3, stages=(0, 1, 2, 3))


def _distance(difference: Tensor) -> Tensor:
    # The small constant keeps the root's gradient finite where prediction and truth agree.
    return (difference.square().sum(dim=1) + 1e-8).sqrt().mean()


def _gaussian_blur(planes: Tensor, width: int) -> Tensor:
    sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8
    offsets = torch.arange(width, device=planes.device, dtype=planes.dtype) - width // 2
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels = planes.shape[1]
    with torch.autocast(planes.device.type, enabled=False):
        pad = width // 2
        planes = F.pad(planes, (pad, pad, pad, pad), mode="reflect")
        for shape in ((1, 1, 1, width), (1, 1, width, 1)):
            weight = kernel.view(shape).expand(channels, 1, -1, -1)
            planes = F.conv2d(planes, weight, groups=channels)
    return planes
