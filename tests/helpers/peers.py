"""What the authors' own networks give, where that research data is at hand."""

from __future__ import annotations

import json
import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

_BESIDE = Path(__file__).parents[2].parent / "shared" / "peers"
PEERS = Path(os.environ.get("ZOO_PEERS") or _BESIDE)

needs_peers = pytest.mark.skipif(
    not PEERS.is_dir(), reason="outputs of the authors' networks are not here: set ZOO_PEERS"
)


def shapes(name: str) -> dict[str, list[int]]:
    """Names and shapes of a published state dict, in its order."""
    return json.loads((PEERS / f"{name}_shapes.json").read_text())


def filled(name: str) -> dict[str, Tensor]:
    """The state dict with the stand-in values that the golden output was made with."""
    spec = spec_from_file_location("fill", PEERS / "fill.py")
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fill(shapes(name))


def golden(name: str) -> dict[str, Tensor]:
    """The golden input and output, each as a batch of one with its channels."""
    with np.load(PEERS / f"{name}_golden.npz") as file:
        arrays = {key: torch.from_numpy(file[key]) for key in file}
    return {key: a[None, None] if a.ndim == 2 else a[None] for key, a in arrays.items()}


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The largest difference over the largest value."""
    return float((found - expected).abs().max() / expected.abs().max())
