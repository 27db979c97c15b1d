"""Timing of `predict`: what is called, how often, and what the numbers mean."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from zoo.colorizer import Colorizer, Info
from zoo_benchmark.run import control, throughput
from zoo_benchmark.run.throughput import BATCH_SIZES, measure


class Slow(Colorizer):
    """20 ms a call on a clock of its own, whatever the batch: larger ones are always better."""

    info = Info(name="slow", title="", paper="none", license="MIT")
    batches: list[int]
    now = 0.0

    def build(self) -> nn.Module:
        self.batches = []
        return nn.Conv2d(1, 2, 3, padding=1)

    def train(self, feed: Any) -> None:
        pass

    def forward(self, L: Tensor) -> Tensor:
        self.batches.append(len(L))
        Slow.now += 0.02
        output: Tensor = self.net(L)
        return output


@pytest.fixture
def slow(tiles: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Slow:
    clock = SimpleNamespace(perf_counter=lambda: Slow.now)
    monkeypatch.setattr(control, "time", clock)
    return Slow(device="cpu", precision="fp32").fit(tiles[:2], budget="1steps")


@pytest.fixture
def greys(tiles: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(tiles[:5, :32, :32, 0])


def test_latency_and_throughput(
    slow: Slow, greys: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "_SECONDS", 0.06)
    speed = measure(slow, greys)
    assert (speed.device, speed.size) == ("cpu", 32)
    assert speed.latency_ms == pytest.approx(20)
    assert speed.network_latency_ms == pytest.approx(20)
    assert speed.latency_ms_spread == pytest.approx(0, abs=1e-6)
    assert speed.batch_size == max(BATCH_SIZES)
    assert speed.images_per_s == pytest.approx(max(BATCH_SIZES) / 0.02)
    assert speed.network_images_per_s == pytest.approx(max(BATCH_SIZES) / 0.02)
    # One 3×3 convolution to two channels; a multiply and an add are two.
    assert speed.gflop_per_image == pytest.approx(2 * 32 * 32 * 9 * 2 / 1e9)
    assert set(slow.batches) == {1, *BATCH_SIZES}


def test_every_number_is_warmed_up_and_repeated(
    slow: Slow, greys: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "_SECONDS", 0.0)
    measure(slow, greys)
    # Two to warm up and at least three that count.
    assert slow.batches.count(8) >= 5


def test_no_larger_batch_once_a_pass_takes_long(
    slow: Slow, greys: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(throughput, "_SECONDS", 0.0)
    monkeypatch.setattr(throughput, "_SLOW_PASS", 0.01)
    speed = measure(slow, greys)
    assert set(slow.batches) == {1, BATCH_SIZES[0]}
    assert speed.batch_size == BATCH_SIZES[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(greys: np.ndarray, tiles: np.ndarray) -> None:
    colorizer = Slow(device="cuda").fit(tiles[:2], budget="1steps")
    speed = measure(colorizer, greys)
    assert speed.device == "cuda"
    assert 0 < speed.network_latency_ms <= 2 * speed.latency_ms
