"""timm's weights in a cache of the hub, as its client lays them down."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file


def fill_hub_cache(cache: Path, name: str) -> dict[str, torch.Tensor]:
    """Puts random weights of timm's model there, and gives them."""
    torch.manual_seed(1)
    weights: dict[str, torch.Tensor] = timm.create_model(name).state_dict()
    repository = cache / f"models--{timm.get_pretrained_cfg(name).hf_hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("0" * 40)
    for folder in (repository / "refs", snapshot):
        folder.mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    save_file(weights, snapshot / "model.safetensors")
    return weights
