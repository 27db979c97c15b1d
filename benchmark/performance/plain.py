"""Plain versions of what the zoo does the fast way: the other side of every ratio.

They follow the papers' formulas line by line and take no shortcut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from zoo.arrays import UInt8Array
from zoo.color.bins import BIN_COUNT, bin_centres
from zoo.color.lab import rgb_to_lab


class Crops(Dataset[Tensor]):
    """Crops of N×H×W×3 uint8 images at random places, half of them mirrored: 3×S×S in [0, 1]."""

    def __init__(self, images: UInt8Array, size: int) -> None:
        self._images, self._size = images, size
        self._random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        y, x = self._random.integers(0, self._images.shape[1] - self._size + 1, 2)
        crop = self._images[index, y : y + self._size, x : x + self._size]
        if self._random.integers(2):
            crop = crop[:, ::-1]
        return torch.from_numpy(crop.copy()).permute(2, 0, 1).float() / 255


def feed(images: UInt8Array, batch_size: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of (L, ab) without end, from PyTorch's own loader."""
    while True:
        for rgb in DataLoader(Crops(images, size), batch_size, shuffle=True, drop_last=True):
            yield rgb_to_lab(rgb)


def soft_encoding(ab: Tensor, neighbours: int = 5, sigma: float = 5.0) -> Tensor:
    """N×2×H×W ab to N×313×H×W targets, by distances to all bins."""
    points = ab.movedim(1, -1).reshape(-1, 2)
    distance = torch.cdist(points, bin_centres().to(ab.device))
    nearest, index = distance.topk(neighbours, largest=False)
    weight = torch.exp(-nearest.square() / (2 * sigma**2))
    weight = weight / weight.sum(1, keepdim=True)
    target = ab.new_zeros(len(points), BIN_COUNT).scatter_(1, index, weight)
    return target.view(len(ab), *ab.shape[2:], BIN_COUNT).movedim(-1, 1)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels of the cross-entropy against a dense target."""
    return -(target * F.log_softmax(logits, dim=1)).sum(1).mean()


def annealed_mean(logits: Tensor, temperature: float = 0.38) -> Tensor:
    """z^(1/T)/Σz^(1/T) as it is written, then the mean of the bins."""
    z = torch.softmax(logits, dim=1) ** (1 / temperature)
    z = z / z.sum(1, keepdim=True)
    return torch.einsum("nqhw,qc->nchw", z, bin_centres().to(z.device))


def train_step(net: nn.Module, learning_rate: float) -> Callable[[Tensor, Tensor], None]:
    """One step of a classifier of the paper in float32: dense targets and PyTorch's own AdamW."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate)

    def step(L: Tensor, ab: Tensor) -> None:
        optimizer.zero_grad()
        loss = cross_entropy(net(L), soft_encoding(F.avg_pool2d(ab, 4)))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()

    return step


@torch.no_grad()
def predict(net: nn.Module, L: Tensor) -> Tensor:
    """N×1×H×W L to N×2×H×W ab in float32, by the formula of the annealed mean."""
    return F.interpolate(annealed_mean(net(L)), scale_factor=4, mode="bilinear")
