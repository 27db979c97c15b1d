"""Plain against fast, in one run: `make perf`. A table at the end has the ratios.

Nothing here asserts a time: machines differ, and so do their neighbours.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plain
import pytest
import torch
import torch.nn.functional as F
from skimage import color

from zoo import plugins, registry
from zoo.arrays import UInt8Array
from zoo.color.lab import lab_to_rgb, lab_to_rgb8, rgb_to_lab
from zoo.color.soft_encoding import SoftEncoding, annealed_mean, soft_cross_entropy
from zoo.colorizer import Colorizer
from zoo.device import autocast, casting_once, resolve_device, synchronize
from zoo.export import export_onnx
from zoo.export.file import open_session, run
from zoo.metric import MetricContext, Pictures
from zoo.training.budget import Budget
from zoo.training.feed import Feed
from zoo.training.loop import Optimizer
from zoo.training.variety import UNVARIED, Variety
from zoo_benchmark.run.process import METHOD, Method, run_cell
from zoo_benchmark.run.trial_spec import TimingSpec

Benchmark = Callable[..., Any]
CPU = torch.device("cpu")
BATCH = 32


@pytest.fixture(scope="session")
def rgb(tiles: UInt8Array) -> torch.Tensor:
    return Pictures.from_array(tiles).rgb


def on_grid(rgb: torch.Tensor, side: int = 16) -> torch.Tensor:
    """The chroma on a grid of logits, N×2×side×side."""
    return F.adaptive_avg_pool2d(rgb_to_lab(rgb[:BATCH])[1], side)


def random_logits(version: str, side: int = 16) -> torch.Tensor:
    """Logits N×313×side×side; "… too" has a pixel's classes side by side, as bf16 networks do."""
    logits = torch.randn(BATCH, 313, side, side, generator=torch.Generator().manual_seed(0))
    layout = torch.channels_last if version.endswith("too") else torch.contiguous_format
    return logits.contiguous(memory_format=layout)


@pytest.mark.benchmark(group="RGB to Lab, 64 images of 64²")
@pytest.mark.parametrize("version", ["plain: scikit-image", "fast: torch", "fast: 8 bits"])
def test_rgb_to_lab(
    benchmark: Benchmark, version: str, tiles: UInt8Array, rgb: torch.Tensor
) -> None:
    if version.startswith("plain"):
        benchmark(color.rgb2lab, tiles)
    else:
        rgb8 = Pictures.from_array(tiles).rgb8
        benchmark(rgb_to_lab, rgb8 if version.endswith("bits") else rgb)


@pytest.mark.benchmark(group="Lab to RGB, 64 images of 64²")
@pytest.mark.parametrize("version", ["plain: scikit-image", "fast: torch", "fast: 8 bits"])
def test_lab_to_rgb(benchmark: Benchmark, version: str, rgb: torch.Tensor) -> None:
    L, ab = rgb_to_lab(rgb)
    if version.startswith("plain"):
        lab = torch.cat((L, ab), dim=1).permute(0, 2, 3, 1).numpy()
        benchmark(color.lab2rgb, lab)
    else:
        benchmark(lab_to_rgb8 if version.endswith("bits") else lab_to_rgb, L, ab)


@pytest.mark.benchmark(group="soft encoding, 32×16² pixels")
@pytest.mark.parametrize("version", ["plain: all 313 bins", "fast: table lookup"])
def test_soft_encoding(benchmark: Benchmark, version: str, rgb: torch.Tensor) -> None:
    fast = SoftEncoding(5, 5.0, CPU)
    benchmark(plain.soft_encoding if version.startswith("plain") else fast, on_grid(rgb))


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize(
    "version", ["plain: dense targets", "fast: index-weight pairs", "fast: channels-last too"]
)
def test_loss(benchmark: Benchmark, version: str, side: int, rgb: torch.Tensor) -> None:
    """The loss with its gradient, on the grids of the Zhang network and of the U-Net."""
    benchmark.group = f"loss with gradient, {BATCH}×{side}² pixels"  # type: ignore[attr-defined]
    ab, encode, ones = on_grid(rgb, side), SoftEncoding(5, 5.0, CPU), torch.ones(313)
    leaf = random_logits(version, side).requires_grad_()

    def dense() -> None:
        leaf.grad = None
        loss = plain.cross_entropy(leaf, plain.soft_encoding(ab))
        loss.backward()  # type: ignore[no-untyped-call]

    def sparse() -> None:
        leaf.grad = None
        loss = soft_cross_entropy(leaf, encode(ab), ones)
        loss.backward()  # type: ignore[no-untyped-call]

    benchmark(dense if version.startswith("plain") else sparse)


@pytest.mark.benchmark(group="annealed mean, 32×16² pixels")
@pytest.mark.parametrize(
    "version", ["plain: powers", "fast: scaled softmax", "fast: channels-last too"]
)
def test_decode(benchmark: Benchmark, version: str) -> None:
    logits = random_logits(version)
    if version.startswith("plain"):
        benchmark(plain.annealed_mean, logits)
    else:
        benchmark(annealed_mean, logits, 0.38)


@pytest.mark.benchmark(group="feed, batches of 32 at 48²")
@pytest.mark.parametrize("version", ["plain: PyTorch's loader", "fast: the feed"])
def test_feed(benchmark: Benchmark, version: str, tiles: UInt8Array) -> None:
    if version.startswith("plain"):
        benchmark(next, plain.feed(tiles, BATCH, 48))
        return
    feed = Feed(tiles, Budget.parse("1Msteps"), batch_size=BATCH, size=48, device=CPU)
    benchmark(next, iter(feed))
    feed.abandon()


@pytest.mark.benchmark(group="feed, batches of 32 at 48²: what variety costs")
@pytest.mark.parametrize(
    ("version", "variety"),
    [
        ("plain: images as they are", UNVARIED),
        ("fast: varied inputs", Variety(input=True)),
        ("fast: scaled crops too", Variety(input=True, crop_scale=(0.5, 1), stored_size=64)),
    ],
)
def test_feed_with_variety(
    benchmark: Benchmark, version: str, variety: Variety, tiles: UInt8Array
) -> None:
    feed = Feed(
        tiles, Budget.parse("1Msteps"), batch_size=BATCH, size=48, device=CPU, variety=variety
    )
    benchmark(next, iter(feed))
    feed.abandon()


def _batches(tiles: UInt8Array, side: int, batch: int) -> UInt8Array:
    """`batch` images of the side, out of tiles beside each other: N×H×W×3 uint8."""
    across = -(-side // 64)
    picked = np.resize(tiles, (batch, across, across, 64, 64, 3)).swapaxes(2, 3)
    whole = picked.reshape(batch, 64 * across, 64 * across, 3)
    return np.ascontiguousarray(whole[:, :side, :side])


@pytest.fixture
def whole(version: str, size: tuple[int, int, int]) -> Colorizer:
    """The paper's full network, on the GPU where there is one; the plain side is in float32.

    `size` is the images' side, and how many make a batch on a CPU and on a GPU.
    """
    _, on_cpu, on_gpu = size
    batch = on_gpu if resolve_device("auto").type == "cuda" else on_cpu
    precision = "fp32" if version == "plain" else "auto"
    cls = registry.colorizer_class("zhang_classifier")
    return cls(precision=precision, batch_size=batch)


@pytest.mark.parametrize("version", ["plain", "fast"])
@pytest.mark.parametrize("size", [(64, 16, 256), (176, 4, 40)])
def test_a_training_step_of_the_whole_network(
    benchmark: Benchmark,
    whole: Colorizer,
    version: str,
    size: tuple[int, int, int],
    tiles: UInt8Array,
) -> None:
    """A training step from stored images: crop, Lab, targets, AdamW."""
    device, options, side = whole.device, whole.training_options, size[0]
    batch = options.batch_size
    images = _batches(tiles, side, 2 * batch)
    name = f"full Zhang network on {device.type}: a training step of {batch} images of {side}²"
    benchmark.group = name  # type: ignore[attr-defined]
    with whole.training_session(images, "1Msteps", size=side) as feed:
        if version == "plain":
            plain_net = whole.net.to(memory_format=torch.contiguous_format)
            plain_step = plain.train_step(plain_net, options.learning_rate)
            on_device = torch.from_numpy(images).movedim(-1, 1).to(device)

            def step() -> None:
                chosen = torch.randint(len(on_device), (batch,), device=device)
                plain_step(*rgb_to_lab(on_device[chosen].float() / 255))
                synchronize(device)

        else:
            optimizer = Optimizer(whole.net.parameters(), feed, options)
            batches = iter(feed)

            def step() -> None:
                L, ab = next(batches)
                with autocast(device, whole.precision):
                    loss = whole.loss(L, ab)
                optimizer.step(loss)
                feed.log(loss)
                synchronize(device)

        benchmark.pedantic(step, rounds=3, warmup_rounds=1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("version", ["plain", "fast"])
@pytest.mark.parametrize("size", [(64, 1, 1), (64, 32, 256), (256, 1, 1), (256, 8, 64)])
def test_predict_with_the_whole_network(
    benchmark: Benchmark,
    whole: Colorizer,
    version: str,
    size: tuple[int, int, int],
    tiles: UInt8Array,
) -> None:
    device, side = whole.device, size[0]
    batch = whole.training_options.batch_size
    name = f"full Zhang network on {device.type}: ab of {batch} images of {side}²"
    benchmark.group = name  # type: ignore[attr-defined]
    whole.fit(tiles[:8], budget="1steps", size=64)
    L = rgb_to_lab(Pictures.from_array(_batches(tiles, side, batch)).rgb)[0].to(device)
    if version == "plain":
        whole.net.to(memory_format=torch.contiguous_format)

    def run() -> None:
        if version == "plain":
            plain.predict(whole.net, L)
        else:
            whole.predict_ab(L)
        synchronize(device)

    with casting_once(device):  # as among the batches of one `predict`
        benchmark.pedantic(run, rounds=3, warmup_rounds=1)  # type: ignore[attr-defined]


@pytest.mark.benchmark(group="start of a cell, all imported")
@pytest.mark.parametrize("version", ["plain: a fresh interpreter", "fast: a fork"])
def test_start(benchmark: Benchmark, version: str, tmp_path: Path) -> None:
    if version.endswith("fork") and METHOD != "forkserver":
        pytest.skip("this system starts fresh interpreters")
    # It fails as soon as it is there, after all imports.
    spec = TimingSpec(
        model="none", label="none", repetition=0, weights="none", dataset="none", size=64
    )

    def start() -> None:
        method: Method = "forkserver" if version.endswith("fork") else "spawn"
        result = run_cell(spec, tmp_path, 60, threads=1, method=method)
        assert "unknown dataset 'none'" in result["error"]

    benchmark.pedantic(start, rounds=3, warmup_rounds=1)  # type: ignore[attr-defined]


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


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of `zoo export unet_timm --weights release`."""
    colorizer = registry.load("unet_timm@release", device="cpu", precision="fp32")
    return export_onnx(colorizer, tmp_path_factory.mktemp("exported") / "unet.onnx").path


_ALONE = {
    "plain: predict": """
import numpy, sys, torch, zoo
torch.set_num_threads(1)
size = tuple(map(int, sys.argv[2:]))
zoo.load("unet_timm@release", device="cpu", precision="fp32").predict(numpy.zeros(size, "uint8"))
""",
    "fast: ONNX Runtime": """
import numpy, onnxruntime, sys
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options)
session.run(None, {"image": numpy.zeros((*map(int, sys.argv[2:]), 3), "uint8")})
""",
}
# Not getrusage's, which starts from the size of the process that started this one.
_PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@pytest.mark.parametrize("size", [(256, 256), (700, 1000), (3000, 4000)])
@pytest.mark.parametrize("version", list(_ALONE))
def test_exported(
    benchmark: Benchmark, exported: Path, version: str, size: tuple[int, int]
) -> None:
    """A photograph by `predict` and by ONNX Runtime; the memory of a process that does it once."""
    place = f"{size[1]}×{size[0]}"
    benchmark.group = f"unet_timm@release, {place}: predict or its file"  # type: ignore[attr-defined]
    if sys.platform == "linux":
        words = [sys.executable, "-c", _ALONE[version] + _PEAK, str(exported), *map(str, size)]
        alone = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
        benchmark.extra_info["peak_mb"] = int(alone.stdout) / 1024  # type: ignore[attr-defined]
    grey = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    if version.startswith("plain"):
        colorizer = registry.load("unet_timm@release", device="cpu", precision="fp32")
        call = lambda: colorizer.predict(grey)  # noqa: E731
    else:
        session, picture = open_session(exported), np.repeat(grey[:, :, None], 3, axis=2)
        call = lambda: run(session, picture)  # noqa: E731
    benchmark.pedantic(call, rounds=5, warmup_rounds=1)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", plugins.names(plugins.METRICS))
@pytest.mark.benchmark(group="metrics, 64 images of 64²")
def test_metric(benchmark: Benchmark, name: str, tiles: UInt8Array) -> None:
    from zoo_benchmark.metrics.weights_files import find_metric_files

    files = find_metric_files([name], {}, download=False)
    if name in files.missing:
        pytest.skip(files.missing[name])
    context = MetricContext(device=CPU, truth=tiles, files=files.paths.get(name, {}))
    metric = registry.metric_class(name)(context)
    truth = Pictures.from_array(tiles)
    benchmark(lambda: metric(Pictures.from_array(tiles[::-1].copy()), truth))
