"""The global state of a process: who changes it changes other people's programs, too."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch


class _Item(NamedTuple):
    read: Callable[[], Any]
    write: Callable[[Any], object]


def _set_cudnn_benchmark(value: bool) -> None:
    torch.backends.cudnn.benchmark = value


def _set_cudnn_deterministic(value: bool) -> None:
    torch.backends.cudnn.deterministic = value


_ITEMS = {
    "torch's random state": _Item(torch.get_rng_state, torch.set_rng_state),
    "NumPy's random state": _Item(
        np.random.get_state,
        np.random.set_state,
    ),
    "Python's random state": _Item(random.getstate, random.setstate),
    "gradient mode": _Item(torch.is_grad_enabled, torch.set_grad_enabled),
    "threads": _Item(torch.get_num_threads, torch.set_num_threads),
    "default dtype": _Item(torch.get_default_dtype, torch.set_default_dtype),
    "default device": _Item(torch.get_default_device, torch.set_default_device),
    "deterministic algorithms": _Item(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms
    ),
    "float32 matmul precision": _Item(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "autocast": _Item(
        lambda: torch.is_autocast_enabled("cpu"),
        lambda value: torch.set_autocast_enabled("cpu", value),
    ),
    "cudnn.benchmark": _Item(lambda: torch.backends.cudnn.benchmark, _set_cudnn_benchmark),
    "cudnn.deterministic": _Item(
        lambda: torch.backends.cudnn.deterministic, _set_cudnn_deterministic
    ),
}


def read_global_state() -> dict[str, Any]:
    """Random states, gradient mode, threads and the other switches, each under its name."""
    return {name: item.read() for name, item in _ITEMS.items()}


def changed_since(before: dict[str, Any]) -> list[str]:
    """The states that differ from `before`: names, with both values where they can be read."""
    changes = []
    for name, value in read_global_state().items():
        if not _same(before[name], value):
            values = "" if "random" in name else f" ({before[name]} before, {value} after)"
            changes.append(f"{name}{values}")
    return changes


@contextmanager
def global_state_kept() -> Iterator[None]:
    """A block at whose end all global state is put back."""
    before = read_global_state()
    try:
        yield
    finally:
        for name, value in read_global_state().items():
            if not _same(before[name], value):
                _ITEMS[name].write(before[name])


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
