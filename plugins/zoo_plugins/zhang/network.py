"""The network of Zhang, Isola, Efros 2016, fig. 2: eight blocks up to 313 logits.

Tensor names and shapes are those of the authors' public PyTorch release (`model1.0.weight` …
`model8.6.weight`, `model_out.weight`). A block ends in its stride and a batch-norm; blocks 5 and
6 are dilated instead of strided, block 8 upsamples once; logits stand at a quarter of the
resolution.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from zoo.color.bins import BIN_COUNT, bin_centres
from zoo.color.soft_encoding import annealed_mean

OUTPUT_STRIDE = 4
INPUT_MULTIPLE = 8
WIDTHS = (64, 128, 256, 512)
"""The channels of blocks 1, 2, 3 and 4 … 7 in the paper."""

Initialization = Literal["xavier", "default"]
Decoder = Literal["annealed_mean", "release"]

_RELEASE_SCALE = 110.0


class ZhangNet(nn.Module):
    """Zhang's network: L in, logits over the 313 bins out.

    Args:
        width: factor on every channel count; 1 is the paper's, with 32,235,385 parameters.
        initialization: `xavier`, or PyTorch's `default`, which bleeds colour between objects.
        decoder: `release` adds the layer `model_out` that decodes probabilities in the public
            release. It starts as the bins' centres and is not trained: the loss is on the
            logits.
    """

    def __init__(
        self,
        width: float = 1.0,
        initialization: Initialization = "xavier",
        decoder: Decoder = "annealed_mean",
    ) -> None:
        super().__init__()
        c1, c2, c3, c4 = (max(8, round(channels * width)) for channels in WIDTHS)
        self.model1 = _block(1, c1, layers=2, stride=2)
        self.model2 = _block(c1, c2, layers=2, stride=2)
        self.model3 = _block(c2, c3, layers=3, stride=2)
        self.model4 = _block(c3, c4, layers=3)
        self.model5 = _block(c4, c4, layers=3, dilation=2)
        self.model6 = _block(c4, c4, layers=3, dilation=2)
        self.model7 = _block(c4, c4, layers=3)
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(c4, c3, 4, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c3, c3, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c3, c3, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(c3, BIN_COUNT, 1),
        )
        if initialization == "xavier":
            for module in self.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    nn.init.xavier_uniform_(module.weight)
                    if module.bias is not None:
                        nn.init.zeros_(module.bias)
        if decoder == "release":
            self.model_out = nn.Conv2d(BIN_COUNT, 2, 1, bias=False).requires_grad_(False)
            centres = bin_centres().T[:, :, None, None]
            self.model_out.load_state_dict({"weight": centres / _RELEASE_SCALE})

    def forward(self, L: Tensor) -> Tensor:
        """N×1×H×W L in [0, 100] to N×313×H/4×W/4 logits; H and W multiples of 8."""
        x = (L - 50) / 100
        for number in range(1, 9):
            x = self.get_submodule(f"model{number}")(x)
        return x

    def decode_as_released(self, logits: Tensor) -> Tensor:
        """N×313×h×w logits to N×2×h×w ab by `model_out`, as the public release does."""
        return annealed_mean(logits, 1, self.model_out.weight.flatten(1) * _RELEASE_SCALE)


def _block(
    wide_in: int, wide_out: int, layers: int, stride: int = 1, dilation: int = 1
) -> nn.Module:
    modules: list[nn.Module] = []
    for layer in range(layers):
        last = layer == layers - 1
        modules += [
            nn.Conv2d(
                wide_in if layer == 0 else wide_out,
                wide_out,
                3,
                stride=stride if last else 1,
                padding=dilation,
                dilation=dilation,
            ),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*modules, nn.BatchNorm2d(wide_out))
