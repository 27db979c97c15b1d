"""Plain versions of what the zoo does the fast way: the other side of every ratio.

They follow the papers' formulas line by line and take no shortcut.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.bins import BIN_COUNT, bin_centres


def soft_encoding(ab: Tensor, neighbours: int = 5, sigma: float = 5.0) -> Tensor:
    """N×2×H×W ab to N×313×H×W targets, by distances to all bins."""
    points = ab.movedim(1, -1).reshape(-1, 2)
    distance = torch.cdist(points, bin_centres())
    nearest, index = distance.topk(neighbours, largest=False)
    weight = torch.exp(-nearest.square() / (2 * sigma**2))
    weight = weight / weight.sum(1, keepdim=True)
    target = torch.zeros(len(points), BIN_COUNT).scatter_(1, index, weight)
    return target.view(len(ab), *ab.shape[2:], BIN_COUNT).movedim(-1, 1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels of the cross-entropy against a dense target."""
    return -(target * F.log_softmax(logits, dim=1)).sum(1).mean()


def annealed_mean(logits: Tensor, temperature: float = 0.38) -> Tensor:
    """z^(1/T)/Σz^(1/T) as it is written, then the mean of the bins."""
    z = torch.softmax(logits, dim=1) ** (1 / temperature)
    z = z / z.sum(1, keepdim=True)
    return torch.einsum("nqhw,qc->nchw", z, bin_centres())
