"""A U-Net over any backbone of timm, with a head of 313 ab bins or of ab itself.

The contracting path is a network of image classification from timm; the expanding path is that
of Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015: from the deepest features up, enlarge twofold, join the features of
that stride, convolve twice. The head is that of Zhang, Isola, Efros, "Colorful Image
Colorization", ECCV 2016: soft-encoded classification over the 313 bins, decoded by the annealed
mean. It stands at half of the resolution where Zhang's stands at a quarter, and its
rebalancing can be had in parts. docs/unet_timm.md tells how the defaults were found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.color.bins import BIN_COUNT
from zoo.color.lab import L_to_grey
from zoo.color.prior import RebalancingOptions, class_weights_for
from zoo.color.soft_encoding import SoftEncoding, annealed_mean, soft_cross_entropy
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.errors import OptionError
from zoo.options import option
from zoo.training.feed import Feed
from zoo_plugins.timm_backbone import (
    Backbone,
    Pyramid,
    check_imagenet,
    describe_backbone,
    scale_grey,
)

_AB_SCALE = 110.0
_HUBER = 10.0  # CIE units of ab where smooth L1 turns from square to linear
_WIDEST = 4  # times the width of the finest level


@dataclass(frozen=True)
class UNetOptions(RebalancingOptions, TrainingOptions):
    """Options of the U-Net; those of the bins do nothing where the head is `regression`."""

    backbone: str = option(
        "resnet34",
        "timm's name of the contracting path; any that offers `features_only` in strides that "
        "double",
    )
    backbone_weights: Literal["none", "imagenet"] = option(
        "none",
        "`none` trains it from scratch like every other model; `imagenet` takes weights trained on "
        "ImageNet: of `tf_efficientnet_lite0` from the package of the extra `imagenet`, of all "
        "others timm's, which are downloaded",
    )
    enlargement: Literal[1, 2, 4] = option(
        1,
        "how many times wider and higher the image is made, bilinearly, before the backbone sees "
        "it: backbones of 224 px look too coarsely at images of 64",
    )
    deepest_stride: int = option(
        32,
        "deepest stride of the backbone in use, in pixels of what it sees; the rest is not built",
        least=1,
    )
    decoder_width: int = option(
        64,
        "channels of the finest level; each coarser one has twice as many, up to four times",
        least=1,
    )
    head: Literal["bins", "regression"] = option(
        "bins", "`bins` classifies over the 313 ab bins, `regression` predicts ab by smooth L1"
    )
    head_stride: Literal[1, 2, 4] = option(
        2, "pixels of the image per pixel of the head, which is enlarged bilinearly"
    )
    rebalancing: float = 0.75
    batch_size: int = 64
    learning_rate: float = 1e-3

    def check(self) -> None:
        """Checks that a prior is given only where colours are weighted."""
        if self.prior and not self.rebalances:
            raise ValueError(
                f"the prior {self.prior} would not be read: set head=bins and a rebalancing below 1"
            )

    @property
    def rebalances(self) -> bool:
        """Whether colours are weighted."""
        return self.head == "bins" and self.rebalancing < 1

    @property
    def finest_stride(self) -> int:
        """Pixels of what the backbone sees per pixel of the head."""
        return self.head_stride * self.enlargement

    @classmethod
    def small(cls) -> UNetOptions:
        """The laptop's size: 18 layers to stride 16, half of the width, thrice the step size."""
        return cls(
            backbone="resnet18",
            deepest_stride=16,
            decoder_width=32,
            batch_size=32,
            learning_rate=3e-3,
        )


class UNet(nn.Module):
    """The network: grey in, logits of the bins or ab over 110 out, at the head's stride.

    Args:
        options: those of the plugin.
        pyramid: the stages of the options' backbone.
    """

    def __init__(self, options: UNetOptions, pyramid: Pyramid) -> None:
        super().__init__()
        contracting = backbone_in_use(options, pyramid)
        self.backbone = contracting.build()
        skips = {pyramid.strides[i]: pyramid.channels[i] for i in contracting.stages or ()}
        # Where the head is finer than the backbone's first stage, a stem of our own joins in.
        self.stem = nn.ModuleList()
        stride, channels, shallowest = options.finest_stride, 1, min(skips)
        while stride < shallowest:
            # The first layer goes from the image to the head's grid at once.
            step = 2 if len(self.stem) else stride
            self.stem.append(_convolve(channels, options.decoder_width, step))
            skips[stride] = channels = options.decoder_width
            stride *= 2
        strides = sorted(skips, reverse=True)
        widths = [skips[strides[0]], *(_width(options, stride) for stride in strides[1:])]
        self.up = nn.ModuleList(
            Up(deeper, skips[stride], wide)
            for (deeper, wide), stride in zip(pairwise(widths), strides[1:], strict=True)
        )
        self._enlargement = options.enlargement
        self.head = nn.Conv2d(widths[-1], BIN_COUNT if options.head == "bins" else 2, 1)
        if options.head == "regression":
            # Training starts from grey.
            nn.init.normal_(self.head.weight, std=1e-3)
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, grey: Tensor) -> Tensor:
        """N×1×H×W sRGB grey in [0, 1] to N×C×H/s×W/s, s the stride of the head.

        Sides, enlarged, are multiples of the deepest stride.
        """
        stages = [scale_grey(enlarge(grey, self._enlargement))]
        for layer in self.stem:
            stages.append(layer(stages[-1]))
        stages += self.backbone(stages[0])
        x = stages.pop()
        for up in self.up:
            x = up(x, stages.pop())
        out: Tensor = self.head(x)
        return out


class Up(nn.Module):
    """A step of the expanding path: enlarge twofold, join, convolve twice (fig. 1)."""

    def __init__(self, deeper: int, skip: int, wide: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(deeper, wide, 1)
        self.mix = nn.Sequential(_convolve(wide + skip, wide), _convolve(wide, wide))

    def forward(self, deeper: Tensor, skip: Tensor) -> Tensor:
        """N×C×h×w and N×S×2h×2w features to N×W×2h×2w."""
        # Narrowed before it is enlarged: the same result for a quarter of the work.
        enlarged = F.interpolate(self.narrow(deeper), scale_factor=2, mode="nearest")
        out: Tensor = self.mix(torch.cat((enlarged, skip), dim=1))
        return out


class UNetTimm(Colorizer):
    """A U-Net with a backbone from timm.

    Raises:
        OptionError: a backbone that cannot be one, or has no such stages or weights.
    """

    info = Info(
        name="unet_timm",
        title="U-Net over a backbone of timm",
        paper="O. Ronneberger, P. Fischer, T. Brox, U-Net: Convolutional Networks for Biomedical "
        "Image Segmentation, MICCAI 2015; head and loss of R. Zhang, P. Isola, A. A. Efros, "
        "Colorful Image Colorization, ECCV 2016",
        license="Apache-2.0",
        differs=(
            "the contracting path is a network of image classification, by default from scratch",
            "convolutions are padded and batch-normed; up-convolution is 1×1 and nearest neighbour",
            "the head is that of Zhang 2016 at half of the resolution, with λ = 0.75",
            "without a file, the prior is that of up to 4,096 training images",
            "AdamW with warm-up and decay",
        ),
    )
    Options = UNetOptions
    options: UNetOptions

    def __init__(self, options: Any = None, **keywords: Any) -> None:
        super().__init__(options, **keywords)
        self._pyramid = describe_backbone(self.options.backbone)
        backbone_in_use(self.options, self._pyramid)
        if self.options.backbone_weights == "imagenet":
            check_imagenet(self.options.backbone, "backbone_weights")

    @property
    def multiple(self) -> int:
        """The deepest stride, in pixels of the image."""
        return self.options.deepest_stride // self.options.enlargement

    @property
    def pretrained(self) -> Sequence[str]:
        """The backbone, where it starts from ImageNet weights."""
        return ("backbone",) if self.options.backbone_weights == "imagenet" else ()

    def build(self) -> nn.Module:
        """Backbone, expanding path and head with fresh weights."""
        self._encode = SoftEncoding(self.options.neighbours, self.options.sigma, self.device)
        self._class_weights = torch.ones(BIN_COUNT, device=self.device)
        return UNet(self.options, self._pyramid)

    def prepare(self, feed: Feed) -> None:
        """Fills in ImageNet weights and weights of the colours, where asked for.

        Raises:
            WeightsError: the backbone's could not be had.
            InputError: the option `prior` names no such file.
        """
        options = self.options
        if options.backbone_weights == "imagenet":
            net = self.net.get_submodule("backbone")
            backbone_in_use(options, self._pyramid).load_imagenet(net, feed, "backbone_weights")
        if options.rebalances:
            self._class_weights = class_weights_for(
                feed,
                self._encode,
                stride=options.head_stride,
                rebalancing=options.rebalancing,
                prior=options.prior,
            )

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """Zhang's eq. 2 on the head's grid; or smooth L1 of ab at full size, over 110."""
        if self.options.head == "regression":
            return F.smooth_l1_loss(self.forward(L), ab, beta=_HUBER) / _AB_SCALE
        target = self._encode(F.avg_pool2d(ab, self.options.head_stride))
        return soft_cross_entropy(self.net(L_to_grey(L)), target, self._class_weights)

    def forward(self, L: Tensor) -> Tensor:
        """Chroma by the chosen head: regressed, or decoded from the classes."""
        out = self.net(L_to_grey(L))
        if self.options.head == "regression":
            ab = out.float() * _AB_SCALE
        else:
            ab = annealed_mean(out, self.options.temperature)
        return enlarge(ab, self.options.head_stride)


def enlarge(planes: Tensor, times: int) -> Tensor:
    """N×C×H×W to N×C×(times·H)×(times·W), bilinearly."""
    if times == 1:
        return planes
    return F.interpolate(planes, scale_factor=times, mode="bilinear", align_corners=False)


def backbone_in_use(options: UNetOptions, pyramid: Pyramid) -> Backbone:
    """The backbone's stages from the head's stride to the deepest.

    Raises:
        OptionError: the deepest stride is not one of the backbone's, or is not below the head's.
    """
    deepest, finest = options.deepest_stride, options.finest_stride
    offered = [stride for stride in pyramid.strides if stride > finest]
    if deepest not in offered:
        raise OptionError(
            f"unet_timm: {options.backbone} has no stage of stride {deepest} below a head of "
            f"stride {finest}; deepest_stride must be one of {', '.join(map(str, offered))}"
        )
    stages = tuple(i for i, s in enumerate(pyramid.strides) if finest <= s <= deepest)
    return Backbone(options.backbone, in_chans=1, stages=stages)


def _width(options: UNetOptions, stride: int) -> int:
    return options.decoder_width * min(stride // options.finest_stride, _WIDEST)


def _convolve(wide_in: int, wide_out: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(wide_out),
        nn.ReLU(inplace=True),
    )
