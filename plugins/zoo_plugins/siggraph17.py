"""The network of user-guided colorization (Zhang et al., SIGGRAPH 2017), used without a user.

R. Zhang, J.-Y. Zhu, P. Isola, X. Geng, A. S. Lin, T. Yu, A. A. Efros, "Real-Time User-Guided
Image Colorization with Learned Deep Priors", ACM Transactions on Graphics 36(4), 2017. Blocks 1
to 7 are those of Zhang 2016, with plain subsampling in place of strides. Three up-convolutions
follow, each joined by addition with the features of its resolution, and a regression of ab at
full resolution. A second head classifies over a square grid of 529 colours at a quarter of it;
it only teaches. Besides lightness the network takes hints: the ab of some pixels, and a mask of
where they are. Colorizing automatically means that there are none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.color.bins import GRID
from zoo.color.lab import AB_RANGE
from zoo.colorizer import Colorizer, Info, TrainingOptions
from zoo.errors import WeightsError
from zoo.options import option

_WIDTHS = (64, 128, 256, 512)  # of blocks 1, 2, 3 and 4 … 7
_AB_MAX = AB_RANGE[1]
_SIDE = round((AB_RANGE[1] - AB_RANGE[0]) / GRID) + 1  # grid points along a, and along b
_CLASS_STRIDE = 4
_SLOPE = 0.2  # of block 10's leaky ReLU
_MULTIPLE = 8


@dataclass(frozen=True)
class SiggraphOptions(TrainingOptions):
    """Options of the network of 2017."""

    width: float = option(1.0, "factor on every channel count of the network", above=0, most=8)
    l1_weight: float = option(
        10.0, "factor on |Δa| + |Δb| over 110, beside the cross-entropy of the classes", above=0
    )
    batch_size: int = 32
    learning_rate: float = 5e-4

    @classmethod
    def small(cls) -> SiggraphOptions:
        """The laptop's size: a quarter of the width, twice the step size."""
        return cls(width=0.25, learning_rate=1e-3)


class SiggraphNet(nn.Module):
    """The network: L and hints in, ab out. Tensor names are those of the public release.

    Args:
        width: factor on every channel count; 1 is the paper's, with 34,187,027 parameters.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        c1, c2, c3, c4 = (max(8, round(channels * width)) for channels in _WIDTHS)
        self.model1 = _block([4, c1, c1])
        self.model2 = _block([c1, c2, c2])
        self.model3 = _block([c2, c3, c3, c3])
        self.model4 = _block([c3, c4, c4, c4])
        self.model5 = _block([c4, c4, c4, c4], dilation=2)
        self.model6 = _block([c4, c4, c4, c4], dilation=2)
        self.model7 = _block([c4, c4, c4, c4])
        self.model8up = nn.Sequential(nn.ConvTranspose2d(c4, c3, 4, stride=2, padding=1))
        self.model3short8 = nn.Sequential(nn.Conv2d(c3, c3, 3, padding=1))
        self.model8 = nn.Sequential(nn.ReLU(), *_block([c3, c3, c3]))
        self.model9up = nn.Sequential(nn.ConvTranspose2d(c3, c2, 4, stride=2, padding=1))
        self.model2short9 = nn.Sequential(nn.Conv2d(c2, c2, 3, padding=1))
        self.model9 = nn.Sequential(nn.ReLU(), *_block([c2, c2]))
        self.model10up = nn.Sequential(nn.ConvTranspose2d(c2, c2, 4, stride=2, padding=1))
        self.model1short10 = nn.Sequential(nn.Conv2d(c1, c2, 3, padding=1))
        self.model10 = nn.Sequential(
            nn.ReLU(), nn.Conv2d(c2, c2, 3, padding=1), nn.LeakyReLU(_SLOPE)
        )
        self.model_class = nn.Sequential(nn.Conv2d(c3, _SIDE**2, 1))
        self.model_out = nn.Sequential(nn.Conv2d(c2, 2, 1), nn.Tanh())
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast(Tensor, module.bias))
        # Training starts from grey.
        nn.init.normal_(self.model_out.get_submodule("0").weight, std=1e-3)  # type: ignore[arg-type]

    def forward(
        self, L: Tensor, hint_ab: Tensor | None = None, hint_mask: Tensor | None = None
    ) -> Tensor:
        """N×1×H×W L in [0, 100] to N×2×H×W ab; H and W multiples of 8.

        Args:
            L: the lightness.
            hint_ab: the ab that a user chose, N×2×H×W in CIE units, 0 where there is none; None
                for no hints.
            hint_mask: N×1×H×W, 1 where `hint_ab` holds a hint, else 0.
        """
        return self.colours_and_classes(L, hint_ab, hint_mask, classes=False)[0]

    def colours_and_classes(
        self,
        L: Tensor,
        hint_ab: Tensor | None = None,
        hint_mask: Tensor | None = None,
        *,
        classes: bool = True,
    ) -> tuple[Tensor, Tensor | None]:
        """What `forward` gives, and logits N×529×H/4×W/4 of the grid's colours if asked for."""
        hint_ab = L.new_zeros(len(L), 2, *L.shape[2:]) if hint_ab is None else hint_ab
        hint_mask = torch.zeros_like(L) if hint_mask is None else hint_mask
        block1 = self.model1(torch.cat(((L - 50) / 100, hint_ab / _AB_MAX, hint_mask), dim=1))
        block2 = self.model2(block1[:, :, ::2, ::2])
        block3 = self.model3(block2[:, :, ::2, ::2])
        x = self.model4(block3[:, :, ::2, ::2])
        x = self.model7(self.model6(self.model5(x)))
        block8 = self.model8(self.model8up(x) + self.model3short8(block3))
        x = self.model9(self.model9up(block8) + self.model2short9(block2))
        x = self.model10(self.model10up(x) + self.model1short10(block1))
        ab = self.model_out(x).float() * _AB_MAX
        return ab, self.model_class(block8) if classes else None


class Siggraph17(Colorizer):
    """Zhang's network of 2017: regression of ab with a class head beside it, without hints."""

    info = Info(
        name="siggraph17",
        title="User-guided colorization, without hints",
        paper="R. Zhang et al., Real-Time User-Guided Image Colorization with Learned Deep Priors, "
        "SIGGRAPH 2017",
        license="Apache-2.0",
        differs=(
            "it is trained without hints, from scratch; the authors began with weights of Zhang "
            "2016 and drew hints at random",
            "both heads teach all layers at once; in the authors' code the regression "
            "teaches its own alone",
            "AdamW with warm-up and decay instead of Adam",
        ),
    )
    multiple = _MULTIPLE
    Options = SiggraphOptions
    options: SiggraphOptions

    def build(self) -> nn.Module:
        """The network of ten blocks and both heads, with fresh weights."""
        return SiggraphNet(self.options.width)

    def loss(self, L: Tensor, ab: Tensor) -> Tensor:
        """L1 of ab over 110, and cross-entropy of the nearest colour of the grid."""
        predicted, logits = cast(SiggraphNet, self.net).colours_and_classes(L)
        assert logits is not None
        l1 = (predicted - ab).abs().sum(dim=1).mean() / _AB_MAX
        target = nearest_class(ab[:, :, ::_CLASS_STRIDE, ::_CLASS_STRIDE])
        return F.cross_entropy(logits.float(), target) + self.options.l1_weight * l1

    def forward(self, L: Tensor) -> Tensor:
        """The regressed chroma where nobody gave a hint."""
        ab: Tensor = self.net(L)
        return ab

    @classmethod
    def convert_state_dict(
        cls, tensors: Mapping[str, Tensor]
    ) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Weights in the format of the authors' public PyTorch release of 2019."""
        first = tensors.get("model1.0.weight")
        if first is None or first.ndim != 4 or "model10up.0.weight" not in tensors:
            raise WeightsError(
                f"{cls.info.name} also reads the public release of the paper, which this is not: "
                "that has model1.0.weight … model10.1.weight, model_class and model_out"
            )
        return {"width": first.shape[0] / _WIDTHS[0]}, dict(tensors)


def nearest_class(ab: Tensor) -> Tensor:
    """N×2×H×W ab to the N×H×W index of the nearest grid point, a · 23 + b in steps of 10."""
    steps = ((ab + _AB_MAX) / GRID).round().long().clamp(0, _SIDE - 1)
    return steps[:, 0] * _SIDE + steps[:, 1]


def _block(widths: list[int], dilation: int = 1) -> nn.Sequential:
    """Convolutions 3×3 from width to width, each with a ReLU, and a batch-norm at the end."""
    modules: list[nn.Module] = []
    for wide_in, wide_out in pairwise(widths):
        modules += [
            nn.Conv2d(wide_in, wide_out, 3, padding=dilation, dilation=dilation),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*modules, nn.BatchNorm2d(widths[-1]))
