"""The self-check before a comparison: does it measure what the protocol recorded?"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from zoo.data.dataset import ImageSet
from zoo.errors import DataError
from zoo.metric import MetricContext
from zoo_benchmark.metrics.colourfulness import Colourfulness
from zoo_benchmark.metrics.fidelity import PSNR
from zoo_benchmark.run import scoring

# A change of library or hardware moves the last digit of a pixel here and there, no more.
TOLERANCES = {"grey_psnr": 0.02, "truth_colourfulness": 0.1}


def check_pipeline(
    test: ImageSet, expected: Mapping[str, float] | None, device: torch.device
) -> dict[str, float]:
    """Measures the grey floor and the truth's colourfulness and compares them.

    Returns:
        `grey_psnr`, the mean PSNR in dB of the truth's own CIE L painted grey, and
        `truth_colourfulness`, the mean colourfulness of the truth.

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
    for painted in scoring.from_truth(test, torch.zeros_like, device):
        greys.append(psnr(painted.predicted, painted.truth))
        colours.append(colourfulness(painted.truth, painted.truth))
    values = (float(torch.cat(v).double().mean()) for v in (greys, colours))
    measured = dict(zip(TOLERANCES, values, strict=True))
    for name, found in measured.items():
        wanted, tolerance = (expected or {}).get(name), TOLERANCES[name]
        if wanted is not None and not abs(found - wanted) <= tolerance:
            raise DataError(
                f"self-check failed before training: {name} is {found:.4f} on the test truth, "
                f"the protocol recorded {wanted:.4f} (±{tolerance}); the colour conversion, the "
                "image decoder or a metric of this installation is off; "
                "reinstall colorizer-zoo, pillow and torch"
            )
    return measured
