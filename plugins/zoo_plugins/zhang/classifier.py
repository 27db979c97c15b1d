"""The two plugins of Zhang, Isola, Efros, "Colorful Image Colorization", ECCV 2016.

One network, one encoding, one decoder. `zhang_classifier` minimises the plain cross-entropy,
which favours the common, greyish bins; `zhang_rebalanced` weighs every pixel by the rarity of
its colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.color.bins import BIN_COUNT
from zoo.color.prior import RebalancingOptions, class_weights_for
from zoo.color.soft_encoding import (
    BinOptions,
    SoftEncoding,
    annealed_mean,
    soft_cross_entropy,
)
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.errors import WeightsError
from zoo.options import option
from zoo.training.feed import Feed
from zoo_plugins.zhang.network import (
    INPUT_MULTIPLE,
    OUTPUT_STRIDE,
    WIDTHS,
    Decoder,
    Initialization,
    ZhangNet,
)

_PAPER = "R. Zhang, P. Isola, A. A. Efros, Colorful Image Colorization, ECCV 2016"
_DIFFERS = ("AdamW with warm-up and decay instead of Adam at 3e-5 with two drops",)


@dataclass(frozen=True)
class ZhangOptions(BinOptions, TrainingOptions):
    """Options of the plain classifier."""

    width: float = option(1.0, "factor on every channel count of the network", above=0, most=8)
    decoder: Decoder = option(
        "annealed_mean",
        "`annealed_mean` (section 2.3), or `release`: the layer of the public release in its "
        "place, which takes the probabilities as they are (temperature 1)",
    )
    initialization: Initialization = option("xavier", "`xavier`, or PyTorch's `default`")
    batch_size: int = 128
    learning_rate: float = 5e-4

    def check(self) -> None:
        """Checks that the released decoder is given no temperature."""
        if self.decoder == "release" and self.temperature != 1:
            raise ValueError(
                "decoder 'release' has no temperature: it takes the probabilities as they are; "
                f"temperature must stay 1, got {self.temperature:g}"
            )

    @classmethod
    def small(cls) -> ZhangOptions:
        """The laptop's size: a quarter of the width, twice the step size."""
        return cls(width=0.25, batch_size=32, learning_rate=1e-3)


@dataclass(frozen=True)
class ZhangRebalancedOptions(RebalancingOptions, ZhangOptions):
    """Options of the rebalanced classifier."""


class ZhangClassifier(Colorizer):
    """Zhang's classifier with plain cross-entropy over 313 soft-encoded ab bins."""

    info = Info(
        name="zhang_classifier",
        title="Zhang classification over 313 ab bins",
        paper=_PAPER,
        license="Apache-2.0",
        differs=_DIFFERS,
    )
    multiple = INPUT_MULTIPLE
    Options = ZhangOptions
    options: ZhangOptions

    def build(self) -> nn.Module:
        """The network of eight blocks up to the logits."""
        self._encode = SoftEncoding(self.options.neighbours, self.options.sigma, self.device)
        self._class_weights = torch.ones(BIN_COUNT, device=self.device)
        return ZhangNet(self.options.width, self.options.initialization, self.options.decoder)

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """Cross-entropy against the soft target, each pixel times its colour's weight; eq. 2."""
        target = self._encode(F.avg_pool2d(ab, OUTPUT_STRIDE))
        return soft_cross_entropy(self.net(L), target, self._class_weights)

    def forward(self, L: Tensor) -> Tensor:
        """Chroma decoded from the logits of the 313 classes."""
        logits = self.net(L)
        if self.options.decoder == "release":
            ab = cast(ZhangNet, self.net).decode_as_released(logits)
        else:
            ab = annealed_mean(logits, self.options.temperature)
        return F.interpolate(ab, scale_factor=OUTPUT_STRIDE, mode="bilinear", align_corners=False)

    @classmethod
    def convert_state_dict(
        cls, tensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Weights in the format of the authors' public PyTorch release of 2019."""
        first, last = tensors.get("model1.0.weight"), tensors.get("model_out.weight")
        if first is None or last is None or first.ndim != 4:
            raise WeightsError(
                f"{cls.info.name} also reads the public release of the paper, which this is not: "
                "that has model1.0.weight … model8.6.weight and model_out.weight"
            )
        state = dict(tensors)
        for name in tensors:
            # Files from before PyTorch 0.4.1 do not count the batches of a batch-norm.
            if name.endswith(".running_mean"):
                state.setdefault(f"{name.rpartition('.')[0]}.num_batches_tracked", torch.tensor(0))
        width = first.shape[0] / WIDTHS[0]
        return {"decoder": "release", "temperature": 1.0, "width": width}, state


class ZhangRebalanced(ZhangClassifier):
    """Zhang's classifier with class rebalancing, from a file's prior or the training set's own."""

    info = Info(
        name="zhang_rebalanced",
        title="Zhang classification with class rebalancing",
        paper=_PAPER,
        license="Apache-2.0",
        differs=(*_DIFFERS, "without a file, the prior is that of up to 4,096 training images"),
    )
    Options = ZhangRebalancedOptions
    options: ZhangRebalancedOptions

    def prepare(self, feed: Feed) -> None:
        """Builds the class weights from the prior: the file's, or that of the grid the loss sees.

        Raises:
            InputError: the option `prior` names no such file.
        """
        self._class_weights = class_weights_for(
            feed,
            self._encode,
            stride=OUTPUT_STRIDE,
            rebalancing=self.options.rebalancing,
            prior=self.options.prior,
        )
