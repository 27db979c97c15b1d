"""What metrics on a network share: files of weights, read, and full precision on GPUs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from zoo.errors import WeightsError
from zoo.text import first_line
from zoo.weights.file import read_torch, utf8_path


def read_state(path: Path, where: str, whose: str) -> dict[str, Any]:
    """The tensors of a safetensors file or a torch checkpoint; pickled code is never run.

    Args:
        path: the file.
        where: the path and what named it, for the message.
        whose: the network, as a genitive, for the message.

    Raises:
        WeightsError: the file cannot be read.
    """
    try:
        state: object
        if path.suffix == ".safetensors":
            with utf8_path(path) as readable:
                state = load_file(readable)
        else:
            state = read_torch(path)
    # Whatever the many readers behind torch.load raise, it means the same to the user.
    except Exception as error:
        reason = first_line(error)
        raise WeightsError(f"{where} cannot be read as weights: {reason[:200]}") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{where} is not {whose}: it holds a {type(state).__name__}")
    return state


@contextmanager
def quiet_building() -> Iterator[None]:
    """A block that builds a network whose random weights are all replaced.

    The caller's seed stays untouched, and torchvision's advice on its own arguments unsaid.
    """
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        warnings.filterwarnings("ignore", category=FutureWarning, module="torchvision")
        yield


@contextmanager
def without_tf32() -> Iterator[None]:
    """A block of full float32 convolutions on CUDA: TF32 would cost LPIPS its fourth digit."""
    cudnn: Any = torch.backends.cudnn
    # Newer torch refuses to read the older switch once anybody has set the newer one.
    newer = hasattr(cudnn, "conv")
    switch, name, exact = (
        (cudnn.conv, "fp32_precision", "ieee") if newer else (cudnn, "allow_tf32", False)
    )
    before = getattr(switch, name)
    setattr(switch, name, exact)
    try:
        yield
    finally:
        setattr(switch, name, before)
