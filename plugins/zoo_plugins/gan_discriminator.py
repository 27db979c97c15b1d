"""A discriminator of forged colour around any chroma plugin (Isola et al., pix2pix, CVPR 2017).

The wrapped plugin is the generator. It keeps its own loss; a PatchGAN discriminator, which sees
L and ab together and judges overlapping 70-pixel patches, adds the adversarial term. Both nets
are trained in one loop and charged to one budget.

Mode: while training both nets are in train mode (batch statistics in both); `predict` runs
the generator alone in eval mode (running statistics), unlike pix2pix, whose test pass keeps
batch statistics and so lets an image's colours depend on its batch mates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.device import autocast
from zoo.errors import OptionError, TrainingError
from zoo.options import option
from zoo.registry import colorizer_class
from zoo.training.feed import Feed
from zoo.training.loop import Optimizer

# The momentum of pix2pix for both nets; more lets the two chase each other in circles.
_BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class GANOptions(TrainingOptions):
    """Options of the adversarial extension; `learning_rate` is the generator's."""

    generator: str = option("zhang_classifier", "name of the wrapped chroma plugin")
    generator_preset: Literal["paper", "small"] = option("paper", "the generator's preset")
    adversarial_weight: float = option(
        0.1, "factor on the adversarial term beside the generator's own loss", least=0
    )
    discriminator_learning_rate: float = option(2e-4, "the discriminator's step size", above=0)
    discriminator_width: int = option(64, "channels after the discriminator's first layer", least=1)
    discriminator_layers: int = option(
        3, "strided layers of the discriminator; 3 judge patches of 70 px, 2 of 34 px", least=1
    )
    batch_size: int = 128
    learning_rate: float = 5e-4

    def check(self) -> None:
        """Raises `ValueError` for what the shared loop alone can do."""
        super().check()
        for name, usual in (("averaging", 0.0), ("pretrained_rate", 1.0)):
            if (value := getattr(self, name)) != usual:
                raise ValueError(
                    f"{name} must stay {usual:g}, got {value:g}: the loop of two networks has none"
                )

    @classmethod
    def small(cls) -> GANOptions:
        """The generator's small preset; a discriminator of half the width on 34-pixel patches."""
        return cls(
            generator_preset="small",
            discriminator_width=32,
            discriminator_layers=2,
            batch_size=32,
            learning_rate=1e-3,
        )


class PatchGAN(nn.Module):
    """The discriminator: a logit per overlapping patch for its colour being real (3.2.2)."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for layer in range(1, layers + 1):
            wide_in, wide_out = (width * min(2**n, 8) for n in (layer - 1, layer))
            stride = 2 if layer < layers else 1
            blocks += [
                nn.Conv2d(wide_in, wide_out, 4, stride, 1, bias=False),
                nn.BatchNorm2d(wide_out),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*blocks, nn.Conv2d(wide_out, 1, 4, 1, 1))

    def forward(self, L: Tensor, ab: Tensor) -> Tensor:
        """N×1×H×W L, N×2×H×W ab to N×1×h×w logits, positive for real."""
        logits: Tensor = self.layers(torch.cat(((L - 50) / 50, ab / 110), dim=1))
        return logits.float()


class GANDiscriminator(Colorizer):
    """The GAN extension: any chroma plugin as generator, with a PatchGAN discriminator against it.

    Raises:
        OptionError: the generator paints RGB, or has no loss of its own.
    """

    info = Info(
        name="gan_discriminator",
        title="GAN: a PatchGAN discriminator around a chroma plugin",
        paper="P. Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, "
        "CVPR 2017",
        license="Apache-2.0",
        differs=(
            "the generator is another colorizer of the zoo with its own loss in place of L1",
            "prediction uses running statistics instead of the batch's",
        ),
    )
    Options = GANOptions
    options: GANOptions

    def __init__(self, options: Any = None, **keywords: Any) -> None:
        super().__init__(options, **keywords)
        cls = colorizer_class(self.options.generator)
        reason = _why_not(cls)
        if reason:
            raise OptionError(
                f"gan_discriminator cannot wrap {self.options.generator!r}: {reason}; "
                "type generator=zhang_classifier, or another plugin that predicts ab by a loss"
            )
        self.generator = cls(
            cls.preset(self.options.generator_preset),
            device=str(self.device),
            precision=self.precision,
        )

    @property
    def multiple(self) -> int:
        """The generator's `multiple`."""
        return self.generator.multiple

    @property
    def minimum_size(self) -> int:
        """The generator's smallest side, with some patches for the discriminator to judge."""
        return max(self.generator.minimum_size, 4 << self.options.discriminator_layers)

    def build(self) -> nn.Module:
        """The generator's network and the discriminator."""
        generator = self.generator.build()
        discriminator = PatchGAN(
            self.options.discriminator_width, self.options.discriminator_layers
        )
        return nn.ModuleDict({"generator": generator, "discriminator": discriminator})

    def prepare(self, feed: Feed) -> None:
        """Lets the generator look at the training set."""
        self._hand_over()
        self.generator.prepare(feed)

    def train(self, feed: Feed) -> None:
        """Trains both: one step of the discriminator, then one of the generator (section 3.3)."""
        self._hand_over()
        options = self.options
        discriminator = self.net.get_submodule("discriminator")
        parameters = self.generator.net.parameters()
        generator_optimizer = Optimizer(parameters, feed, options, betas=_BETAS)
        discriminator_optimizer = Optimizer(
            discriminator.parameters(),
            feed,
            options,
            learning_rate=options.discriminator_learning_rate,
            betas=_BETAS,
        )
        for L, ab in feed:
            with autocast(self.device, self.precision):
                forged = self.generator.forward(L)
                if not forged.requires_grad:
                    raise TrainingError(
                        f"the prediction of {options.generator} has no gradient; the discriminator "
                        "cannot teach it (a temperature of 0 has none either)"
                    )
                doubt = (
                    _against(discriminator(L, ab), 1)
                    + _against(discriminator(L, forged.detach()), 0)
                ) / 2
            discriminator_optimizer.step(doubt)
            with _frozen(discriminator), autocast(self.device, self.precision):
                deception = _against(discriminator(L, forged), 1)
                loss = self.generator.loss(L, ab) + options.adversarial_weight * deception
            generator_optimizer.step(loss)
            feed.log(loss)

    def forward(self, L: Tensor) -> Tensor:
        """The generator's prediction."""
        self._hand_over()
        return self.generator.forward(L)

    def _hand_over(self) -> None:
        """Gives the generator its part of the network, which fitting and loading replace."""
        self.generator.net = self.net.get_submodule("generator")


def _why_not(cls: type[Colorizer]) -> str:
    if cls.info.output != "ab":
        return "it paints RGB instead of predicting chroma"
    if cls.loss is Colorizer.loss:
        return "it has no loss of its own"
    return ""


def _against(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


@contextmanager
def _frozen(net: nn.Module) -> Iterator[None]:
    """A block in which gradients pass through but are not collected for the parameters."""
    net.requires_grad_(False)
    try:
        yield
    finally:
        net.requires_grad_(True)
