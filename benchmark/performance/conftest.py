"""Real photographs for the performance suite, and a seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from zoo.dataset import UInt8Array


@pytest.fixture(scope="session")
def tiles() -> UInt8Array:
    """64 tiles of 64×64 of the astronaut: N×H×W×3 uint8."""
    torch.manual_seed(0)
    image: UInt8Array = data.astronaut()  # type: ignore[no-untyped-call]
    grid = image.reshape(8, 64, 8, 64, 3).swapaxes(1, 2)
    return np.ascontiguousarray(grid.reshape(64, 64, 64, 3))
