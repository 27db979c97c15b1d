"""Weights in the format of the paper's PyTorch release, drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from zoo.color.bins import bin_centres

# Of each block: (layers, stride of the last, dilation, channels in and out at full width).
BLOCKS = (
    (2, 2, 1, 1, 64),
    (2, 2, 1, 64, 128),
    (3, 2, 1, 128, 256),
    (3, 1, 1, 256, 512),
    (3, 1, 2, 512, 512),
    (3, 1, 2, 512, 512),
    (3, 1, 1, 512, 512),
)


def release(width: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    """A state dict in the format of the release, with weights of a sensible size."""
    random = torch.Generator().manual_seed(seed)
    state: dict[str, Tensor] = {}

    def layer(name: str, out: int, into: int, side: int, transposed: bool = False) -> None:
        shape = (into, out, side, side) if transposed else (out, into, side, side)
        scale = (2 / (into * side**2)) ** 0.5 * (2 if transposed else 1)
        state[f"{name}.weight"] = torch.randn(shape, generator=random) * scale
        state[f"{name}.bias"] = torch.randn(out, generator=random) * 0.1

    def wide(channels: int) -> int:
        return channels if channels == 1 else round(channels * width)

    for number, (layers, _, _, into, out) in enumerate(BLOCKS, 1):
        for i in range(layers):
            layer(f"model{number}.{2 * i}", wide(out), wide(into if i == 0 else out), 3)
        norm = f"model{number}.{2 * layers}"
        state[f"{norm}.weight"] = 1 + 0.2 * torch.randn(wide(out), generator=random)
        state[f"{norm}.bias"] = 0.2 * torch.randn(wide(out), generator=random)
        state[f"{norm}.running_mean"] = 0.3 + 0.1 * torch.randn(wide(out), generator=random)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(wide(out), generator=random)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(1000)
    layer("model8.0", wide(256), wide(512), 4, transposed=True)
    layer("model8.2", wide(256), wide(256), 3)
    layer("model8.4", wide(256), wide(256), 3)
    layer("model8.6", 313, wide(256), 1)
    state["model8.6.weight"] *= 2  # as decided as a trained net
    # Near the bins, but not on them: the layer of the release must be used, not the bins.
    noise = torch.randn(2, 313, generator=random) * 0.02
    state["model_out.weight"] = (bin_centres().T / 110 + noise)[:, :, None, None]
    return state
