"""The control task: how fast this machine is just now, whatever the zoo has become.

A small network's forward and backward pass that never changes, so that speeds of two runs can
be compared as ratios to it. Raise `VERSION` if it must change: ratios across versions mean
nothing.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from zoo.device import synchronize

VERSION = 1
_BATCH, _SIDE, _WIDTH, _LAYERS = 4, 64, 32, 3
_SECONDS = 0.4
_LEAST_REPEATS = 5


def measure_control(device: torch.device) -> dict[str, float]:
    """Times the control task for about half a second, in float32.

    Returns:
        `images_per_s`: by the median repeat; `spread`: the interquartile range of the repeats'
        times as a share of the median; `version`.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        channels = [1, *[_WIDTH] * _LAYERS, 2]
        layers = [
            layer
            for inside, outside in itertools.pairwise(channels)
            for layer in (nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU())
        ]
        net = nn.Sequential(*layers).to(device)
        batch = torch.rand(_BATCH, 1, _SIDE, _SIDE, device=device)

    def step() -> None:
        net.zero_grad()
        net(batch).square().mean().backward()

    with torch.enable_grad():
        times = time_repeats(step, device, warm_up=3, least=_LEAST_REPEATS, seconds=_SECONDS)
    low, median, high = np.percentile(times, [25, 50, 75])
    return {
        "images_per_s": float(_BATCH / median),
        "spread": float((high - low) / median),
        "version": VERSION,
    }


def time_repeats(
    call: Callable[[], object], device: torch.device, *, warm_up: int, least: int, seconds: float
) -> list[float]:
    """Seconds of each call, synchronized: at least so many calls, and for about so long."""
    for _ in range(warm_up):
        call()
    synchronize(device)
    times: list[float] = []
    while len(times) < least or sum(times) < seconds:
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return times
