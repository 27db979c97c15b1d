"""The speed of a trained colorizer: latency at batch 1, and the best of a few batches."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from zoo.arrays import UInt8Array
from zoo.color.lab import grey_to_L
from zoo.colorizer import Colorizer
from zoo_benchmark.run.control import time_repeats

BATCH_SIZES = (8, 32, 128)
# One measurement repeats for about this long, and at least this often.
_SECONDS = 0.6
_LEAST_REPEATS = 3
# A larger batch is not tried once one pass takes this long.
_SLOW_PASS = 3.0


@dataclass(frozen=True)
class Throughput:
    """Speed of prediction on one device.

    Attributes:
        device: `cpu` or `cuda`.
        size: side of the images in pixels.
        latency_ms: median of the whole call `predict` on one image.
        latency_ms_spread: interquartile range of the same.
        network_latency_ms: median of `predict_ab` alone, tensors already on the device.
        batch_size: the fastest of those tried.
        images_per_s: the speed of the whole call at that batch size.
        network_images_per_s: the speed of `predict_ab` alone at that batch size.
        gflop_per_image: the operations of one prediction.
    """

    device: str
    size: int
    latency_ms: float
    latency_ms_spread: float
    network_latency_ms: float
    batch_size: int
    images_per_s: float
    network_images_per_s: float
    gflop_per_image: float


def measure(colorizer: Colorizer, images: UInt8Array) -> Throughput:
    """Times a fitted colorizer on grey images N×H×W uint8, warmed up and synchronized."""
    device = colorizer.device
    repeats = partial(time_repeats, warm_up=2, least=_LEAST_REPEATS, seconds=_SECONDS)

    def whole(batch: UInt8Array) -> list[float]:
        # At the size of the images, as they are scored.
        return repeats(lambda: colorizer.predict(batch, "full", batch_size=len(batch)), device)

    def network(batch: UInt8Array) -> list[float]:
        L = grey_to_L(torch.from_numpy(batch).unsqueeze(1).to(device))
        return repeats(lambda: colorizer.predict_ab(L), device)

    single = np.ascontiguousarray(images[:1])
    latencies = whole(single)
    network_latency = float(np.median(network(single)))
    best, best_rate = single, 1 / float(np.median(latencies))
    for size in BATCH_SIZES:
        batch = np.resize(images, (size, *images.shape[1:]))
        seconds = float(np.median(whole(batch)))
        if size / seconds > best_rate:
            best, best_rate = batch, size / seconds
        if seconds > _SLOW_PASS:
            break
    quartiles = np.percentile(latencies, [25, 75])
    with FlopCounterMode(display=False) as counter:
        colorizer.predict(single, "full")
    return Throughput(
        device=device.type,
        size=int(images.shape[1]),
        latency_ms=1e3 * float(np.median(latencies)),
        latency_ms_spread=1e3 * float(quartiles[1] - quartiles[0]),
        network_latency_ms=1e3 * network_latency,
        batch_size=len(best),
        images_per_s=best_rate,
        network_images_per_s=len(best) / float(np.median(network(best))),
        gflop_per_image=counter.get_total_flops() / 1e9,
    )
