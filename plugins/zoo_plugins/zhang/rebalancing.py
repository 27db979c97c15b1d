"""Class rebalancing: rare colours count more (Zhang 2016, section 2.2, eq. 4)."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from zoo.bins import BIN_COUNT
from zoo.soft_encoding import SoftTarget


def smoothed_prior(targets: Iterable[SoftTarget]) -> Tensor:
    """p̃: the bins' distribution over all pixels of soft targets; 313, sums to 1."""
    total = torch.zeros(BIN_COUNT, dtype=torch.float64)
    for target in targets:
        index, weight = target.index.cpu().flatten(), target.weight.cpu().flatten()
        total += torch.bincount(index, weights=weight.double(), minlength=BIN_COUNT)
    return total / total.sum()


def class_weights(prior: Tensor, rebalancing: float) -> Tensor:
    """w(q) = 1/((1−λ)p̃(q) + λ/Q), scaled to mean 1 under the prior.

    Args:
        prior: p̃, 313 probabilities; bins that never occur may be 0.
        rebalancing: λ in (0, 1]; 1 weighs all bins alike.
    """
    weights = 1 / ((1 - rebalancing) * prior + rebalancing / BIN_COUNT)
    return weights / (prior * weights).sum()
