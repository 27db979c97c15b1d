"""Plain against fast, in one run: `make perf`. The group's table prints the ratios.

Nothing here asserts a time: machines differ, and so do their neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import plain
import pytest
import torch
import torch.nn.functional as F
from skimage import color

from zoo import registry
from zoo.budget import Budget
from zoo.dataset import UInt8Array
from zoo.feed import Feed
from zoo.lab import lab_to_rgb, rgb_to_lab
from zoo.metric import MetricContext, Pictures
from zoo.soft_encoding import SoftEncoding, annealed_mean, soft_cross_entropy

Benchmark = Callable[..., Any]
CPU = torch.device("cpu")
BATCH = 32


@pytest.fixture(scope="session")
def rgb(tiles: UInt8Array) -> torch.Tensor:
    return Pictures.from_array(tiles).rgb


@pytest.fixture(scope="session")
def grid_ab(rgb: torch.Tensor) -> torch.Tensor:
    """Chroma on the logits' grid, N×2×16×16."""
    return F.avg_pool2d(rgb_to_lab(rgb[:BATCH])[1], 4)


@pytest.fixture(scope="session")
def logits() -> torch.Tensor:
    return torch.randn(BATCH, 313, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="session")
def side_by_side(logits: torch.Tensor) -> torch.Tensor:
    """The same as networks in bf16 leave them: the classes of a pixel side by side in memory."""
    return logits.contiguous(memory_format=torch.channels_last)


@pytest.mark.benchmark(group="RGB to Lab, 64 images of 64²")
@pytest.mark.parametrize("version", ["plain: scikit-image", "fast: torch"])
def test_rgb_to_lab(
    benchmark: Benchmark, version: str, tiles: UInt8Array, rgb: torch.Tensor
) -> None:
    if version.startswith("plain"):
        benchmark(color.rgb2lab, tiles)
    else:
        benchmark(rgb_to_lab, rgb)


@pytest.mark.benchmark(group="Lab to RGB, 64 images of 64²")
@pytest.mark.parametrize("version", ["plain: scikit-image", "fast: torch"])
def test_lab_to_rgb(benchmark: Benchmark, version: str, rgb: torch.Tensor) -> None:
    L, ab = rgb_to_lab(rgb)
    if version.startswith("plain"):
        lab = torch.cat((L, ab), dim=1).permute(0, 2, 3, 1).numpy()
        benchmark(color.lab2rgb, lab)
    else:
        benchmark(lab_to_rgb, L, ab)


@pytest.mark.benchmark(group="soft encoding, 32×16² pixels")
@pytest.mark.parametrize("version", ["plain: all 313 bins", "fast: table lookup"])
def test_soft_encoding(benchmark: Benchmark, version: str, grid_ab: torch.Tensor) -> None:
    fast = SoftEncoding(5, 5.0, CPU)
    benchmark(plain.soft_encoding if version.startswith("plain") else fast, grid_ab)


@pytest.mark.benchmark(group="loss with gradient, 32×16² pixels")
@pytest.mark.parametrize(
    "version", ["plain: dense targets", "fast: index-weight pairs", "fast: channels-last too"]
)
def test_loss(
    benchmark: Benchmark,
    version: str,
    grid_ab: torch.Tensor,
    logits: torch.Tensor,
    side_by_side: torch.Tensor,
) -> None:
    encode = SoftEncoding(5, 5.0, CPU)
    leaf = (side_by_side if version.endswith("too") else logits).clone().requires_grad_()
    ones = torch.ones(313)

    def dense() -> None:
        loss = plain.cross_entropy(leaf, plain.soft_encoding(grid_ab))
        loss.backward()  # type: ignore[no-untyped-call]

    def sparse() -> None:
        loss = soft_cross_entropy(leaf, encode(grid_ab), ones)
        loss.backward()  # type: ignore[no-untyped-call]

    benchmark(dense if version.startswith("plain") else sparse)


@pytest.mark.benchmark(group="annealed mean, 32×16² pixels")
@pytest.mark.parametrize(
    "version", ["plain: powers", "fast: scaled softmax", "fast: channels-last too"]
)
def test_decode(
    benchmark: Benchmark, version: str, logits: torch.Tensor, side_by_side: torch.Tensor
) -> None:
    if version.startswith("plain"):
        benchmark(plain.annealed_mean, logits)
    else:
        benchmark(annealed_mean, side_by_side if version.endswith("too") else logits, 0.38)


@pytest.mark.benchmark(group="feed, batches of 32 at 64²")
def test_feed(benchmark: Benchmark, tiles: UInt8Array) -> None:
    feed = Feed(tiles, Budget.parse("1Msteps"), batch_size=BATCH, size=64, device=CPU)
    batches = iter(feed)
    benchmark(next, batches)
    feed.abandon()


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("name", registry.list_colorizers())
class TestColorizers:
    """Every installed colorizer: ten training steps, and prediction; float32 against auto."""

    def test_train(
        self, benchmark: Benchmark, name: str, precision: str, tiles: UInt8Array
    ) -> None:
        cls = registry.colorizer_class(name)
        colorizer = cls(cls.preset("small"), device="cpu", precision=precision)
        benchmark.group = f"{name}: 10 training steps at 64²"  # type: ignore[attr-defined]
        benchmark.pedantic(  # type: ignore[attr-defined]
            colorizer.fit,
            args=(tiles,),
            kwargs={"budget": "10steps", "size": 64},
            rounds=2,
            warmup_rounds=1,
        )

    def test_predict(
        self, benchmark: Benchmark, name: str, precision: str, tiles: UInt8Array
    ) -> None:
        cls = registry.colorizer_class(name)
        colorizer = cls(cls.preset("small"), device="cpu", precision=precision)
        colorizer.fit(tiles, budget="1steps", size=64)
        benchmark.group = f"{name}: predict 64 images of 64²"  # type: ignore[attr-defined]
        benchmark(colorizer.predict, np.ascontiguousarray(tiles[..., 1]))


@pytest.mark.parametrize("name", registry.names(registry.METRICS))
@pytest.mark.benchmark(group="metrics, 64 images of 64²")
def test_metric(benchmark: Benchmark, name: str, tiles: UInt8Array) -> None:
    from zoo_benchmark.metrics.lpips_weights import find_lpips_weights

    weights = find_lpips_weights(None, download=False)
    if name == "lpips" and weights.path is None:
        pytest.skip(weights.status)
    context = MetricContext(device=CPU, truth=tiles, lpips_weights=weights.path)
    metric = registry.metric_class(name)(context)
    truth = Pictures.from_array(tiles)
    benchmark(lambda: metric(Pictures.from_array(tiles[::-1].copy()), truth))
