"""A detector of forged colour around any chroma plugin (Isola et al., pix2pix, CVPR 2017).

The wrapped plugin is the forger. It keeps its own loss; a PatchGAN detector, which sees L and
ab together and judges overlapping 70-pixel patches, adds the adversarial term. Both nets are
trained in one loop and charged to one budget.

Mode: while training both nets are in train mode (batch statistics in both); `predict` runs
the forger alone in eval mode (running statistics), unlike pix2pix, whose test pass keeps
batch statistics and so lets an image's colours depend on its batch mates.
"""

from __future__ import annotations

import dataclasses
import math
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
from zoo.registry import colorizer_class
from zoo.training.feed import Feed
from zoo.training.loop import Optimiser

# pix2pix' momentum for both nets; more lets the two chase each other in circles.
_BETAS = (0.5, 0.999)


@dataclass(frozen=True)
class GANOptions(TrainingOptions):
    """Options of the adversarial extension; `learning_rate` is the forger's.

    Attributes:
        forger: name of the wrapped chroma plugin.
        forger_preset: which of its presets.
        adversarial_weight: factor on the adversarial term beside the forger's own loss.
        detector_learning_rate: the detector's step size.
        detector_width: channels after the detector's first layer.
        detector_layers: strided layers of the detector; 3 judge patches of 70 px, 2 of 34 px.
    """

    forger: str = "zhang_classifier"
    forger_preset: Literal["paper", "small"] = "paper"
    adversarial_weight: float = 0.1
    detector_learning_rate: float = 2e-4
    detector_width: int = 64
    detector_layers: int = 3
    batch_size: int = 128
    learning_rate: float = 5e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.adversarial_weight < math.inf:
            raise ValueError(
                f"adversarial_weight must be finite and not negative, got {self.adversarial_weight}"
            )
        if not 0 < self.detector_learning_rate < math.inf:
            raise ValueError(
                f"detector_learning_rate must be positive, got {self.detector_learning_rate}"
            )
        if self.detector_width < 1 or self.detector_layers < 1:
            raise ValueError(
                "detector_width and detector_layers must be at least 1, "
                f"got {self.detector_width} and {self.detector_layers}"
            )

    @classmethod
    def small(cls) -> GANOptions:
        """The forger's small preset and a detector of half the width on 34-pixel patches."""
        return cls(
            forger_preset="small",
            detector_width=32,
            detector_layers=2,
            batch_size=32,
            learning_rate=1e-3,
        )


class PatchGAN(nn.Module):
    """One logit per overlapping patch, for its colour being real (pix2pix, section 3.2.2)."""

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
    """An extension: any chroma plugin as forger, with a PatchGAN detector against it.

    Raises:
        OptionError: the forger paints RGB, or has no loss of its own.
    """

    info = Info(
        name="gan_discriminator",
        title="GAN: a PatchGAN detector around a chroma plugin",
        paper="P. Isola et al., Image-to-Image Translation with Conditional Adversarial Networks, "
        "CVPR 2017",
        licence="Apache-2.0",
        differs=(
            "the forger is another colorizer of the zoo with its own loss in place of L1",
            "prediction uses running statistics instead of the batch's",
        ),
    )
    Options = GANOptions

    def __init__(self, options: Any = None, **keywords: Any) -> None:
        super().__init__(options, **keywords)
        cls = colorizer_class(self.options.forger)
        reason = _why_not(cls)
        if reason:
            raise OptionError(
                f"gan_discriminator cannot wrap {self.options.forger!r}: {reason}; "
                "type forger=zhang_classifier, or another plugin that predicts ab by a loss"
            )
        self.forger = cls(
            cls.preset(self.options.forger_preset),
            device=str(self.device),
            precision=self.precision,
        )
        # What the forger's network needs, and some patches for the detector to judge.
        self.info = dataclasses.replace(  # type: ignore[misc]
            type(self).info,
            minimum_size=max(self.forger.info.minimum_size, 4 * 2**self.options.detector_layers),
            multiple=self.forger.info.multiple,
        )

    def build(self) -> nn.Module:
        """The forger's network and the detector."""
        forger = self.forger.build()
        detector = PatchGAN(self.options.detector_width, self.options.detector_layers)
        return nn.ModuleDict({"forger": forger, "detector": detector})

    def prepare(self, feed: Feed) -> None:
        """Lets the forger look at the training set."""
        self._hand_over()
        self.forger.prepare(feed)

    def _fit(self, feed: Feed) -> None:
        """Per batch one step of the detector, then one of the forger (pix2pix, section 3.3)."""
        self._hand_over()
        options = self.options
        detector = self.net.get_submodule("detector")
        forge = Optimiser(self.forger.net.parameters(), feed, options, betas=_BETAS)
        detect = Optimiser(
            detector.parameters(),
            feed,
            options,
            learning_rate=options.detector_learning_rate,
            betas=_BETAS,
        )
        for L, ab in feed:
            with autocast(self.device, self.precision):
                forged = self.forger._predict(L)
                if not forged.requires_grad:
                    raise TrainingError(
                        f"the prediction of {options.forger} has no gradient; the detector "
                        "cannot teach it (a temperature of 0 has none either)"
                    )
                doubt = (
                    _against(detector(L, ab), 1) + _against(detector(L, forged.detach()), 0)
                ) / 2
            detect.step(doubt)
            with _frozen(detector), autocast(self.device, self.precision):
                deception = _against(detector(L, forged), 1)
                loss = self.forger.loss(L, ab) + options.adversarial_weight * deception
            forge.step(loss)
            feed.log(loss)

    def _predict(self, L: Tensor) -> Tensor:
        self._hand_over()
        return self.forger._predict(L)

    def _hand_over(self) -> None:
        """Gives the forger its part of the network, which fitting and loading replace."""
        self.forger.net = self.net.get_submodule("forger")


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
    """Gradients pass through but are not collected for the parameters."""
    net.requires_grad_(False)
    try:
        yield
    finally:
        net.requires_grad_(True)
