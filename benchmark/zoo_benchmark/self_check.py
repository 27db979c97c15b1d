"""The self-check before a comparison: does it measure what the protocol recorded?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from zoo.color.lab import lab_to_rgb, rgb_to_lab
from zoo.data.dataset import ImageSet
from zoo.errors import DataError
from zoo.metric import MetricContext, Pictures
from zoo_benchmark.metrics.colourfulness import Colourfulness
from zoo_benchmark.metrics.fidelity import PSNR
from zoo_benchmark.run import scoring

# A change of library or hardware moves the last digit of a pixel here and there, no more.
TOLERANCES = {"grey_psnr": 0.02, "truth_colourfulness": 0.1}


@dataclass(frozen=True)
class PipelineCheck:
    """The self-check's measurements on the test truth.

    Attributes:
        grey_psnr: mean PSNR in dB of the truth's own CIE L painted grey.
        truth_colourfulness: mean colourfulness of the truth.
    """

    grey_psnr: float
    truth_colourfulness: float


def check_pipeline(
    test: ImageSet, expected: Mapping[str, float] | None, device: torch.device
) -> PipelineCheck:
    """Measures the grey floor and the truth's colourfulness and compares them.

    Args:
        test: the images that are going to be scored.
        expected: the protocol's recorded values, or None where it has none.
        device: where metrics compute.

    Raises:
        DataError: one of them is off: colour conversion, decoding or a metric is not what the
            protocol was made with, and no score of this run could be compared.
    """
    context = MetricContext(device=device, truth=test.images)
    psnr, colourfulness = PSNR(context), Colourfulness(context)
    greys, colours = [], []
    for _, source in scoring.batches(test, device):
        L, ab = rgb_to_lab(source.rgb)
        truth = Pictures.from_unit_rgb(lab_to_rgb(L, ab))
        grey = Pictures.from_unit_rgb(lab_to_rgb(L, torch.zeros_like(ab)))
        greys.append(psnr(grey, truth))
        colours.append(colourfulness(truth, truth))
    measured = PipelineCheck(*(float(torch.cat(v).double().mean()) for v in (greys, colours)))
    for name, tolerance in TOLERANCES.items():
        wanted = (expected or {}).get(name)
        found = getattr(measured, name)
        if wanted is not None and not abs(found - wanted) <= tolerance:
            raise DataError(
                f"self-check failed before training: {name} is {found:.4f} on the test truth, "
                f"the protocol recorded {wanted:.4f} (±{tolerance}); the colour conversion, the "
                "image decoder or a metric of this installation is off; "
                "reinstall colorizer-zoo, pillow and torch"
            )
    return measured
