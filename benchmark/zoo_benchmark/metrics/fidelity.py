"""Metrics of nearness to the truth, pixel by pixel: PSNR, SSIM and CIEDE2000."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from skimage.color import deltaE_ciede2000
from skimage.metrics import structural_similarity
from torch import Tensor

from zoo.color.lab import rgb_to_lab
from zoo.metric import ALWAYS, Metric, MetricInfo, Pictures
from zoo_benchmark.metrics import check_pair, in_parts

_RANGE = 255

_PIXELS_AT_A_TIME = 1 << 19
"""Pixels of a part: CIEDE2000 holds some thirty float32 planes of them, about 60 MiB."""


def pooled_psnr(psnr: npt.ArrayLike) -> float:
    """The PSNR in dB of the mean MSE of images of equal size, from the PSNR of each.

    Infinite where all pictures are identical to their truth; NaN for no images.
    """
    per_image = np.asarray(psnr, dtype=np.float64)
    if per_image.size == 0:
        return math.nan
    relative_mse = float(np.mean(10 ** (-per_image / 10)))
    return math.inf if relative_mse == 0 else -10 * math.log10(relative_mse)


class PSNR(Metric):
    """10·log₁₀(255² / MSE) of 8-bit RGB, the MSE taken over the pixels and channels of an image.

    Identical pictures score infinity. The table's value is the mean over the images;
    `pooled_psnr` is the second one, which infinities do not spoil.
    """

    info: ClassVar[MetricInfo] = MetricInfo(
        name="psnr",
        title="PSNR",
        unit="dB",
        direction="higher",
        version=1,
        decimals=2,
        place=1,
        ranks=1,
        keep=ALWAYS,
        l_copied=True,
        pooled=pooled_psnr,
    )

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values in dB."""
        check_pair(self.info, predicted, truth)
        difference = predicted.rgb8.int() - truth.rgb8.int()
        # Summed as integers: the same value on every device, whatever the order.
        total = difference.square().sum(dim=(1, 2, 3), dtype=torch.int64)
        mse = total.float() / math.prod(difference.shape[1:])
        return 10 * torch.log10(_RANGE**2 / mse)


class SSIM(Metric):
    """The structural similarity with scikit-image's defaults (7×7 window), mean of R, G, B."""

    info: ClassVar[MetricInfo] = MetricInfo(
        name="ssim",
        title="SSIM",
        unit="",
        direction="higher",
        version=1,
        minimum_size=7,
        paper="Wang, Bovik, Sheikh and Simoncelli, IEEE TIP 2004",
        decimals=4,
        place=4,
        keep=3,
        packages=("scikit-image",),
    )

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values in [−1, 1]."""
        check_pair(self.info, predicted, truth)
        pairs = zip(predicted.rgb8.cpu().numpy(), truth.rgb8.cpu().numpy(), strict=True)
        values = [
            structural_similarity(  # type: ignore[no-untyped-call]
                theirs, ours, channel_axis=0, data_range=_RANGE
            )
            for ours, theirs in pairs
        ]
        return torch.tensor(values, dtype=torch.float32, device=predicted.rgb8.device)


class CIEDE2000(Metric):
    """The mean over the pixels of the CIEDE2000 colour difference, from scikit-image."""

    info: ClassVar[MetricInfo] = MetricInfo(
        name="ciede2000",
        title="CIEDE2000",
        unit="ΔE₀₀",
        direction="lower",
        version=1,
        paper="Sharma, Wu and Dalal, Color Research & Application 2005",
        heading="ΔE00 ↓\n",
        decimals=2,
        place=5,
        keep=1,
        brief=True,
        packages=("scikit-image",),
    )

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """N values, 0 for identical pictures."""
        check_pair(self.info, predicted, truth)
        means = [
            deltaE_ciede2000(_lab(t), _lab(p)).mean((1, 2))  # type: ignore[no-untyped-call]
            for p, t in in_parts(predicted, truth, _PIXELS_AT_A_TIME)
        ]
        values = np.concatenate(means).astype(np.float32)
        return torch.from_numpy(values).to(predicted.rgb8.device)


def _lab(rgb8: Tensor) -> npt.NDArray[np.float32]:
    """N×3×H×W uint8 to N×H×W×3 float32 Lab."""
    L, ab = rgb_to_lab(rgb8)
    lab: npt.NDArray[np.float32] = torch.cat((L, ab), 1).permute(0, 2, 3, 1).cpu().numpy()
    return lab
