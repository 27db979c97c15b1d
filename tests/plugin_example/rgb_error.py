"""A metric that needs a file of weights: how much R, G and B count."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from zoo.metric import Metric, MetricContext, MetricInfo, Pictures, WeightsFile

CONTENT = b"0.25 0.5 0.25\n"

WEIGHTS = WeightsFile(
    name="channels",
    title="the weights of R, G and B",
    file_name="rgb_error.txt",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    license="Apache-2.0",
)


class RGBError(Metric):
    """Mean absolute difference of R, G and B, each with its weight."""

    info = MetricInfo(
        name="rgb_error",
        title="RGB error",
        unit="levels",
        direction="lower",
        version=1,
        default=False,
        decimals=2,
        weights=(WEIGHTS,),
    )

    def __init__(self, context: MetricContext) -> None:
        """Reads the weights."""
        super().__init__(context)
        weights = np.loadtxt(self.file(WEIGHTS), dtype=np.float32)
        self.weights = torch.from_numpy(weights).to(context.device)

    def __call__(self, predicted: Pictures, truth: Pictures) -> Tensor:
        """One value per image."""
        error = (predicted.rgb8.float() - truth.rgb8.float()).abs().mean((2, 3))
        return (error * self.weights).sum(1)
